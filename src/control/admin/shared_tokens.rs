//! `/shared-tokens`: tokens that show an account's usage, or a part of it, and do nothing else.

use axum::{Extension, Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    Actor,
    caller::Permit,
    enforced::{Items, page},
    extract::{Body, EXPIRES, Id, NoBody, Page, Query, Reference, end, name, nullable, seconds},
    problem::Problem,
    written,
};
use crate::{
    clock,
    control::{Control, sight::Join, store::NewSharedToken, view},
};

/// How long a shared token lives, when its maker doesn't say: 7 days.
pub(super) const LIFE_SECONDS: u32 = 7 * 86_400;
/// Filters of one token.
const FILTERS_MAX: usize = 32;

/// A shared token to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewSharedTokenBody {
    account: Reference,
    /// Need not be unique.
    name: String,
    /// Ids of the account's shared filters; `[]` shows all of its usage.
    filters: Vec<u64>,
    /// `and` (unless said otherwise) or `or`.
    join: Option<Join>,
    /// RFC 3339; in 7 days unless said otherwise, null for never.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    expires_at: Option<Option<String>>,
    /// The same in seconds from now, in its place.
    expires_in_seconds: Option<u32>,
}

/// What to change of a shared token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SharedTokenChange {
    name: Option<String>,
    filters: Option<Vec<u64>>,
    join: Option<Join>,
    /// RFC 3339; null for never.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    expires_at: Option<Option<String>>,
}

/// A new shared token's record, and the token itself.
#[derive(Serialize, ToSchema)]
pub(super) struct MadeSharedToken {
    #[serde(flatten)]
    record: view::SharedToken,
    /// Shown here; later only by `reveal`.
    token: String,
}

/// A shared token's text.
#[derive(Serialize, ToSchema)]
pub(super) struct RevealedSharedToken {
    id: u64,
    token: String,
}

/// Which of them, and which page.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ListQuery {
    pub(super) account: Option<Reference>,
    pub(super) after: Option<u64>,
    pub(super) limit: Option<u32>,
}

/// Lists shared tokens by id, revoked ones too.
#[utoipa::path(get, path = "/shared-tokens", params(("account" = Option<String>, Query), ("after" = Option<u64>, Query), ("limit" = Option<u32>, Query)),
    responses((status = 200, body = Items<view::SharedToken>)))]
pub(super) async fn list(
    State(control): State<Control>,
    Extension(permit): Extension<Permit>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Items<view::SharedToken>>, Problem> {
    let (after, limit) = Page::new(query.after, query.limit).bounds()?;
    let store = &control.inner.store;
    let whose = permit.whose(store, query.account).await?;
    let rows = store.shared_tokens(whose, after, limit + 1).await?;
    Ok(Json(page(&rows, limit, |item: &view::SharedToken| item.id)))
}

/// Shows a shared token's record.
#[utoipa::path(get, path = "/shared-tokens/{id}", params(("id" = u64, Path)),
    responses((status = 200, body = view::SharedToken), (status = 404, body = Problem)))]
pub(super) async fn show(
    State(control): State<Control>,
    Id(id): Id,
) -> Result<Json<view::SharedToken>, Problem> {
    let row = control.inner.store.shared_token(id).await?;
    Ok(Json((&row).into()))
}

