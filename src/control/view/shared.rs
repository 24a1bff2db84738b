//! Shared tokens and their filters as they are shown.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    clock,
    control::{
        record::{SharedFilterRow, SharedTokenRow, rfc3339, rfc3339_seconds},
        sight::Join,
    },
};

/// A shared token; never the token itself.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::control) struct SharedToken {
    pub(in crate::control) id: u64,
    account: u64,
    name: String,
    /// `and`: what every filter matches. `or`: what any of them matches.
    join: Join,
    /// Ids of filters; without any, all of the account's usage is shown.
    filters: Vec<u64>,
    /// `live`, `revoked` or `expired`.
    state: &'static str,
    expires_at: Option<String>,
    created_by: String,
    created_at: String,
    updated_at: String,
    /// At most a minute older than the last use.
    last_used_at: Option<String>,
}

/// A filter of shared tokens.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::control) struct SharedFilter {
    pub(in crate::control) id: u64,
    account: u64,
    /// `signal`, `token_id` or `token_name`; any other matches nothing.
    field: String,
    value: String,
    description: String,
    created_by: String,
    created_at: String,
    updated_at: String,
}

// === impl SharedToken ===

impl From<&SharedTokenRow> for SharedToken {
    fn from(row: &SharedTokenRow) -> Self {
        Self {
            id: row.id,
            account: row.account,
            name: row.name.clone(),
            join: row.join,
            filters: row.filters.clone(),
            state: row.state(clock::wall_seconds()),
            expires_at: rfc3339_seconds(row.expires_at),
            created_by: row.created_by.clone(),
            created_at: rfc3339(row.created_at),
            updated_at: rfc3339(row.updated_at),
            last_used_at: row.last_used_at.map(rfc3339),
        }
    }
}

// === impl SharedFilter ===

impl From<&SharedFilterRow> for SharedFilter {
    fn from(row: &SharedFilterRow) -> Self {
        Self {
            id: row.id,
            account: row.account,
            field: row.field.clone(),
            value: row.value.clone(),
            description: row.description.clone(),
            created_by: row.created_by.clone(),
            created_at: rfc3339(row.created_at),
            updated_at: rfc3339(row.updated_at),
        }
    }
}
