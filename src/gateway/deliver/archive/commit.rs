//! Group commit: all lines that wait go out with one write and one sync a file, and are then answered together.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::MetadataExt,
    path::PathBuf,
};

use super::{
    disk::Disk,
    files::{Hour, Key},
    late,
    queue::{Answer, Inbox, Outbox, Record},
    sink::Claimed,
};

/// Files held open; beyond it the longest unused are closed, and opened again when lines come.
const OPEN_FILES_MAX: usize = 256;
/// Records are gathered up to this for one write; larger ones are written as they are.
const WRITE_BYTES: usize = 1 << 20;

struct Writer<'a> {
    disk: &'a Disk,
    file_bytes_max: u64,
    hour: Hour,
    open: HashMap<Key, Open>,
    /// The writer's own room: lines that are written together.
    buffer: Vec<u8>,
    commits: u64,
}

/// Who waits for a record, and what is claimed for it until then.
struct Waiting {
    answer: Answer,
    _claimed: Claimed,
}

/// The file that a key's lines go to now.
struct Open {
    file: Option<File>,
    path: PathBuf,
    /// Appended without an error.
    bytes: u64,
    /// Of them, not yet synced.
    unsynced_bytes: u64,
    /// Whether any of it was ever acknowledged.
    is_acknowledged: bool,
    last_commit: u64,
}

/// Ends the archive with its writer: nobody may wait for a thread that is gone.
struct Closing<'a>(&'a Inbox, &'a Outbox);

/// Commits until the outbox is closed and empty.
pub(super) fn run(disk: &Disk, outbox: &Outbox, inbox: &Inbox, file_bytes_max: u64) {
    let _closing = Closing(inbox, outbox);
    let mut writer = Writer {
        disk,
        file_bytes_max,
        hour: disk.hour(),
        open: HashMap::new(),
        buffer: Vec::with_capacity(WRITE_BYTES),
        commits: 0,
    };
    while let Some(records) = outbox.take() {
        writer.commit(records);
    }
}

// === impl Writer ===

