//! The last refusals of each token, for whoever holds it: kept in memory that doesn't grow with what is refused.
//!
//! Nothing here is on the way of a request that is taken. A token that the table doesn't know is not kept, so whoever
//! invents tokens fills nothing; the tokens there are share a fixed number of places, the ones refused last keep theirs.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::receipt::{Receipt, RequestId};
use crate::{
    clock,
    model::{Rejection, TokenId},
};

/// Refusals kept of a token.
pub(super) const REFUSALS_MAX: usize = 20;

/// Tokens that share a set, and how many sets there are: 8,192 tokens, some 5 MB once all of them have been refused.
const TOKENS_OF_SET: usize = 8;
const SETS: usize = 1024;

/// What workers share. Every set has a lock of its own, held for a look at eight tokens.
pub struct Refusals {
    sets: Box<[Mutex<Vec<Ring>>]>,
}

/// One refused request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Since 1970, by the wall clock.
    pub(super) at: Duration,
    /// By [`Rejection::index`](crate::model::Rejection::index).
    pub(super) reason: usize,
    /// The request's own number.
    pub(super) request: RequestId,
}

struct Ring {
    token: TokenId,
    /// The latest first.
    refusals: VecDeque<Refusal>,
}

// === impl Refusals ===

impl Refusals {
    /// Keeps a refusal for whoever holds its token, if it has one that we know.
    pub(super) fn remember(&self, receipt: &Receipt, rejection: &Rejection) {
        if let Some(token) = receipt.token() {
            let refusal = Refusal {
                at: clock::wall(),
                reason: rejection.index(),
                request: receipt.id(),
            };
            self.note(token, refusal);
        }
    }

    /// Keeps one; of a full set the token that has not been refused for longest makes room.
    pub(super) fn note(&self, token: TokenId, refusal: Refusal) {
        let mut rings = self
            .set(token)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // The one refused last stands last.
        let mut ring = match rings.iter().position(|ring| ring.token == token) {
            Some(at) => rings.remove(at),
            None => {
                if rings.len() >= TOKENS_OF_SET {
                    rings.remove(0);
                }
                Ring {
                    token,
                    refusals: VecDeque::with_capacity(REFUSALS_MAX),
                }
            }
        };
        ring.refusals.truncate(REFUSALS_MAX - 1);
        ring.refusals.push_front(refusal);
        rings.push(ring);
    }

    /// What is kept of a token, the latest first.
    pub(super) fn of(&self, token: TokenId) -> Vec<Refusal> {
        let rings = self
            .set(token)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let ring = rings.iter().find(|ring| ring.token == token);
        ring.map_or_else(Vec::new, |ring| ring.refusals.iter().copied().collect())
    }

    fn set(&self, token: TokenId) -> &Mutex<Vec<Ring>> {
        // Numbers are given in a row: stirred, an account's tokens don't crowd one set.
        let stirred = token.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        &self.sets[stirred as usize % SETS]
    }
}

impl Default for Refusals {
    fn default() -> Self {
        Self {
            sets: (0..SETS).map(|_| Mutex::default()).collect(),
        }
    }
}

impl fmt::Debug for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Refusals")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::receipt::RequestIds;

    fn refusal(ids: &RequestIds, second: u64) -> Refusal {
        Refusal {
            at: Duration::from_secs(second),
            reason: 3,
            request: ids.next(),
        }
    }

    #[test]
    fn the_last_twenty_stay_the_latest_first_and_each_token_has_its_own() {
        let (refusals, ids) = (Refusals::default(), RequestIds::new());
        for second in 0..50 {
            refusals.note(TokenId(1), refusal(&ids, second));
        }
        refusals.note(TokenId(2), refusal(&ids, 99));
        let seconds: Vec<_> = refusals
            .of(TokenId(1))
            .iter()
            .map(|it| it.at.as_secs())
            .collect();
        assert_eq!(seconds, (30..50).rev().collect::<Vec<_>>());
        assert_eq!(refusals.of(TokenId(2)).len(), 1);
        assert!(refusals.of(TokenId(3)).is_empty());
    }

    #[test]
    fn a_million_refused_tokens_take_no_more_room_than_there_is() {
        let (refusals, ids) = (Refusals::default(), RequestIds::new());
        for token in 1..=1_000_000 {
            refusals.note(TokenId(token), refusal(&ids, token));
        }
        let kept: usize = refusals
            .sets
            .iter()
            .map(|set| set.lock().expect("unpoisoned").len())
            .sum();
        assert_eq!(kept, SETS * TOKENS_OF_SET);
        assert_eq!(refusals.of(TokenId(1_000_000)).len(), 1, "the last is kept");
        assert!(refusals.of(TokenId(1)).is_empty());
    }
}
