//! The API's own description, OpenAPI 3.1.

use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        Components,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::{accounts, destinations, extract, gateways, problem, tokens, usage};
use crate::control::{publish, view};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Wharfinger admin API",
        description = "Every changing call answers with the `revision` of its commit. With `?wait=enforced` it answers \
                       only when every connected gateway enforces that revision, with `enforcement` beside the \
                       object's fields; 202 when the time is up, with the `laggards`. Lists are `{items, next}`. \
                       Errors are `application/problem+json`."
    ),
    servers((url = "/api/v1")),
    security(("bearer" = []), ("token" = [])),
    modifiers(&Schemes),
    paths(
        accounts::list, accounts::show, accounts::create, accounts::change, accounts::delete,
        destinations::list, destinations::show, destinations::create, destinations::change, destinations::delete,
        tokens::list, tokens::show, tokens::create, tokens::change, tokens::enable, tokens::disable,
        tokens::revoke, tokens::rotate, tokens::reveal, tokens::delete,
        gateways::list,
        usage::account, usage::senders,
    ),
    components(schemas(
        problem::Problem, extract::Reference, publish::Enforcement, view::AccountLimits, view::Header,
    ))
)]
struct Document;

struct Schemes;

// === impl Schemes ===

impl Modify for Schemes {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_with(Components::new);
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let token = ApiKey::Header(ApiKeyValue::new("X-API-TOKEN"));
        components.add_security_scheme("token", SecurityScheme::ApiKey(token));
    }
}

/// The document.
pub(super) async fn document() -> Response {
    match Document::openapi().to_json() {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the API's description can't be written");
            problem::Problem::new(
                axum::http::StatusCode::INTERNAL_SERVER_ERROR,
                "the description can't be written; the log says why",
            )
            .into_response()
        }
    }
}
