//! `/v1/account-management/metrics-accounts`: sub-accounts made for metrics, with a shipping token for metrics each.

use axum::{Extension, Json, extract::State, http::StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    accounts::{Reached, changed, make, remove, sub_accounts},
    guard::Key,
    kept::{AccountBody, Kept, Kind},
    trouble::Trouble,
    value::Loose,
};
use crate::{
    control::{
        Control, Error,
        record::AccountRow,
        store::{Commit, Shown},
    },
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
    let Reached { found, .. } = sub_accounts(&control, key.account, Kind::Metrics).await?;
    Ok(Json(shown(&control, &key, found).await?))
}

/// Shows a metrics account; the audit log remembers that its token was revealed.
#[utoipa::path(get, path = "/v1/account-management/metrics-accounts/{id}", params(("id" = u64, Path)),
    responses((status = 200, body = MetricsModel)))]
pub(super) async fn show(
    State(control): State<Control>,
    Extension(key): Extension<Key>,
) -> Result<Json<MetricsModel>, Trouble> {
    one(&control, &key).await
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
    changed(&control, &key, body).await?.finish().await?;
    one(&control, &key).await
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

/// The one in the path.
async fn one(control: &Control, key: &Key) -> Result<Json<MetricsModel>, Trouble> {
    let store = &control.inner.store;
    let row = store.account(key.id).await?;
    let kept = Kept::read(&store.kept(key.id).await?)?;
    let mut models = shown(control, key, vec![(row, kept)]).await?;
    let gone = || Error::NotFound(format!("there is no account {}", key.id));
    Ok(Json(models.pop().ok_or_else(gone)?))
}

/// Each with its first enabled token; the reading of that is audited.
async fn shown(
    control: &Control,
    key: &Key,
    found: Vec<(AccountRow, Kept)>,
) -> Result<Vec<MetricsModel>, Trouble> {
    let store = &control.inner.store;
    let accounts: Vec<_> = found.iter().map(|(row, _)| row.account.id.0).collect();
    let tokens = store.first_tokens(&accounts, Signal::Metrics).await?;
    let ids: Vec<_> = tokens.values().copied().collect();
    let texts = store
        .show(&key.errand, Shown::Shipping, key.account, &ids)
        .await?;
    let models = found.into_iter().map(|(row, kept)| {
        let token = tokens.get(&row.account.id.0);
        let text = token.and_then(|id| texts.get(id));
        let text = text.map_or_else(String::new, |text| text.reveal().to_owned());
        model(&row, kept, text)
    });
    Ok(models.collect())
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
