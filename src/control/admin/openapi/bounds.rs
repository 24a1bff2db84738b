//! What parameters and fields may hold, by their names: said once for every route that has one.

use serde_json::{Map, Value, json};

use super::super::{etag, extract::IN_SECONDS_MAX, rule::Rule};
use crate::{
    control::{plan::Plan, view},
    model::Ack,
};

/// Ids and counts.
const NUMBER_MAX: u64 = u64::MAX;
/// As [`super::super::extract::name`] has it.
const NAME: &str = r"^(?![0-9]+$)(?! )[^\u0000-\u001f\u007f-\u009f\u00a0\u1680\u2000-\u200a\u2028-\u202f\u205f\u2066-\u2069\u3000]{1,128}(?<! )$";
const KEY: &str = "^[!-~]{1,255}$";
const NO_CONTROL: &str = r"^[^\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]*$";
/// A token that somebody else has made; one of ours has a checksum, which no pattern can say.
const GIVEN: &str = "^(?!whf_)[A-Za-z0-9_-]{16,128}$";

/// Says it in every parameter of the document, and in every field that a request may have.
pub(super) fn state(document: &mut Value) {
    let Some(paths) = document["paths"].as_object_mut() else {
        return;
    };
    let mut bodies = Vec::new();
    for (path, item) in paths {
        for operation in item.as_object_mut().into_iter().flat_map(Map::values_mut) {
            let parameters = operation
                .get_mut("parameters")
                .and_then(Value::as_array_mut);
            for parameter in parameters.into_iter().flatten() {
                let name = parameter["name"].as_str().unwrap_or_default();
                if let Some(schema) = parameter_schema(path, name) {
                    parameter["schema"] = schema;
                }
            }
            let body = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
            bodies.extend(body.as_str().map(str::to_owned));
        }
    }
    let body = "/paths/~1destinations/post/requestBody/content/application~1json/schema";
    if let Some(schema) = document.pointer_mut(body) {
        // The same fields as those of a change, and two of them must be there.
        *schema = json!({"allOf": [schema.take(), {"required": ["name", "kind"]}]});
    }
    // No lines are no mistake.
    document["paths"]["/tokens/import"]["post"]["requestBody"]["required"] = json!(false);
    let Some(schemas) = document["components"]["schemas"].as_object_mut() else {
        return;
    };
    for name in ["LimitsSet", "RatesBody", "DestinationsBody", "TlsBody"] {
        bodies.push(format!("#/components/schemas/{name}"));
    }
    for body in bodies {
        let name = body.rsplit('/').next().unwrap_or_default();
        let fields = schemas
            .get_mut(name)
            .and_then(|schema| schema.get_mut("properties"));
        if let Some(fields) = fields.and_then(Value::as_object_mut) {
            for (field, schema) in fields {
                narrow(name, field, schema);
            }
        }
    }
    schemas.values_mut().for_each(date_times);
    let is_required = |name: &str| {
        schemas
            .get(name)
            .is_some_and(|it| it["required"].is_array())
    };
    let optional: Vec<String> = schemas
        .keys()
        .filter(|name| !is_required(name))
        .cloned()
        .collect();
    schemas.insert(
        "Reference".to_owned(),
        json!({
            "description": "A positive id, or a name",
            "oneOf": [{"type": "integer", "minimum": 0, "maximum": NUMBER_MAX}, reference()]
        }),
    );
    may_be_missing(document, &optional);
    // One of two fields must be there.
    document["paths"]["/leaks"]["post"]["requestBody"]["required"] = json!(true);
}

/// Without a body there are no fields, which is fine where none has to be there.
fn may_be_missing(document: &mut Value, schemas: &[String]) {
    let paths = document["paths"].as_object_mut();
    for item in paths.into_iter().flat_map(Map::values_mut) {
        for operation in item.as_object_mut().into_iter().flat_map(Map::values_mut) {
            let Some(body) = operation.get_mut("requestBody") else {
                continue;
            };
            let schema = &body["content"]["application/json"]["schema"]["$ref"];
            let name = schema.as_str().and_then(|it| it.rsplit('/').next());
            if name.is_some_and(|name| schemas.iter().any(|it| it == name)) {
                body["required"] = json!(false);
            }
        }
    }
}

