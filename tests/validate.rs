//! `?validate=true` at every door: what a payload would be answered, without a byte of it going anywhere.

mod world;

use http::Method;
use serde_json::{Value, json};
use world::{Answer, Recorder, World, bodies};

const GRPC_LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");

struct Stage {
    world: World,
    recorder: Recorder,
    account: u64,
    logs: (u64, String),
    metrics: (u64, String),
}

impl Stage {
    async fn set() -> Self {
        let world = World::start_with(|config| {
            config.directory.usage_every = std::time::Duration::from_millis(50);
        })
        .await;
        let recorder = Recorder::start().await;
        world.destination("there", "http", &recorder.url()).await;
        let account = world.account("acme", "there").await;
        let (logs, metrics) = (
            world.token("acme", "logs").await,
            world.token("acme", "metrics").await,
        );
        Self {
            world,
            recorder,
            account,
            logs,
            metrics,
        }
    }

    async fn bulk(&self, path: &str, body: impl Into<bytes::Bytes>) -> Answer {
        self.world.bulk().ship(path, &self.logs.1, &[], body).await
    }

    async fn otlp(&self, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let sender = self.world.otlp_http();
        sender.ship(path, &self.logs.1, headers, body).await
    }

    async fn write(&self, path: &str, content_type: &str, body: &[u8]) -> Answer {
        let headers = [
            ("content-type", content_type),
            ("content-encoding", "snappy"),
        ];
        let sender = self.world.remote_write();
        sender
            .ship(path, &self.metrics.1, &headers, bodies::snappy(body))
            .await
    }

    /// Requests of a token, their items, bytes and refusals, as the API tells them.
    async fn usage(&self) -> Vec<Value> {
        let path = format!("/accounts/{}/usage?group=token&step=day", self.account);
        let page = self.world.must(Method::GET, &path, Value::Null).await;
        page["items"].as_array().expect("a list").clone()
    }
}

fn validated(answer: &Answer) -> (Option<&str>, Option<&str>) {
    (
        answer.header("x-validated-items"),
        answer.header("x-validated-bytes"),
    )
}

#[tokio::test]
async fn every_door_counts_and_answers_and_delivers_nothing() {
    let stage = Stage::set().await;
    let lines = bodies::lines(3);
    let bytes = lines.len().to_string();
    let answer = stage.bulk("/?validate=true", lines).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(validated(&answer), (Some("3"), Some(bytes.as_str())));
    let counters =
        json!({"malformedLines": 0, "successfulLines": 3, "oversizedLines": 0, "emptyLogLines": 0});
    assert_eq!(answer.json(), counters);

    let message = bodies::otlp("logs", 2);
    let bytes = message.len().to_string();
    let sentence = format!("validated and not delivered: 2 items, {bytes} bytes");
    let answer = stage
        .otlp("/v1/logs?validate=true", &[PROTOBUF], message.clone())
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(validated(&answer), (Some("2"), Some(bytes.as_str())));
    assert!(answer.text().contains(&sentence), "{answer:?}");
    let json_type = [("content-type", "application/json")];
    let text = bodies::otlp_json("logs", 2);
    let answer = stage
        .otlp("/v1/logs?validate=true", &json_type, text.into_bytes())
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let words = answer.json()["partialSuccess"]["errorMessage"].clone();
    let words = words.as_str().expect("a sentence");
    assert!(
        words.starts_with("validated and not delivered: 2 items"),
        "{words}"
    );

    let authorization = format!("Bearer {}", stage.logs.1);
    let metadata = [
        ("authorization", authorization.as_str()),
        ("x-validate", "true"),
    ];
    let sender = stage.world.otlp_grpc();
    let answer = sender.call(GRPC_LOGS, &metadata, &message, false).await;
    assert_eq!(answer.code, 0, "{answer:?}");
    assert_eq!(validated(&answer.answer), (Some("2"), Some(bytes.as_str())));
    assert!(String::from_utf8_lossy(&answer.payload).contains(&sentence));

    let write_1 = "application/x-protobuf";
    let write_2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
    for (content_type, body) in [(write_1, bodies::write_1(4)), (write_2, bodies::write_2(4))] {
        let answer = stage
            .write("/api/v1/write?validate=true", content_type, &body)
            .await;
        assert_eq!(answer.status, 204, "{answer:?}");
        assert_eq!(validated(&answer).0, Some("4"));
        // Nothing was written, so nothing says so.
        assert_eq!(
            answer.header("x-prometheus-remote-write-samples-written"),
            None
        );
    }
    assert!(
        stage.recorder.recorded().is_empty(),
        "nothing was delivered"
    );
    for signal in ["logs", "metrics"] {
        let books = stage.world.books(stage.account, signal).await;
        let nothing = json!({"items": 0, "bytes": 0});
        assert_eq!(books["received"], nothing, "outside the books: {books}");
        assert_eq!(books["in_flight"], nothing, "{books}");
    }
    let page = stage.world.page("/metrics").await.text();
    let count = |labels| world::live::metric_in(&page, "wharfinger_requests_total", labels);
    assert_eq!(count("outcome=\"answered\""), 6.0);
    assert_eq!(count("outcome=\"delivered\""), 0.0);
    // Requests of their tokens all the same, but no item and no byte.
    world::eventually("all six are told", async || {
        let rows = stage.usage().await;
        let sum = |key: &str| rows.iter().filter_map(|row| row[key].as_u64()).sum::<u64>();
        assert_eq!(
            (sum("items"), sum("bytes"), sum("delivered_items")),
            (0, 0, 0)
        );
        sum("requests") == 6
    })
    .await;
}

