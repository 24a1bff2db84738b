//! The admin API, call by call.

use axum::{body::Body, http::Request};
use serde_json::{Value, json};

use super::world::World;

async fn problem(world: &World, request: Request<Body>, status: u16) {
    let what = format!("{} {}", request.method(), request.uri());
    let (answered, kind, body) = world.raw(request).await;
    assert_eq!(
        answered.as_u16(),
        status,
        "{what}: {}",
        String::from_utf8_lossy(&body)
    );
    assert_eq!(kind, "application/problem+json", "{what}");
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(body["status"], status, "{what}");
    assert_eq!(body["type"], "about:blank");
    assert!(
        body["detail"]
            .as_str()
            .is_some_and(|detail| detail.len() > 8),
        "{what}"
    );
}

const ROUTES: [(&str, &str); 23] = [
    ("GET", "/accounts"),
    ("POST", "/accounts"),
    ("GET", "/accounts/1"),
    ("PATCH", "/accounts/1"),
    ("DELETE", "/accounts/1"),
    ("GET", "/destinations"),
    ("POST", "/destinations"),
    ("GET", "/destinations/1"),
    ("PATCH", "/destinations/1"),
    ("DELETE", "/destinations/1"),
    ("GET", "/tokens"),
    ("POST", "/tokens"),
    ("GET", "/tokens/1"),
    ("PATCH", "/tokens/1"),
    ("DELETE", "/tokens/1"),
    ("POST", "/tokens/1/enable"),
    ("POST", "/tokens/1/disable"),
    ("POST", "/tokens/1/revoke"),
    ("POST", "/tokens/1/rotate"),
    ("POST", "/tokens/1/reveal"),
    ("GET", "/gateways"),
    ("GET", "/accounts/1/usage"),
    ("GET", "/tokens/1/senders"),
];

#[tokio::test]
async fn every_route_answers_problems_and_nothing_happens() {
    let world = World::new().await;
    let head = world.control.feed_state().head;
    for (method, path) in ROUTES {
        let bare = || {
            Request::builder()
                .method(method)
                .uri(format!("/api/v1{path}"))
        };
        let tokens = [
            "",
            "Bearer",
            "Bearer x",
            "Bearer whf_a_00000000000000000000000000000000000000",
            "Basic eA==",
        ];
        for token in tokens {
            let request = bare().header("authorization", token).body(Body::empty());
            problem(&world, request.expect("a request"), 401).await;
        }
        problem(&world, bare().body(Body::empty()).expect("a request"), 401).await;
        problem(&world, world.request("PUT", path, ""), 405).await;
        problem(
            &world,
            world.request(method, &format!("{path}/x/y"), ""),
            404,
        )
        .await;
        if path.contains("/1") {
            let unknown = path.replace("/1", "/999999");
            let status =
                if method == "PATCH" || method == "POST" || method == "DELETE" || method == "GET" {
                    404
                } else {
                    0
                };
            problem(&world, world.request(method, &unknown, "{}"), status).await;
            for id in ["0", "-1", "+1", "x", "18446744073709551616", "%ff", "1%00"] {
                let bad = path.replace("/1", &format!("/{id}"));
                problem(&world, world.request(method, &bad, "{}"), 400).await;
            }
        }
        if method == "POST" && path.matches('/').count() == 1 || method == "PATCH" {
            for body in [
                "{",
                "[]",
                "null",
                "1",
                "\u{0}",
                "{\"unknown\":1}",
                "{\"name\":7}",
                "{\"name\":\"\"}",
            ] {
                problem(&world, world.request(method, path, body), 400).await;
            }
            problem(&world, world.request(method, path, vec![0xff; 64]), 400).await;
            problem(
                &world,
                world.request(method, path, "[".repeat(100_000)),
                400,
            )
            .await;
            problem(
                &world,
                world.request(method, path, vec![b' '; (1 << 20) + 1]),
                413,
            )
            .await;
            for query in [
                "?wait=x",
                "?wait=enforced&timeout_ms=60001",
                "?timeout_ms=-1",
                "?what=1",
            ] {
                problem(
                    &world,
                    world.request(method, &format!("{path}{query}"), "{}"),
                    400,
                )
                .await;
            }
        }
    }
    for list in ["/accounts", "/tokens", "/destinations"] {
        for query in [
            "?limit=0",
            "?limit=1001",
            "?limit=x",
            "?after=-1",
            "?what=1",
        ] {
            problem(
                &world,
                world.request("GET", &format!("{list}{query}"), ""),
                400,
            )
            .await;
        }
    }
    for query in ["?signal=x", "?state=x"] {
        problem(
            &world,
            world.request("GET", &format!("/tokens{query}"), ""),
            400,
        )
        .await;
    }
    for path in ["/", "/api", "/api/v1", "/api/v1/", "/api/v2/accounts", "/x"] {
        let request = Request::builder().uri(path).body(Body::empty());
        problem(&world, request.expect("a request"), 404).await;
    }
    assert_eq!(
        world.control.feed_state().head,
        head,
        "an error changed something"
    );
}

