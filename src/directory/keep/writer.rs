//! The thread that writes the kept copy: deltas that wait together are synced together, logs are compacted beside that.
//!
//! When the disk fails, nothing more is said to be kept, the failed file is never synced again, and the whole table is
//! written anew until that works. Serving doesn't notice.

use std::{
    fs, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::watch;
use tracing::{error, info, warn};

use super::{
    Keep, OnDisk, audit,
    log::{Delta, Log},
    seal::Seal,
    snapshot,
};
use crate::{directory::Directory, model::Position, rpc::feed::AuditHead};

/// Deltas waiting for the disk may hold so many bytes; past that the table is written anew instead.
pub(super) const QUEUE_BYTES_MAX: usize = 64 << 20;

/// Logs smaller than this are not worth a new snapshot.
const LOGS_BYTES_MIN: u64 = 64 << 20;

/// Every start leaves a log; more than this are not worth reading one by one.
const LOGS_MAX: usize = 16;

const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(10);

/// How often a running compaction is looked after.
const COMPACTION_POLL: Duration = Duration::from_millis(100);

/// What is on disk for certain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) lineage: u64,
    pub(crate) position: Position,
}

enum Message {
    Delta {
        lineage: u64,
        delta: Delta,
    },
    /// The table was replaced, or deltas were left out: write it whole.
    Rewrite,
    Fresh(u64),
    Audit(AuditHead),
}

/// The way to the writing thread.
pub(crate) struct Keeper {
    sender: Sender<Message>,
    kept: watch::Receiver<Kept>,
    queued: Arc<AtomicUsize>,
    /// Of the control plane's audit log, as the folder had it at the start.
    audit: Option<AuditHead>,
    thread: JoinHandle<()>,
}

struct Writer {
    keep: Keep,
    directory: Arc<Directory>,
    receiver: Receiver<Message>,
    kept: watch::Sender<Kept>,
    queued: Arc<AtomicUsize>,
    /// `None`: what is on disk can't be continued.
    disk: Option<OnDisk>,
    log: Option<Log>,
    compaction: Option<Compaction>,
    compact_after: Instant,
    failed: Option<Duration>,
}

struct Compaction {
    thread: JoinHandle<io::Result<u64>>,
    logs: Vec<PathBuf>,
    logs_bytes: u64,
}

#[derive(Default)]
struct Batch {
    deltas: Vec<(u64, Delta)>,
    rewrite: bool,
    fresh: Option<u64>,
    audit: Option<AuditHead>,
}

// === impl Keep ===

impl Keep {
    /// Starts the writing thread.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub(crate) fn start(mut self, directory: Arc<Directory>) -> io::Result<Keeper> {
        let disk = self.on_disk.take();
        let on_disk = disk.as_ref().map_or_else(Kept::default, |disk| Kept {
            lineage: disk.lineage,
            position: disk.position,
        });
        #[expect(
            clippy::disallowed_methods,
            reason = "bounded in bytes, not in messages: past QUEUE_BYTES_MAX a delta becomes a word, and no sender may wait"
        )]
        let (sender, receiver) = mpsc::channel();
        let (kept_sender, kept) = watch::channel(on_disk);
        let queued = Arc::new(AtomicUsize::new(0));
        let audit = audit::read(&self.folder);
        let writer = Writer {
            keep: self,
            directory,
            receiver,
            kept: kept_sender,
            queued: Arc::clone(&queued),
            disk,
            log: None,
            compaction: None,
            compact_after: Instant::now(),
            failed: None,
        };
        let thread = thread::Builder::new()
            .name("keep".into())
            .spawn(|| writer.run())?;
        Ok(Keeper {
            sender,
            kept,
            queued,
            audit,
            thread,
        })
    }
}

// === impl Keeper ===

impl Keeper {
    /// Keeps a delta that is applied to the table of that lineage. Never waits.
    pub(crate) fn delta(&self, lineage: u64, delta: Delta) {
        let bytes = delta.bytes.len();
        let message = if self.queued.load(Ordering::Acquire).saturating_add(bytes) > QUEUE_BYTES_MAX
        {
            Message::Rewrite
        } else {
            self.queued.fetch_add(bytes, Ordering::AcqRel);
            Message::Delta { lineage, delta }
        };
        // A thread that is gone has said so in the log, and nothing is acknowledged any more.
        let _ = self.sender.send(message);
    }

    /// Keeps a table that was replaced.
    pub(crate) fn replaced(&self) {
        let _ = self.sender.send(Message::Rewrite);
    }

