//! Usage over real sockets: what the API says was shipped is what was sent, to the item and the byte, over restarts and kills.
//!
//! `WHARFINGER_DOSE=200 cargo test --test usage -- --nocapture` is the deep dose.

mod world;

use std::{collections::BTreeMap, time::Duration};

use http::Method;
use serde_json::{Value, json};
use world::{Live, Sender, World, bodies, live};

/// requests, items, bytes, delivered items, delivered bytes, refused requests
type Counts = [u64; 6];

/// What was sent with each token.
#[derive(Default)]
struct Sent(BTreeMap<u64, Counts>);

impl Sent {
    fn took(&mut self, token: u64, items: u64, bytes: usize) {
        self.add(token, [1, items, bytes as u64, items, bytes as u64, 0]);
    }

    fn refused(&mut self, token: u64, items: u64, bytes: usize) {
        self.add(token, [1, items, bytes as u64, 0, 0, 1]);
    }

    fn add(&mut self, token: u64, counts: Counts) {
        let sums = self.0.entry(token).or_default();
        for (sum, count) in sums.iter_mut().zip(counts) {
            *sum += count;
        }
    }
}

fn number(row: &Value, key: &str) -> u64 {
    row[key].as_u64().expect("a number")
}

/// Sums of a page of usage, by token.
fn by_token(page: &Value) -> BTreeMap<u64, Counts> {
    let mut sums = Sent::default();
    for row in page["items"].as_array().expect("a list") {
        let refused = row["refused"].as_object().expect("an object");
        let refused = refused.values().map(|it| it.as_u64().expect("a number"));
        sums.add(
            number(row, "token"),
            [
                number(row, "requests"),
                number(row, "items"),
                number(row, "bytes"),
                number(row, "delivered_items"),
                number(row, "delivered_bytes"),
                refused.sum(),
            ],
        );
    }
    sums.0
}

async fn shown(world: &World, step: &str) -> BTreeMap<u64, Counts> {
    let mut sums = BTreeMap::new();
    for account in 1..=2 {
        let path = format!("/accounts/{account}/usage?group=token&step={step}");
        sums.extend(by_token(&world.must(Method::GET, &path, Value::Null).await));
    }
    sums
}

