//! `/shared-filters`: what shared tokens are narrowed by.

use axum::{Extension, Json, extract::State, http::StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    Actor,
    caller::Permit,
    enforced::{Items, page},
    extract::{Body, Id, Page, Query, Reference, description},
    problem::Problem,
    shared_tokens::ListQuery,
    written,
};
use crate::control::{Control, sight, store::NewSharedFilter, view};

/// A filter to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewSharedFilterBody {
    account: Reference,
    /// `signal`, `token_id` or `token_name`; any other (1 to 128 of `[a-zA-Z0-9_@.-]`) matches nothing.
    field: String,
    /// Exactly this: 1 to 128 of `[a-zA-Z0-9_@.-]`.
    value: String,
    /// For people.
    description: Option<String>,
}

/// What to change of a filter: what it matches stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SharedFilterChange {
    description: String,
}

/// Lists shared filters by id.
#[utoipa::path(get, path = "/shared-filters", params(("account" = Option<String>, Query), ("after" = Option<u64>, Query), ("limit" = Option<u32>, Query)),
    responses((status = 200, body = Items<view::SharedFilter>)))]
pub(super) async fn list(
    State(control): State<Control>,
    Extension(permit): Extension<Permit>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Items<view::SharedFilter>>, Problem> {
    let (after, limit) = Page::new(query.after, query.limit).bounds()?;
    let store = &control.inner.store;
    let whose = permit.whose(store, query.account).await?;
    let rows = store.shared_filters(whose, after, limit + 1).await?;
    Ok(Json(page(&rows, limit, |item: &view::SharedFilter| {
        item.id
    })))
}

/// Shows a shared filter.
#[utoipa::path(get, path = "/shared-filters/{id}", params(("id" = u64, Path)),
    responses((status = 200, body = view::SharedFilter), (status = 404, body = Problem)))]
pub(super) async fn show(
    State(control): State<Control>,
    Id(id): Id,
) -> Result<Json<view::SharedFilter>, Problem> {
    let row = control.inner.store.shared_filter(id).await?;
    Ok(Json((&row).into()))
}

/// Makes a filter: usage whose `field` is exactly `value`.
#[utoipa::path(post, path = "/shared-filters", request_body = NewSharedFilterBody,
    responses((status = 201, body = view::SharedFilter), (status = 409, body = Problem)))]
pub(super) async fn create(
    State(control): State<Control>,
    Extension(Actor(actor)): Extension<Actor>,
    Extension(permit): Extension<Permit>,
    Body(new): Body<NewSharedFilterBody>,
) -> Result<(StatusCode, Json<view::SharedFilter>), Problem> {
    check(&new.field, &new.value)?;
    let description = description(new.description.unwrap_or_default())?;
    let mut commit = control.inner.store.begin(&actor).await?;
    let account = permit.account(&mut commit, &new.account).await?;
    let new = NewSharedFilter {
        account,
        field: new.field,
        value: new.value,
        description,
    };
    let row = commit.insert_shared_filter(new).await?;
    written::made(commit, Some(account), (&row).into()).await
}

/// Changes a filter's description. Its field and value stay: whoever was given a token must not see more by it tomorrow.
#[utoipa::path(patch, path = "/shared-filters/{id}", request_body = SharedFilterChange, params(("id" = u64, Path)),
    responses((status = 200, body = view::SharedFilter), (status = 404, body = Problem)))]
pub(super) async fn change(
    State(control): State<Control>,
    Extension(Actor(actor)): Extension<Actor>,
    Id(id): Id,
    Body(change): Body<SharedFilterChange>,
) -> Result<Json<view::SharedFilter>, Problem> {
    let description = description(change.description)?;
    let mut commit = control.inner.store.begin(&actor).await?;
    let row = commit.describe_shared_filter(id, description).await?;
    written::done(commit, (&row).into()).await
}

/// Removes a filter by which no shared token goes that is not revoked.
#[utoipa::path(delete, path = "/shared-filters/{id}", params(("id" = u64, Path)),
    responses((status = 200), (status = 409, body = Problem)))]
pub(super) async fn delete(
    State(control): State<Control>,
    Extension(Actor(actor)): Extension<Actor>,
    Id(id): Id,
) -> Result<Json<Value>, Problem> {
    let mut commit = control.inner.store.begin(&actor).await?;
    commit.delete_shared_filter(id).await?;
    written::done(commit, json!({"id": id})).await
}

/// Whether a filter's field and value are words.
pub(super) fn check(field: &str, value: &str) -> Result<(), Problem> {
    if sight::is_word(field) && sight::is_word(value) {
        return Ok(());
    }
    Err(Problem::invalid(
        "field and value of a filter are 1 to 128 characters of [a-zA-Z0-9_@.-] each",
    ))
}
