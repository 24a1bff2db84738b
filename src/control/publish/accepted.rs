//! When tokens that have ended were last accepted, over all gateways: what acknowledgements of their end say.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use crate::{
    control::record::{self, Millis},
    rpc::feed,
};

/// Nobody waits longer for a receipt, and usage has told it by then.
const KEPT_FOR: Duration = Duration::from_secs(120);
/// Tokens at once; some 5 MB.
const TOKENS_MAX: usize = 1 << 16;

/// By token; the oldest goes when there are too many.
#[derive(Default)]
pub(super) struct Accepted {
    tokens: HashMap<u64, Millis>,
    order: VecDeque<(Instant, u64)>,
}

// === impl Accepted ===

impl Accepted {
    /// What a gateway has just said. Its age is placed on our clock: the gateway's own may show anything.
    pub(super) fn note(&mut self, said: &[feed::Accepted]) {
        let (now, since) = (record::now(), Instant::now());
        for accepted in said {
            let at = now.saturating_sub(accepted.age_ms);
            let last = self.tokens.entry(accepted.token).or_insert_with(|| {
                self.order.push_back((since, accepted.token));
                at
            });
            *last = at.max(*last);
        }
        while self
            .order
            .front()
            .is_some_and(|(since, _)| self.order.len() > TOKENS_MAX || since.elapsed() > KEPT_FOR)
        {
            if let Some((_, token)) = self.order.pop_front() {
                self.tokens.remove(&token);
            }
        }
    }

    pub(super) fn of(&self, token: u64) -> Option<Millis> {
        self.tokens.get(&token).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_of_all_gateways_counts_and_memory_is_bounded() {
        let mut accepted = Accepted::default();
        let said = |token, age_ms| [feed::Accepted { token, age_ms }];
        accepted.note(&said(1, 5_000));
        accepted.note(&said(1, 2_000));
        accepted.note(&said(1, 9_000));
        let age = record::now() - accepted.of(1).expect("noted");
        assert!((2_000..3_000).contains(&age), "{age}");
        accepted.note(&said(2, u64::MAX));
        assert_eq!(
            accepted.of(2),
            Some(0),
            "an impossible age overflows nothing"
        );
        for token in 10..200_000 {
            accepted.note(&said(token, 1));
        }
        assert_eq!(
            (accepted.tokens.len(), accepted.order.len()),
            (TOKENS_MAX, TOKENS_MAX)
        );
        assert_eq!(accepted.of(1), None);
    }
}
