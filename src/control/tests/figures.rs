//! Figures, printed on request: `cargo test --lib control::tests::figures -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{
    people::{Hand, People},
    world::{Kept, World},
};
use crate::{
    control::store::NewToken,
    model::{Signal, TokenKind, usage::REPORT_TOKENS_MAX},
    rpc::feed::{TokenUsage, Usage, from_gateway},
};

const CHANGES: u32 = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures, proves nothing"]
async fn from_the_answer_to_the_follower() {
    let world = World::new().await;
    let mut follower = world.follow("a", Kept::default()).await;
    follower.until(1).await;
    let (seen, mut times) = tokio::sync::mpsc::channel(1);
    let reader = tokio::spawn(async move {
        for revision in 2..u64::from(CHANGES) + 2 {
            follower.until(revision).await;
            seen.send(Instant::now()).await.expect("read");
        }
    });
    let (mut waits, mut spans) = (Vec::new(), Vec::new());
    let start = Instant::now();
    for _ in 0..CHANGES {
        let asked = Instant::now();
        world.token("x").await;
        let answered = Instant::now();
        let at = times.recv().await.expect("sent");
        waits.push(at.saturating_duration_since(answered));
        spans.push(at - asked);
    }
    println!(
        "answer to delta: {}; request to delta: {}",
        show(&mut waits),
        show(&mut spans)
    );
    println!(
        "one after the other: {:.0} commits/s",
        f64::from(CHANGES) / start.elapsed().as_secs_f64()
    );
    reader.await.expect("no panic");
    let start = Instant::now();
    let writers = (0..8).map(|_| async {
        for _ in 0..CHANGES / 8 {
            world
                .ok(
                    "POST",
                    "/tokens",
                    json!({"account": 1, "signal": "logs", "name": "x"}),
                )
                .await;
        }
    });
    futures_util::future::join_all(writers).await;
    println!(
        "eight at once: {:.0} commits/s",
        f64::from(CHANGES) / start.elapsed().as_secs_f64()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures, proves nothing"]
async fn a_snapshot_of_a_hundred_thousand_tokens() {
    let world = World::new().await;
    let start = Instant::now();
    for _ in 0..20 {
        let mut commit = world.begin().await;
        for _ in 0..5000 {
            let new = NewToken {
                account: 1,
                signal: Signal::Logs,
                name: "x".into(),
                expires_at: 0,
            };
            commit.insert_token(new).await.expect("written");
        }
        commit.finish().await.expect("committed");
    }
    println!("100,000 tokens made in {:?}", start.elapsed());
    let start = Instant::now();
    let mut follower = world.follow("a", Kept::default()).await;
    follower.until(21).await;
    assert_eq!(follower.kept.state.len(), 100_005);
    println!("their snapshot in {:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures, proves nothing"]
async fn asking_who_calls_at_each_request() {
    let people = People::new().await;
    let account = people.account("acme", "pro").await;
    let (_, known) = people.api_token(Some(account), &["read"]).await;
    let session = people.person(Some(account), "anna", "admin").await;
    let Hand::Token(text) = &known else {
        panic!("a token");
    };
    // Its own checksum is right: it costs the look-up.
    let forged = Hand::Token(
        TokenKind::Api
            .mint(|bytes| bytes.fill(7))
            .reveal()
            .to_owned(),
    );
    let typo = Hand::Token(text.replace("whf_a_", "whf_a-"));
    for (what, hand) in [
        ("a token", known.clone()),
        ("a session", session),
        ("a forged token", forged),
        ("a typo", typo),
        ("nothing", Hand::Nothing),
    ] {
        let mut times = Vec::new();
        for _ in 0..2000 {
            let start = Instant::now();
            let (status, _) = people.call(&hand, "GET", "/session", &Value::Null).await;
            times.push(start.elapsed());
            assert!([200, 401, 429].contains(&status));
        }
        println!("{what}: {}", show(&mut times));
    }
}

/// A gateway that reports as fast as it is acknowledged; how many reports, once told to stop.
async fn report_on(world: &World, name: &str, stop: &std::sync::atomic::AtomicBool) -> u64 {
    let mut follower = world.follow(name, Kept::default()).await;
    let mut sequence = 0;
    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
        sequence += 1;
        let tokens = (1..=REPORT_TOKENS_MAX as u64).map(|token| TokenUsage {
            token,
            requests: 1,
            items: 10,
            bytes: 1_000,
            last_used_at: 1_800_000_000,
            ..TokenUsage::default()
        });
        let usage = Usage {
            epoch: 1,
            sequence,
            at: 1_800_000_000,
            sent_at: 1_800_000_000,
            tokens: tokens.collect(),
            ..Usage::default()
        };
        follower.say(from_gateway::Message::Usage(usage)).await;
        while follower.applied != Some((1, sequence)) {
            follower.step().await.expect("the stream goes on");
        }
    }
    sequence
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures, proves nothing"]
async fn token_changes_beside_usage_reports() {
    let world = World::new().await;
    for _ in 0..REPORT_TOKENS_MAX {
        world.token("x").await;
    }
    for gateways in [0, 1, 4] {
        let stop = std::sync::atomic::AtomicBool::new(false);
        let names: Vec<_> = (0..gateways).map(|n| format!("g{n}")).collect();
        let reporters = names.iter().map(|name| report_on(&world, name, &stop));
        let reporters = futures_util::future::join_all(reporters);
        let changes = async {
            let start = Instant::now();
            let mut times = Vec::new();
            for _ in 0..CHANGES {
                let asked = Instant::now();
                world.token("x").await;
                times.push(asked.elapsed());
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            (show(&mut times), start.elapsed().as_secs_f64())
        };
        let (reports, (times, seconds)) = tokio::join!(reporters, changes);
        let reports: u64 = reports.into_iter().sum();
        println!(
            "{gateways} gateways report: a token change takes {times}; {:.0} reports/s of {REPORT_TOKENS_MAX} tokens",
            reports as f64 / seconds
        );
    }
}

fn show(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
    format!("p50 {:?} p99 {:?} worst {:?}", at(50), at(99), at(100))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures, proves nothing"]
async fn a_file_of_a_million_tokens() {
    const ACCOUNTS: u32 = 1_000;
    const TOKENS: u32 = 1_000_000;
    let world = World::new().await;
    for account in 0..ACCOUNTS {
        let body = json!({"name": format!("a{account}"), "plan": "unlimited"});
        world.ok("POST", "/accounts", body).await;
    }
    let resident = resident_kib();
    let lines = (0..TOKENS).step_by(1_000).map(|from| {
        let line = |n: u32| {
            let token = blake3::hash(&n.to_le_bytes()).to_hex();
            let account = n / (TOKENS / ACCOUNTS);
            format!("{{\"token\":\"{}\",\"account\":\"a{account}\",\"signal\":\"logs\",\"name\":\"t{n}\"}}\n", &token[..40])
        };
        let piece: String = (from..from + 1_000).map(line).collect();
        Ok::<_, std::io::Error>(bytes::Bytes::from(piece))
    });
    let body = axum::body::Body::from_stream(futures_util::stream::iter(lines));
    let start = Instant::now();
    let (status, _, answer) = world
        .raw(world.request("POST", "/tokens/import", body))
        .await;
    let took = start.elapsed();
    let answer: Value = serde_json::from_slice(&answer).expect("JSON");
    assert_eq!((status.as_u16(), &answer["made"]), (200, &json!(TOKENS)));
    println!(
        "{TOKENS} tokens of {ACCOUNTS} accounts imported in {took:?}: {:.0}/s; resident {resident} KiB before, {} KiB after",
        f64::from(TOKENS) / took.as_secs_f64(),
        resident_kib()
    );
    let start = Instant::now();
    let head = world.control.feed_state().head;
    let mut follower = world.follow("a", Kept::default()).await;
    follower.until(head).await;
    println!("their snapshot in {:?}", start.elapsed());
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}
