//! Entity tags, on every route of the page that shows or changes one thing.

use std::collections::BTreeSet;

use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, Request, header},
};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{
    people::{Hand, People},
    world::World,
};
use crate::control::{
    admin::{Rule, kind, shows, table},
    terms::Kind,
};

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answer {
    fn tag(&self) -> String {
        let tag = self.headers.get(header::ETAG).expect("a tag");
        tag.to_str().expect("text").to_owned()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

pub(super) async fn send(world: &World, request: Request<Body>) -> Answer {
    let answer = world
        .control
        .admin()
        .oneshot(request)
        .await
        .expect("answers");
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let body = to_bytes(answer.into_body(), 1 << 24).await.expect("a body");
    Answer {
        status,
        headers,
        body: body.to_vec(),
    }
}

/// One call with one more header.
pub(super) async fn with(
    world: &World,
    method: &str,
    path: &str,
    (name, value): (header::HeaderName, &str),
    body: &Value,
) -> Answer {
    let text = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let mut request = world.request(method, path, text);
    let value = value.parse().expect("a header's value");
    request.headers_mut().insert(name, value);
    send(world, request).await
}

async fn get(world: &World, path: &str) -> Answer {
    send(world, world.request("GET", path, "")).await
}

async fn patch(world: &World, path: &str, tag: &str, body: Value) -> Answer {
    with(world, "PATCH", path, (header::IF_MATCH, tag), &body).await
}

/// A new thing of that kind, and its path.
pub(super) async fn made(world: &World, kind: Kind, name: &str) -> String {
    let (path, body) = match kind {
        Kind::Account => ("/accounts", json!({"name": name})),
        Kind::Destination => ("/destinations", json!({"name": name, "kind": "archive"})),
        Kind::Token => (
            "/tokens",
            json!({"account": 1, "signal": "logs", "name": name}),
        ),
        Kind::ApiToken => ("/api-tokens", json!({"name": name, "scopes": ["read"]})),
        Kind::SharedToken => (
            "/shared-tokens",
            json!({"account": 1, "name": name, "filters": []}),
        ),
        Kind::SharedFilter => (
            "/shared-filters",
            json!({"account": 1, "field": "signal", "value": "logs"}),
        ),
        Kind::User => (
            "/users",
            json!({"name": name, "account": 1, "role": "reader", "password": "long enough for all"}),
        ),
    };
    let made = world.ok("POST", path, body).await;
    format!("{path}/{}", made["id"])
}

/// What a request of that route says to change something.
fn change(rule: &Rule, name: &str) -> Value {
    match (rule.method, rule.path) {
        (
            "patch",
            "/accounts/{id}" | "/tokens/{id}" | "/destinations/{id}" | "/shared-tokens/{id}",
        ) => json!({"name": name}),
        ("patch", "/shared-filters/{id}") => json!({"description": name}),
        ("patch", "/users/{id}") => json!({"password": "another one, long enough"}),
        ("patch" | "put", path) => panic!("say here what changes {path}"),
        _ => Value::Null,
    }
}

#[tokio::test]
async fn every_thing_that_is_shown_has_a_tag_and_is_not_sent_twice() {
    let world = World::new().await;
    let mut count = 0;
    for rule in table().iter().map(|route| route.rule) {
        if rule.method != "get" || !rule.path.ends_with("/{id}") {
            continue;
        }
        let kind = kind(&rule).unwrap_or_else(|| panic!("{} has no version", rule.path));
        assert!(shows(&rule));
        let path = made(&world, kind, "shown").await;
        let first = get(&world, &path).await;
        let tag = first.tag();
        assert!(tag.starts_with('"') && tag.contains('.'), "{tag}");
        let seen = |tag: &str| format!("\"x\", W/{tag}");
        let again = with(
            &world,
            "GET",
            &path,
            (header::IF_NONE_MATCH, &seen(&tag)),
            &Value::Null,
        )
        .await;
        assert_eq!((again.status, again.tag()), (304, tag.clone()), "{path}");
        assert!(again.body.is_empty());
        let other = with(
            &world,
            "GET",
            &path,
            (header::IF_NONE_MATCH, "\"1\""),
            &Value::Null,
        )
        .await;
        assert_eq!((other.status, other.body), (200, first.body), "{path}");
        let head = send(&world, world.request("HEAD", &path, "")).await;
        assert_eq!(
            (head.status, head.tag(), head.body.len()),
            (200, tag, 0),
            "{path}"
        );
        count += 1;
    }
    assert!(count >= 5);
    let list = get(&world, "/accounts").await;
    let again = with(
        &world,
        "GET",
        "/accounts",
        (header::IF_NONE_MATCH, &list.tag()),
        &Value::Null,
    )
    .await;
    assert_eq!(again.status, 304, "a list has a tag, too");
}

#[tokio::test]
async fn every_change_of_the_page_holds_to_the_version_it_was_made_from() {
    let world = World::new().await;
    let mut tried = BTreeSet::new();
    for (at, rule) in table().iter().map(|route| route.rule).enumerate() {
        if rule.method == "get" || !rule.path.contains("{id}") {
            continue;
        }
        let what = format!("{} {}", rule.method, rule.path);
        let kind = kind(&rule).unwrap_or_else(|| panic!("{what} has no version"));
        let thing = made(&world, kind, &format!("thing {at}")).await;
        if rule.method == "delete" && kind == Kind::SharedToken {
            world
                .ok("POST", &format!("{thing}/revoke"), Value::Null)
                .await;
        }
        let path = format!("{thing}{}", rule.path.split_once("{id}").expect("an id").1);
        let body = change(&rule, &format!("other {at}"));
        let method = rule.method.to_uppercase();
        let before = get(&world, &thing).await;
        let tag = before.tag();
        let current = format!("{}\"", tag.split_once('.').expect("a version").0);
        for stale in [
            "\"0\"",
            "\"999.0123456789abcdef\"",
            &format!("W/{tag}"),
            "\"x\"",
        ] {
            let refused = with(&world, &method, &path, (header::IF_MATCH, stale), &body).await;
            assert_eq!(refused.status, 412, "{what} {stale}: {}", refused.json());
            assert_eq!(
                refused.headers[header::CONTENT_TYPE],
                "application/problem+json"
            );
            assert_eq!(refused.tag(), current, "{what}");
        }
        assert_eq!(
            get(&world, &thing).await.tag(),
            tag,
            "{what}: refused, and changed all the same"
        );
        let list = format!("\"0\", {tag}");
        let done = with(&world, &method, &path, (header::IF_MATCH, &list), &body).await;
        assert!(
            (200..300).contains(&done.status),
            "{what}: {} {}",
            done.status,
            done.json()
        );
        let is_reading = rule.path.ends_with("/reveal");
        if rule.method == "delete" {
            assert!(!done.headers.contains_key(header::ETAG), "{what}");
        } else if rule.makes() {
            assert!(
                !done.headers.contains_key(header::ETAG),
                "{what}: whose tag?"
            );
        } else {
            assert_eq!(
                done.tag() == current,
                is_reading,
                "{what} counts as a change"
            );
            let now = get(&world, &thing).await.tag();
            assert!(
                now.starts_with(&format!("{}.", done.tag().trim_end_matches('"'))),
                "{what}"
            );
        }
        tried.insert(what);
    }
    println!("{} changes: {tried:?}", tried.len());
    assert!(tried.len() >= 14);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_sixteen_who_change_what_they_have_read_one_does_and_fifteen_hear_of_it() {
    let world = World::new().await;
    let path = made(&world, Kind::Destination, "one").await;
    for round in 0..8 {
        let tag = get(&world, &path).await.tag();
        let changes = (0..16).map(|at| {
            // A secret is not shown: the objects look all alike, and the versions are not.
            let body = json!({"credentials": {"kind": "bearer", "token": format!("{round}-{at}")},
                "kind": "http", "endpoints": ["http://localhost:1/"]});
            patch(&world, &path, &tag, body)
        });
        let answers = join_all(changes).await;
        let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses[0], 200);
        assert!(
            statuses[1..].iter().all(|status| *status == 412),
            "{statuses:?}"
        );
        let done = answers.iter().find(|answer| answer.status == 200);
        let made = done.expect("one").tag();
        assert!(
            answers.iter().all(|answer| answer.tag() == made),
            "all hear of the same version"
        );
        // What the change answered is enough for the next one.
        let next = patch(&world, &path, &made, json!({"connect_timeout_ms": 5})).await;
        assert_eq!(next.status, 200);
        assert_eq!(patch(&world, &path, &made, json!({})).await.status, 412);
    }
}

#[tokio::test]
async fn what_comes_and_goes_by_itself_is_shown_anew_and_stands_against_no_change() {
    let world = World::new().await;
    let main = made(&world, Kind::Account, "acme").await;
    let body = json!({"name": "acme-eu", "parent": "acme"});
    let sub = world.ok("POST", "/accounts", body).await;
    let sub = format!("/accounts/{}", sub["id"]);
    let before = get(&world, &sub).await.tag();
    world
        .ok("PATCH", &main, json!({"limits": {"concurrency_max": 3}}))
        .await;
    let after = get(&world, &sub).await;
    assert_eq!(after.json()["limits"]["concurrency_max"], 3);
    assert_ne!(after.tag(), before, "what is shown is another thing");
    let renamed = patch(&world, &sub, &before, json!({"name": "acme-us"})).await;
    assert_eq!(
        renamed.status, 200,
        "the sub-account itself was not changed"
    );
    assert_eq!(
        patch(&world, &sub, &before, json!({"name": "x"}))
            .await
            .status,
        412
    );
}

#[tokio::test]
async fn tags_that_cannot_be_read_and_tags_of_nothing_are_refused() {
    let world = World::new().await;
    let path = made(&world, Kind::Token, "one").await;
    let head = world.control.feed_state().head;
    for junk in ["7", "\"7", "\"7\" \"8\"", "*, \"7\"", "W/7"] {
        let answer = patch(&world, &path, junk, json!({"name": "x"})).await;
        assert_eq!(answer.status, 400, "{junk:?}");
        let answer = with(
            &world,
            "GET",
            &path,
            (header::IF_NONE_MATCH, junk),
            &Value::Null,
        )
        .await;
        assert_eq!(answer.status, 400, "{junk:?}");
    }
    // A list may be empty: it names no version at all.
    assert_eq!(
        patch(&world, &path, "", json!({"name": "x"})).await.status,
        412
    );
    let body = json!({"name": "x"});
    let answer = with(&world, "PATCH", &path, (header::IF_NONE_MATCH, "*"), &body).await;
    assert_eq!(answer.status, 400);
    for (method, path) in [("POST", "/accounts"), ("DELETE", "/gateways/x")] {
        let answer = with(&world, method, path, (header::IF_MATCH, "\"1\""), &body).await;
        assert_eq!(answer.status, 412, "{path} has no version");
    }
    let gone = patch(&world, "/tokens/999999", "\"1\"", json!({"name": "x"})).await;
    assert_eq!(gone.status, 404);
    assert_eq!(world.control.feed_state().head, head, "nothing was changed");
    assert_eq!(
        patch(&world, &path, "*", json!({"name": "x"})).await.status,
        200
    );
}

#[tokio::test]
async fn who_may_not_see_a_thing_learns_no_version_of_it() {
    let people = People::new().await;
    let (acme, other) = (
        people.account("acme", "unlimited").await,
        people.account("other", "unlimited").await,
    );
    let token = people.shipping_token(other, "theirs").await;
    let (_, Hand::Token(admin)) = people
        .api_token(Some(acme), &["read", "tokens", "accounts"])
        .await
    else {
        panic!("a token");
    };
    let request = Request::patch(format!("/api/v1/tokens/{token}"))
        .header("x-api-token", admin)
        .header(header::IF_MATCH, "\"999\"")
        .body(Body::from("{\"name\":\"mine\"}"));
    let answer = send(&people.world, request.expect("a request")).await;
    assert_eq!(answer.status, 404);
    assert!(!answer.headers.contains_key(header::ETAG));
}
