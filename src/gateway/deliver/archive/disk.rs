//! The disk: makes files durably, appends, syncs, deletes, and knows how much is on it.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tracing::warn;

use super::{
    Config, Wall,
    files::{Hour, Key, Name},
    unavailable,
};
use crate::{
    gateway::deliver::watch::Watch,
    model::{AccountId, Rejection, Signal},
};

/// After the disk said it is full, payloads are refused at once for this long, then it is asked again.
const FULL_FOR: Duration = Duration::from_secs(1);
/// Between two warnings about one condition.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// What the archive has done and holds, for the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of all files.
    pub disk_bytes: u64,
    /// Bytes of bodies that wait for a converter.
    pub queued_bytes: u64,
    /// File syncs since the start.
    pub syncs: u64,
    /// Writes, syncs and file creations that failed since the start.
    pub failures: u64,
    /// Files that the retention sweep deleted since the start.
    pub deleted_files: u64,
}

pub(super) struct Disk {
    root: PathBuf,
    wall: Wall,
    bytes_max: u64,
    bytes: AtomicU64,
    syncs: AtomicU64,
    failures: AtomicU64,
    deleted_files: AtomicU64,
    folders: Mutex<Folders>,
    watch: Watch,
    full_until: Mutex<Option<Instant>>,
    full_warned: Mutex<Option<Instant>>,
    failure_warned: Mutex<Option<Instant>>,
    #[cfg(test)]
    pub(super) faults: super::tests::Faults,
}

/// What this process knows of the folders. Bounded by the accounts that ship to the archive.
#[derive(Default)]
struct Folders {
    /// Folders whose own entries this process has synced; one found on disk may be an unsynced leftover of a crash.
    durable: HashSet<(AccountId, Signal)>,
    /// The newest file's hour and number.
    newest: HashMap<Key, (Hour, u32)>,
}

impl Disk {
    pub(super) fn open(config: &Config, root: PathBuf, wall: Wall) -> io::Result<Self> {
        make_folder(&root)?;
        if let Some(parent) = root.canonicalize()?.parent() {
            File::open(parent)?.sync_all()?;
        }
        let disk = Self {
            root,
            wall,
            bytes_max: config.disk_bytes_max,
            bytes: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            deleted_files: AtomicU64::new(0),
            folders: Mutex::default(),
            watch: Watch::default(),
            full_until: Mutex::default(),
            full_warned: Mutex::default(),
            failure_warned: Mutex::default(),
            #[cfg(test)]
            faults: Default::default(),
        };
        disk.each_file(|_, _, bytes| disk.count(bytes))?;
        Ok(disk)
    }

    pub(super) fn hour(&self) -> Hour {
        Hour::of((self.wall)())
    }

    /// Refuses at once what would only wait: the disk is not done with what it should be done with.
    pub(super) fn check_pace(&self) -> Result<(), Rejection> {
        if self.watch.is_overdue() {
            return Err(unavailable("archive's disk has stalled"));
        }
        Ok(())
    }

    /// Refuses at once what the disk has no room for.
    pub(super) fn check_room(&self, bytes: u64) -> Result<(), Rejection> {
        let now = Instant::now();
        let is_full = lock(&self.full_until).is_some_and(|until| now < until);
        let on_disk = self.bytes.load(Ordering::Relaxed);
        let is_past_max = self.bytes_max != 0 && on_disk.saturating_add(bytes) > self.bytes_max;
        if !is_full && !is_past_max {
            return Ok(());
        }
        if is_due(&self.full_warned) {
            warn!(
                disk.bytes = on_disk,
                disk.bytes_max = self.bytes_max,
                "archive is full, refusing payloads"
            );
        }
        Err(unavailable("archive is full"))
    }

