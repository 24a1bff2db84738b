//! The admin API: JSON over HTTP under `/api/v1`, every error a problem document.
//!
//! `routes` is the page to begin with: each route with its handler and with what it needs of a caller. `rule` decides,
//! `guard` asks who calls, afresh for each request.

mod routes;
mod rule;
mod guard;
mod caller;
mod cookie;
mod throttle;
mod refused;
mod problem;
mod extract;
mod enforced;
mod accounts;
mod destinations;
mod endpoint;
mod tokens;
mod import;
mod api_tokens;
mod leaks;
mod users;
mod session;
mod audit;
mod gateways;
mod usage;
mod openapi;

use axum::{
    Router,
    extract::Request,
    http::{Method, StatusCode},
    middleware::from_fn_with_state,
};

#[cfg(test)]
pub(super) use routes::table;
#[cfg(test)]
pub(super) use rule::{Concerns, Needs, Readers, Rule};

pub(super) use refused::Allowance;
pub(super) use throttle::Throttle;

use super::{Control, record::Who};
use problem::Problem;

/// Who asks, for the audit log.
#[derive(Clone)]
struct Actor(Who);

/// The whole API: the page of routes, each behind its rule.
pub(super) fn router(control: Control) -> Router {
    let api = routes::table()
        .into_iter()
        .fold(Router::new(), |router, route| {
            let checked = from_fn_with_state((control.clone(), route.rule), guard::admit);
            router.route(route.rule.path, route.handler.route_layer(checked))
        });
    Router::new()
        .nest("/api/v1", api)
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .with_state(control)
}

async fn unknown_route() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "there is no such route; /api/v1/openapi.json lists them all",
    )
}

async fn wrong_method(method: Method, _: Request) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{method} is not for this route; the Allow header lists what is"),
    )
}
