//! `/destinations`.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use axum::{Extension, Json, extract::State, http::StatusCode, response::Response};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{
    Actor, endpoint,
    enforced::{Items, Wait, answer, page},
    extract::{Id, Page, Query, SecretBody, name, nullable},
    problem::Problem,
};
use crate::{
    control::{Control, store::DestinationFilter, view},
    model::{Ack, Compression, Credentials, Destination, DestinationId, DestinationKind, Secret},
};

const CONNECT_MS: RangeInclusive<u32> = 1..=60_000;
const REQUEST_MS: RangeInclusive<u32> = 1..=600_000;

/// A destination, or what to change of one. A new one needs `name` and `kind`.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DestinationBody {
    name: Option<String>,
    /// `archive`, `http`, `otlp_http` or `otlp_grpc`.
    kind: Option<String>,
    /// Absolute http or https URLs, tried in turn.
    endpoints: Option<Vec<String>>,
    /// No credentials: a name that ends in `api-key`, `apikey`, `access-key`, `auth-key`, `token`, `secret` or `cookie`, or
    /// holds `password`, belongs into `secret_headers`, unless its value is `{account}` or `{token_id}` alone.
    headers: Option<Vec<view::Header>>,
    /// Values by name, sent as they are and never shown; null takes one away, null for the field all of them.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<BTreeMap<String, Option<String>>>)]
    secret_headers: Option<Option<BTreeMap<String, Option<String>>>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<CredentialsBody>)]
    credentials: Option<Option<CredentialsBody>>,
    tls: Option<TlsBody>,
    connect_timeout_ms: Option<u32>,
    request_timeout_ms: Option<u32>,
    /// `as_received` or `identity`.
    compression: Option<String>,
    allow_link_local: Option<bool>,
    /// When gateways may answer success: `destination` (it has answered 2xx), `spool` (fsynced in the gateway's spool) or `spill`
    /// (the one, or the other where the destination is down or slow). Null is the default: `spill` for logs and traces,
    /// `destination` for metrics. An `archive` takes `destination` alone.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    ack: Option<Option<String>>,
}

/// How the gateway proves itself.
#[derive(Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
enum CredentialsBody {
    Bearer { token: String },
    Basic { user: String, password: String },
}

/// TLS towards the endpoints; null takes a field away.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TlsBody {
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    ca_pem: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    client_certificate_pem: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    client_key_pem: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    server_name: Option<Option<String>>,
}

/// Which destinations, and which page of them.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ListQuery {
    name: Option<String>,
    kind: Option<String>,
    after: Option<u64>,
    limit: Option<u32>,
}

/// Lists destinations by id.
#[utoipa::path(get, path = "/destinations", params(("name" = Option<String>, Query, description = "Exactly this name"),
    ("kind" = Option<String>, Query), ("after" = Option<u64>, Query), ("limit" = Option<u32>, Query)),
    responses((status = 200, body = Items<view::Destination>)))]
pub(super) async fn list(
    State(control): State<Control>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Items<view::Destination>>, Problem> {
    let (after, limit) = Page::new(query.after, query.limit).bounds()?;
    let filter = DestinationFilter {
        name: query.name,
        kind: query.kind.as_deref().map(kind_of).transpose()?,
    };
    let store = &control.inner.store;
    let rows = store.destinations_of(&filter, after, limit + 1).await?;
    Ok(Json(page(&rows, limit, |item: &view::Destination| item.id)))
}

/// Shows a destination without its secrets.
#[utoipa::path(get, path = "/destinations/{id}", params(("id" = u64, Path)),
    responses((status = 200, body = view::Destination), (status = 404, body = Problem)))]
pub(super) async fn show(
    State(control): State<Control>,
    Id(id): Id,
) -> Result<Json<view::Destination>, Problem> {
    let row = control.inner.store.destination(id).await?;
    Ok(Json((&row).into()))
}

/// Makes a destination.
#[utoipa::path(post, path = "/destinations", request_body = DestinationBody,
    params(("wait" = Option<String>, Query), ("timeout_ms" = Option<u64>, Query)),
    responses((status = 201, body = view::Destination), (status = 409, body = Problem)))]
pub(super) async fn create(
    State(control): State<Control>,
    Extension(Actor(actor)): Extension<Actor>,
    Query(wait): Query<Wait>,
    SecretBody(body): SecretBody<DestinationBody>,
) -> Result<Response, Problem> {
    let wait = wait.duration(&control)?;
    let (Some(_), Some(kind)) = (&body.name, &body.kind) else {
        return Err(Problem::invalid(
            "a new destination needs a name and a kind",
        ));
    };
    let mut destination = Destination::new(DestinationId(0), "", kind_of(kind)?);
    body.apply(&mut destination)?;
    endpoint::check(&destination)?;
    let mut commit = control.inner.store.begin(&actor).await?;
    let row = commit.insert_destination(destination).await?;
    let view = view::Destination::from(&row);
    commit.remember(None, &view)?;
    let published = commit.finish().await?;
    answer(&control, published, wait, StatusCode::CREATED, view).await
}

/// Changes a destination; what isn't named stays as it is, secrets too.
#[utoipa::path(patch, path = "/destinations/{id}", request_body = DestinationBody,
    params(("id" = u64, Path), ("wait" = Option<String>, Query), ("timeout_ms" = Option<u64>, Query)),
    responses((status = 200, body = view::Destination), (status = 404, body = Problem)))]
