//! A segment as it is remembered: a few numbers, however many records are in it.

use std::collections::BTreeSet;

use super::{
    contents::{Contents, Key},
    frame::Span,
    journal::Journal,
    name::Name,
};

/// What may happen to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Records are added.
    Live,
    /// Nothing is added any more.
    Sealed,
    /// Its records are being written into another one: nothing may be handed out of it.
    Busy,
}

pub(super) struct Segment<F> {
    pub(super) name: Name,
    pub(super) span: Span,
    pub(super) state: State,
    /// Bytes that records may lie in. What follows was never acknowledged.
    pub(super) end: u64,
    /// What it takes on disk.
    pub(super) file_bytes: u64,
    /// Records that are not done with, and their bytes.
    pub(super) left: u64,
    pub(super) left_bytes: u64,
    /// In somebody's hands.
    pub(super) leased: u32,
    pub(super) newest_ms: u64,
    /// It is not merged before then.
    pub(super) rests_until_ms: u64,
    /// What is in it stands on disk beside it; what does not must stay in memory.
    pub(super) is_indexed: bool,
    /// Short names of the lines that may have something left here, sorted; a line that is not among them has not.
    lines: Box<[u32]>,
    pub(super) journal: Journal<F>,
}

/// What is known of a segment that is read from.
pub(super) struct Opened {
    pub(super) contents: Contents,
    /// When it was last needed, by count.
    pub(super) used: u64,
}

// === impl Segment ===

impl<F: Send + Sync> Segment<F> {
    /// With those contents.
    pub(super) fn new(name: Name, span: Span, file_bytes: u64, contents: &Contents) -> Self {
        let mut segment = Self {
            name,
            span,
            state: State::Sealed,
            end: contents.end,
            file_bytes,
            left: 0,
            left_bytes: 0,
            leased: 0,
            newest_ms: contents.newest_ms,
            rests_until_ms: 0,
            is_indexed: true,
            lines: Box::default(),
            journal: Journal::new(name),
        };
        segment.count(contents);
        segment
    }

    /// Takes over what is left, by the contents.
    pub(super) fn count(&mut self, contents: &Contents) {
        let mut lines = BTreeSet::new();
        let mut last: Option<Key> = None;
        (self.left, self.left_bytes) = (0, 0);
        for (key, row) in contents.left() {
            self.left += 1;
            self.left_bytes += u64::from(row.bytes);
            if last.replace(key) != Some(key) {
                lines.insert(key.short());
            }
        }
        self.lines = lines.into_iter().collect();
    }

    /// Whether something of that line may be left here.
    pub(super) fn may_hold(&self, key: &Key) -> bool {
        let may = || self.lines.binary_search(&key.short()).is_ok();
        self.left > 0 && (self.state == State::Live || may())
    }

    /// Whether it can go.
    pub(super) fn is_spent(&self) -> bool {
        self.state == State::Sealed && self.left == 0 && self.leased == 0
    }
}
