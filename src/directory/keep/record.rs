//! Records of both kinds of file: length, CRC-32C, kind, bytes. Nothing is believed before its checksum is.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufReader, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Bytes before a record's own: length (4, of kind and bytes), CRC-32C (4, of length, kind and bytes).
const FRAME_BYTES: usize = 8;

/// No record of ours is longer; a length past it is damage.
pub(super) const RECORD_BYTES_MAX: usize = 256 << 20;

/// What a record holds; the letter in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
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

/// Appends a record.
pub(super) fn put(out: &mut Vec<u8>, kind: Kind, bytes: &[u8]) -> io::Result<()> {
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

/// Reads records from a file; stops at its end or at the first one that is not whole.
pub(super) struct Records {
    file: BufReader<File>,
    /// Bytes of the file not read yet.
    left: u64,
    /// CRC-32C of everything read, magic included.
    sum: u32,
    buffer: Vec<u8>,
}

/// How reading the next record went.
pub(super) enum Next<'a> {
    /// A whole one.
    Record(Kind, &'a [u8]),
    /// The file ends after a whole record.
    End,
    /// What follows is damaged or cut; so many bytes of it.
    Torn(u64),
}

impl Records {
    /// Opens a file that starts with that magic; `None` when it doesn't.
    pub(super) fn open(path: &Path, magic: &[u8; 8]) -> io::Result<Option<Self>> {
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
    pub(super) fn next(&mut self) -> io::Result<Next<'_>> {
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
        let kind = match kind {
            b'H' => Kind::Head,
            b'P' => Kind::Plain,
            b'S' => Kind::Sealed,
            b'F' => Kind::Fresh,
            b'E' => Kind::End,
            _ => return Ok(Next::Torn(torn)),
        };
        Ok(Next::Record(kind, bytes))
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
pub(super) fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)
}

/// Makes a folder's names durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
