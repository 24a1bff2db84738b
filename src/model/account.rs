//! Accounts: who owns a payload, under which limits, and where it goes.

use std::fmt;

use super::{DestinationId, Limits, Signal};

/// An account's number, positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId(pub u64);

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether an account's payloads are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountState {
    /// Taken.
    Active,
    /// Every request of the account is refused, whatever its token says.
    Suspended,
}

/// An account as the control plane last stated it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The number that tokens refer to.
    pub id: AccountId,
    /// Unique among accounts; `{account}` in destination headers stands for the *id*, since names can change.
    pub name: String,
    /// Taken or suspended.
    pub state: AccountState,
    /// Ceilings of this account alone.
    pub limits: Limits,
    /// The main account whose rates it is held to as well, with all others that draw on them.
    pub draws_on: Option<AccountId>,
    /// By [`Signal::index`]; `None` refuses the signal as our own misconfiguration.
    pub destinations: [Option<DestinationId>; 3],
}

impl Account {
    /// Where that signal goes.
    pub const fn destination(&self, signal: Signal) -> Option<DestinationId> {
        self.destinations[signal.index()]
    }
}
