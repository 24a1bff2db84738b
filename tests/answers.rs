//! The answers table, cell by cell, over real sockets: every condition at every door, in the sender's own protocol.

mod world;

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use http::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use wharfinger::wire::status;
use world::{Answer, GrpcAnswer, Recorder, World, bodies, recorder::Script};

/// A door, in every form that answers differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Bulk,
    OtlpProtobuf,
    OtlpJson,
    Grpc,
    Write1,
    Write2,
}

const EVERYWHERE: [At; 6] = [
    At::Bulk,
    At::OtlpProtobuf,
    At::OtlpJson,
    At::Grpc,
    At::Write1,
    At::Write2,
];

/// What a row says: an HTTP status at three doors, a gRPC code at the fourth.
#[derive(Clone, Copy, Debug)]
struct Row {
    name: &'static str,
    bulk: u16,
    otlp: u16,
    grpc: u16,
    write: u16,
    /// Retry-After over HTTP, the same in RetryInfo over gRPC.
    retry: bool,
}

const MISSING: Row = row("missing token", 401, 401, 16, 401, false);
const UNKNOWN: Row = row("unknown or revoked", 401, 401, 16, 401, false);
const FORBIDDEN: Row = row("wrong signal, suspended account", 401, 403, 7, 403, false);
const THROTTLED: Row = row("over rate", 429, 429, 8, 429, true);
const THROTTLED_503: Row = row("over rate, write as 503", 429, 429, 8, 503, true);
const UNAVAILABLE: Row = row(
    "overload, destination down, feed stale",
    503,
    503,
    14,
    503,
    true,
);
const TOO_LARGE: Row = row("too large", 413, 413, 8, 400, false);
const BODY_FAILED: Row = row("body too slow or cut off", 503, 503, 14, 503, true);
const MISCONFIGURED: Row = row("destination 401, 403, 404, 405", 503, 503, 14, 503, true);
const MALFORMED: Row = row("malformed", 400, 400, 3, 400, false);
const SUCCESS: Row = row("success", 200, 200, 0, 204, false);

const fn row(name: &'static str, bulk: u16, otlp: u16, grpc: u16, write: u16, retry: bool) -> Row {
    Row {
        name,
        bulk,
        otlp,
        grpc,
        write,
        retry,
    }
}

#[derive(Debug)]
struct Seen {
    answer: Answer,
    grpc: Option<(u16, String, Option<status::Status>)>,
}

impl From<Answer> for Seen {
    fn from(answer: Answer) -> Self {
        Self { answer, grpc: None }
    }
}

impl From<GrpcAnswer> for Seen {
    fn from(seen: GrpcAnswer) -> Self {
        Self {
            grpc: Some((seen.code, seen.message, seen.details)),
            answer: seen.answer,
        }
    }
}

impl Seen {
    fn code(&self) -> u16 {
        match &self.grpc {
            Some((code, ..)) => *code,
            None => self.answer.status,
        }
    }
}

