//! A line: one account's records of one signal for one destination, handed out in the order in which they were accepted.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
};

use super::contents::{Key, Row};

/// Leases of one line at a time: what keeps a far destination busy, and an account from taking all of a drain's room.
const LEASES_MAX: usize = 8;

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) segment: u32,
    pub(super) at: u32,
}

/// What must be known of a line, whatever its length.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Records that are not done with, leased ones included.
    pub(super) left: u64,
    pub(super) left_bytes: u64,
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
    /// Whether another record may be handed out now.
    pub(super) fn is_open(&self, now_ms: u64) -> bool {
        self.leased.len() < LEASES_MAX && self.rests_until_ms <= now_ms
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
