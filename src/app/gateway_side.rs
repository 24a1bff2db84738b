//! The gateway's part of a process: directory, archive, spool, workers.

use std::{
    io,
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow};
use tokio::{io::DuplexStream, sync::mpsc, task::JoinHandle as Task, time::sleep};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};
use tracing::{error, info, warn};

use super::{gateway_name, operators::GatewayParts, ports::Bound};
use crate::{
    config::{self, Config, Unusable},
    directory::{Directory, FollowConfig, Keep, Source, TlsFiles, Usage, follow},
    gateway::{
        admit::Memory,
        deliver::{
            archive::Archive,
            redeliver::{self, Redelivery},
            spool::Spool,
            upstream::{self, Sockets},
        },
        listen::{self, Drain, Gate, tls::Certificates},
        worker::{self, Shared},
    },
    model::{Revision, Secret},
    operate::metrics::Metrics,
};

/// For what is at its end anyway, however little of the drain's time is left.
const GRACE: Duration = Duration::from_secs(1);
/// How often the certificate files are looked at: three metadata calls.
const CERTIFICATES_EVERY: Duration = Duration::from_secs(5);

/// For the control plane to take the last usage report: a round trip and a commit, a few times over.
const USAGE_GRACE: Duration = Duration::from_secs(1);

/// How long the doors stay closed for a control plane elsewhere.
const CATCH_UP_MAX: Duration = Duration::from_secs(2);

/// Where the feed comes from, and the key to it.
pub(super) struct Upline {
    source: Source,
    join_key: Option<Secret>,
}

/// Workers with everything they share.
pub(super) struct GatewaySide {
    pub(super) metrics: Metrics,
    shared: Shared,
    certificates: Option<Arc<Certificates>>,
    workers: Vec<JoinHandle<()>>,
    redelivery: Option<Redelivery>,
    stop: CancellationToken,
    following: Task<std::io::Result<()>>,
}

// === impl Upline ===

impl Upline {
    /// To the control plane of this process.
    pub(super) fn pipe(pipes: mpsc::Sender<DuplexStream>, join_key: Secret) -> Self {
        Self {
            source: Source::Pipe(pipes),
            join_key: Some(join_key),
        }
    }

    /// To control planes elsewhere.
    pub(super) fn remote(config: &Config) -> anyhow::Result<Self> {
        let feed = config.feed.clone();
        let join_key = match &feed.join_key_file {
            Some(path) => Some(Secret::new(read(path)?.trim().to_owned())),
            None => None,
        };
        let endpoints = feed.endpoints.clone();
        let is_tls = endpoints.iter().any(|url| url.starts_with("https:"));
        let tls = if is_tls {
            // What can't be read now is the operator's to mend; later it is tried again.
            client_tls(&feed)?;
            let files: TlsFiles =
                Box::new(move || client_tls(&feed).map_err(|error| io::Error::other(error.0)));
            Some(files)
        } else {
            None
        };
        Ok(Self {
            source: Source::Remote { endpoints, tls },
            join_key,
        })
    }
}

fn client_tls(feed: &config::Feed) -> Result<ClientTlsConfig, Unusable> {
    let mut tls = match &feed.ca {
        Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?)),
        None => ClientTlsConfig::new().with_enabled_roots(),
    };
    if let (Some(certificate), Some(key)) = (&feed.client_certificate, &feed.client_key) {
        tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    Ok(tls)
}

fn read(path: &Path) -> Result<String, Unusable> {
    std::fs::read_to_string(path)
        .map_err(|error| Unusable(format!("cannot read {}: {error}", path.display())))
}

// === impl GatewaySide ===