impl At {
    fn signal(self) -> &'static str {
        match self {
            Self::Write1 | Self::Write2 => "metrics",
            _ => "logs",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Bulk => "/",
            Self::OtlpProtobuf | Self::OtlpJson => "/v1/logs",
            Self::Grpc => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            Self::Write1 | Self::Write2 => "/api/v1/write",
        }
    }

    fn sender(self, world: &World) -> world::Sender {
        match self {
            Self::Bulk => world.bulk(),
            Self::OtlpProtobuf | Self::OtlpJson => world.otlp_http(),
            Self::Grpc => world.otlp_grpc(),
            Self::Write1 | Self::Write2 => world.remote_write(),
        }
    }

    fn headers(self) -> Vec<(&'static str, &'static str)> {
        match self {
            Self::Bulk | Self::Grpc => vec![],
            Self::OtlpProtobuf => vec![("content-type", "application/x-protobuf")],
            Self::OtlpJson => vec![("content-type", "application/json")],
            Self::Write1 => vec![
                ("content-type", "application/x-protobuf"),
                ("content-encoding", "snappy"),
                ("x-prometheus-remote-write-version", "0.1.0"),
            ],
            Self::Write2 => vec![
                (
                    "content-type",
                    "application/x-protobuf;proto=io.prometheus.write.v2.Request",
                ),
                ("content-encoding", "snappy"),
                ("x-prometheus-remote-write-version", "2.0.0"),
            ],
        }
    }

    fn body(self) -> Vec<u8> {
        match self {
            Self::Bulk => bodies::lines(3),
            Self::OtlpProtobuf | Self::Grpc => bodies::otlp("logs", 3),
            Self::OtlpJson => bodies::otlp_json("logs", 3).into_bytes(),
            Self::Write1 => bodies::snappy(&bodies::write_1(3)),
            Self::Write2 => bodies::snappy(&bodies::write_2(3)),
        }
    }

    fn malformed_body(self) -> Vec<u8> {
        match self {
            Self::Bulk => b"not json\n".to_vec(),
            Self::OtlpProtobuf | Self::Grpc => vec![0x0a, 0xff],
            Self::OtlpJson => b"{\"resourceLogs\":[".to_vec(),
            Self::Write1 | Self::Write2 => bodies::snappy(&[0x0a, 0xff]),
        }
    }

    async fn ship(self, world: &World, token: Option<&str>, body: Vec<u8>) -> Seen {
        let authorization = format!("Bearer {}", token.unwrap_or_default());
        let mut headers = self.headers();
        if token.is_some() {
            headers.push(("authorization", &authorization));
        }
        let sender = self.sender(world);
        if self == Self::Grpc {
            return sender
                .call(self.path(), &headers, &body, false)
                .await
                .into();
        }
        sender.post(self.path(), &headers, body).await.into()
    }
}

static CELLS: AtomicUsize = AtomicUsize::new(0);

/// Holds an answer against its cell of the table, with everything that stands beside the status.
fn assert_cell(row: &Row, at: At, why: &str, seen: &Seen) {
    let wanted = match at {
        At::Bulk => row.bulk,
        At::OtlpProtobuf | At::OtlpJson => row.otlp,
        At::Grpc => row.grpc,
        At::Write1 | At::Write2 => row.write,
    };
    let cell = format!("{} ({why}) at {at:?}: {seen:?}", row.name);
    assert_eq!(seen.code(), wanted, "{cell}");
    let id = seen.answer.header("x-request-id").unwrap_or_default();
    assert_eq!(id.len(), 16, "no request id: {cell}");
    let retry_after = seen.answer.header("retry-after");
    assert_eq!(retry_after.is_some(), row.retry, "Retry-After: {cell}");
    if let Some((_, _, details)) = &seen.grpc {
        assert_eq!(seen.answer.status, 200, "{cell}");
        let info = details.as_ref().and_then(|details| details.retry);
        let header = retry_after.map(|text| Duration::from_secs(text.parse().expect("seconds")));
        assert_eq!(info, header, "RetryInfo is Retry-After: {cell}");
    }
    let is_otlp_error = wanted >= 400 && matches!(at, At::OtlpProtobuf | At::OtlpJson);
    if is_otlp_error {
        let content_type = seen.answer.header("content-type");
        let parsed = if at == At::OtlpJson {
            assert_eq!(content_type, Some("application/json"), "{cell}");
            status::parse_status_json(&seen.answer.body)
        } else {
            assert_eq!(content_type, Some("application/x-protobuf"), "{cell}");
            status::parse_status_protobuf(&seen.answer.body)
        };
        let parsed = parsed.unwrap_or_else(|| panic!("no google.rpc.Status: {cell}"));
        assert!(!parsed.message.is_empty() && parsed.code != 0, "{cell}");
    }
    // What a destination that lacks 2.0 has written nobody knows; everything else is said.
    let is_known = ((400..500).contains(&wanted) && wanted != 415) || wanted == 204;
    if at == At::Write2 && is_known {
        for piece in ["samples", "histograms", "exemplars"] {
            let name = format!("x-prometheus-remote-write-{piece}-written");
            assert!(seen.answer.headers.contains_key(&name), "{name}: {cell}");
        }
    }
    CELLS.fetch_add(1, Ordering::Relaxed);
}

