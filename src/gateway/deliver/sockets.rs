//! How many sockets the process holds towards destinations: one number for all workers, so that descriptors last.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use super::connect::ConnectFault;

/// The places of a process for upstream sockets. Clones share them.
#[derive(Clone, Debug)]
pub struct Sockets(Arc<Places>);

#[derive(Debug)]
struct Places {
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// An open socket's place, free again when it is dropped.
pub(super) type Place = OwnedSemaphorePermit;

struct Waiting<'a>(&'a AtomicUsize);

// === impl Sockets ===

impl Sockets {
    /// So many places, at least one.
    pub fn new(count: usize) -> Self {
        Self(Arc::new(Places {
            free: Arc::new(Semaphore::new(count.clamp(1, Semaphore::MAX_PERMITS))),
            waiting: AtomicUsize::new(0),
        }))
    }

    /// A place, waited for until `by`.
    pub(super) async fn take(&self, by: Instant) -> Result<Place, ConnectFault> {
        let Places { free, waiting } = &*self.0;
        if let Ok(place) = free.clone().try_acquire_owned() {
            return Ok(place);
        }
        waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(waiting);
        free_within(free, by, "too many connections to destinations are open").await
    }

    /// Whether there is no place left.
    pub(super) fn is_short(&self) -> bool {
        self.0.free.available_permits() == 0
    }

    /// Whether somebody waits for a place: what is idle should go.
    pub(super) fn is_wanted(&self) -> bool {
        self.0.waiting.load(Ordering::Relaxed) > 0
    }
}

/// A permit, waited for until `by`; then `why` there is none.
pub(super) async fn free_within(
    free: &Arc<Semaphore>,
    by: Instant,
    why: &'static str,
) -> Result<OwnedSemaphorePermit, ConnectFault> {
    let waited = timeout_at(by, free.clone().acquire_owned()).await;
    // Nobody closes these semaphores; a closed one has no places either.
    let place = waited.ok().and_then(Result::ok);
    place.ok_or(ConnectFault::Down(why.into()))
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
