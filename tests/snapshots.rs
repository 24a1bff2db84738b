//! Snapshots of many tokens: their memory at both ends, and what a kill in the middle does.
//!
//! Quick dose with `cargo test`; the deep one:
//! `WHARFINGER_TOKENS=10000000 cargo test --release --test snapshots -- --nocapture`.

mod world;

use std::{
    fs,
    time::{Duration, Instant},
};

use http::Method;
use serde_json::Value;
use world::{
    Cluster, Sender,
    cluster::{FIRST_TOKENS, Line, imported},
    process::{Process, local},
};

/// Tokens whose answers are looked at after each snapshot.
const PROBED: usize = 500;
const WITHIN: Duration = Duration::from_secs(600);

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

/// Every `PROBED`th part of the tokens opens its account, and one that nobody made does not.
async fn serves(bulk: u16, count: usize) {
    let mut line = Line::http2(bulk).await;
    for n in 0..PROBED {
        let text = imported(n * (count - 1) / (PROBED - 1));
        assert_eq!(line.post(&text, b"").await, 200, "token {n} of {PROBED}");
    }
    assert_eq!(line.post(&imported(count), b"").await, 401);
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
    let tokens = count + FIRST_TOKENS;

    let before = resident(cluster.control.as_ref().expect("runs"));
    let begun = Instant::now();
    cluster.gateways[0].start();
    until_tokens(cluster.gateways[0].operate, tokens).await;
    let took = begun.elapsed();
    let control = resident(cluster.control.as_ref().expect("runs"));
    let gateway = resident(cluster.gateways[0].process.as_ref().expect("runs"));
    println!(
        "snapshot of {tokens} tokens, process start to enforced: {took:?}; control plane {} MiB before, {} at most; gateway {} MiB at most, {} after",
        before.0, control.1, gateway.1, gateway.0
    );
    serves(cluster.gateways[0].bulk, count).await;

    let (id, text) = cluster.create().await;
    let begun = Instant::now();
    cluster
        .admin(&format!("/tokens/{id}/revoke?wait=enforced"), Value::Null)
        .await;
    println!("one revocation, asked to receipt: {:?}", begun.elapsed());
    let mut line = Line::http2(cluster.gateways[0].bulk).await;
    assert_eq!(line.post(&text, b"").await, 401);

    // A gateway is killed in the middle of its first snapshot.
    cluster.gateways[1].start();
    tokio::time::sleep(took / 2).await;
    cluster.gateways[1].process.take().expect("runs").kill();
    let begun = Instant::now();
    cluster.gateways[1].start();
    until_tokens(cluster.gateways[1].operate, tokens + 1).await;
    println!(
        "killed gateway, restarted to enforced: {:?}",
        begun.elapsed()
    );
    serves(cluster.gateways[1].bulk, count).await;

    // The control plane is killed in the middle of another's.
    cluster.gateways[2].start();
    tokio::time::sleep(took / 2).await;
    cluster.control.take().expect("runs").kill();
    let begun = Instant::now();
    cluster.start_control().await;
    until_tokens(cluster.gateways[2].operate, tokens + 1).await;
    println!(
        "killed control plane, restarted to enforced: {:?}",
        begun.elapsed()
    );
    serves(cluster.gateways[2].bulk, count).await;
    let mut line = Line::http2(cluster.gateways[2].bulk).await;
    assert_eq!(line.post(&text, b"").await, 401, "revoked means revoked");

    // All three follow again.
    let (id, _) = cluster.create().await;
    let path = format!("/tokens/{id}/revoke?wait=enforced&timeout_ms=30000");
    let answer = cluster.admin(&path, Value::Null).await;
    assert_eq!(answer["enforcement"]["enforced"], 3, "{answer}");
}
