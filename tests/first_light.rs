//! First light: what is shipped at any door reaches its account, and is found again.

mod world;

use http::Method;
use serde_json::{Value, json};
use world::{Recorder, World, bodies, recorder::Script};

const GRPC: [(&str, &str); 3] = [
    (
        "logs",
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    ),
    (
        "metrics",
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    ),
    (
        "traces",
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    ),
];

#[tokio::test]
async fn every_door_leads_into_the_archive() {
    let world = World::start().await;
    let logs = world.first_token("logs");
    let answer = world
        .bulk()
        .ship("/?type=web", &logs, &[], bodies::lines(2))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let lines = world.archived(1, "logs");
    assert_eq!(lines.len(), 2, "{lines:?}");
    let line: Value = serde_json::from_str(&lines[0]).expect("JSON");
    assert_eq!(line, json!({"type": "web", "message": "line 0", "n": 0}));

    for signal in ["logs", "metrics", "traces"] {
        let token = world.first_token(signal);
        let before = world.archived(1, signal).len();
        let protobuf = [("content-type", "application/x-protobuf")];
        let path = format!("/v1/{signal}");
        let sender = world.otlp_http();
        let answer = sender
            .ship(&path, &token, &protobuf, bodies::otlp(signal, 3))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let json = [("content-type", "application/json")];
        let answer = sender
            .ship(&path, &token, &json, bodies::otlp_json(signal, 3))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let (_, path) = GRPC
            .iter()
            .find(|(name, _)| *name == signal)
            .expect("there");
        let authorization = format!("Bearer {token}");
        let headers = [
            ("authorization", authorization.as_str()),
            ("grpc-encoding", "gzip"),
        ];
        let body = bodies::gzip(&bodies::otlp(signal, 3));
        let answer = world.otlp_grpc().call(path, &headers, &body, true).await;
        assert_eq!(answer.code, 0, "{answer:?}");
        // One OTLP-JSON request a line.
        assert_eq!(world.archived(1, signal).len() - before, 3);
        let books = world.books(1, signal).await;
        let bulk = if signal == "logs" { 2 } else { 0 };
        assert_eq!(books["delivered"]["items"], 9 + bulk, "{books}");
    }

    let metrics = world.first_token("metrics");
    let before = world.archived(1, "metrics").len();
    let headers = [
        ("content-type", "application/x-protobuf"),
        ("content-encoding", "snappy"),
    ];
    let sender = world.remote_write();
    let answer = sender
        .ship(
            "/api/v1/write",
            &metrics,
            &headers,
            bodies::snappy(&bodies::write_1(5)),
        )
        .await;
    assert_eq!(answer.status, 204, "{answer:?}");
    let answer = sender
        .ship("/", &metrics, &headers, bodies::snappy(&bodies::write_1(5)))
        .await;
    assert_eq!(answer.status, 204, "a bare / means remote write here");
    let lines = world.archived(1, "metrics");
    assert_eq!(lines.len() - before, 2);
    let series: Value = serde_json::from_str(lines.last().expect("there")).expect("JSON");
    assert_eq!(series["labels"]["__name__"], "up");
    assert_eq!(series["samples"].as_array().expect("a list").len(), 5);
}

#[tokio::test]
async fn every_token_place_and_encoding_opens_the_door_on_both_http_versions() {
    let world = World::start().await;
    let token = world.first_token("logs");
    let basic = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        format!("anybody:{token}"),
    );
    let query = format!("/?token={token}&type=x");
    let places = [
        ("/", format!("Bearer {token}")),
        ("/", format!("Splunk {token}")),
        ("/", format!("ApiKey {token}")),
        ("/", format!("Basic {basic}")),
        (query.as_str(), String::new()),
    ];
    let lines = bodies::lines(1);
    let encodings = [
        ("identity", lines.clone()),
        ("gzip", bodies::gzip(&lines)),
        ("zstd", bodies::zstd(&lines)),
    ];
    let mut sent = 0;
    for (path, authorization) in &places {
        for (encoding, body) in &encodings {
            let mut headers = vec![("content-encoding", *encoding)];
            if !authorization.is_empty() {
                headers.push(("authorization", authorization));
            }
            let sender = world.bulk();
            let h1 = sender.post(path, &headers, body.clone()).await;
            let h2 = sender
                .send_h2(Method::POST, path, &headers, body.clone())
                .await;
            assert_eq!((h1.status, h2.status), (200, 200), "{path} {encoding}");
            sent += 2;
        }
    }
    assert_eq!(world.archived(1, "logs").len(), sent);
}

