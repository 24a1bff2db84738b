//! When each token was last accepted, as long as the control plane has not been told: what a receipt of its end must say.
//!
//! A request is accepted at its last look at its token, which holds the lock of its worker's page. So whoever looks here
//! after a change was applied sees every request that passed before it: either its page says so, or its look comes later
//! and finds the change.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::meter::{Meter, Page};
use crate::model::{AccountId, TokenId, UsageReport};

/// Told of at once, after a snapshot: the latest.
const LATEST_MAX: usize = 4096;
/// The same of what an earlier process left: the control plane will have been told all of it in a moment.
const LEFT_MAX: usize = 1024;

/// When a token was last accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::directory) struct Acceptance {
    /// Milliseconds by [`clock::steady_ms`](crate::clock::steady_ms); 0 = never.
    pub(in crate::directory) at_ms: u64,
    /// Whose it is; 0 where an earlier process accepted it.
    pub(in crate::directory) account: u64,
}

/// Workers' pages, and what was taken from them and not yet told.
#[derive(Clone, Default)]
pub(super) struct Accepted {
    meters: Arc<Mutex<Vec<Meter>>>,
    untold: Arc<Mutex<HashMap<TokenId, Acceptance>>>,
}

// === impl Accepted ===

impl Accepted {
    /// One more worker's.
    pub(super) fn add(&self, meter: Meter) {
        lock(&self.meters).push(meter);
    }

    /// Takes every worker's page in turn, and gives those that hold something.
    pub(super) fn swap(&self, spare: &mut Page, mut give: impl FnMut(&mut Page)) {
        let meters = lock(&self.meters).clone();
        for meter in meters {
            // Held over both: what is in neither of the two places would be missed by who looks meanwhile.
            let mut untold = lock(&self.untold);
            meter.swap(spare);
            spare.each_accepted(|token, at| note(&mut untold, token, at));
            drop(untold);
            if !spare.is_empty() {
                give(spare);
            }
        }
    }

    /// What an earlier process left.
    pub(super) fn restore(&self, token: TokenId, at_ms: u64) {
        let accepted = Acceptance { at_ms, account: 0 };
        note(&mut lock(&self.untold), token, accepted);
    }

    /// The control plane has applied that report.
    pub(super) fn told(&self, report: &UsageReport) {
        let mut untold = lock(&self.untold);
        for (token, usage) in &report.tokens {
            if untold
                .get(token)
                .is_some_and(|accepted| accepted.at_ms <= usage.last_accepted_ms)
            {
                untold.remove(token);
            }
        }
    }

    /// When a token was last accepted.
    pub(super) fn of(&self, token: TokenId) -> Option<u64> {
        let meters = lock(&self.meters);
        let untold = lock(&self.untold);
        let pages = meters.iter().filter_map(|meter| meter.accepted_at(token));
        let untold = untold.get(&token).map(|accepted| accepted.at_ms);
        pages.chain(untold).max()
    }

    /// Of each of those accounts the token that was accepted last. And what an earlier process left, whosever it is.
    pub(super) fn of_accounts(&self, accounts: &HashSet<AccountId>) -> Vec<(TokenId, Acceptance)> {
        let mut newest: HashMap<u64, (TokenId, Acceptance)> = HashMap::new();
        let mut left = Vec::new();
        self.each(|token, accepted| {
            if accepted.account == 0 {
                left.push((token, accepted));
            } else if accounts.contains(&AccountId(accepted.account)) {
                let this = (token, accepted);
                let last = newest.entry(accepted.account).or_insert(this);
                if last.1.at_ms < accepted.at_ms {
                    *last = this;
                }
            }
        });
        let mut all = latest(left, LEFT_MAX);
        all.extend(newest.into_values());
        all
    }

    /// Whatever was accepted last. After a long outage that is a look at every token used since: not for a thread that others
    /// wait for.
    pub(super) fn latest(&self) -> Vec<(TokenId, Acceptance)> {
        let mut all = HashMap::new();
        self.each(|token, accepted| note(&mut all, token, accepted));
        latest(all.into_iter().collect(), LATEST_MAX)
    }

    /// A token may come several times.
    fn each(&self, mut give: impl FnMut(TokenId, Acceptance)) {
        let meters = lock(&self.meters);
        let untold = lock(&self.untold);
        for (token, accepted) in &*untold {
            give(*token, *accepted);
        }
        for meter in meters.iter() {
            meter.each_accepted(&mut give);
        }
    }
}

fn latest(mut all: Vec<(TokenId, Acceptance)>, most: usize) -> Vec<(TokenId, Acceptance)> {
    if all.len() > most {
        all.select_nth_unstable_by_key(most, |(_, accepted)| std::cmp::Reverse(accepted.at_ms));
        all.truncate(most);
    }
    all
}

fn note(untold: &mut HashMap<TokenId, Acceptance>, token: TokenId, accepted: Acceptance) {
    let last = untold.entry(token).or_default();
    last.at_ms = last.at_ms.max(accepted.at_ms);
    last.account = last.account.max(accepted.account);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
