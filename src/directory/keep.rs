//! The last good copy on disk: a snapshot and the deltas after it, so that a gateway starts and serves with the control plane away.
//!
//! The folder (0700) holds `table.snapshot`, `table.<revision>.log`, `table.mark`, `audit.head`, `seal.key` and `lock`
//! (0600 each).

pub(in crate::directory) mod record;
mod seal;
mod snapshot;
mod log;
mod damage;
mod mark;
pub(in crate::directory) mod audit;
mod writer;

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use tracing::{error, warn};

use self::{mark::Mark, seal::Seal, snapshot::Missing};
use super::Directory;
use crate::model::{Position, Revision};

pub(super) use log::Delta;
pub(super) use writer::{Keeper, Kept};

/// Overrides `seal.key`: 64 hexadecimal digits.
const SEAL_KEY_VARIABLE: &str = "WHARFINGER_SEAL_KEY";

/// A folder with the kept copy, held by this process alone.
pub struct Keep {
    folder: PathBuf,
    seal: Arc<Seal>,
    /// Locked as long as it is open.
    lock: File,
    on_disk: Option<OnDisk>,
    mark: Mark,
    /// What another version wrote may lack what this one enforces: serve it, but ask for everything anew.
    same_version: bool,
    #[cfg(test)]
    pub(super) broken: Arc<std::sync::atomic::AtomicBool>,
}

/// What is kept now.
struct OnDisk {
    lineage: u64,
    position: Position,
    snapshot_bytes: u64,
    /// Logs that the next compaction makes superfluous.
    logs: Vec<PathBuf>,
    logs_bytes: u64,
}

/// What [`Keep::load`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// Nothing is kept: the table waits for the feed.
    Nothing,
    /// The kept copy serves.
    Table {
        /// Up to here.
        revision: Revision,
        /// So many tokens.
        tokens: usize,
        /// Deltas from the logs among the revisions.
        deltas: u64,
        /// Bytes of logs that were damaged or cut, and left out.
        torn_bytes: u64,
    },
    /// What is kept can't be believed; it was set aside, and the table waits for the feed.
    Refused(&'static str),
}

impl Keep {
    /// Opens the folder, made when it is missing. Without its seal key a copy is worth nothing: a damaged one is set aside with it.
    ///
    /// # Errors
    /// The folder can't be made, written or locked; the seal key from the environment is none.
    pub fn open(folder: &Path) -> io::Result<Self> {
        Self::open_with(folder, std::env::var(SEAL_KEY_VARIABLE).ok().as_deref())
    }

    fn open_with(folder: &Path, seal_key: Option<&str>) -> io::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let lock = record::create_private(&folder.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => io::Error::new(
                io::ErrorKind::ResourceBusy,
                "another process keeps its copy in this folder",
            ),
            fs::TryLockError::Error(error) => error,
        })?;
        let seal = match Seal::open(folder, seal_key)? {
            Some(seal) => seal,
            None => {
                set_copy_aside(folder)?;
                Seal::make(folder)?
            }
        };
        Ok(Self {
            seal: Arc::new(seal),
            folder: folder.to_owned(),
            lock,
            on_disk: None,
            mark: Mark::read(folder),
            same_version: true,
            #[cfg(test)]
            broken: Arc::default(),
        })
    }

    /// Loads what is kept into an empty directory. What is damaged or can't be read is set aside as `*.refused`.
    ///
    /// # Errors
    /// The folder can't be read or written; damage is no error.
    pub fn load(&mut self, directory: &Directory) -> io::Result<Loaded> {
        let snapshot = match snapshot::read(&self.folder, &self.seal) {
            Ok(snapshot) => snapshot,
            Err(Missing::None) => return Ok(Loaded::Nothing),
            Err(Missing::Refused(why)) => {
                error!(why, folder = %self.folder.display(), "the kept table is refused and set aside");
                let path = snapshot::path(&self.folder);
                record::set_aside(&path)?;
                return Ok(Loaded::Refused(why));
            }
        };
        directory.install(snapshot.collected, Vec::new(), snapshot.position);
        let found = log::replay(&self.folder, snapshot.lineage, &self.seal, directory)?;
        directory.was_fresh_at(snapshot.fresh_at.max(found.fresh_at));
        let kept = Kept {
            lineage: snapshot.lineage,
            position: directory.position(),
        };
        if found.lost || self.mark.is_past(kept) {
            directory.doubt();
            error!(
                bytes = found.torn_bytes,
                revision = %kept.position.revision,
                "the kept table lacks changes that were acknowledged: no token is accepted until the feed has been caught up with"
            );
        } else if found.torn_bytes > 0 {
            warn!(
                bytes = found.torn_bytes,
                revision = %kept.position.revision,
                "the kept table's log is torn, its tail is left out"
            );
        }
        let revision = kept.position.revision;
        self.same_version = snapshot.same_version;
        self.on_disk = Some(OnDisk {
            lineage: snapshot.lineage,
            position: kept.position,
            snapshot_bytes: snapshot.bytes,
            logs: found.paths,
            logs_bytes: found.bytes,
        });
        Ok(Loaded::Table {
            revision,
            tokens: directory.tokens(),
            deltas: found.deltas,
            torn_bytes: found.torn_bytes,
        })
    }

    /// Keeps the directory's table as it is now, instead of what was kept before. Nothing happens while there is no table.
    ///
    /// # Errors
    /// The disk's own.
    pub fn save(&mut self, directory: &Directory) -> io::Result<()> {
        self.on_disk = self.write_whole(directory)?;
        Ok(())
    }

    /// Writes the whole table; logs from before are gone.
    fn write_whole(&self, directory: &Directory) -> io::Result<Option<OnDisk>> {
        let Some(frozen) = directory.freeze() else {
            return Ok(None);
        };
        let snapshot_bytes =
            snapshot::write(&self.folder, &frozen, &self.seal, directory.fresh_at())?;
        for path in log::paths(&self.folder)? {
            fs::remove_file(path)?;
        }
        Ok(Some(OnDisk {
            lineage: frozen.lineage,
            position: frozen.position,
            snapshot_bytes,
            logs: Vec::new(),
            logs_bytes: 0,
        }))
    }

    /// Whether the kept copy was written by another version of the executable.
    pub(super) fn is_of_another_version(&self) -> bool {
        !self.same_version
    }
}

/// What can't be opened without its key, and the key if there is something in its place.
fn set_copy_aside(folder: &Path) -> io::Result<()> {
    let mut paths = log::paths(folder)?;
    paths.extend([snapshot::path(folder), seal::path(folder)]);
    for path in paths {
        // Also what can't be looked into is there.
        if fs::symlink_metadata(&path).is_ok() {
            error!(path = %path.display(), "the kept table has no usable seal key: set aside, waiting for the feed");
            record::set_aside(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
