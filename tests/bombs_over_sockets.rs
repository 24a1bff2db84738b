//! Compression bombs and protobuf bombs, all at once, at every door that takes them, with honest senders beside.
//!
//! The deep dose is 1,000 connections at a time, twelve rounds, in a memory cgroup of 256 MiB, beside honest bodies that are
//! small on the wire and large in memory. It needs root and a cgroup file system, and is one command:
//! `WHARFINGER_EXECUTABLE=target/release/wharfinger cargo test --test bombs_over_sockets -- --ignored --nocapture`

#![allow(clippy::disallowed_methods, reason = "tests may sleep and read clocks")]

mod world;
#[path = "support/bombs.rs"]
#[allow(dead_code, reason = "the scanners' test uses the rest")]
mod bombs;
#[path = "support/cgroup.rs"]
mod cgroup;
#[path = "support/shippers.rs"]
mod shippers;

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use cgroup::Cgroup;
use shippers::{Cargo, ship};
use tokio::task::JoinSet;
use wharfinger::model::{Content, Encoding, Signal};
use world::{Live, Sender, bodies, live};

/// One bomb at one door.
#[derive(Clone)]
struct Shot {
    name: String,
    to: SocketAddr,
    path: &'static str,
    headers: Vec<(String, String)>,
    body: Bytes,
    /// gRPC: whether the message is marked as compressed.
    grpc: Option<bool>,
    /// Nonsense that this door can read all the same: fields that it doesn't know.
    may_be_valid: bool,
}

/// How the bombs were answered, and how honest senders fared meanwhile.
#[derive(Debug, Default)]
struct Tally {
    answers: BTreeMap<String, usize>,
    wrong: Vec<String>,
    slowest: Duration,
}

#[derive(Debug, Default)]
struct Honest {
    sent: u64,
    accepted: u64,
    first_try: u64,
    told_to_wait: u64,
    wrong: Vec<String>,
    slowest: Duration,
}

