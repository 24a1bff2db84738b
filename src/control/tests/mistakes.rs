//! What is wrong by itself is said before what it stands against. The mistakes are made from the API's own description: a new
//! field is tried as soon as it is described.

use axum::http::header;
use serde_json::{Map, Value, json};

use super::{
    etags::{made, with},
    world::World,
};
use crate::control::admin::{kind, table};

/// A tag of a version that there never was.
const STALE: (header::HeaderName, &str) = (header::IF_MATCH, "\"999\"");

/// What a field of that description can't hold.
fn mistakes(schema: &Value) -> Vec<Value> {
    let mut found = vec![json!({"no": ["such", "thing"]})];
    if let Some(longest) = schema["maxLength"].as_u64() {
        found.push("x".repeat(longest as usize + 1).into());
    }
    if schema["minLength"].is_u64() {
        found.push("x".into());
    }
    if schema["pattern"].is_string() {
        found.push("\u{7}".into());
    }
    if schema["enum"].is_array() {
        found.push("no such word".into());
    }
    if schema["format"] == "date-time" {
        found.push("the day after tomorrow".into());
    }
    if let Some(least) = schema["minimum"].as_u64().filter(|least| *least > 0) {
        found.push((least - 1).into());
    }
    match schema["maximum"].as_u64() {
        Some(u64::MAX) => found.push(json!(2.0_f64.powi(64))),
        Some(most) => found.push((most + 1).into()),
        None => {}
    }
    if let Some(most) = schema["maxItems"].as_u64() {
        let plausible = match schema["items"]["type"].as_str() {
            Some("integer") => json!(1),
            _ => json!("10.0.0.0/8"),
        };
        let items = (0..=most).map(|at| match plausible.as_u64() {
            Some(_) => json!(at + 1),
            None => plausible.clone(),
        });
        found.push(items.collect());
    }
    if schema["items"].is_object() {
        found.extend(mistakes(&schema["items"]).into_iter().map(|it| json!([it])));
    }
    found
}

/// What stands behind a reference, or behind the one alternative that is not null.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let alternatives = schema["oneOf"].as_array();
    let schema = alternatives
        .and_then(|all| all.iter().find(|it| it["type"] != "null"))
        .filter(|_| alternatives.is_some_and(|all| all.iter().any(|it| it["type"] == "null")))
        .unwrap_or(schema);
    match schema["$ref"].as_str() {
        Some(reference) => {
            let place = reference.trim_start_matches('#');
            document.pointer(place).expect("it is there")
        }
        None => schema,
    }
}

/// Every field of a body, and what it can't hold; of an object in it, its fields.
fn wrong_bodies(document: &Value, schema: &Value) -> Vec<Value> {
    let none = Map::new();
    let fields = schema["properties"].as_object().unwrap_or(&none);
    let mut bodies = Vec::new();
    for (name, field) in fields {
        let field = resolved(document, field);
        let inner = wrong_bodies(document, field);
        let wrong = mistakes(field).into_iter().chain(inner);
        bodies.extend(wrong.map(|wrong| json!({ name: wrong })));
    }
    bodies
}

#[tokio::test]
async fn a_mistake_in_a_body_is_told_whatever_version_it_is_for() {
    let world = World::new().await;
    let document = world.ok("GET", "/openapi.json", Value::Null).await;
    let head = world.control.feed_state().head;
    let (mut routes, mut tried) = (0, 0);
    let mut wrong = Vec::new();
    for rule in table().iter().map(|route| route.rule) {
        let schema = &document["paths"][rule.path][rule.method]["requestBody"]["content"]["application/json"]
            ["schema"];
        let Some(kind) = kind(&rule).filter(|_| schema.is_object()) else {
            continue;
        };
        let thing = made(&world, kind, &format!("thing {routes}")).await;
        let path = format!("{thing}{}", rule.path.split_once("{id}").expect("an id").1);
        let method = rule.method.to_uppercase();
        let bodies = wrong_bodies(&document, resolved(&document, schema));
        assert!(bodies.len() > 1, "{method} {}: no fields", rule.path);
        for body in &bodies {
            let answer = with(&world, &method, &path, STALE, body).await;
            if answer.status != 400 {
                let (status, said) = (answer.status, answer.json());
                wrong.push(format!("{method} {path} {body}: {status} {said}"));
            }
        }
        routes += 1;
        tried += bodies.len();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let made = world.control.feed_state().head - head;
    println!("{tried} mistakes in bodies of {routes} routes");
    assert!(routes >= 7 && tried > 80, "{routes} routes, {tried}");
    assert!(made <= routes, "nothing but the things themselves was made");
}

#[tokio::test]
async fn what_is_not_there_and_what_stands_against_it_is_told_before_the_version() {
    let world = World::new().await;
    for (method, path, body, status) in [
        (
            "PATCH",
            "/accounts/1",
            json!({"destinations": {"logs": 999}}),
            404,
        ),
        ("PATCH", "/accounts/1", json!({"reason": "of what?"}), 409),
        ("PATCH", "/accounts/1", json!({"accessible": true}), 409),
        ("POST", "/tokens/1/disable", Value::Null, 409),
        ("DELETE", "/tokens/1", Value::Null, 409),
        ("DELETE", "/accounts/1", Value::Null, 409),
        ("DELETE", "/destinations/1", Value::Null, 409),
        // And where nothing else is to be said, the version.
        ("PATCH", "/accounts/1", json!({"name": "other"}), 412),
        ("DELETE", "/tokens/1?force=true", Value::Null, 412),
    ] {
        let answer = with(&world, method, path, STALE, &body).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.json());
    }
    let body = json!({"account": 1, "name": "guests", "filters": []});
    let shared = world.ok("POST", "/shared-tokens", body).await;
    let path = format!("/shared-tokens/{}", shared["id"]);
    for (filters, status) in [
        (json!([9_223_372_036_854_775_809_u64]), 404),
        (json!([1.8446744073709552e19]), 400),
        (json!([]), 412),
    ] {
        let body = json!({"filters": filters});
        let answer = with(&world, "PATCH", &path, STALE, &body).await;
        assert_eq!(answer.status, status, "{filters}: {}", answer.json());
    }
    assert_eq!(
        world.ok("GET", "/accounts/1", Value::Null).await["name"],
        "main"
    );
}
