//! The API's own description, OpenAPI 3.1, made from the page of routes.

mod bounds;
mod waiting;

use std::sync::OnceLock;

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use utoipa::{
    OpenApi,
    openapi::{
        Components, Content, Ref, RefOr, ResponseBuilder,
        path::{Operation, ParameterIn, PathItem},
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::{
    compat, extract,
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
                       object's fields; 202 when the time is up, with the `laggards`. Of what ends a token, or suspends an \
                       account, its `last_accepted_at` says when any gateway last accepted the token, or any of the \
                       account and its sub-accounts; null if none is known of. Lists are `{items, next}`. \
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
    answer(TEXT.get_or_init(text))
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Wharfinger's compatible routes",
        description = "Routes that automation written for Logz.io calls, as views of the admin API. They take an \
                       account's API token in `X-API-TOKEN`; whoever may not is answered 403 `{\"code\": 403, \
                       \"message\": \"Insufficient privileges\"}`, whatever else goes wrong `{\"code\", \"message\"}`. \
                       Fields that they don't know are left unread."
    ),
    servers((url = "/")),
    security(("token" = [])),
    components(schemas(compat::Said))
)]
struct CompatDocument;

/// Describes the compatible routes, which stand beside `/api/v1`.
#[utoipa::path(get, path = "/compat/openapi.json", responses((status = 200, description = "Their document")))]
pub(super) async fn compatible() -> Response {
    static TEXT: OnceLock<Option<String>> = OnceLock::new();
    answer(TEXT.get_or_init(|| {
        let mut document = CompatDocument::openapi();
        document.merge(compat::Described::openapi());
        let components = document.components.get_or_insert_with(Components::new);
        let token = ApiKey::Header(ApiKeyValue::new("X-API-TOKEN"));
        components.add_security_scheme("token", SecurityScheme::ApiKey(token));
        for route in compat::table() {
            let item = document.paths.paths.get_mut(route.rule.path);
            let operation = item.and_then(|item| operation(item, route.rule.method));
            if let Some(operation) = operation {
                let scopes = route.rule.scopes.iter();
                let scopes: Vec<_> = scopes.map(|it| format!("scope `{}`", it.name())).collect();
                let needs = match scopes.is_empty() {
                    true => "any API token of an account".to_owned(),
                    false => scopes.join(" and "),
                };
                say(operation, &needs, "application/json", "Trouble");
            }
        }
        document.to_json().ok()
    }))
}

fn answer(text: &'static Option<String>) -> Response {
    match text {
        Some(text) => ([(header::CONTENT_TYPE, "application/json")], text.as_str()).into_response(),
        None => Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the description can't be written",
        )
        .into_response(),
    }
}

/// Whether the route's description has a parameter in the query.
pub(super) fn takes_query(rule: &Rule) -> bool {
    static PATHS: OnceLock<utoipa::openapi::Paths> = OnceLock::new();
    let paths = PATHS.get_or_init(|| Described::openapi().paths);
    let mut item = paths.paths.get(rule.path).cloned();
    let operation = item.as_mut().and_then(|item| operation(item, rule.method));
    let parameters = operation.and_then(|operation| operation.parameters.as_ref());
    parameters
        .into_iter()
        .flatten()
        .any(|parameter| match parameter {
            RefOr::T(parameter) => parameter.parameter_in == ParameterIn::Query,
            RefOr::Ref(_) => true,
        })
}

/// With what only we know of names and headers.
fn text() -> Option<String> {
    let mut document = serde_json::to_value(whole()).ok()?;
    for route in routes::table() {
        let item = document["paths"].get_mut(route.rule.path)?;
        bounds::headers(item.get_mut(route.rule.method)?, &route.rule);
    }
    bounds::state(&mut document);
    waiting::state(&mut document);
    Some(document.to_string())
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
        if let Some(operation) = item.and_then(|item| operation(item, route.rule.method)) {
            state(operation, &route.rule);
        }
    }
    document
}

fn operation<'a>(item: &'a mut PathItem, method: &str) -> Option<&'a mut Operation> {
    match method {
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
    let needs = match rule.needs {
        Needs::Open => "nothing",
        Needs::Caller => "any caller",
        Needs::Read => "scope `read`",
        Needs::Tokens => "scope `tokens`",
        Needs::Accounts => "scope `accounts`",
        Needs::Operator => "an operator",
        Needs::Shared => "a shared token",
    };
    if rule.needs == Needs::Open {
        operation.security = Some(Vec::new());
    }
    say(operation, needs, "application/problem+json", "Problem");
}

/// What it needs, and how it says what went wrong.
fn say(operation: &mut Operation, needs: &str, kind: &str, schema: &str) {
    let said = operation.description.take();
    let blank = if said.is_some() { "\n\n" } else { "" };
    operation.description = Some(format!("{}{blank}Needs {needs}.", said.unwrap_or_default()));
    let problem = ResponseBuilder::new()
        .description("What went wrong")
        .content(kind, Content::new(Some(Ref::from_schema_name(schema))))
        .build();
    operation
        .responses
        .responses
        .insert("default".to_owned(), RefOr::T(problem));
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::text;

    #[test]
    fn whatever_can_be_waited_for_says_what_202_means_and_nothing_else_does() {
        let text = text().expect("a description");
        let document: Value = serde_json::from_str(&text).expect("JSON");
        let mut waiting = 0;
        for (path, item) in document["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("methods") {
                let named = |it: &Value| it["name"] == "wait";
                let waits = operation["parameters"]
                    .as_array()
                    .is_some_and(|all| all.iter().any(named));
                let late = &operation["responses"]["202"];
                assert_eq!(late.is_object(), waits, "{method} {path}");
                if waits {
                    let schema = &late["content"]["application/json"]["schema"]["allOf"];
                    let beside = schema.as_array().and_then(|all| all.last()).expect("one");
                    let required = serde_json::json!(["revision", "enforcement"]);
                    assert_eq!(beside["required"], required, "{method} {path}");
                    waiting += 1;
                }
            }
        }
        assert!(waiting >= 15, "{waiting} calls");
        let enforcement = &document["components"]["schemas"]["Enforcement"]["properties"];
        for field in ["laggards", "last_accepted_at"] {
            assert!(enforcement[field].is_object(), "{field}");
        }
    }
}
