//! `/audit`: who did what, when and from where; and whether the log is still what was written.

use axum::{Extension, Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    caller::Permit,
    enforced::{Items, page},
    extract::{Page, Query, Reference, seconds},
    problem::Problem,
};
use crate::control::{
    Control, Error,
    record::{AuditHead, AuditRow},
    store::AuditFilter,
    view::{self, hexadecimal},
};

/// Numbers are signed in the database.
const SEQ_MAX: u64 = i64::MAX as u64;
/// Records that tell of others, in one answer.
const DISPUTED_MAX: u32 = 100;

/// Which records, and which page of them.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ListQuery {
    account: Option<Reference>,
    action: Option<String>,
    actor: Option<String>,
    subject: Option<String>,
    from: Option<String>,
    to: Option<String>,
    after: Option<u64>,
    limit: Option<u32>,
}

/// What somebody knows of the log.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct VerifyQuery {
    /// A record that they have kept: its number and its hash.
    head: Option<String>,
    /// A record, likewise: those up to it may tell of others that are gone.
    accept: Option<String>,
}

/// What became of the log's chain of hashes.
#[derive(Serialize, ToSchema)]
pub(super) struct Verified {
    /// No record is altered or missing, and none that anybody has kept.
    is_intact: bool,
    /// How many records there are, all of them good.
    records: Option<u64>,
    /// The last record's hash. Kept elsewhere, together with the number of records, it shows later that nothing up to here
    /// was written anew or cut away.
    head: Option<String>,
    /// The first record that is altered or missing, that was not counted, or that is not the one kept as `head`; 0 where one
    /// stands before the first.
    broken_at: Option<u64>,
    /// Records that tell of one that a gateway has kept and the log doesn't have any more (`audit.disputed`), a hundred of
    /// them at most, each as `seq:hash`.
    disputed: Vec<String>,
}

/// Lists records in order: an operator's all, an admin's those of the accounts they reach.
#[utoipa::path(get, path = "/audit", params(("account" = Option<String>, Query), ("action" = Option<String>, Query),
    ("actor" = Option<String>, Query), ("subject" = Option<String>, Query), ("from" = Option<String>, Query),
    ("to" = Option<String>, Query), ("after" = Option<u64>, Query), ("limit" = Option<u32>, Query)),
    responses((status = 200, body = Items<view::AuditRecord>)))]
pub(super) async fn list(
    State(control): State<Control>,
    Extension(permit): Extension<Permit>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Items<view::AuditRecord>>, Problem> {
    let (after, limit) = Page::new(query.after, query.limit).bounds()?;
    let millis = |text: Option<String>| -> Result<Option<u64>, Problem> {
        let at = text.as_deref().map(seconds).transpose()?;
        Ok(at.map(|at| u64::from(at) * 1000))
    };
    let store = &control.inner.store;
    let filter = AuditFilter {
        whose: permit.whose(store, query.account).await?,
        action: query.action,
        actor: query.actor,
        subject: query.subject,
        from: millis(query.from)?,
        to: millis(query.to)?,
    };
    let mut rows = store.audit(after, limit + 1, &filter).await?;
    if !permit.caller.is_operator() {
        rows.iter_mut().for_each(|row| row.hash = None);
    }
    Ok(Json(page(&rows, limit, |item: &view::AuditRecord| {
        item.seq
    })))
}

/// Reads the whole log and recomputes its chain of hashes; with `head`, it must have that record, too. Records after `accept`
/// must not tell of one that a gateway has kept and that is gone.
#[utoipa::path(get, path = "/audit/verify", params(("head" = Option<String>, Query), ("accept" = Option<String>, Query)),
    responses((status = 200, body = Verified)))]
pub(super) async fn verify(
    State(control): State<Control>,
    Query(query): Query<VerifyQuery>,
) -> Result<Json<Verified>, Problem> {
    let head = query.head.as_deref().map(kept).transpose()?;
    let accepted = query.accept.as_deref().map(kept).transpose()?;
    let store = &control.inner.store;
    let (verified, broken_at) = match store.verify_audit(head.as_ref()).await {
        Ok((records, hash)) => (Some((records, hash)), None),
        Err(Error::AuditBroken { seq }) => (None, Some(seq)),
        Err(error) => return Err(error.into()),
    };
    let disputed = match verified {
        Some(_) => store.disputed(accepted.as_ref(), DISPUTED_MAX).await?,
        None => Vec::new(),
    };
    let (records, head) = verified
        .map(|(records, hash)| (records, hexadecimal(&hash)))
        .unzip();
    let verified = Verified {
        is_intact: broken_at.is_none() && disputed.is_empty(),
        records,
        head,
        broken_at,
        disputed: disputed.iter().map(head_of).collect(),
    };
    Ok(Json(verified))
}

fn head_of(row: &AuditRow) -> String {
    let hash = row.hash.as_deref().unwrap_or_default();
    format!("{}:{}", row.seq, hexadecimal(hash))
}

/// A record's number and its hash, as `seq:hash`.
fn kept(text: &str) -> Result<AuditHead, Problem> {
    let read = text.split_once(':').and_then(|(seq, hash)| {
        let is_hash = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_number = seq.bytes().all(|byte| byte.is_ascii_digit());
        let seq = seq.parse().ok();
        let seq = seq.filter(|seq| is_number && (1..=SEQ_MAX).contains(seq));
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate().filter(|_| is_hash) {
            *byte = u8::from_str_radix(&hash[2 * at..][..2], 16).ok()?;
        }
        let hash = bytes;
        seq.filter(|_| is_hash).map(|seq| AuditHead { seq, hash })
    });
    read.ok_or_else(|| {
        Problem::invalid(
            "head and accept are a record's number and its hash, such as 12:ab34..., as /audit and an earlier /audit/verify say them",
        )
    })
}
