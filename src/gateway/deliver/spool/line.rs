//! A line: one account's records of one signal for one destination, handed out in the order in which they were accepted.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    ops::AddAssign,
};

use super::contents::{Key, Row};
use crate::model::Tally;

/// Leases of one line at a time, whatever is asked for: enough to keep a far destination busy, and few to remember.
const LEASES_MAX: usize = 64;

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) segment: u32,
    pub(super) at: u32,
}

/// How much is spooled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Records: bodies as they were accepted.
    pub records: u64,
    /// What they take on disk.
    pub bytes: u64,
    /// What the books count of them.
    pub tally: Tally,
}

/// What must be known of a line, whatever its length.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Records that are not done with, leased ones included.
    pub(super) left: Amount,
    /// Everything before it was handed out.
    pub(super) cursor: Place,
    /// Handed out and not settled.
    pub(super) leased: BTreeSet<Place>,
    /// Handed out once and to be handed out again, before all others.
    pub(super) returned: BTreeMap<Place, Row>,
    /// Nothing is handed out before then.
    pub(super) rests_until_ms: u64,
    /// It waits for its turn.
    pub(super) is_listed: bool,
}

// === impl Amount ===

impl Amount {
    /// One record more.
    pub(super) fn add(&mut self, row: &Row) {
        self.records += 1;
        self.bytes += u64::from(row.bytes);
        self.tally += row.tally;
    }

    /// One record less; saturates at nothing.
    pub(super) fn take(&mut self, row: &Row) {
        self.records = self.records.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(u64::from(row.bytes));
        self.tally = self.tally - row.tally;
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        self.records += other.records;
        self.bytes += other.bytes;
        self.tally += other.tally;
    }
}

// === impl Place ===

impl Default for Place {
    fn default() -> Self {
        Self::start_of(0)
    }
}

impl Place {
    /// Before every record of that segment.
    pub(super) const fn start_of(segment: u32) -> Self {
        Self { segment, at: 0 }
    }
}

// === impl Line ===

impl Line {
    /// Whether another record may be handed out now, where so many may be out.
    pub(super) fn is_open(&self, out_max: usize, now_ms: u64) -> bool {
        // What has come back may be what its destination never takes: it goes alone, so that others get past it.
        let out_max = if self.returned.is_empty() { out_max } else { 1 };
        self.leased.len() < out_max.clamp(1, LEASES_MAX) && self.rests_until_ms <= now_ms
    }

    /// Whether nothing is left of it, once it was looked for.
    pub(super) fn is_over(&self, now_ms: u64) -> bool {
        self.left.records == 0
            && self.leased.is_empty()
            && self.returned.is_empty()
            && self.rests_until_ms <= now_ms
    }

    /// Whether a record is in somebody's hands, or was and waits in front of the others.
    pub(super) fn is_out(&self, place: Place) -> bool {
        self.leased.contains(&place) || self.returned.contains_key(&place)
    }
}

// === impl Key ===

impl Key {
    /// A short name, shared with few others.
    pub(super) fn short(&self) -> u32 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish() as u32
    }
}
