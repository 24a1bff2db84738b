//! What is in one segment: a row for each record, in memory only while the segment is read from, and on disk as its index.
//!
//! The index is a file of its own: a segment that failed must not be written to any more, and one that is made again needs a
//! place. It is as good as the segment: it names only what was committed. Where it is missing or damaged, a scan makes it.

use std::{collections::HashMap, io, io::IoSlice};

use super::{
    disk::Disk,
    frame::{FRAME_BYTES, HEADER_BYTES},
    head::Head,
    journal,
    name::{Kind, Name},
    scan::{Found, scan},
};
use crate::model::{AccountId, DestinationId, Signal, Tally};

const MAGIC: &[u8; 8] = b"WHFINDX1";
/// Far above what the records of one segment need; what is longer was not written by us, and is as good as damaged.
const SIDE_BYTES_MAX: u64 = 16 << 20;
const KEY_BYTES: usize = 17;
const ROW_BYTES: usize = 28;

/// Whose records stand in one line: one after the other, and behind nobody else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) destination: DestinationId,
    pub(super) account: AccountId,
    pub(super) signal: Signal,
}

/// One record: where it lies, how long it is with its frame, what the books count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) at: u32,
    pub(super) bytes: u32,
    pub(super) tally: Tally,
}

/// A segment's records, and which of them are done with.
#[derive(Debug, Default)]
pub(super) struct Contents {
    keys: Vec<Key>,
    /// By their place in the segment.
    rows: Vec<Row>,
    /// Whose each row is: a place among the keys.
    owners: Vec<u32>,
    is_done: Vec<bool>,
    /// Each line's rows, in order.
    lines: HashMap<Key, (u32, Vec<u32>)>,
    /// When the newest was accepted.
    pub(super) newest_ms: u64,
    /// Where the last record ends.
    pub(super) end: u64,
}

/// What loading a segment found beside its records.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    /// Places and bytes of what is no record and stands before one.
    pub(super) damage: Vec<(u64, u64)>,
    /// Bytes at the end that are none.
    pub(super) torn_bytes: u64,
    /// It had to be scanned.
    pub(super) is_scanned: bool,
}

// === impl Contents ===

impl Contents {
    /// Adds a record behind all others.
    pub(super) fn push(&mut self, key: Key, row: Row, accepted_ms: u64) {
        let place = self.rows.len() as u32;
        let new_owner = self.keys.len() as u32;
        let (owner, line) = self.lines.entry(key).or_insert_with(|| {
            self.keys.push(key);
            (new_owner, Vec::new())
        });
        line.push(place);
        self.owners.push(*owner);
        self.rows.push(row);
        self.is_done.push(false);
        self.newest_ms = self.newest_ms.max(accepted_ms);
        self.end = u64::from(row.at) + u64::from(row.bytes);
    }

    fn push_found(&mut self, at: u64, bytes: u64, head: &Head) -> Option<()> {
        let origin = head.origin();
        let key = Key {
            destination: origin.destination,
            account: origin.account,
            signal: head.signal()?,
        };
        let row = Row {
            at: u32::try_from(at).ok()?,
            bytes: u32::try_from(bytes).ok()?,
            tally: head.tally()?,
        };
        self.push(key, row, origin.accepted_ms);
        Some(())
    }

    /// How many records there are, done or not.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Notes that the record at that place is done with; says whether it was not before.
    pub(super) fn mark(&mut self, at: u32) -> bool {
        let row = self.rows.binary_search_by_key(&at, |row| row.at);
        row.is_ok_and(|row| !std::mem::replace(&mut self.is_done[row], true))
    }

    /// What is left, in order.
    pub(super) fn left(&self) -> impl Iterator<Item = (Key, Row)> {
        let rows = self.rows.iter().zip(&self.owners).zip(&self.is_done);
        let left = rows.filter(|(_, is_done)| !**is_done);
        left.map(|((row, owner), _)| (self.keys[*owner as usize], *row))
    }

    /// A line's records that are left, from that place on.
    pub(super) fn left_of(&self, key: &Key, from: u32) -> impl Iterator<Item = Row> {
        let line: &[u32] = self.lines.get(key).map_or(&[], |(_, line)| line);
        let start = line.partition_point(|row| self.rows[*row as usize].at < from);
        let left = line[start..]
            .iter()
            .filter(|row| !self.is_done[**row as usize]);
        left.map(|row| self.rows[*row as usize])
    }

