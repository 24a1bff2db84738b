//! `/api-tokens`: tokens for this API, of operators and of accounts whose plan has them.

use axum::{Extension, Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Actor,
    caller::Permit,
    enforced::{Items, page},
    extract::{Body, EXPIRES, Id, Page, Query, Reference, end, name, one_of},
    problem::Problem,
    written,
};
use crate::{
    clock,
    control::{
        Control,
        scope::{Scope, Scopes},
        store::{ApiTokenFilter, NewApiToken},
        view,
    },
};

/// An API token to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewApiTokenBody {
    /// Whose it is; without one, an operator's.
    account: Option<Reference>,
    name: String,
    scopes: Vec<Scope>,
    /// RFC 3339; null or nothing for never.
    expires_at: Option<String>,
    /// The same in seconds from now, in its place.
    expires_in_seconds: Option<u32>,
}

/// A new API token's record, and the token itself.
#[derive(Serialize, ToSchema)]
pub(super) struct MadeApiToken {
    #[serde(flatten)]
    record: view::ApiToken,
    /// Shown here and never again.
    token: String,
}

/// Which API tokens, and which page of them.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ListQuery {
    account: Option<Reference>,
    name: Option<String>,
    state: Option<String>,
    after: Option<u64>,
    limit: Option<u32>,
}

/// Lists API tokens by id, revoked ones too.
#[utoipa::path(get, path = "/api-tokens", params(("account" = Option<String>, Query, description = "By id or name"),
    ("name" = Option<String>, Query, description = "Exactly this name"), ("state" = Option<String>, Query),
    ("after" = Option<u64>, Query), ("limit" = Option<u32>, Query)),
    responses((status = 200, body = Items<view::ApiToken>)))]
pub(super) async fn list(
    State(control): State<Control>,
    Extension(permit): Extension<Permit>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Items<view::ApiToken>>, Problem> {
    let (after, limit) = Page::new(query.after, query.limit).bounds()?;
    let store = &control.inner.store;
    let filter = ApiTokenFilter {
        whose: permit.whose(store, query.account).await?,
        name: query.name,
        state: one_of("state", &["live", "revoked", "expired"], query.state)?,
    };
    let rows = store.api_tokens(&filter, after, limit + 1).await?;
    Ok(Json(page(&rows, limit, |item: &view::ApiToken| item.id)))
}

/// Shows an API token's record.
#[utoipa::path(get, path = "/api-tokens/{id}", params(("id" = u64, Path)),
    responses((status = 200, body = view::ApiToken), (status = 404, body = Problem)))]
pub(super) async fn show(
    State(control): State<Control>,
    Id(id): Id,
) -> Result<Json<view::ApiToken>, Problem> {
    let row = control.inner.store.api_token(id).await?;
    Ok(Json((&row).into()))
}

/// Makes an API token; the answer carries it as `token`. It may do no more, and for no longer, than the API token that
/// asks for it. An account has 500 at most that are not revoked.
#[utoipa::path(post, path = "/api-tokens", request_body = NewApiTokenBody,
    responses((status = 201, body = MadeApiToken), (status = 409, body = Problem)))]
pub(super) async fn create(
    State(control): State<Control>,
    Extension(Actor(actor)): Extension<Actor>,
    Extension(permit): Extension<Permit>,
    Body(new): Body<NewApiTokenBody>,
) -> Result<(StatusCode, Json<MadeApiToken>), Problem> {
    let name = name(new.name)?;
    let scopes: Scopes = new.scopes.into_iter().collect();
    if scopes.is_empty() {
        return Err(Problem::invalid(
            "scopes has at least one of read, tokens and accounts",
        ));
    }
    let now = clock::wall_seconds();
    let expires_at = end(EXPIRES, new.expires_at.as_deref(), new.expires_in_seconds)?;
    if expires_at.is_some_and(|at| at <= now) {
        return Err(Problem::invalid("expires_at lies in the past"));
    }
    let expires_at = expires_at.unwrap_or(0);
    permit.gives(scopes, expires_at)?;
    let mut commit = control.inner.store.begin(&actor).await?;
    let account = match &new.account {
        Some(account) => Some(permit.account(&mut commit, account).await?),
        None => {
            permit.operators_make("an API token without an account")?;
            None
        }
    };
    if let Some(id) = account {
        let plan = commit.account(id).await?.plan;
        if !plan.has_api_tokens(now) {
            return Err(Problem::new(
                StatusCode::CONFLICT,
                format!("plan {} of account {id} has no API tokens", plan.name()),
            ));
        }
    }
    let new = NewApiToken {
        account,
        name,
        scopes,
        expires_at,
    };
    let (row, secret) = commit.insert_api_token(new, false).await?;
    let made = MadeApiToken {
        record: (&row).into(),
        token: secret.reveal().to_owned(),
    };
    written::made(commit, account, made).await
}

/// Ends an API token for ever, from the next request on. Revoking a revoked one again is no error.
#[utoipa::path(post, path = "/api-tokens/{id}/revoke", params(("id" = u64, Path)),
    responses((status = 200, body = view::ApiToken), (status = 404, body = Problem)))]
pub(super) async fn revoke(
    State(control): State<Control>,
    Extension(Actor(actor)): Extension<Actor>,
    Id(id): Id,
) -> Result<Json<view::ApiToken>, Problem> {
    let mut commit = control.inner.store.begin(&actor).await?;
    let row = commit.revoke_api_token(id).await?;
    written::done(commit, (&row).into()).await
}