    /// Keeps when the table was last known to be fresh.
    pub(crate) fn fresh(&self, wall_seconds: u64) {
        let _ = self.sender.send(Message::Fresh(wall_seconds));
    }

    /// Keeps the newest record of the audit log.
    pub(crate) fn audit(&self, head: AuditHead) {
        let _ = self.sender.send(Message::Audit(head));
    }

    /// The one that was kept before the start.
    pub(crate) fn take_audit(&mut self) -> Option<AuditHead> {
        self.audit.take()
    }

    /// What is on disk for certain, and its changes.
    pub(crate) fn kept(&self) -> watch::Receiver<Kept> {
        self.kept.clone()
    }

    /// Writes what waits and ends. Blocks.
    pub(crate) fn close(self) {
        drop(self.sender);
        if self.thread.join().is_err() {
            error!("the thread that keeps the table has died");
        }
    }
}

// === impl Writer ===

impl Writer {
    fn run(mut self) {
        loop {
            let (mut batch, open) = self.wait();
            let audit = batch.audit.take();
            self.look_after_compaction();
            let result = self.store(batch);
            self.conclude(result);
            // Last: nobody waits for it.
            if let Some(head) = audit
                && let Err(error) = audit::write(&self.keep.folder, &head)
            {
                warn!(%error, "the newest record of the audit log can't be kept");
            }
            if !open {
                break;
            }
        }
        if let Some(compaction) = self.compaction.take() {
            let _ = compaction.thread.join();
        }
        drop(self.keep.lock);
    }

