//! What the control plane tells gateways: idempotent upserts, grouped by revision.

use super::{
    Account, AccountId, Destination, DestinationId, Digest, Rates, Signal, Sources, TokenId,
    TokenState,
};

/// A shipping token as gateways know it: never the token itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The public number, safe to show.
    pub id: TokenId,
    /// Keyed digest of the whole token.
    pub digest: Digest,
    /// Whose payloads it ships.
    pub account: AccountId,
    /// The one signal it is good for.
    pub signal: Signal,
    /// Live, disabled or revoked.
    pub state: TokenState,
    /// Seconds since 1970 from which it is dead; 0 = never.
    pub expires_at: u32,
    /// Where it may be used from.
    pub sources: Sources,
    /// Of this token alone, beside its account's.
    pub rates: Rates,
}

/// One upsert or removal. Applying it twice is applying it once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new or changed account.
    Account(Account),
    /// An account that is gone; its tokens are refused.
    AccountRemoved(AccountId),
    /// A new or changed destination.
    Destination(Destination),
    /// A destination that is gone.
    DestinationRemoved(DestinationId),
    /// A new or changed token. Revoked tokens stay, as tombstones.
    Token(Token),
}
