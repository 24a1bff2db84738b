//! Records of both kinds of file: length, CRC-32C, kind, bytes. Nothing is believed before its checksum is.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use crate::clock;

/// Bytes before a record's own: length (4, of kind and bytes), CRC-32C (4, of length, kind and bytes).
const FRAME_BYTES: usize = 8;

/// No record of ours is longer; a length past it is damage.
pub(super) const RECORD_BYTES_MAX: usize = 256 << 20;

/// What a record holds; the letter in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::directory) enum Kind {
    /// First in a file: what it continues.
    Head = b'H',
    /// Changes (snapshot) or a delta (log).
    Plain = b'P',
    /// The same, sealed.
    Sealed = b'S',
    /// When the table was last known to be fresh: 8 bytes of seconds since 1970.
    Fresh = b'F',
    /// Last in a snapshot: what must have come before.
    End = b'E',
}

impl Kind {
    fn of(letter: u8) -> Option<Self> {
        Some(match letter {
            b'H' => Self::Head,
            b'P' => Self::Plain,
            b'S' => Self::Sealed,
            b'F' => Self::Fresh,
            b'E' => Self::End,
            _ => return None,
        })
    }
}

/// Appends a record.
pub(in crate::directory) fn put(out: &mut Vec<u8>, kind: Kind, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len() + 1)
        .ok()
        .filter(|length| *length as usize <= RECORD_BYTES_MAX)
        .ok_or_else(|| io::Error::other("a record past its limit"))?;
    let length = length.to_le_bytes();
    let sum = checksum(length, kind as u8, bytes);
    out.extend_from_slice(&length);
    out.extend_from_slice(&sum.to_le_bytes());
    out.push(kind as u8);
    out.extend_from_slice(bytes);
    Ok(())
}

fn checksum(length: [u8; 4], kind: u8, bytes: &[u8]) -> u32 {
    let head = [length[0], length[1], length[2], length[3], kind];
    crc32c::crc32c_append(crc32c::crc32c(&head), bytes)
}

/// How long a record is that could start here, by its length and kind alone.
pub(super) fn length_at(bytes: &[u8]) -> Option<usize> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    let kind = rest.get(4)?;
    let fits = length >= 1 && length <= rest.len() - 4;
    (fits && Kind::of(*kind).is_some()).then_some(length)
}

/// The record that starts here, if its checksum says so.
pub(super) fn whole_at(bytes: &[u8]) -> Option<(Kind, &[u8])> {
    let end = FRAME_BYTES + length_at(bytes)?;
    let (length, rest) = bytes.get(..end)?.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let (kind, bytes) = rest.split_first()?;
    let is_whole = checksum(*length, *kind, bytes) == u32::from_le_bytes(*sum);
    is_whole.then_some((Kind::of(*kind)?, bytes))
}

/// Reads records from a file; stops at its end or at the first one that is not whole.
pub(in crate::directory) struct Records {
    file: BufReader<File>,
    /// Bytes of the file not read yet.
    left: u64,
    /// CRC-32C of everything read, magic included.
    sum: u32,
    buffer: Vec<u8>,
}

/// How reading the next record went.
pub(in crate::directory) enum Next<'a> {
    /// A whole one.
    Record(Kind, &'a [u8]),
    /// The file ends after a whole record.
    End,
    /// What follows is damaged or cut; so many bytes of it.
    Torn(u64),
}

impl Records {
    /// Opens a file that starts with that magic; `None` when it doesn't.
    pub(in crate::directory) fn open(path: &Path, magic: &[u8; 8]) -> io::Result<Option<Self>> {
        let file = File::open(path)?;
        let left = file.metadata()?.len();
        let mut records = Self {
            file: BufReader::with_capacity(1 << 20, file),
            left,
            sum: 0,
            buffer: Vec::new(),
        };
        let mut found = [0; 8];
        Ok((records.read(&mut found)? && found == *magic).then_some(records))
    }

    /// CRC-32C of the file up to here.
    pub(super) fn sum(&self) -> u32 {
        self.sum
    }

    /// Bytes of the file after the last record.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// The next record.
    ///
    /// # Errors
    /// The disk's own; damage is not an error.
    pub(in crate::directory) fn next(&mut self) -> io::Result<Next<'_>> {
        let torn = self.left;
        if torn == 0 {
            return Ok(Next::End);
        }
        let mut frame = [0; FRAME_BYTES];
        if !self.read(&mut frame)? {
            return Ok(Next::Torn(torn));
        }
        let [a, b, c, d, e, f, g, h] = frame;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        // Checked against what is there before any memory is taken for it.
        if length == 0 || length > RECORD_BYTES_MAX || length as u64 > self.left {
            return Ok(Next::Torn(torn));
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(length, 0);
        let whole = self.read(&mut buffer)?;
        self.buffer = buffer;
        let [kind, bytes @ ..] = &self.buffer[..] else {
            return Ok(Next::Torn(torn));
        };
        if !whole || checksum([a, b, c, d], *kind, bytes) != u32::from_le_bytes([e, f, g, h]) {
            return Ok(Next::Torn(torn));
        }
        Ok(match Kind::of(*kind) {
            Some(kind) => Next::Record(kind, bytes),
            None => Next::Torn(torn),
        })
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<bool> {
        if (into.len() as u64) > self.left {
            return Ok(false);
        }
        match self.file.read_exact(into) {
            Ok(()) => {
                self.left -= into.len() as u64;
                self.sum = crc32c::crc32c_append(self.sum, into);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// A new, empty file that only we may read.
pub(in crate::directory) fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)
}

/// Makes a folder's names durable.
pub(in crate::directory) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Puts what can't be used out of the way, where a person may look at it: its name, with `.refused` behind it.
///
/// # Errors
/// The folder can't be written.
pub(in crate::directory) fn set_aside(path: &Path) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".refused");
    fs::rename(path, &name).or_else(|_| {
        // What was refused before may be a folder, which nothing takes the place of.
        name.push(format!(".{}", clock::wall().as_nanos()));
        fs::rename(path, &name)
    })
}
