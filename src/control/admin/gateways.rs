//! `/gateways`: who follows the feed, and how far they are.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::control::{Control, record::rfc3339};

/// A gateway that is connected now.
#[derive(Serialize, ToSchema)]
pub(super) struct GatewayView {
    name: String,
    version: String,
    connected: bool,
    /// Enforced, and on the gateway's disk.
    revision: u64,
    /// Revisions behind the head.
    lag: u64,
    connected_since: String,
    /// Since its last acknowledgement, in milliseconds.
    last_acknowledged_ms: Option<u64>,
}

/// Every connected gateway.
#[derive(Serialize, ToSchema)]
pub(super) struct GatewayList {
    items: Vec<GatewayView>,
}

/// Lists the connected gateways.
#[utoipa::path(get, path = "/gateways", responses((status = 200, body = GatewayList)))]
pub(super) async fn list(State(control): State<Control>) -> Json<GatewayList> {
    let state = control.feed_state();
    let items = state
        .gateways
        .into_iter()
        .map(|gateway| GatewayView {
            name: gateway.name,
            version: gateway.version,
            connected: true,
            revision: gateway.revision,
            lag: state.head.saturating_sub(gateway.revision),
            connected_since: rfc3339(gateway.connected_since),
            last_acknowledged_ms: gateway.last_acknowledged_ms,
        })
        .collect();
    Json(GatewayList { items })
}
