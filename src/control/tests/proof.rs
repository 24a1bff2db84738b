//! The proof of enforcement, and commits whose caller has gone.

use std::time::{Duration, Instant, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{
    stores,
    world::{Kept, World},
};
use crate::{
    control::{
        Config,
        record::{self, GatewayRow},
    },
    rpc::feed::{self, Acknowledge, from_gateway},
};

#[tokio::test]
async fn enforced_is_answered_after_the_acknowledgements_and_202_names_the_laggard() {
    let world = World::new().await;
    let none = world
        .ok(
            "POST",
            "/tokens/2/disable?force=true&wait=enforced",
            Value::Null,
        )
        .await;
    assert_eq!(
        (
            &none["enforcement"]["enforced"],
            &none["enforcement"]["gateways"]
        ),
        (&json!(0), &json!(0))
    );
    let mut a = world.follow("a", Kept::default()).await;
    let mut b = world.follow("b", Kept::default()).await;
    a.until(2).await;
    b.until(2).await;
    let call = world.call(
        "POST",
        "/tokens/1/revoke?wait=enforced&timeout_ms=5000",
        Value::Null,
    );
    let gateways = async {
        a.until(3).await;
        a.acknowledge(3).await;
        b.until(3).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        b.acknowledge(3).await;
    };
    let ((status, answer), ()) = tokio::join!(call, gateways);
    assert_eq!(status, 200);
    let enforcement = &answer["enforcement"];
    assert_eq!(
        (&enforcement["enforced"], &enforcement["gateways"]),
        (&json!(2), &json!(2))
    );
    assert!(enforcement["slowest_ms"].as_u64() >= Some(100));
    assert!(enforcement.get("laggards").is_none());

    let call = world.call(
        "POST",
        "/tokens/2/revoke?wait=enforced&timeout_ms=200",
        Value::Null,
    );
    let gateways = async {
        a.until(4).await;
        a.acknowledge(4).await;
    };
    let ((status, answer), ()) = tokio::join!(call, gateways);
    assert_eq!(
        (status, &answer["enforcement"]["laggards"]),
        (202, &json!(["b"]))
    );
    assert_eq!(answer["state"], "revoked");

    let list = world.ok("GET", "/gateways", Value::Null).await;
    assert_eq!(list["items"][1]["name"], "b");
    assert_eq!(
        (&list["items"][0]["lag"], &list["items"][1]["lag"]),
        (&json!(0), &json!(1))
    );
}

#[tokio::test]
async fn a_gateway_that_is_away_is_waited_for_until_it_is_retired_also_by_a_new_control_plane() {
    let world = World::new().await;
    let mut a = world.follow("a", Kept::default()).await;
    let mut away = world.follow("away", Kept::default()).await;
    a.until(1).await;
    away.until(1).await;
    a.acknowledge(1).await;
    away.acknowledge(1).await;
    drop(away);
    let kept = a.kept.clone();
    drop(a);
    let World {
        control, folder, ..
    } = world;
    control.close().await;
    let world = World::within(Config::default(), folder).await;
    // Nobody has come yet, and everybody may be serving.
    let revoke = "/tokens/1/revoke?wait=enforced&timeout_ms=100";
    let (status, answer) = world.call("POST", revoke, Value::Null).await;
    assert_eq!(
        (status, &answer["enforcement"]["laggards"]),
        (202, &json!(["a", "away"]))
    );
    let mut a = world.follow("a", kept).await;
    a.until(2).await;
    a.acknowledge(2).await;
    let (status, answer) = world.call("POST", revoke, Value::Null).await;
    assert_eq!(
        (status, &answer["enforcement"]["laggards"]),
        (202, &json!(["a", "away"]))
    );
    let (status, _) = world.call("DELETE", "/gateways/a", Value::Null).await;
    assert_eq!(status, 409, "it is connected");
    let (status, _) = world.call("DELETE", "/gateways/nobody", Value::Null).await;
    assert_eq!(status, 404);
    // On a shared store another control plane might have served it until a moment ago.
    let given_up = "UPDATE gateways SET holder = 0 WHERE name = 'away'";
    stores::alter(world.folder.path(), given_up).await;
    world.ok("DELETE", "/gateways/away", Value::Null).await;
    let disable = world.call(
        "POST",
        "/tokens/2/disable?force=true&wait=enforced&timeout_ms=5000",
        Value::Null,
    );
    let confirming = async {
        a.until(4).await;
        a.acknowledge(4).await;
    };
    let ((status, answer), ()) = tokio::join!(disable, confirming);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["enforcement"]["gateways"], 1);
    let list = world.ok("GET", "/gateways", Value::Null).await;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1), "{list}");
    world.control.verify_audit().await.expect("intact");
}

/// When the receipt says that it was, in milliseconds since 1970.
pub(super) fn accepted_at(enforcement: &Value) -> u64 {
    let at = enforcement["last_accepted_at"].as_str().expect("a time");
    let at = humantime::parse_rfc3339(at).expect("a time");
    let since = at.duration_since(UNIX_EPOCH).expect("after 1970");
    since.as_millis() as u64
}

