//! Routes that automation written for Logz.io calls: thin views of this API, on the same port, at the paths it knows.
//!
//! `routes` is their page. `guard` decides, on what the store says now; it takes API tokens of accounts alone, in
//! `X-API-TOKEN`. What these routes make, count and reveal is subject to the same plans, scopes and audit log.

mod routes;
mod guard;
mod trouble;
mod value;
mod whoami;
mod shipping;
mod kept;
mod accounts;
mod metrics;
mod shared;
mod filters;
mod api_tokens;
mod audit;

use axum::{Router, middleware::from_fn_with_state};

pub(super) use routes::Described;
pub(in crate::control) use routes::table;
#[cfg(test)]
pub(in crate::control) use routes::{Of, Rule};
pub(super) use trouble::Said;

use crate::control::Control;

/// The page of routes, each behind its rule.
pub(super) fn router(control: &Control) -> Router<Control> {
    routes::table()
        .into_iter()
        .fold(Router::new(), |router, route| {
            let checked = from_fn_with_state((control.clone(), route.rule), guard::admit);
            router.route(route.rule.path, route.handler.route_layer(checked))
        })
}
