//! Where few records pin much disk, they are written into one segment that takes the place of theirs.
//!
//! It stands in the order where they stood, so that a line goes on as it was; a segment of newer records would put the oldest
//! ones behind them. It is synced and has its name before the others go: a crash in between leaves both, and the newer
//! generation says by its header whom it replaces.

use std::io::{self, IoSlice};

use tracing::warn;

use super::{
    contents::{self, Contents, Key, Row},
    disk::Disk,
    engine::Engine,
    frame::{FRAME_BYTES, HEADER_BYTES, Span, frame, header},
    name::{Kind, Name},
    scan,
    segment::{Segment, State},
    shelf::Shelf,
    writer::ROWS_MAX,
};
use crate::model::{Chunks, Loss};

/// So many small neighbours are worth one, whatever it gives back.
const NEIGHBOURS: usize = 8;
/// What a merged segment may hold, as a part of an ordinary one: its records are what is left over for long.
const PART_OF_SEGMENT: u64 = 2;
/// A segment that is filled to less than this part is sparse or small.
const SPARSE_PART: u64 = 4;

/// What could not be merged is left alone for so long, while others are.
const FAILED_REST_MS: u64 = 60_000;

/// A segment to be merged.
struct Source {
    name: Name,
    span: Span,
    end: u64,
}

/// A record to be taken along.
struct Moved {
    name: Name,
    key: Key,
    row: Row,
}

/// The merged segment, as it was written.
struct Written<F> {
    segment: Segment<F>,
    contents: Contents,
    file: F,
    damaged: Vec<Moved>,
}

// === impl Shelf ===

impl<D: Disk> Shelf<D> {
    /// Neighbours that are worth it, oldest first; nothing is handed out of them from now on.
    fn claim_sparse(&mut self, segment_bytes_max: u64, age_ms_max: u64, now_ms: u64) -> Vec<u32> {
        let mut run = Run::default();
        for (number, segment) in &self.segments {
            let bytes_max = segment.file_bytes.max(segment_bytes_max);
            let is_thin = segment.left_bytes.saturating_mul(SPARSE_PART) < bytes_max;
            let is_still = segment.state == State::Sealed
                && segment.leased == 0
                && segment.rests_until_ms <= now_ms
                && segment.journal.is_written()
                && segment.span.generation < u16::MAX;
            let last = run.numbers.last().copied().unwrap_or(*number);
            let is_next = self.holes.range(last..*number).next().is_none();
            let fits = is_next && run.takes(segment, segment_bytes_max, age_ms_max);
            if !(is_thin && is_still && fits) {
                if run.is_worth_it(segment_bytes_max) {
                    break;
                }
                run = Run::default();
                if !(is_thin && is_still) {
                    continue;
                }
            }
            run.add(*number, segment);
        }
        if !run.is_worth_it(segment_bytes_max) {
            return Vec::new();
        }
        self.set_state(&run.numbers, State::Busy);
        run.numbers
    }

    fn sources(&self, numbers: &[u32]) -> Vec<Source> {
        let segments = numbers
            .iter()
            .filter_map(|number| self.segments.get(number));
        let sources = segments.map(|segment| Source {
            name: segment.name,
            span: segment.span,
            end: segment.end,
        });
        sources.collect()
    }

    fn rest_segments(&mut self, numbers: &[u32], until_ms: u64) {
        for number in numbers {
            if let Some(segment) = self.segments.get_mut(number) {
                segment.rests_until_ms = until_ms;
            }
        }
    }

    fn set_state(&mut self, numbers: &[u32], state: State) {
        for number in numbers {
            if let Some(segment) = self.segments.get_mut(number) {
                segment.state = state;
            }
        }
    }
}

/// Neighbours that could be one.
#[derive(Default)]
struct Run {
    numbers: Vec<u32>,
    file_bytes: u64,
    left: u64,
    left_bytes: u64,
    /// The newest records' times.
    oldest_ms: u64,
    newest_ms: u64,
}

// === impl Run ===

impl Run {
    fn takes<F>(&self, segment: &Segment<F>, segment_bytes_max: u64, age_ms_max: u64) -> bool {
        let bytes = self.left_bytes + segment.left_bytes;
        let newest = self.newest_ms.max(segment.newest_ms);
        let oldest = self.oldest_ms.min(segment.newest_ms);
        self.numbers.is_empty()
            || (bytes <= segment_bytes_max / PART_OF_SEGMENT
                && self.left + segment.left <= ROWS_MAX as u64
                // What gets old together must have come together.
                && newest - oldest <= age_ms_max)
    }

    fn add<F>(&mut self, number: u32, segment: &Segment<F>) {
        if self.numbers.is_empty() {
            self.oldest_ms = segment.newest_ms;
        }
        self.numbers.push(number);
        self.file_bytes += segment.file_bytes;
        self.left += segment.left;
        self.left_bytes += segment.left_bytes;
        self.oldest_ms = self.oldest_ms.min(segment.newest_ms);
        self.newest_ms = self.newest_ms.max(segment.newest_ms);
    }

    fn is_worth_it(&self, segment_bytes_max: u64) -> bool {
        let gain = self.file_bytes.saturating_sub(self.left_bytes);
        let gives_much = gain >= segment_bytes_max / SPARSE_PART && gain >= self.file_bytes / 2;
        gives_much || self.numbers.len() >= NEIGHBOURS
    }
}