#[tokio::test]
async fn what_ingest_refuses_is_refused_in_the_same_words() {
    let stage = Stage::set().await;
    let bad = "no JSON\n{\"a\":1}\n\n";
    let mixed = stage.bulk("/?validate=true", bad).await;
    assert_eq!(mixed.status, 400, "{mixed:?}");
    assert_eq!(validated(&mixed).0, Some("1"));
    assert!(
        stage.recorder.recorded().is_empty(),
        "not even the good line"
    );
    assert_eq!(mixed.json(), stage.bulk("/", bad).await.json());
    let long = format!("{{\"a\":\"{}\"}}\n", "x".repeat(500_001));
    let limits = json!({"limits": {"bulk_body_bytes_max": 600_000}});
    let path = format!("/accounts/{}?wait=enforced", stage.account);
    stage.world.must(Method::PATCH, &path, limits).await;
    for body in ["no JSON\n".to_owned(), long, "x".repeat(600_001)] {
        let asked = stage.bulk("/?validate=true", body.clone()).await;
        let sent = stage.bulk("/", body).await;
        assert_eq!((asked.status, &asked.body), (sent.status, &sent.body));
        assert!((400..500).contains(&asked.status), "{asked:?}");
        assert_eq!(validated(&asked), (None, None));
    }
    let cut = bodies::otlp("logs", 2)[..9].to_vec();
    let asked = stage
        .otlp("/v1/logs?validate=true", &[PROTOBUF], cut.clone())
        .await;
    let sent = stage.otlp("/v1/logs", &[PROTOBUF], cut).await;
    assert_eq!((asked.status, &asked.body), (400, &sent.body));
    let asked = stage
        .otlp(
            "/v1/logs?validate=true",
            &[("content-type", "text/plain")],
            Vec::new(),
        )
        .await;
    assert_eq!(asked.status, 415, "{asked:?}");
    let unknown = stage
        .world
        .bulk()
        .ship("/?validate=true", "0123456789abcdefXYZ", &[], "{}\n")
        .await;
    assert_eq!(unknown.status, 401, "{unknown:?}");
    // The real ones stand in the books, and these alone.
    let books = stage.world.books(stage.account, "logs").await;
    assert_eq!(books["delivered"]["items"], 1, "{books}");
    let nothing = json!({"items": 0, "bytes": 0});
    assert_eq!(books["in_flight"], nothing, "they balance: {books}");
}

#[tokio::test]
async fn an_account_without_a_destination_is_told_before_it_ships() {
    let world = World::start().await;
    let body = json!({"name": "acme", "plan": "unlimited", "destinations": {"logs": null}});
    world
        .must(Method::POST, "/accounts?wait=enforced", body)
        .await;
    let (_, token) = world.token("acme", "logs").await;
    let asked = world
        .bulk()
        .ship("/?validate=true", &token, &[], "{\"a\":1}\n")
        .await;
    let sent = world.bulk().ship("/", &token, &[], "{\"a\":1}\n").await;
    assert_eq!((asked.status, &asked.body), (sent.status, &sent.body));
    assert_eq!(asked.status, 503, "{asked:?}");
}

