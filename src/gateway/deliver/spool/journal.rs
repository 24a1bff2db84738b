//! What is done with: a file beside each segment, eight bytes a record, appended and not synced.
//!
//! A kill loses nothing that was written. A power loss may, and then records are delivered twice: a sync for each delivery
//! would cost more than that.

use std::io::{self, IoSlice};

use super::{
    disk::Disk,
    name::{Kind, Name},
};

const MARK_BYTES: usize = 8;

/// Marks being written.
pub(super) struct Journal<F> {
    file: Option<F>,
    name: Name,
    /// Marks that could not be written yet; the disk may be full, and space only comes back by what is delivered.
    owed: Vec<u8>,
}

/// Places that are done with, in a journal's bytes; what is damaged is passed over.
pub(super) fn marks(bytes: &[u8], id: u64) -> impl Iterator<Item = u32> {
    let (marks, _) = bytes.as_chunks::<MARK_BYTES>();
    marks.iter().filter_map(move |mark| {
        let [a, b, c, d, ..] = *mark;
        let at = u32::from_le_bytes([a, b, c, d]);
        (*mark == encode(id, at)).then_some(at)
    })
}

fn encode(id: u64, at: u32) -> [u8; MARK_BYTES] {
    let [a, b, c, d] = at.to_le_bytes();
    let sum = crc32c::crc32c_append(crc32c::crc32c(&id.to_le_bytes()), &[a, b, c, d]);
    let [e, f, g, h] = sum.to_le_bytes();
    [a, b, c, d, e, f, g, h]
}

// === impl Journal ===

impl<F: Send + Sync> Journal<F> {
    /// Of that segment; its file is opened when there is something to write.
    pub(super) const fn new(name: Name) -> Self {
        Self {
            file: None,
            name,
            owed: Vec::new(),
        }
    }

    /// Notes that the record at that place is done with; to be written.
    pub(super) fn owe(&mut self, at: u32) {
        self.owed.extend_from_slice(&encode(self.name.id, at));
    }

    /// Places that were noted and are not written yet.
    pub(super) fn owed(&self) -> Vec<u32> {
        marks(&self.owed, self.name.id).collect()
    }

    /// Writes what was noted. What fails now is written with the next.
    pub(super) fn pay<D: Disk<File = F>>(&mut self, disk: &D) {
        if !self.owed.is_empty() {
            drop(self.write(disk));
        }
    }

    /// Whether all of it is written.
    pub(super) const fn is_written(&self) -> bool {
        self.owed.is_empty()
    }

    /// Closes the file until there is something to write again.
    pub(super) fn rest(&mut self) {
        self.file = None;
    }

    fn write<D: Disk<File = F>>(&mut self, disk: &D) -> io::Result<()> {
        let file = match self.file.take() {
            Some(file) => file,
            None => open(disk, &self.name.file(Kind::Done))?,
        };
        // After an error half a mark may stand there: the file is opened again, and what follows is in line again.
        disk.append(&file, &mut [IoSlice::new(&self.owed)])?;
        self.owed.clear();
        self.file = Some(file);
        Ok(())
    }
}

/// Opened to be appended to, at a multiple of a mark's bytes.
fn open<D: Disk>(disk: &D, name: &str) -> io::Result<D::File> {
    let file = disk.open(name).or_else(|_| disk.create(name))?;
    let odd = (disk.bytes(&file)? % MARK_BYTES as u64) as usize;
    if odd > 0 {
        disk.append(&file, &mut [IoSlice::new(&[0; MARK_BYTES][odd..])])?;
    }
    Ok(file)
}
