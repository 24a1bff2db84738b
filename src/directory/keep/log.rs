//! `table.<revision>.log`: the deltas after a snapshot, each durable before it is acknowledged.
//!
//! Every process, and every compaction, starts a log of its own. On load all logs of the snapshot's lineage are read in order;
//! a log ends where it is torn, and a delta counts only when it is the next one.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use prost::Message;
use tracing::error;

use super::{
    damage,
    record::{self, Kind, Next, Records, create_private, sync_folder},
    seal::Seal,
};
use crate::{
    directory::Directory,
    model::{Change, Position, Revision},
    rpc::feed,
};

const MAGIC: &[u8; 8] = b"WHFLOGS1";

/// Deltas are applied to a loaded table in groups of about so many changes.
const CHANGES_PER_STEP: usize = 100_000;

/// A delta as it goes to disk.
pub(crate) struct Delta {
    pub(crate) position: Position,
    /// The encoded `feed.Delta`.
    pub(crate) bytes: Vec<u8>,
    /// Whether a destination is in it.
    pub(crate) secret: bool,
}

/// A log being written.
pub(super) struct Log {
    file: File,
    path: PathBuf,
    about: [u8; 8],
    bytes: u64,
    buffer: Vec<u8>,
}

/// What was found in the logs.
#[derive(Default)]
pub(super) struct Found {
    pub(super) paths: Vec<PathBuf>,
    pub(super) bytes: u64,
    pub(super) deltas: u64,
    /// Bytes that were damaged or cut, or that follow a gap.
    pub(super) torn_bytes: u64,
    /// Some of what is left out was acknowledged.
    pub(super) lost: bool,
    pub(super) fresh_at: u64,
}

// === impl Log ===

impl Log {
    /// Starts a log of what follows that revision.
    pub(super) fn create(folder: &Path, lineage: u64, after: Revision) -> io::Result<Self> {
        let path = folder.join(format!("table.{:020}.log", after.0));
        let mut log = Self {
            file: create_private(&path)?,
            path,
            about: lineage.to_le_bytes(),
            bytes: 0,
            buffer: MAGIC.to_vec(),
        };
        record::put(&mut log.buffer, Kind::Head, &log.about)?;
        log.sync()?;
        sync_folder(folder)?;
        Ok(log)
    }

    /// Adds a delta; durable after [`Log::sync`].
    pub(super) fn append(&mut self, delta: &Delta, seal: &Seal) -> io::Result<()> {
        if delta.secret {
            let sealed = seal.seal(&delta.bytes, &self.about)?;
            record::put(&mut self.buffer, Kind::Sealed, &sealed)
        } else {
            record::put(&mut self.buffer, Kind::Plain, &delta.bytes)
        }
    }

    /// Adds when the table was last fresh. It rides along with the next sync.
    pub(super) fn append_fresh(&mut self, wall_seconds: u64) -> io::Result<()> {
        record::put(&mut self.buffer, Kind::Fresh, &wall_seconds.to_le_bytes())
    }

    /// Hands what was added to the operating system.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.buffer)?;
        self.bytes += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Makes everything added durable. After an error the file must not be used again: its pages may be gone.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.flush()?;
        self.file.sync_data()
    }

    /// Bytes written.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where it stands.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Every log file of the folder, in the order of their revisions.
