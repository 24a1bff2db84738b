//! Which words of a caller's an answer says again: a token may have been pasted into the wrong place, and an answer is kept by
//! more than its caller.

use super::Error;

/// No text that may be a token is shorter.
const TOKEN_CHARS_MIN: usize = 16;
/// What is longer is said again by nobody.
const CHARS_MAX: usize = 40;

/// Whether a field's name may be said again: it is short and looks like one, and not like a token.
pub(super) fn is_field(name: &str) -> bool {
    let is_short = name.len() < TOKEN_CHARS_MIN
        && name
            .bytes()
            .all(|it| it.is_ascii_alphanumeric() || it == b'_');
    !name.is_empty() && !is_ours(name) && (is_short || is_words(name, b"_"))
}

/// Whether the name of an account, a header or the like may be said again: most of them are short, or words.
pub(super) fn is_name(name: &str) -> bool {
    let is_short = name.len() < TOKEN_CHARS_MIN;
    !is_ours(name) && (is_short || is_words(name, b"_-"))
}

/// There is nothing of that kind with that name.
pub(super) fn none_named(what: &str, name: &str) -> Error {
    Error::NotFound(match is_name(name) {
        true => format!("there is no {what} named {name:?}"),
        false => format!("there is no such {what}"),
    })
}

/// Every token that we make begins so.
fn is_ours(name: &str) -> bool {
    name.starts_with("whf_")
}

/// Tokens are hardly ever words.
fn is_words(name: &str, between: &[u8]) -> bool {
    let is_between = |it: u8| between.contains(&it);
    let mut words = name.as_bytes().split(|it| is_between(*it));
    name.len() <= CHARS_MAX
        && name.bytes().any(is_between)
        && words.all(|word| word.len() < TOKEN_CHARS_MIN && word.iter().all(u8::is_ascii_lowercase))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKENS: [&str; 6] = [
        "whf_s_0123456789abcdefghijABCDEFGHIJ0123456789",
        "whf_s_",
        "AbCdEfGhIjKlMnOpQrStUvWxYzAbCdEf",
        "0123456789abcdef",
        // As a header's name has it.
        "x-abcdefghijklmnopqrstuvwxyzabcdef",
        "d41d8cd9-8f00-b204-e980-0998ecf8427e",
    ];

    #[test]
    fn a_fields_name_is_short_or_made_of_words_and_no_token_is_one() {
        for name in ["name", "expiresAt", "bytes_per_minute", "x2"] {
            assert!(is_field(name), "{name}");
        }
        let others = [
            "",
            "a b",
            "a-b",
            "ä",
            "abcdefghijabcdefghijabcdefghij_abcdefghij",
        ];
        for other in others.into_iter().chain(TOKENS) {
            assert!(!is_field(other), "{other}");
        }
    }

    #[test]
    fn a_name_is_said_again_when_it_is_short_or_made_of_words_and_no_token_is() {
        for name in [
            "",
            "acme",
            "Acme & Söhne",
            "acme-production-eu",
            "x-scope-orgid",
        ] {
            assert!(is_name(name), "{name}");
            let said = none_named("account", name).to_string();
            assert_eq!(said, format!("there is no account named {name:?}"));
        }
        for token in TOKENS {
            assert!(!is_name(token), "{token}");
            let said = none_named("account", token).to_string();
            assert_eq!(said, "there is no such account");
        }
    }
}
