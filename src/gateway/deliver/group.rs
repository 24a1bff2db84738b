//! Group commit: what waits for the disk is taken together, so that one sync answers all of it.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

/// Parts in one commit, which bounds the time to its answers.
const PARTS_MAX: usize = 4096;

/// Who waits for a commit, and until when.
pub(super) struct Answer<E> {
    sender: oneshot::Sender<Result<(), E>>,
    deadline: Instant,
}

/// What can wait in a [`Group`].
pub(super) trait Part {
    /// Its share of the group's bytes.
    fn bytes(&self) -> usize;
}

/// Parts that wait for the next commit, up to so many bytes.
pub(super) struct Group<T> {
    waiting: Mutex<Waiting<T>>,
    changed: Condvar,
    bytes_max: usize,
}

struct Waiting<T> {
    parts: VecDeque<T>,
    bytes: usize,
    is_closed: bool,
}

// === impl Answer ===

impl<E> Answer<E> {
    /// With the end that it comes out of.
    pub(super) fn new(timeout: Duration) -> (Self, oneshot::Receiver<Result<(), E>>) {
        let (sender, answered) = oneshot::channel();
        let deadline = Instant::now() + timeout;
        (Self { sender, deadline }, answered)
    }

    pub(super) const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether its sender is told by now that it comes too late: what has not begun must not begin.
    pub(super) fn is_late(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// A dropped receiver is a worker that has gone; what is on disk is safe all the same.
    pub(super) fn send(self, result: Result<(), E>) {
        self.tell(result);
    }

    /// The same for whoever must know: whether somebody was there to hear it.
    pub(super) fn tell(self, result: Result<(), E>) -> bool {
        self.sender.send(result).is_ok()
    }
}

// === impl Group ===

impl<T: Part> Group<T> {
    /// An empty one, where so many bytes may wait; one part may always.
    pub(super) fn new(bytes_max: u64) -> Self {
        Self {
            waiting: Mutex::new(Waiting {
                parts: VecDeque::new(),
                bytes: 0,
                is_closed: false,
            }),
            changed: Condvar::new(),
            bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, waiting: MutexGuard<'a, Waiting<T>>) -> MutexGuard<'a, Waiting<T>> {
        self.changed
            .wait(waiting)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a part, waiting for room. A closed group drops it, which answers whoever waits for it.
    pub(super) fn push(&self, part: T) {
        let mut waiting = self.lock();
        while waiting.bytes > self.bytes_max && !waiting.is_closed {
            waiting = self.wait(waiting);
        }
        if !waiting.is_closed {
            waiting.add(part);
            drop(waiting);
            self.changed.notify_all();
        }
    }

    /// Adds a part now, or gives it back.
    ///
    /// # Errors
    /// There is no room, or nothing is taken any more.
    pub(super) fn offer(&self, part: T) -> Result<(), T> {
        let mut waiting = self.lock();
        let bytes = waiting.bytes.saturating_add(part.bytes());
        let is_full = !waiting.parts.is_empty() && bytes > self.bytes_max;
        if is_full || waiting.is_closed {
            return Err(part);
        }
        waiting.add(part);
        drop(waiting);
        self.changed.notify_all();
        Ok(())
    }

    /// Waits for parts and takes all that wait; none when closed and empty.
    pub(super) fn take(&self) -> Option<Vec<T>> {
        let mut waiting = self.lock();
        while waiting.parts.is_empty() {
            if waiting.is_closed {
                return None;
            }
            waiting = self.wait(waiting);
        }
        Some(self.drain(waiting))
    }

    /// The same for whoever has something else to do meanwhile: empty when nothing came in that time.
    pub(super) fn take_within(&self, timeout: Duration) -> Option<Vec<T>> {
        let waiting = self.lock();
        let is_idle = |waiting: &mut Waiting<T>| waiting.parts.is_empty() && !waiting.is_closed;
        let (waiting, _) = self
            .changed
            .wait_timeout_while(waiting, timeout, is_idle)
            .unwrap_or_else(PoisonError::into_inner);
        let has_ended = waiting.parts.is_empty() && waiting.is_closed;
        (!has_ended).then(|| self.drain(waiting))
    }

    fn drain(&self, mut waiting: MutexGuard<'_, Waiting<T>>) -> Vec<T> {
        let count = waiting.parts.len().min(PARTS_MAX);
        let taken: Vec<T> = waiting.parts.drain(..count).collect();
        waiting.bytes -= taken.iter().map(Part::bytes).sum::<usize>();
        drop(waiting);
        self.changed.notify_all();
        taken
    }

    /// Takes nothing more; what waits is still handed out.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// Whether nothing is taken any more.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }
}

// === impl Waiting ===

impl<T: Part> Waiting<T> {
    fn add(&mut self, part: T) {
        self.bytes += part.bytes();
        self.parts.push_back(part);
    }
}
