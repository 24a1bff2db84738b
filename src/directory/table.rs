//! Every token: 4,096 immutable shards, each behind its own `ArcSwap`. A reader does one load, reads one place of the index
//! and scans one or two cache lines; a change copies one shard, a few thousand entries at ten million tokens.
//!
//! Shard and bucket are the leading bits of a keyed digest, which nobody without the key can steer.

mod entry;
mod shard;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;

pub(super) use entry::{Entry, SLOT_NONE, Terms};
pub(super) use shard::Shard;

use crate::model::Digest;

/// Enough that a shard of ten million tokens is copied in some ten microseconds.
pub(super) const SHARDS: usize = 1 << shard::SHARD_BITS;

/// Room is made beforehand for no more than this many, whatever was announced.
const ANNOUNCED_MAX: usize = 16 << 20;

/// The terms of entries that have some, on their way into the shards.
pub(super) type Beside = HashMap<Digest, Terms>;

/// All entries, by digest.
pub(super) struct Table {
    shards: Box<[ArcSwap<Shard>]>,
    len: AtomicUsize,
}

/// Collects entries in any order, then becomes a [`Table`]. Of entries with one digest the last pushed stays.
pub(super) struct Builder {
    shards: Vec<Vec<Entry>>,
    beside: Beside,
    pushed: usize,
}

// === impl Table ===

impl Table {
    /// A table without entries.
    pub(super) fn new() -> Self {
        let empty = Arc::new(Shard::default());
        Self {
            shards: (0..SHARDS)
                .map(|_| ArcSwap::new(Arc::clone(&empty)))
                .collect(),
            len: AtomicUsize::new(0),
        }
    }

    /// The entry of that digest, and its terms. Never waits.
    #[inline]
    pub(super) fn look_up(&self, digest: &Digest) -> Option<(Entry, Terms)> {
        let shard = self.shards[shard::number(digest)].load();
        let entry = shard.find(digest)?;
        Some((entry, shard.terms(&entry)))
    }

    /// The entry of that digest alone.
    #[cfg(test)]
    #[inline]
    pub(super) fn find(&self, digest: &Digest) -> Option<Entry> {
        self.shards[shard::number(digest)].load().find(digest)
    }

    /// Inserts or replaces; of changes with one digest the last wins. There must be one writer at a time.
    pub(super) fn apply(&self, mut changes: Vec<Entry>, mut beside: Beside) {
        sort_and_dedup(&mut changes);
        for group in
            changes.chunk_by(|a, b| shard::number(&a.digest()) == shard::number(&b.digest()))
        {
            let place = &self.shards[shard::number(&group[0].digest())];
            let before = place.load_full();
            let after = before.merged(group, &mut beside);
            self.len.fetch_add(
                after.entries().len() - before.entries().len(),
                Ordering::Relaxed,
            );
            place.store(Arc::new(after));
        }
    }

    /// How many entries.
    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Every shard as it is now, in digest order. One moment of the whole table only while no writer runs.
    pub(super) fn shards(&self) -> Vec<Arc<Shard>> {
        self.shards.iter().map(ArcSwap::load_full).collect()
    }

    /// How many entries are such.
    pub(super) fn count(&self, is_such: impl Fn(&Entry) -> bool) -> usize {
        let such = |shard: &ArcSwap<Shard>| {
            let shard = shard.load();
            shard.entries().iter().filter(|it| is_such(it)).count()
        };
        self.shards.iter().map(such).sum()
    }

    /// How many entries that are such are not found in the other table, or are there and not such any more.
    pub(super) fn count_missing(
        &self,
        was_such: impl Fn(&Entry) -> bool,
        other: &Self,
        is_such: impl Fn(&Entry) -> bool,
    ) -> usize {
        let mut missing = 0;
        for (mine, theirs) in self.shards.iter().zip(&other.shards) {
            let (mine, theirs) = (mine.load(), theirs.load());
            let were = mine.entries().iter().filter(|entry| was_such(entry));
            missing += were
                .filter(|entry| !theirs.find(&entry.digest()).is_some_and(|it| is_such(&it)))
                .count();
        }
        missing
    }

    /// Heap bytes by account: entries, indexes, and what holds them.
    pub(super) fn heap_bytes(&self) -> usize {
        let shards: usize = self.shards.iter().map(|s| s.load().heap_bytes()).sum();
        shards + self.shards.len() * size_of::<ArcSwap<Shard>>()
    }
}

/// By digest; of equal digests the last stays. Already sorted input, such as a kept copy's, costs one pass.
fn sort_and_dedup(entries: &mut Vec<Entry>) {
    entries.sort_by_key(Entry::order);
    entries.dedup_by(|later, kept| {
        let same = later.digest() == kept.digest();
        if same {
            *kept = *later;
        }
        same
    });
}

// === impl Builder ===

