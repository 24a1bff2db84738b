//! The admin API: JSON over HTTP under `/api/v1`, every error a problem document.
//!
//! `routes` is the page to begin with: each route with its handler and with what it needs of a caller. `rule` decides,
//! `guard` asks who calls, afresh for each request.

mod routes;
mod rule;
mod guard;
mod origin;
mod caller;
mod visitor;
mod cookie;
mod throttle;
mod refused;
mod etag;
mod idempotency;
mod problem;
mod extract;
mod unsaid;
mod enforced;
mod written;
mod accounts;
mod destinations;
mod endpoint;
mod rates;
mod tokens;
mod given;
mod import;
mod api_tokens;
mod leaks;
mod shared_tokens;
mod shared_filters;
mod users;
mod session;
mod audit;
mod gateways;
mod usage;
mod compat;
mod openapi;

use axum::{
    Router,
    extract::Request,
    http::{Method, StatusCode},
    middleware::{from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
};

#[cfg(test)]
pub(super) use compat::{Of as CompatOf, Rule as CompatRule, table as compat_table};
#[cfg(test)]
pub(super) use etag::{kind, shows};
#[cfg(test)]
pub(super) use routes::table;
#[cfg(test)]
pub(super) use rule::{Concerns, Needs, Readers, Rule};

pub(super) use refused::Refusals;
pub(super) use throttle::Throttle;

use super::{Control, terms::Errand};
use problem::Problem;

/// Who asks, for the audit log, and on which terms: whoever begins a commit with it holds to them.
#[derive(Clone)]
struct Actor(Errand);

/// The whole API: the page of routes, each behind its rule.
pub(super) fn router(control: Control) -> Router {
    let api = routes::table()
        .into_iter()
        .fold(Router::new(), |router, route| {
            let checked = from_fn_with_state((control.clone(), route.rule), guard::admit);
            let handler = match openapi::takes_query(&route.rule) {
                true => route.handler,
                // Behind the check: whoever may not ask is told nothing else.
                false => route.handler.route_layer(from_fn(guard::no_query)),
            };
            router.route(route.rule.path, handler.route_layer(checked))
        });
    Router::new()
        .nest("/api/v1", api)
        .merge(compat::router(&control))
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

/// The router adds the Allow header. No page of another origin is let in: there are no CORS headers, also here.
async fn wrong_method(method: Method, _: Request) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{method} is not for this route; the Allow header lists what is"),
    )
    .into_response()
}
