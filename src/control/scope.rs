//! Who may do what, in three words for API tokens and three for people.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What an API token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Scope {
    /// See, but no secret.
    Read,
    /// Create, reveal, change and delete shipping tokens.
    Tokens,
    /// Change accounts, people and API tokens.
    Accounts,
}

/// Some of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Scopes(u8);

/// What a person is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    /// Over all accounts.
    Operator,
    /// Of one account and the sub-accounts that it reaches.
    Admin,
    /// Sees them, and no secret.
    Reader,
}

// === impl Scope ===

impl Scope {
    pub(super) const ALL: [Self; 3] = [Self::Read, Self::Tokens, Self::Accounts];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Tokens => "tokens",
            Self::Accounts => "accounts",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

// === impl Scopes ===

impl Scopes {
    pub(super) const ALL: Self = Self(0b111);

    /// Names with a blank between them, as in the store.
    pub(super) fn parse(text: &str) -> Option<Self> {
        text.split_whitespace()
            .map(|name| Scope::ALL.into_iter().find(|scope| scope.name() == name))
            .collect()
    }

    pub(super) const fn has(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Whether these are no more than those.
    pub(super) const fn within(self, others: Self) -> bool {
        self.0 & !others.0 == 0
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn names(self) -> Vec<&'static str> {
        Scope::ALL
            .into_iter()
            .filter(|scope| self.has(*scope))
            .map(Scope::name)
            .collect()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |all, scope| all | scope.bit()))
    }
}

// === impl Role ===

impl Role {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Admin => "admin",
            Self::Reader => "reader",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        [Self::Operator, Self::Admin, Self::Reader]
            .into_iter()
            .find(|role| role.name() == name)
    }

    /// What such a person may do where they may do anything.
    pub(super) fn scopes(self) -> Scopes {
        match self {
            Self::Operator | Self::Admin => Scopes::ALL,
            Self::Reader => [Scope::Read].into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_read_as_they_are_written_and_unknown_ones_are_not() {
        let two = Scopes::parse("read accounts").expect("known");
        assert!(two.has(Scope::Read) && !two.has(Scope::Tokens) && two.has(Scope::Accounts));
        assert_eq!(Scopes::parse(&two.names().join(" ")), Some(two));
        assert!(two.within(Scopes::ALL) && !Scopes::ALL.within(two));
        assert_eq!(Scopes::parse("read write"), None);
    }
}
