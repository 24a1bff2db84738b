//! Whether the disk keeps up: what is under way there, and until when it should be done.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// A write or sync that takes longer is overdue. Far above a disk's seek (tens of milliseconds) and what waits before it in
/// the device's queue; a sync that takes so long takes seconds more, as a rule.
const OVERDUE_AFTER: Duration = Duration::from_secs(1);
/// A slow disk's rate: what is large has that much longer.
const BYTES_PER_MILLISECOND: u64 = (16 << 20) / 1000;
/// Nothing is under way.
const NEVER: u64 = u64::MAX;

/// Times are in milliseconds since the start.
pub(super) struct Watch {
    start: Instant,
    /// When each should be done: one a thread at most.
    under_way: Mutex<Vec<u64>>,
    /// The earliest of them, for readers without a lock.
    earliest: AtomicU64,
}

/// One write or sync; done when dropped.
pub(super) struct UnderWay<'a> {
    watch: &'a Watch,
    due: u64,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            under_way: Mutex::default(),
            earliest: AtomicU64::new(NEVER),
        }
    }
}

// === impl Watch ===

impl Watch {
    /// A write or sync of so many bytes begins.
    pub(super) fn begin(&self, bytes: u64) -> UnderWay<'_> {
        let allowed = OVERDUE_AFTER + Duration::from_millis(bytes / BYTES_PER_MILLISECOND);
        let due = millis(self.start.elapsed() + allowed);
        let mut under_way = self.lock();
        under_way.push(due);
        self.note_earliest(&under_way);
        UnderWay { watch: self, due }
    }

    /// Whether one of them should have been done by now.
    pub(super) fn is_overdue(&self) -> bool {
        let earliest = self.earliest.load(Ordering::Relaxed);
        earliest != NEVER && earliest < millis(self.start.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u64>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn note_earliest(&self, under_way: &[u64]) {
        let earliest = under_way.iter().copied().min().unwrap_or(NEVER);
        self.earliest.store(earliest, Ordering::Relaxed);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(NEVER)
}

// === impl UnderWay ===

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut under_way = self.watch.lock();
        if let Some(place) = under_way.iter().position(|due| *due == self.due) {
            under_way.swap_remove(place);
        }
        self.watch.note_earliest(&under_way);
    }
}
