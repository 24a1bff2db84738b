//! Usage reports to the feed and back. What no gateway of ours would send is left out and counted, never an error:
//! a report that is refused would be sent again for ever.

use super::feed as wire;
use crate::model::{
    Tally, TokenId, TokenUsage, UsageReport,
    usage::{
        AGENT_BYTES_MAX, OTHER_REASON, REPORT_TOKENS_MAX, SENDERS_MAX, Sender, reason_label,
        reason_of,
    },
};

/// More than this of anything, of one token in one report, was never counted: 10^15.
const COUNT_MAX: u64 = 1_000_000_000_000_000;

/// What of a report was left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Tokens with impossible numbers, without a number of their own, or past the most that a report may have.
    pub tokens: usize,
}

// === impl wire::Usage ===

impl wire::Usage {
    /// The report as it is sent at `sent_at`, in seconds since 1970 by the same clock as everything in it.
    pub fn of(report: &UsageReport, sent_at: u64) -> Self {
        let mut reasons: Vec<u8> = Vec::new();
        let tokens = report
            .tokens
            .iter()
            .map(|(token, usage)| token_to_wire(*token, usage, &mut reasons))
            .collect();
        Self {
            epoch: report.epoch,
            sequence: report.sequence,
            at: report.at,
            sent_at,
            reasons: reasons
                .into_iter()
                .map(|reason| reason_label(reason).to_owned())
                .collect(),
            tokens,
            sent_at_ms: 0,
        }
    }

    /// The report, and what was left out of it.
    pub fn into_model(self) -> (UsageReport, LeftOut) {
        let reasons: Vec<u8> = self.reasons.iter().map(|label| reason_of(label)).collect();
        let mut left_out = LeftOut {
            tokens: self.tokens.len().saturating_sub(REPORT_TOKENS_MAX),
        };
        let mut report = UsageReport {
            epoch: self.epoch,
            sequence: self.sequence,
            at: self.at,
            ..UsageReport::default()
        };
        for token in self.tokens.into_iter().take(REPORT_TOKENS_MAX) {
            let id = TokenId(token.token);
            match token_to_model(token, &reasons) {
                Some(usage) => report.tokens.entry(id).or_default().merge(usage),
                None => left_out.tokens += 1,
            }
        }
        (report, left_out)
    }
}

fn token_to_wire(token: TokenId, usage: &TokenUsage, reasons: &mut Vec<u8>) -> wire::TokenUsage {
    let refused = usage.refused.iter().map(|(reason, requests)| {
        let place = reasons.iter().position(|it| it == reason);
        let place = place.unwrap_or_else(|| {
            reasons.push(*reason);
            reasons.len() - 1
        });
        wire::RefusedRequests {
            reason: u32::try_from(place).unwrap_or(u32::MAX),
            requests: *requests,
        }
    });
    let senders = usage.senders.iter().map(|sender| wire::Sender {
        agent: sender.agent.clone(),
        address: sender.address.to_string(),
        last_used_at: sender.last_used_at,
    });
    wire::TokenUsage {
        token: token.0,
        requests: usage.requests,
        items: usage.received.items,
        bytes: usage.received.bytes,
        delivered_items: usage.delivered.items,
        delivered_bytes: usage.delivered.bytes,
        last_used_at: usage.last_used_at,
        refused: refused.collect(),
        senders: senders.collect(),
        last_accepted_ms: usage.last_accepted_ms,
    }
}

