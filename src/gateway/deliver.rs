//! To the account's destination for the signal, and back with what it said.

pub mod archive;
pub mod upstream;

mod shipment;
mod target;
mod http;
mod grpc;
mod answer;
mod blame;
mod pool;
mod connect;
mod body;
mod config;

use std::sync::Arc;

use tracing::warn;

use super::receive::Batch;
use crate::{
    directory::Directory,
    model::{Delivery, DestinationKind, Rejection},
};
use archive::Archive;
use upstream::Upstreams;

/// Everything a batch can be handed to. One a worker: upstream connections are its own, the archive is shared.
pub struct Destinations {
    directory: Arc<Directory>,
    archive: Archive,
    upstreams: Upstreams,
}

/// Hands a batch over, and settles its line in the books by what the destination says.
///
/// Once begun this runs to its end, also when the client has gone: see [`super::Gateway::serve`].
///
/// # Errors
/// The token's state if it has changed since the head, else why the destination did not take it.
pub async fn deliver(destinations: &Destinations, batch: Batch) -> Result<Delivery, Rejection> {
    let outcome = destinations.hand_over(&batch).await;
    batch.settle(&outcome);
    outcome
}

// === impl Destinations ===

impl Destinations {
    /// All of one worker's.
    pub const fn new(directory: Arc<Directory>, archive: Archive, upstreams: Upstreams) -> Self {
        Self {
            directory,
            archive,
            upstreams,
        }
    }

    async fn hand_over(&self, batch: &Batch) -> Result<Delivery, Rejection> {
        let (caller, payload) = (&batch.permit().caller, batch.payload());
        // A body may take a minute to arrive; a token revoked meanwhile must not deliver it.
        caller.confirm(&self.directory)?;
        if batch.is_empty() {
            return Ok(Delivery::default());
        }
        let account = &caller.account.record;
        let destination = account
            .destination(caller.signal)
            .and_then(|id| self.directory.destination(id))
            .ok_or_else(|| {
                Rejection::DestinationMisconfigured("the account has no destination".into())
            })?;
        let outcome = match destination.kind {
            DestinationKind::Archive => self.archive.store(account.id, caller.token, payload).await,
            DestinationKind::Http | DestinationKind::OtlpHttp | DestinationKind::OtlpGrpc => {
                self.upstreams
                    .send(&destination, account.id, caller.token, payload)
                    .await
            }
        };
        if let Err(rejection) = &outcome {
            warn!(
                account.id = %account.id,
                signal = %caller.signal,
                destination = %destination.name,
                reason = rejection.label(),
                detail = ?rejection,
                "destination did not take a batch"
            );
        }
        outcome
    }
}