/// Every bomb at every door that takes its kind.
fn shots(live: &Live, tokens: &[String; 3]) -> Vec<Shot> {
    let [logs, metrics, traces] = tokens;
    let token = |signal: Signal| match signal {
        Signal::Logs => logs,
        Signal::Metrics => metrics,
        Signal::Traces => traces,
    };
    let http = |signal: Signal| match signal {
        Signal::Logs => "/v1/logs",
        Signal::Metrics => "/v1/metrics",
        Signal::Traces => "/v1/traces",
    };
    let grpc = |signal: Signal| match signal {
        Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    };
    const PROTOBUF: &str = "application/x-protobuf";
    const WRITE_2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
    let mut shots = Vec::new();
    let mut aim = |name: &str,
                   to: SocketAddr,
                   path: &'static str,
                   signal: Signal,
                   content_type: &str,
                   encoding: Encoding,
                   body: &Bytes| {
        let is_grpc = content_type == "application/grpc";
        let encoding_header = if is_grpc {
            "grpc-encoding"
        } else {
            "content-encoding"
        };
        let mut headers = vec![
            (
                "authorization".to_owned(),
                format!("Bearer {}", token(signal)),
            ),
            ("content-type".to_owned(), content_type.to_owned()),
        ];
        if encoding != Encoding::Identity {
            headers.push((encoding_header.to_owned(), encoding.name().to_owned()));
        }
        shots.push(Shot {
            name: format!("{name} at {path} as {}", encoding.name()),
            to,
            path,
            headers,
            body: body.clone(),
            grpc: is_grpc.then_some(encoding != Encoding::Identity),
            may_be_valid: name == "gzip in gzip members" && path != "/",
        });
    };
    for bomb in bombs::compressed() {
        let (name, body) = (bomb.name, Bytes::from(bomb.body));
        let mut at =
            |to, path, signal, kind| aim(name, to, path, signal, kind, bomb.encoding, &body);
        if bomb.encoding == Encoding::Snappy {
            at(
                live.remote_write,
                "/api/v1/write",
                Signal::Metrics,
                PROTOBUF,
            );
            at(live.remote_write, "/", Signal::Metrics, WRITE_2);
            continue;
        }
        at(live.bulk, "/", Signal::Logs, "text/plain");
        at(live.otlp_http, http(Signal::Logs), Signal::Logs, PROTOBUF);
        at(
            live.otlp_http,
            http(Signal::Traces),
            Signal::Traces,
            "application/json",
        );
        at(
            live.otlp_grpc,
            grpc(Signal::Metrics),
            Signal::Metrics,
            "application/grpc",
        );
        if bomb.encoding == Encoding::Zstd {
            at(
                live.remote_write,
                "/api/v1/write",
                Signal::Metrics,
                PROTOBUF,
            );
        }
    }
    for bomb in bombs::protobuf() {
        let (name, signal) = (bomb.name, bomb.signal);
        let plain = Bytes::from(bomb.body);
        if bomb.content == Content::OtlpProtobuf {
            let gzip = Bytes::from(bombs::gzip(&plain));
            let zstd = Bytes::from(bombs::zstd(&plain));
            let mut at =
                |to, path, kind, encoding, body| aim(name, to, path, signal, kind, encoding, body);
            at(
                live.otlp_http,
                http(signal),
                PROTOBUF,
                Encoding::Identity,
                &plain,
            );
            at(
                live.otlp_http,
                http(signal),
                PROTOBUF,
                Encoding::Gzip,
                &gzip,
            );
            at(
                live.otlp_grpc,
                grpc(signal),
                "application/grpc",
                Encoding::Identity,
                &plain,
            );
            at(
                live.otlp_grpc,
                grpc(signal),
                "application/grpc",
                Encoding::Zstd,
                &zstd,
            );
        } else {
            let is_2 = bomb.content == Content::RemoteWrite2;
            let kind = if is_2 { WRITE_2 } else { PROTOBUF };
            let snappy = Bytes::from(bombs::snappy(&plain));
            let zstd = Bytes::from(bombs::zstd(&plain));
            let mut at = |encoding, body| {
                aim(
                    name,
                    live.remote_write,
                    "/api/v1/push",
                    signal,
                    kind,
                    encoding,
                    body,
                )
            };
            at(Encoding::Snappy, &snappy);
            at(Encoding::Zstd, &zstd);
        }
    }
    shots
}

/// Fires one; how it was answered, and whether that is a refusal.
async fn fire(shot: &Shot, from: Ipv4Addr) -> (String, bool) {
    let Some(is_compressed) = shot.grpc else {
        return match live::post(from, shot.to, shot.path, &shot.headers, shot.body.clone()).await {
            Some(raw) => (
                format!("HTTP {}", raw.status),
                (400..600).contains(&raw.status) || shot.may_be_valid && raw.status < 300,
            ),
            None => ("no answer".to_owned(), false),
        };
    };
    let headers: Vec<_> = shot
        .headers
        .iter()
        .filter(|(name, _)| name != "content-type")
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let answer = Sender::new(shot.to)
        .call_from(from, shot.path, &headers, &shot.body, is_compressed)
        .await;
    match answer {
        Ok(answer) => (
            format!("gRPC {}", answer.code),
            answer.code != 0 && answer.code != u16::MAX || shot.may_be_valid && answer.code == 0,
        ),
        Err(error) => (format!("no answer: {error}"), false),
    }
}

/// Fires `count` of them at once, in turn.
async fn barrage(shots: &Arc<Vec<Shot>>, count: usize, tally: &mut Tally) {
    let mut flights = JoinSet::new();
    for place in 0..count {
        let shots = Arc::clone(shots);
        // A gateway holds an address to 1,000 connections.
        let from = Ipv4Addr::new(127, 0, 1, 1 + (place % 4) as u8);
        flights.spawn(async move {
            let shot = &shots[place % shots.len()];
            let began = Instant::now();
            let (answer, is_right) = fire(shot, from).await;
            (shot.name.clone(), answer, is_right, began.elapsed())
        });
    }
    while let Some(flight) = flights.join_next().await {
        let (name, answer, is_right, took) = flight.expect("no panic");
        if !is_right {
            tally.wrong.push(format!("{name}: {answer}"));
        }
        *tally.answers.entry(answer).or_default() += 1;
        tally.slowest = tally.slowest.max(took);
    }
}

