//! The embedded destination: files that a person can read, safe on disk before the answer.
//!
//! `<directory>/<account id>/<signal>/<bulk|otlp|remote_write>-YYYY-MM-DDTHHZ-NNNN.jsonl`, by UTC hour and by size; JSON, one
//! record a line: bulk lines as they came, OTLP in the OTLP-JSON file format, remote write one time series a line.
//!
//! # For readers of the files
//! - A file is only ever appended to, by the process that made it, in the hour of its name. A new process makes new files.
//! - A crash or a failed write leaves at most one torn *last* line in a file, and nothing ever follows it: a last line that
//!   does not end in a line feed was never acknowledged and may be skipped. Whole lines may be there that were not
//!   acknowledged either (their sender sends them again).
//! - A body whose lines take more than [`BUFFERED_BYTES_MAX`] gets a file of its own.
//!
//! # How
//! `store` queues the payload (bounded by bytes and count) for threads that inflate and transcode, off the gateway's event
//! loops. One writer thread takes all lines that wait, appends them with one write a file, syncs each dirty file once and
//! then answers all: what arrives during a sync shares the next one.
//!
//! # Time
//! A payload is answered within `answer_timeout` and its inflated size at 4 MiB/s: what has not begun by then never begins, what has may be on disk though its
//! sender was refused (and sends it again). While a write or sync is overdue ([`super::watch`]), what is new is refused at once.
//!
//! # Memory
//! A payload's bytes and its lines, up to [`BUFFERED_BYTES_MAX`], are claimed before it is queued and held until its answer:
//! they are part of what the gateway's requests may hold together. Beside that a converter has its decoder (8 MiB at most)
//! and a body up to a 16th of that ceiling, one converter at a time a larger one that must lie in one piece (up to the whole
//! of the ceiling), the writer 1 MiB.

mod commit;
mod config;
mod convert;
mod disk;
mod files;
mod queue;
mod retention;
mod sink;

