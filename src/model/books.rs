//! The books: `received + carried = delivered + spooled + refused{reason} + lost{reason} + in flight`, per account and signal, in
//! items and bytes.

use std::{
    ops::{Add, AddAssign, Sub},
    sync::atomic::{AtomicU64, Ordering},
};

use super::{Rejection, Signal};

/// Items and inflated bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Lines, log records, spans, data points, samples, histograms, exemplars.
    pub items: u64,
    /// Bytes of bodies after inflation.
    pub bytes: u64,
}

impl Tally {
    /// Both at once.
    pub const fn new(items: u64, bytes: u64) -> Self {
        Self { items, bytes }
    }

    /// So many of the items, and their share of the bytes.
    pub fn part(self, items: u64) -> Self {
        if self.items == 0 {
            return Self::new(0, 0);
        }
        let items = items.min(self.items);
        let bytes = u128::from(self.bytes) * u128::from(items) / u128::from(self.items);
        Self::new(items, u64::try_from(bytes).unwrap_or(self.bytes))
    }
}

impl Add for Tally {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self::new(self.items + other.items, self.bytes + other.bytes)
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Tally {
    type Output = Self;
    /// Saturates at nothing.
    fn sub(self, other: Self) -> Self {
        Self::new(
            self.items.saturating_sub(other.items),
            self.bytes.saturating_sub(other.bytes),
        )
    }
}

/// Why something is over that nobody took, and whose sender was told nothing of it, or was told that it is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Loss {
    /// Its request died under us, and its sender was told nothing.
    Died,
    /// It was spooled, and waited too long.
    Expired,
    /// It was damaged on the spool's disk.
    Damaged,
    /// It was spooled, and its destination refused it for good: it is set aside.
    Refused,
    /// It was spooled, and an operator wanted it dropped.
    Dropped,
}

impl Loss {
    /// Every one, in the order of [`Loss::index`].
    pub const ALL: [Self; 5] = [
        Self::Died,
        Self::Expired,
        Self::Damaged,
        Self::Refused,
        Self::Dropped,
    ];

    /// A place in an array of all.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The label in metrics and books.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Died => "died",
            Self::Expired => "expired",
            Self::Damaged => "damaged",
            Self::Refused => "refused",
            Self::Dropped => "dropped",
        }
    }
}

#[derive(Debug, Default)]
struct Column {
    items: AtomicU64,
    bytes: AtomicU64,
}

impl Column {
    fn add(&self, tally: Tally) {
        self.items.fetch_add(tally.items, Ordering::Relaxed);
        self.bytes.fetch_add(tally.bytes, Ordering::Relaxed);
    }

    fn read(&self) -> Tally {
        Tally::new(
            self.items.load(Ordering::Relaxed),
            self.bytes.load(Ordering::Relaxed),
        )
    }
}

/// One signal's columns, read at one moment; while requests run, `in_flight` is what is not yet settled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Read off the wire and counted.
    pub received: Tally,
    /// Found in the spool at the start: an earlier process received it.
    pub carried: Tally,
    /// Taken by the destination.
    pub delivered: Tally,
    /// Safe in the spool, and not yet taken by the destination.
    pub spooled: Tally,
    /// By [`Rejection::index`]; the sender was told.
    pub refused: [Tally; Rejection::LABELS.len()],
    /// By [`Loss::index`].
    pub lost: [Tally; Loss::ALL.len()],
}

impl Page {
    /// What was received or carried over, minus everything that is safe or has ended.
    pub fn in_flight(&self) -> Tally {
        let ended = self.refused.iter().chain(&self.lost);
        let settled = ended.fold(self.delivered + self.spooled, |sum, ended| sum + *ended);
        self.received + self.carried - settled
    }

    /// Lost for whatever reason.
    pub fn lost_in_all(&self) -> Tally {
        self.lost
            .iter()
            .fold(Tally::default(), |sum, lost| sum + *lost)
    }

    /// Adds another page, column by column.
    pub fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.carried += other.carried;
        self.delivered += other.delivered;
        self.spooled += other.spooled;
        let sums = self.refused.iter_mut().chain(&mut self.lost);
        for (sum, other) in sums.zip(other.refused.iter().chain(&other.lost)) {
            *sum += *other;
        }
    }
}

#[derive(Debug, Default)]
struct Columns {
    received: Column,
    carried: Column,
    delivered: Column,
    /// Ever put into the spool, or found there.
    spooled: Column,
    /// Of that, what is there no more.
    unspooled: Column,
    refused: [Column; Rejection::LABELS.len()],
    lost: [Column; Loss::ALL.len()],
}

/// One account's books. Written only by the receipts that [`Books`]' owner hands out; read by anybody.
#[derive(Debug, Default)]
pub struct Books {
    signals: [Columns; 3],
}

impl Books {
    /// Something was read off the wire.
    pub fn received(&self, signal: Signal, tally: Tally) {
        self.signals[signal.index()].received.add(tally);
    }

    /// The destination took it.
    pub fn delivered(&self, signal: Signal, tally: Tally) {
        self.signals[signal.index()].delivered.add(tally);
    }

    /// It was refused, and the sender told.
    pub fn refused(&self, signal: Signal, reason: usize, tally: Tally) {
        self.signals[signal.index()].refused[reason].add(tally);
    }

    /// Nobody took it, and nobody will.
    pub fn lost(&self, signal: Signal, loss: Loss, tally: Tally) {
        self.signals[signal.index()].lost[loss.index()].add(tally);
    }

    /// It is safe in the spool.
    pub fn spooled(&self, signal: Signal, tally: Tally) {
        self.signals[signal.index()].spooled.add(tally);
    }

    /// An earlier process' is found in the spool.
    pub fn carried(&self, signal: Signal, tally: Tally) {
        let columns = &self.signals[signal.index()];
        columns.carried.add(tally);
        columns.spooled.add(tally);
    }

    /// It is in the spool no more; what has become of it comes next.
    pub fn unspooled(&self, signal: Signal, tally: Tally) {
        self.signals[signal.index()].unspooled.add(tally);
    }

    /// One signal's page now. What has ended is read first and `received` last, so that `in_flight` never falls short of what is
    /// open.
    pub fn page(&self, signal: Signal) -> Page {
        let columns = &self.signals[signal.index()];
        let mut page = Page {
            delivered: columns.delivered.read(),
            ..Page::default()
        };
        let reads = page.refused.iter_mut().chain(&mut page.lost);
        for (read, column) in reads.zip(columns.refused.iter().chain(&columns.lost)) {
            *read = column.read();
        }
        let spooled = columns.spooled.read();
        page.spooled = spooled - columns.unspooled.read();
        page.carried = columns.carried.read();
        page.received = columns.received.read();
        page
    }
}
