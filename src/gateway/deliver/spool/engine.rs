//! The spool without its threads: everything that they and whoever delivers share, one call at a time.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tracing::{error, warn};

use super::{
    Config, Findings, Listed, Losses, Usage,
    aside::Asides,
    budget::Budget,
    contents::{self, Key, Row},
    disk::Disk,
    head::Record,
    line::{Amount, Place},
    name::{Kind, Name},
    recover::{self, Earlier},
    scan,
    shelf::{Gone, Picked, Shelf},
};
use crate::{
    gateway::deliver::watch::Watch,
    model::{AccountId, Chunks, DestinationId, Loss, Signal, Tally},
};

/// What is neither disk nor configuration: time, and chance.
#[derive(Clone)]
pub(super) struct World {
    /// Milliseconds since 1970 that never go back.
    pub(super) now_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Sixty-four bits that nobody can guess.
    pub(super) id: Arc<dyn Fn() -> io::Result<u64> + Send + Sync>,
}

pub(super) struct Engine<D: Disk> {
    pub(super) disk: D,
    pub(super) config: Config,
    pub(super) world: World,
    pub(super) budget: Budget,
    pub(super) watch: Watch,
    /// The disk failed and no probe has gone through since.
    pub(super) is_failing: AtomicBool,
    pub(super) counts: Counts,
    shelf: Mutex<Shelf<D>>,
    earlier: Mutex<Earlier>,
    losses: Mutex<HashMap<(AccountId, usize, Loss), Tally>>,
    findings: Mutex<HashMap<(AccountId, usize), Tally>>,
    /// How often each of them was tried.
    unreadable: Mutex<HashMap<Place, u32>>,
    asides: Asides,
}

/// Places in a segment are 32 bits, and the last record may reach beyond.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// A line rests that long when its record could not be read.
pub(super) const UNREADABLE_REST: Duration = Duration::from_secs(1);

/// A record that the disk does not give so often is damaged: half a minute of it.
const UNREADABLE_TRIES: u32 = 30;

/// Counted since the start.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) syncs: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) damaged_records: AtomicU64,
    pub(super) damaged_bytes: AtomicU64,
    pub(super) torn_bytes: AtomicU64,
}

/// How reading a record went.
pub(super) enum Read {
    Whole(Box<Record>),
    /// It is damaged: set aside, counted and over.
    Damaged,
    /// The disk did not give it now.
    Unreadable,
}

// === impl Engine ===

impl<D: Disk> Engine<D> {
    /// Looks what is there, and reads none of it: that is [`Engine::recover`]'s.
    ///
    /// # Errors
    /// The folder can't be listed.
    pub(super) fn open(disk: D, mut config: Config, world: World) -> io::Result<Self> {
        config.segment_bytes_max = config.segment_bytes_max.min(SEGMENT_BYTES_MAX);
        let earlier = recover::list(&disk)?;
        let budget = Budget::new(config.disk_bytes_max, config.account_bytes_max);
        budget.fill(earlier.bytes());
        let asides = Asides::open(&disk, config.aside_bytes_max)?;
        Ok(Self {
            shelf: Mutex::new(Shelf::new(earlier.frontier())),
            earlier: Mutex::new(earlier),
            disk,
            config,
            world,
            budget,
            watch: Watch::default(),
            is_failing: AtomicBool::new(false),
            counts: Counts::default(),
            losses: Mutex::default(),
            findings: Mutex::default(),
            unreadable: Mutex::default(),
            asides,
        })
    }

