//! All segments in order, and the lines through them: who gets which record next, and which segment has nothing left.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    io,
};

use super::{
    contents::{self, Contents, Key, Row},
    disk::Disk,
    line::{Line, Place},
    name::{Kind, Name},
    segment::{Opened, Segment, State},
};
use crate::model::{AccountId, DestinationId, Signal};

/// Segments whose rows are in memory, beside the one that is written: a MiB each at most.
const OPENED_MAX: usize = 8;

/// A record for somebody to deliver.
#[derive(Clone, Copy, Debug)]
pub(super) struct Picked {
    pub(super) key: Key,
    pub(super) place: Place,
    pub(super) row: Row,
    pub(super) name: Name,
}

/// What was ended of a segment, and the segment when it has nothing left.
pub(super) struct Cleared {
    pub(super) rows: Vec<(Key, Row)>,
    pub(super) gone: Option<Gone>,
}

/// A segment that is gone from the shelf, and not yet from the disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gone {
    pub(super) name: Name,
    pub(super) file_bytes: u64,
}

pub(super) struct Shelf<D: Disk> {
    pub(super) segments: BTreeMap<u32, Segment<D::File>>,
    pub(super) opened: HashMap<u32, Opened>,
    pub(super) lines: HashMap<Key, Line>,
    /// By destination: lines that may have something to hand out, in turns.
    pub(super) turns: HashMap<DestinationId, VecDeque<Key>>,
    /// Lines that have a time to wait for.
    pub(super) resting: BTreeSet<(u64, Key)>,
    /// Numbers of segments that are there and could not be read: nothing may stand for them.
    pub(super) holes: BTreeSet<u32>,
    /// Segments from there on wait until those before them are known. None: all are known.
    pub(super) frontier: Option<u32>,
    uses: u64,
}

// === impl Gone ===

impl From<(Name, u64)> for Gone {
    fn from((name, file_bytes): (Name, u64)) -> Self {
        Self { name, file_bytes }
    }
}

// === impl Shelf ===

impl<D: Disk> Shelf<D> {
    /// With nothing on it. What comes is not handed out before everything below the frontier is known.
    pub(super) fn new(frontier: Option<u32>) -> Self {
        Self {
            segments: BTreeMap::new(),
            opened: HashMap::new(),
            lines: HashMap::new(),
            turns: HashMap::new(),
            resting: BTreeSet::new(),
            holes: BTreeSet::new(),
            frontier,
            uses: 0,
        }
    }

    /// Adds the segment that is written from now on.
    pub(super) fn begin(&mut self, mut segment: Segment<D::File>) {
        segment.state = State::Live;
        self.hold(segment.name.number, Contents::default());
        self.segments.insert(segment.name.number, segment);
    }

    /// Adds a record to the segment that is written.
    pub(super) fn add(&mut self, number: u32, key: Key, row: Row, accepted_ms: u64) {
        let (Some(segment), Some(opened)) =
            (self.segments.get_mut(&number), self.opened.get_mut(&number))
        else {
            return;
        };
        opened.contents.push(key, row, accepted_ms);
        segment.end = opened.contents.end;
        segment.file_bytes = segment.end;
        segment.newest_ms = opened.contents.newest_ms;
        segment.left += 1;
        segment.left_bytes += u64::from(row.bytes);
        // The cursor of a line that is there stands before this in any case.
        let line = self.lines.entry(key).or_insert_with(|| Line {
            cursor: Place {
                segment: number,
                at: row.at,
            },
            ..Line::default()
        });
        line.left.add(&row);
        self.list(key);
    }

    /// Ends the segment that was written; gives what is in it.
    pub(super) fn seal(&mut self, number: u32) -> Option<(Name, &Contents)> {
        let (segment, opened) = (self.segments.get_mut(&number)?, self.opened.get(&number)?);
        segment.state = State::Sealed;
        segment.count(&opened.contents);
        Some((segment.name, &opened.contents))
    }

    /// Adds a segment of an earlier process.
    pub(super) fn register(&mut self, segment: Segment<D::File>, contents: Contents) {
        let from = Place::start_of(segment.name.number);
        for (key, row) in contents.left() {
            let line = self.lines.entry(key).or_insert_with(|| Line {
                cursor: from,
                ..Line::default()
            });
            line.left.add(&row);
            line.cursor = line.cursor.min(from);
            self.list(key);
        }
        self.hold(segment.name.number, contents);
        self.segments.insert(segment.name.number, segment);
    }

