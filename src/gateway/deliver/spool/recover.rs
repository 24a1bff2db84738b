//! What an earlier process left: listed at the start, read afterwards, oldest first, while new records come in.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::atomic::Ordering,
};

use tracing::error;

use super::{
    contents::{self, load},
    disk::Disk,
    engine::Engine,
    frame::{HEADER_BYTES, Span, span},
    name::{Kind, Name},
    segment::Segment,
};

/// Segments that nobody has looked into yet.
#[derive(Default)]
pub(super) struct Earlier {
    /// With the file's bytes. By number, then by whatever number was drawn.
    segments: BTreeMap<Name, u64>,
    /// The first number that was never used.
    next_number: u32,
    /// Those that could not be read when they were looked into.
    unread: Vec<(Name, u64)>,
    /// What each stands for, once that is read.
    spans: Option<HashMap<Name, Span>>,
}

/// Lists the folder, and removes what belongs to nothing.
///
/// # Errors
/// The folder can't be listed.
pub(super) fn list<D: Disk>(disk: &D) -> io::Result<Earlier> {
    let mut earlier = Earlier::default();
    let mut others = Vec::new();
    for (file, bytes) in disk.list("")? {
        if let Some((name, kind)) = Name::parse(&file) {
            // No number comes after it, and none of ours is so high.
            if name.number == u32::MAX {
                continue;
            }
            earlier.next_number = earlier.next_number.max(name.number + 1);
            if kind == Kind::Segment {
                earlier.segments.insert(name, bytes);
            } else {
                others.push((name, kind, file));
            }
        }
    }
    for (name, kind, file) in others {
        if kind == Kind::Part || !earlier.segments.contains_key(&name) {
            // What can't be removed does no harm.
            drop(disk.remove(&file));
        }
    }
    Ok(earlier)
}

// === impl Earlier ===

impl Earlier {
    /// Bytes of all of them.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.values().sum()
    }

    /// From where on records must wait: there are older ones.
    pub(super) fn frontier(&self) -> Option<u32> {
        self.segments.keys().next().map(|name| name.number)
    }

    /// A number for a new segment.
    pub(super) fn draw(&mut self) -> io::Result<u32> {
        let number = self.next_number;
        self.next_number = number
            .checked_add(1)
            .ok_or_else(|| io::Error::other("no segment number left"))?;
        Ok(number)
    }

    fn span_of(&self, name: Name) -> Span {
        let span = self.spans.as_ref().and_then(|spans| spans.get(&name));
        span.copied().unwrap_or(Span {
            first: name.number,
            generation: 0,
        })
    }

    /// Segments whose records stand in another one: a crash came before they were removed.
    fn take_replaced(&mut self) -> Vec<(Name, u64)> {
        let Some(spans) = &self.spans else {
            return Vec::new();
        };
        let is_replaced = |name: &Name| {
            let generation = spans.get(name).map_or(0, |span| span.generation);
            spans.iter().any(|(by, span)| {
                let covers = span.first <= name.number && name.number <= by.number;
                covers && span.generation > generation
            })
        };
        let replaced = self.segments.iter();
        let replaced = replaced.filter(|(name, _)| is_replaced(name));
        let replaced: Vec<(Name, u64)> = replaced.map(|(name, bytes)| (*name, *bytes)).collect();
        for (name, _) in &replaced {
            self.segments.remove(name);
        }
        replaced
    }
}

// === impl Engine ===

impl<D: Disk> Engine<D> {
    /// Looks into the oldest segment that nobody has looked into; says whether there was one.
    pub(super) fn recover(&self) -> bool {
        if self.earlier().spans.is_none() {
            self.read_spans();
        }
        let first = self.earlier().segments.pop_first();
        if let Some((name, bytes)) = first
            && let Err(error) = self.look_into(name, bytes)
        {
            error!(segment = %name, %error, "a spooled segment cannot be read, going on without it and trying again");
            self.shelf().holes.insert(name.number);
            self.earlier().unread.push((name, bytes));
        }
        let frontier = self.earlier().frontier();
        self.shelf().advance(frontier);
        first.is_some()
    }

    /// Looks again into what could not be read.
    pub(super) fn recover_again(&self) {
        let unread = std::mem::take(&mut self.earlier().unread);
        for (name, bytes) in unread {
            match self.look_into(name, bytes) {
                Ok(()) => {
                    self.shelf().holes.remove(&name.number);
                }
                Err(_) => self.earlier().unread.push((name, bytes)),
            }
        }
    }

    fn read_spans(&self) {
        let names: Vec<Name> = self.earlier().segments.keys().copied().collect();
        let mut spans = HashMap::new();
        for name in names {
            let mut header = [0; HEADER_BYTES];
            let file = self.disk.open(&name.file(Kind::Segment));
            let read = file.and_then(|file| self.disk.read(&file, 0, &mut header));
            spans.insert(name, span(&header[..read.unwrap_or(0)], name));
        }
        // What stands for others was renamed, and may not be there for good before this.
        let is_durable = self.disk.sync_folder().is_ok();
        let mut earlier = self.earlier();
        // Most stand for themselves alone, and need not be remembered.
        spans.retain(|_, span| span.generation > 0);
        earlier.spans = Some(spans);
        let replaced = earlier.take_replaced();
        drop(earlier);
        if is_durable {
            self.remove(replaced.into_iter().map(Into::into));
        }
    }

    fn look_into(&self, name: Name, bytes: u64) -> io::Result<()> {
        let file = self.disk.open(&name.file(Kind::Segment))?;
        // Not by the listing's word: what has nothing left is removed.
        let bytes = self.disk.bytes(&file)?.max(bytes);
        let (contents, trouble) = load(&self.disk, &file, name, bytes)?;
        for (at, bytes) in trouble.damage {
            self.damaged(name, at, bytes);
        }
        self.counts
            .torn_bytes
            .fetch_add(trouble.torn_bytes, Ordering::Relaxed);
        let span = self.earlier().span_of(name);
        let segment = Segment::new(name, span, bytes, &contents);
        if segment.left == 0 {
            self.remove([(name, bytes).into()]);
            return Ok(());
        }
        if trouble.is_scanned {
            // What can't be kept is scanned again.
            drop(contents::keep(&self.disk, name, &contents));
        }
        for (key, row) in contents.left() {
            self.find(&key, &row);
        }
        self.shelf().register(segment, contents);
        Ok(())
    }
}
