//! SIGTERM under load: what is in flight finishes, what is new is turned away, and the process ends with 0 in time.

mod world;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use http::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::{sleep, timeout},
};
use world::{Live, Recorder, Sender, bodies, recorder::Script};

/// A request that has ended.
struct Ended {
    began: Instant,
    ended: Instant,
    /// The status and whether it said `Connection: close`; what went wrong otherwise.
    how: Result<(u16, bool), String>,
}

type Seen = Arc<Mutex<Vec<Ended>>>;

/// Posts over one HTTP/1.1 connection until it ends.
async fn keep_posting(live_bulk: std::net::SocketAddr, token: String, seen: Seen) {
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", authorization.as_str())];
    let Ok(mut kept) = Sender::new(live_bulk).connect().await else {
        return;
    };
    loop {
        let began = Instant::now();
        let answer = kept.post("/", &headers, bodies::lines(2)).await;
        let how = answer
            .map(|answer| (answer.status, answer.header("connection") == Some("close")))
            .map_err(|error| error.to_string());
        let is_over = !matches!(how, Ok((_, false)));
        seen.lock().expect("not poisoned").push(Ended {
            began,
            ended: Instant::now(),
            how,
        });
        if is_over {
            return;
        }
    }
}

/// Posts over one HTTP/2 connection until it ends; whether it ended in good order.
async fn keep_posting_h2(bulk: std::net::SocketAddr, token: String, seen: Seen) -> bool {
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", authorization.as_str())];
    let Ok((mut streams, connection)) = Sender::new(bulk).connect_h2().await else {
        return false;
    };
    loop {
        let began = Instant::now();
        let mut several = JoinSet::new();
        for _ in 0..3 {
            let (mut streams, headers) = (streams.clone(), headers.map(|(a, b)| (a, b.to_owned())));
            several.spawn(async move {
                let headers = headers
                    .each_ref()
                    .map(|(name, value)| (*name, value.as_str()));
                streams.post("/", &headers, bodies::lines(2)).await
            });
        }
        let mut is_over = false;
        while let Some(answer) = several.join_next().await {
            let how = answer
                .expect("no panic")
                .map(|answer| (answer.status, false))
                .map_err(|error| error.to_string());
            is_over |= how.is_err();
            seen.lock().expect("not poisoned").push(Ended {
                began,
                ended: Instant::now(),
                how,
            });
        }
        if is_over || connection.is_finished() {
            break;
        }
        let _ = &mut streams;
    }
    drop(streams);
    matches!(
        timeout(Duration::from_secs(5), connection).await,
        Ok(Ok(Ok(())))
    )
}

/// Opens an HTTP/2 connection that asks nothing; what the GOAWAY on it said, once one came.
async fn wait_for_goaway(address: std::net::SocketAddr) -> Option<u32> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .ok()?;
    stream.write_all(&settings).await.ok()?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await.ok()?;
        match head[3] {
            // Their settings, acknowledged.
            4 if head[4] & 1 == 0 => stream.write_all(&[0, 0, 0, 4, 1, 0, 0, 0, 0]).await.ok()?,
            7 => return Some(u32::from_be_bytes(payload.get(4..8)?.try_into().ok()?)),
            _ => {}
        }
    }
}

struct Load {
    live: Live,
    recorder: Recorder,
    seen: Seen,
    h1: JoinSet<()>,
    h2: JoinSet<bool>,
    goaway: tokio::task::JoinHandle<Option<u32>>,
}