impl Writer<'_> {
    fn commit(&mut self, records: Vec<Record>) {
        self.commits += 1;
        let hour = self.disk.hour();
        if hour != self.hour {
            self.hour = hour;
            self.open.clear();
        }
        let mut by_key: HashMap<Key, Vec<Record>> = HashMap::new();
        let mut bytes = 0;
        for record in records {
            if record.answer.is_late() {
                record.answer.send(Err(late()));
                continue;
            }
            // Asked again with the lines' true length: the queue let in more than there may be room for.
            match self.disk.check_room(bytes + record.lines.len() as u64) {
                Ok(()) => {
                    bytes += record.lines.len() as u64;
                    by_key.entry(record.key).or_default().push(record);
                }
                Err(rejection) => record.answer.send(Err(rejection)),
            }
        }
        let mut dirty = Vec::with_capacity(by_key.len());
        for (key, records) in by_key {
            if let Some(waiting) = self.append(key, records) {
                dirty.push((key, waiting));
            }
        }
        // All writes are out before the first sync, so that the disk can take them together.
        for (key, waiting) in dirty {
            self.sync(key, waiting);
        }
        self.close_unused();
    }

    /// Appends a key's records in as few files as their sizes allow; gives back who waits for the last file's sync.
    fn append(&mut self, key: Key, records: Vec<Record>) -> Option<Vec<Waiting>> {
        let mut records = records.into_iter().peekable();
        loop {
            let first = records.peek()?.lines.len() as u64;
            let start = match self.ready(key, first) {
                Ok(bytes) => bytes,
                Err(error) => {
                    let rejection = self
                        .disk
                        .failed(&PathBuf::from(key.account.to_string()), &error);
                    for record in records {
                        record.answer.send(Err(rejection.clone()));
                    }
                    return None;
                }
            };
            let mut waiting = Vec::new();
            let mut end = start;
            let mut written = Ok(());
            self.buffer.clear();
            while let Some(record) = records.next_if(|record| {
                waiting.is_empty() || end + record.lines.len() as u64 <= self.file_bytes_max
            }) {
                end += record.lines.len() as u64;
                if written.is_ok() {
                    written = self.write(key, &record.lines);
                }
                waiting.push(Waiting {
                    answer: record.answer,
                    _claimed: record.claimed,
                });
            }
            if let Err(error) = written.and_then(|()| self.flush(key)) {
                self.fail(key, &error, waiting);
            } else if records.peek().is_none() {
                return Some(waiting);
            } else {
                self.sync(key, waiting);
            }
        }
    }

    /// Gathers small records; what would not fit is written first.
    fn write(&mut self, key: Key, lines: &[u8]) -> io::Result<()> {
        if self.buffer.len() + lines.len() > WRITE_BYTES {
            self.flush(key)?;
        }
        if lines.len() > WRITE_BYTES {
            return self.put(key, lines);
        }
        self.buffer.extend_from_slice(lines);
        Ok(())
    }

    fn flush(&mut self, key: Key) -> io::Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        let put = if buffer.is_empty() {
            Ok(())
        } else {
            self.put(key, &buffer)
        };
        self.buffer = buffer;
        self.buffer.clear();
        put
    }

    fn put(&mut self, key: Key, lines: &[u8]) -> io::Result<()> {
        let Some(Open {
            file: Some(file),
            bytes,
            unsynced_bytes,
            last_commit,
            ..
        }) = self.open.get_mut(&key)
        else {
            return Err(io::Error::other("no open file"));
        };
        *last_commit = self.commits;
        self.disk.append(file, lines)?;
        *bytes += lines.len() as u64;
        *unsynced_bytes += lines.len() as u64;
        Ok(())
    }

    /// Makes sure of an open file with room for that many bytes, or an empty one; gives its bytes so far.
    fn ready(&mut self, key: Key, bytes: u64) -> io::Result<u64> {
        if let Some(open) = self.open.get_mut(&key) {
            let has_room = open.bytes == 0 || open.bytes + bytes <= self.file_bytes_max;
            if has_room && open.is_usable() {
                return Ok(open.bytes);
            }
            self.open.remove(&key);
        }
        let (file, path) = self.disk.create(key)?;
        let open = Open {
            file: Some(file),
            path,
            bytes: 0,
            unsynced_bytes: 0,
            is_acknowledged: false,
            last_commit: self.commits,
        };
        self.open.insert(key, open);
        Ok(0)
    }

    fn sync(&mut self, key: Key, waiting: Vec<Waiting>) {
        let synced = match self.open.get_mut(&key) {
            Some(Open {
                file: Some(file),
                unsynced_bytes,
                ..
            }) => self.disk.sync(file, std::mem::take(unsynced_bytes)),
            _ => Err(io::Error::other("no open file")),
        };
        if let Err(error) = synced {
            return self.fail(key, &error, waiting);
        }
        if let Some(open) = self.open.get_mut(&key) {
            open.is_acknowledged = true;
        }
        for Waiting { answer, .. } in waiting {
            answer.send(Ok(()));
        }
    }

    /// Gives the file up for ever: a torn line or lost pages at its end must never be followed by anything.
    fn fail(&mut self, key: Key, error: &io::Error, waiting: Vec<Waiting>) {
        let rejection = match self.open.remove(&key) {
            Some(open) => {
                let rejection = self.disk.failed(&open.path, error);
                // Nothing in it was acknowledged, so a full disk doesn't fill with the remains of its failures.
                if !open.is_acknowledged {
                    drop(self.disk.remove(&open.path, open.bytes));
                } else if let Ok(torn) = fs::metadata(&open.path) {
                    self.disk.count(torn.len().saturating_sub(open.bytes));
                }
                rejection
            }
            None => self.disk.failed(&PathBuf::new(), error),
        };
        for Waiting { answer, .. } in waiting {
            answer.send(Err(rejection.clone()));
        }
    }

    fn close_unused(&mut self) {
        let mut held: Vec<(u64, Key)> = self
            .open
            .iter()
            .filter(|(_, open)| open.file.is_some())
            .map(|(key, open)| (open.last_commit, *key))
            .collect();
        if held.len() <= OPEN_FILES_MAX {
            return;
        }
        held.sort_unstable_by_key(|(last_commit, _)| *last_commit);
        for (_, key) in &held[..held.len() - OPEN_FILES_MAX] {
            if let Some(open) = self.open.get_mut(key) {
                open.file = None;
            }
        }
    }
}

// === impl Open ===

impl Open {
    /// Whether lines may still be appended: the file is (again) open, and nobody has deleted or touched it.
    fn is_usable(&mut self) -> bool {
        if self.file.is_none() {
            self.file = OpenOptions::new().append(true).open(&self.path).ok();
        }
        let metadata = self.file.as_ref().and_then(|file| file.metadata().ok());
        metadata.is_some_and(|found| found.nlink() > 0 && found.len() == self.bytes)
    }
}

// === impl Closing ===

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
        self.1.close();
        // After a panic: whoever still waits is answered by the drop of their records.
        while self.1.take().is_some() {}
    }
}
