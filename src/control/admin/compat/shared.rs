//! `/v1/shared-tokens`: the account's shared tokens that are not revoked.

use axum::{Extension, Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    super::{
        extract::{name, nullable},
        shared_tokens::{LIFE_SECONDS, filters},
        written,
    },
    guard::Key,
    trouble::Trouble,
    value::{Loose, millis},
};
use crate::{
    clock,
    control::{
        Control, Error,
        record::SharedTokenRow,
        sight::Join,
        store::{NewSharedToken, Shown, Whose},
    },
    model::Secret,
};

/// What a shared token is called and shows.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SharedBody {
    token_name: Option<String>,
    /// Ids; a new token says `[]` to show all of the account's usage.
    filters: Option<Vec<u64>>,
    /// `AND` (unless said otherwise) or `OR`.
    filters_operator: Option<Operator>,
    /// Milliseconds since 1970; in 7 days unless said otherwise, null for never.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<u64>)]
    expiration_date: Option<Option<u64>>,
}

#[derive(Clone, Copy, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
enum Operator {
    And,
    Or,
}

/// A shared token, and what it is. Times are milliseconds since 1970.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SharedModel {
    id: u64,
    name: String,
    token: String,
    filters: Vec<u64>,
    last_used: Option<u64>,
    expiration_date: Option<u64>,
    filters_operator: Operator,
}

/// Lists shared tokens; the audit log remembers each that was revealed.
#[utoipa::path(get, path = "/v1/shared-tokens", responses((status = 200, body = Vec<SharedModel>)))]
pub(super) async fn list(
    State(control): State<Control>,
    Extension(key): Extension<Key>,
) -> Result<Json<Vec<SharedModel>>, Trouble> {
    let store = &control.inner.store;
    let whose = Whose::account(key.account);
    // All of them: the store bounds how many an account has.
    let rows = store.shared_tokens(whose, 0, u32::MAX).await?;
    let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    let texts = store
        .show(&key.errand, Shown::Shared, key.account, &ids)
        .await?;
    // Those that are revoked have none.
    let models = rows.into_iter().filter_map(|row| {
        let text = texts.get(&row.id)?;
        Some(model(row, text))
    });
    Ok(Json(models.collect()))
}

/// Makes a shared token.
#[utoipa::path(post, path = "/v1/shared-tokens", request_body = SharedBody,
    responses((status = 200, body = SharedModel)))]
pub(super) async fn create(
    State(control): State<Control>,
    Extension(key): Extension<Key>,
    Loose(body): Loose<SharedBody>,
) -> Result<Json<SharedModel>, Trouble> {
    let Some(ids) = body.filters else {
        return Err(Trouble::invalid(
            "filters are missing; [] shows all of the account's usage",
        ));
    };
    let new = NewSharedToken {
        account: key.account,
        name: name(body.token_name.unwrap_or_default())?,
        join: body.filters_operator.map_or(Join::And, Operator::join),
        filters: filters(ids)?,
        expires_at: match body.expiration_date {
            None => clock::wall_seconds().saturating_add(LIFE_SECONDS),
            Some(at) => expiry(at)?,
        },
    };
    let mut commit = control.inner.store.begin(&key.errand).await?;
    let made = commit.insert_shared_token(new).await;
    let (row, secret) = made.map_err(no_filter)?;
    written::done(commit, model(row, &secret)).await
}

/// Shows a shared token; the audit log remembers that it was revealed.
#[utoipa::path(get, path = "/v1/shared-tokens/{id}", params(("id" = u64, Path)),
    responses((status = 200, body = SharedModel)))]
pub(super) async fn show(
    State(control): State<Control>,
    Extension(key): Extension<Key>,
) -> Result<Json<SharedModel>, Trouble> {
    let store = &control.inner.store;
    let row = store.shared_token(key.id).await?;
    let secret = store
        .show_one(&key.errand, Shown::Shared, key.account, key.id)
        .await?;
    Ok(Json(model(row, &secret)))
}

/// Changes a shared token's name, filters, operator or end; what is left out stays.
#[utoipa::path(put, path = "/v1/shared-tokens/{id}", params(("id" = u64, Path)), request_body = SharedBody,
    responses((status = 200, body = SharedModel)))]
pub(super) async fn change(
    State(control): State<Control>,
    Extension(key): Extension<Key>,
    Loose(body): Loose<SharedBody>,
) -> Result<Json<SharedModel>, Trouble> {
    let mut commit = control.inner.store.begin(&key.errand).await?;
    let old = commit.shared_token(key.id).await?;
    let mut new = old.clone();
    if let Some(text) = body.token_name {
        new.name = name(text)?;
    }
    if let Some(ids) = body.filters {
        new.filters = filters(ids)?;
    }
    new.join = body.filters_operator.map_or(new.join, Operator::join);
    if let Some(at) = body.expiration_date {
        new.expires_at = expiry(at)?;
    }
    let changed = commit.update_shared_token("shared_token.change", &old, new);
    let row = changed.await.map_err(no_filter)?;
    let secret = commit.reveal_shared_token(key.id).await?;
    written::done(commit, model(row, &secret)).await
}

/// Revokes a shared token for ever, and hides it.
#[utoipa::path(delete, path = "/v1/shared-tokens/{id}", params(("id" = u64, Path)), responses((status = 204)))]
pub(super) async fn delete(
    State(control): State<Control>,
    Extension(key): Extension<Key>,
) -> Result<StatusCode, Trouble> {
    let mut commit = control.inner.store.begin(&key.errand).await?;
    commit.revoke_shared_token(key.id).await?;
    commit.hide_shared_token(key.id).await?;
    commit.finish_unpublished().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A filter that the account doesn't have is 400 here, as callers expect.
fn no_filter(error: Error) -> Trouble {
    match error {
        Error::NotFound(why) => Trouble::invalid(why),
        error => error.into(),
    }
}

/// In seconds; 0 for what never ends.
fn expiry(at: Option<u64>) -> Result<u32, Trouble> {
    let Some(at) = at else { return Ok(0) };
    u32::try_from(at / 1000)
        .ok()
        .filter(|at| *at > clock::wall_seconds())
        .ok_or_else(|| {
            Trouble::invalid(
                "expirationDate is in milliseconds since 1970, ahead of now and before 2106",
            )
        })
}

fn model(row: SharedTokenRow, secret: &Secret) -> SharedModel {
    SharedModel {
        id: row.id,
        name: row.name,
        token: secret.reveal().to_owned(),
        filters: row.filters,
        last_used: row.last_used_at,
        expiration_date: (row.expires_at != 0).then(|| millis(row.expires_at)),
        filters_operator: match row.join {
            Join::And => Operator::And,
            Join::Or => Operator::Or,
        },
    }
}

// === impl Operator ===

impl Operator {
    fn join(self) -> Join {
        match self {
            Self::And => Join::And,
            Self::Or => Join::Or,
        }
    }
}