#[tokio::test]
async fn a_suspension_counts_the_tokens_of_its_accounts_whoever_says_whose_they_are() {
    let world = World::new().await;
    let body = json!({"name": "sub", "parent": 1});
    let sub = world.ok("POST", "/accounts", body).await["id"].clone();
    let body = json!({"name": "other"});
    let other = world.ok("POST", "/accounts", body).await["id"].clone();
    let mut tokens = Vec::new();
    for account in [&json!(1), &sub, &other] {
        let body = json!({"account": account, "signal": "logs", "name": "n"});
        let made = world.ok("POST", "/tokens", body).await;
        tokens.push(made["id"].as_u64().expect("an id"));
    }
    let mut gateway = world.follow("a", Kept::default()).await;
    let head = world.control.feed_state().head;
    gateway.until(head).await;
    let path = "/accounts/1?wait=enforced&timeout_ms=5000";
    // Of the main account's a gateway says whose it is; of the two others it can't any more.
    for (ages, expected) in [
        ([9_000, 12_000, 1_000], 9_000),
        ([9_000, 6_000, 1_000], 6_000),
    ] {
        let now = record::now();
        let call = world.call("PATCH", path, json!({"state": "suspended"}));
        let enforcing = async {
            let revision = gateway.kept.revision + 1;
            gateway.until(revision).await;
            let said = tokens.iter().zip(ages).zip([1, 0, 0]);
            let accepted = said.map(|((token, age_ms), account)| feed::Accepted {
                token: *token,
                age_ms,
                account,
            });
            let message = Acknowledge {
                revision,
                accepted: accepted.collect(),
            };
            gateway
                .say(from_gateway::Message::Acknowledge(message))
                .await;
        };
        let ((status, answer), ()) = tokio::join!(call, enforcing);
        assert_eq!(status, 200, "{answer}");
        let at = accepted_at(&answer["enforcement"]);
        let from = now - expected;
        assert!((from..from + 2_000).contains(&at), "{at} from {from}");
    }
}

#[tokio::test]
async fn two_gateways_of_one_name_are_not_confirmed_as_one() {
    let world = World::new().await;
    let mut first = world.follow("a", Kept::default()).await;
    first.until(1).await;
    first.acknowledge(1).await;
    let other = Kept {
        instance: Some("another folder".into()),
        ..Kept::default()
    };
    let mut second = world.follow("a", other).await;
    let end = second.step().await.expect_err("refused");
    assert_eq!(end.code(), tonic::Code::AlreadyExists);
    world.token("x").await;
    first.until(2).await;
}

/// What another control plane has written of a gateway that it speaks for, by a clock of its own.
pub(super) async fn claimed_elsewhere(world: &World, instance: &str, at: u64) -> GatewayRow {
    let insert = format!(
        "INSERT INTO gateways (name, instance, version, revision, last_seen_at, holder) \
         VALUES ('edge', '{instance}', '1', 1, {at}, 7)"
    );
    stores::alter(world.folder.path(), &insert).await;
    let rows = world.control.inner.store.gateways().await.expect("read");
    rows[0].clone()
}

async fn refused(world: &World) {
    let mut edge = world.follow("edge", Kept::default()).await;
    let end = edge.step().await.expect_err("refused");
    assert_eq!(end.code(), tonic::Code::AlreadyExists);
}

#[tokio::test]
async fn a_name_that_another_control_plane_speaks_for_is_kept_for_a_minute_whatever_its_clock_says()
{
    const HOUR: u64 = 3_600_000;
    let now = record::now();
    for at in [now - HOUR, now, now + HOUR] {
        let world = World::new().await;
        claimed_elsewhere(&world, "another folder", at).await;
        let store = &world.control.inner.store;
        refused(&world).await;
        refused(&world).await;
        let list = world.ok("GET", "/gateways", Value::Null).await;
        // Where no other control plane can be, there is nobody.
        let is_shared = store.is_shared();
        let listed = list["items"].as_array().map(Vec::len);
        assert_eq!(listed, Some(is_shared.into()));
        assert_eq!(list["items"][0]["connected_to"] == "another", is_shared);
        // The other one is what the store knows of.
        let rows = store.gateways().await.expect("read");
        assert_eq!((&*rows[0].instance, rows[0].holder), ("another folder", 7));
        let gateways = &store.publisher().gateways;
        gateways.age_claims(Duration::from_secs(50));
        refused(&world).await;
        let renewed = "UPDATE gateways SET last_seen_at = last_seen_at + 15000";
        stores::alter(world.folder.path(), renewed).await;
        gateways.age_claims(Duration::from_secs(50));
        refused(&world).await;
        gateways.age_claims(Duration::from_secs(60));
        let mut edge = world.follow("edge", Kept::default()).await;
        edge.until(1).await;
        let rows = store.gateways().await.expect("read");
        assert_eq!((rows.len(), &*rows[0].instance), (1, "edge"));
    }
}