// === impl Engine ===

impl<D: Disk> Engine<D> {
    /// Merges one run of sparse segments; says whether there was one.
    pub(super) fn merge(&self) -> bool {
        let age = self.config.segment_age_max();
        let age_ms_max = age.map_or(u64::MAX, |age| age.as_millis() as u64);
        let mut shelf = self.shelf();
        if !shelf.is_whole() {
            return false;
        }
        let now_ms = self.now_ms();
        let bytes_max = self.config.segment_bytes_max;
        let numbers = shelf.claim_sparse(bytes_max, age_ms_max, now_ms);
        if numbers.is_empty() {
            return false;
        }
        let sources = shelf.sources(&numbers);
        drop(shelf);
        let listed = self.listed(&sources);
        let written = listed.and_then(|moved| self.write_merged(&sources, moved));
        let written = match written {
            Ok(written) => written,
            Err(error) => {
                warn!(%error, "sparse segments of the spool cannot be merged");
                let mut shelf = self.shelf();
                shelf.set_state(&numbers, State::Sealed);
                shelf.rest_segments(&numbers, now_ms.saturating_add(FAILED_REST_MS));
                shelf.list_all();
                return true;
            }
        };
        for lost in &written.damaged {
            self.damaged(lost.name, lost.row.at.into(), lost.row.bytes.into());
            self.lose(Loss::Damaged, &lost.key, &lost.row);
            self.budget.end(lost.key.account, lost.row.bytes.into());
        }
        self.budget.fill(written.segment.file_bytes);
        let mut shelf = self.shelf();
        for lost in &written.damaged {
            shelf.forget(lost.key, lost.row);
        }
        let number = written.segment.name.number;
        let mut gone = shelf.replace(&numbers, written.segment, written.contents);
        gone.extend(shelf.settle(&self.disk, number));
        drop(shelf);
        self.remove(gone);
        true
    }

    /// All that is left in them. Nothing changes that: they are busy, and all that is done with is written down.
    fn listed(&self, sources: &[Source]) -> io::Result<Vec<Moved>> {
        let mut moved = Vec::new();
        for Source { name, end, .. } in sources {
            let file = self.disk.open(&name.file(Kind::Segment))?;
            let (contents, _) = contents::load(&self.disk, &file, *name, *end)?;
            moved.extend(contents.left().map(|(key, row)| Moved {
                name: *name,
                key,
                row,
            }));
        }
        Ok(moved)
    }

    fn write_merged(&self, sources: &[Source], moved: Vec<Moved>) -> io::Result<Written<D::File>> {
        let numbers = sources.iter().map(|source| source.name.number);
        let name = Name {
            number: numbers.max().unwrap_or_default(),
            id: (self.world.id)()?,
        };
        let firsts = sources.iter().map(|source| source.span.first);
        let generations = sources.iter().map(|source| source.span.generation);
        let span = Span {
            first: firsts.min().unwrap_or(name.number),
            generation: generations.max().unwrap_or_default().saturating_add(1),
        };
        let part = name.file(Kind::Part);
        let made = self.copy(name, &part, moved, span).and_then(|written| {
            self.disk.sync(&written.file)?;
            self.disk.rename(&part, &name.file(Kind::Segment))?;
            Ok(written)
        });
        let Ok(written) = made else {
            drop(self.disk.remove(&part));
            return made;
        };
        // Before this, a crash may take the name away again, and the others must be there.
        if let Err(error) = self.disk.sync_folder() {
            drop(self.disk.remove(&name.file(Kind::Segment)));
            return Err(error);
        }
        drop(contents::keep(&self.disk, name, &written.contents));
        Ok(written)
    }

    fn copy(
        &self,
        name: Name,
        part: &str,
        moved: Vec<Moved>,
        span: Span,
    ) -> io::Result<Written<D::File>> {
        let made = self.disk.create(part)?;
        self.disk
            .append(&made, &mut [IoSlice::new(&header(name, span))])?;
        let mut contents = Contents::default();
        let mut damaged = Vec::new();
        let mut end = HEADER_BYTES as u64;
        let mut source: Option<(Name, D::File)> = None;
        for one in moved {
            let file = match source.take().filter(|(from, _)| *from == one.name) {
                Some((_, file)) => file,
                None => self.disk.open(&one.name.file(Kind::Segment))?,
            };
            let (at, bytes) = (one.row.at.into(), one.row.bytes.into());
            let found = scan::read(&self.disk, &file, one.name.id, at, bytes)?;
            source = Some((one.name, file));
            let Some(whole) = found else {
                damaged.push(one);
                continue;
            };
            let (head, body) = whole.content.split_at(whole.head_bytes);
            let body = Chunks::from_iter([whole.content.slice_ref(body)]);
            let frame = frame(name.id, head, &body).ok_or(io::ErrorKind::FileTooLarge)?;
            let mut parts = [IoSlice::new(&frame), IoSlice::new(&whole.content)];
            self.disk.append(&made, &mut parts)?;
            let row = Row {
                at: end as u32,
                ..one.row
            };
            contents.push(one.key, row, whole.head.accepted_ms);
            end += FRAME_BYTES as u64 + whole.content.len() as u64;
        }
        contents.end = end;
        Ok(Written {
            segment: Segment::new(name, span, end, &contents),
            contents,
            file: made,
            damaged,
        })
    }
}
