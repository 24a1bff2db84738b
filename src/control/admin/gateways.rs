//! `/gateways`: who follows the feed, how far they are, and who follows no more.

use axum::{Extension, Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    Actor,
    enforced::cut,
    extract::{Name, NoBody, Page, Query},
    problem::Problem,
};
use crate::control::{
    Control,
    publish::{At, everybody},
    record::rfc3339,
};

/// A gateway that follows, or has followed and was not retired.
#[derive(Serialize, ToSchema)]
pub(super) struct GatewayView {
    name: String,
    version: String,
    connected: bool,
    /// `this` control plane or `another` one of the same store; null while it is not connected.
    connected_to: Option<At>,
    /// Enforced, and on the gateway's disk; the last that was heard of it.
    revision: u64,
    /// Revisions behind the head.
    lag: u64,
    /// Null while it is not connected to this control plane.
    connected_since: Option<String>,
    /// Up to 15 s old where it is connected to another one.
    last_seen_at: String,
    /// Since its last acknowledgement to this control plane, in milliseconds.
    last_acknowledged_ms: Option<u64>,
}

/// A page of the gateways that were not retired.
#[derive(Serialize, ToSchema)]
pub(super) struct GatewayList {
    items: Vec<GatewayView>,
    /// What to pass as `after` for the next page; null on the last one.
    next: Option<String>,
}

/// Which gateways, and which page of them.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ListQuery {
    connected: Option<bool>,
    after: Option<String>,
    limit: Option<u32>,
}

/// Lists the gateways by name, those of every control plane. One that is not connected may be serving on, so it is waited for
/// until it is retired.
#[utoipa::path(get, path = "/gateways", params(("connected" = Option<bool>, Query), ("after" = Option<String>, Query),
    ("limit" = Option<u32>, Query)), responses((status = 200, body = GatewayList)))]
pub(super) async fn list(
    State(control): State<Control>,
    Query(query): Query<ListQuery>,
) -> Result<Json<GatewayList>, Problem> {
    let (_, limit) = Page::new(None, query.limit).bounds()?;
    let store = &control.inner.store;
    let mut gateways = everybody(store).await?;
    // What they have reached was read before.
    let head = store.publisher().head();
    gateways.retain(|(gateway, at)| {
        query.connected.is_none_or(|asked| asked == at.is_some())
            && query
                .after
                .as_ref()
                .is_none_or(|after| gateway.name > *after)
    });
    let next = cut(&mut gateways, limit, |(gateway, _)| gateway.name.clone());
    let items = gateways
        .into_iter()
        .map(|(gateway, at)| GatewayView {
            name: gateway.name,
            version: gateway.version,
            connected: at.is_some(),
            connected_to: at,
            revision: gateway.revision,
            lag: head.saturating_sub(gateway.revision),
            connected_since: gateway.connected_since.map(rfc3339),
            last_seen_at: rfc3339(gateway.last_seen_at),
            last_acknowledged_ms: gateway.last_acknowledged_ms,
        })
        .collect();
    Ok(Json(GatewayList { items, next }))
}

/// Takes a gateway out that runs no more, so that nothing waits for it. One that is connected can't be.
#[utoipa::path(delete, path = "/gateways/{name}", params(("name" = String, Path)),
    responses((status = 200), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn retire(
    State(control): State<Control>,
    Extension(Actor(actor)): Extension<Actor>,
    Name(name): Name,
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
    // Nor where another control plane speaks for it.
    let row = commit.gateway(&name).await?;
    if store.is_shared() && row.is_some_and(|row| gateways.is_held(&row)) {
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