fn report(test: &str) {
    println!(
        "{test}: {} cells asserted so far in this process",
        CELLS.load(Ordering::Relaxed)
    );
}

/// A world, a recorder behind account `acme`, and its tokens for logs and metrics.
struct Stage {
    world: World,
    recorder: Recorder,
    account: u64,
    tokens: [(u64, String); 2],
}

impl Stage {
    async fn set(kind: &str) -> Self {
        let world = World::start().await;
        Self::set_in(world, kind).await
    }

    async fn set_in(world: World, kind: &str) -> Self {
        let recorder = Recorder::start().await;
        world.destination("there", kind, &recorder.url()).await;
        let account = world.account("acme", "there").await;
        let tokens = [
            world.token("acme", "logs").await,
            world.token("acme", "metrics").await,
        ];
        Self {
            world,
            recorder,
            account,
            tokens,
        }
    }

    fn token(&self, at: At) -> &str {
        &self.tokens[usize::from(at.signal() == "metrics")].1
    }

    fn token_id(&self, at: At) -> u64 {
        self.tokens[usize::from(at.signal() == "metrics")].0
    }

    async fn ship(&self, at: At) -> Seen {
        at.ship(&self.world, Some(self.token(at)), at.body()).await
    }

    async fn limits(&self, limits: Value) {
        let path = format!("/accounts/{}?wait=enforced", self.account);
        self.world
            .must(Method::PATCH, &path, json!({ "limits": limits }))
            .await;
    }

    /// What the recorder answers so that an honest 2.0 receiver is behind it.
    fn accept(&self, at: At) {
        let script = Script::status(if at == At::Write2 { 204 } else { 200 });
        self.recorder.answer(with_written(script, 3));
    }
}

