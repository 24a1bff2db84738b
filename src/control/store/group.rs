//! Works that commit together: one revision, one delta with every change in order, every audit record, one COMMIT.

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{BufMut, Bytes, BytesMut};
use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint},
};
use tokio::sync::oneshot;

use super::{
    Sealer, answers, audit, counter,
    database::{Connection, query},
    positive, seal, signed,
};
use crate::{
    control::{
        Error,
        publish::{Published, Publisher},
        record::{self, Who},
    },
    model::{Change, Digest},
    rpc::feed,
};

/// Works in a commit at most.
const WORKS_MAX: usize = 64;
/// What a delta may have grown to before another work joins it: with that one it must still be a message.
const BYTES_MAX: usize = 128 << 10;
/// How long the first work that is done waits for others at most. Other control planes wait as well.
pub(super) const OPEN_MAX: Duration = Duration::from_millis(10);
/// Rows stamped by one statement at most.
const STAMPS_MAX: usize = 64;
/// Old deltas are dropped once in so many commits.
const PRUNE_EVERY: u64 = 256;
/// Field number of `FromControl.delta`.
const DELTA_FIELD: u32 = 5;

/// What became of a work; no commit that was published when it asked for none.
pub(super) type Outcome = Result<Option<Published>, Error>;

/// Tables whose rows carry the revision that last changed them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    Destinations,
    Accounts,
    Tokens,
}

/// One caller's changes, made in the transaction and not yet committed.
pub(super) struct Work {
    pub(super) who: Who,
    pub(super) at: record::Millis,
    /// Whether gateways must know of it.
    pub(super) is_published: bool,
    pub(super) changes: Vec<Change>,
    pub(super) stamps: Vec<(Table, u64)>,
    pub(super) audit: Vec<audit::Entry>,
    /// Live tokens that it takes away, and nobody has confirmed.
    pub(super) dropped: u64,
    /// Those that it takes away, whoever has confirmed it.
    pub(super) ended: u64,
    /// An answer that was written down with it.
    pub(super) answer: Option<Digest>,
}

/// Works of one transaction, in the order in which they were done.
pub(super) struct Group {
    since: Instant,
    is_published: bool,
    changes: Vec<feed::Change>,
    bytes: usize,
    stamps: Vec<(Table, u64)>,
    answers: Vec<Digest>,
    audit: Vec<(Who, record::Millis, Vec<audit::Entry>)>,
    dropped: u64,
    waiting: Vec<oneshot::Sender<Outcome>>,
}

/// What a group writes by.
pub(super) struct Terms {
    pub(super) sealer: Arc<Sealer>,
    pub(super) publisher: Arc<Publisher>,
    pub(super) keep_changes: u64,
    pub(super) open_max: Duration,
    /// Where other control planes listen; `None` where there are none.
    pub(super) channel: Option<String>,
}

// === impl Group ===

