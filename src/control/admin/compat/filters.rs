//! `/v1/shared-tokens/filters`: the account's filters of shared tokens.

use axum::{Extension, Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    super::{extract::description, shared_filters::check, written},
    guard::Key,
    trouble::Trouble,
    value::Loose,
};
use crate::control::{
    Control,
    record::SharedFilterRow,
    store::{NewSharedFilter, Whose},
};

/// A filter to be made; field and value match `^[a-zA-Z0-9_@.-]+$`.
#[derive(Deserialize, ToSchema)]
pub(super) struct FilterBody {
    field: String,
    value: String,
    description: Option<String>,
}

/// A filter.
#[derive(Serialize, ToSchema)]
pub(super) struct FilterModel {
    id: u64,
    field: String,
    value: String,
    description: String,
}

/// Lists filters.
#[utoipa::path(get, path = "/v1/shared-tokens/filters", responses((status = 200, body = Vec<FilterModel>)))]
pub(super) async fn list(
    State(control): State<Control>,
    Extension(key): Extension<Key>,
) -> Result<Json<Vec<FilterModel>>, Trouble> {
    let whose = Whose::account(key.account);
    // All of them: the store bounds how many an account has.
    let rows = control.inner.store.shared_filters(whose, 0, u32::MAX);
    let models = rows.await?.into_iter().map(FilterModel::from);
    Ok(Json(models.collect()))
}

/// Makes a filter.
#[utoipa::path(post, path = "/v1/shared-tokens/filters", request_body = FilterBody,
    responses((status = 200, body = FilterModel)))]
pub(super) async fn create(
    State(control): State<Control>,
    Extension(key): Extension<Key>,
    Loose(body): Loose<FilterBody>,
) -> Result<Json<FilterModel>, Trouble> {
    check(&body.field, &body.value)?;
    let new = NewSharedFilter {
        account: key.account,
        description: description(body.description.unwrap_or_default())?,
        field: body.field,
        value: body.value,
    };
    let mut commit = control.inner.store.begin(&key.errand).await?;
    let row = commit.insert_shared_filter(new).await?;
    written::done(commit, row.into()).await
}

/// Shows a filter.
#[utoipa::path(get, path = "/v1/shared-tokens/filters/{id}", params(("id" = u64, Path)),
    responses((status = 200, body = FilterModel)))]
pub(super) async fn show(
    State(control): State<Control>,
    Extension(key): Extension<Key>,
) -> Result<Json<FilterModel>, Trouble> {
    let row = control.inner.store.shared_filter(key.id).await?;
    Ok(Json(row.into()))
}

/// Removes a filter by which no shared token goes.
#[utoipa::path(delete, path = "/v1/shared-tokens/filters/{id}", params(("id" = u64, Path)),
    responses((status = 200, body = FilterModel)))]
pub(super) async fn delete(
    State(control): State<Control>,
    Extension(key): Extension<Key>,
) -> Result<Json<FilterModel>, Trouble> {
    let mut commit = control.inner.store.begin(&key.errand).await?;
    let row = commit.delete_shared_filter(key.id).await?;
    written::done(commit, row.into()).await
}

// === impl FilterModel ===

impl From<SharedFilterRow> for FilterModel {
    fn from(row: SharedFilterRow) -> Self {
        Self {
            id: row.id,
            field: row.field,
            value: row.value,
            description: row.description,
        }
    }
}
