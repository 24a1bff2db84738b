//! The API's own description, OpenAPI 3.1, made from the page of routes.

use std::sync::OnceLock;

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use utoipa::{
    OpenApi,
    openapi::{
        Components, Content, Ref, RefOr, ResponseBuilder,
        path::{Operation, PathItem},
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::{
    extract,
    problem::Problem,
    routes::{self, Described},
    rule::{Needs, Rule},
};
use crate::control::{publish, view};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Wharfinger admin API",
        description = "Every changing call answers with the `revision` of its commit. With `?wait=enforced` it answers \
                       only when every gateway that was not retired enforces that revision, with `enforcement` beside the \
                       object's fields; 202 when the time is up, with the `laggards`. Of what ends a token, its `last_accepted_at` says \
                       when any gateway last accepted the token; null if none ever did. Lists are `{items, next}`. \
                       Errors are `application/problem+json`: 401 is nobody's request, 403 says what is missing, and \
                       what the caller may not see is 404."
    ),
    servers((url = "/api/v1")),
    security(("bearer" = []), ("token" = []), ("session" = [])),
    components(schemas(Problem, extract::Reference, publish::Enforcement, view::AccountLimits, view::Header))
)]
struct Document;

/// The document.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, description = "This document")))]
pub(super) async fn document() -> Response {
    static TEXT: OnceLock<Option<String>> = OnceLock::new();
    match TEXT.get_or_init(|| whole().to_json().ok()) {
        Some(text) => ([(header::CONTENT_TYPE, "application/json")], text.as_str()).into_response(),
        None => Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the description can't be written",
        )
        .into_response(),
    }
}

fn whole() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    document.merge(Described::openapi());
    let components = document.components.get_or_insert_with(Components::new);
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    let token = ApiKey::Header(ApiKeyValue::new("X-API-TOKEN"));
    components.add_security_scheme("token", SecurityScheme::ApiKey(token));
    let session = ApiKey::Cookie(ApiKeyValue::new("__Host-wharfinger"));
    components.add_security_scheme("session", SecurityScheme::ApiKey(session));
    for route in routes::table() {
        let item = document.paths.paths.get_mut(route.rule.path);
        if let Some(operation) = item.and_then(|item| operation(item, &route.rule)) {
            state(operation, &route.rule);
        }
    }
    document
}

fn operation<'a>(item: &'a mut PathItem, rule: &Rule) -> Option<&'a mut Operation> {
    match rule.method {
        "get" => item.get.as_mut(),
        "post" => item.post.as_mut(),
        "put" => item.put.as_mut(),
        "patch" => item.patch.as_mut(),
        "delete" => item.delete.as_mut(),
        _ => None,
    }
}

/// What the rule says of it.
fn state(operation: &mut Operation, rule: &Rule) {
    if rule.needs == Needs::Open {
        operation.security = Some(Vec::new());
    } else {
        let needs = match rule.needs {
            Needs::Open | Needs::Caller => "any caller",
            Needs::Read => "scope `read`",
            Needs::Tokens => "scope `tokens`",
            Needs::Accounts => "scope `accounts`",
            Needs::Operator => "an operator",
        };
        let said = operation.description.take();
        let blank = if said.is_some() { "\n\n" } else { "" };
        operation.description = Some(format!("{}{blank}Needs {needs}.", said.unwrap_or_default()));
    }
    let problem = ResponseBuilder::new()
        .description("What went wrong")
        .content(
            "application/problem+json",
            Content::new(Some(Ref::from_schema_name("Problem"))),
        )
        .build();
    operation
        .responses
        .responses
        .insert("default".to_owned(), RefOr::T(problem));
}