    /// The index file.
    pub(super) fn encode(&self, id: u64) -> Vec<u8> {
        let bytes = 40 + self.keys.len() * KEY_BYTES + self.rows.len() * ROW_BYTES + 4;
        let mut out = Vec::with_capacity(bytes);
        out.extend_from_slice(MAGIC);
        for number in [id, self.newest_ms] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for count in [self.keys.len(), self.rows.len()] {
            out.extend_from_slice(&(count as u64).to_le_bytes());
        }
        for key in &self.keys {
            out.extend_from_slice(&key.destination.0.to_le_bytes());
            out.extend_from_slice(&key.account.0.to_le_bytes());
            out.push(key.signal.index() as u8);
        }
        for (row, owner) in self.rows.iter().zip(&self.owners) {
            for number in [row.at, row.bytes, *owner] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            for number in [row.tally.items, row.tally.bytes] {
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
        let sum = crc32c::crc32c(&out);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    /// What an index file says; none when it is damaged, or another segment's.
    pub(super) fn decode(found: &[u8], id: u64) -> Option<Self> {
        let (summed, sum) = found.split_last_chunk::<4>()?;
        if crc32c::crc32c(summed) != u32::from_le_bytes(*sum) {
            return None;
        }
        let mut rest = summed.strip_prefix(MAGIC)?;
        if take(&mut rest)? != id {
            return None;
        }
        let newest_ms = take(&mut rest)?;
        let (keys, rows) = (take(&mut rest)?, take(&mut rest)?);
        let bytes = keys.checked_mul(KEY_BYTES as u64)?;
        let bytes = bytes.checked_add(rows.checked_mul(ROW_BYTES as u64)?)?;
        if bytes != rest.len() as u64 {
            return None;
        }
        let mut known = Vec::with_capacity(keys as usize);
        for _ in 0..keys {
            let (destination, account) = (take(&mut rest)?, take(&mut rest)?);
            let (signal, after) = rest.split_first()?;
            rest = after;
            known.push(Key {
                destination: DestinationId(destination),
                account: AccountId(account),
                signal: *Signal::ALL.get(usize::from(*signal))?,
            });
        }
        let mut contents = Self::default();
        for _ in 0..rows {
            let (at, bytes) = (take_u32(&mut rest)?, take_u32(&mut rest)?);
            let key = take_u32(&mut rest)?;
            let tally = Tally::new(take(&mut rest)?, take(&mut rest)?);
            let is_next = u64::from(at) >= contents.end.max(HEADER_BYTES as u64);
            if !is_next || (bytes as usize) < FRAME_BYTES {
                return None;
            }
            let row = Row { at, bytes, tally };
            contents.push(*known.get(key as usize)?, row, newest_ms);
        }
        Some(contents)
    }
}

fn take(rest: &mut &[u8]) -> Option<u64> {
    let (number, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u64::from_le_bytes(*number))
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    let (number, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u32::from_le_bytes(*number))
}

/// Everything known of a segment, by its index or else by a scan of its first `end` bytes.
///
/// # Errors
/// The segment can't be read; its other files need not be there.
pub(super) fn load<D: Disk>(
    disk: &D,
    file: &D::File,
    name: Name,
    end: u64,
) -> io::Result<(Contents, Trouble)> {
    let mut trouble = Trouble::default();
    let index = whole_file(disk, &name.file(Kind::Index))?;
    let kept = index.and_then(|index| Contents::decode(&index, name.id));
    let mut contents = match kept {
        Some(contents) => contents,
        None => {
            trouble.is_scanned = true;
            scanned(disk, file, name, end, &mut trouble)?
        }
    };
    if let Some(done) = whole_file(disk, &name.file(Kind::Done))? {
        for at in journal::marks(&done, name.id) {
            contents.mark(at);
        }
    }
    Ok((contents, trouble))
}

/// What the segment itself says.
///
/// # Errors
/// It can't be read.
pub(super) fn scanned<D: Disk>(
    disk: &D,
    file: &D::File,
    name: Name,
    end: u64,
    trouble: &mut Trouble,
) -> io::Result<Contents> {
    let mut contents = Contents::default();
    scan(disk, file, name.id, end, |found| match found {
        Found::Record { at, bytes, head } => {
            if contents.push_found(at, bytes, &head).is_none() {
                trouble.damage.push((at, bytes));
            }
        }
        Found::Damage { at, bytes } => trouble.damage.push((at, bytes)),
        Found::Torn { bytes } => trouble.torn_bytes += bytes,
    })?;
    Ok(contents)
}

/// Writes the index. It need not be synced: what is lost of it is made again.
///
/// # Errors
/// The disk's own; then there is none.
pub(super) fn keep<D: Disk>(disk: &D, name: Name, contents: &Contents) -> io::Result<()> {
    let file = name.file(Kind::Index);
    // A damaged one may be there.
    drop(disk.remove(&file));
    let made = disk.create(&file)?;
    let bytes = contents.encode(name.id);
    let written = disk.append(&made, &mut [IoSlice::new(&bytes)]);
    if written.is_err() {
        drop(disk.remove(&file));
    }
    written
}

/// None where there is none: what can't be read now may say that a record is done with.
fn whole_file<D: Disk>(disk: &D, name: &str) -> io::Result<Option<Vec<u8>>> {
    let file = match disk.open(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut bytes = vec![0; disk.bytes(&file)?.min(SIDE_BYTES_MAX) as usize];
    let read = disk.read(&file, 0, &mut bytes)?;
    bytes.truncate(read);
    Ok(Some(bytes))
}