/// Eight connections of each HTTP version with something in flight on each at any time.
async fn load(rest: &str, delay: Duration) -> Load {
    let live = Live::start(rest).await;
    let recorder = Recorder::start().await;
    recorder.answer(Script::status(200).after(delay));
    live.destination("there", "http", &recorder.url()).await;
    let (_, tokens) = live.account("acme", "there").await;
    let seen = Seen::default();
    let (mut h1, mut h2) = (JoinSet::new(), JoinSet::new());
    for _ in 0..8 {
        h1.spawn(keep_posting(
            live.bulk,
            tokens[0].clone(),
            Arc::clone(&seen),
        ));
        h2.spawn(keep_posting_h2(
            live.bulk,
            tokens[0].clone(),
            Arc::clone(&seen),
        ));
    }
    let goaway = tokio::spawn(wait_for_goaway(live.bulk));
    sleep(Duration::from_secs(1)).await;
    Load {
        live,
        recorder,
        seen,
        h1,
        h2,
        goaway,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_flight_at_sigterm_finishes_and_the_process_ends_with_0() {
    let mut load = load("", Duration::from_millis(300)).await;
    let process = load.live.take_process();
    // Longer than it takes anybody to hear of the end: none is answered just before.
    let held = Script::status(200).after(Duration::from_secs(2));
    load.recorder.answer(held);
    let before = load.recorder.recorded().len();
    world::eventually("each of them waits", async || {
        load.recorder.recorded().len() >= before + 32
    })
    .await;
    let signalled = Instant::now();
    process.signal_term();
    sleep(Duration::from_millis(150)).await;
    let refused = TcpStream::connect(load.live.bulk).await;
    let code = tokio::task::spawn_blocking(move || process.wait())
        .await
        .expect("no panic");
    let took = signalled.elapsed();
    while load.h1.join_next().await.is_some() {}
    let mut in_good_order = 0;
    while let Some(is_good) = load.h2.join_next().await {
        in_good_order += usize::from(is_good.expect("no panic"));
    }
    let goaway = timeout(Duration::from_secs(5), load.goaway).await;
    let seen = load.seen.lock().expect("not poisoned");
    // Those of the last moment may have met a connection that was just being closed.
    let settled = signalled - Duration::from_millis(20);
    let in_flight: Vec<_> = seen
        .iter()
        .filter(|ended| ended.began < signalled && ended.ended > signalled)
        .collect();
    let failed: Vec<_> = seen
        .iter()
        .filter(|ended| ended.began < settled && !matches!(ended.how, Ok((200, _))))
        .map(|ended| &ended.how)
        .collect();
    let closing = seen
        .iter()
        .filter(|ended| matches!(ended.how, Ok((_, true))))
        .count();
    println!(
        "{} requests, {} of them in flight at SIGTERM, {} failed; {closing} of 8 h1 connections were told to close, {in_good_order} of 8 h2 connections ended in good order, GOAWAY {goaway:?}; exit {code:?} after {took:?}; recorded {}",
        seen.len(),
        in_flight.len(),
        failed.len(),
        load.recorder.recorded().len()
    );
    assert!(in_flight.len() >= 16, "only {}", in_flight.len());
    assert!(failed.is_empty(), "{failed:?}");
    assert!(refused.is_err(), "a new connection was accepted");
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(closing, 8);
    assert_eq!(in_good_order, 8);
    assert!(matches!(goaway, Ok(Ok(Some(0)))), "{goaway:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn during_the_delay_it_serves_on_and_sends_everybody_away() {
    let rest = "[drain]\ndelay = \"1500ms\"\n";
    let mut load = load(rest, Duration::from_millis(50)).await;
    let process = load.live.take_process();
    process.signal_term();
    sleep(Duration::from_millis(300)).await;
    // New connections are served, and told not to come again.
    let ready = load.live.page("/ready").await;
    let fresh = Sender::new(load.live.bulk)
        .send(Method::GET, "/", &[], Vec::new())
        .await;
    let code = tokio::task::spawn_blocking(move || process.wait())
        .await
        .expect("no panic");
    while load.h1.join_next().await.is_some() {}
    let mut in_good_order = 0;
    while let Some(is_good) = load.h2.join_next().await {
        in_good_order += usize::from(is_good.expect("no panic"));
    }
    let seen = load.seen.lock().expect("not poisoned");
    let h1_failed = seen
        .iter()
        .filter(|ended| matches!(ended.how, Ok((status, _)) if status != 200))
        .count();
    let closing = seen
        .iter()
        .filter(|ended| matches!(ended.how, Ok((_, true))))
        .count();
    println!(
        "{} requests, {h1_failed} refused; {closing} of 8 h1 told to close, {in_good_order} of 8 h2 in good order; exit {code:?}",
        seen.len()
    );
    assert_eq!(code, Some(0));
    assert_eq!((h1_failed, closing, in_good_order), (0, 8, 8));
    assert_eq!(fresh.status, 405);
    assert_eq!(fresh.header("connection"), Some("close"));
    println!(
        "/ready during the delay: {} {}",
        ready.status,
        ready.text().trim()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_that_never_answers_holds_up_no_end() {
    let mut live = Live::start("[drain]\ntimeout = \"2s\"\n").await;
    let recorder = Recorder::start().await;
    recorder.answer(Script::status(200).after(Duration::from_secs(3_600)));
    let body = json!({"name": "mute", "kind": "http", "endpoints": [recorder.url()],
                      "request_timeout_ms": 60_000});
    live.must(Method::POST, "/destinations?wait=enforced", body)
        .await;
    let (_, tokens) = live.account("acme", "mute").await;
    let mut senders = JoinSet::new();
    for _ in 0..4 {
        let (bulk, token) = (live.bulk, tokens[0].clone());
        senders.spawn(async move {
            let authorization = format!("Bearer {token}");
            let mut kept = Sender::new(bulk).connect().await.expect("connects");
            kept.post("/", &[("authorization", &authorization)], bodies::lines(1))
                .await
                .map(|answer| answer.status)
                .map_err(|error| error.to_string())
        });
    }
    world::eventually("all are in flight", async || recorder.recorded().len() == 4).await;
    let process = live.take_process();
    let signalled = Instant::now();
    process.signal_term();
    let code = tokio::task::spawn_blocking(move || process.wait())
        .await
        .expect("no panic");
    let took = signalled.elapsed();
    let mut ends = Vec::new();
    while let Some(end) = senders.join_next().await {
        ends.push(end.expect("no panic"));
    }
    println!("exit {code:?} after {took:?}; the senders saw {ends:?}");
    assert_eq!(code, Some(0), "{}", live.log());
    assert!(
        took > Duration::from_millis(1_900) && took < Duration::from_secs(5),
        "{took:?}"
    );
    assert!(
        ends.iter().all(|end| *end != Ok(200)),
        "nothing was delivered: {ends:?}"
    );
}