/// Makes a shared token; the answer carries it as `token`. It opens `GET /shared/usage` and nothing else.
#[utoipa::path(post, path = "/shared-tokens", request_body = NewSharedTokenBody,
    responses((status = 201, body = MadeSharedToken), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn create(
    State(control): State<Control>,
    Extension(Actor(actor)): Extension<Actor>,
    Extension(permit): Extension<Permit>,
    Body(new): Body<NewSharedTokenBody>,
) -> Result<(StatusCode, Json<MadeSharedToken>), Problem> {
    let name = name(new.name)?;
    let filters = filters(new.filters)?;
    let expires_at = match (new.expires_at, new.expires_in_seconds) {
        (None, None) => clock::wall_seconds().saturating_add(LIFE_SECONDS),
        (Some(at), None) => expiry(at.as_deref())?,
        // Null says an end, too: never.
        (at, within) => {
            let at = at.map(|at| at.unwrap_or_default());
            end(EXPIRES, at.as_deref(), within)?.unwrap_or(0)
        }
    };
    let mut commit = control.inner.store.begin(&actor).await?;
    let account = permit.account(&mut commit, &new.account).await?;
    let new = NewSharedToken {
        account,
        name,
        join: new.join.unwrap_or(Join::And),
        filters,
        expires_at,
    };
    let (row, secret) = commit.insert_shared_token(new).await?;
    let made = MadeSharedToken {
        record: (&row).into(),
        token: secret.reveal().to_owned(),
    };
    written::made(commit, Some(account), made).await
}

/// Changes a shared token's name, filters, join or expiry; what it shows follows at once.
#[utoipa::path(patch, path = "/shared-tokens/{id}", request_body = SharedTokenChange, params(("id" = u64, Path)),
    responses((status = 200, body = view::SharedToken), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn change(
    State(control): State<Control>,
    Extension(Actor(actor)): Extension<Actor>,
    Id(id): Id,
    Body(change): Body<SharedTokenChange>,
) -> Result<Json<view::SharedToken>, Problem> {
    let mut commit = control.inner.store.begin(&actor).await?;
    let old = commit.shared_token(id).await?;
    let mut new = old.clone();
    if let Some(text) = change.name {
        new.name = name(text)?;
    }
    if let Some(ids) = change.filters {
        new.filters = filters(ids)?;
    }
    new.join = change.join.unwrap_or(new.join);
    if let Some(at) = change.expires_at {
        new.expires_at = expiry(at.as_deref())?;
    }
    let row = commit
        .update_shared_token("shared_token.change", &old, new)
        .await?;
    written::done(commit, (&row).into()).await
}

/// Ends a shared token for ever, from the next request on. Revoking a revoked one again is no error.
#[utoipa::path(post, path = "/shared-tokens/{id}/revoke", params(("id" = u64, Path)),
    responses((status = 200, body = view::SharedToken), (status = 404, body = Problem)))]
pub(super) async fn revoke(
    State(control): State<Control>,
    Extension(Actor(actor)): Extension<Actor>,
    Id(id): Id,
    _: NoBody,
) -> Result<Json<view::SharedToken>, Problem> {
    let mut commit = control.inner.store.begin(&actor).await?;
    let row = commit.revoke_shared_token(id).await?;
    written::done(commit, (&row).into()).await
}

/// Shows the token itself; the audit log remembers it.
#[utoipa::path(post, path = "/shared-tokens/{id}/reveal", params(("id" = u64, Path)),
    responses((status = 200, body = RevealedSharedToken), (status = 409, body = Problem)))]
pub(super) async fn reveal(
    State(control): State<Control>,
    Extension(Actor(actor)): Extension<Actor>,
    Id(id): Id,
    _: NoBody,
) -> Result<Json<RevealedSharedToken>, Problem> {
    let mut commit = control.inner.store.begin(&actor).await?;
    let secret = commit.reveal_shared_token(id).await?;
    let token = secret.reveal().to_owned();
    written::done(commit, RevealedSharedToken { id, token }).await
}

/// Hides a revoked shared token.
#[utoipa::path(delete, path = "/shared-tokens/{id}", params(("id" = u64, Path)),
    responses((status = 200), (status = 409, body = Problem)))]
pub(super) async fn delete(
    State(control): State<Control>,
    Extension(Actor(actor)): Extension<Actor>,
    Id(id): Id,
) -> Result<Json<Value>, Problem> {
    let mut commit = control.inner.store.begin(&actor).await?;
    commit.hide_shared_token(id).await?;
    written::done(commit, json!({"id": id})).await
}

/// Ids of filters, each once.
pub(super) fn filters(mut ids: Vec<u64>) -> Result<Vec<u64>, Problem> {
    if ids.contains(&0) {
        return Err(Problem::invalid("a filter's id is positive"));
    }
    ids.sort_unstable();
    ids.dedup();
    if ids.len() > FILTERS_MAX {
        return Err(Problem::invalid(format!(
            "a shared token has {FILTERS_MAX} filters at most"
        )));
    }
    Ok(ids)
}

/// In seconds; 0 for what never ends.
fn expiry(at: Option<&str>) -> Result<u32, Problem> {
    let at = at.map(seconds).transpose()?.unwrap_or(0);
    if at != 0 && at <= clock::wall_seconds() {
        return Err(Problem::invalid(
            "expires_at lies in the past; to end a token, revoke it",
        ));
    }
    Ok(at)
}