fn with_written(script: Script, samples: u64) -> Script {
    script
        .header(
            "x-prometheus-remote-write-samples-written",
            &samples.to_string(),
        )
        .header("x-prometheus-remote-write-histograms-written", "0")
        .header("x-prometheus-remote-write-exemplars-written", "0")
}

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
        for status in [301, 401, 403, 404, 405] {
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
async fn a_body_past_the_ceiling_is_refused_announced_or_not() {
    let stage = Stage::set("http").await;
    stage
        .limits(
            json!({"bulk_body_bytes_max": 100, "otlp_body_bytes_max": 100,
                       "remote_write_body_bytes_max": 100}),
        )
        .await;
    for at in EVERYWHERE {
        let big = match at {
            At::Bulk => bodies::lines(10),
            At::OtlpProtobuf | At::Grpc => bodies::otlp("logs", 10),
            At::OtlpJson => bodies::otlp_json("logs", 10).into_bytes(),
            At::Write1 => bodies::snappy(&bodies::write_1(20)),
            At::Write2 => bodies::snappy(&bodies::write_2(20)),
        };
        let seen = at
            .ship(&stage.world, Some(stage.token(at)), big.clone())
            .await;
        assert_cell(&TOO_LARGE, at, "announced or declared", &seen);
        if at == At::Bulk {
            assert_eq!(seen.answer.text(), "Request body size exceeds 100 bytes");
        }
        if !matches!(at, At::Write1 | At::Write2) {
            // Small on the wire, past the ceiling once inflated.
            let seen = ship_gzipped(&stage, at, &big.repeat(20)).await;
            assert_cell(&TOO_LARGE, at, "inflated", &seen);
        }
    }
    report("too large");
}

async fn ship_gzipped(stage: &Stage, at: At, body: &[u8]) -> Seen {
    let authorization = format!("Bearer {}", stage.token(at));
    let body = bodies::gzip(body);
    let mut headers = at.headers();
    headers.push(("authorization", &authorization));
    let sender = at.sender(&stage.world);
    if at == At::Grpc {
        headers.push(("grpc-encoding", "gzip"));
        return sender.call(at.path(), &headers, &body, true).await.into();
    }
    headers.push(("content-encoding", "gzip"));
    sender.post(at.path(), &headers, body).await.into()
}

#[tokio::test]
async fn a_body_that_stalls_or_is_cut_off_is_503() {
    let world = World::start_with(|config| {
        config.receive.body_timeout = Duration::from_millis(300);
        config.receive.body_window = Duration::from_secs(1);
    })
    .await;
    let stage = Stage::set_in(world, "http").await;
    for at in EVERYWHERE {
        if at == At::Grpc {
            continue;
        }
        for is_cut in [false, true] {
            let seen = ship_part(&stage, at, is_cut).await;
            let why = if is_cut { "cut off" } else { "too slow" };
            assert_cell(&BODY_FAILED, at, why, &seen);
        }
    }
    // Over gRPC: a frame that promises more than the stream brings, and a stream that brings nothing more.
    let authorization = format!("Bearer {}", stage.token(At::Grpc));
    let headers = [("authorization", authorization.as_str())];
    let mut short = vec![0, 0, 0, 0, 200];
    short.extend_from_slice(&At::Grpc.body());
    let seen = stage
        .world
        .otlp_grpc()
        .call_framed(At::Grpc.path(), &headers, short)
        .await;
    assert_cell(&BODY_FAILED, At::Grpc, "cut off", &seen.into());
    let seen = stage
        .world
        .otlp_grpc()
        .call_stalling(At::Grpc.path(), &headers)
        .await;
    assert_cell(&BODY_FAILED, At::Grpc, "too slow", &seen.into());
    report("body failed");
}

/// Announces 1,000 bytes, sends ten; then waits, or closes its side.
async fn ship_part(stage: &Stage, at: At, is_cut: bool) -> Seen {
    let address = at.sender(&stage.world).address;
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let mut head = format!(
        "POST {} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\ncontent-length: 1000\r\n",
        at.path(),
        stage.token(at)
    );
    for (name, value) in at.headers() {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await.expect("sends");
    // The start of a snappy body that declares a size below every ceiling.
    stream.write_all(&at.body()[..10]).await.expect("sends");
    if is_cut {
        stream.shutdown().await.expect("half-closes");
    }
    let mut back = Vec::new();
    tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut back))
        .await
        .expect("an answer in time")
        .expect("a clean close");
    parse_answer(&back).into()
}

fn parse_answer(bytes: &[u8]) -> Answer {
    let end = bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap_or_else(|| panic!("no head: {:?}", String::from_utf8_lossy(bytes)));
    let head = std::str::from_utf8(&bytes[..end]).expect("text");
    let mut lines = head.split("\r\n");
    let status = lines.next().expect("a status line")[9..12]
        .parse()
        .expect("a status");
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| {
            (
                name.parse::<http::HeaderName>().expect("a name"),
                value.parse().expect("a value"),
            )
        })
        .collect();
    Answer {
        status,
        headers,
        body: bytes[end + 4..].to_vec().into(),
        trailers: None,
    }
}

