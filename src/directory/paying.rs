//! Buckets of the tokens that have rates of their own, made when such a token is used.
//!
//! A full bucket is as good as a new one, so what is kept is bounded by what was used of late.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use dashmap::DashMap;

use crate::{
    clock,
    model::{Buckets, Moment, Rates, TokenId},
};

/// Full ones are looked for when there are more, and then at twice as many as were left.
const SWEEP_AT: usize = 4096;

/// By token. Nobody who was not authenticated gets here.
#[derive(Debug)]
pub(super) struct Paying {
    tokens: DashMap<TokenId, (Rates, Arc<Buckets>)>,
    sweep_at: AtomicUsize,
}

// === impl Paying ===

impl Default for Paying {
    fn default() -> Self {
        Self {
            tokens: DashMap::new(),
            sweep_at: AtomicUsize::new(SWEEP_AT),
        }
    }
}

impl Paying {
    /// The token's buckets, filled at those rates from now on.
    pub(super) fn buckets(&self, id: TokenId, rates: &Rates) -> Arc<Buckets> {
        if let Some(found) = self.tokens.get(&id).filter(|found| found.0 == *rates) {
            return Arc::clone(&found.1);
        }
        let now = Moment(clock::steady_ns());
        let mut found = self.tokens.entry(id).or_default();
        found.1.set(rates, now);
        found.0 = *rates;
        Arc::clone(&found.1)
    }

    /// Forgets those that nobody uses and that are full. For whoever changes the table: it looks at them all.
    pub(super) fn sweep(&self) {
        if self.tokens.len() <= self.sweep_at.load(Ordering::Relaxed) {
            return;
        }
        let now = Moment(clock::steady_ns());
        self.tokens
            .retain(|_, (_, buckets)| Arc::strong_count(buckets) > 1 || !buckets.is_full(now));
        let next = (self.tokens.len() * 2).max(SWEEP_AT);
        self.sweep_at.store(next, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Measure, Rate, Share};

    const SLOW: Rates = Rates(
        [Rate {
            per_second: 1,
            burst: 2,
        }; 3],
    );

    #[test]
    fn a_tokens_debt_outlives_a_change_of_its_rates_and_full_buckets_go() {
        let paying = Paying::default();
        let now = Moment(clock::steady_ns());
        let owing = paying.buckets(TokenId(1), &SLOW);
        owing
            .of(Measure::Bytes)
            .charge(1000, &mut Share::default(), now);
        let faster = Rates(
            [Rate {
                per_second: 2,
                burst: 0,
            }; 3],
        );
        let again = paying.buckets(TokenId(1), &faster);
        assert!(Arc::ptr_eq(&owing, &again));
        assert!(
            again
                .of(Measure::Bytes)
                .level(now)
                .is_some_and(|level| level < -990)
        );
        for id in 2..20_000 {
            paying.buckets(TokenId(id), &SLOW);
        }
        paying.sweep();
        assert!(
            paying.tokens.len() < 2 * SWEEP_AT,
            "{}",
            paying.tokens.len()
        );
        assert!(Arc::ptr_eq(&owing, &paying.buckets(TokenId(1), &faster)));
    }
}
