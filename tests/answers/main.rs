//! The answers table, cell by cell, over real sockets: every condition at every door, in the sender's own protocol.

mod body;
mod heads;
mod stage;
mod table;
#[path = "../world/mod.rs"]
mod world;

use std::{sync::atomic::Ordering, time::Duration};

use http::Method;
use serde_json::{Value, json};

use stage::Stage;
use table::{
    At, CELLS, EVERYWHERE, FORBIDDEN, MISCONFIGURED, MISSING, SUCCESS, THROTTLED, THROTTLED_503,
    UNAVAILABLE, UNKNOWN, assert_cell, report,
};
use world::{World, bodies, recorder::Script};

#[tokio::test]
async fn success_is_said_as_each_sender_expects_it() {
    let stage = Stage::set("http").await;
    for at in EVERYWHERE {
        stage.accept(at);
        let seen = stage.ship(at).await;
        assert_cell(&SUCCESS, at, "http", &seen);
        match at {
            At::Bulk | At::Write1 | At::Write2 => assert!(seen.answer.body.is_empty(), "{seen:?}"),
            At::OtlpProtobuf => assert!(seen.answer.body.is_empty(), "no partial_success"),
            At::OtlpJson => assert_eq!(seen.answer.json(), json!({})),
            At::Grpc => assert_eq!(&seen.answer.body[..], [0, 0, 0, 0, 0]),
        }
        if at == At::Write2 {
            let samples = "x-prometheus-remote-write-samples-written";
            assert_eq!(seen.answer.header(samples), Some("3"));
        }
    }
    // An empty body is what real clients send on close; an empty export is a success too.
    let token = stage.token(At::Bulk);
    let seen = At::Bulk.ship(&stage.world, Some(token), Vec::new()).await;
    assert_cell(&SUCCESS, At::Bulk, "empty", &seen);
    for at in [At::OtlpProtobuf, At::Grpc] {
        let seen = at.ship(&stage.world, Some(token), Vec::new()).await;
        assert_cell(&SUCCESS, at, "empty", &seen);
    }
    // The archive stores all three pieces of 2.0, and says so.
    let token = stage.world.first_token("metrics");
    let seen = At::Write2
        .ship(&stage.world, Some(&token), At::Write2.body())
        .await;
    assert_cell(&SUCCESS, At::Write2, "archive", &seen);
    report("success");
}

#[tokio::test]
async fn tokens_are_told_apart_as_each_sender_expects_it() {
    let stage = Stage::set("http").await;
    let world = &stage.world;
    for at in EVERYWHERE {
        stage.accept(at);
        let seen = at.ship(world, None, at.body()).await;
        assert_cell(&MISSING, at, "none", &seen);
        if at == At::Bulk {
            assert_eq!(seen.answer.text(), "Logging token is missing");
        }
        assert!(seen.answer.header("x-token-id").is_none());
    }
    for at in EVERYWHERE {
        for unknown in [
            "whf_s_00000000000000000000000000000000000000",
            "0123456789abcdef0123456789abcdef",
            "short",
        ] {
            let seen = at.ship(world, Some(unknown), at.body()).await;
            assert_cell(&UNKNOWN, at, unknown, &seen);
            assert!(
                !format!("{seen:?}").contains(unknown),
                "the token is echoed"
            );
            match at {
                At::Bulk => assert_eq!(seen.answer.text(), "Logging token is not valid"),
                At::Write1 => assert_eq!(seen.answer.text(), "Shipping token is not valid"),
                _ => {}
            }
        }
    }
    for how in ["disable", "revoke", "expire"] {
        for at in EVERYWHERE {
            let (id, token) = world.token("acme", at.signal()).await;
            let seen = at.ship(world, Some(&token), at.body()).await;
            assert_cell(&SUCCESS, at, "before", &seen);
            if how == "expire" {
                let body = json!({"expires_at": "2020-01-01T00:00:00Z"});
                let path = format!("/tokens/{id}?wait=enforced");
                world.must(Method::PATCH, &path, body).await;
            } else {
                let path = format!("/tokens/{id}/{how}?wait=enforced");
                world.must(Method::POST, &path, Value::Null).await;
            }
            let seen = at.ship(world, Some(&token), at.body()).await;
            assert_cell(&UNKNOWN, at, how, &seen);
            assert_eq!(seen.answer.header("x-token-id"), Some(&*id.to_string()));
        }
    }
    report("tokens");
}

