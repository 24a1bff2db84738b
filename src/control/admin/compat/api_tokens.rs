//! `/v1/api-tokens/sub-account`: an API token for a sub-account.

use axum::{Extension, Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    super::extract::name,
    guard::{Key, is_reached},
    trouble::Trouble,
    value::{Loose, seconds},
};
use crate::control::{Control, Error, store::NewApiToken};

/// An API token to be made.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApiTokenBody {
    name: String,
    account_id: u64,
}

/// A new API token, shown here and never again.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApiTokenModel {
    id: u64,
    name: String,
    token: String,
    /// Seconds since 1970.
    created_at: f64,
}

/// Makes an API token for a sub-account. It may do what the one that asks may do, and ends when that ends.
#[utoipa::path(post, path = "/v1/api-tokens/sub-account", request_body = ApiTokenBody,
    responses((status = 200, body = ApiTokenModel)))]
pub(super) async fn create(
    State(control): State<Control>,
    Extension(key): Extension<Key>,
    Loose(body): Loose<ApiTokenBody>,
) -> Result<Json<ApiTokenModel>, Trouble> {
    let name = name(body.name)?;
    let account = body.account_id;
    let mut commit = control.inner.store.begin(&key.errand).await?;
    let row = Error::found(commit.account(account).await)?;
    if !row.is_some_and(|row| is_reached(&row, key.account)) {
        return Err(Error::NotFound(format!("there is no account {account}")).into());
    }
    let new = NewApiToken {
        account: Some(account),
        name,
        scopes: key.scopes,
        expires_at: key.expires_at,
    };
    // The plan is the main account's, whose own token has just been let in by it.
    let (row, secret) = commit.insert_api_token(new, false).await?;
    commit.finish_unpublished().await?;
    Ok(Json(ApiTokenModel {
        id: row.id,
        name: row.name,
        token: secret.reveal().to_owned(),
        created_at: seconds(row.created_at),
    }))
}