pub(super) fn paths(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for file in fs::read_dir(folder)? {
        let file = file?;
        let name = file.file_name();
        let is_log = |name: &str| name.starts_with("table.") && name.ends_with(".log");
        if name.to_str().is_some_and(is_log) {
            paths.push(file.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// Applies every log of that lineage to a directory that holds its snapshot. Logs of other lineages are left out; one
/// that can't be read is set aside.
///
/// # Errors
/// The folder's; damage ends a log and is counted.
pub(super) fn replay(
    folder: &Path,
    lineage: u64,
    seal: &Seal,
    directory: &Directory,
) -> io::Result<Found> {
    let mut found = Found::default();
    let mut pending = Pending::new(directory);
    let about = lineage.to_le_bytes();
    for path in paths(folder)? {
        match replay_one(&path, &about, seal, &mut pending, &mut found) {
            Ok(()) => found.paths.push(path),
            Err(error) => {
                error!(%error, path = %path.display(), "a log of the kept table can't be read and is set aside");
                record::set_aside(&path)?;
                found.lost = true;
            }
        }
    }
    pending.apply();
    Ok(found)
}

struct Pending<'a> {
    directory: &'a Directory,
    reached: Position,
    changes: Vec<Change>,
}

impl<'a> Pending<'a> {
    fn new(directory: &'a Directory) -> Self {
        Self {
            directory,
            reached: directory.position(),
            changes: Vec::new(),
        }
    }

    fn apply(&mut self) {
        if self.reached.revision > self.directory.revision() {
            self.directory
                .apply(self.reached, std::mem::take(&mut self.changes));
        }
    }
}

fn replay_one(
    path: &Path,
    about: &[u8; 8],
    seal: &Seal,
    pending: &mut Pending<'_>,
    found: &mut Found,
) -> io::Result<()> {
    let size = fs::metadata(path)?.len();
    let head = match Records::open(path, MAGIC)? {
        None => None,
        Some(mut records) => match records.next()? {
            Next::Record(Kind::Head, head) if head == about => Some(records),
            Next::Record(..) => return Ok(()),
            Next::End | Next::Torn(_) => None,
        },
    };
    let torn_bytes = match head {
        Some(mut records) => {
            found.bytes += size;
            replay_records(&mut records, about, seal, pending, found)?
        }
        None => size,
    };
    if torn_bytes > 0 {
        found.torn_bytes += torn_bytes;
        let offset = size.saturating_sub(torn_bytes);
        found.lost |=
            damage::precedes_good_records(path, offset, about, seal, pending.reached.revision)?;
    }
    Ok(())
}

/// Gives the bytes left out at its end.
fn replay_records(
    records: &mut Records,
    about: &[u8; 8],
    seal: &Seal,
    pending: &mut Pending<'_>,
    found: &mut Found,
) -> io::Result<u64> {
    loop {
        let delta = match records.next()? {
            Next::End => return Ok(0),
            Next::Torn(bytes) => return Ok(bytes),
            Next::Record(Kind::Fresh, bytes) => {
                // After damage the table is older than what was written then.
                if let Ok(bytes) = bytes.try_into()
                    && found.torn_bytes == 0
                    && !found.lost
                {
                    found.fresh_at = found.fresh_at.max(u64::from_le_bytes(bytes));
                }
                continue;
            }
            Next::Record(Kind::Plain, bytes) => feed::Delta::decode(bytes).ok(),
            Next::Record(Kind::Sealed, bytes) => seal
                .open_sealed(bytes, about)
                .and_then(|opened| feed::Delta::decode(&opened[..]).ok()),
            Next::Record(..) => None,
        };
        let changes = delta.and_then(|delta| {
            let changes = delta.changes.into_iter().map(feed::Change::into_model);
            let changes: Result<Vec<_>, _> = changes.collect();
            let position = Position {
                revision: Revision(delta.revision),
                history: delta.history,
            };
            Some((position, changes.ok()?))
        });
        match changes {
            Some((position, _)) if position.revision <= pending.reached.revision => {}
            Some((position, changes)) if position.revision == pending.reached.revision.next() => {
                pending.reached = position;
                pending.changes.extend(changes.into_iter().flatten());
                found.deltas += 1;
                if pending.changes.len() >= CHANGES_PER_STEP {
                    pending.apply();
                }
            }
            // After a gap nothing in this log can be the next one, and what was whole on disk may have been acknowledged.
            _ => {
                found.lost = true;
                return Ok(records.left());
            }
        }
    }
}
