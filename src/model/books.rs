//! The books: `received = delivered + refused{reason} + lost + in flight`, per account and signal, in items and bytes.

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
    /// Taken by the destination.
    pub delivered: Tally,
    /// By [`Rejection::index`]; the sender was told.
    pub refused: [Tally; Rejection::LABELS.len()],
    /// Whole, and neither delivered nor refused: the request died under us and its sender was told nothing.
    pub lost: Tally,
}

impl Page {
    /// `received` minus everything that has ended.
    pub fn in_flight(&self) -> Tally {
        let ended = self
            .refused
            .iter()
            .fold(self.delivered + self.lost, |sum, refused| sum + *refused);
        self.received - ended
    }

    /// Adds another page, column by column.
    pub fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.delivered += other.delivered;
        self.lost += other.lost;
        for (sum, refused) in self.refused.iter_mut().zip(&other.refused) {
            *sum += *refused;
        }
    }
}

#[derive(Debug, Default)]
struct Columns {
    received: Column,
    delivered: Column,
    refused: [Column; Rejection::LABELS.len()],
    lost: Column,
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

    /// It died under us.
    pub fn lost(&self, signal: Signal, tally: Tally) {
        self.signals[signal.index()].lost.add(tally);
    }

    /// One signal's page now. `received` is read last, so that `in_flight` never falls short of what is open.
    pub fn page(&self, signal: Signal) -> Page {
        let columns = &self.signals[signal.index()];
        let mut page = Page {
            delivered: columns.delivered.read(),
            lost: columns.lost.read(),
            ..Page::default()
        };
        for (read, column) in page.refused.iter_mut().zip(&columns.refused) {
            *read = column.read();
        }
        page.received = columns.received.read();
        page
    }
}
