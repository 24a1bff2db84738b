//! From a commit to everybody who waits for it: the newest deltas in memory, the head, and who enforces what.

mod gateways;
mod claims;
mod accepted;
mod shared;
mod everybody;

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::watch;
use utoipa::ToSchema;

pub(super) use everybody::{At, everybody};
pub use gateways::Gateway;
pub(super) use gateways::{Caller, Gateways, Session, Taken};
pub(super) use shared::enforcement;

/// What a gateway that was away for a moment needs; older deltas come from the store.
const TAIL_DELTAS_MAX: usize = 8192;
/// So that a run of large destinations doesn't fill the memory.
const TAIL_BYTES_MAX: usize = 8 << 20;
/// Deltas handed out at once; keeps the lock short.
const BATCH_MAX: usize = 256;

/// The live end of the feed.
pub(super) struct Publisher {
    tail: Mutex<Tail>,
    head: watch::Sender<u64>,
    pub(super) gateways: Gateways,
}

struct Tail {
    /// Revision of the last delta in `deltas`, or the head when there is none.
    newest: u64,
    deltas: VecDeque<Bytes>,
    bytes: usize,
}

/// Deltas after a revision.
pub(super) enum Since {
    /// In order, the next one first; none when the revision is the head.
    Deltas(Vec<Bytes>),
    /// The tail has lost some of them.
    Older,
}

/// A commit as it went out.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    pub(super) revision: u64,
    at: Instant,
    /// Known when it went out, connected or not.
    gateways: Vec<String>,
}

/// How far a revision has come.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Enforcement {
    revision: u64,
    /// Gateways that enforce it and have it on disk.
    enforced: usize,
    /// Gateways that were known at the commit, connected or not, or came while it was waited for.
    gateways: usize,
    /// From the commit to the last of the acknowledgements, in milliseconds.
    slowest_ms: u64,
    /// Gateways that have not acknowledged it, in time or at all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) laggards: Vec<String>,
}

// === impl Publisher ===

impl Publisher {
    /// Starts at the store's head.
    pub(super) fn new(head: u64, is_shared: bool) -> Self {
        Self {
            tail: Mutex::new(Tail {
                newest: head,
                deltas: VecDeque::new(),
                bytes: 0,
            }),
            head: watch::Sender::new(head),
            gateways: Gateways::new(is_shared),
        }
    }

    /// The caller sees to it that revisions come in order.
    pub(super) fn publish(&self, revision: u64, delta: Bytes) -> Published {
        self.tail().push(revision, delta);
        let published = self.published(revision);
        self.head.send_replace(revision);
        published
    }

    /// A commit that goes out by another way.
    pub(super) fn published(&self, revision: u64) -> Published {
        Published {
            revision,
            at: Instant::now(),
            gateways: self.gateways.names(),
        }
    }

    /// Moves the head past deltas that are no longer kept: who follows asks the store, and gets a snapshot.
    pub(super) fn skip_to(&self, revision: u64) {
        self.tail().clear(revision);
        self.head.send_replace(revision);
    }

    /// The newest revision that went out.
    pub(super) fn head(&self) -> u64 {
        *self.head.borrow()
    }

    /// Wakes whenever the head moves.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    /// The next deltas after `revision`, a batch of them at most, and none past the head: what has gone out to one
    /// gateway is what another's acknowledgement is measured by.
    pub(super) fn since(&self, revision: u64) -> Since {
        let head = self.head();
        self.tail().since(revision, head)
    }