impl GatewaySide {
    /// Loads the kept directory and follows the feed; the doors stay closed.
    pub(super) async fn start(config: &Config, upline: Upline) -> anyhow::Result<Self> {
        let folder = config.data.join("gateway");
        let metrics = Metrics::new()?;
        let directory = Arc::new(Directory::new(config.directory.clone()));
        let keep = load_kept(folder.join("directory"), &directory).await?;
        // After the directory's folder is locked: no other process keeps usage here.
        let usage = Usage::start(&folder.join("usage"), config.directory.usage_every)
            .map_err(|error| Unusable(format!("usage in {}: {error}", folder.display())))?;
        let usage = Arc::new(usage);
        let stop = CancellationToken::new();
        let following = tokio::spawn(follow(
            Arc::clone(&directory),
            keep,
            FollowConfig {
                gateway: gateway_name::find(config, &folder)?,
                instance: gateway_name::instance(&folder)?,
                join_key: upline.join_key,
                usage: Some(usage.reports()),
            },
            upline.source,
            stop.clone().cancelled_owned(),
        ));
        let memory = Arc::new(Memory::new(
            config.gateway.memory_bytes,
            config.gateway.in_flight_bytes_max,
        ));
        let archive = Archive::start(
            config.archive.clone(),
            folder.join("archive"),
            memory.bytes_max(),
        )
        .map_err(|error| Unusable(format!("the archive in {}: {error}", folder.display())))?;
        let spool = Spool::start(config.spool.clone(), &folder.join("spool"))
            .map_err(|error| Unusable(format!("the spool in {}: {error}", folder.display())))?;
        // Here, where reading files holds up no worker.
        tokio::task::spawn_blocking(upstream::load_system_roots)
            .await
            .context("reading the system's certificates")?;
        let certificates = certificates(config)?;
        if let Some(certificates) = &certificates {
            let watch = Arc::clone(certificates).watch(CERTIFICATES_EVERY);
            tokio::spawn(stop.clone().run_until_cancelled_owned(watch));
        }
        let listen = Arc::new(config.limits.clone());
        let gate = Gate::new(&listen);
        let shared = Shared {
            directory,
            memory,
            gate,
            metrics: metrics.requests(),
            refusals: Arc::default(),
            usage,
            archive,
            spool,
            listen,
            receive: config.receive.clone(),
            upstream: config.upstream.clone(),
            sockets: Sockets::new(match config.upstream.connections_max {
                0 => listen::half_of_descriptors(),
                set => set,
            }),
            drain: Drain::new(),
            fallen: CancellationToken::new(),
        };
        Ok(Self {
            metrics,
            shared,
            certificates,
            workers: Vec::new(),
            redelivery: None,
            stop,
            following,
        })
    }

    /// Waits until this process's own control plane is enforced, so that the first request finds its token.
    pub(super) async fn caught_up_with(&self, head: Revision) -> anyhow::Result<()> {
        for _ in 0..3000 {
            let directory = &self.shared.directory;
            if directory.has_caught_up() && directory.revision() >= head {
                return Ok(());
            }
            sleep(Duration::from_millis(10)).await;
        }
        Err(anyhow!(
            "the directory did not reach revision {head} within 30 s"
        ))
    }

