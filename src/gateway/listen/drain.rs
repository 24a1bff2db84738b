//! The signal to go, heard by every worker.

use std::{sync::Arc, time::Instant};

use tokio::sync::watch;

/// How far a shutdown has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Serving.
    Open,
    /// Serving and accepting, but answering HTTP/1.1 with `Connection: close` and HTTP/2 with GOAWAY, so that
    /// balancers and clients move away without losing a request.
    Announced,
    /// Accepting nothing; idle connections are closed, requests in flight finish.
    Stopping {
        /// What is still open shortly before is cut; what is still running then is given up.
        deadline: Instant,
    },
}

/// A clonable switch that only moves forward.
#[derive(Clone, Debug)]
pub struct Drain(Arc<watch::Sender<Phase>>);

// === impl Drain ===

impl Drain {
    /// Open.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Phase::Open)))
    }

    /// Ask clients to go elsewhere, and go on serving.
    pub fn announce(&self) {
        self.0.send_if_modified(|phase| {
            let is_open = *phase == Phase::Open;
            if is_open {
                *phase = Phase::Announced;
            }
            is_open
        });
    }

    /// Accept no more, finish what is in flight, cut what is left before the deadline. The first call's deadline stands.
    pub fn stop(&self, deadline: Instant) {
        self.0.send_if_modified(|phase| {
            let is_new = !matches!(phase, Phase::Stopping { .. });
            if is_new {
                *phase = Phase::Stopping { deadline };
            }
            is_new
        });
    }

    /// Where we are.
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Phase> {
        self.0.subscribe()
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_never_goes_back() {
        let drain = Drain::new();
        let deadline = Instant::now();
        drain.announce();
        assert_eq!(drain.phase(), Phase::Announced);
        drain.stop(deadline);
        drain.announce();
        drain.stop(deadline + std::time::Duration::from_secs(1));
        assert_eq!(drain.phase(), Phase::Stopping { deadline });
    }
}