#[tokio::test]
async fn a_gateway_that_was_killed_is_let_in_again_at_once_whoever_has_spoken_for_it() {
    let world = World::new().await;
    let store = &world.control.inner.store;
    // Nobody has told the other control plane of its end, and its clock is ahead.
    let before = claimed_elsewhere(&world, "edge", record::now() + 3_600_000).await;
    let mut edge = world.follow("edge", Kept::default()).await;
    edge.until(1).await;
    edge.acknowledge(1).await;
    // What is still written there of the stream that was, and its end, take nothing from this one.
    for is_over in [false, true] {
        let late = store.remember_gateway(&before, &[], is_over).await;
        late.expect("written");
    }
    let rows = store.gateways().await.expect("read");
    assert!(![0, 7].contains(&rows[0].holder), "{rows:?}");
    // Killed once more, and back before anybody has noticed.
    let mut back = world.follow("edge", edge.kept.clone()).await;
    world.token("x").await;
    back.until(2).await;
    assert_eq!(back.snapshots, 0);
    // With its folder lost it is another one, for whom the name is free as soon as the stream has ended.
    drop((edge, back));
    let since = Instant::now();
    let fresh = Kept {
        instance: Some("a new folder".into()),
        ..Kept::default()
    };
    loop {
        let mut edge = world.follow("edge", fresh.clone()).await;
        match edge.step().await {
            Ok(_) => break,
            Err(end) => assert_eq!(end.code(), tonic::Code::AlreadyExists),
        }
        assert!(since.elapsed() < Duration::from_secs(5), "still refused");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let rows = store.gateways().await.expect("read");
    assert_eq!((rows.len(), &*rows[0].instance), (1, "a new folder"));
}

#[tokio::test]
async fn after_a_restart_a_gateway_has_its_name_back_at_once_and_nobody_else_has_it() {
    let world = World::new().await;
    let mut edge = world.follow("edge", Kept::default()).await;
    edge.until(1).await;
    let World {
        control, folder, ..
    } = world;
    control.close().await;
    let world = World::within(Config::default(), folder).await;
    let other = Kept {
        instance: Some("another folder".into()),
        ..Kept::default()
    };
    // It comes first, and the one that the name is of is serving on.
    let end = world.follow("edge", other).await.step().await;
    assert_eq!(end.expect_err("refused").code(), tonic::Code::AlreadyExists);
    let mut back = world.follow("edge", edge.kept.clone()).await;
    world.token("x").await;
    back.until(2).await;
    assert_eq!(back.snapshots, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_hangs_up_leaves_no_hole_and_no_unpublished_commit() {
    let world = World::new().await;
    let mut follower = world.follow("a", Kept::default()).await;
    follower.until(1).await;
    for patience in 0..120 {
        // From before the first row to after the commit, wherever that falls on this machine.
        let wait = Duration::from_micros(patience * 60);
        let _ = tokio::time::timeout(wait, world.token("x")).await;
        // Whoever has the writer now is behind that call's work, if it began; its commit may still be under way.
        let store = &world.control.inner.store;
        drop(store.begin("test").await.expect("begun"));
        let since = Instant::now();
        loop {
            let published = world.control.feed_state().head;
            let committed = store.head().await.expect("read");
            assert!(published <= committed, "{wait:?}");
            if published == committed {
                break;
            }
            assert!(since.elapsed() < Duration::from_secs(5), "{wait:?}");
            tokio::task::yield_now().await;
        }
    }
    let last = world.token("last").await["revision"]
        .as_u64()
        .expect("a number");
    assert_eq!(world.control.inner.store.head().await.expect("read"), last);
    follower.until(last).await;
    assert_eq!(follower.kept.state, world.state().await);
    assert_eq!(follower.deltas as u64, last - 1);
    world.control.verify_audit().await.expect("intact");
}

#[tokio::test]
async fn a_closed_control_plane_says_so() {
    let world = World::new().await;
    world.control.clone().close().await;
    assert_eq!(world.call("GET", "/tokens", Value::Null).await.0, 503);
    assert_eq!(
        world.call("POST", "/tokens/1/revoke", Value::Null).await.0,
        503
    );
}

#[tokio::test]
async fn a_proof_is_given_also_where_the_store_cannot_say_what_was_accepted_last() {
    let world = World::new().await;
    let folder = world.folder.path();
    stores::alter(folder, "ALTER TABLE token_uses RENAME TO lost").await;
    let body = json!({"state": "suspended", "reason": "unpaid"});
    let path = "/accounts/1?wait=enforced";
    let (status, answer) = world.call("PATCH", path, body).await;
    assert_eq!((status, &answer["state"]), (200, &json!("suspended")));
    let enforcement = answer["enforcement"].as_object().expect("a proof");
    assert!(!enforcement.contains_key("last_accepted_at"), "{answer}");
    stores::alter(folder, "ALTER TABLE lost RENAME TO token_uses").await;
    let body = json!({"state": "active"});
    world.ok("PATCH", "/accounts/1", body).await;
    let body = json!({"state": "suspended", "reason": "unpaid"});
    let answer = world.ok("PATCH", path, body).await;
    let enforcement = answer["enforcement"].as_object().expect("a proof");
    assert_eq!(enforcement["last_accepted_at"], Value::Null);
}