    /// Makes a new file, mode 0600, that a crash can't make vanish: its folders' entries are synced before it is used.
    pub(super) fn create(&self, key: Key) -> io::Result<(File, PathBuf)> {
        let _under_way = self.watch.begin(0);
        let folder = self.folder(key)?;
        let hour = self.hour();
        let newest = lock(&self.folders).newest.get(&key).copied();
        let mut number = match newest {
            Some((newest, number)) if newest == hour => number,
            _ => newest_number(&folder, key, hour)?,
        };
        loop {
            number = number
                .checked_add(1)
                .ok_or_else(|| io::Error::other("no file number left in this hour"))?;
            let path = folder.join(
                Name {
                    kind: key.kind,
                    hour,
                    number,
                }
                .to_string(),
            );
            let made = OpenOptions::new()
                .append(true)
                .create_new(true)
                .mode(0o600)
                .open(&path);
            match made {
                Ok(file) => {
                    lock(&self.folders).newest.insert(key, (hour, number));
                    let synced = File::open(&folder).and_then(|folder| folder.sync_all());
                    return match synced {
                        Ok(()) => Ok((file, path)),
                        Err(error) => {
                            drop(fs::remove_file(&path));
                            Err(error)
                        }
                    };
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn folder(&self, key: Key) -> io::Result<PathBuf> {
        let account = self.root.join(key.account.to_string());
        let folder = account.join(key.signal.name());
        let place = (key.account, key.signal);
        if !lock(&self.folders).durable.contains(&place) || !folder.is_dir() {
            make_folder(&folder)?;
            File::open(&account)?.sync_all()?;
            File::open(&self.root)?.sync_all()?;
            lock(&self.folders).durable.insert(place);
        }
        Ok(folder)
    }

    /// Writes at a file's end and counts the bytes.
    pub(super) fn append(&self, mut file: &File, bytes: &[u8]) -> io::Result<()> {
        let _under_way = self.watch.begin(bytes.len() as u64);
        #[cfg(test)]
        self.faults.on_write(file, bytes)?;
        file.write_all(bytes)?;
        self.count(bytes.len() as u64);
        Ok(())
    }

    /// Returns when everything appended, so many bytes since the last time, is on the disk. After an error the file must never be written or synced again:
    /// its pages are marked clean though they never arrived, and a second sync would lie.
    pub(super) fn sync(&self, file: &File, bytes: u64) -> io::Result<()> {
        let _under_way = self.watch.begin(bytes);
        self.syncs.fetch_add(1, Ordering::Relaxed);
        #[cfg(test)]
        self.faults.on_sync()?;
        file.sync_data()
    }

    /// Notes a failure and gives the answer to those who waited on it.
    pub(super) fn failed(&self, path: &Path, error: &io::Error) -> Rejection {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let is_full = matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        );
        if is_full {
            *lock(&self.full_until) = Some(Instant::now() + FULL_FOR);
        }
        if is_due(&self.failure_warned) {
            warn!(file = %path.display(), %error, "archive write failed, going on in a new file");
        }
        unavailable(if is_full {
            "archive is full"
        } else {
            "archive write failed"
        })
    }

    /// Deletes a file of that many counted bytes.
    pub(super) fn remove(&self, path: &Path, bytes: u64) -> io::Result<()> {
        fs::remove_file(path)?;
        let less = |now: u64| Some(now.saturating_sub(bytes));
        let _ = self
            .bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        Ok(())
    }

    /// Counts bytes that are on disk from now on.
    pub(super) fn count(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn count_deleted(&self, files: u64) {
        self.deleted_files.fetch_add(files, Ordering::Relaxed);
    }

    /// Visits every file of ours with its bytes; what is not named by us is left alone.
    pub(super) fn each_file(&self, mut visit: impl FnMut(&Path, Name, u64)) -> io::Result<()> {
        for account in fs::read_dir(&self.root)? {
            let account = account?;
            let is_account = account
                .file_name()
                .to_str()
                .is_some_and(|name| name.parse::<u64>().is_ok());
            if !is_account || !account.file_type()?.is_dir() {
                continue;
            }
            for signal in Signal::ALL {
                let folder = match fs::read_dir(account.path().join(signal.name())) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    folder => folder?,
                };
                for file in folder {
                    let file = file?;
                    let name = file.file_name().to_str().and_then(Name::parse);
                    if let (Some(name), true) = (name, file.file_type()?.is_file()) {
                        // Gone since it was listed: nothing to visit.
                        let Ok(metadata) = file.metadata() else {
                            continue;
                        };
                        visit(&file.path(), name, metadata.len());
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn usage(&self, queued_bytes: u64) -> Usage {
        Usage {
            disk_bytes: self.bytes.load(Ordering::Relaxed),
            queued_bytes,
            syncs: self.syncs.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            deleted_files: self.deleted_files.load(Ordering::Relaxed),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// The highest number in use, so that a file of an earlier process is never appended to.
fn newest_number(folder: &Path, key: Key, hour: Hour) -> io::Result<u32> {
    let mut newest = 0;
    for file in fs::read_dir(folder)? {
        if let Some(name) = file?.file_name().to_str().and_then(Name::parse)
            && name.kind == key.kind
            && name.hour == hour
        {
            newest = newest.max(name.number);
        }
    }
    Ok(newest)
}

fn is_due(last: &Mutex<Option<Instant>>) -> bool {
    let mut last = lock(last);
    let now = Instant::now();
    let is_due = last.is_none_or(|last| now.duration_since(last) >= WARN_EVERY);
    if is_due {
        *last = Some(now);
    }
    is_due
}
