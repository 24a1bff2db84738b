//! Reading records back: one by its place, or all of a segment with whatever is left of it.

use std::io;

use bytes::Bytes;
use memchr::memmem;
use prost::Message;

use super::{
    disk::Disk,
    frame::{FRAME_BYTES, Frame, HEADER_BYTES, MARK_BYTES},
    head::Head,
};

/// Read at a time.
const WINDOW_BYTES: usize = 256 << 10;

/// What is found in a segment, in order.
pub(super) enum Found {
    /// A whole record.
    Record { at: u64, bytes: u64, head: Head },
    /// Bytes that are none, and a whole record behind them.
    Damage { at: u64, bytes: u64 },
    /// Bytes that are none, up to the end: a commit that a crash cut off, as a rule.
    Torn { bytes: u64 },
}

/// A record as it lies in its segment.
pub(super) struct Whole {
    pub(super) head: Head,
    /// Head and body in one piece, for whoever copies it.
    pub(super) content: Bytes,
    pub(super) head_bytes: usize,
}

/// The record at that place; none when it is damaged.
///
/// # Errors
/// The disk's own.
pub(super) fn read<D: Disk>(
    disk: &D,
    file: &D::File,
    id: u64,
    at: u64,
    bytes: u64,
) -> io::Result<Option<Whole>> {
    let mut found = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
    let read = disk.read(file, at, &mut found)?;
    let Some(frame) = Frame::parse(&found, id) else {
        return Ok(None);
    };
    if read as u64 != bytes || frame.bytes() != bytes {
        return Ok(None);
    }
    let content = Bytes::from(found).slice(FRAME_BYTES..);
    if !frame.is_sum(crc32c::crc32c_append(frame.seed(), &content)) {
        return Ok(None);
    }
    let head_bytes = usize::from(frame.head_bytes);
    let head = Head::decode(&content[..head_bytes]).ok();
    Ok(head.map(|head| Whole {
        head,
        content,
        head_bytes,
    }))
}

/// Everything in the first `end` bytes of a segment.
///
/// # Errors
/// The disk's own; damage is not an error.
pub(super) fn scan<D: Disk>(
    disk: &D,
    file: &D::File,
    id: u64,
    end: u64,
    mut visit: impl FnMut(Found),
) -> io::Result<()> {
    let mut window = Window {
        disk,
        file,
        end,
        at: 0,
        bytes: Vec::new(),
    };
    let mut at = HEADER_BYTES as u64;
    let mut bad_since = None;
    while at < end {
        if let Some((bytes, head)) = window.record(id, at)? {
            if let Some(since) = bad_since.take() {
                visit(Found::Damage {
                    at: since,
                    bytes: at - since,
                });
            }
            visit(Found::Record { at, bytes, head });
            at += bytes;
        } else {
            bad_since.get_or_insert(at);
            at = window.mark(id, at + 1)?;
        }
    }
    if let Some(since) = bad_since {
        visit(Found::Torn { bytes: end - since });
    }
    Ok(())
}

/// A piece of the file that moves along.
struct Window<'a, D: Disk> {
    disk: &'a D,
    file: &'a D::File,
    end: u64,
    at: u64,
    bytes: Vec<u8>,
}

// === impl Window ===

impl<D: Disk> Window<'_, D> {
    /// What is at that place: so many bytes (no more than a window holds), or less where the file ends.
    fn get(&mut self, at: u64, bytes: usize) -> io::Result<&[u8]> {
        let wanted = (self.end.saturating_sub(at)).min(bytes as u64) as usize;
        let has = |window: &Self| {
            let from = at.checked_sub(window.at)?;
            let from = usize::try_from(from).ok()?;
            (from + wanted <= window.bytes.len()).then_some(from)
        };
        let from = match has(self) {
            Some(from) => from,
            None => {
                let room = (self.end.saturating_sub(at)).min(WINDOW_BYTES as u64) as usize;
                self.bytes.resize(room, 0);
                self.at = at;
                let read = self.disk.read(self.file, at, &mut self.bytes)?;
                self.bytes.truncate(read);
                0
            }
        };
        let to = (from + wanted).min(self.bytes.len());
        Ok(&self.bytes[from..to])
    }

    /// The record that begins there, if its checksum says so.
    fn record(&mut self, id: u64, at: u64) -> io::Result<Option<(u64, Head)>> {
        let Some(frame) = Frame::parse(self.get(at, FRAME_BYTES)?, id) else {
            return Ok(None);
        };
        if frame.bytes() > self.end - at {
            return Ok(None);
        }
        let start = at + FRAME_BYTES as u64;
        let head_bytes = usize::from(frame.head_bytes);
        let head = Head::decode(self.get(start, head_bytes)?).ok();
        let mut sum = frame.seed();
        let mut left = frame.content_bytes as usize;
        let mut next = start;
        while left > 0 {
            let piece = self.get(next, left.min(WINDOW_BYTES))?;
            if piece.is_empty() {
                return Ok(None);
            }
            sum = crc32c::crc32c_append(sum, piece);
            next += piece.len() as u64;
            left -= piece.len();
        }
        let is_whole = frame.is_sum(sum);
        Ok(head.filter(|_| is_whole).map(|head| (frame.bytes(), head)))
    }

    /// Where the next frame may begin, from that place on; the end where none does.
    fn mark(&mut self, id: u64, from: u64) -> io::Result<u64> {
        let mark = id.to_le_bytes();
        let mut at = from;
        while at < self.end {
            let piece = self.get(at, WINDOW_BYTES)?;
            if let Some(found) = memmem::find(piece, &mark) {
                return Ok(at + found as u64);
            }
            if piece.len() < WINDOW_BYTES {
                break;
            }
            // A mark may lie across two windows.
            at += (piece.len() - (MARK_BYTES - 1)) as u64;
        }
        Ok(self.end)
    }
}
