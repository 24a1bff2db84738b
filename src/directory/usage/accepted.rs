//! When each token was last accepted, as long as the control plane has not been told: what a receipt of its end must say.
//!
//! A request is accepted at its last look at its token, which holds the lock of its worker's page. So whoever looks here
//! after a change was applied sees every request that passed before it: either its page says so, or its look comes later
//! and finds the change.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::meter::{Meter, Page};
use crate::model::{TokenId, UsageReport};

/// Told of at once, after a snapshot: the latest.
const LATEST_MAX: usize = 4096;

/// Workers' pages, and what was taken from them and not yet told. Milliseconds by [`clock::steady_ms`](crate::clock::steady_ms).
#[derive(Clone, Default)]
pub(super) struct Accepted {
    meters: Arc<Mutex<Vec<Meter>>>,
    untold: Arc<Mutex<HashMap<TokenId, u64>>>,
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
    pub(super) fn restore(&self, token: TokenId, at: u64) {
        note(&mut lock(&self.untold), token, at);
    }

    /// The control plane has applied that report.
    pub(super) fn told(&self, report: &UsageReport) {
        let mut untold = lock(&self.untold);
        for (token, usage) in &report.tokens {
            if untold
                .get(token)
                .is_some_and(|at| *at <= usage.last_accepted_ms)
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
        pages.chain(untold.get(&token).copied()).max()
    }

    /// The same of whatever was accepted last. After a long outage that is a look at every token used since: not for a thread
    /// that others wait for.
    pub(super) fn latest(&self) -> Vec<(TokenId, u64)> {
        let meters = lock(&self.meters);
        let untold = lock(&self.untold);
        let mut all = untold.clone();
        for meter in meters.iter() {
            meter.each_accepted(|token, at| note(&mut all, token, at));
        }
        drop(untold);
        let mut latest: Vec<_> = all.into_iter().collect();
        if latest.len() > LATEST_MAX {
            latest.select_nth_unstable_by_key(LATEST_MAX, |(_, at)| std::cmp::Reverse(*at));
            latest.truncate(LATEST_MAX);
        }
        latest
    }
}

fn note(untold: &mut HashMap<TokenId, u64>, token: TokenId, at: u64) {
    let last = untold.entry(token).or_default();
    *last = at.max(*last);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
