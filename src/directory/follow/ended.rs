//! Tokens that a change has ended here, by themselves or with their account, and when they were last accepted: said with the
//! acknowledgement of that change.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    clock,
    directory::usage::Acceptance,
    model::{AccountId, AccountState, Change, TokenId, TokenState},
    rpc::feed::Accepted,
};

/// So long they are said again over every new connection: an acknowledgement may have died with the last one, and nobody
/// waits longer for a receipt.
const AGAIN_FOR: Duration = Duration::from_secs(120);
/// In a hello at most; some 200 KiB.
const ENDED_MAX: usize = 16_384;

/// What is said and still to be said.
#[derive(Clone, Default)]
pub(super) struct Ended(Arc<Mutex<Entries>>);

#[derive(Default)]
struct Entries {
    entries: VecDeque<Entry>,
    /// The revision up to which they were said over this connection.
    said: u64,
}

struct Entry {
    revision: u64,
    token: TokenId,
    accepted: Acceptance,
    since: Instant,
}

/// What a change ends.
pub(super) enum End {
    Token(TokenId, AccountId),
    /// All of its tokens.
    Account(AccountId),
}

/// What that change ends, if it does.
pub(super) fn by(change: &Change) -> Option<End> {
    match change {
        Change::Token(token) => {
            let has_expired = token.expires_at != 0 && token.expires_at <= clock::wall_seconds();
            let is_over = token.state != TokenState::Live || has_expired;
            is_over.then_some(End::Token(token.id, token.account))
        }
        Change::Account(account) => {
            (account.state == AccountState::Suspended).then_some(End::Account(account.id))
        }
        _ => None,
    }
}

// === impl Ended ===

impl Ended {
    /// Tokens that had been accepted when the revision that ends them was applied; revisions rise.
    pub(super) fn add(&self, accepted: impl IntoIterator<Item = (u64, TokenId, Acceptance)>) {
        let mut held = self.lock();
        let since = Instant::now();
        for (revision, token, accepted) in accepted {
            held.entries.push_back(Entry {
                revision,
                token,
                accepted,
                since,
            });
        }
        while held.entries.len() > ENDED_MAX
            || held
                .entries
                .front()
                .is_some_and(|entry| entry.since.elapsed() > AGAIN_FOR)
        {
            held.entries.pop_front();
        }
    }

    /// With a hello that speaks for that revision: everything up to it, whether or not it was said before.
    pub(super) fn again(&self, revision: u64) -> Vec<Accepted> {
        self.lock().said = 0;
        self.up_to(revision)
    }

    /// With the acknowledgement of that revision: what was not said over this connection.
    pub(super) fn up_to(&self, revision: u64) -> Vec<Accepted> {
        let mut held = self.lock();
        let now = clock::steady_ms();
        let said = std::mem::replace(&mut held.said, revision);
        let due = |entry: &&Entry| (said + 1..=revision).contains(&entry.revision);
        held.entries
            .iter()
            .filter(due)
            .map(|entry| Accepted {
                token: entry.token.0,
                age_ms: now.saturating_sub(entry.accepted.at_ms),
                account: entry.accepted.account,
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
