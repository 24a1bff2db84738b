//! The receipt of a token's end says when the token was last accepted, to the request: what a thief still got in is known.

mod world;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use http::Method;
use serde_json::{Value, json};
use world::{World, bodies};

fn now_ms() -> u64 {
    wharfinger::clock::wall().as_millis() as u64
}

async fn end(world: &World, id: u64, how: &str) -> Value {
    let path = format!("/tokens/{id}/{how}?wait=enforced");
    let answer = world.must(Method::POST, &path, Value::Null).await;
    let enforcement = answer["enforcement"].clone();
    assert_eq!(enforcement["enforced"], enforcement["gateways"], "{answer}");
    enforcement
}

fn accepted_at(enforcement: &Value) -> u64 {
    let at = enforcement["last_accepted_at"].as_str();
    let at = at.unwrap_or_else(|| panic!("no time: {enforcement}"));
    let at = humantime::parse_rfc3339(at).expect("a time");
    at.duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_millis() as u64
}

/// Told to the millisecond, on two clocks of one machine.
const ROUNDING_MS: u64 = 5;

fn assert_within(enforcement: &Value, from: u64, to: u64) {
    let at = accepted_at(enforcement);
    let range = from - ROUNDING_MS..=to + ROUNDING_MS;
    assert!(range.contains(&at), "{at} is not in {from}..={to}");
}

