//! One table of one store with its key, its accounts and its destinations: replaced whole by a snapshot, changed by deltas.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use prost::Message;

use super::{
    accounts::{Account, Accounts, Draft, Registers},
    table::{Beside, Builder, Entry, Shard, Table, Terms},
};
use crate::{
    clock,
    model::{
        self, AccountId, Change, Destination, DestinationId, DigestKey, Position, Rates, Revision,
        Token,
    },
    rpc::feed,
};

type Destinations = HashMap<DestinationId, Arc<Destination>>;

/// Everything that belongs together: what one key hashed, in one store's count of revisions.
pub(super) struct State {
    pub(super) store: String,
    /// Drawn anew for every snapshot: a log of deltas only ever continues the snapshot it was written after.
    pub(super) lineage: u64,
    pub(super) key: DigestKey,
    pub(super) table: Table,
    pub(super) accounts: Accounts,
    destinations: ArcSwap<Destinations>,
    revision: AtomicU64,
    /// Of the revision; together they are read by writers only.
    history: AtomicU64,
}

/// A snapshot being collected beside the table that serves.
pub struct Collected {
    store: String,
    lineage: u64,
    key: DigestKey,
    table: Builder,
    slots: Draft,
    accounts: Vec<model::Account>,
    destinations: Destinations,
}

/// A state at one revision, to be written down while the table goes on changing.
pub(super) struct Frozen {
    pub(super) store: String,
    pub(super) lineage: u64,
    pub(super) key: DigestKey,
    pub(super) position: Position,
    shards: Vec<Arc<Shard>>,
    ids: Vec<AccountId>,
    accounts: Vec<Arc<Account>>,
    destinations: Arc<Destinations>,
}

/// An order-independent hash of everything in those changes, to compare a directory with a store.
pub fn content_hash(changes: impl IntoIterator<Item = Change>) -> u128 {
    changes.into_iter().fold(0, |sum: u128, change| {
        let hash = blake3::hash(&feed::Change::from(&change).encode_to_vec());
        let mut half = [0; 16];
        half.copy_from_slice(&hash.as_bytes()[..16]);
        sum.wrapping_add(u128::from_le_bytes(half))
    })
}

// === impl State ===

impl State {
    /// Applies changes, in their order for each thing. There must be one writer at a time.
    ///
    /// Destinations come before the accounts that name them and go after; accounts come before their tokens.
    /// The accounts are told, whose rates the caller enforces.
    pub(super) fn apply(&self, changes: Vec<Change>, registers: &Registers) -> Vec<Arc<Account>> {
        let mut accounts = HashMap::new();
        let mut draft = self.accounts.draft();
        let mut entries = Vec::new();
        let mut beside = Beside::new();
        let mut destinations: HashMap<DestinationId, Option<Destination>> = HashMap::new();
        for change in changes {
            match change {
                Change::Account(record) => {
                    let account = registers.attach(record);
                    draft.set(account.record.id, Some(Arc::clone(&account)));
                    accounts.insert(account.record.id, account);
                }
                Change::AccountRemoved(id) => {
                    draft.set(id, None);
                    accounts.remove(&id);
                }
                Change::Destination(destination) => {
                    destinations.insert(destination.id, Some(destination));
                }
                Change::DestinationRemoved(id) => {
                    destinations.insert(id, None);
                }
                Change::Token(token) => {
                    entries.push(Entry::new(&token, draft.slot(token.account)));
                    if Terms::are_of(&token) {
                        beside.insert(token.digest, Terms::from(token));
                    }
                }
            }
        }
        let (came, went): (Vec<_>, Vec<_>) =
            destinations.into_iter().partition(|(_, new)| new.is_some());
        self.change_destinations(came);
        self.accounts.publish(draft);
        self.table.apply(entries, beside);
        self.change_destinations(went);
        accounts.into_values().collect()
    }

    fn change_destinations(&self, changes: Vec<(DestinationId, Option<Destination>)>) {
        if changes.is_empty() {
            return;
        }
        let mut map = Destinations::clone(&self.destinations.load());
        for (id, change) in changes {
            match change {
                // One that is stated again as it was keeps its identity, and with it its connections.
                Some(new) if map.get(&id).is_some_and(|old| **old == new) => {}
                Some(new) => {
                    map.insert(id, Arc::new(new));
                }
                None => {
                    map.remove(&id);
                }
            }
        }
        self.destinations.store(Arc::new(map));
    }

    /// The destination of that number.
    pub(super) fn destination(&self, id: DestinationId) -> Option<Arc<Destination>> {
        self.destinations.load().get(&id).cloned()
    }

    /// The last revision applied.
    pub(super) fn revision(&self) -> Revision {
        Revision(self.revision.load(Ordering::Acquire))
    }

