//! Records as people see them, in the admin API's answers and in the audit log: no secret is in them.

mod limits;
mod rates;
mod people;
mod shared;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub(super) use limits::{AccountLimits, LimitsSet, in_bounds, limit_bounds, limit_names};
pub(super) use people::{ApiToken, AuditRecord, User, hexadecimal};
pub(super) use rates::{RATE_MAX, Rates};
pub(super) use shared::{SharedFilter, SharedToken};

use super::record::{AccountRow, DestinationRow, Settings, TokenRow, rfc3339, rfc3339_seconds};
use crate::{
    clock,
    model::{AccountId, AccountState, Ack, Compression, Credentials, DestinationId, Signal},
};

/// An account.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Account {
    pub(super) id: u64,
    pub(super) name: String,
    /// The main account, of a sub-account.
    parent: Option<u64>,
    /// Whether the parent's people and API tokens reach it.
    accessible: bool,
    /// `community`, `pro`, `enterprise`, `trial` or `unlimited`; a sub-account has its parent's.
    plan: &'static str,
    /// When a trial ends.
    trial_until: Option<String>,
    /// `active` or `suspended`; a sub-account is suspended with its parent.
    pub(super) state: &'static str,
    /// Why it is suspended.
    suspended_reason: Option<String>,
    /// As they hold, inherited ones too.
    pub(super) limits: AccountLimits,
    /// As they hold, inherited ones too.
    pub(super) destinations: Destinations,
    /// What comes from the parent: signals, and names of limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    inherited: Option<Vec<&'static str>>,
    pub(super) created_at: String,
    revision: u64,
}

/// Ids of destinations by signal; null refuses the signal.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(super) struct Destinations {
    logs: Option<u64>,
    metrics: Option<u64>,
    traces: Option<u64>,
}

/// A destination.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Destination {
    pub(super) id: u64,
    name: String,
    /// `archive`, `http`, `otlp_http` or `otlp_grpc`.
    kind: &'static str,
    endpoints: Vec<String>,
    headers: Vec<Header>,
    /// Names alone; their values are never shown.
    secret_headers: Vec<String>,
    credentials: Option<ShownCredentials>,
    tls: Tls,
    connect_timeout_ms: u64,
    request_timeout_ms: u64,
    /// `as_received` or `identity`.
    compression: &'static str,
    allow_link_local: bool,
    /// When gateways may answer success: `destination`, `spool` or `spill`; null is the default, `spill` for logs and traces
    /// and `destination` for metrics. Of an `archive` it is always `destination`.
    ack: Option<&'static str>,
    created_at: String,
    revision: u64,
}

/// A header added to every request; `{account}` and `{token_id}` stand for ids.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) name: String,
    pub(super) value: String,
}

/// Which credentials there are; never their secret.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum ShownCredentials {
    Bearer,
    Basic { user: String },
}

/// TLS towards the endpoints, without the key.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct Tls {
    ca_pem: Option<String>,
    client_certificate_pem: Option<String>,
    server_name: Option<String>,
}

/// A shipping token; never the token itself.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Token {
    pub(super) id: u64,
    account: u64,
    account_name: String,
    /// `logs`, `metrics` or `traces`.
    signal: &'static str,
    name: String,
    /// Empty when there is none.
    description: String,
    /// Networks that it may be used from, as CIDR; none means anywhere.
    sources: Vec<String>,
    rates: Rates,
    /// `live`, `disabled`, `revoked` or `expired`.
    state: &'static str,
    expires_at: Option<String>,
    /// The token that a rotation made instead of this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced_by: Option<u64>,
    created_at: String,
    updated_at: String,
    revision: u64,
}

// === impl Account ===

impl From<&AccountRow> for Account {
    fn from(row: &AccountRow) -> Self {
        let to = |signal| row.account.destination(signal).map(|DestinationId(id)| id);
        let is_suspended = row.account.state == AccountState::Suspended;
        Self {
            id: row.account.id.0,
            name: row.account.name.clone(),
            parent: row.parent.map(|AccountId(id)| id),
            accessible: row.accessible,
            plan: row.plan.name(),
            trial_until: row.plan.trial_until().and_then(rfc3339_seconds),
            state: if is_suspended { "suspended" } else { "active" },
            suspended_reason: match &row.suspended {
                Some(reason) => Some(reason.clone()),
                None => is_suspended.then(|| "its main account is suspended".to_owned()),
            },
            limits: row.into(),
            destinations: Destinations {
                logs: to(Signal::Logs),
                metrics: to(Signal::Metrics),
                traces: to(Signal::Traces),
            },
            inherited: row.parent.map(|_| row.set.inherited()),
            created_at: rfc3339(row.created_at),
            revision: row.revision,
        }
    }
}

// === impl Settings ===

impl Settings {
    fn inherited(&self) -> Vec<&'static str> {
        Signal::ALL
            .into_iter()
            .filter(|signal| self.destinations[signal.index()].is_none())
            .map(Signal::name)
            .chain(self.limits.unset_names())
            .collect()
    }
}

// === impl Destination ===

impl From<&DestinationRow> for Destination {
    fn from(row: &DestinationRow) -> Self {
        let destination = &row.destination;
        let millis =
            |wait: std::time::Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Self {
            id: destination.id.0,
            name: destination.name.clone(),
            kind: destination.kind.name(),
            endpoints: destination.endpoints.clone(),
            headers: destination
                .headers
                .iter()
                .map(|(name, value)| Header {
                    name: name.clone(),
                    value: value.clone(),
                })
                .collect(),
            secret_headers: destination
                .secret_headers
                .iter()
                .map(|(name, _)| name.clone())
                .collect(),
            credentials: match &destination.credentials {
                Credentials::None => None,
                Credentials::Bearer(_) => Some(ShownCredentials::Bearer),
                Credentials::Basic { user, .. } => {
                    Some(ShownCredentials::Basic { user: user.clone() })
                }
            },
            tls: Tls {
                ca_pem: destination.tls.ca_pem.clone(),
                client_certificate_pem: destination
                    .tls
                    .client_pem
                    .as_ref()
                    .map(|(certificate, _)| certificate.clone()),
                server_name: destination.tls.server_name.clone(),
            },
            connect_timeout_ms: millis(destination.connect_timeout),
            request_timeout_ms: millis(destination.request_timeout),
            compression: compression_name(destination.compression),
            allow_link_local: destination.allow_link_local,
            ack: destination.ack.map(Ack::name),
            created_at: rfc3339(row.created_at),
            revision: row.revision,
        }
    }
}

/// The name in the admin API and in the store.
pub(super) fn compression_name(compression: Compression) -> &'static str {
    match compression {
        Compression::AsReceived => "as_received",
        Compression::Identity => "identity",
    }
}

// === impl Token ===

impl From<&TokenRow> for Token {
    fn from(row: &TokenRow) -> Self {
        Self {
            id: row.token.id.0,
            account: row.token.account.0,
            account_name: row.account_name.clone(),
            signal: row.token.signal.name(),
            name: row.name.clone(),
            description: row.description.clone(),
            sources: row
                .token
                .sources
                .networks()
                .iter()
                .map(ToString::to_string)
                .collect(),
            rates: (&row.token.rates).into(),
            state: row.state(clock::wall_seconds()),
            expires_at: rfc3339_seconds(row.token.expires_at),
            replaced_by: row.replaced_by,
            created_at: rfc3339(row.created_at),
            updated_at: rfc3339(row.updated_at),
            revision: row.revision,
        }
    }
}
