//! Idempotency keys, on every route of the page that makes something.

use axum::http::HeaderName;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{
    etags::{Answer, with},
    people::{Hand, People},
    stores,
    world::World,
};
use crate::{
    control::{
        Error,
        admin::{Rule, table},
        record::Who,
        store::NewToken,
        terms::{Errand, Once, Terms},
    },
    model::{Digest, Signal},
};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What may be asked for twice without a key: it makes nothing, or a session, of which there may be many.
const REPEATABLE: [&str; 10] = [
    "/session",
    "/tokens/{id}/enable",
    "/tokens/{id}/disable",
    "/tokens/{id}/revoke",
    "/tokens/{id}/reveal",
    "/api-tokens/{id}/revoke",
    "/shared-tokens/{id}/revoke",
    "/shared-tokens/{id}/reveal",
    "/leaks",
    "/tokens/import",
];

fn makers() -> Vec<Rule> {
    let rules = table().into_iter().map(|route| route.rule);
    rules.filter(Rule::makes).collect()
}

/// A path and a body that make something.
async fn request(world: &World, rule: &Rule, name: &str) -> (String, Value) {
    let body = match rule.path {
        "/accounts" => json!({"name": name}),
        "/destinations" => json!({"name": name, "kind": "archive"}),
        "/tokens" => json!({"account": 1, "signal": "logs", "name": name}),
        "/api-tokens" => json!({"name": name, "scopes": ["read"]}),
        "/shared-tokens" => json!({"account": 1, "name": name, "filters": []}),
        "/shared-filters" => json!({"account": 1, "field": "signal", "value": "logs"}),
        "/users" => {
            json!({"name": name, "role": "operator", "password": format!("long enough, {name}")})
        }
        "/tokens/{id}/rotate" => {
            let old = world.token(name).await;
            return (
                format!("/tokens/{}/rotate", old["id"]),
                json!({"overlap_seconds": 60}),
            );
        }
        path => panic!("say here what makes something by {path}"),
    };
    (rule.path.to_owned(), body)
}

async fn post(world: &World, path: &str, key: &str, body: &Value) -> Answer {
    with(world, "POST", path, (KEY, key), body).await
}

fn is_replayed(answer: &Answer) -> bool {
    answer.headers.contains_key("idempotent-replayed")
}

/// How many things of that kind there are.
async fn count(world: &World, path: &str) -> usize {
    let collection = path.split('/').nth(1).expect("a collection");
    let list = world
        .ok("GET", &format!("/{collection}?limit=1000"), Value::Null)
        .await;
    list["items"].as_array().expect("items").len()
}

#[test]
fn every_post_of_the_page_takes_a_key_or_may_be_repeated() {
    for rule in table().into_iter().map(|route| route.rule) {
        if rule.method == "post" {
            assert_ne!(
                rule.makes(),
                REPEATABLE.contains(&rule.path),
                "post {}: does asking twice make two? Then `Rule::makes` says so, else REPEATABLE",
                rule.path
            );
        }
    }
}

#[tokio::test]
async fn who_asks_again_gets_the_first_answer_and_no_second_thing() {
    let world = World::new().await;
    let makers = makers();
    assert!(makers.len() >= 6);
    for (at, rule) in makers.iter().enumerate() {
        let (path, body) = request(&world, rule, &format!("one {at}")).await;
        let key = format!("key-{at}");
        let before = count(&world, &path).await;
        let first = post(&world, &path, &key, &body).await;
        assert_eq!(first.status, 201, "{path}: {}", first.json());
        assert!(!is_replayed(&first));
        for _ in 0..2 {
            let again = post(&world, &path, &key, &body).await;
            assert_eq!((again.status, again.json()), (201, first.json()), "{path}");
            assert!(is_replayed(&again), "{path}");
        }
        assert_eq!(count(&world, &path).await, before + 1, "{path}");
        let mut other = body.clone();
        other["name"] = json!("another");
        assert_eq!(
            post(&world, &path, &key, &other).await.status,
            422,
            "{path}"
        );
        for junk in ["", "a b", "\u{e9}", &"k".repeat(256)] {
            assert_eq!(
                post(&world, &path, junk, &body).await.status,
                400,
                "{path} {junk:?}"
            );
        }
        assert_eq!(count(&world, &path).await, before + 1, "{path}");
    }
}

