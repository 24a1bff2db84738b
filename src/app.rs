//! The composition root: starts the parts in order, drains them in order.
//!
//! Up: folder, ports bound, store and feed, directory, doors opened, admin API, operators' pages. Down: not ready any more, doors closed, requests in flight
//! finished, archive and spool flushed, feed and admin API closed, store closed.

mod control_side;
mod exposure;
mod gateway_name;
mod gateway_side;
mod operators;
mod ports;
mod welcome;

pub use ports::Ports;

use std::{
    io::Write as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64},
    },
};

use anyhow::Context as _;
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    config::{Config, Unusable},
    model::Revision,
    operate::{metrics::Metrics, server},
};
use control_side::ControlSide;
use gateway_side::{GatewaySide, Upline};
use operators::Operators;

/// Gateway and control plane in one process, until SIGTERM or SIGINT.
///
/// # Errors
/// [`Unusable`] where the operator has to change something; anything else is ours.
pub fn serve(config: Config) -> anyhow::Result<()> {
    run(async { start_serve(config).await })
}

/// A gateway of its own, until SIGTERM or SIGINT.
///
/// # Errors
/// As [`serve`].
pub fn gateway(config: Config) -> anyhow::Result<()> {
    run(async { start_gateway(config).await })
}

/// A control plane of its own, until SIGTERM or SIGINT.
///
/// # Errors
/// As [`serve`].
pub fn control(config: Config) -> anyhow::Result<()> {
    run(async { start_control(config).await })
}

fn run(start: impl Future<Output = anyhow::Result<Running>>) -> anyhow::Result<()> {
    // Requests run on the workers' threads; the control plane, the feed and the operators' pages share these two.
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build()
        .context("no runtime to be had")?;
    let ended = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let running = start.await?;
        running.print_welcome();
        notify(&[sd_notify::NotifyState::Ready]);
        let ended = loop {
            tokio::select! {
                _ = terminate.recv() => break Ok(()),
                _ = interrupt.recv() => break Ok(()),
                _ = hangup.recv() => running.reload(),
                fallen = running.fallen() => break Err(fallen),
            }
        };
        notify(&[sd_notify::NotifyState::Stopping]);
        running.shutdown().await;
        ended
    });
    // What the drain has given up is not waited for here either.
    runtime.shutdown_background();
    ended
}

/// Tells systemd, where it asked to be told.
fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "systemd was not notified");
    }
}

/// Starts everything in one process: the feed runs over a pipe.
///
/// # Errors
/// As [`serve`].
pub async fn start_serve(config: Config) -> anyhow::Result<Running> {
    make_folder(&config.data)?;
    let mut bound = ports::bind_all(&config)?;
    let (mut control, welcome) = ControlSide::start(&config, &mut bound).await?;
    let upline = control.pipe();
    let mut gateway = GatewaySide::start(&config, upline).await?;
    // The kept copy may be older than the store: nobody is let in before what was revoked since is enforced.
    gateway
        .caught_up_with(Revision(control.control.feed_state().head))
        .await?;
    gateway.open_doors(&config, &mut bound)?;
    control.serve_admin(&mut bound)?;
    Running::new(config, bound, Some(control), Some(gateway), Some(welcome)).await
}

/// Starts a gateway that follows control planes elsewhere.
///
/// # Errors
/// As [`serve`].
pub async fn start_gateway(config: Config) -> anyhow::Result<Running> {
    crate::config::missing_for_gateway(&config)?;
    make_folder(&config.data)?;
    let mut bound = ports::bind_gateway(&config)?;
    let upline = Upline::remote(&config)?;
    let mut gateway = GatewaySide::start(&config, upline).await?;
    gateway.caught_up_or_late().await;
    gateway.open_doors(&config, &mut bound)?;
    Running::new(config, bound, None, Some(gateway), None).await
}

/// Starts a control plane alone.
///
/// # Errors
/// As [`serve`].
pub async fn start_control(config: Config) -> anyhow::Result<Running> {
    make_folder(&config.data)?;
    let mut bound = ports::bind_control(&config)?;
    let (mut control, welcome) = ControlSide::start(&config, &mut bound).await?;
    control.serve_admin(&mut bound)?;
    Running::new(config, bound, Some(control), None, Some(welcome)).await
}

fn make_folder(data: &Path) -> Result<(), Unusable> {
    use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
    let unusable = |error| {
        Unusable(format!(
            "the data folder {} cannot be used: {error}",
            data.display()
        ))
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data)
        .map_err(unusable)?;
    // A folder that is there and can't be written to is found now, not at the first payload.
    let probe = data.join(format!(".probe-{}", std::process::id()));
    std::fs::write(&probe, b"").map_err(unusable)?;
    std::fs::remove_file(&probe).map_err(unusable)?;
    let mode = std::fs::metadata(data).map_err(unusable)?.mode();
    if mode & 0o077 != 0 {
        warn!(folder = %data.display(), mode = format!("{:o}", mode & 0o777), "others can look into the data folder");
    }
    Ok(())
}

/// A running process: its ports, and how to end it.
pub struct Running {
    /// Where it listens; port 0 in the configuration has become a real one.
    pub ports: Ports,
    config: Config,
    operators: Arc<Operators>,
    control: Option<ControlSide>,
    gateway: Option<GatewaySide>,
    welcome: Option<crate::control::FirstStart>,
    stop: CancellationToken,
    pages: JoinSet<()>,
}

