//! Gateways of the feed: who they are, and the revision that each of them enforces.
//!
//! Nobody is forgotten: a gateway that is not connected may be serving on from memory, so it counts until it is retired.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::accepted::{Accepted, OfAccounts};
use crate::{
    control::record::{self, GatewayRow, Millis},
    rpc::feed,
};

/// A gateway that follows, or has followed and was not retired.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// As it calls itself.
    pub name: String,
    /// Of its executable.
    pub version: String,
    /// Enforced, and fsynced in its kept copy; the last that was heard of it.
    pub revision: u64,
    /// When its stream began, in milliseconds since 1970; `None` while it has none.
    pub connected_since: Option<Millis>,
    /// When it was last connected, in milliseconds since 1970.
    pub last_seen_at: Millis,
    /// How long ago it last acknowledged, in milliseconds; `None` before its first acknowledgement to this process.
    pub last_acknowledged_ms: Option<u64>,
}

/// Everybody there is, by name.
#[derive(Clone)]
pub(crate) struct Gateways {
    is_shared: bool,
    table: Arc<Mutex<Table>>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct Table {
    sessions: u64,
    entries: HashMap<String, Entry>,
    accepted: Accepted,
}

struct Entry {
    instance: String,
    version: String,
    revision: u64,
    last_seen_at: Millis,
    last: Option<Instant>,
    stream: Option<Stream>,
}

struct Stream {
    session: u64,
    holder: u64,
    /// Of tokens' ends, and not yet in the store; none where nobody else reads it.
    untold: Vec<(u64, Millis)>,
    since: Millis,
    replaced: CancellationToken,
}

/// One stream's place in the table; leaves its gateway disconnected when dropped.
pub(crate) struct Session {
    gateways: Gateways,
    name: String,
    session: u64,
    /// What was known under its name; without a stream.
    before: Option<Entry>,
    replaced: CancellationToken,
}

/// Who comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller<'a> {
    pub(crate) name: &'a str,
    pub(crate) instance: &'a str,
    pub(crate) version: &'a str,
}

/// Another gateway of that name is connected.
#[derive(Debug)]
pub(crate) struct Taken;

// === impl Gateways ===

impl Gateways {
    /// Nobody yet; `is_shared` where other control planes hear of gateways from the store.
    pub(crate) fn new(is_shared: bool) -> Self {
        Self {
            is_shared,
            table: Arc::default(),
            changed: watch::Sender::new(()),
        }
    }
}

impl Gateways {
    /// Whether other control planes hear of gateways from the store.
    pub(crate) fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Enters those that the store remembers.
    pub(crate) fn remember(&self, rows: Vec<GatewayRow>) {
        let mut table = self.table();
        for row in rows {
            let entry = Entry {
                instance: row.instance,
                version: row.version,
                revision: row.revision,
                last_seen_at: row.last_seen_at,
                last: None,
                stream: None,
            };
            table.entries.entry(row.name).or_insert(entry);
        }
    }

    /// Enters a stream. An older one of the same gateway is told to end, and counts no more.
    ///
    /// What it enforces is not known before it says so: its data folder may have been lost, or restored.
    ///
    /// # Errors
    /// A gateway of another data folder is connected under that name: both would count as one.
    pub(crate) fn connect(&self, caller: Caller<'_>) -> Result<Session, Taken> {
        let replaced = CancellationToken::new();
        let mut table = self.table();
        let before = table.entries.get(caller.name);
        let is_other = before.is_some_and(|entry| entry.instance != caller.instance);
        if is_other && before.is_some_and(|entry| entry.stream.is_some()) {
            return Err(Taken);
        }
        table.sessions += 1;
        let session = table.sessions;
        let entry = Entry {
            instance: caller.instance.to_owned(),
            version: caller.version.to_owned(),
            revision: 0,
            last_seen_at: record::now(),
            last: None,
            stream: Some(Stream {
                session,
                holder: getrandom::u64().unwrap_or(session) >> 1 | 1,
                untold: Vec::new(),
                since: record::now(),
                replaced: replaced.clone(),
            }),
        };
        let mut before = table.entries.insert(caller.name.to_owned(), entry);
        drop(table);
        if let Some(stream) = before.as_mut().and_then(|before| before.stream.take()) {
            stream.replaced.cancel();
        }
        self.changed.send_replace(());
        Ok(Session {
            gateways: self.clone(),
            name: caller.name.to_owned(),
            session,
            before,
            replaced,
        })
    }

