//! Snapshots of many tokens: their memory at both ends, what a kill in the middle does, and what goes without one.
//!
//! Quick dose with `cargo test`; the deep one:
//! `WHARFINGER_TOKENS=10000000 cargo test --release --test snapshots -- --nocapture`.

mod world;

use std::{
    fs,
    time::{Duration, Instant},
};

use http::Method;
use rustix::process::Signal;
use serde_json::Value;
use world::{
    Cluster, Gateway, Sender,
    cluster::{FIRST_TOKENS, Line, imported},
    process::{Process, local},
};

/// Tokens whose answers are looked at after each snapshot.
const PROBED: usize = 500;
const WITHIN: Duration = Duration::from_secs(600);
/// Tokens made and revoked while a gateway is down: two changes each.
const MISSED: usize = 500;
/// How often a kill may come too late.
const ROUNDS: u32 = 20;
/// What is on its way to a process has come to it by then.
const STILL: Duration = Duration::from_millis(100);

/// What a control plane may take to stream a snapshot, whatever its size.
const STREAM_MIB: u64 = 256;

/// What a gateway may take with a small table, and for each token beside it while one is put together.
const PROCESS_MIB: u64 = 192;
const TABLE_BYTES_OF_TOKEN: u64 = 64;

/// What gateways log.
const BEGINS: &str = "a snapshot begins";
const ENFORCED: &str = "a snapshot is enforced";

fn tokens() -> usize {
    let text = std::env::var("WHARFINGER_TOKENS").ok();
    text.map_or(20_000, |text| text.parse().expect("a number"))
}

/// Resident memory in MiB: now, and at its highest.
fn resident(process: &Process) -> (u64, u64) {
    let path = format!("/proc/{}/status", process.id());
    let status = fs::read_to_string(path).expect("Linux");
    let read = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        let line = line.expect("there").split_whitespace().nth(1);
        line.expect("a number").parse::<u64>().expect("a number") / 1024
    };
    (read("VmRSS:"), read("VmHWM:"))
}

/// A number of a gateway's or a control plane's metrics page.
async fn metric(operate: u16, name: &str) -> Option<u64> {
    tokio::net::TcpStream::connect(local(operate)).await.ok()?;
    let page = Sender::new(local(operate))
        .send(Method::GET, "/metrics", &[], Vec::new())
        .await;
    let page = String::from_utf8(page.body.to_vec()).expect("text");
    let line = page
        .lines()
        .find(|line| line.split(' ').next() == Some(name))?;
    let value: f64 = line.split(' ').nth(1)?.parse().ok()?;
    Some(value as u64)
}

