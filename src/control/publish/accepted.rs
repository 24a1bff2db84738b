//! When tokens that have ended were last accepted, over all gateways: what acknowledgements of their end say.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::{Duration, Instant},
};

use crate::{
    control::record::{self, Millis},
    rpc::feed,
};

/// Nobody waits longer for a receipt, and usage has told it by then.
const KEPT_FOR: Duration = Duration::from_secs(120);
/// Tokens at once; some 9 MB.
const TOKENS_MAX: usize = 1 << 16;
/// What is said of a token again so soon is said with it: a gateway that reconnects and reconnects pushes nobody else out.
const SAID_WITHIN: Duration = Duration::from_secs(10);

/// By token; the oldest goes when there are too many.
#[derive(Default)]
pub(super) struct Accepted {
    tokens: HashMap<u64, Last>,
    /// As they were said; what was said of a token again since is passed over.
    order: VecDeque<(Instant, u64)>,
}

#[derive(Clone, Copy)]
struct Last {
    at: Millis,
    /// Whose token it is; 0 where no gateway has said it.
    account: u64,
    said: Instant,
}

/// What is known of accounts' tokens.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::control) struct OfAccounts {
    pub(in crate::control) last: Option<Millis>,
    /// Tokens that may be theirs.
    pub(in crate::control) others: Vec<(u64, Millis)>,
}

// === impl Accepted ===

impl Accepted {
    /// What a gateway has just said. Its age is placed on our clock: the gateway's own may show anything.
    pub(super) fn note(&mut self, said: &[feed::Accepted]) {
        let (now, since) = (record::now(), Instant::now());
        for accepted in said {
            let at = now.saturating_sub(accepted.age_ms);
            let is_new = |last: &Last| since.duration_since(last.said) > SAID_WITHIN;
            let last = self.tokens.get(&accepted.token);
            if last.is_none_or(is_new) {
                self.order.push_back((since, accepted.token));
            }
            let last = self.tokens.entry(accepted.token).or_insert(Last {
                at,
                account: 0,
                said: since,
            });
            if is_new(last) {
                last.said = since;
            }
            last.at = at.max(last.at);
            last.account = accepted.account.max(last.account);
        }
        while self
            .order
            .front()
            .is_some_and(|(since, _)| self.order.len() > TOKENS_MAX || since.elapsed() > KEPT_FOR)
        {
            let Some((since, token)) = self.order.pop_front() else {
                break;
            };
            if self
                .tokens
                .get(&token)
                .is_some_and(|last| last.said == since)
            {
                self.tokens.remove(&token);
            }
        }
    }

    pub(super) fn of(&self, token: u64) -> Option<Millis> {
        self.tokens.get(&token).map(|last| last.at)
    }

    pub(super) fn of_accounts(&self, accounts: &BTreeSet<u64>) -> OfAccounts {
        let mut found = OfAccounts::default();
        for (token, last) in &self.tokens {
            if last.account == 0 {
                found.others.push((*token, last.at));
            } else if accounts.contains(&last.account) {
                found.last = found.last.max(Some(last.at));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_of_all_gateways_counts_and_memory_is_bounded() {
        let mut accepted = Accepted::default();
        let said = |token, age_ms| {
            let account = 0;
            [feed::Accepted {
                token,
                age_ms,
                account,
            }]
        };
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

    #[test]
    fn what_is_said_again_is_kept_as_long_as_what_is_said_for_the_first_time() {
        let mut accepted = Accepted::default();
        let said = |age_ms| {
            let (token, account) = (1, 0);
            [feed::Accepted {
                token,
                age_ms,
                account,
            }]
        };
        accepted.note(&said(200_000));
        // So long ago that it is forgotten.
        let before = Instant::now() - KEPT_FOR - Duration::from_secs(1);
        accepted.order[0].0 = before;
        accepted.tokens.get_mut(&1).expect("there").said = before;
        accepted.note(&said(2_000));
        let age = record::now() - accepted.of(1).expect("said just now");
        assert!((2_000..3_000).contains(&age), "{age}");
        assert_eq!(accepted.order.len(), 1);
    }

    #[test]
    fn a_gateway_that_says_the_same_again_and_again_pushes_nobody_else_out() {
        let mut accepted = Accepted::default();
        let said = |token| {
            let (age_ms, account) = (1, 0);
            [feed::Accepted {
                token,
                age_ms,
                account,
            }]
        };
        accepted.note(&said(1));
        for _ in 0..=TOKENS_MAX {
            accepted.note(&said(2));
        }
        assert!(accepted.of(1).is_some());
        assert_eq!(accepted.order.len(), 2);
    }

    #[test]
    fn of_accounts_the_latest_of_their_tokens_counts_and_whose_is_not_known_is_told() {
        let mut accepted = Accepted::default();
        for (token, age_ms, account) in [
            (1, 9_000, 7),
            (2, 5_000, 8),
            (3, 1_000, 9),
            (4, 2_000, 0),
            // Said by a gateway that knew it, and then by one that did not.
            (5, 7_000, 8),
            (5, 3_000, 0),
        ] {
            accepted.note(&[feed::Accepted {
                token,
                age_ms,
                account,
            }]);
        }
        let found = accepted.of_accounts(&BTreeSet::from([7, 8]));
        let age = record::now() - found.last.expect("some");
        assert!((3_000..4_000).contains(&age), "{age}");
        let others: Vec<_> = found.others.iter().map(|(token, _)| *token).collect();
        assert_eq!(others, [4]);
        let nobody = accepted.of_accounts(&BTreeSet::from([1]));
        assert_eq!((nobody.last, nobody.others.len()), (None, 1));
    }
}
