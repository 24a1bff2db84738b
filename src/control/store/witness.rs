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
/// So many of those are written in an hour: whoever holds the join key can say anything.
const DISPUTES_MAX: usize = 10;
const HOUR: Duration = Duration::from_secs(3600);

/// When the last of those were written.
pub(super) type Disputes = tokio::sync::Mutex<VecDeque<Instant>>;

// === impl Store ===

impl Store {
    /// The newest record; none in a log that is empty.
    pub(crate) async fn audit_head(&self) -> Result<Option<AuditHead>, Error> {
        audit::newest(&self.reader).await
    }

    /// Whether the log still has a record that somebody has kept. If it has not, that is put on record, once.
    pub(crate) async fn still_has(&self, kept: &AuditHead, keeper: &str) -> Result<bool, Error> {
        if is_there(&self.reader, kept).await? {
            return Ok(true);
        }
        // Held up to the commit: of two who say the same, the later one finds what was written for the first.
        let mut written = self.disputes.lock().await;
        if is_disputed(&self.reader, kept).await? {
            return Ok(false);
        }
        written.retain(|at| at.elapsed() < HOUR);
        if written.len() >= DISPUTES_MAX {
            // Not taken for told: it is said again until there is room.
            return Err(Error::Conflict(format!(
                "more than {DISPUTES_MAX} records of the audit log that others have kept are gone; what becomes of \
                 record {} is written down later",
                kept.seq
            )));
        }
        let mut commit = self.begin("feed").await?;
        if is_there(commit.connection()?, kept).await? {
            return Ok(true);
        }
        if !is_disputed(commit.connection()?, kept).await? {
            commit.dispute(kept, keeper).await?;
            // Before the end: a commit goes through even where nobody waits for it any more.
            written.push_back(Instant::now());
            commit.finish_unpublished().await?;
        }
        Ok(false)
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
