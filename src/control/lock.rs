//! Who has a data folder, and who has a store on SQLite: one process each, whatever else it was pointed at.

use std::{
    collections::BTreeSet,
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use super::{Error, secret_file, store::Place};

/// Links that lead from one to the next before there is a file.
const LINKS_MAX: usize = 40;

/// Locks that are held until this is dropped.
pub(super) struct Lock {
    files: Vec<File>,
}

// === impl Lock ===

impl Lock {
    /// The data folder's, then that of every one of those places which is a file; a server lets several in.
    pub(super) fn take(data: &Path, places: &[&Place]) -> Result<Self, Error> {
        let mut files = vec![hold(&data.join("lock"), || Error::Locked(data.to_owned()))?];
        // Each once: a command may be told of one place twice.
        let stores = places.iter().filter_map(|place| match place {
            Place::Sqlite(path) => Some(path),
            Place::Postgres(_) => None,
        });
        let mut stores: BTreeSet<_> = stores
            .map(|path| true_path(path))
            .collect::<Result<_, _>>()?;
        while let Some(store) = stores.pop_first() {
            let beside = beside(&store);
            files.push(hold(&beside, || Error::StoreLocked(store))?);
        }
        Ok(Self { files })
    }

    /// That of a file in which a store may once have been served.
    pub(super) fn take_former(file: &Path) -> Result<Self, Error> {
        let store = file.canonicalize().unwrap_or_else(|_| file.to_owned());
        let beside = beside(&store);
        let files = match beside.exists() {
            true => vec![hold(&beside, || Error::StoreLocked(store))?],
            false => Vec::new(),
        };
        Ok(Self { files })
    }

    /// Gives them up at once, however many still hold the lock's owner.
    pub(super) fn release(&self) {
        for file in &self.files {
            if let Err(error) = file.unlock() {
                tracing::warn!(%error, "a lock could not be released");
            }
        }
    }
}

fn hold(path: &Path, taken: impl FnOnce() -> Error) -> Result<File, Error> {
    let file = secret_file::open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(taken()),
        Err(TryLockError::Error(source)) => Err(secret_file::failed("lock", path, source)),
    }
}

/// Where a file is, or will be, whichever way led there. Its folder is made.
pub(super) fn true_path(path: &Path) -> Result<PathBuf, Error> {
    let failed = |source| secret_file::failed("look at", path, source);
    let mut at = path.to_owned();
    for _ in 0..LINKS_MAX {
        match at.canonicalize() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => return found.map_err(failed),
        }
        let folder = match at.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        secret_file::make_folder(folder)?;
        let folder = folder.canonicalize().map_err(failed)?;
        // A link may be there before what it leads to.
        at = match at.read_link() {
            Ok(target) => folder.join(target),
            Err(_) => {
                return Ok(at
                    .file_name()
                    .map_or(folder.clone(), |name| folder.join(name)));
            }
        };
    }
    Err(failed(io::Error::other("too many links")))
}

/// Nothing in the store's own file: that one is replaced when a backup is put back.
fn beside(store: &Path) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}