    /// Waits until everybody who is known or comes has acknowledged, or until the time is up. Whoever is retired meanwhile
    /// counts no more.
    pub(super) async fn enforcement(&self, published: Published, wait: Duration) -> Enforcement {
        let until = tokio::time::Instant::now() + wait;
        let mut changed = self.gateways.subscribe();
        let mut names = published.gateways;
        let mut acknowledged = Vec::new();
        let mut slowest_ms = 0;
        loop {
            changed.mark_unchanged();
            self.gateways.add_behind(published.revision, &mut names);
            // Acknowledged is on disk, so it outlives the connection; only one that comes back without it is behind again.
            acknowledged.retain(|name| !names.contains(name));
            let before = acknowledged.len();
            names.retain(|name| match self.gateways.acknowledged(name) {
                None => false,
                Some(revision) if revision >= published.revision => {
                    acknowledged.push(name.clone());
                    false
                }
                Some(_) => true,
            });
            if acknowledged.len() > before {
                slowest_ms = published
                    .at
                    .elapsed()
                    .as_millis()
                    .try_into()
                    .unwrap_or(u64::MAX);
            }
            let is_late = !names.is_empty()
                && !matches!(
                    tokio::time::timeout_at(until, changed.changed()).await,
                    Ok(Ok(()))
                );
            if names.is_empty() || is_late {
                names.sort_unstable();
                return Enforcement {
                    revision: published.revision,
                    enforced: acknowledged.len(),
                    gateways: acknowledged.len() + names.len(),
                    slowest_ms,
                    laggards: names,
                };
            }
        }
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Tail ===

impl Tail {
    fn push(&mut self, revision: u64, delta: Bytes) {
        // A commit whose outcome the database could not tell may have left a hole: the store has what is missing.
        if revision != self.newest + 1 {
            self.clear(revision);
        }
        self.newest = revision;
        self.bytes += delta.len();
        self.deltas.push_back(delta);
        while self.deltas.len() > TAIL_DELTAS_MAX || self.bytes > TAIL_BYTES_MAX {
            let Some(oldest) = self.deltas.pop_front() else {
                break;
            };
            self.bytes -= oldest.len();
        }
    }

    fn clear(&mut self, revision: u64) {
        self.newest = revision;
        self.deltas.clear();
        self.bytes = 0;
    }

    fn since(&self, revision: u64, head: u64) -> Since {
        let missing = self.newest.saturating_sub(revision);
        let wanted = usize::try_from(head.saturating_sub(revision)).unwrap_or(usize::MAX);
        match usize::try_from(missing) {
            Ok(missing) if missing <= self.deltas.len() => {
                let from = self.deltas.len() - missing;
                let next = self.deltas.range(from..).take(wanted.min(BATCH_MAX));
                Since::Deltas(next.cloned().collect())
            }
            _ => Since::Older,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deltas(tail: &Tail, after: u64) -> Option<Vec<Bytes>> {
        match tail.since(after, tail.newest) {
            Since::Deltas(deltas) => Some(deltas),
            Since::Older => None,
        }
    }

    #[test]
    fn the_tail_hands_out_what_follows_and_says_when_it_cannot() {
        let publisher = Publisher::new(4, false);
        publisher.publish(5, Bytes::from_static(b"five"));
        publisher.publish(6, Bytes::from_static(b"six"));
        let tail = publisher.tail();
        assert_eq!(deltas(&tail, 6), Some(vec![]));
        assert_eq!(deltas(&tail, 5), Some(vec![Bytes::from_static(b"six")]));
        assert_eq!(deltas(&tail, 4).map(|deltas| deltas.len()), Some(2));
        assert_eq!(deltas(&tail, 3), None);
    }

    #[test]
    fn what_is_in_the_tail_goes_out_only_once_the_head_has_moved() {
        let publisher = Publisher::new(4, false);
        let count = |after| match publisher.since(after) {
            Since::Deltas(deltas) => Some(deltas.len()),
            Since::Older => None,
        };
        publisher.publish(5, Bytes::from_static(b"five"));
        // Between the two steps of publishing.
        publisher.tail().push(6, Bytes::from_static(b"six"));
        assert_eq!((count(4), count(5)), (Some(1), Some(0)));
        publisher.head.send_replace(6);
        assert_eq!((count(4), count(5)), (Some(2), Some(1)));
    }

    #[test]
    fn a_hole_empties_the_tail_instead_of_hiding_in_it() {
        let publisher = Publisher::new(0, false);
        publisher.publish(1, Bytes::from_static(b"one"));
        publisher.publish(3, Bytes::from_static(b"three"));
        assert_eq!(deltas(&publisher.tail(), 1), None);
        assert_eq!(deltas(&publisher.tail(), 2).map(|d| d.len()), Some(1));
    }

    #[test]
    fn who_is_behind_deltas_that_were_skipped_is_sent_to_the_store() {
        let publisher = Publisher::new(4, false);
        publisher.publish(5, Bytes::from_static(b"five"));
        publisher.skip_to(9);
        assert_eq!(publisher.head(), 9);
        assert!(matches!(publisher.since(4), Since::Older));
        assert!(matches!(publisher.since(9), Since::Deltas(none) if none.is_empty()));
        publisher.publish(10, Bytes::from_static(b"ten"));
        assert!(matches!(publisher.since(9), Since::Deltas(one) if one.len() == 1));
    }

    #[test]
    fn the_tail_stays_within_its_bytes_and_its_count() {
        let publisher = Publisher::new(0, false);
        for revision in 1..=40 {
            publisher.publish(revision, Bytes::from(vec![0; 1 << 20]));
        }
        assert!(publisher.tail().bytes <= TAIL_BYTES_MAX);
        for revision in 41..=10_000 {
            publisher.publish(revision, Bytes::new());
        }
        assert_eq!(publisher.tail().deltas.len(), TAIL_DELTAS_MAX);
    }

    fn connect(publisher: &Publisher, name: &str) -> Session {
        let caller = Caller {
            name,
            instance: name,
            version: "1",
        };
        publisher.gateways.connect(caller).expect("free")
    }

    #[tokio::test]
    async fn a_gateway_that_is_not_connected_counts_by_what_it_has_acknowledged() {
        let publisher = Publisher::new(0, false);
        let a = connect(&publisher, "a");
        let b = connect(&publisher, "b");
        drop(connect(&publisher, "long gone"));
        let published = publisher.publish(1, Bytes::new());
        a.acknowledge(1, &[]);
        drop(a);
        drop(b);
        let enforcement = publisher
            .enforcement(published, Duration::from_millis(30))
            .await;
        assert_eq!((enforcement.enforced, enforcement.gateways), (1, 3));
        assert_eq!(enforcement.laggards, ["b", "long gone"]);
    }

    #[tokio::test]
    async fn a_gateway_that_comes_back_with_the_revision_is_enforced() {
        let publisher = Publisher::new(0, false);
        drop(connect(&publisher, "a"));
        let published = publisher.publish(1, Bytes::new());
        let waiting = publisher.enforcement(published, Duration::from_secs(5));
        let coming = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let session = connect(&publisher, "a");
            session.acknowledge(1, &[]);
            session
        };
        let (enforcement, _session) = tokio::join!(waiting, coming);
        assert_eq!((enforcement.enforced, enforcement.gateways), (1, 1));
    }

    #[tokio::test]
    async fn a_gateway_that_is_retired_is_waited_for_no_more() {
        let publisher = Publisher::new(0, false);
        drop(connect(&publisher, "a"));
        let published = publisher.publish(1, Bytes::new());
        let waiting = publisher.enforcement(published, Duration::from_secs(5));
        let retiring = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(publisher.gateways.retire("a"));
        };
        let (enforcement, ()) = tokio::join!(waiting, retiring);
        assert_eq!((enforcement.enforced, enforcement.gateways), (0, 0));
    }

    #[tokio::test]
    async fn a_gateway_that_comes_late_and_behind_is_waited_for() {
        let publisher = Publisher::new(0, false);
        let _a = connect(&publisher, "a");
        let published = publisher.publish(1, Bytes::new());
        let _late = connect(&publisher, "late");
        let enforcement = publisher
            .enforcement(published, Duration::from_millis(20))
            .await;
        assert_eq!(enforcement.laggards, ["a", "late"]);
    }
}
