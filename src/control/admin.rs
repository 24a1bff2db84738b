//! The admin API: JSON over HTTP under `/api/v1`, every error a problem document.

mod problem;
mod extract;
mod enforced;
mod accounts;
mod destinations;
mod endpoint;
mod tokens;
mod gateways;
mod usage;
mod openapi;

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::{get, post},
};
use std::sync::PoisonError;
use subtle::ConstantTimeEq;

use super::Control;
use problem::Problem;

/// Who asks, for the audit log.
#[derive(Clone)]
struct Actor(String);

/// The whole API. Only its description can be read without a token.
pub(super) fn router(control: Control) -> Router {
    let guarded = Router::new()
        .route("/accounts", get(accounts::list).post(accounts::create))
        .route(
            "/accounts/{id}",
            get(accounts::show)
                .patch(accounts::change)
                .delete(accounts::delete),
        )
        .route(
            "/destinations",
            get(destinations::list).post(destinations::create),
        )
        .route(
            "/destinations/{id}",
            get(destinations::show)
                .patch(destinations::change)
                .delete(destinations::delete),
        )
        .route("/tokens", get(tokens::list).post(tokens::create))
        .route(
            "/tokens/{id}",
            get(tokens::show)
                .patch(tokens::change)
                .delete(tokens::delete),
        )
        .route("/tokens/{id}/enable", post(tokens::enable))
        .route("/tokens/{id}/disable", post(tokens::disable))
        .route("/tokens/{id}/revoke", post(tokens::revoke))
        .route("/tokens/{id}/rotate", post(tokens::rotate))
        .route("/tokens/{id}/reveal", post(tokens::reveal))
        .route("/gateways", get(gateways::list))
        .merge(usage::routes())
        .route_layer(from_fn_with_state(control.clone(), authenticate));
    let api = guarded.route("/openapi.json", get(openapi::document));
    Router::new()
        .nest("/api/v1", api)
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .with_state(control)
}

async fn authenticate(
    State(control): State<Control>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let actor = actor(&control, request.headers()).ok_or_else(|| {
        Problem::new(
            StatusCode::UNAUTHORIZED,
            "give the admin API token as `Authorization: Bearer` or `X-API-TOKEN`; \
             it lies in the file admin-token of the control plane's data folder",
        )
    })?;
    request.extensions_mut().insert(actor);
    Ok(next.run(request).await)
}

/// Whose token the headers carry. Two different ones are nobody's.
fn actor(control: &Control, headers: &HeaderMap) -> Option<Actor> {
    let bearer = headers.get_all(header::AUTHORIZATION).iter().map(|value| {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then(|| token.trim().as_bytes())
    });
    let named = headers
        .get_all("x-api-token")
        .iter()
        .map(|value| Some(value.as_bytes()));
    let mut tokens = bearer.chain(named);
    let token = tokens.next()??;
    if tokens.any(|other| other != Some(token)) {
        return None;
    }
    let digest = control.inner.store.digest_key().digest(token);
    let known = control
        .inner
        .api_tokens
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let found = known.iter().fold(None, |found, (id, one)| {
        if bool::from(one.0.ct_eq(&digest.0)) {
            Some(*id)
        } else {
            found
        }
    });
    found.map(|id| Actor(format!("api_token/{id}")))
}

async fn unknown_route() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "there is no such route; /api/v1/openapi.json lists them all",
    )
}

async fn wrong_method(request: Request) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!(
            "{} is not for this route; the Allow header lists what is",
            request.method()
        ),
    )
}