async fn becomes(world: &World, sent: &Sent) {
    let mut last = BTreeMap::new();
    for _ in 0..500 {
        last = shown(world, "minute").await;
        if last == sent.0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(last, sent.0, "shown and sent");
    for step in ["hour", "day"] {
        assert_eq!(shown(world, step).await, sent.0, "{step}");
    }
}

struct Tokens {
    logs: (u64, String),
    metrics: (u64, String),
    traces: (u64, String),
}

/// One of everything that can be sent, refused bodies among it.
async fn ship_all(world: &World, tokens: &Tokens, sent: &mut Sent, count: usize) {
    let Tokens {
        logs,
        metrics,
        traces,
    } = tokens;
    let items = count as u64;
    let lines = bodies::lines(count);
    let agent = [("user-agent", "fluent/2")];
    let answer = world.bulk().ship("/", &logs.1, &agent, lines.clone()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    sent.took(logs.0, items, lines.len());
    let gzip = [("content-encoding", "gzip"), ("user-agent", "fluent/2")];
    let answer = world
        .bulk()
        .ship("/", &logs.1, &gzip, bodies::gzip(&lines))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    sent.took(logs.0, items, lines.len());

    let spans = bodies::otlp("traces", count);
    let protobuf = [("content-type", "application/x-protobuf")];
    let answer = world.otlp_http();
    let answer = answer
        .ship("/v1/traces", &traces.1, &protobuf, spans.clone())
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    sent.took(traces.0, items, spans.len());
    let bearer = format!("Bearer {}", traces.1);
    let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let call = world.otlp_grpc();
    let call = call
        .call(path, &[("authorization", &bearer)], &spans, false)
        .await;
    assert_eq!(call.code, 0, "{call:?}");
    sent.took(traces.0, items, spans.len());

    let samples = bodies::write_1(count);
    let snappy = [
        ("content-type", "application/x-protobuf"),
        ("content-encoding", "snappy"),
    ];
    let answer = world.remote_write();
    let answer = answer
        .ship(
            "/api/v1/write",
            &metrics.1,
            &snappy,
            bodies::snappy(&samples),
        )
        .await;
    assert!((200..300).contains(&answer.status), "{answer:?}");
    sent.took(metrics.0, items, samples.len());

    // Refused by its head, and by its body.
    let answer = world.otlp_http();
    let answer = answer
        .ship("/v1/logs", &traces.1, &protobuf, spans.clone())
        .await;
    assert_eq!(answer.status, 403, "{answer:?}");
    sent.refused(traces.0, 0, 0);
    let bad = "no line\n".repeat(count);
    let answer = world.bulk().ship("/", &logs.1, &agent, bad.clone()).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    sent.refused(logs.0, items, bad.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_equals_what_was_sent_to_the_item_and_after_a_restart_too() {
    let quick = |config: &mut wharfinger::config::Config| {
        config.directory.usage_every = Duration::from_millis(20);
        config.gateway.workers = 2;
    };
    let world = World::start_with(quick).await;
    world.account("other", "archive").await;
    let mut sent = Sent::default();
    let mut all = Vec::new();
    for account in ["main", "other"] {
        all.push(Tokens {
            logs: world.token(account, "logs").await,
            metrics: world.token(account, "metrics").await,
            traces: world.token(account, "traces").await,
        });
    }
    for count in 1..=5 {
        for tokens in &all {
            ship_all(&world, tokens, &mut sent, count).await;
        }
    }
    becomes(&world, &sent).await;
    // The same figures as the books.
    let page = world
        .must(
            Method::GET,
            "/accounts/1/usage?group=signal&step=day",
            Value::Null,
        )
        .await;
    for row in page["items"].as_array().expect("a list") {
        let books = world.books(1, row["signal"].as_str().expect("text")).await;
        assert_eq!(
            books["received"],
            json!({"items": row["items"], "bytes": row["bytes"]})
        );
        assert_eq!(
            books["delivered"],
            json!({"items": row["delivered_items"], "bytes": row["delivered_bytes"]})
        );
    }
    // Counted a moment before the end.
    for tokens in &all {
        ship_all(&world, tokens, &mut sent, 7).await;
    }
    let world = World::start_in(world.stop().await, |config| {
        config.directory.usage_every = Duration::from_secs(3_600);
    })
    .await;
    becomes(&world, &sent).await;
    for tokens in &all {
        ship_all(&world, tokens, &mut sent, 3).await;
    }
    let world = World::start_in(world.stop().await, |_| {}).await;
    becomes(&world, &sent).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_shows_who_uses_it_a_revoked_one_too() {
    let world = World::start_with(|config| {
        config.directory.usage_every = Duration::from_millis(20);
    })
    .await;
    let (id, token) = world.token("main", "logs").await;
    for n in 0..7 {
        let agent = format!("shipper/{n} {}", "long ".repeat(40));
        let headers = [("user-agent", agent.as_str())];
        let answer = world
            .bulk()
            .ship("/", &token, &headers, "{\"a\":1}\n")
            .await;
        assert_eq!(answer.status, 200);
        // One sight is told from the next by its time.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
    }
    let path = format!("/tokens/{id}/senders");
    let mut senders = Value::Null;
    world::eventually("all sights are told", async || {
        senders = world.must(Method::GET, &path, Value::Null).await["items"].take();
        senders[0]["agent"]
            .as_str()
            .is_some_and(|it| it.starts_with("shipper/6 "))
    })
    .await;
    let senders = senders.as_array().expect("a list");
    let agents: Vec<_> = senders
        .iter()
        .map(|it| it["agent"].as_str().expect("text"))
        .collect();
    assert_eq!(agents.len(), 5);
    for (n, agent) in (2..7).rev().zip(agents) {
        assert!(
            agent.starts_with(&format!("shipper/{n} ")) && agent.len() <= 96,
            "{agent}"
        );
    }
    assert!(senders.iter().all(|it| it["address"] == "127.0.0.1"));

    let revoke = format!("/tokens/{id}/revoke?wait=enforced");
    world.must(Method::POST, &revoke, json!({})).await;
    let agent = [("user-agent", "forgotten/1")];
    let answer = world.bulk().ship("/", &token, &agent, "{\"a\":1}\n").await;
    assert_eq!(answer.status, 401);
    let shown = format!("/tokens/{id}");
    world::eventually("the revoked token's user is told", async || {
        let shown = world.must(Method::GET, &shown, Value::Null).await;
        shown["senders"][0]["agent"] == "forgotten/1" && shown["last_used_at"].is_string()
    })
    .await;
    world.stop().await;
}

async fn total(live: &Live) -> [u64; 2] {
    let page = live
        .must(Method::GET, "/accounts/1/usage?step=day", Value::Null)
        .await;
    let rows = page["items"].as_array().expect("a list");
    ["items", "bytes"].map(|key| rows.iter().map(|row| number(row, key)).sum())
}

/// kill -9: of what was counted longer ago than the interval, nothing is lost and nothing is doubled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_tells_what_it_had_written_down_exactly_once() {
    let kills = live::dose(5);
    let mut live = Live::start("[directory]\nusage_every = \"50ms\"\n").await;
    let (_, token) = live.token("main", "logs").await;
    let mut sent = [0; 2];
    for kill in 0..kills {
        for count in 1..=10 + kill % 7 {
            let lines = bodies::lines(count);
            sent[0] += count as u64;
            sent[1] += lines.len() as u64;
            let answer = Sender::new(live.bulk).ship("/", &token, &[], lines).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        if kill % 2 == 0 {
            // Long enough for what is counted to be on disk, however busy the machine; told or not.
            tokio::time::sleep(Duration::from_millis(600)).await;
        } else {
            world::eventually("all is told", async || total(&live).await == sent).await;
        }
        live.kill();
        live.up().await;
        world::eventually("all is told after the kill", async || {
            let shown = total(&live).await;
            assert!(
                shown[0] <= sent[0],
                "{} of {} sent: twice",
                shown[0],
                sent[0]
            );
            shown == sent
        })
        .await;
    }
    println!(
        "{kills} kills, {} items and {} bytes sent and shown",
        sent[0], sent[1]
    );
}