impl Builder {
    /// With room for about that many entries.
    pub(super) fn new(announced: u64) -> Self {
        let announced = usize::try_from(announced).unwrap_or(usize::MAX);
        // Digests fall evenly: two deviations above the mean are enough for most shards, and the rest grow.
        let mean = announced.min(ANNOUNCED_MAX) / SHARDS;
        Self {
            shards: (0..SHARDS)
                .map(|_| Vec::with_capacity(mean + 2 * mean.isqrt()))
                .collect(),
            beside: Beside::new(),
            pushed: 0,
        }
    }

    /// Takes one more.
    pub(super) fn push(&mut self, entry: Entry) {
        let shard = &mut self.shards[shard::number(&entry.digest())];
        if shard.len() == shard.capacity() {
            // By an eighth: doubling would hold twice the memory just when a second table stands beside the first.
            shard.reserve_exact((shard.len() / 8).max(4));
        }
        shard.push(entry);
        self.pushed += 1;
    }

    /// The terms of an entry that is pushed; of one digest the last stay.
    pub(super) fn set_terms(&mut self, digest: Digest, terms: Terms) {
        self.beside.insert(digest, terms);
    }

    /// How many were pushed, repeated digests included.
    pub(super) fn pushed(&self) -> usize {
        self.pushed
    }