#[tokio::test]
async fn a_receipt_says_when_its_token_was_last_accepted() {
    let world = World::start().await;
    world.account("acme", "archive").await;
    for how in ["revoke", "disable"] {
        let (id, token) = world.token("acme", "logs").await;
        // Another one, so that it is not the last.
        world.token("acme", "logs").await;
        let from = now_ms();
        let answer = world.bulk().ship("/", &token, &[], bodies::lines(1)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let to = now_ms();
        // Longer than the pages of workers last, shorter than it takes until usage is told.
        let pause = if how == "revoke" { 0 } else { 1_500 };
        tokio::time::sleep(Duration::from_millis(pause)).await;
        assert_within(&end(&world, id, how).await, from, to);
        // A refusal is no acceptance: ended once more, it says the same.
        let again = world.bulk().ship("/", &token, &[], bodies::lines(1)).await;
        assert_eq!(again.status, 401, "{again:?}");
        assert_within(&end(&world, id, "revoke").await, from, to);
    }
}

#[tokio::test]
async fn a_live_token_that_is_deleted_has_its_receipt_and_is_refused_as_a_revoked_one() {
    let world = World::start().await;
    world.account("acme", "archive").await;
    let (id, token) = world.token("acme", "logs").await;
    let from = now_ms();
    let answer = world.bulk().ship("/", &token, &[], bodies::lines(1)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let to = now_ms();
    let path = format!("/tokens/{id}?wait=enforced");
    let (status, refused) = world.admin(Method::DELETE, &path, Value::Null).await;
    assert_eq!(status, 409, "it is the last one: {refused}");
    let path = format!("{path}&force=true");
    let answer = world.must(Method::DELETE, &path, Value::Null).await;
    assert_within(&answer["enforcement"], from, to);
    let refused = world.bulk().ship("/", &token, &[], bodies::lines(1)).await;
    assert_eq!(refused.status, 401, "{refused:?}");
    let metrics = world.page("/metrics").await.text();
    let count = |reason: &str| {
        let lines = metrics.lines().filter(|line| line.contains(reason));
        lines.filter(|line| !line.ends_with(" 0")).count()
    };
    assert!(count("revoked_token") > 0, "{metrics}");
    assert_eq!(count("unknown_token"), 0, "{metrics}");
}

#[tokio::test]
async fn what_was_never_accepted_is_null_whatever_else_was_done_with_it() {
    let world = World::start().await;
    world.account("acme", "archive").await;
    let (id, token) = world.token("acme", "logs").await;
    let bulk = world.bulk();
    assert_eq!(bulk.ship("/", &token, &[], "no JSON\n").await.status, 400);
    let validated = bulk
        .ship("/?validate=true", &token, &[], "{\"a\":1}\n")
        .await;
    assert_eq!(validated.status, 200, "{validated:?}");
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", authorization.as_str())];
    let asked = bulk
        .send(Method::GET, "/whoami", &headers, Vec::new())
        .await;
    assert_eq!(asked.status, 200, "{asked:?}");
    let enforcement = end(&world, id, "revoke").await;
    assert_eq!(
        enforcement["last_accepted_at"],
        Value::Null,
        "{enforcement}"
    );
    assert!(enforcement.get("last_accepted_at").is_some());
    // What ends nothing says nothing of it.
    let answer = world
        .must(
            Method::POST,
            "/accounts?wait=enforced",
            json!({"name": "other"}),
        )
        .await;
    assert!(answer["enforcement"].get("last_accepted_at").is_none());
}

#[tokio::test]
async fn an_acceptance_before_a_restart_is_remembered_and_one_told_long_ago_too() {
    let world = World::start().await;
    world.account("acme", "archive").await;
    let (id, token) = world.token("acme", "logs").await;
    let from = now_ms();
    let answer = world.bulk().ship("/", &token, &[], bodies::lines(1)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let to = now_ms();
    let data = world.stop().await;
    let world = World::start_in(data, |_| {}).await;
    assert_within(&end(&world, id, "revoke").await, from, to);
}

async fn suspend(world: &World, account: u64) -> Value {
    let path = format!("/accounts/{account}?wait=enforced");
    let body = json!({"state": "suspended", "reason": "unpaid"});
    let answer = world.must(Method::PATCH, &path, body).await;
    let enforcement = answer["enforcement"].clone();
    assert_eq!(enforcement["enforced"], enforcement["gateways"], "{answer}");
    enforcement
}

async fn sub_account(world: &World, name: &str, parent: u64) -> u64 {
    let body = json!({"name": name, "parent": parent});
    let made = world
        .must(Method::POST, "/accounts?wait=enforced", body)
        .await;
    made["id"].as_u64().expect("a number")
}

#[tokio::test]
async fn a_suspension_says_when_any_token_of_the_account_and_its_sub_accounts_was_last_accepted() {
    let world = World::start().await;
    let main = world.account("acme", "archive").await;
    let sub = sub_account(&world, "acme-eu", main).await;
    let silent = sub_account(&world, "acme-us", main).await;
    world.account("other", "archive").await;
    let (_, of_main) = world.token("acme", "logs").await;
    let (_, of_sub) = world.token("acme-eu", "logs").await;
    let (_, foreign) = world.token("other", "logs").await;
    let mut times = Vec::new();
    for token in [&of_main, &of_sub, &foreign] {
        let from = now_ms();
        let answer = world.bulk().ship("/", token, &[], bodies::lines(1)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        times.push((from, now_ms()));
        // Longer than a worker's page lasts.
        tokio::time::sleep(Duration::from_millis(1_200)).await;
    }
    let (from, to) = times[1];
    assert_eq!(
        suspend(&world, silent).await["last_accepted_at"],
        Value::Null
    );
    // The sub-account's is the later one, and what another account ships is none of it.
    assert_within(&suspend(&world, main).await, from, to);
    for token in [&of_main, &of_sub] {
        let refused = world.bulk().ship("/", token, &[], bodies::lines(1)).await;
        assert_ne!(refused.status, 200, "{refused:?}");
    }
    assert_within(&suspend(&world, main).await, from, to);
    assert_within(&suspend(&world, sub).await, from, to);
    // What ends nothing says nothing of it.
    let path = format!("/accounts/{main}?wait=enforced");
    let body = json!({"state": "active"});
    let answer = world.must(Method::PATCH, &path, body).await;
    assert!(answer["enforcement"].get("last_accepted_at").is_none());
}

#[tokio::test]
async fn a_suspension_remembers_what_was_accepted_before_a_restart() {
    let world = World::start().await;
    let account = world.account("acme", "archive").await;
    let (_, token) = world.token("acme", "logs").await;
    let from = now_ms();
    let answer = world.bulk().ship("/", &token, &[], bodies::lines(1)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let to = now_ms();
    let data = world.stop().await;
    let world = World::start_in(data, |_| {}).await;
    assert_within(&suspend(&world, account).await, from, to);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acceptance_that_races_with_the_revocation_or_the_suspension_is_counted() {
    let world = World::start_with(|config| config.gateway.workers = 2).await;
    let account = world.account("acme", "archive").await;
    let mut accepted_in_all = 0;
    for round in 0..20 {
        let (id, token) = world.token("acme", "logs").await;
        let last = Arc::new(AtomicU64::new(0));
        let senders: Vec<_> = (0..4)
            .map(|_| {
                let (bulk, token, last) = (world.bulk(), token.clone(), Arc::clone(&last));
                tokio::spawn(async move {
                    let mut kept = bulk.connect().await.expect("connects");
                    let authorization = format!("Bearer {token}");
                    let headers = [("authorization", authorization.as_str())];
                    let mut accepted = 0;
                    loop {
                        let began = now_ms();
                        // An empty body is accepted as any other, and waits for no disk.
                        let answer = kept.post("/", &headers, "").await.expect("an answer");
                        if answer.status != 200 {
                            return accepted;
                        }
                        accepted += 1;
                        last.fetch_max(began, Ordering::AcqRel);
                    }
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(30)).await;
        let is_suspension = round % 2 == 1;
        let enforcement = match is_suspension {
            true => suspend(&world, account).await,
            false => end(&world, id, "revoke").await,
        };
        let to = now_ms();
        for sender in senders {
            accepted_in_all += sender.await.expect("ends at the first refusal");
        }
        assert_within(&enforcement, last.load(Ordering::Acquire), to);
        if is_suspension {
            let path = format!("/accounts/{account}?wait=enforced");
            let body = json!({"state": "active"});
            world.must(Method::PATCH, &path, body).await;
        }
    }
    println!("{accepted_in_all} acceptances raced with 10 revocations and 10 suspensions");
    assert!(accepted_in_all > 100);
}
