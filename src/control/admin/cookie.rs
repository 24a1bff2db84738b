//! The session's cookie, and the token that shows that a change comes from a page which may read our answers.

use axum::http::{HeaderMap, header};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use subtle::ConstantTimeEq;

use crate::{control::store::random, model::Secret};

/// `__Host-`: only over a safe connection, only for this host, for all of its paths.
const NAME: &str = "__Host-wharfinger";
const CSRF_HEADER: &str = "x-csrf-token";
const CSRF_CONTEXT: &str = "wharfinger 2026-11-27 the CSRF token of a session";
const CHARS: usize = 43;

/// A new session's secret, 256 bits.
pub(super) fn mint() -> Secret {
    Secret::new(URL_SAFE_NO_PAD.encode(random::<32>()))
}

/// The secret that the request's cookie carries, if it can be one. Two of them are none.
pub(super) fn read(headers: &HeaderMap) -> Option<Secret> {
    let mut found = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, _)| *name == NAME)
        .map(|(_, value)| value);
    let first = found.next().filter(|value| value.len() == CHARS)?;
    found
        .next()
        .is_none()
        .then(|| Secret::new(first.to_owned()))
}

/// `Set-Cookie` of a new session.
pub(super) fn set(secret: &Secret) -> String {
    format!(
        "{NAME}={}; Path=/; Secure; HttpOnly; SameSite=Strict",
        secret.reveal()
    )
}

/// `Set-Cookie` of an ended one.
pub(super) fn unset() -> String {
    format!("{NAME}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0")
}

/// What goes with every change. It follows from the secret, which no page can read, so nothing need be kept.
pub(super) fn csrf(secret: &Secret) -> String {
    URL_SAFE_NO_PAD.encode(blake3::derive_key(CSRF_CONTEXT, secret.reveal().as_bytes()))
}

/// Whether it went along.
pub(super) fn has_csrf(headers: &HeaderMap, secret: &Secret) -> bool {
    headers
        .get(CSRF_HEADER)
        .is_some_and(|given| given.as_bytes().ct_eq(csrf(secret).as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_read_among_others_and_two_of_them_are_none() {
        let secret = mint();
        let mut headers = HeaderMap::new();
        let pair = set(&secret);
        let pair = pair.split(';').next().expect("a pair");
        let value = format!("a=b; {pair};c=d").parse().expect("ASCII");
        headers.append(header::COOKIE, value);
        assert_eq!(read(&headers), Some(secret.clone()));
        assert!(!has_csrf(&headers, &secret));
        headers.insert(CSRF_HEADER, csrf(&secret).parse().expect("ASCII"));
        assert!(has_csrf(&headers, &secret) && !has_csrf(&headers, &mint()));
        headers.append(header::COOKIE, pair.parse().expect("ASCII"));
        assert_eq!(read(&headers), None);
    }
}
