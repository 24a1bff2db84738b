//! `table.mark`: the last revision that was acknowledged as kept, so that a copy which lost some of it on disk is found out.
//!
//! Written after each sync and before the acknowledgement, never synced itself: it outlives the process for certain, and
//! what a power cut leaves of it is older, never wrong.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use super::writer::Kept;
use crate::model::Revision;

const NAME: &str = "table.mark";

/// Lineage, revision, CRC-32C of both.
const BYTES: usize = 20;

/// The mark of a folder.
#[derive(Default)]
pub(super) struct Mark {
    file: Option<File>,
    at: Kept,
}

impl Mark {
    /// What the folder's mark says; a damaged one, and none, say nothing.
    pub(super) fn read(folder: &Path) -> Self {
        let bytes = fs::read(folder.join(NAME)).unwrap_or_default();
        Self {
            file: None,
            at: decode(&bytes).unwrap_or_default(),
        }
    }

    /// Whether more than that was acknowledged of its lineage.
    pub(super) fn is_past(&self, kept: Kept) -> bool {
        self.at.lineage == kept.lineage && self.at.position.revision > kept.position.revision
    }

    /// Sets the mark. It never goes back: what is being caught up with again stays missing until it is there.
    ///
    /// # Errors
    /// The disk's own.
    pub(super) fn set(&mut self, folder: &Path, kept: Kept) -> io::Result<()> {
        let is_there = encode(self.at) == encode(kept);
        if is_there || self.is_past(kept) {
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let mut options = fs::OpenOptions::new();
                options.write(true).create(true).truncate(false).mode(0o600);
                self.file.insert(options.open(folder.join(NAME))?)
            }
        };
        file.write_all_at(&encode(kept), 0)?;
        self.at = kept;
        Ok(())
    }
}

fn encode(kept: Kept) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(&kept.lineage.to_le_bytes());
    bytes[8..16].copy_from_slice(&kept.position.revision.0.to_le_bytes());
    let sum = crc32c::crc32c(&bytes[..16]);
    bytes[16..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Kept> {
    let (lineage, rest) = bytes.split_first_chunk::<8>()?;
    let (revision, _) = rest.split_first_chunk::<8>()?;
    let kept = Kept {
        lineage: u64::from_le_bytes(*lineage),
        position: Revision(u64::from_le_bytes(*revision)).into(),
    };
    (bytes == encode(kept)).then_some(kept)
}
