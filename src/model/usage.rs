//! Usage: what the requests of each token came to, as gateways count it and the control plane keeps it.

use std::{collections::BTreeMap, net::IpAddr};

use super::{Rejection, Tally, TokenId};

/// Senders remembered of a token: the last ones.
pub const SENDERS_MAX: usize = 5;

/// Bytes of a sender's `User-Agent`; the rest is cut.
pub const AGENT_BYTES_MAX: usize = 96;

/// Tokens in one report at most.
pub const REPORT_TOKENS_MAX: usize = 256;

/// A reason that only another version knows: after every [`Rejection::index`].
pub const OTHER_REASON: u8 = Rejection::LABELS.len() as u8;

/// Who ships with a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The `User-Agent` it gives, cut and without control characters; may be empty.
    pub agent: String,
    /// Where its connection comes from: a proxy's, behind one.
    pub address: IpAddr,
    /// Seconds since 1970.
    pub last_used_at: u64,
}

/// What the requests of one token came to over some time. The token's account and signal are the control plane's to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenUsage {
    /// Requests that presented the token, whatever came of them.
    pub requests: u64,
    /// Read off the wire and counted, as in the books.
    pub received: Tally,
    /// Of these, taken by the destination.
    pub delivered: Tally,
    /// Seconds since 1970.
    pub last_used_at: u64,
    /// When a request was last accepted, in milliseconds since 1970 by the gateway's steady clock; 0 = none was.
    pub last_accepted_ms: u64,
    /// Refused requests by [`Rejection::index`] or [`OTHER_REASON`], rising.
    pub refused: Vec<(u8, u64)>,
    /// The last distinct ones, the latest first.
    pub senders: Vec<Sender>,
}

/// One report: applied once, however often it is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageReport {
    /// Of the process that counted; drawn at its start.
    pub epoch: u64,
    /// In this epoch, from 1. A report is sent only once the one before it is acknowledged.
    pub sequence: u64,
    /// About when it was counted, in seconds since 1970 by the gateway's clock.
    pub at: u64,
    /// Each token once.
    pub tokens: BTreeMap<TokenId, TokenUsage>,
}

/// The label of a reason in [`TokenUsage::refused`].
pub fn reason_label(reason: u8) -> &'static str {
    Rejection::LABELS
        .get(usize::from(reason))
        .copied()
        .unwrap_or("other")
}

/// The reason of that label; one that this version doesn't know is [`OTHER_REASON`].
pub fn reason_of(label: &str) -> u8 {
    let known = Rejection::LABELS.iter().position(|known| *known == label);
    known
        .and_then(|index| u8::try_from(index).ok())
        .unwrap_or(OTHER_REASON)
}

// === impl TokenUsage ===

impl TokenUsage {
    /// Adds what was counted at another time, or by another worker. Sums stop at the largest number there is.
    pub fn merge(&mut self, other: Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.received = sum(self.received, other.received);
        self.delivered = sum(self.delivered, other.delivered);
        self.last_used_at = self.last_used_at.max(other.last_used_at);
        self.last_accepted_ms = self.last_accepted_ms.max(other.last_accepted_ms);
        for (reason, requests) in other.refused {
            self.refuse(reason, requests);
        }
        for sender in other.senders {
            self.seen(sender);
        }
    }

    /// Counts refused requests.
    pub fn refuse(&mut self, reason: u8, requests: u64) {
        match self.refused.binary_search_by_key(&reason, |(it, _)| *it) {
            Ok(at) => self.refused[at].1 = self.refused[at].1.saturating_add(requests),
            Err(at) => self.refused.insert(at, (reason, requests)),
        }
    }

    /// Puts a sender among the last ones.
    pub fn seen(&mut self, mut sender: Sender) {
        let is_same = |it: &Sender| it.address == sender.address && it.agent == sender.agent;
        if let Some(at) = self.senders.iter().position(is_same) {
            let before = self.senders.remove(at);
            sender.last_used_at = sender.last_used_at.max(before.last_used_at);
        }
        let at = self
            .senders
            .partition_point(|it| it.last_used_at > sender.last_used_at);
        self.senders.insert(at, sender);
        self.senders.truncate(SENDERS_MAX);
    }
}

fn sum(one: Tally, other: Tally) -> Tally {
    Tally::new(
        one.items.saturating_add(other.items),
        one.bytes.saturating_add(other.bytes),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(n: u8, last_used_at: u64) -> Sender {
        Sender {
            agent: format!("agent {n}"),
            address: IpAddr::from([127, 0, 0, n]),
            last_used_at,
        }
    }

    #[test]
    fn the_last_five_distinct_senders_stay_the_latest_first() {
        let mut usage = TokenUsage::default();
        for (n, at) in [
            (1, 10),
            (2, 20),
            (3, 30),
            (1, 40),
            (4, 35),
            (5, 50),
            (6, 5),
            (7, 60),
        ] {
            usage.seen(sender(n, at));
        }
        let last: Vec<_> = usage.senders.iter().map(|it| it.last_used_at).collect();
        assert_eq!(last, [60, 50, 40, 35, 30]);
        usage.seen(sender(1, 1));
        assert_eq!(
            usage.senders[2],
            sender(1, 40),
            "an old sight is no newer one"
        );
    }

    #[test]
    fn merging_adds_up_and_stops_at_the_largest_number() {
        let mut one = TokenUsage {
            requests: u64::MAX - 1,
            refused: vec![(3, 1), (9, 2)],
            ..TokenUsage::default()
        };
        one.merge(TokenUsage {
            requests: 5,
            received: Tally::new(7, 70),
            delivered: Tally::new(6, 60),
            last_used_at: 9,
            last_accepted_ms: 9_500,
            refused: vec![(1, 4), (9, 1), (OTHER_REASON, 1)],
            senders: vec![sender(1, 9)],
        });
        assert_eq!(one.requests, u64::MAX);
        assert_eq!(
            (one.received, one.delivered),
            (Tally::new(7, 70), Tally::new(6, 60))
        );
        assert_eq!(one.refused, [(1, 4), (3, 1), (9, 3), (OTHER_REASON, 1)]);
        assert_eq!((one.last_used_at, one.senders.len()), (9, 1));
        assert_eq!(one.last_accepted_ms, 9_500);
    }

    #[test]
    fn every_label_is_its_own_reason_and_others_are_other() {
        for (index, label) in Rejection::LABELS.iter().enumerate() {
            assert_eq!(usize::from(reason_of(label)), index);
            assert_eq!(reason_label(index as u8), *label);
        }
        assert_eq!(reason_of("of a later version"), OTHER_REASON);
        assert_eq!(reason_label(OTHER_REASON), "other");
    }
}
