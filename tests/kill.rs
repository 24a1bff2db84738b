//! kill -9 under load: everything that was answered with success is in the archive after the restart, or reaches its destination
//! out of the spool, each time.
//!
//! `WHARFINGER_DOSE=1000 cargo test --test kill -- --nocapture` is the deep dose.

mod world;

use std::{
    collections::{HashMap, HashSet},
    fs,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tokio::task::JoinSet;
use world::{Live, Recorder, Sender, live, recorder::Script};

const SENDERS: u64 = 8;
const LINES: u64 = 5;

/// One of many kill intervals, without a clock in it: 20 to 320 ms.
fn pause(seed: &mut u64) -> Duration {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    Duration::from_millis(20 + (*seed >> 33) % 300)
}

/// Ships one batch after the other, each until it is answered with success, and notes which were; how many it sent in all.
async fn ship(
    sender: u64,
    bulk: SocketAddr,
    token: String,
    acknowledged: Acknowledged,
    stop: Arc<AtomicBool>,
) -> u64 {
    let mut sent = 0;
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", authorization.as_str())];
    let (mut sequence, mut connection) = (0, None);
    while !stop.load(Ordering::Relaxed) {
        let Some(open) = &mut connection else {
            connection = Sender::new(bulk).connect().await.ok();
            if connection.is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            continue;
        };
        let body: String = (0..LINES)
            .map(|n| format!("{{\"sender\":{sender},\"sequence\":{sequence},\"n\":{n}}}\n"))
            .collect();
        sent += 1;
        match open.post("/", &headers, body).await {
            Ok(answer) if answer.status == 200 => {
                acknowledged
                    .lock()
                    .expect("not poisoned")
                    .push((sender, sequence));
                sequence += 1;
            }
            Ok(answer) => panic!("neither success nor a dead connection: {answer:?}"),
            Err(_) => connection = None,
        }
    }
    sent
}

type Acknowledged = Arc<Mutex<Vec<(u64, u64)>>>;

/// All senders at work: how many batches each has sent is told when they have stopped.
fn shipping(live: &Live, token: &str) -> (JoinSet<u64>, Acknowledged, Arc<AtomicBool>) {
    let (acknowledged, stop) = (Acknowledged::default(), Arc::default());
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        senders.spawn(ship(
            sender,
            live.bulk,
            token.to_owned(),
            Arc::clone(&acknowledged),
            Arc::clone(&stop),
        ));
    }
    (senders, acknowledged, stop)
}