impl Group {
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            is_published: false,
            changes: Vec::new(),
            bytes: 0,
            stamps: Vec::new(),
            answers: Vec::new(),
            audit: Vec::new(),
            dropped: 0,
            waiting: Vec::new(),
        }
    }

    /// No work is in it yet.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What its works take away together.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Nobody else is waited for.
    pub(super) fn is_full(&self, open_max: Duration) -> bool {
        self.waiting.len() >= WORKS_MAX
            || self.bytes >= BYTES_MAX
            || self.since.elapsed() >= open_max
    }

    /// Takes a work in; its caller hears what becomes of it.
    pub(super) fn join(&mut self, work: Work) -> oneshot::Receiver<Outcome> {
        if self.is_empty() {
            self.since = Instant::now();
        }
        self.is_published |= work.is_published;
        for change in &work.changes {
            let change = feed::Change::from(change);
            self.bytes += change.encoded_len();
            self.changes.push(change);
        }
        self.stamps.extend(work.stamps);
        // One that gateways need not know of has no revision, whoever it commits with.
        self.answers
            .extend(work.answer.filter(|_| work.is_published));
        self.audit.push((work.who, work.at, work.audit));
        self.dropped += work.dropped;
        let (outcome, heard) = oneshot::channel();
        self.waiting.push(outcome);
        heard
    }

    /// Tells everybody the same.
    pub(super) fn tell(self, outcome: Result<Option<Published>, Arc<Error>>) {
        for waiting in self.waiting {
            // Who has gone doesn't need to know.
            let _ = waiting.send(outcome.clone().map_err(Error::Together));
        }
    }

    /// Everything but the COMMIT. The revision and its delta, if there is something that gateways must know.
    pub(super) async fn write(
        &mut self,
        connection: &mut Connection,
        terms: &Terms,
    ) -> Result<Option<(u64, Bytes)>, Error> {
        if !self.is_published {
            let revision = counter(&mut *connection, "revision").await?;
            self.write_audit(connection, revision).await?;
            return Ok(None);
        }
        let revision = next(connection, "revision").await?;
        let head = terms.publisher.head();
        if revision <= head {
            return Err(Error::WentBack {
                ours: head,
                theirs: revision - 1,
            });
        }
        self.write_stamps(connection, revision).await?;
        answers::stamp(connection, revision, mem::take(&mut self.answers)).await?;
        let delta = feed::Delta {
            revision,
            changes: mem::take(&mut self.changes),
            history: u64::from_le_bytes(seal::random()).max(1),
        };
        let delta = delta.encode_to_vec();
        let sealed = terms.sealer.seal(&format!("change/{revision}"), &delta);
        query("INSERT INTO changes (revision, delta, at) VALUES ($1, $2, $3)")
            .bind(signed(revision))
            .bind(sealed)
            .bind(signed(record::now()))
            .execute(&mut *connection)
            .await?;
        if revision.is_multiple_of(PRUNE_EVERY) {
            query("DELETE FROM changes WHERE revision <= $1")
                .bind(signed(revision.saturating_sub(terms.keep_changes)))
                .execute(&mut *connection)
                .await?;
        }
        self.write_audit(connection, revision).await?;
        if let Some(channel) = &terms.channel {
            query("SELECT pg_notify($1, '')")
                .bind(channel)
                .execute(connection)
                .await?;
        }
        Ok(Some((revision, framed(&delta))))
    }

    async fn write_stamps(
        &mut self,
        connection: &mut Connection,
        revision: u64,
    ) -> Result<(), Error> {
        for (table, update) in [
            (
                Table::Destinations,
                "UPDATE destinations SET revision = $ WHERE id IN (",
            ),
            (
                Table::Accounts,
                "UPDATE accounts SET revision = $ WHERE id IN (",
            ),
            (
                Table::Tokens,
                "UPDATE shipping_tokens SET revision = $ WHERE id IN (",
            ),
        ] {
            let stamped = self.stamps.iter().filter(|(of, _)| *of == table);
            let ids: Vec<_> = stamped.map(|(_, id)| signed(*id)).collect();
            let mut rest = ids.as_slice();
            while !rest.is_empty() {
                // In powers of two, so that few statements are prepared.
                let size = (1 << rest.len().ilog2()).min(STAMPS_MAX);
                let (ids, after) = rest.split_at(size);
                rest = after;
                let mut update = query("").and(update, [signed(revision).into()]);
                for (at, id) in ids.iter().enumerate() {
                    update = update.and(if at == 0 { "$" } else { ", $" }, [(*id).into()]);
                }
                update.and(")", []).execute(&mut *connection).await?;
            }
        }
        Ok(())
    }

    async fn write_audit(
        &mut self,
        connection: &mut Connection,
        revision: u64,
    ) -> Result<(), Error> {
        let works = mem::take(&mut self.audit);
        let count: usize = works.iter().map(|(.., entries)| entries.len()).sum();
        if count == 0 {
            return Ok(());
        }
        let newest = skip(connection, "audit", count as u64).await?;
        audit::append(connection, newest - count as u64, revision, works).await
    }
}

/// The next number of that counter; never given twice.
pub(super) async fn next(connection: &mut Connection, counter: &'static str) -> Result<u64, Error> {
    skip(connection, counter, 1).await
}

/// The last of the next `count` numbers, which are the caller's.
pub(super) async fn skip(
    connection: &mut Connection,
    counter: &'static str,
    count: u64,
) -> Result<u64, Error> {
    let value: i64 =
        query("UPDATE counters SET value = value + $2 WHERE name = $1 RETURNING value")
            .bind(counter)
            .bind(signed(count))
            .fetch_one(connection)
            .await?;
    positive(value)
}

/// An encoded `Delta` as the `FromControl` message that every stream sends, so that it is encoded once.
pub(super) fn framed(delta: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(delta.len() + 11);
    encode_key(DELTA_FIELD, WireType::LengthDelimited, &mut message);
    encode_varint(delta.len() as u64, &mut message);
    message.put_slice(delta);
    message.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_framed_delta_reads_as_the_message_it_stands_for() {
        let delta = feed::Delta {
            revision: 300,
            changes: vec![feed::Change::from(&Change::AccountRemoved(
                crate::model::AccountId(9),
            ))],
            history: 7,
        };
        let message = feed::FromControl {
            message: Some(feed::from_control::Message::Delta(delta.clone())),
        };
        assert_eq!(framed(&delta.encode_to_vec()), message.encode_to_vec());
    }
}