#[tokio::test]
async fn what_is_refused_on_the_way_to_a_destination_is_refused_before_it() {
    let world = World::start().await;
    let recorder = Recorder::start().await;
    world
        .destination("http", "otlp_http", &recorder.url())
        .await;
    world
        .destination("grpc", "otlp_grpc", &recorder.url())
        .await;
    let (_, json, protobuf) = (
        world.account("kept", "archive").await,
        ("content-type", "application/json"),
        bodies::otlp("logs", 15_000),
    );
    let account = world.account("small", "archive").await;
    let limits = json!({"limits": {"in_flight_bytes_max": 2 * protobuf.len()}});
    let path = format!("/accounts/{account}?wait=enforced");
    world.must(Method::PATCH, &path, limits).await;
    world.account("otlp", "http").await;
    world.account("converted", "grpc").await;
    // A time that is none: it reads well up to the records, and has no protobuf form.
    let never = bodies::otlp_json("logs", 1).replace("\"1700000000000000000\"", "\"soon\"");
    let never = never.into_bytes();
    for (account, path, header, body, status) in [
        ("kept", "/v1/logs", json, never.clone(), 400),
        ("converted", "/v1/logs", json, never, 400),
        // As text it takes four times the room.
        ("small", "/v1/logs", PROTOBUF, protobuf, 429),
        ("otlp", "/", json, b"{\"a\":1}\n".to_vec(), 503),
    ] {
        let (_, token) = world.token(account, "logs").await;
        let sender = match path {
            "/" => world.bulk(),
            _ => world.otlp_http(),
        };
        let asked = format!("{path}?validate=true");
        let asked = sender.ship(&asked, &token, &[header], body.clone()).await;
        let sent = sender.ship(path, &token, &[header], body).await;
        assert_eq!(asked.status, status, "{account}: {asked:?}");
        assert_eq!(asked.status, sent.status, "{account}: {sent:?}");
        // A wait is drawn for each answer.
        if asked.header("retry-after").is_none() || account == "otlp" {
            assert_eq!(asked.body, sent.body, "{account}");
        }
    }
    assert!(recorder.recorded().is_empty());
}

#[tokio::test]
async fn what_is_only_looked_at_leaves_no_trace_in_the_archive() {
    let world = World::start().await;
    let account = world.account("acme", "archive").await;
    let (_, token) = world.token("acme", "logs").await;
    // Past what is held in memory: a real one would get a file of its own.
    let large = bodies::otlp("logs", 60_000);
    let (bytes, sender) = (large.len() as u64, world.otlp_http());
    let asked = sender
        .ship("/v1/logs?validate=true", &token, &[PROTOBUF], large)
        .await;
    assert_eq!(
        (asked.status, validated(&asked).0),
        (200, Some("60000")),
        "{bytes} bytes"
    );
    assert!(world.archived(account, "logs").is_empty());
    // The last of it after the answer.
    world::eventually("all of it is given back", async || {
        let page = world.page("/metrics").await.text();
        world::live::metric_in(&page, "wharfinger_memory_in_flight_bytes", "") == 0.0
    })
    .await;
}

#[tokio::test]
async fn what_might_mean_it_and_does_not_say_so_is_refused_and_never_ingested() {
    let stage = Stage::set().await;
    let line = "{\"a\":1}\n";
    for query in [
        "validate",
        "validate=",
        "validate=yes",
        "validate=TRUE",
        "validate=true&validate=true",
        "Validate=true",
        "%76alidate=true",
        "type=x;validate=true",
    ] {
        let answer = stage.bulk(&format!("/?{query}"), line).await;
        assert_eq!(answer.status, 400, "{query}: {answer:?}");
        assert!(answer.text().contains("validate is"), "{answer:?}");
    }
    for (value, status) in [("true", 200), ("yes", 400)] {
        let headers = [("x-validate", value)];
        let answer = stage.world.bulk();
        let answer = answer.ship("/", &stage.logs.1, &headers, line).await;
        assert_eq!(
            answer.status, status,
            "a header at any door: {value}: {answer:?}"
        );
    }
    let page = stage.world.page("/metrics").await.text();
    let labels = "door=\"bulk\",outcome=\"bad_parameter\"";
    let refused = world::live::metric_in(&page, "wharfinger_requests_total", labels);
    assert_eq!(refused, 9.0, "no alarm for bad framing");
    let message = bodies::otlp("logs", 1);
    let authorization = format!("Bearer {}", stage.logs.1);
    let metadata = [
        ("authorization", authorization.as_str()),
        ("x-validate", "yes"),
    ];
    let sender = stage.world.otlp_grpc();
    let answer = sender.call(GRPC_LOGS, &metadata, &message, false).await;
    assert_eq!(answer.code, 3, "INVALID_ARGUMENT: {answer:?}");
    assert!(stage.recorder.recorded().is_empty());
    let answer = stage.bulk("/?validate=false", line).await;
    assert_eq!(
        (answer.status, answer.body.len()),
        (200, 0),
        "as without it"
    );
    assert_eq!(stage.recorder.recorded().len(), 1);
}