/// The archive's promise: a last line without its end was never acknowledged, and nothing follows it.
fn whole_lines(folder: &Path) -> (Vec<String>, usize) {
    let (mut lines, mut torn) = (Vec::new(), 0);
    for file in fs::read_dir(folder).expect("a folder") {
        let text = fs::read_to_string(file.expect("a file").path()).expect("readable");
        let (whole, tail) = text.rsplit_once('\n').unwrap_or(("", &text));
        torn += usize::from(!tail.is_empty());
        lines.extend(whole.lines().map(str::to_owned));
    }
    (lines, torn)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_acknowledged_outlives_every_kill() {
    let kills = live::dose(10);
    let mut live = Live::start("").await;
    let (account, tokens) = live.account("acme", "archive").await;
    let (mut senders, acknowledged, stop) = shipping(&live, &tokens[0]);
    let (mut seed, mut slowest) = (7, Duration::ZERO);
    for _ in 0..kills {
        let before = acknowledged.lock().expect("not poisoned").len();
        world::eventually("the senders are at it", async || {
            acknowledged.lock().expect("not poisoned").len() > before
        })
        .await;
        tokio::time::sleep(pause(&mut seed)).await;
        live.kill();
        slowest = slowest.max(live.up().await);
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = senders.join_next().await {
        ended.expect("no panic");
    }
    let mut found: HashMap<(u64, u64, u64), u64> = HashMap::new();
    let (lines, torn) = whole_lines(&live.data().join(format!("gateway/archive/{account}/logs")));
    for line in lines {
        let line: Value = serde_json::from_str(&line).expect("a torn line is a file's last");
        let number = |name: &str| line[name].as_u64().expect("a number");
        *found
            .entry((number("sender"), number("sequence"), number("n")))
            .or_default() += 1;
    }
    let acknowledged: HashSet<_> = acknowledged
        .lock()
        .expect("not poisoned")
        .drain(..)
        .collect();
    let lost: Vec<_> = acknowledged
        .iter()
        .flat_map(|(sender, sequence)| (0..LINES).map(|n| (*sender, *sequence, n)))
        .filter(|line| !found.contains_key(line))
        .collect();
    let duplicates: u64 = found.values().map(|count| count - 1).sum();
    println!(
        "{kills} kills, {} batches acknowledged, {} lines lost, {duplicates} of {} lines twice (sent again after a kill), {torn} torn last lines, slowest start {slowest:?}",
        acknowledged.len(),
        lost.len(),
        found.len()
    );
    assert!(acknowledged.len() >= kills, "no load");
    assert!(lost.is_empty(), "{lost:?}");
    // A batch that was cut from its answer is sent once more for each kill, never more often.
    assert!(duplicates <= kills as u64 * SENDERS * LINES, "{duplicates}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_acknowledged_reaches_a_destination_that_comes_and_goes_through_every_kill() {
    let kills = live::dose(10);
    let recorder = Recorder::start().await;
    let mut live = Live::start("").await;
    live.destination_of("there", "http", &recorder.url(), "spill")
        .await;
    let (_, tokens) = live.account("acme", "there").await;
    let (mut senders, acknowledged, stop) = shipping(&live, &tokens[0]);
    let (mut seed, mut slowest) = (7, Duration::ZERO);
    for kill in 0..kills {
        let is_up = kill % 3 == 2;
        recorder.answer(Script::status(if is_up { 200 } else { 503 }));
        let before = acknowledged.lock().expect("not poisoned").len();
        world::eventually("the senders are at it", async || {
            acknowledged.lock().expect("not poisoned").len() > before
        })
        .await;
        tokio::time::sleep(pause(&mut seed)).await;
        live.kill();
        slowest = slowest.max(live.up().await);
    }
    stop.store(true, Ordering::Relaxed);
    let mut sent = 0;
    while let Some(ended) = senders.join_next().await {
        sent += ended.expect("no panic");
    }
    let spooled = live.metric("wharfinger_items_spooled", "").await;
    recorder.answer(Script::status(200));
    world::eventually("the spool is empty", async || {
        live.metric("wharfinger_items_spooled", "").await == 0.0
            && live.metric("wharfinger_spool_records", "").await == 0.0
    })
    .await;
    let taken = recorder.recorded();
    let taken: Vec<_> = taken.iter().filter(|it| it.status == 200).collect();
    let arrived = taken.len() as u64;
    let mut found: HashSet<(u64, u64)> = HashSet::new();
    for recorded in taken {
        let first = recorded.body.split(|byte| *byte == b'\n').next();
        let line: Value = serde_json::from_slice(first.expect("a line")).expect("JSON");
        let number = |name: &str| line[name].as_u64().expect("a number");
        found.insert((number("sender"), number("sequence")));
    }
    let acknowledged: HashSet<_> = acknowledged
        .lock()
        .expect("not poisoned")
        .drain(..)
        .collect();
    let lost: Vec<_> = acknowledged.difference(&found).collect();
    println!(
        "{kills} kills, {} batches acknowledged of {sent} sent, {} lost, {arrived} arrived, {spooled} items spooled at the end, slowest start {slowest:?}",
        acknowledged.len(),
        lost.len(),
    );
    assert!(acknowledged.len() >= kills, "no load");
    assert!(lost.is_empty(), "{lost:?}");
    assert_eq!(live.metric("wharfinger_items_lost_total", "").await, 0.0);
    // What was on its way out of the spool at a kill may come again, and no more: of each worker's and the spool's own.
    assert!(arrived <= sent + kills as u64 * (16 + SENDERS), "{arrived}");
}
