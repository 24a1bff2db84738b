//! Sealing: what must not be readable in the store's file is encrypted under the master key and bound to its row.

use std::path::Path;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use zeroize::Zeroizing;

use crate::{
    control::{Error, secret_file},
    model::Secret,
};

const VERSION: u8 = 1;
const NONCE_BYTES: usize = 24;
const VARIABLE: &str = "WHARFINGER_MASTER_KEY";

/// Seals and opens under the master key.
pub(crate) struct Sealer {
    cipher: XChaCha20Poly1305,
}

// === impl Sealer ===

impl Sealer {
    /// From `WHARFINGER_MASTER_KEY`, else from `<data>/master.key`, which is made when there is no store yet.
    pub(super) fn load(data: &Path, store_exists: bool) -> Result<Self, Error> {
        if let Ok(text) = std::env::var(VARIABLE) {
            return Self::parse(&Secret::new(text), VARIABLE);
        }
        let path = data.join("master.key");
        if let Some(text) = secret_file::read(&path)? {
            return Self::parse(&text, &path.display().to_string());
        }
        if store_exists {
            return Err(Error::MissingMasterKey(path));
        }
        let text = Secret::new(BASE64.encode(random::<32>()));
        secret_file::write(&path, &text)?;
        Self::parse(&text, &path.display().to_string())
    }

    fn parse(text: &Secret, place: &str) -> Result<Self, Error> {
        BASE64
            .decode(text.reveal().trim())
            .ok()
            .map(Zeroizing::new)
            .and_then(|key| XChaCha20Poly1305::new_from_slice(&key).ok())
            .map(|cipher| Self { cipher })
            .ok_or_else(|| Error::BadKey(format!("{place} does not hold 32 bytes in base64")))
    }

    /// `row` says where the text will stand, as in `token/7`; it opens nowhere else.
    pub(crate) fn seal(&self, row: &str, plain: &[u8]) -> Vec<u8> {
        let nonce = random::<NONCE_BYTES>();
        let payload = Payload {
            msg: plain,
            aad: row.as_bytes(),
        };
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), payload)
            .expect("XChaCha20-Poly1305 seals whatever fits into memory");
        let mut text = Vec::with_capacity(1 + NONCE_BYTES + sealed.len());
        text.push(VERSION);
        text.extend_from_slice(&nonce);
        text.extend_from_slice(&sealed);
        text
    }

    /// `None` for another key, another row, another version or altered text.
    pub(crate) fn open(&self, row: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (&version, rest) = sealed.split_first()?;
        let (nonce, text) = rest.split_first_chunk::<NONCE_BYTES>()?;
        if version != VERSION {
            return None;
        }
        let payload = Payload {
            msg: text,
            aad: row.as_bytes(),
        };
        let plain = self.cipher.decrypt(&XNonce::from(*nonce), payload).ok()?;
        Some(Zeroizing::new(plain))
    }

    /// The same for text.
    pub(crate) fn open_text(&self, row: &str, sealed: &[u8]) -> Result<Secret, Error> {
        self.open(row, sealed)
            .and_then(|plain| String::from_utf8(plain.to_vec()).ok())
            .map(Secret::new)
            .ok_or_else(|| Error::damaged(format!("the sealed text of {row} does not open")))
    }
}

/// Bytes from the operating system.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}

/// Fills from the operating system.
pub(crate) fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system gives randomness once it has started");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer() -> Sealer {
        Sealer::parse(&Secret::new(BASE64.encode([7; 32])), "test").expect("a key")
    }

    #[test]
    fn what_is_sealed_opens_in_its_row_only() {
        let sealed = sealer().seal("token/7", b"secret");
        assert_eq!(
            sealer()
                .open("token/7", &sealed)
                .as_deref()
                .map(Vec::as_slice),
            Some(b"secret".as_slice())
        );
        assert!(sealer().open("token/8", &sealed).is_none());
    }

    #[test]
    fn every_altered_byte_and_every_cut_is_noticed() {
        let sealed = sealer().seal("token/7", b"secret");
        for place in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[place] ^= 1;
            assert!(sealer().open("token/7", &altered).is_none());
            assert!(sealer().open("token/7", &sealed[..place]).is_none());
        }
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        let short = Secret::new(BASE64.encode([7; 31]));
        assert!(Sealer::parse(&short, "test").is_err());
        assert!(Sealer::parse(&Secret::new("not base64!".into()), "test").is_err());
    }
}
