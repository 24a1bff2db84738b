//! `/v1/account-management/metrics-accounts`: sub-accounts made for metrics, with a shipping token for metrics each.

use axum::{Extension, Json, extract::State, http::StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    super::written,
    accounts::{changed, make, remove, sub_accounts},
    guard::Key,
    kept::{AccountBody, Kept, Kind},
    trouble::Trouble,
    value::Loose,
};
use crate::{
    control::{Control, record::AccountRow, store::Commit},
    model::Signal,
};

/// A metrics account, and its first enabled shipping token for metrics.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct MetricsModel {
    id: u64,
    account_name: String,
    /// Empty when none is enabled.
    token: String,
    /// Milliseconds since 1970.
    created_at: u64,
    plan_uts: Option<u32>,
    authorized_accounts_ids: Vec<u64>,
}

/// Lists metrics accounts; the audit log remembers each token that was revealed.
#[utoipa::path(get, path = "/v1/account-management/metrics-accounts",
    responses((status = 200, body = Vec<MetricsModel>)))]
pub(super) async fn list(
    State(control): State<Control>,
    Extension(key): Extension<Key>,
) -> Result<Json<Vec<MetricsModel>>, Trouble> {
    let mut commit = control.inner.store.begin(&key.errand).await?;
    // Within it, so that none of them is withdrawn until it ends.
    let found = sub_accounts(&control, key.account, Kind::Metrics).await?;
    let mut models = Vec::new();
    for (row, kept) in found {
        let token = token(&mut commit, row.account.id.0).await?;
        models.push(model(&row, kept, token));
    }
    written::done(commit, models).await
}

/// Shows a metrics account; the audit log remembers that its token was revealed.
#[utoipa::path(get, path = "/v1/account-management/metrics-accounts/{id}", params(("id" = u64, Path)),
    responses((status = 200, body = MetricsModel)))]
pub(super) async fn show(
    State(control): State<Control>,
    Extension(key): Extension<Key>,
) -> Result<Json<MetricsModel>, Trouble> {
    shown(&control, &key).await
}

/// Makes a metrics account with a shipping token for metrics.
#[utoipa::path(post, path = "/v1/account-management/metrics-accounts", request_body = AccountBody,
    responses((status = 201, body = MetricsModel)))]
pub(super) async fn create(
    State(control): State<Control>,
    Extension(key): Extension<Key>,
    Loose(body): Loose<AccountBody>,
) -> Result<(StatusCode, Json<MetricsModel>), Trouble> {
    let (row, kept, secret) = make(&control, &key, body, Kind::Metrics, Signal::Metrics).await?;
    let made = model(&row, kept, secret.reveal().to_owned());
    Ok((StatusCode::CREATED, Json(made)))
}

/// Changes a metrics account's name, and what is kept for it.
#[utoipa::path(put, path = "/v1/account-management/metrics-accounts/{id}", params(("id" = u64, Path)),
    request_body = AccountBody, responses((status = 200, body = MetricsModel)))]
pub(super) async fn change(
    State(control): State<Control>,
    Extension(key): Extension<Key>,
    Loose(body): Loose<AccountBody>,
) -> Result<Json<MetricsModel>, Trouble> {
    let commit = control.inner.store.begin(&key.errand).await?;
    changed(&control, commit, &key, body)
        .await?
        .finish()
        .await?;
    shown(&control, &key).await
}

/// Deletes a metrics account; its shipping tokens are revoked.
#[utoipa::path(delete, path = "/v1/account-management/metrics-accounts/{id}", params(("id" = u64, Path)),
    responses((status = 200, body = MetricsModel)))]
pub(super) async fn delete(
    State(control): State<Control>,
    Extension(key): Extension<Key>,
) -> Result<Json<MetricsModel>, Trouble> {
    let mut commit = control.inner.store.begin(&key.errand).await?;
    let model = read(&mut commit, key.id).await?;
    remove(&mut commit, key.id).await?;
    commit.finish().await?;
    Ok(Json(model))
}

async fn shown(control: &Control, key: &Key) -> Result<Json<MetricsModel>, Trouble> {
    let mut commit = control.inner.store.begin(&key.errand).await?;
    let model = read(&mut commit, key.id).await?;
    written::done(commit, model).await
}

/// As of this transaction; the reading of its token is audited.
async fn read(commit: &mut Commit, id: u64) -> Result<MetricsModel, Trouble> {
    let kept = Kept::read(&commit.kept(id).await?)?;
    let row = commit.account(id).await?;
    let token = token(commit, id).await?;
    Ok(model(&row, kept, token))
}

/// The reading is audited.
async fn token(commit: &mut Commit, account: u64) -> Result<String, Trouble> {
    let Some(id) = commit.first_token(account, Signal::Metrics).await? else {
        return Ok(String::new());
    };
    Ok(commit.reveal_token(id).await?.reveal().to_owned())
}

fn model(row: &AccountRow, kept: Kept, token: String) -> MetricsModel {
    MetricsModel {
        id: row.account.id.0,
        account_name: row.account.name.clone(),
        token,
        created_at: row.created_at,
        plan_uts: kept.plan_uts,
        authorized_accounts_ids: kept.authorized_accounts_ids,
    }
}