    /// Sorts each shard and builds its index. CPU work: about a second for ten million.
    pub(super) fn build(mut self) -> Table {
        let table = Table::new();
        for (place, mut entries) in table.shards.iter().zip(self.shards) {
            if entries.is_empty() {
                continue;
            }
            sort_and_dedup(&mut entries);
            table.len.fetch_add(entries.len(), Ordering::Relaxed);
            place.store(Arc::new(Shard::from_sorted(entries, &mut self.beside)));
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicBool, thread};

    use proptest::prelude::*;

    use super::*;
    use crate::model::{AccountId, Rates, Signal, Sources, Token, TokenId, TokenState};

    fn entry(digest: [u8; 16], id: u64, state: TokenState) -> Entry {
        let token = Token {
            id: TokenId(id),
            digest: Digest(digest),
            account: AccountId(1),
            signal: Signal::ALL[(id % 3) as usize],
            state,
            expires_at: id as u32,
            sources: Sources::ANYWHERE,
            rates: Rates::default(),
        };
        Entry::new(&token, (id % 1000) as u32)
    }

    fn spread(n: u64) -> [u8; 16] {
        let mut digest = [0; 16];
        digest.copy_from_slice(&blake3::hash(&n.to_le_bytes()).as_bytes()[..16]);
        digest
    }

    /// Digests that collide in shard, in bucket and in neither.
    fn digests() -> impl Strategy<Value = [u8; 16]> {
        prop_oneof![
            any::<[u8; 16]>(),
            (0u8..4, 0u8..4).prop_map(|(a, b)| {
                let mut digest = [7; 16];
                digest[2] = a;
                digest[15] = b;
                digest
            }),
            (0u64..64).prop_map(spread),
        ]
    }

    proptest! {
        #[test]
        fn a_table_equals_a_map_under_any_upserts(
            loaded in prop::collection::vec((digests(), 1u64..1_000_000), 0..200),
            batches in prop::collection::vec(
                prop::collection::vec((digests(), 1u64..1_000_000, 0u8..3), 0..40), 0..12),
            absent in prop::collection::vec(any::<[u8; 16]>(), 0..20),
        ) {
            let mut map = HashMap::new();
            let mut builder = Builder::new(loaded.len() as u64);
            for (digest, id) in loaded {
                let entry = entry(digest, id, TokenState::Live);
                builder.push(entry);
                map.insert(digest, entry);
            }
            let table = builder.build();
            for batch in batches {
                let mut changes = Vec::new();
                for (digest, id, state) in batch {
                    let state = [TokenState::Live, TokenState::Disabled, TokenState::Revoked][usize::from(state)];
                    let entry = entry(digest, id, state);
                    changes.push(entry);
                    map.insert(digest, entry);
                }
                table.apply(changes, Beside::new());
                prop_assert_eq!(table.len(), map.len());
            }
            for (digest, entry) in &map {
                prop_assert_eq!(table.find(&Digest(*digest)), Some(*entry));
            }
            for digest in absent {
                prop_assert_eq!(table.find(&Digest(digest)), map.get(&digest).copied());
            }
            let mut listed = 0;
            for shard in table.shards() {
                for entry in shard.entries() {
                    prop_assert_eq!(Some(entry), map.get(&entry.digest().0));
                    listed += 1;
                }
            }
            prop_assert_eq!(listed, map.len());
        }
    }

    #[test]
    fn a_shard_past_what_its_index_counts_still_finds_everything() {
        let crowd = |n: u32| {
            let mut digest = [0; 16];
            digest[2..6].copy_from_slice(&n.wrapping_mul(2_654_435_761).to_be_bytes());
            digest
        };
        let mut builder = Builder::new(0);
        for n in 0..200_000 {
            builder.push(entry(crowd(n), u64::from(n) + 1, TokenState::Live));
        }
        let table = builder.build();
        assert_eq!(table.len(), 200_000);
        for n in 0..200_000 {
            let found = table.find(&Digest(crowd(n))).expect("there");
            assert_eq!(found.token(), TokenId(u64::from(n) + 1));
        }
        assert!(table.find(&Digest(crowd(200_000))).is_none());
    }

    #[test]
    fn an_entry_costs_thirty_two_bytes_and_its_index_half_a_byte() {
        let mut builder = Builder::new(500_000);
        for n in 0..500_000 {
            builder.push(entry(spread(n), n + 1, TokenState::Live));
        }
        let table = builder.build();
        let bytes = table.heap_bytes() as f64 / 500_000.0;
        assert!(bytes < 33.5, "{bytes} bytes per token");
    }

    #[test]
    fn an_entry_pays_for_its_terms_and_no_other_entry_does() {
        let mut builder = Builder::new(100_000);
        let restricted = |n: u64| Token {
            id: TokenId(n + 1),
            digest: Digest(spread(n)),
            account: AccountId(1),
            signal: Signal::Logs,
            state: TokenState::Live,
            expires_at: 0,
            sources: Sources::only(["192.0.2.0/24".parse().expect("a network")]),
            rates: Rates::default(),
        };
        for n in 0..100_000 {
            builder.push(entry(spread(n), n + 1, TokenState::Live));
        }
        let plain = builder.build();
        let before = plain.heap_bytes();
        let changes: Vec<_> = (0..1_000).map(restricted).collect();
        let entries = changes.iter().map(|token| Entry::new(token, 1)).collect();
        let beside = changes
            .into_iter()
            .map(|token| (token.digest, Terms::from(token)));
        plain.apply(entries, beside.collect());
        let cost = plain.heap_bytes() - before;
        assert!(
            (32_000..80_000).contains(&cost),
            "{cost} bytes for a thousand"
        );
        let (found, terms) = plain.look_up(&Digest(spread(7))).expect("there");
        assert!(found.has_terms() && terms.sources.is_restricted());
        let (found, terms) = plain.look_up(&Digest(spread(1_000))).expect("there");
        assert!(!found.has_terms() && terms == Terms::NONE);
    }

    #[test]
    fn readers_never_see_a_torn_or_foreign_entry_nor_an_older_one() {
        const TOKENS: u64 = 64;
        // One shard, so that every write swaps what every reader reads.
        let digest = |n: u64| {
            let mut digest = spread(n);
            digest[0] = 1;
            digest[1] &= 0x0F;
            digest
        };
        let table = Arc::new(Table::new());
        table.apply(
            (0..TOKENS)
                .map(|n| entry(digest(n), 1 + n, TokenState::Live))
                .collect(),
            Beside::new(),
        );
        let done = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (table, done) = (Arc::clone(&table), Arc::clone(&done));
                thread::spawn(move || {
                    let mut newest = [0; TOKENS as usize];
                    let mut reads = 0u64;
                    while !done.load(Ordering::Relaxed) {
                        for n in 0..TOKENS {
                            let digest = Digest(digest(n));
                            let found = table.find(&digest).expect("never gone");
                            let id = found.token().0;
                            assert_eq!(found.digest(), digest);
                            assert_eq!((id - 1) % TOKENS, n, "foreign");
                            assert_eq!(found, entry(digest.0, id, TokenState::Live), "torn");
                            assert!(id >= newest[n as usize], "backward");
                            newest[n as usize] = id;
                            reads += 1;
                        }
                    }
                    reads
                })
            })
            .collect();
        for round in 1..20_000 {
            let n = round % TOKENS;
            let id = 1 + n + round / TOKENS * TOKENS;
            table.apply(vec![entry(digest(n), id, TokenState::Live)], Beside::new());
        }
        done.store(true, Ordering::Relaxed);
        let reads: u64 = readers
            .into_iter()
            .map(|reader| reader.join().expect("a reader saw something wrong"))
            .sum();
        println!("{reads} reads against 20000 swaps");
        assert!(reads > 0);
    }

    #[test]
    fn dropped_live_entries_are_counted() {
        let (mut old, mut new) = (Builder::new(10), Builder::new(10));
        for n in 0..10 {
            old.push(entry(spread(n), n + 1, TokenState::Live));
            let state = if n < 3 {
                TokenState::Revoked
            } else {
                TokenState::Live
            };
            if n != 9 {
                new.push(entry(spread(n), n + 1, state));
            }
        }
        let (old, new) = (old.build(), new.build());
        let is_live = |entry: &Entry| entry.state() == TokenState::Live;
        assert_eq!(old.count_missing(is_live, &new, is_live), 4);
        assert_eq!(new.count_missing(is_live, &old, is_live), 0);
        assert_eq!((old.count(is_live), new.count(is_live)), (10, 6));
    }
}
