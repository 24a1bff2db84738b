//! `/accounts`.

use axum::{Extension, Json, extract::State, http::StatusCode, response::Response};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{
    Actor,
    enforced::{Items, Wait, answer, page},
    extract::{Body, Id, Page, Query, Reference, name, nullable},
    problem::Problem,
};
use crate::{
    control::{Control, store::Commit, view},
    model::{Account, AccountId, AccountState, DestinationId, Limits, Signal},
};

/// An account to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAccount {
    name: String,
    destinations: Option<DestinationsBody>,
    limits: Option<LimitsBody>,
}

/// What to change of an account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AccountChange {
    name: Option<String>,
    /// `active` or `suspended`.
    state: Option<String>,
    destinations: Option<DestinationsBody>,
    limits: Option<LimitsBody>,
}

/// Where signals go, by id or name; null refuses the signal.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DestinationsBody {
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Reference>)]
    logs: Option<Option<Reference>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Reference>)]
    metrics: Option<Option<Reference>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Reference>)]
    traces: Option<Option<Reference>>,
}

/// Limits to set; others stay as they are.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsBody {
    bulk_body_bytes_max: Option<u64>,
    bulk_line_bytes_max: Option<u64>,
    otlp_body_bytes_max: Option<u64>,
    remote_write_body_bytes_max: Option<u64>,
    in_flight_bytes_max: Option<u64>,
    concurrency_max: Option<u64>,
    remote_write_throttle_as_unavailable: Option<bool>,
}

/// Lists accounts by id.
#[utoipa::path(get, path = "/accounts", params(("after" = Option<u64>, Query), ("limit" = Option<u32>, Query)),
    responses((status = 200, body = Items<view::Account>)))]
pub(super) async fn list(
    State(control): State<Control>,
    Query(query): Query<Page>,
) -> Result<Json<Items<view::Account>>, Problem> {
    let (after, limit) = query.bounds()?;
    let rows = control.inner.store.accounts(after, limit + 1).await?;
    let items = rows.iter().map(view::Account::from).collect();
    Ok(Json(page(items, limit, |item: &view::Account| item.id)))
}

/// Shows an account.
#[utoipa::path(get, path = "/accounts/{id}", params(("id" = u64, Path)),
    responses((status = 200, body = view::Account), (status = 404, body = Problem)))]
pub(super) async fn show(
    State(control): State<Control>,
    Id(id): Id,
) -> Result<Json<view::Account>, Problem> {
    let row = control.inner.store.account(id).await?;
    Ok(Json((&row).into()))
}

/// Makes an account. Signals without a destination go to destination `archive` where there is one.
#[utoipa::path(post, path = "/accounts", request_body = NewAccount,
    params(("wait" = Option<String>, Query), ("timeout_ms" = Option<u64>, Query)),
    responses((status = 201, body = view::Account), (status = 409, body = Problem)))]
pub(super) async fn create(
    State(control): State<Control>,
    Extension(Actor(actor)): Extension<Actor>,
    Query(wait): Query<Wait>,
    Body(new): Body<NewAccount>,
) -> Result<Response, Problem> {
    let wait = wait.duration(&control)?;
    let mut commit = control.inner.store.begin(&actor).await?;
    let archive = commit.destination_named("archive").await?;
    let mut account = Account {
        id: AccountId(0),
        name: name(new.name)?,
        state: AccountState::Active,
        limits: Limits::default(),
        destinations: [archive.map(DestinationId); 3],
    };
    apply(&mut commit, &mut account, new.destinations, new.limits).await?;
    let row = commit.insert_account(account).await?;
    let published = commit.finish().await?;
    let view = view::Account::from(&row);
    answer(&control, published, wait, StatusCode::CREATED, view).await
}

/// Changes an account.
#[utoipa::path(patch, path = "/accounts/{id}", request_body = AccountChange,
    params(("id" = u64, Path), ("wait" = Option<String>, Query), ("timeout_ms" = Option<u64>, Query)),
    responses((status = 200, body = view::Account), (status = 404, body = Problem)))]
