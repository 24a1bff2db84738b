//! Methods and queries that a route of the page doesn't know.

use std::collections::{BTreeMap, BTreeSet};

use axum::{
    body::Body,
    http::{Request, header},
};
use serde_json::Value;

use super::{etags::send, world::World};
use crate::control::admin::{Needs, table};

fn concrete(path: &str) -> String {
    path.replace("{id}", "1").replace("{name}", "gone")
}

#[tokio::test]
async fn every_path_of_the_page_says_which_methods_it_has_and_lets_no_other_origin_in() {
    let world = World::new().await;
    let mut methods: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for rule in table().iter().map(|route| route.rule) {
        let known = methods.entry(rule.path).or_default();
        known.insert(rule.method.to_uppercase());
        if rule.method == "get" {
            known.insert("HEAD".to_owned());
        }
    }
    assert!(methods.len() > 20);
    for (path, known) in methods {
        for method in [
            "OPTIONS", "TRACE", "PUT", "GET", "POST", "PATCH", "DELETE", "PURGE",
        ] {
            if known.contains(method) {
                continue;
            }
            // Without a caller: what methods there are stands in the description, too.
            let request = Request::builder()
                .method(method)
                .uri(format!("/api/v1{}", concrete(path)))
                .header(header::ORIGIN, "https://elsewhere.example")
                .header("access-control-request-method", "POST")
                .body(Body::empty());
            let answer = send(&world, request.expect("a request")).await;
            let expected = if method == "OPTIONS" { 204 } else { 405 };
            assert_eq!(answer.status, expected, "{method} {path}");
            let allow = answer.headers[header::ALLOW].to_str().expect("text");
            let allowed: BTreeSet<String> = allow.split(',').map(str::to_owned).collect();
            assert_eq!(allowed, known, "{method} {path}");
            let mut names = answer.headers.keys().map(header::HeaderName::as_str);
            assert!(!names.any(|name| name.starts_with("access-control-")));
        }
    }
}

#[tokio::test]
async fn a_parameter_that_a_route_does_not_know_is_refused() {
    let world = World::new().await;
    let head = world.control.feed_state().head;
    let mut count = 0;
    for rule in table().iter().map(|route| route.rule) {
        // What a shared token opens, no other one does: it is told nothing else.
        if matches!(rule.needs, Needs::Open | Needs::Shared) {
            continue;
        }
        let path = format!("{}?no_such_parameter=1", concrete(rule.path));
        let method = rule.method.to_uppercase();
        let (status, problem) = world.call(&method, &path, Value::Null).await;
        assert_eq!(status, 400, "{method} {path}: {problem}");
        count += 1;
    }
    assert!(count > 30);
    assert_eq!(world.control.feed_state().head, head, "and nothing happens");
}
