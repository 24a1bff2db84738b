//! An immutable piece of the table: entries sorted by digest, and where each bucket of them starts.

use super::{Beside, Entry};
use crate::model::{Digest, Sources};

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
    /// Of the entries that are restricted, sorted by digest. Few tokens are: the others pay nothing.
    sources: Box<[(Digest, Sources)]>,
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
    /// Of entries sorted by digest, each digest once; `beside` holds the sources of those that are restricted.
    pub(crate) fn from_sorted(entries: Vec<Entry>, beside: &mut Beside) -> Self {
        let restricted = entries.iter().filter(|entry| entry.is_restricted());
        let sources = restricted.filter_map(|entry| beside.remove_entry(&entry.digest()));
        let sources = sources.collect();
        Self::of(entries, sources)
    }

    fn of(entries: Vec<Entry>, sources: Vec<(Digest, Sources)>) -> Self {
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
            sources: sources.into_boxed_slice(),
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

    /// Where an entry of this shard may be used from. Restricted, and by nothing that is known, is nowhere.
    #[inline]
    pub(crate) fn sources(&self, entry: &Entry) -> Sources {
        if !entry.is_restricted() {
            return Sources::ANYWHERE;
        }
        let digest = entry.digest();
        let found = self.sources.binary_search_by_key(&digest, |(of, _)| *of);
        found.map_or_else(|_| Sources::only([]), |at| self.sources[at].1.clone())
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
        Self::of(entries, self.merged_sources(changes, beside))
    }

    fn merged_sources(&self, changes: &[Entry], beside: &mut Beside) -> Vec<(Digest, Sources)> {
        let stays = |digest: &Digest| {
            let changed = changes.binary_search_by_key(digest, Entry::digest);
            changed.is_err()
        };
        let mut sources: Vec<_> = self
            .sources
            .iter()
            .filter(|(digest, _)| stays(digest))
            .cloned()
            .collect();
        let restricted = changes.iter().filter(|change| change.is_restricted());
        sources.extend(restricted.filter_map(|change| beside.remove_entry(&change.digest())));
        sources.sort_unstable_by_key(|(digest, _)| *digest);
        sources
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
            .sources
            .iter()
            .map(|(_, of)| 16 + size_of_val(of.networks()));
        shard + size_of_val(&*self.sources) + networks.sum::<usize>()
    }
}