    /// The next messages, all that wait together; false when there won't be any more.
    fn wait(&mut self) -> (Batch, bool) {
        let mut batch = Batch::default();
        let until = match (self.failed, &self.compaction) {
            (Some(retry), _) => Some(Instant::now() + retry),
            (None, Some(_)) => Some(Instant::now() + COMPACTION_POLL),
            (None, None) => None,
        };
        loop {
            let message = match until {
                None => self
                    .receiver
                    .recv()
                    .map_err(|_| RecvTimeoutError::Disconnected),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    self.receiver.recv_timeout(left)
                }
            };
            match message {
                Ok(message) => self.take(message, &mut batch),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return (batch, false),
            }
            // While the disk fails messages are taken, and dropped, until it is time to try again.
            if self.failed.is_none() {
                break;
            }
        }
        while let Ok(message) = self.receiver.try_recv() {
            self.take(message, &mut batch);
        }
        (batch, true)
    }

    fn take(&self, message: Message, batch: &mut Batch) {
        match message {
            Message::Delta { lineage, delta } => {
                self.queued.fetch_sub(delta.bytes.len(), Ordering::AcqRel);
                // Without a copy to continue, the whole table is written, with this delta in it.
                if self.failed.is_none() {
                    batch.deltas.push((lineage, delta));
                }
            }
            Message::Rewrite => batch.rewrite = true,
            Message::Fresh(wall_seconds) => batch.fresh = Some(wall_seconds),
            Message::Audit(head) => batch.audit = Some(head),
        }
    }

    fn store(&mut self, batch: Batch) -> io::Result<()> {
        let nothing = batch.deltas.is_empty() && !batch.rewrite && self.failed.is_none();
        if nothing && batch.fresh.is_none() {
            return Ok(());
        }
        #[cfg(test)]
        if self.keep.broken.load(Ordering::Acquire) {
            return Err(io::Error::other("broken by a test"));
        }
        let lineage = self.disk.as_ref().map(|disk| disk.lineage);
        let strange = batch.deltas.iter().any(|(of, _)| Some(*of) != lineage);
        if !nothing && (lineage.is_none() || batch.rewrite || strange) {
            self.rewrite()?;
        }
        let Some(disk) = &mut self.disk else {
            return Ok(());
        };
        let deltas = batch.deltas.into_iter();
        let mut deltas = deltas
            .filter(|(of, delta)| {
                *of == disk.lineage && delta.position.revision > disk.position.revision
            })
            .map(|(_, delta)| delta)
            .peekable();
        let must_sync = deltas.peek().is_some();
        if !must_sync && batch.fresh.is_none() {
            return Ok(());
        }
        let log = match &mut self.log {
            Some(log) => log,
            None => {
                let log = Log::create(&self.keep.folder, disk.lineage, disk.position.revision)?;
                // It may have taken the place of a log in which nothing was good.
                disk.logs.retain(|path| path != log.path());
                if let Some(compaction) = &mut self.compaction {
                    compaction.logs.retain(|path| path != log.path());
                }
                self.log.insert(log)
            }
        };
        if let Some(wall_seconds) = batch.fresh {
            log.append_fresh(wall_seconds)?;
        }
        let mut reached = disk.position;
        for delta in deltas {
            log.append(&delta, &self.keep.seal)?;
            reached = delta.position;
        }
        if must_sync {
            log.sync()?
        } else {
            log.flush()?
        }
        disk.position = reached;
        Ok(())
    }

    /// Writes the whole table as it is now; logs before that are gone.
    fn rewrite(&mut self) -> io::Result<()> {
        if let Some(compaction) = self.compaction.take() {
            let _ = compaction.thread.join();
        }
        self.log = None;
        self.disk = None;
        self.disk = self.keep.write_whole(&self.directory)?;
        Ok(())
    }

    fn conclude(&mut self, result: io::Result<()>) {
        match result {
            Ok(()) => {
                if self.failed.take().is_some() {
                    info!("the table is kept on disk again");
                }
                if let Some(disk) = &self.disk {
                    let (lineage, position) = (disk.lineage, disk.position);
                    let now = Kept { lineage, position };
                    // Before anybody is told: what was acknowledged and is then missing is found out by it.
                    if let Err(error) = self.keep.mark.set(&self.keep.folder, now) {
                        warn!(%error, "the kept table's mark can't be set");
                    }
                    self.kept
                        .send_if_modified(|kept| std::mem::replace(kept, now) != now);
                }
                self.compact_if_due();
            }
            Err(error) => {
                // Pages of a file that failed to sync may be gone: never that file again.
                self.log = None;
                self.disk = None;
                self.failed = Some(match self.failed {
                    None => {
                        error!(%error, folder = %self.keep.folder.display(),
                            "the table can't be kept on disk, serving on and trying again");
                        RETRY_FIRST
                    }
                    Some(retry) => (retry * 2).min(RETRY_LAST),
                });
            }
        }
    }

    fn compact_if_due(&mut self) {
        let Some(disk) = &mut self.disk else { return };
        let bytes = disk.logs_bytes + self.log.as_ref().map_or(0, Log::bytes);
        let due = bytes > LOGS_BYTES_MIN.max(disk.snapshot_bytes / 2) || disk.logs.len() > LOGS_MAX;
        if !due || self.compaction.is_some() || Instant::now() < self.compact_after {
            return;
        }
        let Some(frozen) = self
            .directory
            .freeze()
            .filter(|frozen| frozen.lineage == disk.lineage)
        else {
            return;
        };
        // What comes from here on goes into a new log; the old ones end at or before the frozen revision.
        let mut logs = std::mem::take(&mut disk.logs);
        logs.extend(self.log.take().map(|log| log.path().to_owned()));
        disk.logs_bytes = 0;
        let (folder, seal) = (self.keep.folder.clone(), Arc::clone(&self.keep.seal));
        let fresh_at = self.directory.fresh_at();
        let write = move || snapshot::write(&folder, &frozen, &seal as &Seal, fresh_at);
        match thread::Builder::new()
            .name("keep-compact".into())
            .spawn(write)
        {
            Ok(thread) => {
                self.compaction = Some(Compaction {
                    thread,
                    logs,
                    logs_bytes: bytes,
                });
            }
            Err(error) => {
                warn!(%error, "the kept table's log can't be compacted now");
                disk.logs = logs;
                disk.logs_bytes = bytes;
                self.compact_after = Instant::now() + RETRY_LAST;
            }
        }
    }

    fn look_after_compaction(&mut self) {
        let Some(compaction) = self
            .compaction
            .take_if(|compaction| compaction.thread.is_finished())
        else {
            return;
        };
        let result = compaction
            .thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread has died")));
        let Some(disk) = &mut self.disk else { return };
        match result {
            Ok(bytes) => {
                disk.snapshot_bytes = bytes;
                for path in compaction.logs {
                    if let Err(error) = fs::remove_file(&path) {
                        warn!(%error, path = %path.display(), "a log that is no longer needed stays");
                    }
                }
            }
            Err(error) => {
                warn!(%error, "the kept table's log can't be compacted now");
                disk.logs.extend(compaction.logs);
                disk.logs_bytes += compaction.logs_bytes;
                self.compact_after = Instant::now() + RETRY_LAST;
            }
        }
    }
}