pub(super) async fn change(
    State(control): State<Control>,
    Extension(Actor(actor)): Extension<Actor>,
    Id(id): Id,
    Query(wait): Query<Wait>,
    SecretBody(body): SecretBody<DestinationBody>,
) -> Result<Response, Problem> {
    let wait = wait.duration(&control)?;
    let mut commit = control.inner.store.begin(&actor).await?;
    let old = commit.destination(id).await?;
    let mut destination = old.destination.clone();
    body.apply(&mut destination)?;
    endpoint::check(&destination)?;
    let row = commit.update_destination(&old, destination).await?;
    let published = commit.finish().await?;
    let view = view::Destination::from(&row);
    answer(&control, published, wait, StatusCode::OK, view).await
}

/// Removes a destination that no account uses.
#[utoipa::path(delete, path = "/destinations/{id}",
    params(("id" = u64, Path), ("wait" = Option<String>, Query), ("timeout_ms" = Option<u64>, Query)),
    responses((status = 200), (status = 409, body = Problem)))]
pub(super) async fn delete(
    State(control): State<Control>,
    Extension(Actor(actor)): Extension<Actor>,
    Id(id): Id,
    Query(wait): Query<Wait>,
) -> Result<Response, Problem> {
    let wait = wait.duration(&control)?;
    let mut commit = control.inner.store.begin(&actor).await?;
    commit.delete_destination(id).await?;
    let published = commit.finish().await?;
    answer(&control, published, wait, StatusCode::OK, json!({"id": id})).await
}

fn kind_of(text: &str) -> Result<DestinationKind, Problem> {
    DestinationKind::parse(text)
        .ok_or_else(|| Problem::invalid("kind is archive, http, otlp_http or otlp_grpc"))
}

fn ack_of(text: &str) -> Result<Ack, Problem> {
    Ack::parse(text).ok_or_else(|| {
        Problem::invalid("ack is destination, spool or spill, or null for the default")
    })
}

/// What isn't named stays: who changes one can't know the others.
fn set_secret_headers(
    headers: &mut Vec<(String, Secret)>,
    changes: BTreeMap<String, Option<String>>,
) {
    for name in changes.keys() {
        headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    }
    let set = changes
        .into_iter()
        .filter_map(|(name, value)| Some((name, Secret::new(value?))));
    headers.extend(set);
}

fn millis(
    name: &str,
    value: Option<u32>,
    range: RangeInclusive<u32>,
    place: &mut Duration,
) -> Result<(), Problem> {
    match value {
        None => Ok(()),
        Some(value) if range.contains(&value) => {
            *place = Duration::from_millis(value.into());
            Ok(())
        }
        Some(_) => Err(Problem::invalid(format!(
            "{name} must lie between {} and {}",
            range.start(),
            range.end()
        ))),
    }
}

// === impl DestinationBody ===

impl DestinationBody {
    fn apply(self, destination: &mut Destination) -> Result<(), Problem> {
        if let Some(text) = self.name {
            destination.name = name(text)?;
        }
        if let Some(text) = self.kind {
            destination.kind = kind_of(&text)?;
        }
        if let Some(endpoints) = self.endpoints {
            destination.endpoints = endpoints;
        }
        if let Some(headers) = self.headers {
            destination.headers = headers
                .into_iter()
                .map(|header| (header.name, header.value))
                .collect();
        }
        match self.secret_headers {
            None => {}
            Some(None) => destination.secret_headers.clear(),
            Some(Some(changes)) => set_secret_headers(&mut destination.secret_headers, changes),
        }
        match self.credentials {
            None => {}
            Some(None) => destination.credentials = Credentials::None,
            Some(Some(credentials)) => destination.credentials = credentials.into(),
        }
        if let Some(tls) = self.tls {
            tls.apply(destination)?;
        }
        let (connect, request) = (self.connect_timeout_ms, self.request_timeout_ms);
        millis(
            "connect_timeout_ms",
            connect,
            CONNECT_MS,
            &mut destination.connect_timeout,
        )?;
        millis(
            "request_timeout_ms",
            request,
            REQUEST_MS,
            &mut destination.request_timeout,
        )?;
        destination.compression = match self.compression.as_deref() {
            None => destination.compression,
            Some("as_received") => Compression::AsReceived,
            Some("identity") => Compression::Identity,
            Some(_) => return Err(Problem::invalid("compression is as_received or identity")),
        };
        destination.allow_link_local = self
            .allow_link_local
            .unwrap_or(destination.allow_link_local);
        if let Some(ack) = self.ack {
            destination.ack = ack.as_deref().map(ack_of).transpose()?;
        }
        Ok(())
    }
}

// === impl CredentialsBody ===

impl From<CredentialsBody> for Credentials {
    fn from(body: CredentialsBody) -> Self {
        match body {
            CredentialsBody::Bearer { token } => Self::Bearer(Secret::new(token)),
            CredentialsBody::Basic { user, password } => Self::Basic {
                user,
                password: Secret::new(password),
            },
        }
    }
}

// === impl TlsBody ===

impl TlsBody {
    /// A certificate and its key stay together: one of them alone replaces its half of the pair that is there.
    fn apply(self, destination: &mut Destination) -> Result<(), Problem> {
        let tls = &mut destination.tls;
        if let Some(ca_pem) = self.ca_pem {
            tls.ca_pem = ca_pem;
        }
        if let Some(server_name) = self.server_name {
            tls.server_name = server_name;
        }
        let (mut certificate, mut key) = tls.client_pem.take().unzip();
        if let Some(pem) = self.client_certificate_pem {
            // Without its certificate a key is of no use to anybody.
            if pem.is_none() {
                key = None;
            }
            certificate = pem;
        }
        if let Some(pem) = self.client_key_pem {
            key = pem.map(Secret::new);
        }
        tls.client_pem = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                return Err(Problem::invalid(
                    "client_certificate_pem and client_key_pem go together",
                ));
            }
        };
        Ok(())
    }
}
