//! Group commit: whatever waits is written behind one another and synced once, and only then answered.
//!
//! After a failed write or sync a segment is never written or synced again. Nothing of that commit is taken, whatever of it
//! may be on the disk; while the disk fails all that comes is refused at once, and one try at a time makes a new segment.

use std::{
    io::{self, IoSlice},
    sync::{Arc, atomic::Ordering},
};

use tracing::{info, warn};

use super::{
    Refusal,
    contents::{Contents, Key, Row},
    disk::Disk,
    engine::Engine,
    frame::{FRAME_BYTES, HEADER_BYTES, Span, frame, header},
    name::{Kind, Name},
    segment::Segment,
};
use crate::{
    gateway::{
        admit::Held,
        deliver::group::{Answer, Part},
    },
    model::{Chunks, Tally},
};

/// Records in one segment, which bounds what is in memory of one that is read from: 1 MiB.
pub(super) const ROWS_MAX: usize = 32_768;

/// A record that waits for its commit.
pub(super) struct Waiting {
    pub(super) key: Key,
    pub(super) head: Vec<u8>,
    pub(super) body: Chunks,
    pub(super) tally: Tally,
    pub(super) accepted_ms: u64,
    /// What is held for the body until then.
    pub(super) _held: Option<Held>,
    pub(super) answer: Answer<Refusal>,
}

pub(super) struct Writer<D: Disk> {
    engine: Arc<Engine<D>>,
    live: Option<Live<D::File>>,
}

/// The segment that is written.
struct Live<F> {
    name: Name,
    file: F,
    /// Bytes that are committed.
    end: u64,
    rows: usize,
    begun_ms: u64,
}

// === impl Waiting ===

impl Waiting {
    /// With its frame.
    pub(super) fn record_bytes(&self) -> u64 {
        FRAME_BYTES as u64 + self.head.len() as u64 + self.body.len()
    }
}

impl Part for Waiting {
    fn bytes(&self) -> usize {
        usize::try_from(self.record_bytes()).unwrap_or(usize::MAX)
    }
}

// === impl Writer ===

impl<D: Disk> Writer<D> {
    pub(super) const fn new(engine: Arc<Engine<D>>) -> Self {
        Self { engine, live: None }
    }

    /// Commits all of it, in as few syncs as segments allow, and answers each.
    pub(super) fn commit(&mut self, waiting: Vec<Waiting>) {
        let mut waiting = waiting.into_iter().peekable();
        while let Some(first) = waiting.peek() {
            let bytes = first.record_bytes();
            let mut group = Vec::new();
            let committed = self.ready(bytes).and_then(|(mut end, mut rows)| {
                let bytes_max = self.engine.config.segment_bytes_max;
                while let Some(next) = waiting.next_if(|next| {
                    let fits = end + next.record_bytes() <= bytes_max && rows < ROWS_MAX;
                    fits || group.is_empty()
                }) {
                    if next.answer.is_late() {
                        self.refuse(next, Refusal::Late);
                        continue;
                    }
                    end += next.record_bytes();
                    rows += 1;
                    group.push(next);
                }
                self.write(&group)
            });
            match committed {
                Ok(()) => {
                    self.engine.is_failing.store(false, Ordering::Relaxed);
                    self.settle(group);
                }
                Err(error) => {
                    self.fail(&error);
                    for record in group.into_iter().chain(waiting) {
                        self.refuse(record, Refusal::Disk);
                    }
                    return;
                }
            }
        }
    }

    fn refuse(&self, record: Waiting, refusal: Refusal) {
        let account = record.key.account;
        self.engine.budget.unclaim(account, record.record_bytes());
        record.answer.send(Err(refusal));
    }

    /// Makes sure of a segment with room for that many bytes, or an empty one; gives its bytes and rows.
    fn ready(&mut self, bytes: u64) -> io::Result<(u64, usize)> {
        if let Some(live) = &self.live {
            let fits = live.end + bytes <= self.engine.config.segment_bytes_max;
            if live.rows == 0 || (fits && live.rows < ROWS_MAX) {
                return Ok((live.end, live.rows));
            }
            self.seal();
        }
        self.begin()?;
        Ok((HEADER_BYTES as u64, 0))
    }

    /// Starts a segment whose name a power loss can't take away.
    fn begin(&mut self) -> io::Result<()> {
        let engine = &self.engine;
        let name = Name {
            number: engine.earlier().draw()?,
            id: (engine.world.id)()?,
        };
        let span = Span {
            first: name.number,
            generation: 0,
        };
        let path = name.file(Kind::Segment);
        let _under_way = engine.watch.begin(0);
        let file = engine.disk.create(&path)?;
        let made = engine
            .disk
            .append(&file, &mut [IoSlice::new(&header(name, span))])
            .and_then(|()| engine.disk.sync_folder());
        if let Err(error) = made {
            drop(engine.disk.remove(&path));
            return Err(error);
        }
        engine.budget.fill(HEADER_BYTES as u64);
        let segment = Segment::new(name, span, HEADER_BYTES as u64, &Contents::default());
        engine.shelf().begin(segment);
        self.live = Some(Live {
            name,
            file,
            end: HEADER_BYTES as u64,
            rows: 0,
            begun_ms: engine.now_ms(),
        });
        Ok(())
    }

