//! Tokens: their shape, their secret, their keyed digest and their state.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const RANDOM_CHARS: usize = 32;
const CHECKSUM_CHARS: usize = 6;
const PREFIX: &str = "whf_";

/// A token's public number, positive: what logs, headers and answers may show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenId(pub u64);

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether a token opens anything. Expiry is a time beside it, not a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TokenState {
    /// Opens its account and signal.
    Live = 0,
    /// Refused until it is enabled again.
    Disabled = 1,
    /// Refused for ever.
    Revoked = 2,
}

impl TokenState {
    /// The name in the admin API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Disabled => "disabled",
            Self::Revoked => "revoked",
        }
    }
}

/// What a token is for; its letter stands in the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// Ships one signal into one account.
    Shipping,
    /// Opens the admin API.
    Api,
    /// Reads what its account shares of its usage.
    Shared,
}

impl TokenKind {
    const fn letter(self) -> char {
        match self {
            Self::Shipping => 's',
            Self::Api => 'a',
            Self::Shared => 'r',
        }
    }

    /// Whether the token is one of ours, of this kind.
    pub fn is_of(self, token: &Secret) -> bool {
        let rest = token.reveal().strip_prefix(PREFIX);
        let rest = rest.and_then(|rest| rest.strip_prefix(self.letter()));
        rest.is_some_and(|rest| rest.starts_with('_'))
    }

    /// Whether the token is one of ours, of whatever kind.
    pub fn has_prefix(token: &Secret) -> bool {
        token.reveal().starts_with(PREFIX)
    }

    /// A new token: `whf_`, the letter, `_`, 32 base62 characters (190 bits) and 6 that check all before.
    ///
    /// `fill` must fill the slice from the operating system's randomness.
    pub fn mint(self, mut fill: impl FnMut(&mut [u8])) -> Secret {
        let mut text = Zeroizing::new(String::with_capacity(44));
        text.push_str(PREFIX);
        text.push(self.letter());
        text.push('_');
        let start = text.len();
        let mut block = Zeroizing::new([0u8; 64]);
        while text.len() < start + RANDOM_CHARS {
            fill(block.as_mut_slice());
            // 248 = 4 * 62: dropping what lies above keeps every character equally likely.
            for byte in block.iter().filter(|byte| **byte < 248) {
                if text.len() < start + RANDOM_CHARS {
                    text.push(char::from(BASE62[usize::from(byte % 62)]));
                }
            }
        }
        let sum = checksum(text.as_bytes());
        for byte in sum {
            text.push(char::from(byte));
        }
        Secret(text)
    }
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_CHARS] {
    let mut rest = crc32fast::hash(bytes) as usize;
    let mut out = [b'0'; CHECKSUM_CHARS];
    for place in out.iter_mut().rev() {
        *place = BASE62[rest % 62];
        rest /= 62;
    }
    out
}

/// Whether a presented token can exist at all: 16 to 128 of `[A-Za-z0-9_-]`, and in our own format only with its checksum.
/// Typos and forgeries die here, before any look-up.
pub(crate) fn is_well_formed(token: &[u8]) -> bool {
    if !(16..=128).contains(&token.len())
        || !token
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    {
        return false;
    }
    if !token.starts_with(PREFIX.as_bytes()) {
        return true;
    }
    let (body, sum) = token.split_at(token.len() - CHECKSUM_CHARS);
    token.len() == PREFIX.len() + 2 + RANDOM_CHARS + CHECKSUM_CHARS && sum == checksum(body)
}

/// Text that must not be seen: compared in constant time, wiped when dropped, printed as `[redacted]`.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text, for the place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether a token of this text can exist.
    pub fn is_well_formed_token(&self) -> bool {
        is_well_formed(self.0.as_bytes())
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// 16 bytes of keyed BLAKE3 over a whole token: what every place but the store knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 16]);

/// The key of the digests, with the number that says which one it is. It comes with the feed.
#[derive(Clone, PartialEq, Eq)]
pub struct DigestKey {
    /// Which key; a rotation brings the next one.
    pub id: u32,
    key: Zeroizing<[u8; 32]>,
}

impl DigestKey {
    /// Takes the key over.
    pub fn new(id: u32, key: [u8; 32]) -> Self {
        Self {
            id,
            key: Zeroizing::new(key),
        }
    }

    /// The digest of a whole token.
    pub fn digest(&self, token: &[u8]) -> Digest {
        let hash = blake3::keyed_hash(&self.key, token);
        let mut digest = [0; 16];
        digest.copy_from_slice(&hash.as_bytes()[..16]);
        Digest(digest)
    }

    /// The key itself, for the feed and for the kept copy.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.key
    }
}

impl fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DigestKey({}, [redacted])", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mint() -> Secret {
        let mut seed = 0u8;
        TokenKind::Shipping.mint(|block| {
            for byte in block {
                seed = seed.wrapping_mul(29).wrapping_add(17);
                *byte = seed;
            }
        })
    }

    #[test]
    fn a_minted_token_is_well_formed_and_every_typo_in_it_is_not() {
        let token = mint();
        assert_eq!(token.reveal().len(), 44);
        assert!(token.reveal().starts_with("whf_s_"));
        assert!(token.is_well_formed_token());
        assert!(TokenKind::Shipping.is_of(&token) && !TokenKind::Api.is_of(&token));
        assert!(!TokenKind::Shared.is_of(&token));
        for place in PREFIX.len()..44 {
            let mut typo = token.reveal().as_bytes().to_vec();
            typo[place] = if typo[place] == b'7' { b'8' } else { b'7' };
            assert!(!is_well_formed(&typo), "typo at {place} passed");
        }
    }

    #[test]
    fn imported_shapes_pass_and_others_do_not() {
        assert!(is_well_formed(b"0123456789abcdef"));
        assert!(is_well_formed(&[b'x'; 128]));
        assert!(!is_well_formed(b"0123456789abcde"));
        assert!(!is_well_formed(&[b'x'; 129]));
        assert!(!is_well_formed(b"0123456789abcde!"));
    }

    #[test]
    fn secrets_are_not_printed() {
        let token = mint();
        assert_eq!(format!("{token:?}"), "[redacted]");
        assert!(!format!("{:?}", DigestKey::new(1, [0xAB; 32])).contains("171"));
    }
}