async fn until_tokens(operate: u16, count: usize) {
    let deadline = Instant::now() + WITHIN;
    while metric(operate, "wharfinger_directory_tokens").await < Some(count as u64) {
        assert!(Instant::now() < deadline, "no snapshot within {WITHIN:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until the gateway logs that; when that was.
async fn until_it_says(gateway: &Gateway, message: &str) -> Instant {
    let deadline = Instant::now() + WITHIN;
    while !gateway.says(message) {
        assert!(
            Instant::now() < deadline,
            "not within {WITHIN:?}: {message}"
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Instant::now()
}

/// Every `PROBED`th part of the tokens opens its account, and one that nobody made does not.
async fn serves(bulk: u16, count: usize) {
    let mut line = Line::http2(bulk).await;
    for n in 0..PROBED {
        let text = imported(n * (count - 1) / (PROBED - 1));
        assert_eq!(line.post(&text, b"").await, 200, "token {n} of {PROBED}");
    }
    assert_eq!(line.post(&imported(count), b"").await, 401);
}

#[derive(Clone, Copy, Debug)]
enum Victim {
    Control,
    Gateway,
}

/// Starts a gateway that has nothing, and kills one of the two in the middle of its snapshot: it is stopped first, and the
/// kill comes only if the snapshot has begun and is not enforced by what had been sent. Else there is another round.
async fn kill_in_the_middle(cluster: &mut Cluster, n: usize, victim: Victim, takes: Duration) {
    let mut pause = takes / 2;
    for round in 1..=ROUNDS {
        cluster.gateways[n].start_to_log();
        until_it_says(&cluster.gateways[n], BEGINS).await;
        tokio::time::sleep(pause).await;
        let killed = match victim {
            Victim::Control => &mut cluster.control,
            Victim::Gateway => &mut cluster.gateways[n].process,
        };
        let process = killed.take().expect("runs");
        process.signal(Signal::STOP);
        tokio::time::sleep(STILL).await;
        if !cluster.gateways[n].says(ENFORCED) {
            process.kill();
            println!(
                "{victim:?} killed {pause:?} after a snapshot's beginning, before it is enforced (round {round})"
            );
            return;
        }
        process.signal(Signal::CONT);
        match victim {
            Victim::Control => cluster.control = Some(process),
            Victim::Gateway => cluster.gateways[n].process = Some(process),
        }
        cluster.gateways[n].lose();
        pause /= 2;
    }
    panic!("{victim:?}: every one of {ROUNDS} kills came too late");
}

/// A gateway's line in the list of them.
async fn listed(cluster: &Cluster, name: &str) -> Value {
    let (status, answer) = world::admin(
        local(cluster.admin),
        &cluster.admin_token,
        Method::GET,
        "/gateways",
        Value::Null,
    )
    .await;
    assert_eq!(status, 200, "{answer}");
    let items = answer["items"].as_array().expect("a list").iter();
    let mut items = items.filter(|gateway| gateway["name"] == name);
    items.next().expect("known").clone()
}

/// Stops the first gateway, changes much, and starts it again: deltas bring it to the head.
async fn catches_up_without_a_snapshot(cluster: &mut Cluster) {
    let process = cluster.gateways[0].process.take().expect("runs");
    assert_eq!(process.terminate(), Some(0));
    let mut last = String::new();
    for _ in 0..MISSED {
        let (id, text) = cluster.create().await;
        let path = format!("/tokens/{id}/revoke");
        cluster.admin(&path, Value::Null).await;
        last = text;
    }
    let behind = listed(cluster, "gateway-0").await;
    assert_eq!(behind["lag"], 2 * MISSED, "{behind}");

    let begun = Instant::now();
    cluster.gateways[0].start_to_log();
    let mut connected = None;
    loop {
        let gateway = listed(cluster, "gateway-0").await;
        if gateway["connected"] == true {
            connected.get_or_insert_with(|| begun.elapsed());
            if gateway["lag"] == 0 {
                break;
            }
        }
        assert!(begun.elapsed() < WITHIN, "{gateway}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!(
        "{} changes while a gateway was down, process start to head acknowledged: {:?}, connected after {:?} of it; no snapshot",
        2 * MISSED,
        begun.elapsed(),
        connected.expect("connected")
    );
    assert!(!cluster.gateways[0].says(BEGINS), "deltas were enough");
    let mut line = Line::http2(cluster.gateways[0].bulk).await;
    assert_eq!(line.post(&last, b"").await, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_takes_bounded_memory_and_survives_kills_in_its_middle() {
    let count = tokens();
    let mut cluster = Cluster::alone(3).await;
    let begun = Instant::now();
    cluster.import(0..count).await;
    println!("{count} tokens imported in {:?}", begun.elapsed());
    // As after a restart: what the import took is not the snapshot's.
    assert_eq!(cluster.control.take().expect("runs").terminate(), Some(0));
    cluster.start_control().await;
    let mut tokens = count + FIRST_TOKENS;

    let before = resident(cluster.control.as_ref().expect("runs"));
    let begun = Instant::now();
    cluster.gateways[0].start_to_log();
    let first = until_it_says(&cluster.gateways[0], BEGINS).await;
    let enforced = until_it_says(&cluster.gateways[0], ENFORCED).await;
    until_tokens(cluster.gateways[0].operate, tokens).await;
    let control = resident(cluster.control.as_ref().expect("runs"));
    let gateway = resident(cluster.gateways[0].process.as_ref().expect("runs"));
    println!(
        "snapshot of {tokens} tokens, process start to enforced: {:?}; control plane {} MiB before, {} at most; gateway {} MiB at most, {} after",
        enforced - begun,
        before.0,
        control.1,
        gateway.1,
        gateway.0
    );
    // What streams holds chunks; what is built holds a table, and what it was made of.
    let table = (tokens as u64 * TABLE_BYTES_OF_TOKEN) >> 20;
    assert!(control.1 <= before.0 + STREAM_MIB, "{control:?}");
    assert!(gateway.1 <= PROCESS_MIB + table, "{gateway:?}");
    serves(cluster.gateways[0].bulk, count).await;

    let (id, text) = cluster.create().await;
    let begun = Instant::now();
    cluster
        .admin(&format!("/tokens/{id}/revoke?wait=enforced"), Value::Null)
        .await;
    println!("one revocation, asked to receipt: {:?}", begun.elapsed());
    let mut line = Line::http2(cluster.gateways[0].bulk).await;
    assert_eq!(line.post(&text, b"").await, 401);

    catches_up_without_a_snapshot(&mut cluster).await;
    tokens += 1 + MISSED;
    survives_kills(&mut cluster, count, tokens, enforced - first).await;
    let mut line = Line::http2(cluster.gateways[2].bulk).await;
    assert_eq!(line.post(&text, b"").await, 401, "revoked means revoked");

    // All three follow again.
    let (id, _) = cluster.create().await;
    let path = format!("/tokens/{id}/revoke?wait=enforced&timeout_ms=30000");
    let answer = cluster.admin(&path, Value::Null).await;
    assert_eq!(answer["enforcement"]["enforced"], 3, "{answer}");
}

/// A gateway is killed in the middle of its first snapshot, and the control plane in the middle of another's; `takes` is how long
/// one was from its beginning to its enforcement.
async fn survives_kills(cluster: &mut Cluster, count: usize, tokens: usize, takes: Duration) {
    kill_in_the_middle(cluster, 1, Victim::Gateway, takes).await;
    let begun = Instant::now();
    cluster.gateways[1].start();
    until_tokens(cluster.gateways[1].operate, tokens).await;
    println!(
        "killed gateway, restarted to enforced: {:?}",
        begun.elapsed()
    );
    serves(cluster.gateways[1].bulk, count).await;

    kill_in_the_middle(cluster, 2, Victim::Control, takes).await;
    let begun = Instant::now();
    cluster.start_control().await;
    until_tokens(cluster.gateways[2].operate, tokens).await;
    println!(
        "killed control plane, restarted to enforced: {:?}",
        begun.elapsed()
    );
    serves(cluster.gateways[2].bulk, count).await;
}