/// What the headers of a route say: the document's half of `etag` and `idempotency`.
pub(super) fn headers(operation: &mut Value, rule: &Rule) {
    let header = |name: &str, description: &str| {
        json!({"name": name, "in": "header", "required": false, "description": description,
            "schema": {"type": "string"}})
    };
    let mut more = Vec::new();
    if rule.method == "get" {
        let description = "ETags of what the caller has; 304 when it is still that";
        more.push(header("If-None-Match", description));
        operation["responses"]["304"] = json!({"description": "The caller has it"});
    } else if etag::kind(rule).is_some() {
        let description = "ETags of what may be changed; 412 when it is another by now";
        more.push(header("If-Match", description));
    }
    if rule.takes_key() {
        let description = match rule.makes() {
            true => {
                "Under one key it is made once in 24 hours, and whoever asks again gets the first answer"
            }
            false => {
                "Under one key it is done once in 24 hours, and whoever sends the same again gets the first answer"
            }
        };
        let mut header = header("Idempotency-Key", description);
        header["schema"]["pattern"] = json!(KEY);
        more.push(header);
    }
    problems(operation);
    if !operation["parameters"].is_array() {
        operation["parameters"] = json!([]);
    }
    if let Some(parameters) = operation["parameters"].as_array_mut() {
        parameters.extend(more);
    }
}

/// Errors are problem documents, whatever the handler's description takes them for.
fn problems(operation: &mut Value) {
    let responses = operation["responses"].as_object_mut();
    for (status, response) in responses.into_iter().flatten() {
        let content = response.get_mut("content").and_then(Value::as_object_mut);
        if let Some(content) = content
            && status.starts_with(['4', '5'])
            && let Some(problem) = content.remove("application/json")
        {
            content.insert("application/problem+json".to_owned(), problem);
        }
    }
}

fn parameter_schema(path: &str, name: &str) -> Option<Value> {
    let words = |words: &[&str]| json!({"type": "string", "enum": words});
    let number = |least: u64, most: u64| json!({"type": "integer", "format": "uint64", "minimum": least, "maximum": most});
    let is_usage = path.ends_with("/usage");
    Some(match name {
        "id" => number(1, NUMBER_MAX),
        "limit" if is_usage => number(1, 1500),
        "limit" => number(1, 1000),
        "timeout_ms" => number(0, 60_000),
        "token" => number(0, NUMBER_MAX),
        "after" if is_usage => json!({"type": "string", "pattern": r"^[0-9]{1,18}\.[0-9]{1,18}$"}),
        "after" if path != "/gateways" => number(0, NUMBER_MAX),
        "account" | "parent" => reference(),
        // On the request line nobody may write a NUL.
        "name" | "action" | "actor" | "subject" | "after" => {
            json!({"type": "string", "pattern": r"^[^\u0000]*$"})
        }
        "head" | "accept" => {
            json!({"type": "string", "pattern": "^[1-9][0-9]{0,17}:[0-9a-fA-F]{64}$"})
        }
        "wait" => words(&["enforced"]),
        "confirm" => json!({"type": "string", "pattern": "^dropped-[0-9]{1,18}$"}),
        "signal" => words(&["logs", "metrics", "traces"]),
        "step" => words(&["minute", "hour", "day"]),
        "group" => words(&["none", "signal", "token"]),
        "plan" => words(&Plan::NAMES),
        "kind" => words(&["archive", "http", "otlp_http", "otlp_grpc"]),
        "state" => match path {
            "/accounts" => words(&["active", "suspended"]),
            "/tokens" => words(&["live", "disabled", "revoked", "expired"]),
            _ => words(&["live", "revoked", "expired"]),
        },
        "from" | "to" => json!({"type": "string", "format": "date-time"}),
        _ => return None,
    })
}

