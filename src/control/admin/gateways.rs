//! `/gateways`: who follows the feed, how far they are, and who follows no more.

use axum::{Extension, Json, extract::State, http::StatusCode};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    Actor,
    extract::{Name, NoBody, NoQuery, Query},
    problem::Problem,
};
use crate::control::{
    Control,
    record::{self, rfc3339},
};

/// A control plane writes down every minute whom it serves; one that crashed leaves that behind.
const HELD_FOR_MS: u64 = 150_000;

/// A gateway that follows, or has followed and was not retired.
#[derive(Serialize, ToSchema)]
pub(super) struct GatewayView {
    name: String,
    version: String,
    connected: bool,
    /// Enforced, and on the gateway's disk; the last that was heard of it.
    revision: u64,
    /// Revisions behind the head.
    lag: u64,
    /// Null while it is not connected.
    connected_since: Option<String>,
    last_seen_at: String,
    /// Since its last acknowledgement, in milliseconds.
    last_acknowledged_ms: Option<u64>,
}

/// Every gateway that was not retired.
#[derive(Serialize, ToSchema)]
pub(super) struct GatewayList {
    items: Vec<GatewayView>,
}

/// Lists the gateways. One that is not connected may be serving on, so it is waited for until it is retired.
#[utoipa::path(get, path = "/gateways", responses((status = 200, body = GatewayList)))]
pub(super) async fn list(State(control): State<Control>) -> Json<GatewayList> {
    let state = control.feed_state();
    let items = state
        .gateways
        .into_iter()
        .map(|gateway| GatewayView {
            name: gateway.name,
            version: gateway.version,
            connected: gateway.connected_since.is_some(),
            revision: gateway.revision,
            lag: state.head.saturating_sub(gateway.revision),
            connected_since: gateway.connected_since.map(rfc3339),
            last_seen_at: rfc3339(gateway.last_seen_at),
            last_acknowledged_ms: gateway.last_acknowledged_ms,
        })
        .collect();
    Json(GatewayList { items })
}

/// Takes a gateway out that runs no more, so that nothing waits for it. One that is connected can't be.
#[utoipa::path(delete, path = "/gateways/{name}", params(("name" = String, Path)),
    responses((status = 200), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn retire(
    State(control): State<Control>,
    Extension(Actor(actor)): Extension<Actor>,
    Name(name): Name,
    Query(NoQuery {}): Query<NoQuery>,
    _: NoBody,
) -> Result<Json<Value>, Problem> {
    let store = &control.inner.store;
    let gateways = &store.publisher().gateways;
    let connected = || {
        Problem::new(
            StatusCode::CONFLICT,
            format!("gateway {name:?} is connected; stop it first"),
        )
    };
    let mut commit = store.begin(&actor).await?;
    // With the writer held: one that connects from here on has itself written down after this.
    if gateways.is_connected(&name) {
        return Err(connected());
    }
    // Nor where another control plane speaks for it, as of the last minutes.
    let elsewhere = commit.gateway(&name).await?.filter(|row| {
        row.holder != 0 && row.last_seen_at.saturating_add(HELD_FOR_MS) > record::now()
    });
    if store.is_shared() && elsewhere.is_some() {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            format!(
                "gateway {name:?} is connected to another control plane, or was moments ago; stop it first"
            ),
        ));
    }
    commit.forget_gateway(&name).await?;
    commit.finish_unpublished().await?;
    // One that has connected meanwhile has itself written down again.
    if !gateways.retire(&name) {
        return Err(connected());
    }
    Ok(Json(json!({"name": name})))
}
