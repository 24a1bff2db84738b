//! Revocations with a receipt, while senders ship over connections that live on: what a receipt says is so.
//!
//! Quick dose with `cargo test`; the deep one:
//! `WHARFINGER_TOKENS=1000000 WHARFINGER_DOSE=10000 cargo test --release --test revocations -- --nocapture`.

mod world;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use http::Method;
use serde_json::Value;
use tokio::task::JoinSet;
use world::{Cluster, Gateway, cluster::Line, process::local};

const GATEWAYS: usize = 3;
/// Admins who revoke at once.
const ADMINS: usize = 4;
/// Connections that ship all the while, per gateway, half of them HTTP/1.1 and half HTTP/2.
const SHIPPERS: usize = 4;
/// Tokens that nobody revokes: they must go on.
const KEPT: usize = 50;
const LINE: &[u8] = b"{\"message\":\"on its way\"}\n";

const LIVE: u8 = 0;
const ASKED: u8 = 1;
const CONFIRMED: u8 = 2;

/// A token that is known by its text, and how far its revocation is.
struct Token {
    id: u64,
    text: String,
    state: AtomicU8,
}

#[derive(Default)]
struct Seen {
    shipped: AtomicU64,
    refused: AtomicU64,
    accepted_after_receipt: AtomicU64,
    refused_while_live: AtomicU64,
}

fn number(name: &str, default: usize) -> usize {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().expect("a number"))
}

/// A pseudo-random sequence: the same one for each seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, count: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % count as u64) as usize
    }
}

/// Ships lines with any of the tokens, and holds every answer against what was known before and after it.
async fn ship(mut line: Line, tokens: Arc<Vec<Token>>, seen: Arc<Seen>, seed: u64) {
    let mut dice = Dice(seed);
    loop {
        let token = &tokens[dice.below(tokens.len())];
        let before = token.state.load(Ordering::SeqCst);
        let status = line.post(&token.text, LINE).await;
        let after = token.state.load(Ordering::SeqCst);
        match status {
            200 => {
                seen.shipped.fetch_add(1, Ordering::Relaxed);
                if before == CONFIRMED {
                    seen.accepted_after_receipt.fetch_add(1, Ordering::Relaxed);
                }
            }
            401 => {
                seen.refused.fetch_add(1, Ordering::Relaxed);
                if after == LIVE {
                    seen.refused_while_live.fetch_add(1, Ordering::Relaxed);
                }
            }
            other => panic!("{other} for a line of {} bytes", LINE.len()),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Revokes its share of the tokens, one after the other, each with a receipt; knocks at every gateway after each.
async fn revoke(
    cluster: Arc<Cluster>,
    tokens: Arc<Vec<Token>>,
    seen: Arc<Seen>,
    next: Arc<AtomicUsize>,
    count: usize,
) -> Vec<Duration> {
    let mut lines = Vec::new();
    for gateway in &cluster.gateways {
        lines.push(Line::http2(gateway.bulk).await);
        lines.push(Line::http1(gateway.bulk).await);
    }
    let mut times = Vec::new();
    loop {
        let place = next.fetch_add(1, Ordering::Relaxed);
        if place >= count {
            return times;
        }
        let token = &tokens[place];
        token.state.store(ASKED, Ordering::SeqCst);
        let asked = Instant::now();
        let path = format!("/tokens/{}/revoke?wait=enforced", token.id);
        let (status, answer) = world::admin(
            local(cluster.admin),
            &cluster.admin_token,
            Method::POST,
            &path,
            Value::Null,
        )
        .await;
        times.push(asked.elapsed());
        token.state.store(CONFIRMED, Ordering::SeqCst);
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["enforcement"]["enforced"], GATEWAYS, "{answer}");
        for line in &mut lines {
            if line.post(&token.text, LINE).await != 401 {
                seen.accepted_after_receipt.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// `all` tokens of one account, enforced on every gateway; the first `known` of them by their text.
async fn make(cluster: &Cluster, known: usize, all: usize) -> Vec<Token> {
    cluster.import(0..all - known).await;
    let mut tokens = Vec::new();
    for _ in 0..known {
        let (id, text) = cluster.create().await;
        let state = AtomicU8::new(LIVE);
        tokens.push(Token { id, text, state });
    }
    for gateway in &cluster.gateways {
        let last = &tokens[known - 1].text;
        Line::http2(gateway.bulk).await.until(last, 200).await;
    }
    tokens
}

async fn shippers(gateways: &[Gateway], tokens: &Arc<Vec<Token>>, seen: &Arc<Seen>) -> JoinSet<()> {
    let mut shippers = JoinSet::new();
    for gateway in gateways {
        for n in 0..SHIPPERS {
            let line = if n % 2 == 0 {
                Line::http1(gateway.bulk).await
            } else {
                Line::http2(gateway.bulk).await
            };
            let seed = u64::from(gateway.bulk) * 97 + n as u64 + 1;
            shippers.spawn(ship(line, tokens.clone(), seen.clone(), seed));
        }
    }
    shippers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_receipt_no_gateway_accepts_the_token() {
    let count = number("WHARFINGER_DOSE", 60);
    let all = number("WHARFINGER_TOKENS", 0).max(count + KEPT);
    let cluster = Arc::new(Cluster::start(GATEWAYS).await);
    let begun = Instant::now();
    let tokens = Arc::new(make(&cluster, count + KEPT, all).await);
    println!("{all} tokens made and enforced in {:?}", begun.elapsed());

    let seen = Arc::new(Seen::default());
    let ships_since = Instant::now();
    let mut shippers = shippers(&cluster.gateways, &tokens, &seen).await;
    let next = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let mut admins = JoinSet::new();
    for _ in 0..ADMINS {
        admins.spawn(revoke(
            cluster.clone(),
            tokens.clone(),
            seen.clone(),
            next.clone(),
            count,
        ));
    }
    let mut times: Vec<_> = admins.join_all().await.into_iter().flatten().collect();
    let took = begun.elapsed();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(
        shippers.try_join_next().is_none(),
        "a shipper stopped: see above"
    );
    shippers.abort_all();
    let shipped = ships_since.elapsed();

    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "{} revocations by {ADMINS} admins in {took:?}, asked to receipt: p50 {:?}, p99 {:?}, worst {:?}",
        times.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let requests = read(&seen.shipped) + read(&seen.refused);
    println!(
        "beside them: {requests} requests over {shipped:?} by {} senders, {:.0} a second: {} lines shipped, {} refused; accepted after a receipt: {}; refused while live: {}",
        GATEWAYS * SHIPPERS,
        requests as f64 / shipped.as_secs_f64(),
        read(&seen.shipped),
        read(&seen.refused),
        read(&seen.accepted_after_receipt),
        read(&seen.refused_while_live)
    );
    assert_eq!(times.len(), count);
    // A quick dose runs beside whatever else a machine does; whoever asks for the deep one asks for its figures.
    if std::env::var_os("WHARFINGER_DOSE").is_some() {
        for (share, ms) in [(0.5, 50), (0.99, 250), (1.0, 1_000)] {
            let time = at(share);
            assert!(time <= Duration::from_millis(ms), "{share}: {time:?}");
        }
    }
    assert!(read(&seen.shipped) > 0, "nobody shipped");
    assert_eq!(read(&seen.accepted_after_receipt), 0);
    assert_eq!(read(&seen.refused_while_live), 0);
}
