//! An immutable piece of the table: entries sorted by digest, and where each bucket of them starts.

use super::{Beside, Entry, Terms};
use crate::model::Digest;

/// Leading digest bits that choose the shard.
pub(crate) const SHARD_BITS: u32 = 12;

/// Two bytes of index for four entries: two cache lines to scan, as fast as one line and an index twice as large.
const ENTRIES_PER_BUCKET: usize = 4;

/// Sorted entries with an index and no empty place.
#[derive(Default)]
pub(crate) struct Shard {
    entries: Box<[Entry]>,
    /// Buckets + 1 positions in `entries`, each shifted right by `coarse`; none when there are no entries.
    starts: Box<[u16]>,
    /// 0 up to 65,535 entries (268 million tokens); past that buckets overlap a little, and still hold all they should.
    coarse: u32,
    /// Of the entries that have some, sorted by digest.
    terms: Box<[(Digest, Terms)]>,
}

/// The shard that holds a digest.
#[inline]
pub(crate) fn number(digest: &Digest) -> usize {
    (head(digest) >> (64 - SHARD_BITS)) as usize
}

#[inline]
fn head(digest: &Digest) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = digest.0;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// The 32 bits after the shard's, scaled to the number of buckets: rises with the digest.
#[inline]
fn bucket(digest: &Digest, buckets: usize) -> usize {
    let within = head(digest) << SHARD_BITS >> 32;
    ((within * buckets as u64) >> 32) as usize
}

impl Shard {
    /// Of entries sorted by digest, each digest once; `beside` holds the terms of those that have some.
    pub(crate) fn from_sorted(entries: Vec<Entry>, beside: &mut Beside) -> Self {
        let with_terms = entries.iter().filter(|entry| entry.has_terms());
        let terms = with_terms.filter_map(|entry| beside.remove_entry(&entry.digest()));
        let terms = terms.collect();
        Self::of(entries, terms)
    }

    fn of(entries: Vec<Entry>, terms: Vec<(Digest, Terms)>) -> Self {
        let len = entries.len();
        if len == 0 {
            return Self::default();
        }
        let coarse = (usize::BITS - (len >> 16).leading_zeros()).min(31);
        // Past 2^32 entries in one shard buckets would stop rising; memory ends long before.
        let buckets = (len / ENTRIES_PER_BUCKET).max(1);
        let start = |at: usize| u16::try_from(at >> coarse).unwrap_or(u16::MAX);
        let mut starts = Vec::with_capacity(buckets + 1);
        for (at, entry) in entries.iter().enumerate() {
            let bucket = bucket(&entry.digest(), buckets);
            while starts.len() <= bucket {
                starts.push(start(at));
            }
        }
        starts.resize(buckets + 1, start(len));
        Self {
            entries: entries.into_boxed_slice(),
            starts: starts.into_boxed_slice(),
            coarse,
            terms: terms.into_boxed_slice(),
        }
    }

    /// The entry of that digest.
    #[inline]
    pub(crate) fn find(&self, digest: &Digest) -> Option<Entry> {
        let buckets = self.starts.len().checked_sub(1)?;
        let bucket = bucket(digest, buckets);
        let from = usize::from(self.starts[bucket]) << self.coarse;
        let past = usize::from(self.coarse != 0);
        let to = (usize::from(self.starts[bucket + 1]) + past) << self.coarse;
        self.entries
            .get(from..to.min(self.entries.len()))?
            .iter()
            .find(|entry| entry.digest() == *digest)
            .copied()
    }

    /// The terms of an entry of this shard.
    #[inline]
    pub(crate) fn terms(&self, entry: &Entry) -> Terms {
        if !entry.has_terms() {
            return Terms::NONE;
        }
        let digest = entry.digest();
        let found = self.terms.binary_search_by_key(&digest, |(of, _)| *of);
        found.map_or_else(|_| Terms::unknown(), |at| self.terms[at].1.clone())
    }

    /// A copy with those changes (sorted, each digest once) inserted or replaced.
    pub(crate) fn merged(&self, changes: &[Entry], beside: &mut Beside) -> Self {
        let new = changes
            .iter()
            .filter(|change| self.find(&change.digest()).is_none())
            .count();
        let mut entries = Vec::with_capacity(self.entries.len() + new);
        let mut rest = &self.entries[..];
        for change in changes {
            let (before, after) =
                rest.split_at(rest.partition_point(|entry| entry.order() < change.order()));
            entries.extend_from_slice(before);
            entries.push(*change);
            let replaced = after
                .first()
                .is_some_and(|entry| entry.digest() == change.digest());
            rest = &after[usize::from(replaced)..];
        }
        entries.extend_from_slice(rest);
        Self::of(entries, self.merged_terms(changes, beside))
    }

    fn merged_terms(&self, changes: &[Entry], beside: &mut Beside) -> Vec<(Digest, Terms)> {
        let stays = |digest: &Digest| {
            let changed = changes.binary_search_by_key(digest, Entry::digest);
            changed.is_err()
        };
        let mut terms: Vec<_> = self
            .terms
            .iter()
            .filter(|(digest, _)| stays(digest))
            .cloned()
            .collect();
        let with_terms = changes.iter().filter(|change| change.has_terms());
        terms.extend(with_terms.filter_map(|change| beside.remove_entry(&change.digest())));
        terms.sort_unstable_by_key(|(digest, _)| *digest);
        terms
    }

    /// In digest order.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Bytes of the shard and what it holds, by account.
    pub(crate) fn heap_bytes(&self) -> usize {
        // Two counters stand before the shard in its `Arc`.
        let shard =
            size_of_val(&*self.entries) + size_of_val(&*self.starts) + size_of::<Self>() + 16;
        let networks = self
            .terms
            .iter()
            .map(|(_, of)| 16 + size_of_val(of.sources.networks()) + of.rates_bytes());
        shard + size_of_val(&*self.terms) + networks.sum::<usize>()
    }
}
