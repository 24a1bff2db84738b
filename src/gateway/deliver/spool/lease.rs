//! A record in somebody's hands.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    disk::Files,
    engine::{Engine, Read, UNREADABLE_REST},
    head::Record,
    shelf::Picked,
};
use crate::model::{AccountId, Loss, Signal, Tally};

/// One record until it is settled; dropped, it is handed out again.
pub struct Lease {
    engine: Arc<Engine<Files>>,
    picked: Picked,
    is_settled: bool,
}

// === impl Lease ===

impl Lease {
    pub(super) const fn new(engine: Arc<Engine<Files>>, picked: Picked) -> Self {
        Self {
            engine,
            picked,
            is_settled: false,
        }
    }

    /// Whose it is.
    pub const fn account(&self) -> AccountId {
        self.picked.key.account
    }

    /// What it is.
    pub const fn signal(&self) -> Signal {
        self.picked.key.signal
    }

    /// What the books count of it.
    pub const fn tally(&self) -> Tally {
        self.picked.row.tally
    }

    /// What [`Lease::read`] takes in memory, so that it can be claimed before.
    pub const fn bytes(&self) -> u64 {
        self.picked.row.bytes as u64
    }

    /// The record, with the lease on it. None: it is damaged and set aside, or can't be read now and is handed out again.
    /// Blocks on the disk.
    pub fn read(mut self) -> Option<(Self, Record)> {
        match self.engine.read(&self.picked) {
            Read::Whole(record) => Some((self, *record)),
            Read::Damaged => {
                self.is_settled = true;
                None
            }
            Read::Unreadable => {
                self.retry(UNREADABLE_REST);
                None
            }
        }
    }

    /// It is delivered, and does not come back.
    pub fn done(mut self) {
        self.is_settled = true;
        self.engine.end(&self.picked);
    }

    /// Nobody is to have it any more: it is counted as lost.
    pub fn lose(mut self, loss: Loss) {
        self.is_settled = true;
        let Picked { key, row, .. } = &self.picked;
        self.engine.lose(loss, key, row);
        self.engine.end(&self.picked);
    }

    /// It is handed out again, before the others of its line, and nothing of that line for so long.
    pub fn retry(mut self, rest: Duration) {
        self.is_settled = true;
        self.engine.give_back(&self.picked, rest);
    }

    /// Nobody will ever take it: it is put where a person can look at it, and counted as lost.
    pub fn set_aside(mut self, reason: &str) {
        self.is_settled = true;
        self.engine.set_aside(&self.picked, reason);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.is_settled {
            self.engine.give_back(&self.picked, Duration::ZERO);
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.picked.fmt(f)
    }
}