    /// Whether that line has anything left.
    pub(super) fn has(
        &self,
        account: AccountId,
        signal: Signal,
        destination: DestinationId,
    ) -> bool {
        let key = Key {
            destination,
            account,
            signal,
        };
        self.lines
            .get(&key)
            .is_some_and(|line| line.left.records > 0)
    }

    /// Where something is to go, also when all of it rests.
    pub(super) fn destinations(&self) -> Vec<DestinationId> {
        let turns = self.turns.iter().filter(|(_, keys)| !keys.is_empty());
        let resting = self.resting.iter().map(|(_, key)| key.destination);
        let all: BTreeSet<DestinationId> = turns.map(|(id, _)| *id).chain(resting).collect();
        all.into_iter().collect()
    }

    /// Lets go of what stands before that number, which is known by now.
    pub(super) fn advance(&mut self, frontier: Option<u32>) {
        self.frontier = frontier;
        if frontier.is_none() {
            self.list_all();
        }
    }

    /// A record is done with; gives its segment when that has nothing left.
    pub(super) fn end(&mut self, disk: &D, picked: &Picked) -> Option<Gone> {
        self.unlease(picked);
        self.finish(picked.key, picked.place, picked.row);
        self.list(picked.key);
        self.settle(disk, picked.place.segment)
    }

    /// The same for a record of the segment that is written, which nobody was told was taken.
    pub(super) fn void(&mut self, disk: &D, key: Key, number: u32, row: Row) {
        let place = Place {
            segment: number,
            at: row.at,
        };
        self.finish(key, place, row);
        self.settle(disk, number);
    }

    /// Ends all records of a segment that are chosen and in nobody's hands; gives them, and the segment when it has nothing
    /// left.
    pub(super) fn clear(
        &mut self,
        disk: &D,
        number: u32,
        is_chosen: &dyn Fn(&Key) -> bool,
    ) -> io::Result<Cleared> {
        self.open(disk, number)?;
        let Some(opened) = self.opened.get(&number) else {
            return Ok(Cleared {
                rows: Vec::new(),
                gone: None,
            });
        };
        let is_leased = |key: &Key, row: &Row| {
            let place = Place {
                segment: number,
                at: row.at,
            };
            let line = self.lines.get(key);
            line.is_some_and(|line| line.leased.contains(&place))
        };
        let left = opened.contents.left();
        let rows: Vec<(Key, Row)> = left
            .filter(|(key, row)| is_chosen(key) && !is_leased(key, row))
            .collect();
        for (key, row) in &rows {
            let place = Place {
                segment: number,
                at: row.at,
            };
            self.finish(*key, place, *row);
            self.list(*key);
        }
        let gone = self.settle(disk, number);
        Ok(Cleared { rows, gone })
    }

    fn finish(&mut self, key: Key, place: Place, row: Row) {
        let bytes = u64::from(row.bytes);
        if let Some(line) = self.lines.get_mut(&key) {
            line.returned.remove(&place);
            line.left.take(&row);
        }
        if let Some(opened) = self.opened.get_mut(&place.segment) {
            opened.contents.mark(row.at);
        }
        if let Some(segment) = self.segments.get_mut(&place.segment) {
            segment.left = segment.left.saturating_sub(1);
            segment.left_bytes = segment.left_bytes.saturating_sub(bytes);
            segment.journal.owe(row.at);
        }
    }

    /// Takes a segment off the shelf that has nothing left; writes down what is done with in any other.
    pub(super) fn settle(&mut self, disk: &D, number: u32) -> Option<Gone> {
        let segment = self.segments.get_mut(&number)?;
        if !segment.is_spent() {
            segment.journal.pay(disk);
            if !self.opened.contains_key(&number) {
                segment.journal.rest();
            }
            return None;
        }
        self.take(number)
    }

    /// Writes down what is done with and could not be written down so far.
    pub(super) fn pay(&mut self, disk: &D) {
        for (number, segment) in &mut self.segments {
            if !segment.journal.is_written() {
                segment.journal.pay(disk);
                if !self.opened.contains_key(number) {
                    segment.journal.rest();
                }
            }
        }
    }

