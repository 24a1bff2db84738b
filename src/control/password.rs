//! Passwords: argon2id on threads of their own, two at once at most, so that logging in costs others nothing.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD as BASE64};
use std::sync::Arc;
use subtle::ConstantTimeEq;

use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::{
    Error,
    store::{fill, random},
};
use crate::model::Secret;

/// Hashes at once: 19 MiB and a core for some 20 ms each.
const AT_ONCE: usize = 2;
const CHARS_MIN: usize = 12;
const CHARS_MAX: usize = 256;
/// Costs what every other one costs, and nothing hashes to it.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

/// Hashes and compares.
pub(super) struct Passwords {
    places: Arc<Semaphore>,
}

/// Whether somebody may have this password; why not.
pub(super) fn check(password: &Secret) -> Result<(), String> {
    if !(CHARS_MIN..=CHARS_MAX).contains(&password.reveal().chars().count()) {
        return Err(format!(
            "a password has {CHARS_MIN} to {CHARS_MAX} characters"
        ));
    }
    Ok(())
}

/// A new one, 24 characters of 62: 142 bits.
pub(super) fn mint() -> Secret {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut text = String::with_capacity(24);
    while text.len() < 24 {
        let mut byte = [0];
        fill(&mut byte);
        // 248 = 4 * 62: dropping what lies above keeps every character equally likely.
        if byte[0] < 248 {
            text.push(char::from(LETTERS[usize::from(byte[0] % 62)]));
        }
    }
    Secret::new(text)
}

// === impl Passwords ===

impl Passwords {
    pub(super) fn new() -> Self {
        Self {
            places: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// What to keep of a password: an argon2id string with its own salt and costs.
    pub(super) async fn hash(&self, password: Secret) -> Result<String, Error> {
        self.aside(move || {
            let salt = random::<SALT_BYTES>();
            let params = Params::default();
            let hash = derive(&params, &salt, &password)?;
            Some(format!(
                "$argon2id$v=19$m={},t={},p={}${}${}",
                params.m_cost(),
                params.t_cost(),
                params.p_cost(),
                BASE64.encode(salt),
                BASE64.encode(hash.as_slice())
            ))
        })
        .await?
        .ok_or_else(|| Error::damaged("a password could not be hashed"))
    }

    /// Whether the password is what was kept. Nothing kept costs the same, and is nobody's password.
    pub(super) async fn verify(
        &self,
        password: Secret,
        kept: Option<String>,
    ) -> Result<bool, Error> {
        let is_somebody = kept.is_some();
        let kept = kept.unwrap_or_else(|| NOBODY.to_owned());
        let is_right = self.aside(move || compare(&password, &kept)).await?;
        Ok(is_somebody && is_right.unwrap_or(false))
    }

    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let places = self.places.clone();
        let place = places.acquire_owned().await.map_err(|_| Error::Closed)?;
        // The place goes with the work: it runs on when its caller has gone.
        tokio::task::spawn_blocking(move || {
            let _place = place;
            work()
        })
        .await
        .map_err(|_| Error::Closed)
    }
}

/// `None` for what is no string of ours.
fn compare(password: &Secret, kept: &str) -> Option<bool> {
    let mut parts = kept.strip_prefix("$argon2id$v=19$")?.split('$');
    let (costs, salt, hash) = (parts.next()?, parts.next()?, parts.next()?);
    let mut costs = costs.split(',').zip(["m=", "t=", "p="]);
    let mut cost = || -> Option<u32> {
        let (cost, name) = costs.next()?;
        cost.strip_prefix(name)?.parse().ok()
    };
    let params = Params::new(cost()?, cost()?, cost()?, Some(HASH_BYTES)).ok()?;
    let salt = BASE64.decode(salt).ok()?;
    let hash = BASE64.decode(hash).ok()?;
    let derived = derive(&params, &salt, password)?;
    Some(derived.as_slice().ct_eq(&hash).into())
}

fn derive(params: &Params, salt: &[u8], password: &Secret) -> Option<Zeroizing<[u8; HASH_BYTES]>> {
    let mut hash = Zeroizing::new([0; HASH_BYTES]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone())
        .hash_password_into(password.reveal().as_bytes(), salt, hash.as_mut_slice())
        .ok()?;
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_right_and_another_is_not_and_nobody_has_one() {
        let passwords = Passwords::new();
        let (one, other) = (mint(), mint());
        let kept = passwords.hash(one.clone()).await.expect("hashed");
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(!kept.contains(one.reveal()));
        let verify = |password: &Secret, kept: Option<&String>| {
            passwords.verify(password.clone(), kept.cloned())
        };
        assert!(verify(&one, Some(&kept)).await.expect("compared"));
        assert!(!verify(&other, Some(&kept)).await.expect("compared"));
        assert!(!verify(&one, None).await.expect("compared"));
        assert_eq!(compare(&one, NOBODY), Some(false), "it costs nothing");
        assert!(
            !verify(&one, Some(&"$2b$".to_owned()))
                .await
                .expect("compared")
        );
    }

    #[test]
    fn short_and_endless_passwords_are_refused() {
        for (length, is_good) in [(11, false), (12, true), (256, true), (257, false)] {
            assert_eq!(check(&Secret::new("x".repeat(length))).is_ok(), is_good);
        }
    }
}
