//! Answers that are kept for those who ask again under the same key: written by the transaction that makes what they tell
//! of, so that there is never the one without the other.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use super::{
    Commit, Store,
    database::{Connection, Row, query},
    get_some_u64, get_u64, signed,
};
use crate::{
    control::{
        Error,
        record::{self, Millis},
        terms::Once,
    },
    model::Digest,
};

/// How long they are kept. A day.
const KEPT_MS: Millis = 86_400_000;
/// Rows deleted by one statement.
const PRUNE_ROWS: u32 = 1000;
/// Of the hash that stands before the answer.
const HASH_BYTES: usize = 32;

/// What was answered, but for the revision's effect on gateways.
pub(crate) struct Answer {
    /// Whose account it was made for; `None` is the operators'.
    pub(crate) account: Option<u64>,
    /// `None` where gateways need not know.
    pub(crate) revision: Option<u64>,
    /// Of the request that it answers.
    pub(crate) request: [u8; HASH_BYTES],
    pub(crate) object: Value,
}

/// An answer that its commit will keep.
pub(super) struct Remembered {
    account: Option<u64>,
    object: Vec<u8>,
}

// === impl Store ===

impl Store {
    /// What that key of that caller was answered with, if it was in the last day.
    pub(crate) async fn answer(&self, digest: &Digest) -> Result<Option<Answer>, Error> {
        query("SELECT account_id, revision, sealed FROM answers WHERE digest = $1 AND at > $2")
            .bind(digest.0.to_vec())
            .bind(signed(record::now().saturating_sub(KEPT_MS)))
            .read_optional(&self.reader, |row| self.opened(digest, row))
            .await
    }

    fn opened(&self, digest: &Digest, row: &Row) -> Result<Answer, Error> {
        let damaged = || Error::damaged("a kept answer does not open");
        let sealed: Vec<u8> = row.get("sealed")?;
        let plain = self
            .sealer
            .open(&place(digest), &sealed)
            .ok_or_else(damaged)?;
        let (request, object) = plain
            .split_first_chunk::<HASH_BYTES>()
            .ok_or_else(damaged)?;
        Ok(Answer {
            account: get_some_u64(row, "account_id")?,
            revision: Some(get_u64(row, "revision")?).filter(|revision| *revision != 0),
            request: *request,
            object: serde_json::from_slice(object).map_err(|_| damaged())?,
        })
    }

    /// Deletes those that are past their day.
    pub(crate) async fn prune_answers(&self) -> Result<(), Error> {
        let before = signed(record::now().saturating_sub(KEPT_MS));
        loop {
            let oldest: Option<Option<i64>> = query("SELECT MIN(at) FROM answers")
                .fetch_value(&self.reader)
                .await?;
            if oldest.flatten().is_none_or(|oldest| oldest > before) {
                return Ok(());
            }
            let mut commit = self.begin("answers").await?;
            query(format!(
                "DELETE FROM answers WHERE digest IN \
                 (SELECT digest FROM answers WHERE at <= $1 ORDER BY at LIMIT {PRUNE_ROWS})"
            ))
            .bind(before)
            .execute(commit.connection()?)
            .await?;
            commit.finish_unpublished().await?;
        }
    }
}

// === impl Commit ===

impl Commit {
    /// The answer that whoever asks again under the same key will get, and whose account it is about; `None` is the
    /// operators'. Whatever makes something calls it before it finishes.
    pub(crate) fn remember(
        &mut self,
        account: Option<u64>,
        object: &impl Serialize,
    ) -> Result<(), Error> {
        if self.terms().once.is_some() {
            let object = serde_json::to_vec(object)
                .map_err(|error| Error::Invalid(format!("the answer can't be kept: {error}")))?;
            self.remembered = Some(Remembered { account, object });
        }
        Ok(())
    }

    /// Refuses to do again what was done under the same key: its answer is to be read once it is committed.
    pub(super) async fn is_the_first(&mut self) -> Result<(), Error> {
        let Some(Once { key, .. }) = self.terms().once else {
            return Ok(());
        };
        let since = signed(self.now.saturating_sub(KEPT_MS));
        let found: Option<i64> = query("SELECT at FROM answers WHERE digest = $1 AND at > $2")
            .bind(key.0.to_vec())
            .bind(since)
            .fetch_value(self.connection()?)
            .await?;
        match found {
            Some(_) => Err(Error::Conflict(
                "another request with this Idempotency-Key is being done: ask again in a moment"
                    .to_owned(),
            )),
            None => Ok(()),
        }
    }

    /// Writes the answer down; its key, for the revision that the commit will get.
    pub(super) async fn keep_answer(&mut self) -> Result<Option<Digest>, Error> {
        let Some(Once { key, request }) = self.terms().once else {
            return Ok(None);
        };
        let Some(Remembered { account, object }) = self.remembered.take() else {
            return Err(Error::Invalid(
                "this call takes no Idempotency-Key".to_owned(),
            ));
        };
        let plain = zeroize::Zeroizing::new([request.as_slice(), &object].concat());
        let sealed = self.sealer.seal(&place(&key), &plain);
        let now = signed(self.now);
        query(
            "INSERT INTO answers (digest, account_id, revision, sealed, at) VALUES ($1, $2, 0, $3, $4) \
             ON CONFLICT (digest) DO UPDATE SET account_id = $2, revision = 0, sealed = $3, at = $4",
        )
        .bind(key.0.to_vec())
        .bind(account.map(signed))
        .bind(sealed)
        .bind(now)
        .execute(self.connection()?)
        .await?;
        Ok(Some(key))
    }
}

/// Writes the revision of their commit into answers.
pub(super) async fn stamp(
    connection: &mut Connection,
    revision: u64,
    keys: Vec<Digest>,
) -> Result<(), Error> {
    for key in keys {
        query("UPDATE answers SET revision = $1 WHERE digest = $2")
            .bind(signed(revision))
            .bind(key.0.to_vec())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

fn place(digest: &Digest) -> String {
    let mut place = String::from("answer/");
    for byte in digest.0 {
        // Writing to a String can't fail.
        let _ = write!(place, "{byte:02x}");
    }
    place
}
