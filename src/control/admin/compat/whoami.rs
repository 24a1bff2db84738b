//! `/v2/whoami`.

use axum::{Extension, Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{guard::Key, trouble::Trouble};
use crate::control::Control;

/// Whose API token it is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Whoami {
    account_id: u64,
    account_name: String,
}

/// Says whose API token it is.
#[utoipa::path(get, path = "/v2/whoami", responses((status = 200, body = Whoami)))]
pub(super) async fn show(
    State(control): State<Control>,
    Extension(key): Extension<Key>,
) -> Result<Json<Whoami>, Trouble> {
    let row = control.inner.store.account(key.account).await?;
    Ok(Json(Whoami {
        account_id: key.account,
        account_name: row.account.name,
    }))
}
