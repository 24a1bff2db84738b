//! API tokens, people and audit records as they are shown.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    clock,
    control::{
        record::{ApiTokenRow, AuditRow, UserRow, rfc3339, rfc3339_seconds},
        scope::Role,
    },
};

/// An API token; never the token itself.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::control) struct ApiToken {
    pub(in crate::control) id: u64,
    /// Whose it is; null for an operator's.
    account: Option<u64>,
    name: String,
    /// Of `read`, `tokens` and `accounts`.
    scopes: Vec<&'static str>,
    /// `live`, `revoked` or `expired`.
    state: &'static str,
    expires_at: Option<String>,
    created_by: String,
    created_at: String,
    /// At most a minute older than the last use.
    last_used_at: Option<String>,
}

/// A person; never their password.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::control) struct User {
    pub(in crate::control) id: u64,
    /// Whose they are; null for an operator.
    account: Option<u64>,
    name: String,
    role: Role,
    created_by: String,
    created_at: String,
    updated_at: String,
}

/// A record of the audit log.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::control) struct AuditRecord {
    /// Its place, from 1 without a gap.
    pub(in crate::control) seq: u64,
    at: String,
    /// `user/3`, `api_token/1`, or a name of the control plane's own.
    actor: String,
    /// From where.
    address: Option<String>,
    action: String,
    subject: String,
    account: Option<u64>,
    /// The subject before; never a secret.
    old: Option<Value>,
    /// The subject afterwards.
    new: Option<Value>,
    revision: u64,
    /// Its own and those before it, for operators; null for others. Kept elsewhere as `seq:hash`, it shows to
    /// `/audit/verify` that nothing up to here was written anew or cut away.
    hash: Option<String>,
}

// === impl ApiToken ===

impl ApiToken {
    /// `live`, `revoked` or `expired`.
    pub(in crate::control) fn state(&self) -> &'static str {
        self.state
    }
}

impl From<&ApiTokenRow> for ApiToken {
    fn from(row: &ApiTokenRow) -> Self {
        let is_expired = row.expires_at != 0 && row.expires_at <= clock::wall_seconds();
        Self {
            id: row.id,
            account: row.account,
            name: row.name.clone(),
            scopes: row.scopes.names(),
            state: match (row.revoked_at, is_expired) {
                (Some(_), _) => "revoked",
                (None, true) => "expired",
                (None, false) => "live",
            },
            expires_at: rfc3339_seconds(row.expires_at),
            created_by: row.created_by.clone(),
            created_at: rfc3339(row.created_at),
            last_used_at: row.last_used_at.map(rfc3339),
        }
    }
}

// === impl User ===

impl From<&UserRow> for User {
    fn from(row: &UserRow) -> Self {
        Self {
            id: row.id,
            account: row.account,
            name: row.name.clone(),
            role: row.role,
            created_by: row.created_by.clone(),
            created_at: rfc3339(row.created_at),
            updated_at: rfc3339(row.updated_at),
        }
    }
}

// === impl AuditRecord ===

impl From<&AuditRow> for AuditRecord {
    fn from(row: &AuditRow) -> Self {
        // What we wrote is JSON; what somebody else wrote is shown as the text it is.
        let state = |text: &String| {
            serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()))
        };
        Self {
            seq: row.seq,
            at: rfc3339(row.at),
            actor: row.who.name.clone(),
            address: row.who.address.clone(),
            action: row.action.clone(),
            subject: row.subject.clone(),
            account: row.account,
            old: row.old.as_ref().map(state),
            new: row.new.as_ref().map(state),
            revision: row.revision,
            hash: row.hash.as_deref().map(hexadecimal),
        }
    }
}

/// A hash as it is written.
pub(in crate::control) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
