//! Rates over real sockets: what is accepted is what they say, and a refusal says when to come back.

mod world;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::Method;
use serde_json::{Value, json};
use tokio::{sync::Mutex, task::JoinSet, time::sleep};
use world::{Recorder, Sender, World, bodies, live::dose};

/// A world whose accounts' payloads go to a recorder.
async fn stage() -> (World, Recorder) {
    // Several workers pay from the same buckets.
    let world = World::start_with(|config| config.gateway.workers = 3).await;
    let recorder = Recorder::start().await;
    world.destination("there", "http", &recorder.url()).await;
    (world, recorder)
}

async fn limit(world: &World, account: u64, limits: Value) {
    let path = format!("/accounts/{account}?wait=enforced");
    let body = json!({ "limits": limits });
    world.must(Method::PATCH, &path, body).await;
}

/// Ships a body again and again over connections of its own, until the time has come: accepted and refused, and how long it took.
async fn hammer(at: Sender, token: &str, body: Vec<u8>, wanted: Duration) -> (u64, u64, Duration) {
    let counts = Arc::new(Mutex::new((0, 0)));
    let began = Instant::now();
    let mut senders = JoinSet::new();
    for _ in 0..8 {
        let (counts, body) = (Arc::clone(&counts), body.clone());
        let authorization = format!("Bearer {token}");
        senders.spawn(async move {
            let mut kept = at.connect().await.expect("connects");
            while began.elapsed() < wanted {
                let headers = [("authorization", authorization.as_str())];
                let answer = kept.post("/", &headers, body.clone()).await;
                let answer = answer.expect("an answer");
                let mut counts = counts.lock().await;
                match answer.status {
                    200 => counts.0 += 1,
                    429 => {
                        assert!(answer.header("retry-after").is_some(), "{answer:?}");
                        counts.1 += 1;
                    }
                    _ => panic!("{answer:?}"),
                }
            }
        });
    }
    while let Some(ended) = senders.join_next().await {
        ended.expect("ships");
    }
    let (accepted, refused) = *counts.lock().await;
    (accepted, refused, began.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_accepted_is_the_rate_and_its_burst_whatever_is_asked_for() {
    let (world, recorder) = stage().await;
    let time = Duration::from_secs(dose(4) as u64);
    let body = bodies::lines(20);
    let bytes = body.len() as u64;
    for (name, each) in [("requests", 1), ("items", 20), ("bytes", bytes)] {
        let account = world.account(name, "there").await;
        let (per_second, burst) = (100 * each, 50 * each);
        let limits = json!({
            format!("{name}_per_second"): per_second,
            format!("{name}_burst"): burst,
        });
        limit(&world, account, limits).await;
        let (_, token) = world.token(name, "logs").await;
        recorder.forget();
        let (accepted, refused, took) = hammer(world.bulk(), &token, body.clone(), time).await;
        let allowed = took.as_secs_f64() * 100.0 + 50.0;
        let off = accepted as f64 / allowed - 1.0;
        println!(
            "{name}: {accepted} of {} accepted in {took:?}, {:+.2} % of the rate and its burst",
            accepted + refused,
            off * 100.0
        );
        assert!(refused > accepted, "the demand was far above the rate");
        assert!(off <= 0.01, "{accepted} of {allowed}");
        // A busy machine leaves the bucket full before the first request and after the last one.
        let is_quiet = std::env::var_os("WHARFINGER_DOSE").is_some();
        let least = if is_quiet { -0.01 } else { -0.1 };
        assert!(off >= least, "{accepted} of {allowed}");
        assert_eq!(recorder.recorded().len() as u64, accepted);
        let books = world.books(account, "logs").await;
        assert_eq!(books["delivered"]["items"], accepted * 20, "{books}");
    }
}

#[tokio::test]
async fn a_refusal_says_when_to_come_back_and_then_there_is_room() {
    let (world, _recorder) = stage().await;
    let account = world.account("acme", "there").await;
    limit(
        &world,
        account,
        json!({"items_per_second": 10, "items_burst": 1}),
    )
    .await;
    let (_, token) = world.token("acme", "logs").await;
    let ship = async |items| {
        let body = bodies::lines(items);
        world.bulk().ship("/", &token, &[], body).await
    };
    // Forty items of debt at ten a second.
    assert_eq!(ship(40).await.status, 200);
    let mut waits = Vec::new();
    for _ in 0..20 {
        let refused = ship(1).await;
        assert_eq!(refused.status, 429, "{refused:?}");
        assert_eq!(
            refused.text(),
            "The account is over its limit of items per second; try again"
        );
        let wait = refused.header("retry-after").expect("there");
        waits.push(wait.parse::<u64>().expect("seconds"));
    }
    assert!(waits.iter().all(|wait| (1..=9).contains(wait)), "{waits:?}");
    waits.sort_unstable();
    waits.dedup();
    assert!(waits.len() > 1, "senders come back at different times");
    sleep(Duration::from_secs(waits[0])).await;
    assert_eq!(ship(1).await.status, 200);
}

#[tokio::test]
async fn a_tokens_own_rate_holds_that_token_alone_and_changes_while_it_sends() {
    let (world, _recorder) = stage().await;
    world.account("acme", "there").await;
    let (slow_id, slow) = world.token("acme", "logs").await;
    let (_, free) = world.token("acme", "logs").await;
    let set = async |rates: Value| {
        let path = format!("/tokens/{slow_id}?wait=enforced");
        world
            .must(Method::PATCH, &path, json!({ "rates": rates }))
            .await;
    };
    let ship = async |token: &str| world.bulk().ship("/", token, &[], bodies::lines(1)).await;
    set(json!({"requests_per_second": 1, "requests_burst": 2})).await;
    let begun = Instant::now();
    let mut taken = 0;
    let refused = loop {
        let answer = ship(&slow).await;
        if answer.status != 200 {
            break answer;
        }
        taken += 1;
        assert!(taken <= 2 + begun.elapsed().as_secs(), "{taken}");
    };
    assert!(taken >= 2 && refused.status == 429, "{taken} {refused:?}");
    assert_eq!(
        refused.text(),
        "The shipping token is over its limit of requests per second; try again"
    );
    for _ in 0..20 {
        assert_eq!(ship(&free).await.status, 200);
    }
    set(json!({"requests_per_second": 1_000_000})).await;
    for _ in 0..20 {
        assert_eq!(ship(&slow).await.status, 200);
    }
    set(json!({"requests_per_second": null, "requests_burst": null})).await;
    assert_eq!(ship(&slow).await.status, 200);
}

#[tokio::test]
async fn sub_accounts_that_are_told_to_draw_on_the_main_accounts_rate_together() {
    let (world, _recorder) = stage().await;
    let main = world.account("main-account", "there").await;
    limit(
        &world,
        main,
        json!({"requests_per_second": 1, "requests_burst": 10}),
    )
    .await;
    let mut tokens = Vec::new();
    for (name, draws) in [("one", true), ("two", true), ("own", false)] {
        let limits = json!({"draw_on_main": draws, "requests_per_second": 0});
        let body = json!({"name": name, "parent": main, "limits": limits});
        world
            .must(Method::POST, "/accounts?wait=enforced", body)
            .await;
        tokens.push(world.token(name, "logs").await.1);
    }
    let begun = Instant::now();
    let mut taken = 0;
    for turn in 0..20 {
        let token = &tokens[turn % 2];
        let answer = world.bulk().ship("/", token, &[], bodies::lines(1)).await;
        if answer.status == 200 {
            taken += 1;
            continue;
        }
        assert_eq!(answer.status, 429, "{answer:?}");
        assert_eq!(
            answer.text(),
            "The main account is over its limit of requests per second; try again"
        );
    }
    let most = 10 + begun.elapsed().as_secs();
    assert!((10..=most).contains(&taken), "{taken} of {most}");
    for _ in 0..20 {
        let answer = world
            .bulk()
            .ship("/", &tokens[2], &[], bodies::lines(1))
            .await;
        assert_eq!(answer.status, 200, "it has its own: {answer:?}");
    }
    // Told otherwise, they are free at once.
    limit(&world, main, json!({"requests_per_second": 0})).await;
    for token in &tokens {
        let answer = world.bulk().ship("/", token, &[], bodies::lines(1)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

#[tokio::test]
async fn a_body_that_fails_costs_its_bytes_and_one_that_is_refused_costs_nothing() {
    let (world, _recorder) = stage().await;
    let account = world.account("acme", "there").await;
    limit(
        &world,
        account,
        json!({"bytes_per_second": 1, "bytes_burst": 1000}),
    )
    .await;
    let (_, token) = world.token("acme", "logs").await;
    let level = async || {
        let authorization = format!("Bearer {token}");
        let headers = [("authorization", authorization.as_str())];
        let told = world
            .bulk()
            .send(Method::GET, "/whoami", &headers, Vec::new())
            .await;
        let told = told.json();
        assert_eq!(
            told["limits"]["rates"]["account"]["bytes"],
            json!({"per_second": 1, "burst": 1000})
        );
        assert_eq!(told["limits"]["rates"]["token"], Value::Null);
        told["headroom"]["rates"]["account"]["bytes"]
            .as_i64()
            .expect("a number")
    };
    assert_eq!(level().await, 1000);
    let answer = world.bulk().ship("/", &token, &[], vec![b'x'; 400]).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!((600..610).contains(&level().await));
    // Two kilobytes that are no more on their way than five hundred bytes.
    let gzip = [("content-encoding", "gzip")];
    let body = bodies::gzip(&bodies::lines(100));
    let answer = world.bulk().ship("/", &token, &gzip, body.clone()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let debt = level().await;
    assert!(debt < -500, "{debt}");
    let answer = world.bulk().ship("/", &token, &gzip, body).await;
    assert_eq!(answer.status, 429, "{answer:?}");
    assert!((debt..debt + 10).contains(&level().await));
}

#[tokio::test]
async fn what_an_account_has_no_rate_of_is_never_refused_for_it() {
    let (world, _recorder) = stage().await;
    let account = world.account("acme", "there").await;
    limit(
        &world,
        account,
        json!({"requests_per_second": 1_000_000_000}),
    )
    .await;
    let (_, token) = world.token("acme", "logs").await;
    let second = Duration::from_secs(1);
    let (accepted, refused, _) = hammer(world.bulk(), &token, bodies::lines(2), second).await;
    assert!(accepted > 100, "{accepted}");
    assert_eq!(refused, 0, "of {accepted}");
}

#[tokio::test]
async fn a_destination_that_fails_turns_no_503_into_a_429() {
    let (world, recorder) = stage().await;
    let account = world.account("acme", "there").await;
    let limits = json!({"requests_per_second": 1, "items_per_second": 1, "bytes_per_second": 1});
    limit(&world, account, limits).await;
    let (_, token) = world.token("acme", "logs").await;
    recorder.answer(world::recorder::Script::status(503));
    for _ in 0..20 {
        let answer = world.bulk().ship("/", &token, &[], bodies::lines(9)).await;
        assert_eq!(answer.status, 503, "{answer:?}");
    }
    recorder.answer(world::recorder::Script::status(200));
    let answer = world.bulk().ship("/", &token, &[], bodies::lines(9)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = world.bulk().ship("/", &token, &[], bodies::lines(9)).await;
    assert_eq!(answer.status, 429, "{answer:?}");
}

#[tokio::test]
async fn a_slow_sender_below_the_rate_keeps_nobody_out() {
    use tokio::{io::AsyncWriteExt as _, net::TcpStream};
    let (world, _recorder) = stage().await;
    let account = world.account("acme", "there").await;
    limit(&world, account, json!({"bytes_per_second": 200_000})).await;
    let (_, token) = world.token("acme", "logs").await;
    let mut slow = TcpStream::connect(world.bulk().address)
        .await
        .expect("connects");
    let head = format!(
        "POST / HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: 9000000\r\n\r\n"
    );
    slow.write_all(head.as_bytes()).await.expect("sent");
    let line = [b' '; 8_000];
    for _ in 0..30 {
        // At two fifths of the rate, past the burst in all.
        slow.write_all(&line).await.expect("sent");
        sleep(Duration::from_millis(100)).await;
        let answer = world.bulk().ship("/", &token, &[], bodies::lines(1)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    drop(slow);
    world::eventually("what it sent was read", async || {
        let books = world.books(account, "logs").await;
        books["received"]["bytes"].as_u64() > Some(240_000)
    })
    .await;
}
