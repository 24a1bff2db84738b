//! Several control planes on one PostgreSQL; `tests/postgres/run` runs these.

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    proof::{accepted_at, claimed_elsewhere},
    stores,
    world::{Follower, Kept, World},
    writers::{Dose, pair, write_and_check},
};
use crate::{
    control::{
        Config, Control, Error, publish::enforcement, record, scope::Scopes, store::NewApiToken,
    },
    rpc::feed::{self, Acknowledge, from_gateway},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn sixteen_writers_on_two_control_planes_leave_no_gap() {
    let dose = Dose::asked();
    let (one, other) = pair(dose.config()).await;
    write_and_check(&[one, other], &dose).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn a_change_on_one_control_plane_reaches_the_gateways_of_the_other() {
    let (one, other) = pair(Config::default()).await;
    let mut follower = other.follow("a", Kept::default()).await;
    follower.until(1).await;
    let mut times = Vec::new();
    for revision in 2..102 {
        one.token("x").await;
        let answered = Instant::now();
        follower.until(revision).await;
        times.push(answered.elapsed());
    }
    times.sort_unstable();
    println!(
        "answer to the other's gateway: p50 {:?} worst {:?}",
        times[50], times[99]
    );
    assert_eq!(follower.kept.state, one.state().await);
    assert!(times[50] < Duration::from_millis(250), "by polling alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn a_gateway_that_changes_to_the_other_control_plane_gets_no_snapshot() {
    let (one, other) = pair(Config::default()).await;
    let mut follower = one.follow("a", Kept::default()).await;
    follower.until(1).await;
    for round in 0..20 {
        let (here, there) = if round % 2 == 0 {
            (&one, &other)
        } else {
            (&other, &one)
        };
        here.token("x").await;
        follower.until(here.control.feed_state().head).await;
        // At once: the other one may not have heard yet.
        follower = there.follow("a", follower.kept.clone()).await;
        there.token("y").await;
        follower.until(there.control.feed_state().head).await;
        assert_eq!(follower.snapshots, 0, "round {round}");
    }
    assert_eq!(follower.kept.revision, 41);
    assert_eq!(follower.kept.state, one.state().await);
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn another_master_key_is_refused() {
    let world = World::new().await;
    let store = stores::url(world.folder.path()).await;
    let config = Config {
        store,
        ..Config::default()
    };
    let folder = TempDir::new().expect("a folder");
    let missing = Control::open(&config, folder.path()).await.err();
    assert!(
        matches!(missing, Some(Error::MissingMasterKey(_))),
        "{missing:?}"
    );
    let other = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
    fs::write(folder.path().join("master.key"), other).expect("written");
    let wrong = Control::open(&config, folder.path()).await.err();
    assert!(matches!(wrong, Some(Error::WrongMasterKey)), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL, alone"]
async fn sessions_that_the_server_ends_are_opened_again() {
    let (one, other) = pair(Config::default()).await;
    let mut follower = other.follow("a", Kept::default()).await;
    follower.until(1).await;
    for round in 0..5_u64 {
        stores::alter(
            one.folder.path(),
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE pid <> pg_backend_pid() AND datname = current_database()",
        )
        .await;
        let store = &one.control.inner.store;
        let mut commit = store.begin("test").await.expect("begun again");
        let new = NewApiToken {
            account: None,
            name: "x".to_owned(),
            scopes: Scopes::ALL,
            expires_at: 0,
        };
        commit.insert_api_token(new, false).await.expect("written");
        let published = commit.finish().await.expect("committed");
        assert_eq!(published.revision, round + 2, "no gap");
        follower.until(round + 2).await;
    }
    assert_eq!(follower.snapshots, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn a_control_plane_that_cannot_vouch_for_its_gateways_sends_them_away() {
    let world = World::new().await;
    let mut follower = world.follow("a", Kept::default()).await;
    follower.until(1).await;
    // What it would see of a server that lost a commit: the same as of one that is not heard at all.
    let back = "UPDATE counters SET value = 0 WHERE name = 'revision'";
    stores::alter(world.folder.path(), back).await;
    let since = Instant::now();
    let end = loop {
        if let Err(end) = follower.step().await {
            break end;
        }
    };
    assert_eq!(end.code(), tonic::Code::Unavailable);
    assert!(since.elapsed() < Duration::from_secs(5));
    let forward = "UPDATE counters SET value = 1 WHERE name = 'revision'";
    stores::alter(world.folder.path(), forward).await;
    let mut follower = world.follow("a", follower.kept.clone()).await;
    world.token("x").await;
    follower.until(2).await;
    assert_eq!(follower.snapshots, 0);
}

/// The answer of a revocation of token 2 at `asked`, and how long it took, while `follower` acknowledges it elsewhere.
async fn revoke(asked: &World, follower: &mut Follower, revision: u64) -> (u16, Value, Duration) {
    let began = Instant::now();
    let path = "/tokens/2/revoke?wait=enforced&timeout_ms=5000";
    let asking = asked.call("POST", path, Value::Null);
    let confirming = async {
        follower.until(revision).await;
        let message = Acknowledge {
            revision,
            accepted: vec![feed::Accepted {
                token: 2,
                age_ms: 5_000,
                account: 1,
            }],
        };
        follower
            .say(from_gateway::Message::Acknowledge(message))
            .await;
    };
    let ((status, answer), ()) = tokio::join!(asking, confirming);
    (status, answer["enforcement"].clone(), began.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn a_receipt_counts_the_gateways_of_the_other_control_plane() {
    let (one, other) = pair(Config::default()).await;
    one.token("x").await;
    // Known to nobody when the two started.
    let mut follower = other.follow("a", Kept::default()).await;
    follower.until(2).await;
    follower.acknowledge(2).await;
    // Not acknowledged: named, and not counted.
    let path = "/tokens/1/revoke?wait=enforced&timeout_ms=300";
    let (status, answer) = one.call("POST", path, Value::Null).await;
    let enforcement = &answer["enforcement"];
    assert_eq!(
        (status, &enforcement["laggards"]),
        (202, &json!(["a"])),
        "{answer}"
    );
    assert_eq!(
        (&enforcement["enforced"], &enforcement["gateways"]),
        (&json!(0), &json!(1))
    );
    // Acknowledged there: proven here, with when the token was last accepted.
    let now = record::now();
    let (status, enforcement, took) = revoke(&one, &mut follower, 4).await;
    assert_eq!(status, 200, "{enforcement}");
    assert_eq!(
        (&enforcement["enforced"], &enforcement["gateways"]),
        (&json!(1), &json!(1))
    );
    let at = accepted_at(&enforcement);
    assert!((now - 5_000..now - 3_000).contains(&at), "{at} at {now}");
    println!("a receipt over the other control plane after {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    let retired = one.call("DELETE", "/gateways/a", Value::Null).await;
    assert_eq!(retired.0, 409, "it is connected there: {}", retired.1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn the_receipt_of_a_suspension_knows_what_the_other_control_plane_was_told() {
    let (one, other) = pair(Config::default()).await;
    one.token("x").await;
    let mut follower = other.follow("a", Kept::default()).await;
    follower.until(2).await;
    let now = record::now();
    let path = "/accounts/1?wait=enforced&timeout_ms=5000";
    let asking = one.call("PATCH", path, json!({"state": "suspended"}));
    let confirming = async {
        follower.until(3).await;
        let message = Acknowledge {
            revision: 3,
            accepted: vec![feed::Accepted {
                token: 2,
                age_ms: 5_000,
                account: 1,
            }],
        };
        follower
            .say(from_gateway::Message::Acknowledge(message))
            .await;
    };
    let ((status, answer), ()) = tokio::join!(asking, confirming);
    assert_eq!(status, 200, "{answer}");
    let at = accepted_at(&answer["enforcement"]);
    assert!((now - 5_000..now - 3_000).contains(&at), "{at} at {now}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn a_gateway_that_moves_is_neither_counted_twice_nor_by_what_it_said_elsewhere() {
    let (one, other) = pair(Config::default()).await;
    one.token("x").await;
    let mut here = one.follow("a", Kept::default()).await;
    here.until(2).await;
    here.acknowledge(2).await;
    let kept = here.kept.clone();
    // The first stream stays open, as one does whose end nobody hears.
    let mut there = other.follow("a", kept).await;
    there.until(2).await;
    let (status, enforcement, _) = revoke(&one, &mut there, 3).await;
    assert_eq!(status, 200, "{enforcement}");
    assert_eq!(enforcement["gateways"], 1);
    // Late words over the older stream are nobody's.
    here.until(3).await;
    let path = "/tokens/1/revoke?wait=enforced&timeout_ms=800";
    let asking = one.call("POST", path, Value::Null);
    let confirming = async {
        here.until(4).await;
        here.acknowledge(4).await;
    };
    let ((status, answer), ()) = tokio::join!(asking, confirming);
    assert_eq!(status, 202, "{answer}");
    assert_eq!(answer["enforcement"]["laggards"], json!(["a"]));
    // One that is away is never forgotten.
    drop((here, there));
    let path = "/tokens/3/revoke?wait=enforced&timeout_ms=300";
    let (status, answer) = other.call("POST", path, Value::Null).await;
    assert_eq!(
        (status, &answer["enforcement"]["laggards"]),
        (202, &json!(["a"])),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn every_control_plane_lists_the_gateways_of_all() {
    let (one, other) = pair(Config::default()).await;
    let mut ours = one.follow("a", Kept::default()).await;
    let mut theirs = other.follow("b", Kept::default()).await;
    for follower in [&mut ours, &mut theirs] {
        follower.until(1).await;
        follower.acknowledge(1).await;
    }
    one.token("x").await;
    ours.until(2).await;
    ours.acknowledge(2).await;
    let listed = async |world: &World, expected: [Value; 2]| {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let list = world.ok("GET", "/gateways", Value::Null).await;
            let told = list["items"].as_array().expect("a list").iter().map(|it| {
                json!([
                    it["name"],
                    it["connected"],
                    it["connected_to"],
                    it["revision"],
                    it["lag"],
                    it["version"]
                ])
            });
            let told: Vec<_> = told.collect();
            if told == expected {
                return;
            }
            assert!(Instant::now() < until, "{told:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let row = |name: &str, at: Value, revision: u64| {
        json!([name, !at.is_null(), at, revision, 2 - revision, "test"])
    };
    listed(
        &one,
        [row("a", json!("this"), 2), row("b", json!("another"), 1)],
    )
    .await;
    listed(
        &other,
        [row("a", json!("another"), 2), row("b", json!("this"), 1)],
    )
    .await;
    drop(theirs);
    listed(&one, [row("a", json!("this"), 2), row("b", Value::Null, 1)]).await;
    listed(
        &other,
        [row("a", json!("another"), 2), row("b", Value::Null, 1)],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn two_gateways_of_one_name_at_two_control_planes_are_not_confirmed_as_one() {
    let (one, other) = pair(Config::default()).await;
    one.token("x").await;
    let mut first = one.follow("edge", Kept::default()).await;
    first.until(2).await;
    first.acknowledge(2).await;
    let come = async || {
        let kept = Kept {
            instance: Some("another folder".into()),
            ..Kept::default()
        };
        other.follow("edge", kept).await.step().await
    };
    let end = come().await.expect_err("refused");
    assert_eq!(end.code(), tonic::Code::AlreadyExists);
    // Where its control plane goes down, the first one serves on, and nobody else is taken for it.
    let World {
        control, folder, ..
    } = one;
    control.close().await;
    let end = come().await.expect_err("refused");
    assert_eq!(end.code(), tonic::Code::AlreadyExists);
    let path = "/tokens/1/revoke?wait=enforced&timeout_ms=300";
    let (status, answer) = other.call("POST", path, Value::Null).await;
    assert_eq!(
        (status, &answer["enforcement"]["laggards"]),
        (202, &json!(["edge"])),
        "{answer}"
    );
    // It comes to the other one under its own name.
    let mut moved = other.follow("edge", first.kept.clone()).await;
    moved.until(3).await;
    drop(folder);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn a_gateway_of_a_control_plane_that_crashed_is_retired_a_minute_later_whatever_its_clock_said()
 {
    let (one, _other) = pair(Config::default()).await;
    claimed_elsewhere(&one, "a folder", record::now() + 3_600_000).await;
    let path = "/gateways/edge";
    assert_eq!(one.call("DELETE", path, Value::Null).await.0, 409);
    let gateways = &one.control.inner.store.publisher().gateways;
    gateways.age_claims(Duration::from_secs(50));
    assert_eq!(one.call("DELETE", path, Value::Null).await.0, 409);
    gateways.age_claims(Duration::from_secs(10));
    one.ok("DELETE", path, Value::Null).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn while_the_store_cannot_be_read_nobody_is_said_to_enforce_anything() {
    let (one, _other) = pair(Config::default()).await;
    one.token("x").await;
    let publisher = one.control.inner.store.publisher();
    let published = publisher.published(2);
    stores::alter(one.folder.path(), "ALTER TABLE gateways RENAME TO gone").await;
    let store = &one.control.inner.store;
    let enforcement = enforcement(store, published, Duration::from_millis(200)).await;
    assert_eq!(
        enforcement.laggards.len(),
        1,
        "somebody is named: {enforcement:?}"
    );
    stores::alter(one.folder.path(), "ALTER TABLE gone RENAME TO gateways").await;
}
