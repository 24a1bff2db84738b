//! The spool: payloads that are safe on this machine's disk until their destination takes them.
//!
//! # A record's way
//!
//! ```text
//!  append     a budget for its account and for all; refused at once while the disk fails or stalls     spool/budget
//!    |
//!  commit     one log for all accounts: whatever waits is written and synced together, then answered   spool/writer
//!    |
//!  next       records of one destination: each account and signal has a line of its own, in order      spool/turns
//!    |
//!  Lease      read and checked; done, handed out again, or set aside                                   spool/lease
//!    |
//!  done       eight bytes beside the segment, not synced; a segment with nothing left is deleted       spool/journal
//! ```
//!
//! # On disk
//!
//! ```text
//! spool/NNNNNNNN-<id>.seg     records in the order of their commits                                    spool/frame
//!                    .index   what is in a segment that is full: which lines, where                    spool/contents
//!                    .done    what is done with                                                        spool/journal
//!                    .part    a segment to be, of what is left in sparse ones                          spool/merge
//! spool/damaged, refused      what a person should look at                                             spool/aside
//! ```
//!
//! Segments are all that must survive: the index is made again by a scan, and without the journal records are delivered twice.
//!
//! # What holds
//! - `append` says yes after the sync that covers the record, and the record comes back, whole, until it is done with.
//! - What was refused does not come back, unless a crash comes before the disk learns of it; then it comes back whole.
//! - A damaged record costs itself: what follows is found by its mark. A start lists files and reads none.
//! - In memory are a few numbers for each segment and each line, and the rows of nine segments at most, however much is spooled.
//! - A line that is stuck holds up nothing but itself.
//!
//! Live traffic comes first because whoever calls [`Spool::next`] says when; pace and retries are theirs, too: see
//! [`super::redeliver`].

mod budget;
mod writer;
mod line;
mod shelf;
mod turns;
mod lease;
mod head;
mod frame;
mod scan;
mod segment;
mod contents;
mod journal;
mod name;
mod disk;
mod engine;
mod recover;
mod expire;
mod merge;
mod aside;
mod running;
mod refusal;
mod config;
pub mod offline;

use std::{io, path::Path, sync::Arc};

pub use config::{Config, Revoked};
pub use head::{Origin, Record};
pub use lease::Lease;
pub use line::Amount;
pub use refusal::Refusal;

use crate::{
    clock,
    gateway::admit::Held,
    model::{AccountId, DestinationId, Loss, Payload, Signal, Tally},
};
use disk::Files;
use engine::World;
use running::Running;

/// A handle on the running spool; clones share it.
#[derive(Clone)]
pub struct Spool(Arc<Running<Files>>);

/// What was lost of which account's signal, and why.
pub type Losses = Vec<(AccountId, Signal, Loss, Tally)>;

/// What was found at the start of which account's signal.
pub type Findings = Vec<(AccountId, Signal, Tally)>;

/// What an account has spooled of a signal for a destination.
pub type Listed = ((AccountId, Signal, DestinationId), Amount);

/// What the spool holds and has done, for the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// What is not done with.
    pub left: Amount,
    /// What all segments take, and what waits to be written.
    pub disk_bytes: u64,
    /// Files of records.
    pub segments: u64,
    /// The disk failed, and all that comes is refused.
    pub is_failing: bool,
    /// Since the start: syncs of records.
    pub syncs: u64,
    /// Since the start: writes and syncs that failed.
    pub failures: u64,
    /// Since the start: damaged pieces found.
    pub damaged_records: u64,
    /// Since the start: their bytes.
    pub damaged_bytes: u64,
    /// Since the start: bytes of commits that a crash cut off.
    pub torn_bytes: u64,
}

// === impl Spool ===

impl Spool {
    /// Makes the folder and takes its lock, lists what is there and starts the threads. What is there is looked into
    /// afterwards.
    ///
    /// # Errors
    /// The folder can't be made, listed or locked, or a thread can't be started.
    pub fn start(config: Config, folder: &Path) -> io::Result<Self> {
        let disk = Files::own(folder, &[aside::DAMAGED, aside::REFUSED])?;
        Ok(Self(Running::start(disk, config, world())?))
    }

    /// As it was started.
    pub fn config(&self) -> &Config {
        &self.0.engine.config
    }

    /// Returns when the payload is safe: written *and* synced. A future that is dropped before takes the payload back.
    ///
    /// # Errors
    /// Why it was not taken: nothing of it is kept.
    pub async fn append(
        &self,
        origin: Origin,
        payload: &Payload,
        held: Held,
    ) -> Result<(), Refusal> {
        self.0.append(origin, payload, held).await
    }

    /// The next record for that destination, the lines taking turns; none when there is none now. Of each line so many are
    /// out at a time, the same number at every call: one keeps its order whatever happens, more keep a far destination busy.
    /// Reads at most an index from the disk, so it is for threads that may wait.
    pub fn next(&self, destination: DestinationId, out_max: usize) -> Option<Lease> {
        self.0.next(destination, out_max)
    }

    /// What was lost since this was last asked, for the books.
    pub fn take_losses(&self) -> Losses {
        self.0.engine.take_losses()
    }

    /// What was found since this was last asked, of an earlier process, for the books.
    pub fn take_findings(&self) -> Findings {
        self.0.engine.take_findings()
    }

    /// Where something is to go, also when all of it rests.
    pub fn destinations(&self) -> Vec<DestinationId> {
        self.0.engine.shelf().destinations()
    }

    /// Whether an account has anything of a signal spooled for that destination.
    pub fn has(&self, account: AccountId, signal: Signal, destination: DestinationId) -> bool {
        self.0.engine.shelf().has(account, signal, destination)
    }

    /// Bytes that an account has spooled.
    pub fn bytes_of(&self, account: AccountId) -> u64 {
        self.0.engine.budget.bytes_of(account)
    }

    /// What is not done with, by account, signal and destination. Grows while a start looks into what was there.
    pub fn amounts(&self) -> Vec<Listed> {
        self.0.engine.amounts()
    }

    /// What it holds and has done.
    pub fn usage(&self) -> Usage {
        self.0.engine.usage()
    }

    /// Takes nothing more, commits what waits and ends the threads. Blocks until then.
    pub fn close(&self) {
        self.0.close();
    }
}

fn world() -> World {
    World {
        now_ms: Arc::new(clock::steady_ms),
        id: Arc::new(|| getrandom::u64().map_err(io::Error::other)),
    }
}

#[cfg(test)]
mod tests;