#[tokio::test]
async fn two_different_tokens_are_nobodys_and_a_shipping_token_is_no_admin() {
    let world = World::new().await;
    let shipping = world.token("x").await["token"]
        .as_str()
        .expect("text")
        .to_owned();
    let request = Request::builder()
        .uri("/api/v1/tokens")
        .header("x-api-token", &shipping);
    problem(&world, request.body(Body::empty()).expect("a request"), 401).await;
    let mut request = world.request("GET", "/tokens", "");
    request
        .headers_mut()
        .insert("x-api-token", shipping.parse().expect("ASCII"));
    problem(&world, request, 401).await;
    let mut request = world.request("GET", "/tokens", "");
    let bearer = request
        .headers_mut()
        .remove("authorization")
        .expect("there");
    let token = bearer
        .to_str()
        .expect("text")
        .trim_start_matches("Bearer ")
        .to_owned();
    request
        .headers_mut()
        .insert("x-api-token", token.parse().expect("ASCII"));
    assert_eq!(world.raw(request).await.0.as_u16(), 200);
}

#[tokio::test]
async fn a_token_lives_and_ends_as_the_contract_says() {
    let world = World::new().await;
    let made = world.token("one").await;
    let id = made["id"].as_u64().expect("a number");
    let secret = made["token"].as_str().expect("text").to_owned();
    assert!(secret.starts_with("whf_s_") && secret.len() == 44);
    assert_eq!(made["state"], "live");
    assert_eq!(made["account_name"], "main");
    let path = |action: &str| format!("/tokens/{id}{action}");
    let shown = world.ok("GET", &path(""), Value::Null).await;
    assert!(shown.get("token").is_none());
    assert_eq!(shown["revision"], made["revision"]);

    assert_eq!(
        world.ok("POST", &path("/disable"), Value::Null).await["state"],
        "disabled"
    );
    assert_eq!(world.call("POST", &path("/rotate"), json!({})).await.0, 409);
    assert_eq!(
        world.ok("POST", &path("/enable"), Value::Null).await["state"],
        "live"
    );
    let renamed = world
        .ok(
            "PATCH",
            &path(""),
            json!({"name": "two", "expires_at": "2100-01-01T00:00:00Z"}),
        )
        .await;
    assert_eq!(
        (&renamed["name"], &renamed["expires_at"]),
        (&json!("two"), &json!("2100-01-01T00:00:00Z"))
    );
    assert_eq!(
        world.ok("POST", &path("/reveal"), Value::Null).await["token"],
        secret
    );

    let rotated = world
        .ok("POST", &path("/rotate"), json!({"overlap_seconds": 60}))
        .await;
    assert_eq!(rotated["replaces"]["id"], id);
    assert_ne!(rotated["token"], secret);
    assert_eq!(rotated["name"], "two");
    let until = world.ok("GET", &path(""), Value::Null).await["expires_at"].clone();
    assert_eq!(until, rotated["replaces"]["expires_at"]);
    assert!(until.as_str().expect("text") < "2100");
    let (status, refusal) = world.call("POST", &path("/rotate"), Value::Null).await;
    assert_eq!(status, 409);
    let successor = format!("token {} replaces it", rotated["id"]);
    assert!(
        refusal["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains(&successor))
    );
    let old = world.ok("GET", &path(""), Value::Null).await;
    assert_eq!(
        (&old["replaced_by"], &old["expires_at"]),
        (&rotated["id"], &until)
    );
    // Given an end of its own, it can be rotated once more; and the new one never ends with an overlap.
    world
        .ok("PATCH", &path(""), json!({"expires_at": null}))
        .await;
    let again = world.ok("POST", &path("/rotate"), Value::Null).await;
    assert_eq!(again["expires_at"], Value::Null);

    assert_eq!(
        world.ok("POST", &path("/revoke"), Value::Null).await["state"],
        "revoked"
    );
    assert_eq!(
        world.ok("POST", &path("/revoke"), Value::Null).await["state"],
        "revoked"
    );
    for action in ["/enable", "/disable", "/rotate", "/reveal"] {
        assert_eq!(
            world.call("POST", &path(action), Value::Null).await.0,
            409,
            "{action}"
        );
    }
    assert_eq!(
        world.call("PATCH", &path(""), json!({"name": "x"})).await.0,
        409
    );
    world.ok("DELETE", &path(""), Value::Null).await;
    assert_eq!(world.call("GET", &path(""), Value::Null).await.0, 404);

    let expired = world
        .ok("POST", "/tokens/1/rotate", json!({"overlap_seconds": 0}))
        .await;
    assert_eq!(expired["state"], "live");
    assert_eq!(
        world.ok("GET", "/tokens/1", Value::Null).await["state"],
        "expired"
    );
    for (filter, count) in [
        ("state=expired", 1),
        ("name=two", 2),
        ("name=two&account=main&signal=logs&state=live", 2),
        ("name=two&signal=traces", 0),
        ("name=tw", 0),
        ("signal=traces", 1),
        ("account=main&state=live", 5),
        ("account=2", 0),
        ("state=revoked", 0),
    ] {
        let list = world
            .ok("GET", &format!("/tokens?{filter}"), Value::Null)
            .await;
        assert_eq!(
            list["items"].as_array().map(Vec::len),
            Some(count),
            "{filter}"
        );
    }
    for expires_at in [
        "2001-01-01T00:00:00Z",
        "2200-01-01T00:00:00Z",
        "tomorrow",
        "2030-01-01T00:00:00+02:00",
    ] {
        let body = json!({"account": 1, "signal": "logs", "name": "n", "expires_at": expires_at});
        assert_eq!(
            world.call("POST", "/tokens", body).await.0,
            400,
            "{expires_at}"
        );
    }
}

#[tokio::test]
async fn accounts_and_destinations_hold_on_to_each_other() {
    let world = World::new().await;
    let body = json!({"name": "mimir", "kind": "otlp_http", "endpoints": ["https://m:443/otlp"],
        "headers": [{"name": "X-Scope-OrgID", "value": "{account}"}],
        "credentials": {"kind": "basic", "user": "u", "password": "geheim"}, "request_timeout_ms": 1000});
    let mimir = world.ok("POST", "/destinations", body.clone()).await;
    assert_eq!(mimir["credentials"], json!({"kind": "basic", "user": "u"}));
    assert!(!mimir.to_string().contains("geheim"));
    assert_eq!(world.call("POST", "/destinations", body).await.0, 409);
    // What is not named stays, the password too.
    let patched = world
        .ok(
            "PATCH",
            "/destinations/2",
            json!({"compression": "identity"}),
        )
        .await;
    assert_eq!(patched["credentials"], mimir["credentials"]);
    let state = format!(
        "{:?}",
        world
            .control
            .inner
            .store
            .destination(2)
            .await
            .expect("there")
            .destination
            .compression
    );
    assert_eq!(state, "Identity");
    for bad in [
        json!({"kind": "archive"}),
        json!({"endpoints": []}),
        json!({"connect_timeout_ms": 0}),
        json!({"tls": {"client_key_pem": "x"}}),
        json!({"credentials": {"kind": "basic", "user": "u"}}),
    ] {
        assert_eq!(
            world.call("PATCH", "/destinations/2", bad.clone()).await.0,
            400,
            "{bad}"
        );
    }

    let body = json!({"name": "eu", "destinations": {"metrics": "mimir", "traces": null}, "limits": {"concurrency_max": 5}});
    let account = world.ok("POST", "/accounts", body).await;
    assert_eq!(
        account["destinations"],
        json!({"logs": 1, "metrics": 2, "traces": null})
    );
    assert_eq!(account["limits"]["concurrency_max"], 5);
    assert_eq!(account["limits"]["bulk_line_bytes_max"], 500_000);
    assert_eq!(
        world.call("DELETE", "/destinations/2", Value::Null).await.0,
        409
    );
    for bad in [
        json!({"limits": {"otlp_body_bytes_max": 0}}),
        json!({"name": "17"}),
        json!({"state": "gone"}),
    ] {
        assert_eq!(
            world.call("PATCH", "/accounts/2", bad.clone()).await.0,
            400,
            "{bad}"
        );
    }
    for nowhere in [json!({"logs": "nowhere"}), json!({"logs": 99})] {
        let body = json!({"destinations": nowhere});
        assert_eq!(world.call("PATCH", "/accounts/2", body).await.0, 404);
    }
    assert_eq!(
        world
            .call("PATCH", "/accounts/2", json!({"name": "main"}))
            .await
            .0,
        409
    );
    assert_eq!(
        world
            .ok("PATCH", "/accounts/2", json!({"state": "suspended"}))
            .await["state"],
        "suspended"
    );

    let body = json!({"account": "eu", "signal": "metrics", "name": "n"});
    let token = world.ok("POST", "/tokens", body).await["id"].clone();
    assert_eq!(
        world.call("DELETE", "/accounts/2", Value::Null).await.0,
        409
    );
    world
        .ok("POST", &format!("/tokens/{token}/revoke"), Value::Null)
        .await;
    world.ok("DELETE", "/accounts/2", Value::Null).await;
    assert_eq!(
        world
            .call("GET", &format!("/tokens/{token}"), Value::Null)
            .await
            .0,
        404
    );
    world.ok("DELETE", "/destinations/2", Value::Null).await;
    // Names are free again, ids are not.
    assert_eq!(
        world.ok("POST", "/accounts", json!({"name": "eu"})).await["id"],
        3
    );

    let first = world.ok("GET", "/accounts?limit=1", Value::Null).await;
    assert_eq!(
        (&first["items"][0]["id"], &first["next"]),
        (&json!(1), &json!(1))
    );
    let second = world
        .ok("GET", "/accounts?limit=1&after=1", Value::Null)
        .await;
    assert_eq!(
        (&second["items"][0]["id"], &second["next"]),
        (&json!(3), &Value::Null)
    );
}

#[tokio::test]
async fn the_description_names_every_route_and_needs_no_token() {
    let world = World::new().await;
    let request = Request::builder()
        .uri("/api/v1/openapi.json")
        .body(Body::empty());
    let (status, _, body) = world.raw(request.expect("a request")).await;
    assert_eq!(status.as_u16(), 200);
    let document: Value = serde_json::from_slice(&body).expect("JSON");
    assert!(
        document["openapi"]
            .as_str()
            .expect("text")
            .starts_with("3.1")
    );
    for (method, path) in ROUTES {
        let path = path.replace("/1", "/{id}");
        let operation = &document["paths"][&path][method.to_lowercase()];
        assert!(operation.is_object(), "{method} {path}");
    }
}