    /// Takes a segment off the shelf.
    pub(super) fn take(&mut self, number: u32) -> Option<Gone> {
        self.opened.remove(&number);
        let segment = self.segments.remove(&number)?;
        Some(Gone {
            name: segment.name,
            file_bytes: segment.file_bytes,
        })
    }

    /// Whatever is in memory of a segment's rows, or its index.
    pub(super) fn open(&mut self, disk: &D, number: u32) -> io::Result<()> {
        self.uses += 1;
        if let Some(opened) = self.opened.get_mut(&number) {
            opened.used = self.uses;
            return Ok(());
        }
        let Some(segment) = self.segments.get_mut(&number) else {
            return Ok(());
        };
        let file = disk.open(&segment.name.file(Kind::Segment))?;
        let (mut contents, _) = contents::load(disk, &file, segment.name, segment.end)?;
        // What could not be written down yet is done with all the same.
        for at in segment.journal.owed() {
            contents.mark(at);
        }
        // A scan may find less than was known: damage since then. Nothing waits for what is not there.
        segment.count(&contents);
        self.hold(number, contents);
        Ok(())
    }

    /// A segment's rows, if they are in memory.
    #[cfg(test)]
    pub(super) fn contents(&self, number: u32) -> Option<&Opened> {
        self.opened.get(&number)
    }

    /// Its index could not be written.
    pub(super) fn unindexed(&mut self, number: u32) {
        if let Some(segment) = self.segments.get_mut(&number) {
            segment.is_indexed = false;
        }
    }

    /// Writes the indexes that could not be written.
    pub(super) fn keep_indexes(&mut self, disk: &D) {
        let missing = self.segments.iter_mut();
        for (number, segment) in missing.filter(|(_, segment)| !segment.is_indexed) {
            segment.is_indexed = self
                .opened
                .get(number)
                .is_none_or(|opened| contents::keep(disk, segment.name, &opened.contents).is_ok());
        }
    }

    fn hold(&mut self, number: u32, contents: Contents) {
        let is_spare = |number: &u32| {
            let segment = self.segments.get(number);
            segment.is_none_or(|segment| {
                let is_still = segment.state != State::Live && segment.is_indexed;
                is_still && segment.journal.is_written()
            })
        };
        if self.opened.len() >= OPENED_MAX {
            let spare = self.opened.iter().filter(|(number, _)| is_spare(number));
            let unused = spare.min_by_key(|(_, opened)| opened.used);
            if let Some(number) = unused.map(|(number, _)| *number) {
                self.opened.remove(&number);
                if let Some(segment) = self.segments.get_mut(&number) {
                    segment.journal.rest();
                }
            }
        }
        self.uses += 1;
        let used = self.uses;
        self.opened.insert(number, Opened { contents, used });
    }

    /// Segments that nothing is added to, and whose newest record is older than that.
    pub(super) fn sealed_before(&self, before_ms: u64) -> Vec<u32> {
        let segments = self.segments.iter();
        let old = segments
            .filter(|(_, segment)| segment.state == State::Sealed && segment.newest_ms < before_ms);
        old.map(|(number, _)| *number).collect()
    }

    /// Whether all that was there at the start is known by now.
    pub(super) const fn is_whole(&self) -> bool {
        self.frontier.is_none()
    }

    /// A record that is not there after all.
    pub(super) fn forget(&mut self, key: Key, row: Row) {
        if let Some(line) = self.lines.get_mut(&key) {
            line.left.take(&row);
        }
    }

    /// Puts one segment in the place of others; none of theirs may be in anybody's hands.
    pub(super) fn replace(
        &mut self,
        others: &[u32],
        segment: Segment<D::File>,
        contents: Contents,
    ) -> Vec<Gone> {
        let gone = others.iter().filter_map(|number| self.take(*number));
        let gone: Vec<Gone> = gone.collect();
        let number = segment.name.number;
        // Places in the others are none any more, also of a line whose record was lost on the way.
        for line in self.lines.values_mut() {
            line.returned
                .retain(|place, _| !others.contains(&place.segment));
        }
        for (key, _) in contents.left() {
            if let Some(line) = self.lines.get_mut(&key) {
                line.cursor = line.cursor.min(Place::start_of(number));
            }
        }
        self.hold(number, contents);
        self.segments.insert(number, segment);
        self.list_all();
        gone
    }
}
