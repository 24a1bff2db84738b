//! Rows as the store keeps them: the model's things with what only people need to know of them.

use std::time::Duration;

use super::{
    plan::Plan,
    scope::{Role, Scopes},
    sight::Join,
    view::LimitsSet,
};
use crate::{
    clock,
    model::{Account, AccountId, Destination, DestinationId, Token, TokenState},
};

/// Milliseconds since 1970.
pub(super) type Millis = u64;

/// Milliseconds since 1970, now.
pub(super) fn now() -> Millis {
    u64::try_from(clock::wall().as_millis()).unwrap_or(u64::MAX)
}

/// RFC 3339 with milliseconds, UTC.
pub(super) fn rfc3339(at: Millis) -> String {
    humantime::format_rfc3339_millis(std::time::UNIX_EPOCH + Duration::from_millis(at)).to_string()
}

/// RFC 3339 of a second since 1970; `None` for 0, which is "never".
pub(super) fn rfc3339_seconds(at: u32) -> Option<String> {
    let at = std::time::UNIX_EPOCH + Duration::from_secs(at.into());
    (at != std::time::UNIX_EPOCH).then(|| humantime::format_rfc3339_seconds(at).to_string())
}

/// A gateway that has followed the feed.
#[derive(Clone, Debug)]
pub(super) struct GatewayRow {
    pub(super) name: String,
    pub(super) instance: String,
    pub(super) version: String,
    /// Acknowledged when it was last seen.
    pub(super) revision: u64,
    pub(super) last_seen_at: Millis,
    /// Drawn for the stream that speaks for it, at whichever control plane; 0 = it has none.
    pub(super) holder: u64,
}

/// Who changes something, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Who {
    /// `user/3`, `api_token/1`, or a name of our own.
    pub(super) name: String,
    /// The peer's address; `None` for ourselves.
    pub(super) address: Option<String>,
}

/// An account and its record.
#[derive(Clone, Debug)]
pub(super) struct AccountRow {
    /// As gateways have it: what the account has not set itself stands here as its parent has it.
    pub(super) account: Account,
    /// The main account, of a sub-account.
    pub(super) parent: Option<AccountId>,
    /// Whether the parent reaches it.
    pub(super) accessible: bool,
    /// The main account's.
    pub(super) plan: Plan,
    /// The reason, when this account itself is suspended.
    pub(super) suspended: Option<String>,
    /// What the account itself has set.
    pub(super) set: Settings,
    pub(super) created_at: Millis,
    pub(super) revision: u64,
}

/// Whose people and API tokens reach an account beside its own: its main account's, unless it is withdrawn. Where the store
/// lists or looks up many accounts, its SQL says the same.
pub(super) fn reached_from(parent: Option<u64>, is_accessible: bool) -> Option<u64> {
    parent.filter(|_| is_accessible)
}

/// What an account has set; the rest is its parent's, or the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// By [`crate::model::Signal::index`]; `None` is inherited, and nowhere for a main account.
    pub(super) destinations: [Option<Option<DestinationId>>; 3],
    pub(super) limits: LimitsSet,
}

/// A destination and its record.
#[derive(Clone, Debug)]
pub(super) struct DestinationRow {
    pub(super) destination: Destination,
    pub(super) created_at: Millis,
    pub(super) revision: u64,
}

/// A token and its record; the token itself stays sealed.
#[derive(Clone, Debug)]
pub(super) struct TokenRow {
    pub(super) token: Token,
    pub(super) account_name: String,
    pub(super) name: String,
    pub(super) description: String,
    /// What a rotation made instead.
    pub(super) replaced_by: Option<u64>,
    pub(super) created_at: Millis,
    pub(super) updated_at: Millis,
    pub(super) revision: u64,
}

/// An API token's record.
#[derive(Clone, Debug)]
pub(super) struct ApiTokenRow {
    pub(super) id: u64,
    /// `None` for an operator's.
    pub(super) account: Option<u64>,
    pub(super) name: String,
    pub(super) scopes: Scopes,
    /// Seconds since 1970, 0 = never.
    pub(super) expires_at: u32,
    pub(super) created_by: String,
    pub(super) created_at: Millis,
    /// Coarse: up to a minute older than the last use.
    pub(super) last_used_at: Option<Millis>,
    pub(super) revoked_at: Option<Millis>,
}

/// A shared token's record.
#[derive(Clone, Debug)]
pub(super) struct SharedTokenRow {
    pub(super) id: u64,
    pub(super) account: u64,
    pub(super) name: String,
    pub(super) join: Join,
    /// Ids of its filters.
    pub(super) filters: Vec<u64>,
    /// Seconds since 1970, 0 = never.
    pub(super) expires_at: u32,
    pub(super) created_by: String,
    pub(super) created_at: Millis,
    pub(super) updated_at: Millis,
    /// Coarse: up to a minute older than the last use.
    pub(super) last_used_at: Option<Millis>,
    pub(super) revoked_at: Option<Millis>,
}

/// A filter of shared tokens.
#[derive(Clone, Debug)]
pub(super) struct SharedFilterRow {
    pub(super) id: u64,
    pub(super) account: u64,
    pub(super) field: String,
    pub(super) value: String,
    pub(super) description: String,
    pub(super) created_by: String,
    pub(super) created_at: Millis,
    pub(super) updated_at: Millis,
}

/// A person.
#[derive(Clone, Debug)]
pub(super) struct UserRow {
    pub(super) id: u64,
    /// `None` for an operator.
    pub(super) account: Option<u64>,
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) created_by: String,
    pub(super) created_at: Millis,
    pub(super) updated_at: Millis,
}

/// A record of the audit log.
#[derive(Clone, Debug)]
pub(super) struct AuditRow {
    pub(super) seq: u64,
    pub(super) revision: u64,
    pub(super) at: Millis,
    pub(super) who: Who,
    pub(super) action: String,
    pub(super) subject: String,
    pub(super) account: Option<u64>,
    pub(super) old: Option<String>,
    pub(super) new: Option<String>,
    /// For operators alone: with the records around it, it would let others try what a record of another account says.
    pub(super) hash: Option<Vec<u8>>,
}

/// A record of the audit log as somebody keeps it elsewhere; all before it is told by its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AuditHead {
    pub(super) seq: u64,
    pub(super) hash: [u8; 32],
}

// === impl Who ===

impl From<&str> for Who {
    fn from(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            address: None,
        }
    }
}

// === impl AccountRow ===

impl AccountRow {
    /// See [`reached_from`].
    pub(super) fn reached_from(&self) -> Option<u64> {
        reached_from(self.parent.map(|main| main.0), self.accessible)
    }
}

// === impl TokenRow ===

impl TokenRow {
    /// What gateways make of the token at that second.
    pub(super) fn state(&self, seconds: u32) -> &'static str {
        let expires_at = self.token.expires_at;
        match self.token.state {
            TokenState::Revoked => "revoked",
            _ if expires_at != 0 && expires_at <= seconds => "expired",
            state => state.name(),
        }
    }
}

// === impl SharedTokenRow ===

impl SharedTokenRow {
    /// Whether it opens anything at that second, in a word.
    pub(super) fn state(&self, seconds: u32) -> &'static str {
        match (self.revoked_at, self.expires_at) {
            (Some(_), _) => "revoked",
            (None, at) if at != 0 && at <= seconds => "expired",
            (None, _) => "live",
        }
    }
}