    pub(super) fn shelf(&self) -> MutexGuard<'_, Shelf<D>> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn earlier(&self) -> MutexGuard<'_, Earlier> {
        self.earlier.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now_ms(&self) -> u64 {
        (self.world.now_ms)()
    }

    /// The next record for that destination; see [`super::Spool::next`].
    pub(super) fn next(&self, destination: DestinationId, out_max: usize) -> Option<Picked> {
        let now_ms = self.now_ms();
        self.shelf().next(&self.disk, destination, out_max, now_ms)
    }

    /// The record itself, checked.
    pub(super) fn read(&self, picked: &Picked) -> Read {
        let name = picked.name.file(Kind::Segment);
        let (at, bytes) = (u64::from(picked.row.at), u64::from(picked.row.bytes));
        let file = self.disk.open(&name);
        let found = file.and_then(|file| scan::read(&self.disk, &file, picked.name.id, at, bytes));
        match found {
            Ok(Some(whole)) => {
                let origin = whole.head.origin();
                let body = whole.content.slice(whole.head_bytes..);
                let payload = whole.head.payload(Chunks::from_iter([body]));
                // What doesn't stand in its index as it stands here is nobody's.
                let is_his = origin.account == picked.key.account
                    && origin.destination == picked.key.destination;
                if let Some(payload) = payload.filter(|_| is_his) {
                    self.unreadable().remove(&picked.place);
                    return Read::Whole(Box::new(Record { origin, payload }));
                }
            }
            Ok(None) => {}
            Err(error) if self.may_come_back(picked, &error) => {
                warn!(file = %name, %error, "a spooled record cannot be read, trying again");
                return Read::Unreadable;
            }
            Err(error) => {
                error!(file = %name, %error, "a spooled record cannot be read, and is given up");
            }
        }
        self.unreadable().remove(&picked.place);
        self.damaged(picked.name, at, bytes);
        self.lose(Loss::Damaged, &picked.key, &picked.row);
        self.end(picked);
        Read::Damaged
    }

    /// A file that is gone stays so; a sector that can't be read holds up its line only for so many tries.
    fn may_come_back(&self, picked: &Picked, error: &io::Error) -> bool {
        const EIO: i32 = 5;
        if error.kind() == io::ErrorKind::NotFound {
            return false;
        }
        if error.raw_os_error() != Some(EIO) {
            return true;
        }
        let mut unreadable = self.unreadable();
        let tries = unreadable.entry(picked.place).or_default();
        *tries += 1;
        *tries < UNREADABLE_TRIES
    }

    fn unreadable(&self) -> MutexGuard<'_, HashMap<Place, u32>> {
        self.unreadable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies what is damaged to where a person can look at it, and counts it.
    pub(super) fn damaged(&self, name: Name, at: u64, bytes: u64) {
        let Counts {
            damaged_records,
            damaged_bytes,
            ..
        } = &self.counts;
        damaged_records.fetch_add(1, Ordering::Relaxed);
        damaged_bytes.fetch_add(bytes, Ordering::Relaxed);
        error!(segment = %name, at, bytes, "a spooled record is damaged and set aside");
        self.asides.damaged(&self.disk, name, at, bytes);
    }

    /// A record is done with.
    pub(super) fn end(&self, picked: &Picked) {
        self.budget
            .end(picked.key.account, u64::from(picked.row.bytes));
        let gone = self.shelf().end(&self.disk, picked);
        self.remove(gone);
    }

    /// A record is handed out again, and nothing of its line for that long.
    pub(super) fn give_back(&self, picked: &Picked, rest: Duration) {
        let rest_ms = u64::try_from(rest.as_millis()).unwrap_or(u64::MAX);
        let until_ms = if rest_ms == 0 {
            0
        } else {
            self.now_ms().saturating_add(rest_ms)
        };
        self.shelf().give_back(picked, until_ms);
    }

    /// Nobody will take this record: it is kept where a person can look at it, as long as there is room, and over.
    pub(super) fn set_aside(&self, picked: &Picked, reason: &str) {
        match self.read(picked) {
            Read::Whole(record) => {
                let asides = &self.asides;
                asides.refused(&self.disk, picked.name, picked.row.at, &record, reason);
                self.lose(Loss::Refused, &picked.key, &picked.row);
                self.end(picked);
            }
            Read::Damaged => {}
            Read::Unreadable => self.give_back(picked, UNREADABLE_REST),
        }
    }

    pub(super) fn lose(&self, loss: Loss, key: &Key, row: &Row) {
        let mut losses = self.losses.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (key.account, key.signal.index(), loss);
        *losses.entry(place).or_default() += row.tally;
    }

    /// What was lost since this was last asked, for the books.
    pub(super) fn take_losses(&self) -> Losses {
        let mut losses = self.losses.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *losses)
            .into_iter()
            .map(|((account, signal, loss), tally)| (account, Signal::ALL[signal], loss, tally))
            .collect()
    }

    pub(super) fn find(&self, key: &Key, row: &Row) {
        self.budget.found(key.account, u64::from(row.bytes));
        let mut findings = self.findings.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (key.account, key.signal.index());
        *findings.entry(place).or_default() += row.tally;
    }

    /// What was found since this was last asked, for the books.
    pub(super) fn take_findings(&self) -> Findings {
        let mut findings = self.findings.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *findings)
            .into_iter()
            .map(|((account, signal), tally)| (account, Signal::ALL[signal], tally))
            .collect()
    }

    /// Deletes the files of segments that are off the shelf: the records first, so that nothing is left behind that would
    /// bring them back.
    pub(super) fn remove(&self, gone: impl IntoIterator<Item = Gone>) {
        for Gone { name, file_bytes } in gone {
            if let Err(error) = self.disk.remove(&name.file(Kind::Segment)) {
                warn!(segment = %name, %error, "a spooled segment that is done with cannot be deleted");
                continue;
            }
            self.budget.free(file_bytes);
            for kind in [Kind::Index, Kind::Done] {
                // It need not be there.
                drop(self.disk.remove(&name.file(kind)));
            }
        }
    }

    /// Ends the segment that was written.
    pub(super) fn seal(&self, number: u32) {
        let mut shelf = self.shelf();
        if let Some((name, contents)) = shelf.seal(number)
            && let Err(error) = contents::keep(&self.disk, name, contents)
        {
            warn!(segment = %name, %error, "a spooled segment has no index yet");
            shelf.unindexed(number);
        }
        let gone = shelf.settle(&self.disk, number);
        drop(shelf);
        self.remove(gone);
    }

    /// Writes the indexes that could not be written: a scan would bring back what was refused.
    pub(super) fn keep_indexes(&self) {
        self.shelf().keep_indexes(&self.disk);
    }

    /// What is not done with, line by line.
    pub(super) fn amounts(&self) -> Vec<Listed> {
        let shelf = self.shelf();
        let lines = shelf.lines.iter();
        let lines = lines.filter(|(_, line)| line.left.records > 0);
        lines
            .map(|(key, line)| ((key.account, key.signal, key.destination), line.left))
            .collect()
    }

    pub(super) fn usage(&self) -> Usage {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let shelf = self.shelf();
        let mut left = Amount::default();
        for line in shelf.lines.values() {
            left += line.left;
        }
        Usage {
            left,
            disk_bytes: self.budget.bytes(),
            segments: shelf.segments.len() as u64,
            is_failing: self.is_failing.load(Ordering::Relaxed),
            syncs: count(&self.counts.syncs),
            failures: count(&self.counts.failures),
            damaged_records: count(&self.counts.damaged_records),
            damaged_bytes: count(&self.counts.damaged_bytes),
            torn_bytes: count(&self.counts.torn_bytes),
        }
    }
}
