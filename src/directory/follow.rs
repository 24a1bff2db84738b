//! Follows the feed: enforce first, keep on disk, then acknowledge. Reconnects for ever, and serves what it has meanwhile.

mod collect;
mod connect;
mod ended;
mod enforce;
mod report;
mod stream;
mod session;

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{io::DuplexStream, sync::mpsc, task, time};
use tonic::transport::ClientTlsConfig;
use tracing::{debug, error, warn};

use self::session::Session;
use super::{Directory, Keep, Taken, usage::Reports};
use crate::{clock, model::Secret};

const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_LAST: Duration = Duration::from_secs(5);

/// Who follows.
#[derive(Clone, Debug)]
pub struct FollowConfig {
    /// Unique among the gateways of a store, and the same after a restart.
    pub gateway: String,
    /// Drawn once for this data folder: tells two gateways of one name apart.
    pub instance: String,
    /// Sent as `authorization: Bearer`; `None` over a pipe or where the client certificate is enough.
    pub join_key: Option<Secret>,
    /// What is counted here, told to control planes that take it; `None` tells nothing.
    pub usage: Option<Reports>,
}

/// Where the feed comes from.
pub enum Source {
    /// The control plane in this process: for every connection it is handed its end of a new pipe.
    Pipe(mpsc::Sender<DuplexStream>),
    /// Control planes elsewhere, tried in turn.
    Remote {
        /// `http` or `https` URLs.
        endpoints: Vec<String>,
        /// For `https`: whom to trust, and the client certificate if one is asked for.
        tls: Option<TlsFiles>,
    },
}

/// Reads the files of the feed's TLS; asked at every attempt to connect, because certificates are replaced while we run.
pub type TlsFiles = Box<dyn Fn() -> std::io::Result<ClientTlsConfig> + Send + Sync>;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("can't connect: {0}")]
    Connect(String),
    #[error("the feed ended: {0}")]
    Status(#[from] Box<tonic::Status>),
    #[error("the feed was closed")]
    Closed,
    #[error("the feed was silent")]
    Silent,
    #[error("the feed broke its protocol: {0}")]
    Protocol(&'static str),
    #[error("revision {got} came after {had}")]
    Gap { had: u64, got: u64 },
    #[error(transparent)]
    Invalid(#[from] crate::rpc::Invalid),
    #[error("the control plane's store is older than this table, asking for all of it")]
    WentBack,
    #[error(
        "the control plane's store {store} is another one, and would take {taken} away (all of them, if its digest key is another): not followed. If it is the right one, set \
             directory.accept_store to it and start again"
    )]
    Held { store: String, taken: Taken },
}

/// Follows until `shutdown`, then writes what waits for the disk. Connection trouble is logged and retried, never returned.
///
/// # Errors
/// No thread for the kept copy.
pub async fn follow(
    directory: Arc<Directory>,
    keep: Keep,
    config: FollowConfig,
    source: Source,
    shutdown: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let ask_all = keep.is_of_another_version();
    let keeper = keep.start(Arc::clone(&directory))?;
    let mut session = Session::new(directory, keeper, config, ask_all);
    tokio::select! {
        () = shutdown => {}
        () = run(&mut session, source) => {}
    }
    let keeper = session.into_keeper();
    if task::spawn_blocking(move || keeper.close()).await.is_err() {
        error!("the kept table was not closed");
    }
    Ok(())
}

async fn run(session: &mut Session, source: Source) {
    let mut connector = connect::Connector::new(source);
    let mut backoff = BACKOFF_FIRST;
    let mut quiet = false;
    loop {
        let lost = match connector.connect().await {
            Ok(channel) => session.follow(channel).await,
            Err(lost) => lost,
        };
        if session.take_progress() {
            backoff = BACKOFF_FIRST;
            quiet = false;
        }
        // Once for an outage; a lost connection per attempt says nothing new.
        if matches!(lost, Lost::Held { .. }) {
            error!(reason = %lost, "the control plane's feed is held, serving on from memory");
        } else if quiet {
            debug!(reason = %lost, "still without the control plane's feed");
        } else {
            warn!(reason = %lost, "lost the control plane's feed, serving on from memory and reconnecting");
        }
        quiet = true;
        time::sleep(clock::jittered(backoff)).await;
        backoff = (backoff * 2).min(BACKOFF_LAST);
    }
}

/// Runs CPU work, elsewhere when there is much of it.
async fn work<T, F>(is_large: bool, work: F) -> Result<T, Lost>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, Lost> + Send + 'static,
{
    if !is_large {
        return work();
    }
    let done = task::spawn_blocking(work).await;
    done.map_err(|_| Lost::Protocol("changes that can't be taken"))?
}

#[cfg(test)]
mod tests;
