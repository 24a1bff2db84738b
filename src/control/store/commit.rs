//! A commit: what it writes is one transaction, and what gateways must know of it goes out before the next one begins.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint},
};
use serde_json::Value;
use tokio::sync::OwnedMutexGuard;

use super::{
    Sealer, Store, Writer, audit,
    bounds::Counted,
    database::{Connection, query},
    positive, seal, signed,
};
use crate::{
    control::{
        Error,
        publish::{Published, Publisher},
        record::{self, Who},
    },
    model::{Change, Digest, DigestKey, Secret, TokenKind},
    rpc::feed,
};

/// Field number of `FromControl.delta`.
const DELTA_FIELD: u32 = 5;
/// Old deltas are dropped once in so many commits.
const PRUNE_EVERY: u64 = 256;

/// A transaction that holds the store's only writer. Dropped without [`Commit::finish`], it has changed nothing.
pub(crate) struct Commit {
    writer: OwnedMutexGuard<Writer>,
    publisher: Arc<Publisher>,
    pub(super) sealer: Arc<Sealer>,
    pub(super) digest_key: DigestKey,
    who: Who,
    keep_changes: u64,
    pub(super) now: record::Millis,
    changes: Vec<Change>,
    stamps: Vec<(Table, u64)>,
    pub(super) counted: Counted,
    audit: Vec<audit::Entry>,
}

/// Tables whose rows carry the revision that last changed them.
#[derive(Clone, Copy)]
pub(super) enum Table {
    Destinations,
    Accounts,
    Tokens,
}

// === impl Store ===

impl Store {
    /// Waits for the writer. `who` asks, for the audit log.
    pub(crate) async fn begin(&self, who: impl Into<Who>) -> Result<Commit, Error> {
        let mut writer = self.writer.clone().lock_owned().await;
        if writer.is_open {
            // After a COMMIT that failed there may be nothing to roll back; BEGIN below says if it mattered.
            let _ = query("ROLLBACK").execute(writer.connection()?).await;
        }
        writer.is_open = true;
        if let Err(error) = query("BEGIN IMMEDIATE").execute(writer.connection()?).await {
            writer.is_open = false;
            return Err(error);
        }
        Ok(Commit {
            writer,
            publisher: self.publisher.clone(),
            sealer: self.sealer.clone(),
            digest_key: self.digest_key.clone(),
            who: who.into(),
            keep_changes: self.keep_changes,
            now: record::now(),
            changes: Vec::new(),
            stamps: Vec::new(),
            counted: Counted::new(),
            audit: Vec::new(),
        })
    }
}

// === impl Writer ===

impl Writer {
    fn connection(&mut self) -> Result<&mut Connection, Error> {
        self.connection.as_mut().ok_or(Error::Closed)
    }
}

// === impl Commit ===

impl Commit {
    /// Inside the transaction.
    pub(super) fn connection(&mut self) -> Result<&mut Connection, Error> {
        self.writer.connection()
    }

    /// The next number of that counter; never given twice.
    pub(super) async fn next_id(&mut self, counter: &'static str) -> Result<u64, Error> {
        next(self.connection()?, counter).await
    }

    /// A new token with its digest.
    pub(super) fn mint(&self, kind: TokenKind) -> (Secret, Digest) {
        let token = kind.mint(seal::fill);
        let digest = self.digest_key.digest(token.reveal().as_bytes());
        (token, digest)
    }

    /// What gateways must apply, in order.
    pub(super) fn change(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// The row gets this commit's revision.
    pub(super) fn stamp(&mut self, table: Table, id: u64) {
        self.stamps.push((table, id));
    }

    /// Who commits.
    pub(super) fn who(&self) -> &Who {
        &self.who
    }

    /// For the audit log; `old` and `new` hold no secret. The account it concerns is read from them.
    pub(super) fn note(
        &mut self,
        action: &'static str,
        subject: String,
        old: Option<Value>,
        new: Option<Value>,
    ) {
        let account = audit::account_of(&subject, old.as_ref(), new.as_ref());
        self.note_of(account, action, subject, old, new);
    }

    /// The same for what concerns that account.
    pub(crate) fn note_of(
        &mut self,
        account: Option<u64>,
        action: &'static str,
        subject: String,
        old: Option<Value>,
        new: Option<Value>,
    ) {
        self.audit.push(audit::Entry {
            account,
            action,
            subject,
            old,
            new,
        });
    }

    /// Takes the revision, commits, and hands the delta out.
    ///
    /// Runs to its end even if the caller stops waiting: a commit that happened must be published.
    pub(crate) async fn finish(mut self) -> Result<Published, Error> {
        self.within_plans().await?;
        settle(tokio::spawn(self.commit_and_publish())).await
    }

    /// Commits what gateways need not know: audit records alone.
    pub(crate) async fn finish_unpublished(mut self) -> Result<(), Error> {
        settle(tokio::spawn(async move {
            let revision = super::counter(self.connection()?, "revision").await?;
            self.append_audit(revision).await?;
            self.commit().await
        }))
        .await
    }

    async fn commit_and_publish(mut self) -> Result<Published, Error> {
        // Last of all rows, so that with several writers it is held for the shortest time.
        let revision = next(self.connection()?, "revision").await?;
        let delta = feed::Delta {
            revision,
            changes: self.changes.iter().map(Into::into).collect(),
            history: u64::from_le_bytes(seal::random()).max(1),
        };
        let delta = delta.encode_to_vec();
        for (table, id) in std::mem::take(&mut self.stamps) {
            let update = match table {
                Table::Destinations => "UPDATE destinations SET revision = $1 WHERE id = $2",
                Table::Accounts => "UPDATE accounts SET revision = $1 WHERE id = $2",
                Table::Tokens => "UPDATE shipping_tokens SET revision = $1 WHERE id = $2",
            };
            query(update)
                .bind(signed(revision))
                .bind(signed(id))
                .execute(self.connection()?)
                .await?;
        }
        let sealed = self.sealer.seal(&format!("change/{revision}"), &delta);
        let now = signed(self.now);
        query("INSERT INTO changes (revision, delta, at) VALUES ($1, $2, $3)")
            .bind(signed(revision))
            .bind(sealed)
            .bind(now)
            .execute(self.connection()?)
            .await?;
        if revision.is_multiple_of(PRUNE_EVERY) {
            let until = revision.saturating_sub(self.keep_changes);
            query("DELETE FROM changes WHERE revision <= $1")
                .bind(signed(until))
                .execute(self.connection()?)
                .await?;
        }
        self.append_audit(revision).await?;
        self.commit().await?;
        Ok(self.publisher.publish(revision, framed(&delta)))
    }

    async fn append_audit(&mut self, revision: u64) -> Result<(), Error> {
        let (who, now) = (self.who.clone(), self.now);
        for entry in std::mem::take(&mut self.audit) {
            let seq = self.next_id("audit").await?;
            audit::append(self.connection()?, seq, revision, now, &who, entry).await?;
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), Error> {
        query("COMMIT").execute(self.connection()?).await?;
        self.writer.is_open = false;
        Ok(())
    }
}

async fn settle<T>(task: tokio::task::JoinHandle<Result<T, Error>>) -> Result<T, Error> {
    match task.await {
        Ok(outcome) => outcome,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Error::Closed),
    }
}

async fn next(connection: &mut Connection, counter: &'static str) -> Result<u64, Error> {
    let value: i64 = query("UPDATE counters SET value = value + 1 WHERE name = $1 RETURNING value")
        .bind(counter)
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