#[tokio::test]
async fn what_the_destination_refuses_for_good_is_relayed() {
    let stage = Stage::set("http").await;
    for at in EVERYWHERE {
        for status in [400, 409, 422] {
            let script = Script::status(status).body("out of order sample");
            stage.recorder.answer(with_written(script, 1));
            let seen = stage.ship(at).await;
            let row = row("destination refuses for good", 400, status, 3, 400, false);
            assert_cell(&row, at, &format!("{status}"), &seen);
            match at {
                At::Bulk => assert_eq!(
                    seen.answer.json(),
                    json!({"malformedLines":3,"successfulLines":0,"oversizedLines":0,"emptyLogLines":0})
                ),
                At::Write2 => {
                    let samples = "x-prometheus-remote-write-samples-written";
                    assert_eq!(seen.answer.header(samples), Some("1"));
                }
                At::Write1 => assert!(seen.answer.text().contains("out of order sample")),
                _ => {}
            }
        }
    }
    // A 2xx to 2.0 without Written headers is a 1.0 receiver that stored nothing: the sender must fall back.
    stage.recorder.answer(Script::status(204));
    let seen = stage.ship(At::Write2).await;
    assert_cell(
        &row("lacks 2.0", 0, 0, 0, 415, false),
        At::Write2,
        "204",
        &seen,
    );
    report("destination refuses");
}

#[tokio::test]
async fn malformed_and_partly_bad_bodies_are_counted_and_told() {
    let stage = Stage::set("http").await;
    for at in EVERYWHERE {
        stage.accept(at);
        let token = Some(stage.token(at));
        let seen = at.ship(&stage.world, token, at.malformed_body()).await;
        assert_cell(&MALFORMED, at, "malformed", &seen);
    }
    // Bulk: the good lines are safe before the counters are sent.
    stage.recorder.forget();
    let body = b"{\"a\":1}\nnope\n{\"a\":2}\r\n\n[1]\n{\"a\":3}".to_vec();
    let seen = At::Bulk
        .ship(&stage.world, Some(stage.token(At::Bulk)), body)
        .await;
    assert_cell(
        &row("partly bad", 400, 0, 0, 0, false),
        At::Bulk,
        "lines",
        &seen,
    );
    assert_eq!(
        seen.answer.json(),
        json!({"malformedLines":2,"successfulLines":3,"oversizedLines":0,"emptyLogLines":1})
    );
    let kept = stage.recorder.recorded();
    let lines: Vec<_> = kept[0]
        .body
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .collect();
    assert_eq!(lines.len(), 3, "{kept:?}");
    // OTLP: the destination's partial success, in the sender's own form.
    let partial = status::partial_success_protobuf(2, "two are too old");
    stage.recorder.answer(
        Script::status(200)
            .header("content-type", "application/x-protobuf")
            .body(partial.clone()),
    );
    let seen = stage.ship(At::OtlpProtobuf).await;
    assert_cell(&SUCCESS, At::OtlpProtobuf, "partial", &seen);
    assert_eq!(
        status::parse_partial_success_protobuf(&seen.answer.body),
        Some((2, "two are too old".to_owned()))
    );
    let seen = stage.ship(At::Grpc).await;
    assert_cell(&SUCCESS, At::Grpc, "partial", &seen);
    assert_eq!(
        status::parse_partial_success_protobuf(&seen.answer.body[5..]),
        Some((2, "two are too old".to_owned()))
    );
    let json_partial = r#"{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"too old"}}"#;
    stage.recorder.answer(
        Script::status(200)
            .header("content-type", "application/json")
            .body(json_partial),
    );
    let seen = stage.ship(At::OtlpJson).await;
    assert_cell(&SUCCESS, At::OtlpJson, "partial", &seen);
    assert_eq!(
        seen.answer.json()["partialSuccess"]["rejectedLogRecords"],
        "2"
    );
    // Remote write 2.0: what was written is said on a 400 too.
    stage.recorder.answer(with_written(
        Script::status(400).body("one is out of order"),
        2,
    ));
    let seen = stage.ship(At::Write2).await;
    assert_cell(
        &row("partly bad", 0, 0, 0, 400, false),
        At::Write2,
        "written",
        &seen,
    );
    assert_eq!(
        seen.answer
            .header("x-prometheus-remote-write-samples-written"),
        Some("2")
    );
    report("malformed");
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
