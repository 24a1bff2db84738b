//! Records as people see them, in the admin API's answers and in the audit log: no secret is in them.

mod people;
mod shared;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub(super) use people::{ApiToken, AuditRecord, User, hexadecimal};
pub(super) use shared::{SharedFilter, SharedToken};

use super::record::{AccountRow, DestinationRow, Settings, TokenRow, rfc3339, rfc3339_seconds};
use crate::{
    clock,
    model::{AccountId, AccountState, Compression, Credentials, DestinationId, Limits, Signal},
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

/// Ceilings of one account on one gateway; 0 in the last two means none.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct AccountLimits {
    /// Log bulk: bytes of a body.
    bulk_body_bytes_max: u64,
    /// Log bulk: bytes of a line.
    bulk_line_bytes_max: u64,
    /// OTLP: bytes of a body after inflation.
    otlp_body_bytes_max: u64,
    /// Remote write: bytes of a body after inflation.
    remote_write_body_bytes_max: u64,
    /// Body bytes in memory at once.
    in_flight_bytes_max: u64,
    /// Requests at once.
    concurrency_max: u64,
    /// Remote write over a ceiling: 503 instead of 429.
    remote_write_throttle_as_unavailable: bool,
}

/// Ceilings that are set; others are the parent's, or the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct LimitsSet {
    #[serde(skip_serializing_if = "Option::is_none")]
    bulk_body_bytes_max: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bulk_line_bytes_max: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    otlp_body_bytes_max: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_write_body_bytes_max: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_flight_bytes_max: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrency_max: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_write_throttle_as_unavailable: Option<bool>,
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
            limits: (&row.account.limits).into(),
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

// === impl AccountLimits ===

impl From<&Limits> for AccountLimits {
    fn from(limits: &Limits) -> Self {
        Self {
            bulk_body_bytes_max: limits.bulk_body_bytes_max,
            bulk_line_bytes_max: limits.bulk_line_bytes_max,
            otlp_body_bytes_max: limits.otlp_body_bytes_max,
            remote_write_body_bytes_max: limits.remote_write_body_bytes_max,
            in_flight_bytes_max: limits.in_flight_bytes_max,
            concurrency_max: limits.concurrency_max,
            remote_write_throttle_as_unavailable: limits.remote_write_throttle_as_unavailable,
        }
    }
}

// === impl LimitsSet ===

impl LimitsSet {
    /// What holds when the rest is `base`.
    pub(super) fn over(&self, base: &Limits) -> Limits {
        Limits {
            bulk_body_bytes_max: self.bulk_body_bytes_max.unwrap_or(base.bulk_body_bytes_max),
            bulk_line_bytes_max: self.bulk_line_bytes_max.unwrap_or(base.bulk_line_bytes_max),
            otlp_body_bytes_max: self.otlp_body_bytes_max.unwrap_or(base.otlp_body_bytes_max),
            remote_write_body_bytes_max: self
                .remote_write_body_bytes_max
                .unwrap_or(base.remote_write_body_bytes_max),
            in_flight_bytes_max: self.in_flight_bytes_max.unwrap_or(base.in_flight_bytes_max),
            concurrency_max: self.concurrency_max.unwrap_or(base.concurrency_max),
            remote_write_throttle_as_unavailable: self
                .remote_write_throttle_as_unavailable
                .unwrap_or(base.remote_write_throttle_as_unavailable),
            rates: base.rates,
        }
    }

    /// Also sets what `more` sets.
    pub(super) fn set(&mut self, more: Self) {
        let Self {
            bulk_body_bytes_max,
            bulk_line_bytes_max,
            otlp_body_bytes_max,
            remote_write_body_bytes_max,
            in_flight_bytes_max,
            concurrency_max,
            remote_write_throttle_as_unavailable,
        } = more;
        let places = [
            (&mut self.bulk_body_bytes_max, bulk_body_bytes_max),
            (&mut self.bulk_line_bytes_max, bulk_line_bytes_max),
            (&mut self.otlp_body_bytes_max, otlp_body_bytes_max),
            (
                &mut self.remote_write_body_bytes_max,
                remote_write_body_bytes_max,
            ),
            (&mut self.in_flight_bytes_max, in_flight_bytes_max),
            (&mut self.concurrency_max, concurrency_max),
        ];
        for (place, value) in places {
            *place = value.or(*place);
        }
        let place = &mut self.remote_write_throttle_as_unavailable;
        *place = remote_write_throttle_as_unavailable.or(*place);
    }

    /// Names of sizes that are set to 0, which the feed could not tell from the gateway's default.
    pub(super) fn nothing(&self) -> Option<&'static str> {
        [
            ("bulk_body_bytes_max", self.bulk_body_bytes_max),
            ("bulk_line_bytes_max", self.bulk_line_bytes_max),
            ("otlp_body_bytes_max", self.otlp_body_bytes_max),
            (
                "remote_write_body_bytes_max",
                self.remote_write_body_bytes_max,
            ),
        ]
        .into_iter()
        .find_map(|(name, value)| (value == Some(0)).then_some(name))
    }

    /// Takes a limit back, by its name; false when there is none of that name.
    pub(super) fn unset(&mut self, name: &str) -> bool {
        let place = match name {
            "bulk_body_bytes_max" => &mut self.bulk_body_bytes_max,
            "bulk_line_bytes_max" => &mut self.bulk_line_bytes_max,
            "otlp_body_bytes_max" => &mut self.otlp_body_bytes_max,
            "remote_write_body_bytes_max" => &mut self.remote_write_body_bytes_max,
            "in_flight_bytes_max" => &mut self.in_flight_bytes_max,
            "concurrency_max" => &mut self.concurrency_max,
            "remote_write_throttle_as_unavailable" => {
                self.remote_write_throttle_as_unavailable = None;
                return true;
            }
            _ => return false,
        };
        *place = None;
        true
    }

    fn unset_names(&self) -> impl Iterator<Item = &'static str> {
        [
            ("bulk_body_bytes_max", self.bulk_body_bytes_max.is_none()),
            ("bulk_line_bytes_max", self.bulk_line_bytes_max.is_none()),
            ("otlp_body_bytes_max", self.otlp_body_bytes_max.is_none()),
            (
                "remote_write_body_bytes_max",
                self.remote_write_body_bytes_max.is_none(),
            ),
            ("in_flight_bytes_max", self.in_flight_bytes_max.is_none()),
            ("concurrency_max", self.concurrency_max.is_none()),
            (
                "remote_write_throttle_as_unavailable",
                self.remote_write_throttle_as_unavailable.is_none(),
            ),
        ]
        .into_iter()
        .filter_map(|(name, is_unset)| is_unset.then_some(name))
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
            state: row.state(clock::wall_seconds()),
            expires_at: rfc3339_seconds(row.token.expires_at),
            replaced_by: row.replaced_by,
            created_at: rfc3339(row.created_at),
            updated_at: rfc3339(row.updated_at),
            revision: row.revision,
        }
    }
}
