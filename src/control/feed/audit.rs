//! The audit log's head on the feed: a gateway is told it, keeps it, and says it when it comes back. A log without that record
//! was cut or written anew, or its server was put back to an earlier moment.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, timeout},
};
use tonic::Status;

use super::{follow::STALL_MAX, messages::encoded};
use crate::{
    control::{Error, record::AuditHead, store::Store},
    rpc::feed::{self, Hello, from_control::Message},
};

/// Between two looks at the newest record.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Looks for what a gateway has kept, then tells it the newest record whenever there is another one. What it was told must
/// be there the next time, too.
pub(super) async fn tell(
    store: &Store,
    hello: &Hello,
    outbox: &mpsc::Sender<Result<Bytes, Status>>,
) -> Result<Infallible, Status> {
    let mut told = kept(store, hello);
    let mut every = interval(TELL_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let newest = match look(store, &hello.gateway, told.as_ref()).await {
            Ok(newest) if newest != told => newest,
            Ok(_) => continue,
            Err(error) => {
                tracing::debug!(%error, "the audit log's newest record cannot be read");
                continue;
            }
        };
        if let Some(newest) = &newest {
            let message = Message::Audit(feed::AuditHead {
                store: store.id().to_owned(),
                seq: newest.seq,
                hash: newest.hash.to_vec(),
            });
            // A gateway that doesn't read is cut by whoever sends it deltas.
            let _ = timeout(STALL_MAX, outbox.send(Ok(encoded(message)))).await;
        }
        told = newest;
    }
}

/// What the gateway has kept of this store's log.
fn kept(store: &Store, hello: &Hello) -> Option<AuditHead> {
    let said = hello.audit.as_ref()?;
    let hash = said.hash.as_slice().try_into().ok()?;
    let seq = said.seq;
    (said.store == store.id() && seq != 0).then_some(AuditHead { seq, hash })
}

async fn look(
    store: &Store,
    gateway: &str,
    told: Option<&AuditHead>,
) -> Result<Option<AuditHead>, Error> {
    let newest = store.audit_head().await?;
    if let Some(told) = told
        && newest.as_ref() != Some(told)
        && !store.still_has(told, gateway).await?
    {
        tracing::error!(
            gateway,
            record = told.seq,
            "the audit log no longer has a record that this gateway was told of: its tail was cut, it was written anew, or the \
             store was put back to an earlier moment"
        );
        // With the record that says so.
        return store.audit_head().await;
    }
    Ok(newest)
}