pub(super) async fn change(
    State(control): State<Control>,
    Extension(Actor(actor)): Extension<Actor>,
    Id(id): Id,
    Query(wait): Query<Wait>,
    Body(change): Body<AccountChange>,
) -> Result<Response, Problem> {
    let wait = wait.duration(&control)?;
    let mut commit = control.inner.store.begin(&actor).await?;
    let old = commit.account(id).await?;
    let mut account = old.account.clone();
    if let Some(text) = change.name {
        account.name = name(text)?;
    }
    match change.state.as_deref() {
        None => {}
        Some("active") => account.state = AccountState::Active,
        Some("suspended") => account.state = AccountState::Suspended,
        Some(_) => return Err(Problem::invalid("state is active or suspended")),
    }
    apply(
        &mut commit,
        &mut account,
        change.destinations,
        change.limits,
    )
    .await?;
    let row = commit.update_account(&old, account).await?;
    let published = commit.finish().await?;
    let view = view::Account::from(&row);
    answer(&control, published, wait, StatusCode::OK, view).await
}

/// Removes an account all of whose tokens are revoked.
#[utoipa::path(delete, path = "/accounts/{id}",
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
    commit.delete_account(id).await?;
    let published = commit.finish().await?;
    answer(&control, published, wait, StatusCode::OK, json!({"id": id})).await
}

async fn apply(
    commit: &mut Commit,
    account: &mut Account,
    destinations: Option<DestinationsBody>,
    limits: Option<LimitsBody>,
) -> Result<(), Problem> {
    let destinations = destinations.unwrap_or_default();
    for (signal, reference) in [
        (Signal::Logs, destinations.logs),
        (Signal::Metrics, destinations.metrics),
        (Signal::Traces, destinations.traces),
    ] {
        let destination = match reference {
            None => continue,
            Some(None) => None,
            Some(Some(reference)) => Some(destination_id(commit, reference).await?),
        };
        account.destinations[signal.index()] = destination;
    }
    limits.unwrap_or_default().apply(&mut account.limits)
}

async fn destination_id(
    commit: &mut Commit,
    reference: Reference,
) -> Result<DestinationId, Problem> {
    let found = match &reference {
        Reference::Id(id) => commit.destination(*id).await.ok().map(|_| *id),
        Reference::Name(name) => commit.destination_named(name).await?,
    };
    found.map(DestinationId).ok_or_else(|| {
        Problem::invalid(match reference {
            Reference::Id(id) => format!("there is no destination {id}"),
            Reference::Name(name) => format!("there is no destination named {name:?}"),
        })
    })
}

// === impl LimitsBody ===

impl LimitsBody {
    fn apply(self, limits: &mut Limits) -> Result<(), Problem> {
        for (name, value, place) in [
            (
                "bulk_body_bytes_max",
                self.bulk_body_bytes_max,
                &mut limits.bulk_body_bytes_max,
            ),
            (
                "bulk_line_bytes_max",
                self.bulk_line_bytes_max,
                &mut limits.bulk_line_bytes_max,
            ),
            (
                "otlp_body_bytes_max",
                self.otlp_body_bytes_max,
                &mut limits.otlp_body_bytes_max,
            ),
            (
                "remote_write_body_bytes_max",
                self.remote_write_body_bytes_max,
                &mut limits.remote_write_body_bytes_max,
            ),
        ] {
            // On the feed 0 stands for the gateway's default.
            if value == Some(0) {
                return Err(Problem::invalid(format!("{name} must be at least 1")));
            }
            *place = value.unwrap_or(*place);
        }
        let keep = |value: Option<u64>, old| value.unwrap_or(old);
        limits.in_flight_bytes_max = keep(self.in_flight_bytes_max, limits.in_flight_bytes_max);
        limits.concurrency_max = keep(self.concurrency_max, limits.concurrency_max);
        if let Some(value) = self.remote_write_throttle_as_unavailable {
            limits.remote_write_throttle_as_unavailable = value;
        }
        Ok(())
    }
}