    /// Whether it has a stream now.
    pub(crate) fn is_connected(&self, name: &str) -> bool {
        let table = self.table();
        table
            .entries
            .get(name)
            .is_some_and(|entry| entry.stream.is_some())
    }

    /// Takes out one that is not connected; false when it is connected.
    pub(crate) fn retire(&self, name: &str) -> bool {
        let mut table = self.table();
        if table
            .entries
            .get(name)
            .is_some_and(|entry| entry.stream.is_some())
        {
            return false;
        }
        table.entries.remove(name);
        drop(table);
        self.changed.send_replace(());
        true
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
                connected_since: entry.stream.as_ref().map(|stream| stream.since),
                last_seen_at: match entry.stream {
                    Some(_) => record::now(),
                    None => entry.last_seen_at,
                },
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

    /// When a token that has ended was last accepted, as far as acknowledgements of the last minutes say.
    pub(crate) fn accepted(&self, token: u64) -> Option<Millis> {
        self.table().accepted.of(token)
    }

    /// The same of any token of those accounts.
    pub(in crate::control) fn accepted_of(&self, accounts: &BTreeSet<u64>) -> OfAccounts {
        self.table().accepted.of_accounts(accounts)
    }

    /// Those that are connected here: the stream that speaks for each, and how far it has come.
    pub(crate) fn held(&self) -> HashMap<String, (u64, u64)> {
        let table = self.table();
        let connected = table.entries.iter().filter_map(|(name, entry)| {
            let stream = entry.stream.as_ref()?;
            Some((name.clone(), (stream.holder, entry.revision)))
        });
        connected.collect()
    }

    /// Wakes at every acknowledgement, arrival and departure.
    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Adds those who are behind `revision` to `names`, once each.
    pub(crate) fn add_behind(&self, revision: u64, names: &mut Vec<String>) {
        for (name, entry) in &self.table().entries {
            if entry.revision < revision && !names.contains(name) {
                names.push(name.clone());
            }
        }
    }

    /// The revision of a gateway; `None` for one that was retired.
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
    pub(crate) fn acknowledge(&self, revision: u64, accepted: &[feed::Accepted]) {
        let mut table = self.gateways.table();
        // With the revision, under one lock: whoever sees the one sees the other.
        if self.entry(&mut table).is_some() {
            table.accepted.note(accepted);
        }
        let is_shared = self.gateways.is_shared;
        let Some(entry) = self.entry(&mut table) else {
            return;
        };
        if let Some(stream) = entry.stream.as_mut().filter(|_| is_shared) {
            let now = record::now();
            let placed = accepted
                .iter()
                .map(|it| (it.token, now.saturating_sub(it.age_ms)));
            stream.untold.extend(placed);
        }
        entry.revision = entry.revision.max(revision);
        entry.last = Some(Instant::now());
        drop(table);
        self.gateways.changed.send_replace(());
    }

    /// Ends as if it had never come: the store knows of another gateway of that name.
    pub(crate) fn withdraw(mut self) {
        let before = self.before.take();
        let mut table = self.gateways.table();
        if self.entry(&mut table).is_some() {
            table.entries.remove(&self.name);
            table
                .entries
                .extend(before.map(|it| (self.name.clone(), it)));
        }
    }

    /// Ends when a newer stream has come under this name.
    pub(crate) async fn replaced(&self) {
        self.replaced.cancelled().await;
    }

    /// What the store should remember of it; `None` once a newer stream speaks for it.
    pub(crate) fn row(&self) -> Option<GatewayRow> {
        let mut table = self.gateways.table();
        let entry = self.entry(&mut table)?;
        Some(GatewayRow {
            name: self.name.clone(),
            instance: entry.instance.clone(),
            version: entry.version.clone(),
            revision: entry.revision,
            last_seen_at: record::now(),
            holder: entry.stream.as_ref().map_or(0, |stream| stream.holder),
        })
    }

    /// What it has said of tokens' ends and the store does not know.
    pub(crate) fn untold(&self) -> Vec<(u64, Millis)> {
        let mut table = self.gateways.table();
        let entry = self.entry(&mut table);
        entry
            .and_then(|entry| entry.stream.as_ref())
            .map_or_else(Vec::new, |stream| stream.untold.clone())
    }

    /// The store knows so many of them, the first ones.
    pub(crate) fn told(&self, count: usize) {
        let mut table = self.gateways.table();
        let entry = self.entry(&mut table);
        if let Some(stream) = entry.and_then(|entry| entry.stream.as_mut()) {
            stream.untold.drain(..count.min(stream.untold.len()));
        }
    }

    /// Wakes at every acknowledgement, arrival and departure of anybody.
    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.gateways.subscribe()
    }

