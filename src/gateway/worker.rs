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
use tracing::{error, warn};

use super::{
    Gateway,
    admit::Memory,
    deliver::{
        Destinations,
        archive::Archive,
        upstream::{self, Sockets, Upstreams},
    },
    listen::{self, Bound, Drain, Gate, Phase},
    receipt::RequestIds,
    receive,
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
    /// Counters by token; each worker takes its own.
    pub usage: Arc<Usage>,
    /// The archive's queue.
    pub archive: Archive,
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
    thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(move || {
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

async fn run(shared: Shared, bound: Vec<Bound>) {
    let Shared {
        directory,
        memory,
        gate,
        metrics,
        usage,
        archive,
        listen,
        receive,
        upstream,
        sockets,
        drain,
    } = shared;
    let upstreams = Upstreams::new(upstream, sockets);
    let gateway = Rc::new(Gateway {
        destinations: Rc::new(Destinations::new(
            Arc::clone(&directory),
            archive,
            upstreams,
        )),
        directory,
        memory: Arc::clone(&memory),
        metrics,
        meter: usage.meter(),
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
