//! The two queues: payloads that wait for conversion, and lines that wait for the disk.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use super::{files::Key, sink::Claimed, unavailable};
use crate::{
    gateway::deliver::group::{self, Group, Part},
    model::{Payload, Rejection, TokenId},
};

/// Converted lines that may wait for the writer, where memory allows; converters stop there.
const OUTBOX_BYTES_MAX: u64 = 32 << 20;
/// Where memory allows; see [`Inbox::large_bytes`].
const LARGE_BYTES: u64 = 8 << 20;

/// Who waits for a payload, and until when.
pub(super) type Answer = group::Answer<Rejection>;
/// Lines that wait for the writer.
pub(super) type Outbox = Group<Record>;

/// A payload on its way to the disk.
pub(super) struct Job {
    pub(super) key: Key,
    pub(super) token: TokenId,
    pub(super) payload: Payload,
    pub(super) claimed: Claimed,
    /// Converted, and then thrown away.
    pub(super) is_rehearsal: bool,
    pub(super) answer: Answer,
}

/// Lines on their way to the disk.
pub(super) struct Record {
    pub(super) key: Key,
    pub(super) lines: Vec<u8>,
    pub(super) claimed: Claimed,
    pub(super) answer: Answer,
}

/// Payloads that wait for a converter.
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    bytes_max: u64,
    payloads_max: usize,
    /// Bodies that inflate to more than this are converted one at a time, so that their inflated bytes are in memory once.
    large_bytes: u64,
}

#[derive(Default)]
struct Waiting {
    small: VecDeque<Job>,
    large: VecDeque<Job>,
    bytes: u64,
    /// A large payload is being converted.
    is_large_running: bool,
    /// The last one taken was large: a small one goes first, so that neither starves.
    is_small_next: bool,
    is_closed: bool,
}

/// The claim to be the one that converts a large payload; ends when dropped.
pub(super) struct Turn<'a>(Option<&'a Inbox>);

// === impl Inbox ===

impl Inbox {
    /// For a process whose requests may hold `memory_bytes_max`.
    pub(super) fn new(bytes_max: u64, payloads_max: usize, memory_bytes_max: u64) -> Self {
        Self {
            waiting: Mutex::default(),
            arrived: Condvar::new(),
            bytes_max,
            payloads_max,
            large_bytes: LARGE_BYTES.min(memory_bytes_max / 16),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a payload, or says at once that there is no room.
    pub(super) fn push(&self, job: Job) -> Result<(), Rejection> {
        let mut waiting = self.lock();
        if waiting.is_closed {
            return Err(unavailable("archive is closed"));
        }
        let payloads = waiting.small.len() + waiting.large.len();
        let bytes = waiting.bytes.saturating_add(job.payload.chunks.len());
        if payloads >= self.payloads_max.max(1) || (payloads > 0 && bytes > self.bytes_max) {
            return Err(unavailable("archive queue is full"));
        }
        waiting.bytes = bytes;
        if job.payload.inflated_bytes > self.large_bytes {
            waiting.large.push_back(job);
        } else {
            waiting.small.push_back(job);
        }
        self.arrived.notify_one();
        Ok(())
    }

    /// Waits for the next payload; none when closed and empty.
    pub(super) fn pop(&self) -> Option<(Job, Turn<'_>)> {
        let mut waiting = self.lock();
        loop {
            let prefers_large = !waiting.is_small_next || waiting.small.is_empty();
            if prefers_large
                && !waiting.is_large_running
                && let Some(job) = waiting.large.pop_front()
            {
                waiting.bytes -= job.payload.chunks.len();
                waiting.is_large_running = true;
                waiting.is_small_next = true;
                return Some((job, Turn(Some(self))));
            }
            if let Some(job) = waiting.small.pop_front() {
                waiting.bytes -= job.payload.chunks.len();
                waiting.is_small_next = false;
                return Some((job, Turn(None)));
            }
            if waiting.is_closed && waiting.large.is_empty() {
                return None;
            }
            waiting = self
                .arrived
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes nothing more; what waits is still handed out.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.arrived.notify_all();
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> u64 {
        self.lock().bytes
    }
}

// === impl Turn ===

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(inbox) = self.0 {
            inbox.lock().is_large_running = false;
            inbox.arrived.notify_all();
        }
    }
}

// === impl Record ===

impl Part for Record {
    fn bytes(&self) -> usize {
        self.lines.len()
    }
}

/// Where lines wait for the writer, in a process whose requests may hold `memory_bytes_max`.
pub(super) fn outbox(memory_bytes_max: u64) -> Outbox {
    Group::new(OUTBOX_BYTES_MAX.min(memory_bytes_max / 4))
}
