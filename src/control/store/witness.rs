//! The audit log's head as others keep it: a record that they were told and that is not there any more goes on record itself.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    Commit, Store, audit,
    database::{On, query},
};
use crate::control::{
    Error,
    record::{AuditHead, AuditRow},
    store::AuditFilter,
    view::hexadecimal,
};

/// What tells of a record that is not there any more.
const DISPUTED: &str = "audit.disputed";
/// So many of those are written in an hour for one gateway: whoever holds the join key can say anything.
const DISPUTES_EACH_MAX: usize = 10;
/// And for all of them, however many gateways somebody makes up.
const DISPUTES_MAX: usize = 100;
const HOUR: Duration = Duration::from_secs(3600);

/// When the last of those were written, and for which data folder of a gateway's.
pub(super) type Disputes = tokio::sync::Mutex<VecDeque<(Instant, String)>>;

/// A gateway that has kept a record.
#[derive(Clone, Copy)]
pub(crate) struct Keeper<'a> {
    pub(crate) name: &'a str,
    /// Drawn once for its data folder; old ones have none.
    pub(crate) instance: &'a str,
}

/// What became of a record that somebody has kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sought {
    /// The log has it.
    Found,
    /// It is gone, and that is on record.
    Disputed,
    /// It is gone, and that is not on record: too many others are.
    NoRoom,
}

// === impl Keeper ===

impl Keeper<'_> {
    /// One that changes its name is the same one.
    fn key(self) -> String {
        match self.instance {
            "" => format!("name {}", self.name),
            instance => format!("instance {instance}"),
        }
    }
}

// === impl Store ===

impl Store {
    /// The newest record; none in a log that is empty.
    pub(crate) async fn audit_head(&self) -> Result<Option<AuditHead>, Error> {
        audit::newest(&self.reader).await
    }

    /// Looks for a record that somebody has kept. That the log no longer has it is put on record, once, as soon as there is
    /// room.
    pub(crate) async fn seek(&self, kept: &AuditHead, keeper: Keeper<'_>) -> Result<Sought, Error> {
        if is_there(&self.reader, kept).await? {
            return Ok(Sought::Found);
        }
        // Held up to the commit: of two who say the same, the later one finds what was written for the first.
        let mut written = self.disputes.lock().await;
        if is_disputed(&self.reader, kept).await? {
            return Ok(Sought::Disputed);
        }
        written.retain(|(at, _)| at.elapsed() < HOUR);
        let key = keeper.key();
        let of_this = written.iter().filter(|(_, by)| *by == key).count();
        if of_this >= DISPUTES_EACH_MAX || written.len() >= DISPUTES_MAX {
            return Ok(Sought::NoRoom);
        }
        let mut commit = self.begin("feed").await?;
        if is_there(commit.connection()?, kept).await? {
            return Ok(Sought::Found);
        }
        if !is_disputed(commit.connection()?, kept).await? {
            commit.dispute(kept, keeper.name).await?;
            // Before the end: a commit goes through even where nobody waits for it any more.
            written.push_back((Instant::now(), key));
            if let Err(error) = commit.finish_unpublished().await {
                written.pop_back();
                return Err(error);
            }
        }
        Ok(Sought::Disputed)
    }

    /// As if that hour were over.
    #[cfg(test)]
    pub(crate) async fn an_hour_passes(&self) {
        let before = |at: &mut Instant| at.checked_sub(HOUR).expect("a clock that can go back");
        let mut written = self.disputes.lock().await;
        written.iter_mut().for_each(|(at, _)| *at = before(at));
    }

    /// Records that tell of one that is not there any more, `limit` at most: those after the one that was accepted, if the
    /// log still has that.
    pub(crate) async fn disputed(
        &self,
        accepted: Option<&AuditHead>,
        limit: u32,
    ) -> Result<Vec<AuditRow>, Error> {
        let filter = AuditFilter {
            action: Some(DISPUTED.to_owned()),
            ..AuditFilter::default()
        };
        let after = match accepted {
            Some(head) if is_there(&self.reader, head).await? => head.seq,
            _ => 0,
        };
        self.audit(after, limit, &filter).await
    }
}

async fn is_there(on: impl Into<On<'_>>, kept: &AuditHead) -> Result<bool, Error> {
    Ok(audit::hash_at(on, kept.seq).await?.as_deref() == Some(&kept.hash[..]))
}

/// Whether that is on record.
async fn is_disputed(on: impl Into<On<'_>>, kept: &AuditHead) -> Result<bool, Error> {
    let before: i64 =
        query("SELECT count(*) FROM audit WHERE subject = $1 AND action = $2 AND old_state = $3")
            .bind(subject(kept))
            .bind(DISPUTED)
            .bind(said(kept).to_string())
            .fetch_one(on)
            .await?;
    Ok(before != 0)
}

fn subject(kept: &AuditHead) -> String {
    format!("audit/{}", kept.seq)
}

fn said(kept: &AuditHead) -> Value {
    json!({"hash": hexadecimal(&kept.hash)})
}

// === impl Commit ===

impl Commit {
    async fn dispute(&mut self, kept: &AuditHead, keeper: &str) -> Result<(), Error> {
        let found = audit::hash_at(self.connection()?, kept.seq).await?;
        let found = found.map_or(Value::Null, |hash| hexadecimal(&hash).into());
        let new = json!({"hash": found, "kept_by": keeper});
        self.note_of(None, DISPUTED, subject(kept), Some(said(kept)), Some(new));
        Ok(())
    }
}
