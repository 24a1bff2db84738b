//! What a shared token shows of its account's usage: filters `field = value`, joined by AND or OR.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Characters of a filter's field, and of its value.
const WORD_CHARS_MAX: usize = 128;

/// How filters are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Join {
    /// Shown is what every filter matches.
    And,
    /// Shown is what any filter matches.
    Or,
}

/// What may be seen. Without filters, all of the account's usage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sight {
    pub(super) join: Join,
    pub(super) filters: Vec<Match>,
}

/// What one filter matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Match {
    /// Usage of the signal of that name.
    Signal(String),
    /// Usage of that token.
    TokenId(u64),
    /// Usage of tokens that have that name now.
    TokenName(String),
    /// Nothing: a field that usage doesn't have, or a value that the field can't have.
    Nothing,
}

// === impl Match ===

impl Match {
    /// What that filter means. A field that usage doesn't know matches nothing, whatever its value.
    pub(super) fn of(field: &str, value: &str) -> Self {
        match field {
            "signal" => Self::Signal(value.to_owned()),
            "token_name" => Self::TokenName(value.to_owned()),
            "token_id" => value.parse().map_or(Self::Nothing, Self::TokenId),
            _ => Self::Nothing,
        }
    }
}

// === impl Join ===

impl Join {
    /// The name in the store and in the admin API.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::And => "and",
            Self::Or => "or",
        }
    }

    /// The join of that name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        [Self::And, Self::Or]
            .into_iter()
            .find(|join| join.name() == name)
    }
}

/// Whether a filter's field or value is one: 1 to 128 of `[a-zA-Z0-9_@.-]`.
pub(super) fn is_word(text: &str) -> bool {
    (1..=WORD_CHARS_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'@' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_what_the_pattern_says_and_no_longer_than_is_good() {
        for good in ["a", "A-1_@.z", &"x".repeat(128)] {
            assert!(is_word(good), "{good}");
        }
        for bad in ["", "a b", "ä", "a\n", "a=b", "%", "'", &"x".repeat(129)] {
            assert!(!is_word(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_field_that_usage_does_not_have_matches_nothing() {
        assert_eq!(Match::of("token_id", "7"), Match::TokenId(7));
        for (field, value) in [
            ("token_id", "seven"),
            ("token_id", "-7"),
            ("Signal", "logs"),
            ("env", "prod"),
        ] {
            assert_eq!(Match::of(field, value), Match::Nothing, "{field}");
        }
    }
}
