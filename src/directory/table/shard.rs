//! An immutable piece of the table: entries sorted by digest, and where each bucket of them starts.

use super::Entry;
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
    /// Of entries sorted by digest, each digest once.
    pub(crate) fn from_sorted(entries: Vec<Entry>) -> Self {
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

    /// A copy with those changes (sorted, each digest once) inserted or replaced.
    pub(crate) fn merged(&self, changes: &[Entry]) -> Self {
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
        Self::from_sorted(entries)
    }

    /// In digest order.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Bytes of the shard and what it holds, by account.
    pub(crate) fn heap_bytes(&self) -> usize {
        // Two counters stand before the shard in its `Arc`.
        size_of_val(&*self.entries) + size_of_val(&*self.starts) + size_of::<Self>() + 16
    }
}