/// An id or a name, as a text.
fn reference() -> Value {
    json!({"type": "string", "maxLength": 128, "pattern": NO_CONTROL})
}

/// What a sub-account may have from its parent.
fn inherited() -> Vec<&'static str> {
    let signals = ["logs", "metrics", "traces"];
    signals.into_iter().chain(view::limit_names()).collect()
}

/// Adds to a request's field what its type can't say; null stays what it is.
fn narrow(schema_name: &str, field: &str, schema: &mut Value) {
    let words = |words: &[&str]| json!({"enum": words});
    let number =
        |least: u64, most: u64| json!({"format": "uint64", "minimum": least, "maximum": most});
    let bounds = match field {
        // A login's name is whatever somebody types.
        "name" if schema_name != "Login" => json!({"pattern": NAME}),
        "password" | "new_password" if schema_name != "Login" => {
            json!({"minLength": 12, "maxLength": 256})
        }
        "description" => json!({"maxLength": 500, "pattern": NO_CONTROL}),
        "field" | "value" if schema_name == "NewSharedFilterBody" => {
            json!({"pattern": "^[a-zA-Z0-9_@.-]{1,128}$"})
        }
        "filters" => {
            let id =
                json!({"type": "integer", "format": "uint64", "minimum": 1, "maximum": NUMBER_MAX});
            json!({"maxItems": 32, "items": id})
        }
        "sources" => json!({"maxItems": 64}),
        "token" if schema_name == "TokenBody" => json!({"pattern": GIVEN}),
        "digest" => json!({"pattern": "^[0-9a-fA-F]{32}$"}),
        "reason" => json!({"maxLength": 500, "pattern": NO_CONTROL}),
        "signal" => words(&["logs", "metrics", "traces"]),
        "plan" => words(&Plan::NAMES),
        "state" => words(&["active", "suspended"]),
        "kind" => words(&["archive", "http", "otlp_http", "otlp_grpc"]),
        "compression" => words(&["as_received", "identity"]),
        "ack" => words(&Ack::ALL.map(Ack::name)),
        "connect_timeout_ms" => number(1, 60_000),
        "request_timeout_ms" => number(1, 600_000),
        "overlap_seconds" => number(0, 30 * 86_400),
        "expires_in_seconds" | "trial_seconds" => number(1, IN_SECONDS_MAX.into()),
        "scopes" => json!({"minItems": 1}),
        "inherit" => json!({"items": {"type": "string", "enum": inherited()}}),
        field => match view::limit_bounds(field) {
            Some((least, most)) => number(least, most),
            None => return,
        },
    };
    let is_nullable = schema["type"]
        .as_array()
        .is_some_and(|types| types.contains(&json!("null")));
    if let (Some(schema), Value::Object(bounds)) = (schema.as_object_mut(), bounds) {
        for (key, value) in bounds {
            let value = match value {
                Value::Array(mut words) if is_nullable && key == "enum" => {
                    words.push(Value::Null);
                    words.into()
                }
                value => value,
            };
            schema.insert(key, value);
        }
    }
}

/// Every time is RFC 3339; those of requests end in Z.
fn date_times(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if let Some(properties) = fields.get_mut("properties").and_then(Value::as_object_mut) {
                for (name, property) in properties {
                    let is_time = name.ends_with("_at")
                        || name == "trial_until"
                        || name == "at"
                        || name == "start";
                    if is_time && let Some(property) = property.as_object_mut() {
                        property.insert("format".to_owned(), json!("date-time"));
                    }
                }
            }
            fields.values_mut().for_each(date_times);
        }
        Value::Array(items) => items.iter_mut().for_each(date_times),
        _ => {}
    }
}
