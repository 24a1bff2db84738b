//! Seals what the kept copy must not show: the digest key, and destinations with their credentials.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use zeroize::Zeroizing;

use super::record::create_private;

const NONCE_BYTES: usize = 24;

/// XChaCha20-Poly1305 under one key: 24 bytes of nonce, then the sealed bytes.
pub(super) struct Seal {
    cipher: XChaCha20Poly1305,
}

/// Where the folder's key stands.
pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join("seal.key")
}

impl Seal {
    /// The key given as 64 hexadecimal digits, else the folder's; `None` when there is none that is one.
    ///
    /// # Errors
    /// The key given is not 64 hexadecimal digits.
    pub(super) fn open(folder: &Path, given: Option<&str>) -> io::Result<Option<Self>> {
        let Some(given) = given else {
            let text = fs::read_to_string(path(folder)).map(Zeroizing::new);
            return Ok(text.ok().and_then(|text| Self::parse(&text)));
        };
        Self::parse(given).map(Some).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "the seal key is not 64 hexadecimal digits",
            )
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let key = parse_hex(text.trim())?;
        Some(Self {
            cipher: XChaCha20Poly1305::new(&(*key).into()),
        })
    }

    /// Makes the folder a key.
    ///
    /// # Errors
    /// No randomness, or a folder that can't be written.
    pub(super) fn make(folder: &Path) -> io::Result<Self> {
        let path = path(folder);
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *key).map_err(io::Error::other)?;
        let mut text = Zeroizing::new(String::with_capacity(65));
        for byte in key.iter() {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
            }
        }
        text.push('\n');
        // Whole or not at all: half a key would shut the kept copy for good.
        let half = path.with_extension("key.tmp");
        let mut file = create_private(&half)?;
        io::Write::write_all(&mut file, text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&half, path)?;
        Ok(Self {
            cipher: XChaCha20Poly1305::new(&(*key).into()),
        })
    }

    /// Seals; `about` must be the same again to open.
    ///
    /// # Errors
    /// No randomness for a nonce.
    pub(super) fn seal(&self, bytes: &[u8], about: &[u8]) -> io::Result<Vec<u8>> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(io::Error::other)?;
        let payload = Payload {
            msg: bytes,
            aad: about,
        };
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| io::Error::other("too much to seal"))?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// Opens; `None` for another key, other `about` or damaged bytes.
    pub(super) fn open_sealed(&self, sealed: &[u8], about: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>()?;
        let payload = Payload {
            msg: sealed,
            aad: about,
        };
        let opened = self.cipher.decrypt(&XNonce::from(*nonce), payload).ok()?;
        Some(Zeroizing::new(opened))
    }
}

fn parse_hex(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    if text.len() != 64 {
        return None;
    }
    for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |at: usize| char::from(digits[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_the_same_key_and_subject_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = |given| Seal::open(folder.path(), given).expect("a key or none");
        assert!(open(None).is_none());
        let seal = Seal::make(folder.path()).expect("a key");
        let again = open(None).expect("the same key");
        let other = open(Some(&"ab".repeat(32))).expect("another key");
        let sealed = seal.seal(b"password", b"here").expect("sealed");
        assert!(!sealed.windows(8).any(|window| window == b"password"));
        assert_eq!(
            again
                .open_sealed(&sealed, b"here")
                .expect("opens")
                .as_slice(),
            b"password"
        );
        assert!(other.open_sealed(&sealed, b"here").is_none());
        assert!(again.open_sealed(&sealed, b"there").is_none());
        assert!(again.open_sealed(&sealed[..20], b"here").is_none());
    }

    #[test]
    fn a_key_that_is_no_key_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        for text in ["", "abc", &"zz".repeat(32), &"é".repeat(32)] {
            assert!(Seal::open(folder.path(), Some(text)).is_err(), "{text}");
        }
    }
}
