//! The disk as the spool sees it: named files in one folder, appended to, synced, read. Tests put a worse one in its place.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, IoSlice, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// What a power loss leaves: files as they were when they were last synced, names as they were when the folder was, and of
/// everything since then any part or none.
pub(super) trait Disk: Send + Sync + 'static {
    /// An open file.
    type File: Send + Sync;

    /// Files of the folder, or of a folder in it, with their bytes.
    fn list(&self, folder: &str) -> io::Result<Vec<(String, u64)>>;
    /// A new file. Its name is durable after [`Disk::sync_folder`].
    fn create(&self, name: &str) -> io::Result<Self::File>;
    /// A file that exists, to read and to append to.
    fn open(&self, name: &str) -> io::Result<Self::File>;
    /// How long it is.
    fn bytes(&self, file: &Self::File) -> io::Result<u64>;
    /// Writes all of it at the end. After an error any part of it may be there.
    fn append(&self, file: &Self::File, parts: &mut [IoSlice<'_>]) -> io::Result<()>;
    /// Reads what is there, less than asked for only at the end.
    fn read(&self, file: &Self::File, at: u64, into: &mut [u8]) -> io::Result<usize>;
    /// Returns when everything appended is durable. After an error nothing may ever be concluded from another sync of this
    /// file: its pages are marked clean though they never arrived.
    fn sync(&self, file: &Self::File) -> io::Result<()>;
    /// Makes the folder's names durable.
    fn sync_folder(&self) -> io::Result<()>;
    /// Puts a file in another's place.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// Real files, mode 0600, in a folder of mode 0700.
pub(super) struct Files {
    folder: PathBuf,
    /// Held as long as this lives: two processes would hand everything out twice.
    _lock: Option<File>,
}

// === impl Files ===

impl Files {
    /// Makes the folder with those in it, and takes its lock.
    ///
    /// # Errors
    /// The folder can't be made or is another process'.
    pub(super) fn own(folder: &Path, inner: &[&str]) -> io::Result<Self> {
        for name in inner {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o700);
            builder.create(folder.join(name))?;
        }
        if let Some(parent) = folder.canonicalize()?.parent() {
            File::open(parent)?.sync_all()?;
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let lock = options.open(folder.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => io::Error::new(
                io::ErrorKind::ResourceBusy,
                "another process uses this spool",
            ),
            fs::TryLockError::Error(error) => error,
        })?;
        Ok(Self {
            folder: folder.to_owned(),
            _lock: Some(lock),
        })
    }

    /// Only to look at.
    ///
    /// # Errors
    /// There is no such folder.
    pub(super) fn borrow(folder: &Path) -> io::Result<Self> {
        fs::read_dir(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
            _lock: None,
        })
    }
}

impl Disk for Files {
    type File = File;

    fn list(&self, folder: &str) -> io::Result<Vec<(String, u64)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.folder.join(folder))? {
            let entry = entry?;
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // Gone since it was listed: nothing to see.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
                found.push((name, metadata.len()));
            }
        }
        Ok(found)
    }

    fn create(&self, name: &str) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create_new(true).mode(0o600);
        options.open(self.folder.join(name))
    }

    fn open(&self, name: &str) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).append(true);
        options.open(self.folder.join(name))
    }

    fn bytes(&self, file: &File) -> io::Result<u64> {
        Ok(file.metadata()?.len())
    }

    fn append(&self, mut file: &File, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            match file.write_vectored(parts) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut parts, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read(&self, file: &File, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while read < into.len() {
            match file.read_at(&mut into[read..], at + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.folder.join(from), self.folder.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.folder.join(name))
    }
}
