//! What a snapshot takes away: looked at before it takes the place of the table that serves.

use std::fmt;

use tracing::{error, warn};

use super::{state::State, table::Entry};
use crate::{
    clock,
    model::{AccountState, TokenState},
};

/// A snapshot that takes away at least so many live tokens, and more than a tenth of them, is reported as an error; one of
/// another store is not followed.
const DROP_ALARM_TOKENS: usize = 1_000;

/// Live tokens that a snapshot takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    dropped: usize,
    live: usize,
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} live tokens", self.dropped, self.live)
    }
}

impl Taken {
    pub(super) fn of(before: &State, after: &State) -> Self {
        let now = clock::wall_seconds();
        let (was_live, is_live) = (live_in(before, now), live_in(after, now));
        let live = before.table.count(&was_live);
        let dropped = if before.key == after.key {
            before.table.count_missing(&was_live, &after.table, is_live)
        } else {
            // What another key has hashed is never found here, however many tokens there are.
            live
        };
        Self { dropped, live }
    }

    pub(super) fn is_large(self) -> bool {
        self.dropped >= DROP_ALARM_TOKENS && self.dropped > self.live / 10
    }

    pub(super) fn alarm(self, before: &State, after: &State) {
        if self.is_large() {
            error!(taken = %self, store = %after.store, "a snapshot takes more than a tenth of the live tokens away");
        }
        warn_of_past(before, after);
    }
}

fn warn_of_past(before: &State, after: &State) {
    if before.store == after.store && after.revision() < before.revision() {
        warn!(from = %before.revision(), to = %after.revision(), store = %after.store,
            "the control plane's store went back in time, following it");
    }
}

/// Whether a token is good there: one of a suspended account, or past its time, is as good as gone. Where it may be used from and
/// where its account's signals go is not looked at.
fn live_in(state: &State, now: u32) -> impl Fn(&Entry) -> bool + use<> {
    let is_active = state.accounts.which_are(AccountState::Active);
    move |entry| {
        entry.state() == TokenState::Live
            && (entry.expires_at() == 0 || now < entry.expires_at())
            && is_active.get(entry.slot() as usize) == Some(&true)
    }
}
