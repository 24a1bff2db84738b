//! `GET /whoami`: a sender asks its token whose it is, what it may send, and why it was refused.

mod world;

use http::Method;
use serde_json::{Value, json};
use world::{Answer, Recorder, Sender, World, bodies};

async fn ask(at: Sender, token: &str) -> Answer {
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", authorization.as_str())];
    at.send(Method::GET, "/whoami", &headers, Vec::new()).await
}

#[tokio::test]
async fn a_token_is_told_whose_it_is_on_every_port_and_version() {
    let world = World::start().await;
    let limits = json!({"bulk_body_bytes_max": 4096, "in_flight_bytes_max": 1_000_000, "concurrency_max": 7});
    let body = json!({"name": "acme", "plan": "unlimited", "limits": limits});
    let account = world
        .must(Method::POST, "/accounts?wait=enforced", body)
        .await;
    let body = json!({"account": "acme", "signal": "traces", "name": "t", "expires_at": "2099-01-02T03:04:05Z"});
    let token = world
        .must(Method::POST, "/tokens?wait=enforced", body)
        .await;
    let text = token["token"].as_str().expect("a token");
    let authorization = format!("Bearer {text}");
    let headers = [("authorization", authorization.as_str())];
    let ports = [
        world.bulk(),
        world.otlp_http(),
        world.otlp_grpc(),
        world.remote_write(),
    ];
    for port in ports {
        let over_1 = ask(port, text).await;
        let over_2 = port
            .send_h2(Method::GET, "/whoami", &headers, Vec::new())
            .await;
        for answer in [over_1, over_2] {
            assert_eq!(answer.status, 200, "{answer:?}");
            assert_eq!(answer.header("content-type"), Some("application/json"));
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            assert!(answer.header("x-request-id").is_some());
            assert!(!answer.text().contains(text), "the token is not echoed");
            assert_eq!(
                answer.json(),
                json!({
                    "account": {"id": account["id"], "name": "acme"},
                    "signal": "traces",
                    "token": {"id": token["id"], "expires_at": "2099-01-02T03:04:05.000Z"},
                    "limits": {
                        "bulk_body_bytes_max": 4096,
                        "bulk_line_bytes_max": 500_000,
                        "otlp_body_bytes_max": 64 << 20,
                        "remote_write_body_bytes_max": 32 << 20,
                        "in_flight_bytes_max": 1_000_000,
                        "concurrency_max": 7,
                        "rates": {"token": null, "account": null, "main_account": null},
                    },
                    "headroom": {
                        "in_flight_bytes": {"held": 0, "free": 1_000_000},
                        "concurrency": {"held": 0, "free": 7},
                        "rates": {"token": null, "account": null, "main_account": null},
                    },
                    "refusals": [],
                })
            );
        }
    }
    // The query is a place for a token here as at any door.
    let path = format!("/whoami?token={text}");
    let answer = world.bulk().send(Method::GET, &path, &[], Vec::new()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn what_a_request_holds_is_missing_from_the_headroom() {
    let world = World::start().await;
    let recorder = Recorder::start().await;
    recorder.answer(world::recorder::Script::status(200).after(std::time::Duration::from_secs(20)));
    world.destination("there", "http", &recorder.url()).await;
    let account = world.account("acme", "there").await;
    let limits = json!({"limits": {"in_flight_bytes_max": 1_000_000, "concurrency_max": 2}});
    let path = format!("/accounts/{account}?wait=enforced");
    world.must(Method::PATCH, &path, limits).await;
    let (_, token) = world.token("acme", "logs").await;
    let (bulk, held) = (world.bulk(), token.clone());
    let sending = tokio::spawn(async move {
        let answer = bulk.ship("/", &held, &[], bodies::lines(10)).await;
        answer.status
    });
    world::eventually("a request holds its place", async || {
        let told = ask(world.bulk(), &token).await.json();
        let headroom = &told["headroom"];
        let bytes = headroom["in_flight_bytes"]["held"]
            .as_u64()
            .expect("a number");
        assert_eq!(
            headroom["in_flight_bytes"]["free"],
            json!(1_000_000 - bytes),
            "{told}"
        );
        headroom["concurrency"] == json!({"held": 1, "free": 1}) && bytes > 0
    })
    .await;
    sending.abort();
}

#[tokio::test]
async fn the_last_twenty_refusals_stand_there_and_no_other_tokens() {
    let world = World::start().await;
    let account = world.account("acme", "archive").await;
    let limits = json!({"limits": {"bulk_body_bytes_max": 4096}});
    let path = format!("/accounts/{account}?wait=enforced");
    world.must(Method::PATCH, &path, limits).await;
    let (_, token) = world.token("acme", "logs").await;
    let (_, other) = world.token("acme", "logs").await;
    let mut requests = Vec::new();
    for count in 0..25 {
        // Refused for its headers, and for its body.
        let answer = if count % 2 == 0 {
            world.bulk().ship("/", &token, &[], vec![b'x'; 5000]).await
        } else {
            world.bulk().ship("/", &token, &[], "no JSON\n").await
        };
        assert!((400..500).contains(&answer.status), "{answer:?}");
        requests.push(answer.header("x-request-id").expect("there").to_owned());
    }
    let told = ask(world.bulk(), &token).await.json();
    let refusals = told["refusals"].as_array().expect("a list");
    let ids: Vec<_> = refusals
        .iter()
        .map(|refusal| refusal["request_id"].as_str().expect("an id").to_owned())
        .collect();
    requests.reverse();
    assert_eq!(ids, requests[..20], "the latest first");
    let reasons: Vec<_> = refusals.iter().map(|it| it["reason"].clone()).collect();
    assert_eq!(reasons[..2], [json!("too_large"), json!("no_good_line")]);
    let at = refusals[0]["at"].as_str().expect("a time");
    assert!(humantime::parse_rfc3339(at).is_ok(), "{at}");
    // Nor does an unknown token leave a trace anywhere.
    let unknown = "whf_unknown_unknown_";
    assert_eq!(
        world.bulk().ship("/", unknown, &[], "{}\n").await.status,
        401
    );
    let told = ask(world.bulk(), &other).await.json();
    assert_eq!(told["refusals"], json!([]), "another token of the account");
}

#[tokio::test]
async fn whoever_tries_a_bound_token_from_elsewhere_stands_among_its_refusals() {
    let world = World::start().await;
    world.account("acme", "archive").await;
    let (id, token) = world.token("acme", "logs").await;
    let bind = async |sources: Value| {
        let path = format!("/tokens/{id}?wait=enforced");
        world.must(Method::PATCH, &path, sources).await;
    };
    bind(json!({"sources": ["192.0.2.0/24"]})).await;
    let tried = ask(world.bulk(), &token).await;
    assert_eq!(tried.status, 403, "{tried:?}");
    bind(json!({"sources": []})).await;
    let told = ask(world.bulk(), &token).await.json();
    let latest = &told["refusals"][0];
    assert_eq!(latest["reason"], "source_not_allowed", "{told}");
    assert_eq!(
        latest["request_id"].as_str(),
        tried.header("x-request-id"),
        "{told}"
    );
}

#[tokio::test]
async fn a_token_that_opens_nothing_is_refused_as_at_any_door() {
    let world = World::start().await;
    let account = world.account("acme", "archive").await;
    let bulk = world.bulk();
    let (revoked, text) = world.token("acme", "logs").await;
    world
        .must(
            Method::POST,
            &format!("/tokens/{revoked}/revoke?wait=enforced"),
            Value::Null,
        )
        .await;
    let answer = ask(bulk, &text).await;
    assert_eq!(answer.status, 401, "{answer:?}");
    assert_eq!(
        answer.header("x-token-id"),
        Some(revoked.to_string().as_str())
    );
    assert!(!answer.text().contains("acme"));
    let (disabled, text) = world.token("acme", "logs").await;
    world
        .must(
            Method::POST,
            &format!("/tokens/{disabled}/disable?wait=enforced&force=true"),
            Value::Null,
        )
        .await;
    assert_eq!(ask(bulk, &text).await.status, 401);
    assert_eq!(ask(bulk, "0123456789abcdefXYZ").await.status, 401);
    let (_, live) = world.token("acme", "metrics").await;
    assert_eq!(ask(bulk, &live).await.status, 200);
    let path = format!("/accounts/{account}?wait=enforced");
    let suspended = json!({"state": "suspended", "reason": "unpaid"});
    world.must(Method::PATCH, &path, suspended).await;
    assert_eq!(ask(bulk, &live).await.status, 403);
    let none = bulk.send(Method::GET, "/whoami", &[], Vec::new()).await;
    assert_eq!(none.status, 401, "{none:?}");
    let both = format!("/whoami?token={text}");
    let authorization = format!("Bearer {live}");
    let headers = [("authorization", authorization.as_str())];
    let two = bulk.send(Method::GET, &both, &headers, Vec::new()).await;
    assert_eq!(two.status, 400, "two different tokens");
}

#[tokio::test]
async fn head_says_how_long_and_any_other_method_is_told_which() {
    let world = World::start().await;
    let token = world.first_token("logs");
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", authorization.as_str())];
    let bulk = world.bulk();
    let length = ask(bulk, &token).await.body.len().to_string();
    let over_1 = bulk
        .send(Method::HEAD, "/whoami", &headers, Vec::new())
        .await;
    let over_2 = bulk
        .send_h2(Method::HEAD, "/whoami", &headers, Vec::new())
        .await;
    for answer in [over_1, over_2] {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("content-length"), Some(length.as_str()));
        assert!(answer.body.is_empty());
    }
    // Nor does a refusal have a body: over HTTP/2 clients end the stream for one.
    for (path, status) in [("/whoami", 401), ("/", 405), ("/nowhere", 404)] {
        let over_1 = bulk.send(Method::HEAD, path, &[], Vec::new()).await;
        let over_2 = bulk.send_h2(Method::HEAD, path, &[], Vec::new()).await;
        for answer in [over_1, over_2] {
            assert_eq!(answer.status, status, "{path}: {answer:?}");
            assert!(answer.body.is_empty(), "{path}: {answer:?}");
            let length = answer.header("content-length").expect("how long it is");
            assert_ne!(length, "0", "{path}");
        }
    }
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let body = if method == Method::POST { "{}" } else { "" };
        let over_1 = bulk.send(method.clone(), "/whoami", &headers, body).await;
        let over_2 = bulk
            .send_h2(method.clone(), "/whoami", &headers, body)
            .await;
        for answer in [over_1, over_2] {
            assert_eq!(answer.status, 405, "{method}: {answer:?}");
            assert_eq!(answer.header("allow"), Some("GET, HEAD"));
        }
    }
}