    /// Waits for control planes elsewhere, but not for long: a gateway serves without them. One that is connected is waited
    /// for as long as it takes: what was revoked meanwhile is on its way.
    pub(super) async fn caught_up_or_late(&self) {
        let directory = &self.shared.directory;
        let mut until = Instant::now() + CATCH_UP_MAX;
        while !directory.has_caught_up() {
            if directory.is_told() {
                until = Instant::now() + CATCH_UP_MAX;
            } else if Instant::now() >= until {
                warn!("the control plane was not caught up with yet, opening the doors without it");
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Starts the workers on the ports that were bound, and delivers what is spooled: by now it is known whose that is.
    pub(super) fn open_doors(&mut self, config: &Config, bound: &mut Bound) -> anyhow::Result<()> {
        self.workers = start_workers(config, bound, &self.shared, self.certificates.as_ref())?;
        let shared = &self.shared;
        let redelivery = Redelivery::start(redeliver::Parts {
            spool: shared.spool.clone(),
            directory: Arc::clone(&shared.directory),
            memory: Arc::clone(&shared.memory),
            archive: shared.archive.clone(),
            upstream: config.upstream.clone(),
            sockets: shared.sockets.clone(),
            fallen: shared.fallen.clone(),
        });
        self.redelivery = Some(redelivery.context("no thread to deliver what is spooled")?);
        Ok(())
    }

    /// What the operators' pages read.
    pub(super) fn parts(&self) -> GatewayParts {
        GatewayParts {
            directory: Arc::clone(&self.shared.directory),
            memory: Arc::clone(&self.shared.memory),
            gate: Arc::clone(&self.shared.gate),
            archive: self.shared.archive.clone(),
            spool: self.shared.spool.clone(),
            fallen: self.shared.fallen.clone(),
        }
    }

    /// Waits until a worker has ended without being asked to.
    pub(super) async fn fallen(&self) {
        self.shared.fallen.cancelled().await;
    }

    /// Starts one more worker, which dies.
    #[cfg(test)]
    pub(super) fn start_a_worker_that_panics(&mut self) {
        let shared = &self.shared;
        let (drain, fallen) = (shared.drain.clone(), shared.fallen.clone());
        let worker = worker::spawn(99, drain, fallen, || panic!("a worker panics in a test"));
        self.workers.push(worker.expect("a thread"));
    }

    /// Reads the certificate files again; a bad one keeps what is served.
    pub(super) fn reload_certificates(&self) {
        match self
            .certificates
            .as_ref()
            .map(|certificates| certificates.reload())
        {
            Some(Err(error)) => error!(%error, "the certificates are kept as they were"),
            Some(Ok(())) => info!("certificates reloaded"),
            None => {}
        }
    }

    /// Serves on for `delay`, asking everybody to go elsewhere.
    pub(super) async fn announce(&self, delay: Duration) {
        if !delay.is_zero() {
            self.shared.drain.announce();
            sleep(delay).await;
        }
    }

    /// Closes the doors, lets requests finish, flushes the archive and the spool, and ends the feed.
    pub(super) async fn drain(self, within: Duration) {
        self.shared.memory.close();
        let deadline = Instant::now() + within;
        self.shared.drain.stop(deadline);
        let workers = self.workers;
        let joined = move || {
            for worker in workers {
                if worker.join().is_err() {
                    error!("a worker has panicked");
                }
            }
        };
        // Workers end by the deadline; what doesn't is given up with the process.
        if !ends_within(within + GRACE, joined).await {
            warn!("drain timeout: a worker did not end");
        }
        // Now nobody stores any more. A disk that hangs must not hold up the process.
        let left = deadline.saturating_duration_since(Instant::now());
        let (archive, spool) = (self.shared.archive.clone(), self.shared.spool.clone());
        let redelivery = self.redelivery;
        let delivered = move || {
            if let Some(redelivery) = redelivery {
                redelivery.close();
            }
        };
        if !ends_within(left.max(GRACE) + GRACE, delivered).await {
            warn!("drain timeout: what is spooled was still on its way");
        }
        // Side by side: one disk must not use up the other's time.
        let (archived, kept) = tokio::join!(
            ends_within(left.max(GRACE), move || archive.close()),
            ends_within(left.max(GRACE), move || spool.close()),
        );
        if !archived || !kept {
            warn!(
                archived,
                kept, "drain timeout: the archive or the spool did not end"
            );
        }
        // Everything is counted by now. What nobody takes in time stays on disk, and is told after the next start.
        let usage = self.shared.usage;
        if !usage.finish(USAGE_GRACE).await {
            info!("usage is not told in full yet; the rest is kept for the next start");
        }
        self.stop.cancel();
        if let Ok(Err(error)) = self.following.await {
            error!(%error, "the feed's follower");
        }
        usage.close().await;
    }
}

/// Runs what blocks on a thread for it, and waits so long; says whether it has ended. If not, it ends with the process.
async fn ends_within(limit: Duration, work: impl FnOnce() + Send + 'static) -> bool {
    let work = tokio::task::spawn_blocking(work);
    tokio::time::timeout(limit, work).await.is_ok()
}

/// The last good copy of the directory, loaded before a door opens.
async fn load_kept(folder: std::path::PathBuf, directory: &Arc<Directory>) -> anyhow::Result<Keep> {
    let directory = Arc::clone(directory);
    let loading = tokio::task::spawn_blocking(move || {
        let unusable = |error| Unusable(format!("the folder {}: {error}", folder.display()));
        let mut keep = Keep::open(&folder).map_err(unusable)?;
        let loaded = keep.load(&directory).map_err(unusable)?;
        info!(?loaded, "the kept directory");
        Ok(keep)
    });
    loading.await.context("loading the kept directory")?
}

fn certificates(config: &Config) -> Result<Option<Arc<Certificates>>, Unusable> {
    let (Some(certificate), Some(key)) = (&config.tls.certificate, &config.tls.key) else {
        return Ok(None);
    };
    Certificates::load(certificate, key, config.tls.client_ca.clone())
        .map(Some)
        .map_err(|error| Unusable(error.to_string()))
}

fn start_workers(
    config: &Config,
    bound: &mut Bound,
    shared: &Shared,
    certificates: Option<&Arc<Certificates>>,
) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let count = match config.gateway.workers {
        0 => thread::available_parallelism().map_or(1, usize::from),
        set => set,
    };
    let mut doors: Vec<Vec<listen::Bound>> = (0..count).map(|_| Vec::new()).collect();
    for ingest in bound.ingest.drain(..) {
        let door = |std| listen::Bound {
            std,
            bare_slash: ingest.bare_slash,
            tls: certificates.filter(|_| ingest.is_tls).cloned(),
        };
        for worker in &mut doors[1..] {
            worker.push(door(listen::bind_again(&ingest.listener)?));
        }
        doors[0].push(door(ingest.listener));
    }
    let mut workers = Vec::with_capacity(count);
    for (index, doors) in doors.into_iter().enumerate() {
        let worker = worker::start(index, shared.clone(), doors)
            .with_context(|| format!("worker {index} did not start"))?;
        workers.push(worker);
    }
    Ok(workers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_does_not_end_is_not_waited_for() {
        let (release, held) = std::sync::mpsc::sync_channel::<()>(1);
        let began = Instant::now();
        let hangs = move || {
            let _ = held.recv_timeout(Duration::from_secs(20));
        };
        assert!(!ends_within(Duration::from_millis(50), hangs).await);
        assert!(began.elapsed() < Duration::from_secs(5));
        drop(release);
        assert!(ends_within(Duration::from_secs(5), || ()).await);
    }
}
