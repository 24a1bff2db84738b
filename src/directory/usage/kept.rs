//! `usage.pending`: everything counted and not acknowledged, whole and synced, put in the place of the file before.
//!
//! Rewritten rather than appended to: while the control plane answers, it holds the last few seconds and no more.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use prost::Message;

use super::pending::Pending;
use crate::{
    directory::keep::record::{self, Kind, Next, Records, create_private, set_aside, sync_folder},
    rpc::feed,
};

const MAGIC: &[u8; 8] = b"WHFUSAG1";
const NAME: &str = "usage.pending";
const NEW_NAME: &str = "usage.new";

/// Written in steps, so that a large file needs no second copy of itself in memory.
const STEP_BYTES: usize = 1 << 20;

/// Where it is kept.
pub(super) struct Kept {
    folder: PathBuf,
}

// === impl Kept ===

impl Kept {
    /// In that folder, made when it is missing. Whoever calls holds the data folder's lock.
    ///
    /// # Errors
    /// It can't be made.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// Takes what an earlier process left. A damaged file is set aside; what is whole in it counts.
    ///
    /// # Errors
    /// The folder can't be read or written.
    pub(super) fn load(&self, into: &mut Pending) -> io::Result<()> {
        let path = self.folder.join(NAME);
        let damaged = match Records::open(&path, MAGIC) {
            Ok(Some(records)) => restore(records, into)?,
            Ok(None) => Some("it is no file of ours"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if let Some(why) = damaged {
            tracing::error!(why, path = %path.display(),
                "usage that was kept for the control plane is damaged: the file is set aside, what is whole in it counts");
            set_aside(&path)?;
        }
        Ok(())
    }

    /// Writes everything down.
    ///
    /// # Errors
    /// The disk's own; the file before stays.
    pub(super) fn write(&self, pending: &Pending) -> io::Result<()> {
        let new = self.folder.join(NEW_NAME);
        // Never again one whose sync has failed: its pages may be gone.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = create_private(&new)?;
        let mut out = MAGIC.to_vec();
        for report in pending.each() {
            let message = feed::Usage::of(&report, 0).encode_to_vec();
            record::put(&mut out, Kind::Plain, &message)?;
            if out.len() >= STEP_BYTES {
                file.write_all(&out)?;
                out.clear();
            }
        }
        record::put(&mut out, Kind::End, &[])?;
        file.write_all(&out)?;
        file.sync_data()?;
        fs::rename(&new, self.folder.join(NAME))?;
        sync_folder(&self.folder)
    }
}

/// Why the file is damaged, if it is.
fn restore(mut records: Records, into: &mut Pending) -> io::Result<Option<&'static str>> {
    loop {
        let message = match records.next()? {
            Next::Record(Kind::Plain, bytes) => feed::Usage::decode(bytes),
            Next::Record(Kind::End, _) => return Ok(None),
            Next::Record(..) => return Ok(Some("it holds a record of another kind")),
            Next::End => return Ok(Some("it is cut")),
            Next::Torn(_) => return Ok(Some("a record's checksum is wrong")),
        };
        let Ok(message) = message else {
            return Ok(Some("a record can't be read"));
        };
        let (report, _) = message.into_model();
        if report.sequence == 0 {
            for (token, usage) in report.tokens {
                into.add(report.at, token, usage);
            }
        } else {
            into.restore_report(report);
        }
    }
}
