//! What is counted and not yet acknowledged: reports that have their number, and sums by minute that have none yet.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    sync::Arc,
};

use crate::model::{TokenId, TokenUsage, UsageReport, usage::REPORT_TOKENS_MAX};

const MINUTE_SECONDS: u64 = 60;
const HOUR_MINUTES: u64 = 60;
const DAY_MINUTES: u64 = 24 * 60;

/// Times told apart while nothing is acknowledged: the minutes of this hour, the hours of this day, and a month of days.
const MINUTES_MAX: usize = 128;

/// Entries over all minutes: some 40 MB. Past that minutes are merged, down to one entry per token.
const ENTRIES_MAX: usize = 1 << 18;

/// Past so many tokens in a minute, senders are no longer told: they are most of what an entry weighs.
const SENDERS_OF_TOKENS_MAX: usize = 1 << 16;

type Minute = BTreeMap<TokenId, TokenUsage>;

/// Everything that is not acknowledged.
pub(super) struct Pending {
    epoch: u64,
    /// The sequence that the last report of this epoch was given.
    sequence: u64,
    /// In the order in which they are sent, those of earlier epochs first.
    reports: VecDeque<Arc<UsageReport>>,
    /// By minutes since 1970.
    minutes: BTreeMap<u64, Minute>,
}

// === impl Pending ===

impl Pending {
    /// Nothing yet, in an epoch that is nobody else's.
    pub(super) fn new(epoch: u64) -> Self {
        Self {
            epoch,
            sequence: 0,
            reports: VecDeque::new(),
            minutes: BTreeMap::new(),
        }
    }

    /// Adds what was counted about then, in seconds since 1970.
    pub(super) fn add(&mut self, at: u64, token: TokenId, mut usage: TokenUsage) {
        let minute = self.minutes.entry(at / MINUTE_SECONDS).or_default();
        if minute.len() >= SENDERS_OF_TOKENS_MAX {
            usage.senders = Vec::new();
        }
        minute.entry(token).or_default().merge(usage);
    }

    /// Merges minutes while there are too many of them, or of what they hold: those of an hour that is over, then those of a
    /// day that is over, then the oldest.
    pub(super) fn coarsen(&mut self) {
        while self.minutes.len() > 1
            && (self.minutes.len() > MINUTES_MAX || self.entries() > ENTRIES_MAX)
        {
            let minutes: Vec<_> = self.minutes.keys().copied().collect();
            let newest = minutes.last().copied().unwrap_or_default();
            let within = |span: u64| {
                let is_over = |pair: &&[u64]| {
                    pair[0] / span == pair[1] / span && pair[1] / span != newest / span
                };
                minutes.windows(2).find(is_over)
            };
            let pair = within(HOUR_MINUTES)
                .or_else(|| within(DAY_MINUTES))
                .unwrap_or(&minutes[..2]);
            let older = self.minutes.remove(&pair[0]).unwrap_or_default();
            let newer = self.minutes.entry(pair[1]).or_default();
            for (token, usage) in older {
                newer.entry(token).or_default().merge(usage);
            }
        }
    }

    /// Makes reports of the oldest minute; there must be none on its way.
    pub(super) fn seal(&mut self) {
        let Some((minute, tokens)) = self.minutes.pop_first() else {
            return;
        };
        // Its middle: a little skew between two clocks is no other minute.
        let at = minute * MINUTE_SECONDS + MINUTE_SECONDS / 2;
        let mut part = Minute::new();
        for (token, usage) in tokens {
            part.insert(token, usage);
            if part.len() == REPORT_TOKENS_MAX {
                self.number(at, mem::take(&mut part));
            }
        }
        if !part.is_empty() {
            self.number(at, part);
        }
    }

    fn number(&mut self, at: u64, tokens: Minute) {
        self.sequence += 1;
        self.reports.push_back(Arc::new(UsageReport {
            epoch: self.epoch,
            sequence: self.sequence,
            at,
            tokens,
        }));
    }

    /// Takes a report that an earlier process numbered.
    pub(super) fn restore_report(&mut self, report: UsageReport) {
        self.reports.push_back(Arc::new(report));
    }

    /// Forgets the report that was on its way, if that is the one, and gives it.
    pub(super) fn acknowledged(&mut self, epoch: u64, sequence: u64) -> Option<Arc<UsageReport>> {
        self.reports
            .pop_front_if(|report| (report.epoch, report.sequence) == (epoch, sequence))
    }

    /// The report that is to be sent next.
    pub(super) fn first(&self) -> Option<&Arc<UsageReport>> {
        self.reports.front()
    }

    /// Whether a minute waits to become reports, and no report is in its way.
    pub(super) fn is_sealable(&self) -> bool {
        self.reports.is_empty() && !self.minutes.is_empty()
    }

    /// Whether there is more to seal than the minute that still runs.
    pub(super) fn is_behind(&self) -> bool {
        self.reports.is_empty() && (self.minutes.len() > 1 || self.entries() > ENTRIES_MAX / 4)
    }

    /// Whether everything is acknowledged.
    pub(super) fn is_empty(&self) -> bool {
        self.reports.is_empty() && self.minutes.is_empty()
    }

    /// Everything as it is written down: reports, then minutes in parts that have no number.
    pub(super) fn each(&self) -> impl Iterator<Item = Arc<UsageReport>> {
        let minutes = self.minutes.iter().flat_map(|(minute, tokens)| {
            let tokens: Vec<_> = tokens.iter().collect();
            let parts: Vec<_> = tokens
                .chunks(REPORT_TOKENS_MAX)
                .map(|part| {
                    Arc::new(UsageReport {
                        epoch: 0,
                        sequence: 0,
                        at: minute * MINUTE_SECONDS,
                        tokens: part
                            .iter()
                            .map(|(token, usage)| (**token, (*usage).clone()))
                            .collect(),
                    })
                })
                .collect();
            parts
        });
        self.reports.iter().cloned().chain(minutes)
    }

    /// Entries of all minutes.
    pub(super) fn entries(&self) -> usize {
        self.minutes.values().map(BTreeMap::len).sum()
    }

    #[cfg(test)]
    pub(super) fn minutes(&self) -> Vec<u64> {
        self.minutes.keys().copied().collect()
    }
}
