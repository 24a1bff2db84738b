//! The end of a changing call of which gateways need not know: what it answers is written by then.

use axum::{Json, http::StatusCode};
use serde::Serialize;

use super::problem::Problem;
use crate::control::{Error, store::Commit};

/// What was made, and for which account; whoever asks again under the same key gets it once more.
pub(super) async fn made<T: Serialize>(
    mut commit: Commit,
    account: Option<u64>,
    object: T,
) -> Result<(StatusCode, Json<T>), Problem> {
    commit.remember(account, &object)?;
    commit.finish_unpublished().await?;
    Ok((StatusCode::CREATED, Json(object)))
}

/// What became of something, or a secret: nobody sees that without its record.
pub(super) async fn done<T, E: From<Error>>(commit: Commit, object: T) -> Result<Json<T>, E> {
    commit.finish_unpublished().await?;
    Ok(Json(object))
}
