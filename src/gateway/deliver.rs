//! To the account's destination for the signal, and back with what it said.

pub mod archive;
pub mod upstream;
pub mod spool;
pub mod redeliver;

mod spill;
mod shipment;
mod target;
mod http;
mod grpc;
mod answer;
mod lines;
mod secrets;
mod blame;
mod pool;
mod connect;
mod sockets;
mod body;
mod config;
mod group;
mod watch;
mod stop;

use std::{
    cell::RefCell,
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tracing::warn;

use super::receive::Batch;
use crate::{
    directory::Directory,
    model::{
        AccountId, Counts, Delivery, Destination, DestinationId, DestinationKind, Rejection, Tally,
        Written,
    },
};
use archive::Archive;
use spill::{Holds, Kept};
use spool::Spool;
use upstream::Upstreams;

const COMPLAINT_EVERY: Duration = Duration::from_secs(1);

/// Everything a batch can be handed to. One a worker: upstream connections are its own, archive and spool are shared.
pub struct Destinations {
    directory: Arc<Directory>,
    archive: Archive,
    spool: Spool,
    upstreams: Upstreams,
    holds: Holds,
    /// When each destination was last complained of, and how often since.
    complaints: RefCell<HashMap<DestinationId, (Option<Instant>, u64)>>,
}

/// Hands a batch over, and settles its line in the books by what the destination says. A rehearsal is made ready as it would
/// be for its destination, and goes no further: nothing of it leaves, and nothing of it stands in the books.
///
/// Once begun this runs to its end, also when the client has gone: see [`super::Gateway::serve`].
///
/// # Errors
/// The token's state if it has changed since the head, else why the destination did not take it.
pub async fn deliver(destinations: &Destinations, mut batch: Batch) -> Result<Delivery, Rejection> {
    let outcome = if batch.permit().is_rehearsal {
        destinations.rehearse(&mut batch).await
    } else {
        destinations.hand_over(&mut batch).await
    };
    batch.settle(&outcome);
    outcome
}

// === impl Destinations ===

impl Destinations {
    /// All of one worker's.
    pub fn new(
        directory: Arc<Directory>,
        archive: Archive,
        spool: Spool,
        upstreams: Upstreams,
    ) -> Self {
        Self {
            directory,
            archive,
            spool,
            upstreams,
            holds: Holds::default(),
            complaints: RefCell::default(),
        }
    }

    /// The account as it is now and where its signal goes; `None` when there is nothing to deliver.
    fn destined(&self, batch: &Batch) -> Result<Option<(AccountId, Arc<Destination>)>, Rejection> {
        let caller = &batch.permit().caller;
        // A body may take a minute to arrive; a token revoked meanwhile must not deliver it.
        let account = batch.permit().accept(&self.directory)?;
        if batch.is_empty() {
            return Ok(None);
        }
        let account = &account.record;
        let destination = account
            .destination(caller.signal)
            .and_then(|id| self.directory.destination(id))
            .ok_or_else(|| {
                Rejection::DestinationMisconfigured("the account has no destination".into())
            })?;
        Ok(Some((account.id, destination)))
    }

    async fn rehearse(&self, batch: &mut Batch) -> Result<Delivery, Rejection> {
        let destined = self.destined(batch)?;
        let token = batch.permit().caller.token;
        let (permit, payload) = batch.parts_mut();
        match destined {
            None => {}
            Some((account, destination)) if destination.kind == DestinationKind::Archive => {
                let held = permit.lend();
                let archive = &self.archive;
                archive.rehearse(account, token, payload, held).await?;
            }
            Some((_, destination)) => {
                let mut claim = |bytes| permit.claim(bytes);
                let upstreams = &self.upstreams;
                upstreams
                    .rehearse(&destination, payload, &mut claim)
                    .await?;
            }
        }
        let (items, bytes) = (payload.counts.items(), payload.inflated_bytes);
        Ok(Delivery {
            // Nothing was written, so nothing says that it was.
            written: None,
            message: Some(format!(
                "validated and not delivered: {items} items, {bytes} bytes"
            )),
            lines: match payload.counts {
                Counts::Lines(lines) => Some(lines),
                Counts::Records(_) | Counts::Write(_) => None,
            },
            validated: Some(Tally::new(items, bytes)),
            ..Delivery::default()
        })
    }

    async fn hand_over(&self, batch: &mut Batch) -> Result<Delivery, Rejection> {
        let Some((account, destination)) = self.destined(batch)? else {
            // Nothing to write is written in full.
            return Ok(Delivery {
                written: Some(Written::default()),
                ..Delivery::default()
            });
        };
        let token = batch.permit().caller.token;
        let (permit, payload) = batch.parts_mut();
        let outcome = match destination.kind {
            DestinationKind::Archive => {
                let held = permit.lend();
                self.archive.store(account, token, payload, held).await
            }
            DestinationKind::Http | DestinationKind::OtlpHttp | DestinationKind::OtlpGrpc => {
                let kept = Kept {
                    spool: &self.spool,
                    upstreams: &self.upstreams,
                    holds: &self.holds,
                    destination: &destination,
                    account,
                };
                kept.send(permit, payload).await
            }
        };
        if let Err(rejection) = &outcome {
            self.complain(batch, &destination, rejection);
        }
        outcome
    }

    /// A destination that is down refuses thousands of batches a second: one line a second says so, with how many it stands for.
    fn complain(&self, batch: &Batch, destination: &Destination, rejection: &Rejection) {
        let mut complaints = self.complaints.borrow_mut();
        let (last, silenced) = complaints.entry(destination.id).or_default();
        if last.is_some_and(|last| last.elapsed() < COMPLAINT_EVERY) {
            *silenced += 1;
            return;
        }
        let silenced = std::mem::take(silenced);
        *last = Some(Instant::now());
        let caller = &batch.permit().caller;
        warn!(
            account.id = %caller.account.record.id,
            token = caller.token.0,
            signal = %caller.signal,
            destination = %destination.name,
            reason = rejection.label(),
            detail = ?rejection,
            silenced,
            "destination did not take a batch"
        );
    }
}
