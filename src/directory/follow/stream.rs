//! What one connection is about: whom it follows, how far it is, and what is collected beside the table that serves.

use std::time::Duration;

use tokio::sync::watch;
use tonic::Streaming;

use super::{collect::Collecting, report::Reporting};
use crate::{
    directory::Collected,
    model::{DigestKey, Position, Revision},
    rpc::feed::FromControl,
};

/// What this connection is about.
pub(super) struct Stream {
    pub(super) inbound: Streaming<FromControl>,
    pub(super) acknowledged: watch::Sender<u64>,
    pub(super) reporting: Reporting,
    pub(super) store: String,
    pub(super) key: DigestKey,
    /// The newest head told, and when.
    pub(super) head: (Revision, std::time::Instant),
    pub(super) silence: Duration,
    /// The hello had nothing to continue: deltas from the first one on would be the whole table.
    pub(super) asked_all: bool,
    /// Deltas continue the table that serves.
    pub(super) is_following: bool,
    /// All of the table that serves is of the control plane's history. Until then nothing is acknowledged, and it isn't fresh:
    /// what is applied and not yet kept was not in the hello.
    pub(super) is_proven: bool,
    /// The table that serves is of this very store, key and history.
    pub(super) is_same: bool,
    pub(super) collecting: Option<Collecting>,
}

// === impl Stream ===

impl Stream {
    pub(super) fn collect(&self, begin: Position, tokens: u64, floor: Revision) -> Collecting {
        Collecting::new(
            Collected::new(&self.store, self.key.clone(), tokens),
            begin,
            floor,
        )
    }

    /// Deltas from the first one on, up to the head, in the place of a snapshot.
    pub(super) fn collect_deltas(&mut self, floor: Revision) {
        let mut collecting = self.collect(Position::default(), 0, floor);
        collecting.ends_at(self.head.0);
        self.collecting = Some(collecting);
    }
}
