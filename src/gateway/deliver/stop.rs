//! Ends a thread that mostly sleeps, at once.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

/// Not stopped yet, at first.
#[derive(Default)]
pub(super) struct Stop {
    is_stopped: Mutex<bool>,
    stopped: Condvar,
}

// === impl Stop ===

impl Stop {
    pub(super) fn stop(&self) {
        *self
            .is_stopped
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = true;
        self.stopped.notify_all();
    }

    /// Sleeps for that long or until stopped; says which.
    pub(super) fn wait(&self, time: Duration) -> bool {
        let is_stopped = self
            .is_stopped
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .stopped
            .wait_timeout_while(is_stopped, time, |is_stopped| !*is_stopped);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