    fn entry<'t>(&self, table: &'t mut Table) -> Option<&'t mut Entry> {
        let entry = table.entries.get_mut(&self.name)?;
        let is_ours = entry
            .stream
            .as_ref()
            .is_some_and(|stream| stream.session == self.session);
        is_ours.then_some(entry)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut table = self.gateways.table();
        if let Some(entry) = self.entry(&mut table) {
            entry.stream = None;
            entry.last_seen_at = record::now();
        }
        drop(table);
        self.gateways.changed.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller<'a>(name: &'a str, instance: &'a str) -> Caller<'a> {
        Caller {
            name,
            instance,
            version: "1",
        }
    }

    #[tokio::test]
    async fn a_newer_stream_of_the_same_gateway_replaces_the_older() {
        let gateways = Gateways::new(false);
        let older = gateways.connect(caller("a", "i")).expect("free");
        let newer = gateways.connect(caller("a", "i")).expect("its own");
        older.replaced().await;
        newer.acknowledge(5, &[]);
        older.acknowledge(9, &[]);
        assert_eq!(gateways.acknowledged("a"), Some(5));
        drop(older);
        assert!(gateways.list()[0].connected_since.is_some());
        newer.acknowledge(7, &[]);
        newer.acknowledge(6, &[]);
        assert_eq!(gateways.acknowledged("a"), Some(7));
        drop(newer);
        let list = gateways.list();
        assert_eq!((list[0].revision, list[0].connected_since), (7, None));
    }

    #[test]
    fn two_gateways_of_one_name_are_never_counted_as_one() {
        let gateways = Gateways::new(false);
        let first = gateways.connect(caller("a", "i")).expect("free");
        first.acknowledge(5, &[]);
        assert!(gateways.connect(caller("a", "j")).is_err());
        assert!(!gateways.retire("a"), "it is connected");
        assert_eq!(gateways.acknowledged("a"), Some(5));
        drop(first);
        let second = gateways.connect(caller("a", "j")).expect("free again");
        assert_eq!(gateways.acknowledged("a"), Some(0), "it has said nothing");
        drop(second);
        assert!(gateways.retire("a"));
        assert_eq!(gateways.acknowledged("a"), None);
    }

    #[test]
    fn one_that_the_store_refuses_leaves_what_was_known_before_it() {
        let gateways = Gateways::new(true);
        let refused = gateways.connect(caller("a", "j")).expect("free");
        refused.withdraw();
        assert_eq!(gateways.acknowledged("a"), None);
        let first = gateways.connect(caller("a", "i")).expect("free");
        first.acknowledge(5, &[]);
        drop(first);
        let refused = gateways.connect(caller("a", "j")).expect("free");
        assert_eq!(gateways.acknowledged("a"), Some(0));
        refused.withdraw();
        assert_eq!(gateways.acknowledged("a"), Some(5));
        assert!(gateways.retire("a"), "it is not connected");
    }
}