#[tokio::test]
async fn a_second_start_finds_everything_again() {
    let world = World::start().await;
    let token = world.first_token("logs");
    let answer = world.bulk().ship("/", &token, &[], bodies::lines(1)).await;
    assert_eq!(answer.status, 200);
    let (_, second) = world.token("main", "logs").await;
    let (revoked, third) = world.token("main", "logs").await;
    world
        .must(
            Method::POST,
            &format!("/tokens/{revoked}/revoke?wait=enforced"),
            Value::Null,
        )
        .await;
    let data = world.stop().await;
    let world = World::start_in(data, |_| {}).await;
    assert_eq!(world.first_token("logs"), token);
    for (token, status) in [(&token, 200), (&second, 200), (&third, 401)] {
        let answer = world.bulk().ship("/", token, &[], bodies::lines(1)).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    assert_eq!(world.archived(1, "logs").len(), 3);
}

#[tokio::test]
async fn a_payload_goes_to_its_own_accounts_destination_and_no_other() {
    let world = World::start().await;
    let mut accounts = Vec::new();
    for n in 0..4 {
        let recorder = Recorder::start().await;
        let name = format!("account-{n}");
        let headers = json!([{"name": "X-Scope-OrgID", "value": "{account}"},
                             {"name": "X-Token", "value": "{token_id}"}]);
        let body = json!({"name": name, "kind": "http", "endpoints": [recorder.url()],
                          "headers": headers,
                          "credentials": {"kind": "bearer", "token": "ours"}});
        world
            .must(Method::POST, "/destinations?wait=enforced", body)
            .await;
        let id = world.account(&name, &name).await;
        let (token_id, token) = world.token(&name, "logs").await;
        accounts.push((recorder, id, token_id, token));
    }
    for round in 0..5 {
        for (_, id, _, token) in &accounts {
            let body = format!("{{\"account\":{id},\"round\":{round}}}\n");
            // A sender's own account headers and framing never travel.
            let spoofed = [("x-scope-orgid", "1"), ("x-token", "1"), ("x-other", "1")];
            let answer = world.bulk().ship("/?type=t", token, &spoofed, body).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    }
    for (recorder, id, token_id, token) in &accounts {
        let recorded = recorder.recorded();
        assert_eq!(recorded.len(), 5);
        for (round, request) in recorded.iter().enumerate() {
            let wanted = format!("{{\"account\":{id},\"round\":{round}}}\n");
            assert_eq!(request.body, wanted.as_bytes());
            assert_eq!(request.path, "/?type=t");
            assert_eq!(request.headers["x-scope-orgid"], id.to_string().as_str());
            assert_eq!(request.headers["x-token"], token_id.to_string().as_str());
            assert_eq!(request.headers["authorization"], "Bearer ours");
            assert!(!request.headers.contains_key("x-other"));
            assert!(!format!("{request:?}").contains(token.as_str()));
        }
    }
}

#[tokio::test]
async fn otlp_reaches_otlp_receivers_whatever_its_form() {
    let world = World::start().await;
    let recorder = Recorder::start().await;
    world
        .destination("over-http", "otlp_http", &recorder.url())
        .await;
    world
        .destination("over-grpc", "otlp_grpc", &recorder.url())
        .await;
    for kind in ["over-http", "over-grpc"] {
        world.account(kind, kind).await;
        let (_, token) = world.token(kind, "logs").await;
        recorder.answer(if kind == "over-grpc" {
            Script::grpc(0, "", Some(&[]))
        } else {
            Script::status(200)
        });
        recorder.forget();
        let protobuf = bodies::otlp("logs", 2);
        let sender = world.otlp_http();
        let headers = [("content-type", "application/x-protobuf")];
        let answer = sender
            .ship("/v1/logs", &token, &headers, protobuf.clone())
            .await;
        assert_eq!(answer.status, 200, "{kind} {answer:?}");
        let headers = [("content-type", "application/json")];
        let answer = sender
            .ship("/v1/logs", &token, &headers, bodies::otlp_json("logs", 2))
            .await;
        assert_eq!(answer.status, 200, "{kind} {answer:?}");
        let authorization = format!("Bearer {token}");
        let answer = world
            .otlp_grpc()
            .call(
                GRPC[0].1,
                &[("authorization", &authorization)],
                &protobuf,
                false,
            )
            .await;
        assert_eq!(answer.code, 0, "{kind} {answer:?}");
        let recorded = recorder.recorded();
        assert_eq!(recorded.len(), 3);
        for (place, request) in recorded.iter().enumerate() {
            if kind == "over-grpc" {
                assert_eq!(request.path, GRPC[0].1);
                assert_eq!(&request.body[5..], &protobuf[..], "body {place}");
            } else {
                assert_eq!(request.path, "/v1/logs");
                if place != 1 {
                    assert_eq!(request.body, protobuf, "untouched");
                }
            }
        }
        // Lines are nothing for an OTLP receiver: our set-up, said as such.
        let answer = world.bulk().ship("/", &token, &[], bodies::lines(1)).await;
        assert_eq!(answer.status, 503, "{answer:?}");
    }
}

#[tokio::test]
async fn a_body_that_outlives_a_change_of_destination_goes_to_the_new_one() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let world = World::start().await;
    let (old, new) = (Recorder::start().await, Recorder::start().await);
    world.destination("old", "http", &old.url()).await;
    world.destination("new", "http", &new.url()).await;
    let account = world.account("acme", "old").await;
    let (_, token) = world.token("acme", "logs").await;
    let address = world.bulk().address;
    let mut stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("connects");
    let head = format!(
        "POST / HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\ncontent-length: 10\r\n\r\n{{\"a\":"
    );
    stream.write_all(head.as_bytes()).await.expect("sends");
    world::eventually("the head is admitted", async || {
        let page = world.page("/metrics").await.text();
        page.lines()
            .any(|line| line == "wharfinger_requests_in_flight 1")
    })
    .await;
    let path = format!("/accounts/{account}?wait=enforced");
    let body = json!({"destinations": {"logs": "new"}});
    world.must(Method::PATCH, &path, body).await;
    stream.write_all(b"1234}").await.expect("sends");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200");
    assert_eq!((old.recorded().len(), new.recorded().len()), (0, 1));
}
