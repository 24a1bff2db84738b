//! Where a conversion's output goes: into memory that is claimed, or past that into a file of the body's own.

use std::{
    fs::File,
    io::{self, Write},
    path::PathBuf,
    time::Instant,
};

use super::{BUFFERED_BYTES_MAX, disk::Disk, files::Key, late};
use crate::{gateway::admit::Held, model::Rejection};

/// A body whose lines outgrow what could be claimed for them goes to its file in steps of this: its converter's own room.
const STEP_BYTES: usize = 256 << 10;
/// The least that is claimed at a time.
const GROWTH_BYTES_MIN: usize = 1 << 10;

/// Takes a converter's output; what grows past the buffer goes to a file of its own.
pub(super) struct Sink<'a> {
    disk: &'a Disk,
    key: Key,
    /// From here on the sender is refused, and nothing of the body may stay.
    deadline: Instant,
    /// Never allocated beyond what is claimed for it.
    buffer: Vec<u8>,
    claimed: &'a mut Claimed,
    own_file: Option<OwnFile<'a>>,
    bytes: u64,
    bytes_max: u64,
    /// All of it is let go where it would else reach the disk.
    keeps_nothing: bool,
    /// Why writing failed.
    refusal: Option<Rejection>,
}

/// What is claimed for a body on its way to the disk, and how much of that for its lines.
#[derive(Debug)]
pub(super) struct Claimed {
    held: Held,
    lines_bytes: usize,
}

/// A file for one body alone; deleted when dropped before it was kept.
struct OwnFile<'a> {
    disk: &'a Disk,
    file: File,
    path: PathBuf,
    bytes: u64,
    is_kept: bool,
}

// === impl Claimed ===

impl Claimed {
    /// Claims room for lines beside what is held for the body as it came.
    ///
    /// # Errors
    /// There is no room.
    pub(super) fn new(mut held: Held, lines_bytes: usize) -> Result<Self, Rejection> {
        held.grow(lines_bytes as u64)?;
        Ok(Self { held, lines_bytes })
    }

    /// Whether there is room for so many bytes of lines, claimed now if need be.
    fn reach(&mut self, lines_bytes: usize) -> bool {
        let missing = lines_bytes.saturating_sub(self.lines_bytes);
        if missing > 0 && self.held.grow(missing as u64).is_err() {
            return false;
        }
        self.lines_bytes = self.lines_bytes.max(lines_bytes);
        true
    }

    /// Gives back what the lines don't need.
    fn settle(&mut self, lines_bytes: usize) {
        let spare = self.lines_bytes.saturating_sub(lines_bytes);
        self.held.shrink(spare as u64);
        self.lines_bytes -= spare;
    }
}

// === impl Sink ===

impl<'a> Sink<'a> {
    pub(super) fn new(
        disk: &'a Disk,
        key: Key,
        deadline: Instant,
        claimed: &'a mut Claimed,
        bytes_max: u64,
    ) -> Self {
        Self {
            disk,
            key,
            deadline,
            buffer: Vec::with_capacity(claimed.lines_bytes.min(BUFFERED_BYTES_MAX)),
            claimed,
            own_file: None,
            bytes: 0,
            bytes_max,
            keeps_nothing: false,
            refusal: None,
        }
    }

    /// A rehearsal's: nothing of it may reach the disk.
    pub(super) const fn keep_nothing(&mut self) {
        self.keeps_nothing = true;
    }

    /// Why the last write failed.
    pub(super) fn refusal(&mut self) -> Rejection {
        let unknown = Rejection::Internal("archive conversion failed");
        self.refusal.take().unwrap_or(unknown)
    }

    /// The lines, or nothing when they are safe in a file of their own (or there are none).
    pub(super) fn finish(mut self) -> Result<Option<Vec<u8>>, Rejection> {
        if self.keeps_nothing {
            return Ok(None);
        }
        if self.own_file.is_some() {
            let kept = self.spill().and_then(|()| match self.own_file.take() {
                Some(file) => self.keep(file),
                None => Ok(()),
            });
            return match kept {
                Ok(()) => Ok(None),
                Err(_) => Err(self.refusal()),
            };
        }
        if self.buffer.capacity() > 2 * self.buffer.len() {
            self.buffer.shrink_to_fit();
        }
        self.claimed.settle(self.buffer.capacity());
        Ok((!self.buffer.is_empty()).then_some(self.buffer))
    }

    fn keep(&mut self, mut file: OwnFile<'a>) -> io::Result<()> {
        if let Err(error) = self.disk.sync(&file.file, file.bytes) {
            self.refusal = Some(self.disk.failed(&file.path, &error));
            return Err(error);
        }
        self.check_time()?;
        file.is_kept = true;
        Ok(())
    }

    /// Room in the buffer, made by claiming more or by emptying it.
    fn room(&mut self, wanted: usize) -> io::Result<usize> {
        let held = self.buffer.len();
        if held == self.buffer.capacity() {
            let more = held.saturating_add(wanted.max(held));
            let target = more.clamp(GROWTH_BYTES_MIN, BUFFERED_BYTES_MAX);
            if self.own_file.is_none() && target > held && self.claimed.reach(target) {
                self.buffer.reserve_exact(target - held);
            } else {
                self.spill()?;
                self.buffer.reserve(STEP_BYTES);
            }
        }
        Ok(self.buffer.capacity() - self.buffer.len())
    }

    fn check_time(&mut self) -> io::Result<()> {
        if Instant::now() >= self.deadline {
            self.refusal = Some(late());
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }

    /// Moves the buffer into the body's own file.
    fn spill(&mut self) -> io::Result<()> {
        self.check_time()?;
        let bytes = self.buffer.len() as u64;
        if let Err(rejection) = self.disk.check_room(bytes) {
            self.refusal = Some(rejection);
            return Err(io::ErrorKind::StorageFull.into());
        }
        if self.keeps_nothing {
            self.buffer.clear();
            return Ok(());
        }
        let disk = self.disk;
        let own_file = match self.own_file.take() {
            Some(file) => Ok(file),
            None => disk.create(self.key).map(|(file, path)| OwnFile {
                disk,
                file,
                path,
                bytes: 0,
                is_kept: false,
            }),
        };
        let written = own_file.and_then(|mut own| {
            disk.append(&own.file, &self.buffer)?;
            own.bytes += bytes;
            Ok(own)
        });
        self.buffer.clear();
        match written {
            Ok(own) => {
                self.own_file = Some(own);
                Ok(())
            }
            Err(error) => {
                let place = PathBuf::from(self.key.account.to_string());
                self.refusal = Some(disk.failed(&place, &error));
                Err(error)
            }
        }
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        if self.bytes > self.bytes_max {
            self.refusal = Some(Rejection::TooLarge {
                bytes_max: self.bytes_max,
            });
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(self.room(rest.len())?.min(rest.len()));
            self.buffer.extend_from_slice(now);
            rest = later;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// === impl OwnFile ===

impl Drop for OwnFile<'_> {
    fn drop(&mut self) {
        if !self.is_kept {
            drop(self.disk.remove(&self.path, self.bytes));
        }
    }
}
