//! The control plane's part of a process: store, admin API, feed.

use std::{io, path::Path, sync::Arc};

use hyper_util::service::TowerToHyperService;
use tokio::{
    io::DuplexStream,
    sync::{Notify, mpsc},
    task::JoinSet,
};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::{gateway_side::Upline, ports::Bound};
use crate::{
    config::{Config, Unusable},
    control::{self, Control, Feed, FirstStart},
    operate::server,
};

/// Connections of the one gateway in this process that may wait to be accepted.
const PIPES: usize = 4;

/// The store with everything that serves it.
pub(super) struct ControlSide {
    pub(super) control: Control,
    pipes: mpsc::Sender<DuplexStream>,
    reload: Arc<Notify>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

// === impl ControlSide ===

impl ControlSide {
    /// Opens the store, makes what a first start makes, and serves the feed.
    pub(super) async fn start(
        config: &Config,
        bound: &mut Bound,
    ) -> anyhow::Result<(Self, FirstStart)> {
        let failed = |error| start_failure(error, &config.data);
        let control = Control::open(&config.control, &config.data)
            .await
            .map_err(failed)?;
        let first = control.first_start().await.map_err(failed)?;
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let (pipes, accepted) = mpsc::channel(PIPES);
        let incoming = ReceiverStream::new(accepted).map(io::Result::Ok);
        let feed = control.feed(None).map_err(failed)?;
        let stopped = stop.clone().cancelled_owned();
        tasks.spawn(async move { log(feed.serve(incoming, stopped).await) });
        let reload = Arc::new(Notify::new());
        if let Some(listener) = bound.feed.take() {
            let port = FeedPort {
                control: control.clone(),
                tls: config.control.feed_tls(),
                listener,
                stop: stop.clone(),
                servers: JoinSet::new(),
            };
            let feed = control.feed(port.tls.as_ref()).map_err(failed)?;
            tasks.spawn(port.serve(feed, Arc::clone(&reload)));
        }
        let side = Self {
            control,
            pipes,
            reload,
            stop,
            tasks,
        };
        Ok((side, first))
    }

    /// Serves the admin API: last, so that what it confirms is enforced by whoever is already open.
    pub(super) fn serve_admin(&mut self, bound: &mut Bound) -> io::Result<()> {
        if let Some(listener) = bound.admin.take() {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            self.tasks.spawn(server::serve_service(
                listener,
                TowerToHyperService::new(self.control.admin()),
                self.stop.clone().cancelled_owned(),
            ));
        }
        Ok(())
    }

    /// How the gateway of this process follows: the same feed, over memory.
    pub(super) fn pipe(&self) -> Upline {
        Upline::pipe(self.pipes.clone(), self.control.join_key())
    }

    /// Reads the feed's certificates again; gateways that are connected stay.
    pub(super) fn reload_certificates(&self) {
        self.reload.notify_one();
    }

    /// After the gateway: its last acknowledgements have been heard.
    pub(super) async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
        self.control.close().await;
    }
}

/// What the operator has to change is told from what is broken.
fn start_failure(error: control::Error, data: &Path) -> anyhow::Error {
    if error.is_unusable_store() {
        return Unusable(format!("{}: {error}", data.join("control").display())).into();
    }
    if error.is_operators() {
        return Unusable(error.to_string()).into();
    }
    error.into()
}

/// The feed over TCP, served anew with every set of certificates.
struct FeedPort {
    control: Control,
    tls: Option<control::FeedTls>,
    listener: std::net::TcpListener,
    stop: CancellationToken,
    servers: JoinSet<()>,
}

// === impl FeedPort ===

impl FeedPort {
    /// Until the process stops. Bad certificates keep those that are served.
    async fn serve(mut self, feed: Feed, reload: Arc<Notify>) {
        let mut current = self.start(feed);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = reload.notified(), if self.tls.is_some() => {}
            }
            match self.control.feed(self.tls.as_ref()) {
                Ok(feed) => {
                    let next = self.start(feed);
                    current.cancel();
                    current = next;
                    info!("the feed's certificates reloaded");
                }
                Err(error) => error!(%error, "the feed's certificates are kept as they were"),
            }
        }
        while self.servers.join_next().await.is_some() {}
    }

    /// A server that accepts until the token is cancelled, and then serves on those whom it has let in.
    fn start(&mut self, feed: Feed) -> CancellationToken {
        let accepts = CancellationToken::new();
        let listener = self.listener.try_clone();
        let listener = listener.and_then(tokio::net::TcpListener::from_std);
        let until = accepts.clone().cancelled_owned();
        let stopped = self.stop.clone().cancelled_owned();
        self.servers.spawn(async move {
            match listener {
                Ok(listener) => log(feed.serve_port_until(listener, until, stopped).await),
                Err(error) => error!(%error, "the feed's port cannot be served"),
            }
        });
        accepts
    }
}

fn log<E: std::fmt::Display>(ended: Result<(), E>) {
    if let Err(error) = ended {
        error!(%error, "the feed has ended");
    }
}