#[tokio::test]
async fn a_key_is_its_callers_own_and_a_failure_uses_none_up() {
    let people = People::new().await;
    let world = &people.world;
    let body = json!({"account": 1, "signal": "logs", "name": ""});
    assert_eq!(post(world, "/tokens", "k", &body).await.status, 400);
    let body = json!({"account": 1, "signal": "logs", "name": "one"});
    let first = post(world, "/tokens", "k", &body).await;
    assert_eq!((first.status, is_replayed(&first)), (201, false));
    let (_, Hand::Token(other)) = people.api_token(None, &["read", "tokens"]).await else {
        panic!("a token");
    };
    let mut request = world.request("POST", "/tokens", body.to_string());
    let headers = request.headers_mut();
    headers.insert(KEY, "k".parse().expect("ASCII"));
    headers.insert(
        "authorization",
        format!("Bearer {other}").parse().expect("ASCII"),
    );
    let theirs = super::etags::send(world, request).await;
    assert_eq!(theirs.status, 201);
    assert_ne!(theirs.json()["id"], first.json()["id"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_sixteen_at_once_under_one_key_one_makes_something() {
    let world = World::new().await;
    for round in 0..8 {
        let before = count(&world, "/tokens").await;
        let key = format!("round-{round}");
        let body = json!({"account": 1, "signal": "logs", "name": "one"});
        let answers = join_all((0..16).map(|_| post(&world, "/tokens", &key, &body))).await;
        assert_eq!(count(&world, "/tokens").await, before + 1);
        let made: Vec<_> = answers
            .iter()
            .filter(|answer| answer.status == 201)
            .collect();
        assert_eq!(made.iter().filter(|answer| !is_replayed(answer)).count(), 1);
        assert!(made.iter().all(|answer| answer.json() == made[0].json()));
        assert!(
            answers
                .iter()
                .all(|answer| [201, 409].contains(&answer.status))
        );
        let again = post(&world, "/tokens", &key, &body).await;
        assert_eq!(again.json(), made[0].json());
    }
}

#[tokio::test]
async fn the_answer_says_the_same_revision_and_can_be_waited_for_again() {
    let world = World::new().await;
    let body = json!({"account": 1, "signal": "logs", "name": "one"});
    let first = post(&world, "/tokens", "k", &body).await.json();
    world.token("later").await;
    let again = post(&world, "/tokens?wait=enforced&timeout_ms=10", "k", &body).await;
    assert_eq!(again.status, 201, "no gateway is behind");
    assert_eq!(again.json()["revision"], first["revision"]);
    assert_eq!(again.json()["enforcement"]["revision"], first["revision"]);
    assert_eq!(post(&world, "/tokens?wait=x", "k", &body).await.status, 400);
    let records = world
        .ok("GET", "/audit?action=answer.again", Value::Null)
        .await;
    let subjects: Vec<_> = records["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|it| &it["subject"])
        .collect();
    assert_eq!(
        subjects,
        [&json!(format!("token/{}", first["id"]))],
        "what is shown again is on record"
    );
}

#[tokio::test]
async fn a_token_is_shown_again_on_record_as_what_it_is_and_no_more_once_it_is_revoked() {
    let world = World::new().await;
    let old = world.token("old").await;
    let rotate = format!("/tokens/{}/rotate", old["id"]);
    let mut expected = Vec::new();
    for (path, collection, kind, body) in [
        (
            "/tokens",
            "/tokens",
            "token",
            json!({"account": 1, "signal": "logs", "name": "one"}),
        ),
        (&*rotate, "/tokens", "token", json!({})),
        (
            "/api-tokens",
            "/api-tokens",
            "api_token",
            json!({"name": "one", "scopes": ["read"]}),
        ),
        (
            "/shared-tokens",
            "/shared-tokens",
            "shared_token",
            json!({"account": 1, "name": "one", "filters": []}),
        ),
    ] {
        let first = post(&world, path, path, &body).await.json();
        let again = post(&world, path, path, &body).await;
        assert_eq!((again.status, again.json()), (201, first.clone()), "{path}");
        expected.push(json!(format!("{kind}/{}", first["id"])));
        let thing = format!("{collection}/{}", first["id"]);
        let revoke = format!("{thing}/revoke");
        world.ok("POST", &revoke, Value::Null).await;
        let refused = post(&world, path, path, &body).await;
        assert_eq!(refused.status, 409, "{path}: {}", refused.json());
        let said = refused.json().to_string();
        assert!(said.contains("revoked"), "{said}");
        let text = first["token"].as_str().expect("text");
        assert!(!said.contains(text) && !is_replayed(&refused), "{said}");
        if kind != "api_token" {
            world.ok("DELETE", &thing, Value::Null).await;
            let refused = post(&world, path, path, &body).await;
            assert_eq!(refused.status, 409, "{path}, deleted");
        }
    }
    let path = "/audit?action=answer.again";
    let records = world.ok("GET", path, Value::Null).await;
    let records = records["items"].as_array().expect("items").clone();
    let subjects: Vec<_> = records.iter().map(|it| it["subject"].clone()).collect();
    assert_eq!(subjects, expected);
}

#[tokio::test]
async fn an_end_that_is_said_from_now_is_the_same_request_later() {
    let world = World::new().await;
    for (path, mut body, within, at) in [
        (
            "/tokens",
            json!({"account": 1, "signal": "logs", "name": "one"}),
            "expires_in_seconds",
            "expires_at",
        ),
        (
            "/api-tokens",
            json!({"name": "one", "scopes": ["read"]}),
            "expires_in_seconds",
            "expires_at",
        ),
        (
            "/shared-tokens",
            json!({"account": 1, "name": "one", "filters": []}),
            "expires_in_seconds",
            "expires_at",
        ),
        (
            "/accounts",
            json!({"name": "one", "plan": "trial"}),
            "trial_seconds",
            "trial_until",
        ),
    ] {
        body[within] = json!(3_600);
        let now = std::time::SystemTime::now();
        let first = post(&world, path, path, &body).await;
        assert_eq!(first.status, 201, "{path}: {}", first.json());
        let end = first.json()[at].as_str().map(humantime::parse_rfc3339);
        let end = end.expect("text").expect("a time");
        let left = end.duration_since(now).expect("ahead").as_secs();
        assert!((3_590..=3_660).contains(&left), "{path}: {left}");
        let again = post(&world, path, path, &body).await;
        assert_eq!((again.status, again.json()), (201, first.json()), "{path}");
        for (value, beside) in [
            (json!(0), None),
            (json!(1_600_000_000), None),
            (json!("1h"), None),
            (json!(60), Some("2030-01-01T00:00:00Z")),
        ] {
            let mut wrong = body.clone();
            wrong["name"] = json!("another");
            wrong[within] = value.clone();
            if let Some(beside) = beside {
                wrong[at] = json!(beside);
            }
            let (status, said) = world.call("POST", path, wrong).await;
            assert_eq!(status, 400, "{path} {value}: {said}");
        }
    }
    // What never ends doesn't end in an hour.
    let body = json!({"account": 1, "name": "n", "filters": [], "expires_at": null, "expires_in_seconds": 60});
    assert_eq!(world.call("POST", "/shared-tokens", body).await.0, 400);
    let change = json!({"plan": "trial", "trial_seconds": 60});
    let changed = world.ok("PATCH", "/accounts/2", change).await;
    assert_eq!(changed["plan"], "trial");
}

#[tokio::test]
async fn what_a_caller_reaches_no_more_is_not_shown_again() {
    let people = People::new().await;
    let acme = people.account("acme", "unlimited").await;
    let sub = people.sub_account("acme-eu", acme, true).await;
    let (_, hand) = people
        .api_token(Some(acme), &["read", "tokens", "accounts"])
        .await;
    let Hand::Token(admin) = hand else {
        panic!("a token")
    };
    let world = &people.world;
    let requests = [
        (
            "/tokens",
            json!({"account": sub, "signal": "logs", "name": "one"}),
        ),
        (
            "/api-tokens",
            json!({"account": sub, "name": "one", "scopes": ["read"]}),
        ),
    ];
    let ask = async |(path, body): &(&str, Value)| {
        let mut request = world.request("POST", path, body.to_string());
        let headers = request.headers_mut();
        headers.insert(KEY, "k".parse().expect("ASCII"));
        headers.insert(
            "authorization",
            format!("Bearer {admin}").parse().expect("ASCII"),
        );
        super::etags::send(world, request).await
    };
    let first = ask(&requests[0]).await;
    assert_eq!(first.status, 201);
    assert_eq!(ask(&requests[1]).await.status, 422);
    assert_eq!(ask(&requests[0]).await.json(), first.json());
    people
        .operate(
            "PATCH",
            &format!("/accounts/{sub}"),
            json!({"accessible": false}),
        )
        .await;
    let refused = ask(&requests[0]).await;
    assert_eq!(refused.status, 404, "{}", refused.json());
    assert!(refused.json().get("token").is_none());
}

#[tokio::test]
async fn kept_answers_are_sealed_in_their_rows_and_gone_after_a_day() {
    let world = World::new().await;
    let body = json!({"name": "one", "scopes": ["read"]});
    let secret = post(&world, "/api-tokens", "one", &body).await.json()["token"].clone();
    let user = json!({"name": "zoe", "role": "operator", "password": "a password like no other"});
    assert_eq!(post(&world, "/users", "two", &user).await.status, 201);
    let folder = world.folder.path();
    for part in stores::bytes(folder).await {
        for text in [secret.as_str().expect("text"), "a password like no other"] {
            let is_there = part
                .windows(text.len())
                .any(|window| window == text.as_bytes());
            assert!(!is_there, "{text} stands in the store");
        }
    }
    stores::alter(folder, "UPDATE answers SET sealed = (SELECT o.sealed FROM answers o WHERE o.digest <> answers.digest)").await;
    let moved = post(&world, "/api-tokens", "one", &body).await;
    assert_eq!(moved.status, 500, "another row's answer opens nothing");
    stores::alter(folder, "UPDATE answers SET at = at - 86400000").await;
    let anew = post(&world, "/api-tokens", "one", &body).await;
    assert_eq!((anew.status, is_replayed(&anew)), (201, false));
    world
        .control
        .inner
        .store
        .prune_answers()
        .await
        .expect("pruned");
    let again = post(&world, "/api-tokens", "one", &body).await;
    assert_eq!(again.json(), anew.json(), "what is younger stays");
    stores::alter(folder, "UPDATE answers SET at = at - 86400000").await;
    world
        .control
        .inner
        .store
        .prune_answers()
        .await
        .expect("pruned");
    stores::alter(folder, "UPDATE answers SET at = at + 86400000").await;
    let third = post(&world, "/api-tokens", "one", &body).await;
    assert!(!is_replayed(&third), "there was nothing left");
}

#[tokio::test]
async fn an_answer_and_what_it_tells_of_are_written_together_or_not_at_all() {
    let world = World::new().await;
    let store = &world.control.inner.store;
    let errand = Errand {
        who: Who::from("test"),
        terms: Terms {
            once: Some(Once {
                key: Digest([7; 16]),
                request: [1; 32],
            }),
            ..Terms::default()
        },
    };
    let new = || NewToken {
        account: 1,
        signal: Signal::Logs,
        name: "one".to_owned(),
        expires_at: 0,
    };
    let before = world.live_tokens().await;
    // Dropped half-way, as by a crash.
    let mut commit = store.begin(&errand).await.expect("begun");
    commit.insert_token(new()).await.expect("written");
    commit.remember(Some(1), &json!({})).expect("JSON");
    drop(commit);
    // One that forgets its answer makes nothing.
    let mut commit = store.begin(&errand).await.expect("the key is free");
    commit.insert_token(new()).await.expect("written");
    assert!(matches!(commit.finish().await, Err(Error::Invalid(_))));
    assert_eq!(world.live_tokens().await, before);
    assert!(
        store
            .answer(&Digest([7; 16]))
            .await
            .expect("read")
            .is_none()
    );
    let mut commit = store.begin(&errand).await.expect("the key is free");
    commit.insert_token(new()).await.expect("written");
    commit.remember(Some(1), &json!({"a": 1})).expect("JSON");
    let published = commit.finish().await.expect("committed");
    let kept = store
        .answer(&Digest([7; 16]))
        .await
        .expect("read")
        .expect("there");
    assert_eq!(
        (kept.revision, kept.account),
        (Some(published.revision), Some(1))
    );
    assert_eq!((kept.request, kept.object), ([1; 32], json!({"a": 1})));
    assert!(matches!(
        store.begin(&errand).await,
        Err(Error::Conflict(_))
    ));
}