    /// Writes the records behind one another, without copying a body, and syncs.
    fn write(&self, group: &[Waiting]) -> io::Result<()> {
        let Some(live) = &self.live else {
            return Err(io::Error::other("no open segment"));
        };
        if group.is_empty() {
            return Ok(());
        }
        let mut frames = Vec::with_capacity(group.len());
        let mut bytes = 0;
        for record in group {
            let frame = frame(live.name.id, &record.head, &record.body);
            frames.push(frame.ok_or(io::ErrorKind::FileTooLarge)?);
            bytes += record.record_bytes();
        }
        let mut parts = Vec::with_capacity(3 * group.len());
        for (frame, record) in frames.iter().zip(group) {
            parts.push(IoSlice::new(frame));
            parts.push(IoSlice::new(&record.head));
            parts.extend(record.body.iter().map(|chunk| IoSlice::new(chunk)));
        }
        let _under_way = self.engine.watch.begin(bytes);
        self.engine.disk.append(&live.file, &mut parts)?;
        self.engine.counts.syncs.fetch_add(1, Ordering::Relaxed);
        self.engine.disk.sync(&live.file)
    }

    /// Answers first: nobody waits for our own bookkeeping.
    fn settle(&mut self, group: Vec<Waiting>) {
        let Some(live) = &mut self.live else {
            return;
        };
        let mut rows = Vec::with_capacity(group.len());
        for record in group {
            let bytes = record.record_bytes();
            let row = Row {
                at: live.end as u32,
                bytes: bytes as u32,
                tally: record.tally,
            };
            live.end += bytes;
            live.rows += 1;
            let is_heard = record.answer.tell(Ok(()));
            rows.push((record.key, row, record.accepted_ms, is_heard));
        }
        let number = live.name.number;
        // Whoever has the shelf may be waiting for the disk.
        let _under_way = self.engine.watch.begin(0);
        let mut shelf = self.engine.shelf();
        for (key, row, accepted_ms, is_heard) in rows {
            shelf.add(number, key, row, accepted_ms);
            if !is_heard {
                // Its sender was told that it comes too late, and sends it again.
                self.engine.budget.end(key.account, u64::from(row.bytes));
                shelf.void(&self.engine.disk, key, number, row);
            }
        }
    }

    /// Gives the segment up for ever: what it is after a failure nobody can know.
    fn fail(&mut self, error: &io::Error) {
        self.engine.counts.failures.fetch_add(1, Ordering::Relaxed);
        if !self.engine.is_failing.swap(true, Ordering::Relaxed) {
            warn!(%error, "the spool's disk fails, refusing payloads");
        }
        match self.live.take() {
            // Nothing in it was acknowledged, so a full disk doesn't fill with the remains of its failures.
            Some(live) if live.rows == 0 => {
                let gone = self.engine.shelf().take(live.name.number);
                self.engine.remove(gone);
            }
            Some(live) => self.engine.seal(live.name.number),
            None => {}
        }
    }

    /// Tries the disk again if it fails; says whether it is well.
    pub(super) fn probe(&mut self) -> bool {
        if !self.engine.is_failing.load(Ordering::Relaxed) {
            return true;
        }
        let tried = self.begin().and_then(|()| match &self.live {
            Some(live) => self.engine.disk.sync(&live.file),
            None => Ok(()),
        });
        match tried {
            Ok(()) => {
                self.engine.is_failing.store(false, Ordering::Relaxed);
                info!("the spool's disk is well again");
                true
            }
            Err(error) => {
                self.fail(&error);
                false
            }
        }
    }

    /// Ends a segment that is long enough written to, so that what is in it gets old together.
    pub(super) fn tick(&mut self) {
        let age_max = self.engine.config.segment_age_max();
        let now_ms = self.engine.now_ms();
        if let (Some(live), Some(age_max)) = (&self.live, age_max)
            && live.rows > 0
            && u128::from(now_ms.saturating_sub(live.begun_ms)) >= age_max.as_millis()
        {
            self.seal();
        }
    }

    /// Ends the segment, so that the next process need not scan it.
    pub(super) fn seal(&mut self) {
        if let Some(live) = self.live.take() {
            let _under_way = self.engine.watch.begin(0);
            self.engine.seal(live.name.number);
        }
    }
}
