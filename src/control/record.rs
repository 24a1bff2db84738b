//! Rows as the store keeps them: the model's things with what only people need to know of them.

use std::time::Duration;

use crate::{
    clock,
    model::{Account, Destination, Token, TokenState},
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
}

/// An account and its record.
#[derive(Clone, Debug)]
pub(super) struct AccountRow {
    pub(super) account: Account,
    pub(super) created_at: Millis,
    pub(super) revision: u64,
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
    /// What a rotation made instead.
    pub(super) replaced_by: Option<u64>,
    pub(super) created_at: Millis,
    pub(super) updated_at: Millis,
    pub(super) revision: u64,
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