/// Ships ten lines at a time until told to stop, and comes back when told to wait.
async fn honest(bulk: SocketAddr, token: String, stop: Arc<AtomicBool>) -> Honest {
    let headers = vec![("authorization".to_owned(), format!("Bearer {token}"))];
    let body = Bytes::from(bodies::lines(10));
    let mut seen = Honest::default();
    while !stop.load(Ordering::Relaxed) {
        seen.sent += 1;
        for attempt in 0..100 {
            let began = Instant::now();
            let raw = live::post(Ipv4Addr::LOCALHOST, bulk, "/", &headers, body.clone()).await;
            seen.slowest = seen.slowest.max(began.elapsed());
            match raw {
                Some(raw) if raw.status == 200 => {
                    seen.accepted += 1;
                    seen.first_try += u64::from(attempt == 0);
                    break;
                }
                Some(raw) if raw.status == 503 && raw.text.contains("\r\nretry-after: ") => {
                    seen.told_to_wait += 1;
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                other => {
                    seen.wrong.push(format!("{other:?}"));
                    break;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    seen
}

/// Bombs and honest senders together, of compressed bodies too in so many doses; then everything is held against everything.
async fn attack(live: Live, at_once: usize, rounds: usize, doses: u64) -> Live {
    let (_, bombers) = live.account("bombers", "archive").await;
    let (honest_account, tokens) = live.account("honest", "archive").await;
    let before_kib = live.memory_kib("VmHWM");
    let shots = Arc::new(shots(&live, &bombers));
    let live = Arc::new(live);
    let stop = Arc::new(AtomicBool::new(false));
    let mut honest_ones = JoinSet::new();
    for _ in 0..4 {
        honest_ones.spawn(honest(live.bulk, tokens[0].clone(), Arc::clone(&stop)));
    }
    let mut tally = Tally::default();
    let began = Instant::now();
    let bombing = async {
        for _ in 0..rounds {
            barrage(&shots, at_once, &mut tally).await;
        }
    };
    if doses > 0 {
        tokio::join!(bombing, shipping(Arc::clone(&live), doses));
    } else {
        bombing.await;
    }
    let mut live = Arc::into_inner(live).expect("nobody else has it any more");
    let took = began.elapsed();
    // Bombs may be over in a moment: honest senders show that all is well also afterwards.
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::Relaxed);
    let mut good = Honest::default();
    while let Some(one) = honest_ones.join_next().await {
        let one = one.expect("no panic");
        good.sent += one.sent;
        good.accepted += one.accepted;
        good.first_try += one.first_try;
        good.told_to_wait += one.told_to_wait;
        good.wrong.extend(one.wrong);
        good.slowest = good.slowest.max(one.slowest);
    }
    let bombs: usize = tally.answers.values().sum();
    println!(
        "{} kinds of shot, {bombs} bombs in {took:?}, {at_once} at once; answers {:?}; slowest {:?}",
        shots.len(),
        tally.answers,
        tally.slowest
    );
    println!(
        "honest: {} of {} accepted, {} at the first try, {} times told to wait, slowest {:?}",
        good.accepted, good.sent, good.first_try, good.told_to_wait, good.slowest
    );
    println!(
        "VmHWM {} KiB before the attack, {} KiB after it",
        before_kib,
        live.memory_kib("VmHWM")
    );
    assert!(live.is_alive(), "the gateway died: {}", live.log());
    assert_eq!(bombs, at_once * rounds);
    assert!(tally.wrong.is_empty(), "{:#?}", tally.wrong);
    assert!(good.sent > 20 && good.wrong.is_empty(), "{good:?}");
    assert_eq!(good.accepted, good.sent, "{good:?}");
    assert_eq!(
        live.archived(honest_account, "logs").len() as u64,
        10 * good.accepted
    );
    world::eventually("nothing is held any more", async || {
        live.metric("wharfinger_memory_in_flight_bytes", "").await == 0.0
    })
    .await;
    for account in live.books().await {
        for signal in ["logs", "metrics", "traces"] {
            let page = &account["signals"][signal];
            assert_eq!(page["in_flight"]["bytes"], 0, "{account}");
            assert_eq!(page["lost"]["bytes"], 0, "{account}");
        }
    }
    live
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_at_every_door_are_refused_and_honest_senders_are_served() {
    let live = Live::start("").await;
    attack(live, live::dose(200), 1, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the deep dose: needs root and a memory cgroup"]
async fn bombs_and_honest_compressed_bodies_do_not_kill_a_gateway_of_256_mib() {
    let group = Cgroup::make("wharfinger-bombs", 256 << 20);
    let live = Live::start_with("", &[], &group.enter()).await;
    let ceiling = live
        .metric("wharfinger_memory_in_flight_max_bytes", "")
        .await;
    assert_eq!(
        ceiling,
        64.0 * 1_048_576.0,
        "the cgroup's limit was not seen"
    );
    the_largest_bodies_pass_alone(&live).await;
    let live = attack(live, live::dose(1_000), 12, 1).await;
    assert_eq!(group.report(), Some(0));
    drop(live);
}

/// One after the other, nothing else about: each at the first try.
async fn the_largest_bodies_pass_alone(live: &Live) {
    let (account, tokens) = live.account("largest", "archive").await;
    let [plain, compressed] = Cargo::largest_bulk(live, &tokens[0]);
    let mut items = 0;
    for cargo in [
        plain,
        compressed,
        Cargo::json(live, &tokens[0]),
        Cargo::protobuf(live, &tokens[0]),
    ] {
        let began = Instant::now();
        assert_eq!(cargo.send().await, Ok(true));
        println!("{} items alone in {:?}", cargo.items, began.elapsed());
        items += cargo.items;
    }
    assert_eq!(delivered(live, account).await, items);
}

/// Log items that an account's books say were delivered.
async fn delivered(live: &Live, account: u64) -> u64 {
    let books = live.books().await;
    let page = books.iter().find(|page| page["account"] == account);
    page.and_then(|page| page["signals"]["logs"]["delivered"]["items"].as_u64())
        .expect("a number")
}

/// Compressed logs of every kind, from 66 senders at once; what was accepted is what the books and the archive hold.
async fn shipping(live: Arc<Live>, doses: u64) {
    let (account, tokens) = live.account("shippers", "archive").await;
    let token = &tokens[0];
    let (logs, repeats, json) = (
        Cargo::logs(&live, token),
        Cargo::repeats(&live, token),
        Cargo::json(&live, token),
    );
    let (by_logs, by_repeats, by_json) = tokio::join!(
        ship(logs.clone(), 24, 4 * doses),
        ship(repeats.clone(), 40, 2 * doses),
        ship(json.clone(), 2, doses),
    );
    let mut items = 0;
    let mut bytes = 0;
    for (cargo, fared, wanted) in [
        (logs, by_logs, 24 * 4 * doses),
        (repeats, by_repeats, 40 * 2 * doses),
        (json, by_json, 2 * doses),
    ] {
        println!(
            "honest compressed: {} accepted, {} times told to wait, slowest {:?}",
            fared.accepted, fared.told_to_wait, fared.slowest
        );
        assert!(fared.wrong.is_empty(), "{:#?}", fared.wrong);
        assert_eq!(fared.accepted, wanted, "{fared:?}");
        items += cargo.items * fared.accepted;
        bytes += cargo.archived_bytes.unwrap_or(0) * fared.accepted;
    }
    assert_eq!(delivered(&live, account).await, items);
    let folder = live.data().join(format!("gateway/archive/{account}/logs"));
    let on_disk: u64 = fs::read_dir(folder)
        .expect("a folder")
        .map(|file| file.expect("a file"))
        .filter(|file| file.file_name().to_string_lossy().starts_with("bulk-"))
        .map(|file| file.metadata().expect("a file").len())
        .sum();
    // More only where a sender was told to come back and its lines had made it all the same.
    assert!(on_disk >= bytes, "{on_disk} bytes of {bytes}");
}
