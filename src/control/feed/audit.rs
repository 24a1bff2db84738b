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
    control::{
        Error,
        record::AuditHead,
        store::{Keeper, Sought, Store},
    },
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
    let keeper = Keeper {
        name: &hello.gateway,
        instance: &hello.instance,
    };
    // Of one record that is gone, said in the log already.
    let mut unrecorded = None;
    let mut every = interval(TELL_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let newest = match look(store, keeper, told.as_ref()).await {
            Ok(Some(newest)) if newest != told => newest,
            Ok(Some(_)) => continue,
            Ok(None) => {
                if let Some(told) = told.as_ref().filter(|_| unrecorded != told) {
                    tracing::error!(
                        gateway = keeper.name,
                        record = told.seq,
                        "the audit log no longer has a record that this gateway was told of, and that stands unrecorded for \
                         lack of room: too many such records were written within the hour; it is tried again"
                    );
                    unrecorded = Some(told.clone());
                }
                continue;
            }
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

/// What the gateway has kept of this store's log, under any name that the store had.
fn kept(store: &Store, hello: &Hello) -> Option<AuditHead> {
    let said = hello.audit.as_ref()?;
    let hash = said.hash.as_slice().try_into().ok()?;
    let seq = said.seq;
    if said.store != store.id() {
        // A copy has what its original had up to the copy.
        let last = store.last_record_as(&said.store)?;
        if seq > last {
            // Written by the original afterwards, lost with a backup, or cut away: they look alike from here.
            tracing::warn!(
                gateway = hello.gateway,
                record = seq,
                last,
                former = said.store,
                "a gateway was told of a record of this store under its former name that the audit log never had, or has \
                 no more; see store.renamed in it"
            );
            return None;
        }
    }
    (seq != 0).then_some(AuditHead { seq, hash })
}

/// The newest record, if there is one; nothing as long as what the gateway was told is gone and that can't be put on record.
async fn look(
    store: &Store,
    keeper: Keeper<'_>,
    told: Option<&AuditHead>,
) -> Result<Option<Option<AuditHead>>, Error> {
    let newest = store.audit_head().await?;
    let Some(told) = told.filter(|told| newest.as_ref() != Some(told)) else {
        return Ok(Some(newest));
    };
    match store.seek(told, keeper).await? {
        Sought::Found => Ok(Some(newest)),
        Sought::NoRoom => Ok(None),
        Sought::Disputed => {
            tracing::error!(
                gateway = keeper.name,
                record = told.seq,
                "the audit log no longer has a record that this gateway was told of: its tail was cut, it was written anew, or the \
                 store was put back to an earlier moment"
            );
            // With the record that says so.
            Ok(Some(store.audit_head().await?))
        }
    }
}
