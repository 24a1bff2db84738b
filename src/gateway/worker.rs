//! One worker: a thread with a current-thread runtime, its own listeners and its own upstream connections.
//!
//! Nothing on a request's way crosses a thread, so nothing on it is locked or woken across cores.

use std::{
    io,
    rc::Rc,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::{
    runtime::{self, LocalOptions},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::{
    Gateway,
    admit::Memory,
    deliver::{
        Destinations,
        archive::Archive,
        spool::Spool,
        upstream::{self, Sockets, Upstreams},
    },
    listen::{self, Bound, Drain, Gate, Phase},
    receipt::RequestIds,
    receive,
    refusals::Refusals,
};
use crate::{
    directory::{Directory, Usage},
    operate::metrics::RequestMetrics,
};

/// What the workers of a gateway share.
#[derive(Clone)]
pub struct Shared {
    /// Every token.
    pub directory: Arc<Directory>,
    /// What is held in memory.
    pub memory: Arc<Memory>,
    /// Connections counted.
    pub gate: Arc<Gate>,
    /// Counters of requests.
    pub metrics: RequestMetrics,
    /// The last refusals by token.
    pub refusals: Arc<Refusals>,
    /// Counters by token; each worker takes its own.
    pub usage: Arc<Usage>,
    /// The archive's queue.
    pub archive: Archive,
    /// The spool's queue.
    pub spool: Spool,
    /// Limits on connections and heads.
    pub listen: Arc<listen::Config>,
    /// Limits on bodies.
    pub receive: receive::Config,
    /// Limits on upstream connections.
    pub upstream: upstream::Config,
    /// Upstream connections counted.
    pub sockets: Sockets,
    /// When to stop.
    pub drain: Drain,
    /// Cancelled when a worker has ended without being asked to.
    pub fallen: CancellationToken,
}

/// Tells when its worker ends, however it ends.
struct Alarm {
    index: usize,
    drain: Drain,
    fallen: CancellationToken,
}

/// Starts a worker on listeners of its own. It ends when the drain has.
///
/// # Errors
/// No thread to be had.
pub fn start(
    index: usize,
    shared: Shared,
    bound: Vec<Bound>,
) -> io::Result<thread::JoinHandle<()>> {
    let (drain, fallen) = (shared.drain.clone(), shared.fallen.clone());
    spawn(index, drain, fallen, move || {
        // A local runtime polls its sockets once a turn; a LocalSet on top of one would do so twice.
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default());
        match runtime {
            Ok(runtime) => runtime.block_on(run(shared, bound)),
            Err(error) => error!(%error, "no runtime for a worker"),
        }
    })
}

/// Runs a worker's whole life on a thread of its own.
pub(crate) fn spawn(
    index: usize,
    drain: Drain,
    fallen: CancellationToken,
    life: impl FnOnce() + Send + 'static,
) -> io::Result<thread::JoinHandle<()>> {
    let alarm = Alarm {
        index,
        drain,
        fallen,
    };
    thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(move || {
            let _alarm = alarm;
            life();
        })
}

// === impl Alarm ===

impl Drop for Alarm {
    fn drop(&mut self) {
        let is_asked = matches!(self.drain.phase(), Phase::Stopping { .. });
        if is_asked && !thread::panicking() {
            return;
        }
        error!(
            worker = self.index,
            panicked = thread::panicking(),
            "a worker has ended without being asked to"
        );
        self.fallen.cancel();
    }
}

async fn run(shared: Shared, bound: Vec<Bound>) {
    let Shared {
        directory,
        memory,
        gate,
        metrics,
        usage,
        refusals,
        archive,
        spool,
        listen,
        receive,
        upstream,
        sockets,
        drain,
        fallen: _,
    } = shared;
    let upstreams = Upstreams::new(upstream, sockets);
    let gateway = Rc::new(Gateway {
        destinations: Rc::new(Destinations::new(
            Arc::clone(&directory),
            archive,
            spool,
            upstreams,
        )),
        directory,
        memory: Arc::clone(&memory),
        metrics,
        meter: usage.meter(),
        refusals,
        ids: RequestIds::new(),
        listen: Arc::clone(&listen),
        receive,
    });
    let service = move |request, connection: Rc<listen::Connection>| {
        let gateway = Rc::clone(&gateway);
        async move { gateway.serve(request, &connection).await }
    };
    let rules = Rc::new(listen::Config::clone(&listen));
    match listen::run(bound, rules, gate, service, drain.clone()).await {
        Ok(0) => {}
        Ok(cut) => warn!(connections = cut, "drain timeout: connections are cut"),
        Err(error) => error!(%error, "a worker can't listen"),
    }
    // Deliveries whose clients have gone are tasks of this worker: they end before it does.
    let Phase::Stopping { deadline } = drain.phase() else {
        return;
    };
    while memory.requests() > 0 && Instant::now() < deadline {
        sleep(Duration::from_millis(5)).await;
    }
    if memory.requests() > 0 {
        warn!(
            requests = memory.requests(),
            "drain timeout: requests in flight are given up"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has_fallen(is_stopping: bool, life: impl FnOnce() + Send + 'static) -> bool {
        let (drain, fallen) = (Drain::new(), CancellationToken::new());
        if is_stopping {
            drain.stop(Instant::now());
        }
        let worker = spawn(7, drain, fallen.clone(), life).expect("a thread");
        let _ = worker.join();
        fallen.is_cancelled()
    }

    #[test]
    fn a_worker_that_ends_unasked_is_noticed_at_once() {
        assert!(has_fallen(false, || panic!("a worker panics in a test")));
        assert!(has_fallen(true, || panic!("a worker panics in a test")));
        assert!(has_fallen(false, || ()));
        assert!(!has_fallen(true, || ()));
    }
}
