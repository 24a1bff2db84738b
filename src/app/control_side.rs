//! The control plane's part of a process: store, admin API, feed.

use std::io;

use hyper_util::service::TowerToHyperService;
use tokio::{io::DuplexStream, sync::mpsc, task::JoinSet};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::{gateway_side::Upline, ports::Bound};
use crate::{
    config::{Config, Unusable},
    control::{self, Control, FirstStart},
    operate::server,
};

/// Connections of the one gateway in this process that may wait to be accepted.
const PIPES: usize = 4;

/// The store with everything that serves it.
pub(super) struct ControlSide {
    pub(super) control: Control,
    pipes: mpsc::Sender<DuplexStream>,
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
        let control = Control::open(&config.control, &config.data)
            .await
            .map_err(start_failure)?;
        let first = control.first_start().await.map_err(start_failure)?;
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let (pipes, accepted) = mpsc::channel(PIPES);
        let incoming = ReceiverStream::new(accepted).map(io::Result::Ok);
        let feed = control.feed(None).map_err(start_failure)?;
        let stopped = stop.clone().cancelled_owned();
        tasks.spawn(async move { log(feed.serve(incoming, stopped).await) });
        if let Some(listener) = bound.feed.take() {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let tls = config.control.feed_tls();
            let feed = control.feed(tls.as_ref()).map_err(start_failure)?;
            let stopped = stop.clone().cancelled_owned();
            tasks.spawn(async move { log(feed.serve_port(listener, stopped).await) });
        }
        let side = Self {
            control,
            pipes,
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

    /// After the gateway: its last acknowledgements have been heard.
    pub(super) async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
        self.control.close().await;
    }
}

/// What the operator has to change is told from what is broken.
fn start_failure(error: control::Error) -> anyhow::Error {
    if error.is_operators() {
        return Unusable(error.to_string()).into();
    }
    error.into()
}

fn log<E: std::fmt::Display>(ended: Result<(), E>) {
    if let Err(error) = ended {
        error!(%error, "the feed has ended");
    }
}
