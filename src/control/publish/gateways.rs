//! Gateways on the feed: who they are, and the revision that each of them enforces.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::control::record::{self, Millis};

/// A gateway that is connected now.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// As it calls itself.
    pub name: String,
    /// Of its executable.
    pub version: String,
    /// Enforced, and fsynced in its kept copy.
    pub revision: u64,
    /// When its stream began, in milliseconds since 1970.
    pub connected_since: Millis,
    /// How long ago it last acknowledged, in milliseconds; `None` before its first acknowledgement.
    pub last_acknowledged_ms: Option<u64>,
}

/// Everybody connected, by name.
#[derive(Clone)]
pub(crate) struct Gateways {
    table: Arc<Mutex<Table>>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct Table {
    sessions: u64,
    entries: HashMap<String, Entry>,
}

struct Entry {
    session: u64,
    version: String,
    revision: u64,
    since: Millis,
    last: Option<Instant>,
    replaced: CancellationToken,
}

/// One stream's place in the table; leaves it when dropped.
pub(crate) struct Session {
    gateways: Gateways,
    name: String,
    session: u64,
    replaced: CancellationToken,
}

// === impl Gateways ===

impl Default for Gateways {
    fn default() -> Self {
        Self {
            table: Arc::default(),
            changed: watch::Sender::new(()),
        }
    }
}

impl Gateways {
    /// Enters a stream; an older one of the same name is told to end, and counts no more.
    pub(crate) fn connect(&self, name: &str, version: &str, revision: u64) -> Session {
        let replaced = CancellationToken::new();
        let mut table = self.table();
        table.sessions += 1;
        let session = table.sessions;
        let entry = Entry {
            session,
            version: version.to_owned(),
            revision,
            since: record::now(),
            last: None,
            replaced: replaced.clone(),
        };
        let older = table.entries.insert(name.to_owned(), entry);
        drop(table);
        if let Some(older) = older {
            warn!(
                gateway = name,
                "a second stream has come under the name of a gateway that is connected, and takes its place: \
                 if that didn't just reconnect, two gateways share the name, and one needs another gateway.name"
            );
            older.replaced.cancel();
        }
        self.changed.send_replace(());
        Session {
            gateways: self.clone(),
            name: name.to_owned(),
            session,
            replaced,
        }
    }

    /// Everybody, by name.
    pub(crate) fn list(&self) -> Vec<Gateway> {
        let mut list: Vec<_> = self
            .table()
            .entries
            .iter()
            .map(|(name, entry)| Gateway {
                name: name.clone(),
                version: entry.version.clone(),
                revision: entry.revision,
                connected_since: entry.since,
                last_acknowledged_ms: entry
                    .last
                    .map(|at| at.elapsed().as_millis().try_into().unwrap_or(u64::MAX)),
            })
            .collect();
        list.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        list
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.table().entries.keys().cloned().collect()
    }

    /// Wakes at every acknowledgement, arrival and departure.
    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Adds those who are connected and behind `revision` to `names`, once each.
    pub(crate) fn add_behind(&self, revision: u64, names: &mut Vec<String>) {
        for (name, entry) in &self.table().entries {
            if entry.revision < revision && !names.contains(name) {
                names.push(name.clone());
            }
        }
    }

    /// The revision of a connected gateway.
    pub(crate) fn acknowledged(&self, name: &str) -> Option<u64> {
        self.table().entries.get(name).map(|entry| entry.revision)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Session ===

impl Session {
    /// Cumulative; what has been replaced, and what goes backwards, counts for nothing.
    pub(crate) fn acknowledge(&self, revision: u64) {
        let mut table = self.gateways.table();
        let Some(entry) = table.entries.get_mut(&self.name) else {
            return;
        };
        if entry.session != self.session {
            return;
        }
        entry.revision = entry.revision.max(revision);
        entry.last = Some(Instant::now());
        drop(table);
        self.gateways.changed.send_replace(());
    }

    /// Ends when a newer stream has come under this name.
    pub(crate) async fn replaced(&self) {
        self.replaced.cancelled().await;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut table = self.gateways.table();
        if table
            .entries
            .get(&self.name)
            .is_some_and(|entry| entry.session == self.session)
        {
            table.entries.remove(&self.name);
        }
        drop(table);
        self.gateways.changed.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_newer_stream_of_the_same_name_replaces_the_older() {
        let gateways = Gateways::default();
        let older = gateways.connect("a", "1", 3);
        let newer = gateways.connect("a", "2", 5);
        older.replaced().await;
        older.acknowledge(9);
        assert_eq!(gateways.acknowledged("a"), Some(5));
        drop(older);
        assert_eq!(gateways.list().len(), 1);
        newer.acknowledge(7);
        newer.acknowledge(6);
        assert_eq!(gateways.acknowledged("a"), Some(7));
        drop(newer);
        assert!(gateways.list().is_empty());
    }
}
