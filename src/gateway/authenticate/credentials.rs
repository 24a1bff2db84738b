//! Where a request may carry its token: `Authorization` in four schemes, then `?token=`.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{Request, header};

use crate::model::{Rejection, Secret};

/// The one token of a request. All places are read, since two different tokens are an error wherever they stand.
///
/// # Errors
/// [`Rejection::MissingToken`], [`Rejection::ConflictingTokens`].
pub(super) fn find(head: &Request<impl Sized>) -> Result<Secret, Rejection> {
    let mut found: Option<Secret> = None;
    let mut take = |token: Secret| match &found {
        Some(first) if *first != token => Err(Rejection::ConflictingTokens),
        Some(_) => Ok(()),
        None => {
            found = Some(token);
            Ok(())
        }
    };
    for value in head.headers().get_all(header::AUTHORIZATION) {
        if let Some(token) = from_authorization(value.as_bytes()) {
            take(token)?;
        }
    }
    for token in parameters(head.uri().query(), "token") {
        if !token.is_empty() {
            take(Secret::new(token.into_owned()))?;
        }
    }
    found.ok_or(Rejection::MissingToken)
}

/// Scheme names are case-insensitive (RFC 9110). A scheme we don't know, or one without a token, carries none.
fn from_authorization(value: &[u8]) -> Option<Secret> {
    let value = std::str::from_utf8(value).ok()?.trim();
    let (scheme, rest) = value.split_once(' ')?;
    let rest = rest.trim_start();
    let token = if ["Bearer", "Splunk", "ApiKey"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known))
    {
        rest.to_owned()
    } else if scheme.eq_ignore_ascii_case("Basic") {
        let pair = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
        // The password alone counts; user names differ from shipper to shipper.
        let (_, password) = pair.split_once(':')?;
        password.to_owned()
    } else {
        return None;
    };
    (!token.is_empty()).then(|| Secret::new(token))
}

/// The values of a query parameter, percent-decoded. `&&` and bare keys occur in the wild and mean nothing.
pub(in crate::gateway) fn parameters<'a>(
    query: Option<&'a str>,
    name: &'a str,
) -> impl Iterator<Item = Cow<'a, str>> {
    query
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(move |(key, _)| *key == name)
        .map(|(_, value)| percent_decoded(value))
}

/// Escapes that mean nothing stay as they are.
pub(in crate::gateway) fn percent_decoded(value: &str) -> Cow<'_, str> {
    if !value.contains(['%', '+']) {
        return Cow::Borrowed(value);
    }
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = |byte: u8| char::from(byte).to_digit(16);
        match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                if let (Some(high), Some(low)) = (hex(*high), hex(*low)) {
                    // Two hex digits fit a byte.
                    bytes.push((high * 16 + low) as u8);
                    rest = after;
                    continue;
                }
                bytes.push(b'%');
            }
            (b'+', _) => bytes.push(b' '),
            (other, _) => bytes.push(*other),
        }
        rest = after;
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn find_in(uri: &str, authorization: &[&str]) -> Result<String, Rejection> {
        let mut request = Request::post(uri);
        for value in authorization {
            request = request.header("authorization", *value);
        }
        let head = request.body(()).expect("valid");
        find(&head).map(|token| token.reveal().to_owned())
    }

    #[test]
    fn a_token_is_found_in_every_place_it_may_stand() {
        for (uri, authorization) in [
            ("/", vec!["Bearer tok"]),
            ("/", vec!["bearer tok"]),
            ("/", vec!["Splunk tok"]),
            ("/", vec!["ApiKey tok"]),
            ("/", vec!["Basic dXNlcjp0b2s="]),
            ("/", vec!["Basic OnRvaw=="]),
            ("/?token=tok", vec![]),
            ("/?type=x&token=tok", vec![]),
            ("/?&&debug&token=tok&type=x", vec![]),
            ("/?token=%74ok", vec![]),
            ("/?token=tok", vec!["Bearer tok"]),
            ("/?token=tok&token=tok", vec![]),
            ("/?token=tok", vec!["Negotiate abc"]),
            ("/?token=tok", vec!["Bearer "]),
        ] {
            assert_eq!(
                find_in(uri, &authorization),
                Ok("tok".to_owned()),
                "{uri} {authorization:?}"
            );
        }
    }

    #[test]
    fn two_different_tokens_are_refused_wherever_they_stand() {
        for (uri, authorization) in [
            ("/?token=a", vec!["Bearer b"]),
            ("/?token=a&token=b", vec![]),
            ("/", vec!["Bearer a", "Bearer b"]),
            ("/", vec!["Bearer a", "Basic OmI="]),
        ] {
            assert_eq!(
                find_in(uri, &authorization),
                Err(Rejection::ConflictingTokens),
                "{uri} {authorization:?}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_stands_there_is_a_token_or_a_refusal(
            authorization in proptest::collection::vec(proptest::collection::vec(0x20u8..=0xff, 0..80), 0..3),
            query in "[!-~]{0,80}",
        ) {
            let mut head = Request::post("/").body(()).expect("valid");
            for value in &authorization {
                if let Ok(value) = http::HeaderValue::from_bytes(value) {
                    head.headers_mut().append(header::AUTHORIZATION, value);
                }
            }
            if let Ok(uri) = format!("/?{query}").parse() {
                *head.uri_mut() = uri;
            }
            match find(&head) {
                Ok(token) => assert!(!token.reveal().is_empty()),
                Err(rejection) => assert!(matches!(
                    rejection,
                    Rejection::MissingToken | Rejection::ConflictingTokens
                )),
            }
        }
    }

    #[test]
    fn no_token_is_a_missing_token() {
        for (uri, authorization) in [
            ("/", vec![]),
            ("/?token", vec![]),
            ("/?token=", vec![]),
            ("/?tokens=a", vec![]),
            ("/", vec!["Bearer"]),
            ("/", vec!["Basic bm9jb2xvbg=="]),
            ("/", vec!["Basic !!!"]),
        ] {
            assert_eq!(
                find_in(uri, &authorization),
                Err(Rejection::MissingToken),
                "{uri} {authorization:?}"
            );
        }
    }
}