#[tokio::test]
async fn a_wrong_signal_and_a_suspended_account_are_forbidden() {
    let stage = Stage::set("http").await;
    let world = &stage.world;
    for at in EVERYWHERE {
        stage.accept(at);
        let other = if at.signal() == "logs" {
            At::Write1
        } else {
            At::Bulk
        };
        let seen = at.ship(world, Some(stage.token(other)), at.body()).await;
        assert_cell(&FORBIDDEN, at, "wrong signal", &seen);
        let id = stage.token_id(other).to_string();
        assert_eq!(seen.answer.header("x-token-id"), Some(&*id));
    }
    let path = format!("/accounts/{}?wait=enforced", stage.account);
    world
        .must(Method::PATCH, &path, json!({"state": "suspended"}))
        .await;
    for at in EVERYWHERE {
        let seen = stage.ship(at).await;
        assert_cell(&FORBIDDEN, at, "suspended", &seen);
    }
    report("forbidden");
}

#[tokio::test]
async fn a_token_from_outside_of_its_networks_is_forbidden_and_counted_as_that() {
    let change = |config: &mut wharfinger::config::Config| {
        config.directory.usage_every = Duration::from_millis(20);
    };
    let stage = Stage::set_in(World::start_with(change).await, "http").await;
    let world = &stage.world;
    let path = format!("/accounts/{}/usage?step=minute", stage.account);
    for (refused, at) in (1..).zip(EVERYWHERE) {
        stage.accept(at);
        let id = stage.token_id(at);
        let bind = async |sources: Value| {
            let path = format!("/tokens/{id}?wait=enforced&force=true");
            world.must(Method::PATCH, &path, sources).await;
        };
        bind(json!({"sources": ["192.0.2.0/24", "2001:db8::/32"]})).await;
        let seen = stage.ship(at).await;
        assert_cell(&FORBIDDEN, at, "outside", &seen);
        assert_eq!(seen.answer.header("x-token-id"), Some(&*id.to_string()));
        bind(json!({"sources": ["192.0.2.0/24", "127.0.0.0/8"]})).await;
        let seen = stage.ship(at).await;
        assert_cell(&SUCCESS, at, "inside", &seen);
        let mut counted = Value::Null;
        for _ in 0..500 {
            let usage = world.must(Method::GET, &path, Value::Null).await;
            let rows = usage["items"].as_array().expect("a list").clone();
            let rows = rows.iter().map(|row| &row["refused"]["source_not_allowed"]);
            counted = rows.filter_map(Value::as_u64).sum::<u64>().into();
            if counted == refused {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(counted, refused, "{at:?}");
    }
    report("sources");
}

#[tokio::test]
async fn an_account_over_its_ceiling_is_throttled() {
    let stage = Stage::set("http").await;
    let slow = Script::status(200).after(Duration::from_secs(3));
    for (limits, row) in [
        (json!({"concurrency_max": 1}), THROTTLED),
        (
            json!({"concurrency_max": 1, "remote_write_throttle_as_unavailable": true}),
            THROTTLED_503,
        ),
        (
            json!({"concurrency_max": 0, "in_flight_bytes_max": 8,
                "remote_write_throttle_as_unavailable": false}),
            THROTTLED,
        ),
    ] {
        stage.limits(limits.clone()).await;
        stage.recorder.answer(slow.clone());
        let is_concurrency = limits["concurrency_max"] == 1;
        let held = is_concurrency.then(|| {
            let (bulk, token) = (stage.world.bulk(), stage.token(At::Bulk).to_owned());
            tokio::spawn(async move { bulk.ship("/", &token, &[], bodies::lines(1)).await })
        });
        if held.is_some() {
            let before = stage.recorder.recorded().len();
            world::eventually("one request is held", async || {
                stage.recorder.recorded().len() > before
            })
            .await;
        }
        for at in EVERYWHERE {
            let seen = stage.ship(at).await;
            assert_cell(&row, at, &limits.to_string(), &seen);
        }
        if let Some(held) = held {
            // The client hangs up; the delivery goes on and ends with its destination's answer.
            held.abort();
            stage.recorder.forget();
        }
        if is_concurrency {
            release_hold(&stage).await;
        }
    }
    report("throttled");
}

#[tokio::test]
async fn an_account_or_a_token_over_a_rate_is_throttled_and_told_when_it_clears() {
    let stage = Stage::set("http").await;
    for (limit, as_unavailable) in [
        ("requests_per_second", false),
        ("bytes_per_second", false),
        ("items_per_second", false),
        ("requests_per_second", true),
    ] {
        for at in EVERYWHERE {
            stage.accept(at);
            let limits = json!({limit: 1_000_000_000u64, "remote_write_throttle_as_unavailable": as_unavailable});
            stage.limits(limits).await;
            let seen = stage.ship(at).await;
            assert_cell(&SUCCESS, at, "under its rates", &seen);
            // One more passes, into debt; what comes next waits for some seconds.
            stage.limits(json!({limit: 1})).await;
            let mut seen = stage.ship(at).await;
            for _ in 0..5 {
                if seen.answer.header("retry-after").is_some() {
                    break;
                }
                seen = stage.ship(at).await;
            }
            let row = if as_unavailable {
                THROTTLED_503
            } else {
                THROTTLED
            };
            assert_cell(&row, at, limit, &seen);
            stage.limits(json!({limit: 0})).await;
            let seen = stage.ship(at).await;
            assert_cell(&SUCCESS, at, "without a rate", &seen);
        }
    }
    report("rates");
}

/// A held delivery runs to its end whatever happens: its destination has to answer first.
async fn release_hold(stage: &Stage) {
    stage.limits(json!({"concurrency_max": 0})).await;
    world::eventually("the held delivery has ended", async || {
        let page = stage.world.page("/metrics").await.text();
        page.lines()
            .any(|line| line == "wharfinger_requests_in_flight 0")
    })
    .await;
}

#[tokio::test]
async fn what_is_our_side_of_the_fence_is_503_and_never_500() {
    let stage = Stage::set("http").await;
    for at in EVERYWHERE {
        for status in [408, 429, 500, 502, 503, 504] {
            stage.recorder.answer(Script::status(status));
            let seen = stage.ship(at).await;
            assert_cell(&UNAVAILABLE, at, &format!("destination {status}"), &seen);
        }
        for status in [301, 401, 403, 404, 405, 406, 410, 411, 421, 426, 431] {
            stage.recorder.answer(Script::status(status));
            let seen = stage.ship(at).await;
            assert_cell(&MISCONFIGURED, at, &format!("destination {status}"), &seen);
        }
        stage
            .recorder
            .answer(Script::status(503).header("retry-after", "7"));
        let seen = stage.ship(at).await;
        assert_cell(&UNAVAILABLE, at, "destination's Retry-After", &seen);
        let wait: u64 = seen
            .answer
            .header("retry-after")
            .expect("there")
            .parse()
            .expect("seconds");
        assert!((7..=14).contains(&wait), "{wait}");
    }
    let world = &stage.world;
    world
        .destination("nowhere", "http", "http://127.0.0.1:1")
        .await;
    world.account("down", "nowhere").await;
    for at in EVERYWHERE {
        let (_, token) = world.token("down", at.signal()).await;
        let seen = at.ship(world, Some(&token), at.body()).await;
        assert_cell(&UNAVAILABLE, at, "destination down", &seen);
    }
    report("unavailable");
}

#[tokio::test]
async fn a_gateway_at_its_ceiling_or_with_an_old_table_says_503() {
    let world = World::start_with(|config| config.gateway.in_flight_bytes_max = 16).await;
    let stage = Stage::set_in(world, "http").await;
    for at in EVERYWHERE {
        let seen = stage.ship(at).await;
        assert_cell(&UNAVAILABLE, at, "overload", &seen);
    }
    let world = World::start_with(|config| config.directory.fresh_within = Duration::ZERO).await;
    for at in EVERYWHERE {
        let seen = at
            .ship(&world, Some("0123456789abcdef0123456789abcdef"), at.body())
            .await;
        assert_cell(&UNAVAILABLE, at, "feed stale", &seen);
        // What the old table knows is still served.
        let token = world.first_token(at.signal());
        let seen = at.ship(&world, Some(&token), at.body()).await;
        assert_cell(&SUCCESS, at, "known to an old table", &seen);
    }
    report("overload");
}

#[tokio::test]
async fn routes_methods_types_and_encodings_are_refused_in_the_doors_words() {
    let stage = Stage::set("http").await;
    let world = &stage.world;
    for at in EVERYWHERE {
        stage.accept(at);
        let authorization = format!("Bearer {}", stage.token(at));
        let sender = at.sender(world);
        let mut headers = at.headers();
        headers.push(("authorization", &authorization));
        if at == At::Grpc {
            let answer = sender
                .send_h2(
                    Method::GET,
                    at.path(),
                    &[("content-type", "application/grpc")],
                    Vec::new(),
                )
                .await;
            assert_eq!(answer.status, 405, "{answer:?}");
            assert_eq!(answer.header("allow"), Some("POST"));
            let seen = sender
                .call("/no.such.Service/Method", &headers, &[], false)
                .await;
            assert_eq!(seen.code, 12, "{seen:?}");
            headers.push(("grpc-encoding", "snappy"));
            let seen = sender.call(at.path(), &headers, &at.body(), true).await;
            assert_eq!(seen.code, 12, "{seen:?}");
            assert_eq!(
                seen.answer.header("grpc-accept-encoding"),
                Some("identity,gzip,zstd")
            );
            let answer = sender
                .send_h2(
                    Method::POST,
                    at.path(),
                    &[
                        ("content-type", "text/plain"),
                        ("authorization", &authorization),
                    ],
                    at.body(),
                )
                .await;
            assert_eq!(answer.status, 415, "{answer:?}");
            CELLS.fetch_add(4, Ordering::Relaxed);
            continue;
        }
        let answer = sender
            .send(Method::PUT, at.path(), &headers, at.body())
            .await;
        assert_eq!(answer.status, 405, "{at:?} {answer:?}");
        assert_eq!(answer.header("allow"), Some("POST"));
        let answer = sender.post("/no/such/route", &headers, at.body()).await;
        assert_eq!(answer.status, 404, "{at:?} {answer:?}");
        let strange: Vec<_> = headers
            .iter()
            .filter(|(name, _)| *name != "content-encoding")
            .copied()
            .chain([("content-encoding", "br")])
            .collect();
        let answer = sender.post(at.path(), &strange, at.body()).await;
        assert_eq!(answer.status, 415, "{at:?} {answer:?}");
        CELLS.fetch_add(3, Ordering::Relaxed);
        if at != At::Bulk {
            let strange: Vec<_> = headers
                .iter()
                .filter(|(name, _)| *name != "content-type")
                .copied()
                .chain([("content-type", "text/html")])
                .collect();
            let answer = sender.post(at.path(), &strange, at.body()).await;
            assert_eq!(answer.status, 415, "{at:?} {answer:?}");
            CELLS.fetch_add(1, Ordering::Relaxed);
        }
        let other = format!("{}?token=0123456789abcdef0123456789abcdef", at.path());
        let answer = sender.post(&other, &headers, at.body()).await;
        assert_eq!(answer.status, 400, "two tokens: {at:?} {answer:?}");
        CELLS.fetch_add(1, Ordering::Relaxed);
    }
    report("routes");
}

#[tokio::test]
async fn a_grpc_path_without_grpc_is_refused_in_plain_http_and_never_with_a_200() {
    let stage = Stage::set("http").await;
    let authorization = format!("Bearer {}", stage.token(At::Grpc));
    let grpc = ("content-type", "application/grpc");
    let authorized = ("authorization", authorization.as_str());
    let sender = stage.world.otlp_grpc();
    let path = At::Grpc.path();
    let h1 = sender
        .post(path, &[grpc, authorized], At::Grpc.body())
        .await;
    assert_eq!(h1.status, 400, "gRPC needs HTTP/2: {h1:?}");
    let protobuf = ("content-type", "application/x-protobuf");
    for (headers, status) in [
        (vec![protobuf], 401),
        (
            vec![protobuf, ("authorization", "Bearer 0123456789abcdef")],
            401,
        ),
        (vec![protobuf, authorized], 415),
    ] {
        let answer = sender
            .send_h2(Method::POST, path, &headers, At::Grpc.body())
            .await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    let answer = sender
        .send_h2(Method::PUT, "/no/such/route", &[grpc], Vec::new())
        .await;
    assert_eq!(answer.status, 404, "{answer:?}");
    CELLS.fetch_add(5, Ordering::Relaxed);
    report("plain HTTP at the gRPC door");
}