use std::{
    borrow::Cow,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::time::timeout_at;

pub use config::Config;
pub use disk::Usage;

use crate::{
    clock,
    gateway::{admit::Held, deliver::stop::Stop},
    model::{AccountId, Content, Counts, Delivery, Payload, Rejection, TokenId},
};
use disk::Disk;
use files::Key;
use queue::{Answer, Inbox, Job, Outbox};
use sink::Claimed;

/// Lines of one body that are held in memory to share a file and a sync with others; larger ones stream into their own file.
pub const BUFFERED_BYTES_MAX: usize = 4 << 20;
/// A body has that much longer for its size, at a rate that a busy machine keeps: what is large is inflated, transcoded and
/// written, and must not be sent again only for being large.
const BYTES_PER_SECOND_MIN: u64 = 4 << 20;
/// What a full queue or a full disk tells the sender.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// A handle on the running archive; clones share it.
#[derive(Clone)]
pub struct Archive(Arc<Inner>);

struct Inner {
    disk: Arc<Disk>,
    inbox: Arc<Inbox>,
    outbox: Arc<Outbox>,
    sweeper: Arc<Stop>,
    memory_bytes_max: u64,
    answer_timeout: Duration,
    converters: Mutex<Vec<JoinHandle<()>>>,
    others: Mutex<Vec<JoinHandle<()>>>,
}

/// Wall time since 1970; what names hours and ages.
type Wall = Arc<dyn Fn() -> Duration + Send + Sync>;

// === impl Archive ===

impl Archive {
    /// Makes the folder (mode 0700), counts what is in it and starts the threads. `memory_bytes_max` is what all requests
    /// may hold together, by which the archive's own room is measured.
    ///
    /// # Errors
    /// The folder can't be made or read, or a thread can't be started.
    pub fn start(config: Config, directory: PathBuf, memory_bytes_max: u64) -> io::Result<Self> {
        Self::start_at(config, directory, memory_bytes_max, Arc::new(clock::wall))
    }

    fn start_at(
        config: Config,
        directory: PathBuf,
        memory_bytes_max: u64,
        wall: Wall,
    ) -> io::Result<Self> {
        let threads = config.threads.max(1);
        let disk = Arc::new(Disk::open(&config, directory, Arc::clone(&wall))?);
        let archive = Self(Arc::new(Inner {
            inbox: Arc::new(Inbox::new(
                config.queue_bytes_max,
                config.queue_payloads_max,
                memory_bytes_max,
            )),
            outbox: Arc::new(queue::outbox(memory_bytes_max)),
            sweeper: Arc::new(Stop::default()),
            memory_bytes_max,
            answer_timeout: config.answer_timeout,
            converters: Mutex::default(),
            others: Mutex::default(),
            disk,
        }));
        archive
            .spawn(config, threads, wall)
            .inspect_err(|_| archive.close())?;
        Ok(archive)
    }

    fn spawn(&self, config: Config, threads: usize, wall: Wall) -> io::Result<()> {
        let Inner {
            disk,
            inbox,
            outbox,
            sweeper,
            converters,
            others,
            ..
        } = &*self.0;
        let (disk_, outbox_, inbox_) = (disk.clone(), outbox.clone(), inbox.clone());
        let writer = thread::Builder::new()
            .name("archive-write".into())
            .spawn(move || commit::run(&disk_, &outbox_, &inbox_, config.file_bytes_max))?;
        hold(others, writer);
        for _ in 0..threads {
            let (disk, inbox, outbox) = (disk.clone(), inbox.clone(), outbox.clone());
            let converter = thread::Builder::new()
                .name("archive-convert".into())
                .spawn(move || convert::run(&disk, &inbox, &outbox))?;
            hold(converters, converter);
        }
        if let Some(retention) = config.retention {
            let (disk, stop) = (disk.clone(), sweeper.clone());
            let sweeper = thread::Builder::new()
                .name("archive-sweep".into())
                .spawn(move || retention::run(&disk, &stop, retention, &wall))?;
            hold(others, sweeper);
        }
        Ok(())
    }

    /// Stores a payload under its account. Returns when its lines are written *and* synced; goes on to its end also when
    /// the future is dropped. The token is for our own log only and is never written into a user's file. What is held for
    /// the payload goes with it, and is claimed more as its lines need.
    ///
    /// # Errors
    /// [`Rejection::DestinationUnavailable`] when the queue or the disk is full, a write or sync failed, the disk has stalled
    /// or was not done in time: nothing was acknowledged, and the sender may try again. [`Rejection::Malformed`] when the body is not what it was checked to be.
    /// [`Rejection::TooLarge`] when its lines grow past every reasonable proportion, or when it must lie in memory in one
    /// piece and never could. [`Rejection::Overloaded`] and [`Rejection::Throttled`] when there is no room for its lines.
    pub async fn store(
        &self,
        account: AccountId,
        token: TokenId,
        payload: &Payload,
        held: Held,
    ) -> Result<Delivery, Rejection> {
        self.take(account, token, payload, held, false).await?;
        Ok(delivery(payload))
    }

    /// The same without the disk: what [`Archive::store`] would refuse before it writes is refused here.
    ///
    /// # Errors
    /// Those of [`Archive::store`].
    pub async fn rehearse(
        &self,
        account: AccountId,
        token: TokenId,
        payload: &Payload,
        held: Held,
    ) -> Result<(), Rejection> {
        self.take(account, token, payload, held, true).await
    }

    async fn take(
        &self,
        account: AccountId,
        token: TokenId,
        payload: &Payload,
        held: Held,
        is_rehearsal: bool,
    ) -> Result<(), Rejection> {
        if payload.chunks.is_empty() {
            return Ok(());
        }
        let bytes_max = self.0.memory_bytes_max;
        if convert::is_whole(payload.content) && payload.inflated_bytes > bytes_max {
            return Err(Rejection::TooLarge { bytes_max });
        }
        self.0.disk.check_pace()?;
        self.0.disk.check_room(payload.inflated_bytes)?;
        let claimed = Claimed::new(held, convert::lines_bytes(payload))?;
        let millis = payload.inflated_bytes.saturating_mul(1_000) / BYTES_PER_SECOND_MIN;
        let timeout = self.0.answer_timeout + Duration::from_millis(millis);
        let (answer, answered) = Answer::new(timeout);
        let deadline = answer.deadline();
        self.0.inbox.push(Job {
            key: Key::of(account, payload),
            token,
            payload: payload.clone(),
            claimed,
            is_rehearsal,
            answer,
        })?;
        match timeout_at(deadline.into(), answered).await {
            Ok(Ok(taken)) => taken,
            // What the disk takes after this stays out of the books: they say what the sender was told.
            Err(_) => Err(late()),
            Ok(Err(_)) => Err(Rejection::Internal("the archive dropped a payload")),
        }
    }

    /// Bytes on disk, syncs, and what waits, for the metrics.
    pub fn usage(&self) -> Usage {
        self.0.disk.usage(self.0.inbox.bytes())
    }

    /// Takes nothing more, stores and answers everything that waits, and ends the threads. Blocks until then.
    pub fn close(&self) {
        self.0.close();
    }
}

// === impl Inner ===

impl Inner {
    fn close(&self) {
        self.inbox.close();
        join(&self.converters);
        self.outbox.close();
        self.sweeper.stop();
        join(&self.others);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

fn hold(threads: &Mutex<Vec<JoinHandle<()>>>, thread: JoinHandle<()>) {
    threads
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(thread);
}

fn join(threads: &Mutex<Vec<JoinHandle<()>>>) {
    let threads = std::mem::take(&mut *threads.lock().unwrap_or_else(PoisonError::into_inner));
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!("an archive thread panicked");
        }
    }
}

fn delivery(payload: &Payload) -> Delivery {
    match (payload.content, payload.counts) {
        (_, Counts::Lines(lines)) => Delivery {
            lines: Some(lines),
            ..Delivery::default()
        },
        // Not made up: every counted piece is on disk.
        (Content::RemoteWrite2, Counts::Write(written)) => Delivery {
            written: Some(written),
            ..Delivery::default()
        },
        _ => Delivery::default(),
    }
}

/// What had begun may be on disk all the same, as whole lines that were not acknowledged.
fn late() -> Rejection {
    unavailable("archive did not take it in time")
}

fn unavailable(why: impl Into<Cow<'static, str>>) -> Rejection {
    Rejection::DestinationUnavailable {
        retry_after: Some(RETRY_AFTER),
        why: why.into(),
    }
}

#[cfg(test)]
mod tests;
