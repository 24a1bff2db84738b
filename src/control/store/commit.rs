//! A commit from its caller's side: what it writes is in one transaction, perhaps with what others write, and what
//! gateways must know of it goes out before the next transaction begins.

use std::sync::Arc;

use serde_json::Value;
use tokio::{
    runtime::Handle,
    sync::{OwnedMutexGuard, oneshot::error::TryRecvError},
};

pub(super) use super::group::Table;
use super::{
    Sealer, Store,
    answers::Remembered,
    audit,
    bounds::Counted,
    database::Connection,
    group::{self, Work},
    held::Dropped,
    seal,
    writer::Writer,
};
use crate::{
    control::{
        Error,
        publish::Published,
        record::{self, Who},
        terms::{Errand, Terms},
    },
    model::{Change, Digest, DigestKey, Secret, TokenKind},
};

/// Holds the store's only writer. Dropped without [`Commit::finish`], it has changed nothing.
pub(crate) struct Commit {
    /// `None` once it has been handed on.
    writer: Option<OwnedMutexGuard<Writer>>,
    pub(super) sealer: Arc<Sealer>,
    pub(super) digest_key: DigestKey,
    errand: Errand,
    pub(super) now: record::Millis,
    changes: Vec<Change>,
    stamps: Vec<(Table, u64)>,
    pub(super) counted: Counted,
    /// For who asks again.
    pub(super) remembered: Option<Remembered>,
    pub(super) dropped: Dropped,
    /// The version of what is to be changed, where it is none that its caller has seen.
    pub(super) stale: Option<u64>,
    audit: Vec<audit::Entry>,
}

// === impl Store ===

impl Store {
    /// Waits for the writer; the errand's terms are held to from here to the commit. Who asks is for the audit log.
    pub(crate) async fn begin(&self, errand: impl Into<Errand>) -> Result<Commit, Error> {
        let writer = self.writer.clone().lock_owned().await;
        let commit = Commit {
            writer: Some(writer),
            sealer: self.sealer.clone(),
            digest_key: self.digest_key.clone(),
            now: record::now(),
            errand: errand.into(),
            changes: Vec::new(),
            stamps: Vec::new(),
            counted: Counted::new(),
            remembered: None,
            dropped: Dropped::default(),
            stale: None,
            audit: Vec::new(),
        };
        // Begun to its end even if the caller stops waiting: nobody could tell how far it came.
        settle(tokio::spawn(commit.begun())).await
    }
}

// === impl Commit ===

impl Commit {
    async fn begun(mut self) -> Result<Self, Error> {
        match &mut self.writer {
            Some(writer) => writer.start().await?,
            None => return Err(Error::Closed),
        }
        self.still_stands().await?;
        self.reads_version().await?;
        self.is_the_first().await?;
        Ok(self)
    }

    /// Inside the transaction.
    pub(super) fn connection(&mut self) -> Result<&mut Connection, Error> {
        self.writer.as_mut().ok_or(Error::Closed)?.connection()
    }

    /// Live tokens that other works have taken away lately, those that commit with this one too.
    pub(super) fn dropped_lately(&mut self) -> Result<u64, Error> {
        Ok(self.writer()?.dropped_lately())
    }

    pub(super) fn writer(&mut self) -> Result<&mut Writer, Error> {
        self.writer.as_deref_mut().ok_or(Error::Closed)
    }

    /// The next number of that counter; never given twice.
    pub(super) async fn next_id(&mut self, counter: &'static str) -> Result<u64, Error> {
        group::next(self.connection()?, counter).await
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
        &self.errand.who
    }

    /// On which terms.
    pub(super) fn terms(&self) -> &Terms {
        &self.errand.terms
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

    /// Commits, together with those who come at the same time, and hands the delta out.
    ///
    /// Runs to its end even if the caller stops waiting: a commit that happened must be published.
    pub(crate) async fn finish(self) -> Result<Published, Error> {
        settle(tokio::spawn(self.end(true)))
            .await?
            .ok_or(Error::Closed)
    }

    /// Commits what gateways need not know: audit records alone.
    pub(crate) async fn finish_unpublished(self) -> Result<(), Error> {
        settle(tokio::spawn(self.end(false))).await.map(drop)
    }

    async fn end(mut self, is_published: bool) -> group::Outcome {
        // Before others join: what it refuses, it refuses of this one alone.
        if is_published {
            self.within_plans().await?;
            self.not_held().await?;
        }
        // Last, see `docs/decisions.md`.
        self.holds_to_terms()?;
        self.tells_version().await?;
        let answer = self.keep_answer().await?;
        self.join(is_published, answer).await
    }

    async fn join(mut self, is_published: bool, answer: Option<Digest>) -> group::Outcome {
        let mut writer = self.writer.take().ok_or(Error::Closed)?;
        let outcome = writer.join(Work {
            who: self.errand.who.clone(),
            at: self.now,
            is_published,
            changes: std::mem::take(&mut self.changes),
            stamps: std::mem::take(&mut self.stamps),
            audit: std::mem::take(&mut self.audit),
            dropped: self.dropped.unconfirmed(),
            ended: self.dropped.tokens(),
            answer,
        });
        let mut outcome = outcome.await?;
        if !writer.is_full() {
            // Behind all who wait now: they work in the same transaction, and one of us commits it.
            let queue = OwnedMutexGuard::mutex(&writer).clone();
            drop(writer);
            writer = tokio::select! {
                biased;
                heard = &mut outcome => return heard.unwrap_or(Err(Error::Closed)),
                writer = queue.lock_owned() => writer,
            };
            writer.tidy().await;
        }
        match outcome.try_recv() {
            Ok(heard) => return heard,
            Err(TryRecvError::Closed) => return Err(Error::Closed),
            Err(TryRecvError::Empty) => writer.commit().await,
        }
        outcome.await.unwrap_or(Err(Error::Closed))
    }
}

impl Drop for Commit {
    fn drop(&mut self) {
        let writer = self.writer.take();
        // At once, and not by the next one: who came before waits for the commit, and other control planes for the lock.
        if let (Some(mut writer), Ok(runtime)) = (writer, Handle::try_current()) {
            runtime.spawn(async move { writer.tidy().await });
        }
    }
}

async fn settle<T>(task: tokio::task::JoinHandle<Result<T, Error>>) -> Result<T, Error> {
    match task.await {
        Ok(outcome) => outcome,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Error::Closed),
    }
}