// === impl Running ===

impl Running {
    async fn new(
        config: Config,
        mut bound: ports::Bound,
        control: Option<ControlSide>,
        gateway: Option<GatewaySide>,
        welcome: Option<crate::control::FirstStart>,
    ) -> anyhow::Result<Self> {
        let metrics = match &gateway {
            Some(gateway) => gateway.metrics.clone(),
            None => Metrics::new()?,
        };
        let operators = Arc::new(Operators {
            control: control.as_ref().map(|side| side.control.clone()),
            gateway: gateway.as_ref().map(GatewaySide::parts),
            is_draining: AtomicBool::new(false),
            pages_begun: AtomicU64::new(0),
            last_page: tokio::sync::Mutex::default(),
            metrics,
        });
        let follows_remotely = gateway.is_some() && control.is_none();
        for sentence in exposure::sentences(&config, &bound.ports, follows_remotely) {
            warn!("{sentence}");
        }
        let stop = CancellationToken::new();
        let mut pages = JoinSet::new();
        if let Some(listener) = bound.operate.take() {
            let (operators, stop) = (Arc::clone(&operators), stop.clone());
            let listener = tokio::net::TcpListener::from_std(listener)?;
            pages.spawn(server::serve(
                listener,
                move |request| {
                    let operators = Arc::clone(&operators);
                    async move { operators.answer(request).await }
                },
                stop.cancelled_owned(),
            ));
        }
        pages.spawn(upkeep(operators.metrics.clone(), stop.clone()));
        let running = Self {
            ports: bound.ports,
            config,
            operators,
            control,
            gateway,
            welcome,
            stop,
            pages,
        };
        info!(ports = %running.ports, data = %running.config.data.display(), "serving");
        Ok(running)
    }

    /// Reads the certificates again.
    pub fn reload(&self) {
        if let Some(gateway) = &self.gateway {
            gateway.reload_certificates();
        }
        if let Some(control) = &self.control {
            control.reload_certificates();
        }
    }

    /// Waits until something has died that everything else needs. The process then ends, with what is in flight elsewhere
    /// finished, and not well, so that its supervisor starts a whole one: a gateway with fewer workers than it was given,
    /// or a worker started anew over whatever made it panic, would look well and not be.
    pub async fn fallen(&self) -> anyhow::Error {
        match &self.gateway {
            Some(gateway) => gateway.fallen().await,
            None => std::future::pending().await,
        }
        anyhow::anyhow!("a worker has died; what was in flight on the others is finished")
    }

    fn print_welcome(&self) {
        if let Some(first) = &self.welcome {
            let has_gateway = self.gateway.is_some();
            let text = welcome::text(first, &self.ports, &self.config, has_gateway);
            // Nobody may be reading: a gateway doesn't end because its first reader has closed the pipe.
            let _ = std::io::stdout().write_all(text.as_bytes());
        }
    }

    /// Drains: what is in flight finishes, within `drain.timeout`.
    pub async fn shutdown(mut self) {
        info!("draining");
        if let Some(gateway) = &self.gateway {
            gateway.announce(self.config.drain.delay).await;
        }
        // Only now: until then balancers still send, and are served.
        self.operators
            .is_draining
            .store(true, std::sync::atomic::Ordering::Release);
        if let Some(gateway) = self.gateway.take() {
            gateway.drain(self.config.drain.timeout).await;
        }
        if let Some(control) = self.control.take() {
            control.stop().await;
        }
        self.stop.cancel();
        while self.pages.join_next().await.is_some() {}
        info!("stopped");
    }
}

/// Histograms are folded every few seconds, whether or not anybody scrapes.
async fn upkeep(metrics: Metrics, stop: CancellationToken) {
    let mut every = tokio::time::interval(std::time::Duration::from_secs(5));
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = every.tick() => metrics.upkeep(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Request;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_worker_that_panics_ends_readiness_at_once_and_then_the_process() {
        let data = tempfile::TempDir::new().expect("a folder");
        let free = Some(std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
        let config = Config {
            data: data.path().join("data"),
            listen: crate::config::Listen {
                otlp_grpc: free,
                otlp_http: free,
                bulk: free,
                bulk_tls: free,
                remote_write: free,
                remote_write_tls: free,
                admin: free,
                feed: free,
                operate: free,
            },
            ..Config::default()
        };
        let mut running = start_serve(config).await.expect("starts");
        let ready = async |running: &Running| {
            let request = Request::get("/ready").body(()).expect("a request");
            running.operators.answer(request).await.status().as_u16()
        };
        assert_eq!(ready(&running).await, 200);
        let soon = Duration::from_millis(50);
        assert!(
            tokio::time::timeout(soon, running.fallen()).await.is_err(),
            "nothing has died yet"
        );
        let gateway = running.gateway.as_mut().expect("a gateway");
        gateway.start_a_worker_that_panics();
        let fallen = tokio::time::timeout(Duration::from_secs(5), running.fallen()).await;
        assert!(fallen.is_ok(), "it is noticed");
        assert_eq!(ready(&running).await, 503);
        running.shutdown().await;
    }
}
