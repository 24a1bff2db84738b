//! `/audit`: who did what, when and from where; and whether the log is still what was written.

use std::fmt::Write as _;

use axum::{Extension, Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    caller::Permit,
    enforced::{Items, page},
    extract::{Page, Query, seconds},
    problem::Problem,
};
use crate::control::{
    Control, Error,
    store::{AuditFilter, Whose},
    view,
};

/// Which records, and which page of them.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ListQuery {
    account: Option<u64>,
    action: Option<String>,
    actor: Option<String>,
    subject: Option<String>,
    from: Option<String>,
    to: Option<String>,
    after: Option<u64>,
    limit: Option<u32>,
}

/// What became of the log's chain of hashes.
#[derive(Serialize, ToSchema)]
pub(super) struct Verified {
    is_intact: bool,
    /// How many records there are, all of them good.
    records: Option<u64>,
    /// The last record's hash: kept elsewhere, it shows later that nothing up to here was written anew.
    head: Option<String>,
    /// The first record that is altered or missing.
    broken_at: Option<u64>,
}

/// Lists records in order: an operator's all, an admin's those of the accounts they reach.
#[utoipa::path(get, path = "/audit", params(("account" = Option<u64>, Query), ("action" = Option<String>, Query),
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
    let filter = AuditFilter {
        whose: Whose {
            home: permit.home(),
            account: query.account,
        },
        action: query.action,
        actor: query.actor,
        subject: query.subject,
        from: millis(query.from)?,
        to: millis(query.to)?,
    };
    let rows = control.inner.store.audit(after, limit + 1, &filter).await?;
    Ok(Json(page(&rows, limit, |item: &view::AuditRecord| {
        item.seq
    })))
}

/// Reads the whole log and recomputes its chain of hashes.
#[utoipa::path(get, path = "/audit/verify", responses((status = 200, body = Verified)))]
pub(super) async fn verify(State(control): State<Control>) -> Result<Json<Verified>, Problem> {
    let verified = match control.inner.store.verify_audit().await {
        Ok((records, hash)) => Verified {
            is_intact: true,
            records: Some(records),
            head: Some(hash.iter().fold(String::new(), |mut text, byte| {
                // Writing to a String can't fail.
                let _ = write!(text, "{byte:02x}");
                text
            })),
            broken_at: None,
        },
        Err(Error::AuditBroken { seq }) => Verified {
            is_intact: false,
            records: None,
            head: None,
            broken_at: Some(seq),
        },
        Err(error) => return Err(error.into()),
    };
    Ok(Json(verified))
}