    /// The last revision applied, and its history. Torn while a writer runs.
    pub(super) fn position(&self) -> Position {
        Position {
            revision: self.revision(),
            history: self.history.load(Ordering::Acquire),
        }
    }

    /// Says that everything up to there is applied.
    pub(super) fn reached(&self, position: Position) {
        self.history.store(position.history, Ordering::Release);
        self.revision.store(position.revision.0, Ordering::Release);
    }

    /// Everything as it is now. One revision only while no writer runs.
    pub(super) fn freeze(&self) -> Frozen {
        Frozen {
            store: self.store.clone(),
            lineage: self.lineage,
            key: self.key.clone(),
            position: self.position(),
            shards: self.table.shards(),
            ids: self.accounts.ids(),
            accounts: self.accounts.all(),
            destinations: self.destinations.load_full(),
        }
    }
}

// === impl Collected ===

impl Collected {
    /// Nothing yet, of that store and that key; `tokens` is about how many to expect.
    pub fn new(store: &str, key: DigestKey, tokens: u64) -> Self {
        let lineage = getrandom::u64().unwrap_or_else(|_| clock::wall().as_nanos() as u64);
        Self {
            store: store.to_owned(),
            lineage,
            key,
            table: Builder::new(tokens),
            slots: Accounts::default().draft(),
            accounts: Vec::new(),
            destinations: HashMap::new(),
        }
    }

    /// The same, continuing what was kept.
    pub(super) fn kept(mut self, lineage: u64) -> Self {
        self.lineage = lineage;
        self
    }

    /// Takes one row. Of rows of one thing the last stays; a removal removes nothing that comes later.
    pub fn push(&mut self, change: Change) {
        match change {
            Change::Token(token) => {
                let slot = self.slots.slot(token.account);
                self.table.push(Entry::new(&token, slot));
                if Terms::are_of(&token) {
                    self.table.set_terms(token.digest, Terms::from(token));
                }
            }
            Change::Account(record) => self.accounts.push(record),
            Change::AccountRemoved(id) => self.accounts.retain(|account| account.id != id),
            Change::Destination(destination) => {
                self.destinations
                    .insert(destination.id, Arc::new(destination));
            }
            Change::DestinationRemoved(id) => {
                self.destinations.remove(&id);
            }
        }
    }

    /// Tokens pushed.
    pub fn tokens(&self) -> u64 {
        self.table.pushed() as u64
    }

    /// Builds the table and puts `beside` on top. CPU work: a second at ten million tokens.
    pub(super) fn build(
        mut self,
        beside: Vec<Change>,
        position: Position,
        before: Option<&State>,
        registers: &Registers,
    ) -> State {
        for record in self.accounts {
            self.slots.set(record.id, Some(registers.attach(record)));
        }
        let accounts = Accounts::default();
        accounts.publish(self.slots);
        if let Some(before) = before {
            for (id, destination) in &mut self.destinations {
                if let Some(old) = before.destination(*id).filter(|old| old == destination) {
                    *destination = old;
                }
            }
        }
        let state = State {
            store: self.store,
            lineage: self.lineage,
            key: self.key,
            table: self.table.build(),
            accounts,
            destinations: ArcSwap::from_pointee(self.destinations),
            revision: AtomicU64::new(position.revision.0),
            history: AtomicU64::new(position.history),
        };
        if !beside.is_empty() {
            // It may yet be refused.
            let _ = state.apply(beside, registers);
        }
        state
    }
}

// === impl Frozen ===

impl Frozen {
    /// Tokens in all.
    pub(super) fn tokens(&self) -> u64 {
        self.shards
            .iter()
            .map(|shard| shard.entries().len() as u64)
            .sum()
    }

    /// Every destination; these hold credentials.
    pub(super) fn destinations(&self) -> impl Iterator<Item = Change> {
        let destinations = self.destinations.values();
        destinations.map(|destination| Change::Destination(Destination::clone(destination)))
    }

    /// Every account, then every token in digest order.
    pub(super) fn accounts_and_tokens(&self) -> impl Iterator<Item = Change> {
        let accounts = self.accounts.iter();
        let entries = self.shards.iter().flat_map(|shard| {
            let entries = shard.entries().iter();
            entries.map(move |entry| (shard, entry))
        });
        accounts
            .map(|account| Change::Account(account.record.clone()))
            .chain(
                entries.filter_map(|(shard, entry)| Some(Change::Token(self.token(shard, entry)?))),
            )
    }

    fn token(&self, shard: &Shard, entry: &Entry) -> Option<Token> {
        let Terms { sources, rates } = shard.terms(entry);
        Some(Token {
            id: entry.token(),
            digest: entry.digest(),
            account: *self.ids.get(entry.slot() as usize)?,
            signal: entry.signal(),
            state: entry.state(),
            expires_at: entry.expires_at(),
            sources,
            rates: rates.map_or_else(Rates::default, |rates| *rates),
        })
    }
}