fn token_to_model(token: wire::TokenUsage, reasons: &[u8]) -> Option<TokenUsage> {
    let mut usage = TokenUsage {
        requests: token.requests,
        received: Tally::new(token.items, token.bytes),
        delivered: Tally::new(token.delivered_items, token.delivered_bytes),
        last_used_at: token.last_used_at,
        last_accepted_ms: token.last_accepted_ms,
        ..TokenUsage::default()
    };
    let counts = [
        token.requests,
        token.items,
        token.bytes,
        token.delivered_items,
        token.delivered_bytes,
    ];
    let refused = token.refused.iter().map(|refused| refused.requests);
    if token.token == 0
        || counts
            .into_iter()
            .chain(refused)
            .any(|count| count > COUNT_MAX)
    {
        return None;
    }
    for refused in token.refused {
        let reason = reasons.get(refused.reason as usize);
        usage.refuse(reason.copied().unwrap_or(OTHER_REASON), refused.requests);
    }
    for sender in token.senders.into_iter().take(SENDERS_MAX) {
        // One that can't be read is no sender; what it sent is counted all the same.
        if let Ok(address) = sender.address.parse() {
            usage.seen(Sender {
                agent: agent(&sender.agent),
                address,
                last_used_at: sender.last_used_at,
            });
        }
    }
    Some(usage)
}

/// Cut at a character, without control characters: it is shown on terminals.
fn agent(text: &str) -> String {
    let mut agent = String::new();
    for char in text.chars() {
        if agent.len() + char.len_utf8() > AGENT_BYTES_MAX {
            break;
        }
        agent.push(if char.is_control() { '?' } else { char });
    }
    agent
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> UsageReport {
        let mut usage = TokenUsage {
            requests: 3,
            received: Tally::new(30, 300),
            delivered: Tally::new(20, 200),
            last_used_at: 1_000,
            last_accepted_ms: 1_000_123,
            ..TokenUsage::default()
        };
        usage.refuse(14, 1);
        usage.refuse(OTHER_REASON, 2);
        usage.seen(Sender {
            agent: "shipper/1".into(),
            address: "::1".parse().expect("an address"),
            last_used_at: 999,
        });
        let mut other = usage.clone();
        other.refuse(2, 7);
        UsageReport {
            epoch: u64::MAX,
            sequence: 9,
            at: 970,
            tokens: [(TokenId(4), usage), (TokenId(5), other)].into(),
        }
    }

    #[test]
    fn a_report_comes_back_as_it_was() {
        let report = report();
        let wire = wire::Usage::of(&report, 1_005);
        assert_eq!(wire.sent_at, 1_005);
        assert_eq!(wire.into_model(), (report, LeftOut::default()));
    }

    #[test]
    fn impossible_tokens_are_left_out_and_the_others_stay() {
        let report = report();
        let mut wire = wire::Usage::of(&report, 0);
        let mut absurd = wire.tokens[0].clone();
        absurd.bytes = u64::MAX;
        let mut absurd_refusals = wire.tokens[0].clone();
        absurd_refusals.refused[0].requests = COUNT_MAX + 1;
        let mut nobodys = wire.tokens[0].clone();
        nobodys.token = 0;
        wire.tokens.extend([absurd, absurd_refusals, nobodys]);
        assert_eq!(wire.into_model(), (report, LeftOut { tokens: 3 }));
    }

    #[test]
    fn what_a_later_version_or_a_broken_one_says_is_bounded() {
        let mut wire = wire::Usage::of(&report(), 0);
        wire.reasons[0] = "of a later version".into();
        wire.tokens[0].refused.push(wire::RefusedRequests {
            reason: 77,
            requests: 1,
        });
        wire.tokens[0].senders[0].agent = format!("a\u{1b}[2J{}", "ü".repeat(500));
        wire.tokens[0].senders.push(wire::Sender {
            address: "nowhere".into(),
            ..wire::Sender::default()
        });
        for n in 0..1_000 {
            let mut more = wire.tokens[1].clone();
            more.token = 100 + n;
            wire.tokens.push(more);
        }
        let (read, left_out) = wire.into_model();
        assert_eq!(read.tokens.len() + left_out.tokens, 1_002);
        assert_eq!(read.tokens.len(), REPORT_TOKENS_MAX);
        let usage = &read.tokens[&TokenId(4)];
        assert_eq!(usage.refused, [(OTHER_REASON, 4)]);
        assert_eq!(usage.senders.len(), 1);
        assert!(usage.senders[0].agent.starts_with("a?[2Jüü"));
        assert!(usage.senders[0].agent.len() <= AGENT_BYTES_MAX);
    }
}
