//! What stands against the end of a token that a rotation replaces, and against that of the last one.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::{
    people::{People, id},
    usage,
    world::{Follower, Kept, World},
};

/// An expiry so many seconds from now.
fn expiring(seconds: u64) -> Value {
    let at = SystemTime::now() + Duration::from_secs(seconds);
    json!({"expires_at": humantime::format_rfc3339_seconds(at).to_string()})
}

async fn status(world: &World, method: &str, path: &str, body: Value) -> u16 {
    world.call(method, path, body).await.0
}

/// Somebody ships with the token now.
async fn ship(follower: &mut Follower, sequence: u64, token: u64) {
    let tokens = vec![usage::token(token, 1)];
    usage::tell(follower, usage::report(1, sequence, tokens)).await;
}

/// A token that was rotated, and that somebody ships with.
struct InUse {
    world: World,
    old: u64,
    path: String,
    successor: u64,
}

impl InUse {
    async fn new() -> Self {
        let world = World::new().await;
        let mut follower = world.follow("a", Kept::default()).await;
        let old = id(&world.token("x").await);
        let path = format!("/tokens/{old}");
        let rotate = format!("{path}/rotate");
        let successor = id(&world.ok("POST", &rotate, Value::Null).await);
        ship(&mut follower, 1, old).await;
        Self {
            world,
            old,
            path,
            successor,
        }
    }
}

#[tokio::test]
async fn a_rotated_token_in_use_is_not_made_to_end_within_minutes_unless_forced() {
    let InUse {
        world,
        path,
        successor,
        ..
    } = InUse::new().await;
    let soon = status(&world, "PATCH", &path, expiring(60)).await;
    assert_eq!(soon, 409, "a minute is too soon");
    // An hour is time enough, and the window stays one.
    let shown = world.ok("PATCH", &path, expiring(3600)).await;
    assert_eq!(shown["replaced_by"], successor);
    for (method, path, body) in [
        ("POST", format!("{path}/disable"), Value::Null),
        ("POST", format!("{path}/revoke"), Value::Null),
        ("PATCH", path.clone(), expiring(60)),
    ] {
        let refused = status(&world, method, &path, body).await;
        assert_eq!(refused, 409, "{method} {path}");
    }
    let forced = format!("{path}?force=true");
    world.ok("PATCH", &forced, expiring(60)).await;
    // One that nobody uses may end at once.
    let quiet = id(&world.token("y").await);
    let path = format!("/tokens/{quiet}");
    let rotate = format!("{path}/rotate");
    world.ok("POST", &rotate, Value::Null).await;
    world.ok("PATCH", &path, expiring(60)).await;
}

#[tokio::test]
async fn a_rotation_leaves_whoever_ships_ten_minutes_to_take_the_new_token() {
    let world = World::new().await;
    let mut follower = world.follow("a", Kept::default()).await;
    let used = id(&world.token("x").await);
    ship(&mut follower, 1, used).await;
    let rotate = format!("/tokens/{used}/rotate");
    let head = world.control.feed_state().head;
    for seconds in [0, 599] {
        let overlap = json!({"overlap_seconds": seconds});
        let (status, refusal) = world.call("POST", &rotate, overlap).await;
        assert_eq!(status, 409, "{refusal}");
        let detail = refusal["detail"].as_str().expect("text");
        for words in ["\"shipper/1\" from 192.0.2.7", "overlap_seconds of 600"] {
            assert!(detail.contains(words), "{detail}");
        }
    }
    assert_eq!(world.control.feed_state().head, head, "nothing was made");
    let overlap = json!({"overlap_seconds": 600});
    world.ok("POST", &rotate, overlap).await;
    let quiet = id(&world.token("y").await);
    let rotate = format!("/tokens/{quiet}/rotate");
    let overlap = json!({"overlap_seconds": 0});
    world.ok("POST", &rotate, overlap).await;
}

#[tokio::test]
async fn the_last_enabled_token_is_not_made_to_end_within_minutes_unless_forced() {
    let world = World::new().await;
    // The first start's for metrics.
    assert_eq!(
        status(&world, "PATCH", "/tokens/2", expiring(60)).await,
        409
    );
    world.ok("PATCH", "/tokens/2", expiring(3600)).await;
    assert_eq!(
        status(&world, "PATCH", "/tokens/2", expiring(60)).await,
        409
    );
    let forced = "/tokens/2?force=true";
    world.ok("PATCH", forced, expiring(60)).await;
    // Its end is near anyhow: a later one takes nothing away.
    world.ok("PATCH", "/tokens/2", expiring(120)).await;
}

#[tokio::test]
async fn a_rotated_token_is_the_last_one_when_its_successor_is_gone() {
    let world = World::new().await;
    for (old, end) in [(2, "revoke"), (3, "disable?force=true")] {
        let path = format!("/tokens/{old}");
        let rotated = world
            .ok("POST", &format!("{path}/rotate"), Value::Null)
            .await;
        let gone = format!("/tokens/{}/{end}", rotated["id"]);
        world.ok("POST", &gone, Value::Null).await;
        let disable = format!("{path}/disable");
        for (method, path, body) in [
            ("POST", &disable, Value::Null),
            ("DELETE", &path, Value::Null),
            ("PATCH", &path, expiring(60)),
        ] {
            let refused = status(&world, method, path, body).await;
            assert_eq!(refused, 409, "{method} {path}");
        }
        let forced = format!("{disable}?force=true");
        world.ok("POST", &forced, Value::Null).await;
    }
}

/// A month, the longest overlap.
fn month() -> Value {
    json!({"overlap_seconds": 30 * 86_400})
}

async fn live(people: &People) -> usize {
    let path = "/tokens?account=acme&signal=logs&state=live";
    let live = people.operate("GET", path, Value::Null).await;
    live["items"].as_array().expect("items").len()
}

#[tokio::test]
async fn rotations_in_a_chain_are_no_way_past_a_plan() {
    let people = People::new().await;
    let operator = people.operator();
    let account = people.account("acme", "community").await;
    let first = people.shipping_token(account, "x").await;
    let rotate = format!("/tokens/{first}/rotate");
    let second = id(&people.operate("POST", &rotate, month()).await);
    let rotate = format!("/tokens/{second}/rotate");
    let (status, refusal) = people.call(&operator, "POST", &rotate, &month()).await;
    assert_eq!(status, 409, "{refusal}");
    let detail = refusal["detail"].as_str().expect("text");
    assert!(
        detail.contains(&format!("end token {first} first")),
        "{detail}"
    );
    assert_eq!(live(&people).await, 2);
    // Put aside, rotated past, and back again.
    let disable = format!("/tokens/{first}/disable");
    people.operate("POST", &disable, Value::Null).await;
    let third = id(&people.operate("POST", &rotate, month()).await);
    let enable = format!("/tokens/{first}/enable");
    let (status, _) = people.call(&operator, "POST", &enable, &Value::Null).await;
    assert_eq!(status, 409);
    // Nor is a new one made beside the two that a successor's end has left.
    let revoke = format!("/tokens/{third}/revoke");
    people.operate("POST", &revoke, Value::Null).await;
    let new = json!({"account": account, "signal": "logs", "name": "y"});
    let (status, _) = people.call(&operator, "POST", "/tokens", &new).await;
    assert_eq!(status, 409);
    assert_eq!(live(&people).await, 1);
}

#[tokio::test]
async fn a_plan_with_room_lets_overlaps_stand_in_a_chain_and_counts_them() {
    let people = People::new().await;
    let operator = people.operator();
    let account = people.account("acme", "pro").await;
    let mut newest = people.shipping_token(account, "x").await;
    // Of 15: the first overlap is free, each one behind it counts.
    for _ in 0..15 {
        let rotate = format!("/tokens/{newest}/rotate");
        newest = id(&people.operate("POST", &rotate, month()).await);
    }
    let rotate = format!("/tokens/{newest}/rotate");
    let (status, _) = people.call(&operator, "POST", &rotate, &month()).await;
    assert_eq!(status, 409);
    let new = json!({"account": account, "signal": "logs", "name": "y"});
    let (status, _) = people.call(&operator, "POST", "/tokens", &new).await;
    assert_eq!(status, 409);
    assert_eq!(live(&people).await, 16);
}

const DAY: u64 = 86_400;

#[tokio::test]
async fn a_later_end_makes_an_overlap_longer_and_leaves_what_stands_against_its_end() {
    let InUse {
        world,
        old,
        path,
        successor,
    } = InUse::new().await;
    let rotate = format!("{path}/rotate");
    for days in [2, 29] {
        let shown = world.ok("PATCH", &path, expiring(days * DAY)).await;
        assert_eq!(shown["replaced_by"], successor, "{shown}");
        let disable = format!("{path}/disable");
        assert_eq!(status(&world, "POST", &disable, Value::Null).await, 409);
        assert_eq!(status(&world, "POST", &rotate, Value::Null).await, 409);
    }
    let log = "/audit?action=token.reopen";
    assert_eq!(
        world.ok("GET", log, Value::Null).await["items"],
        json!([]),
        "it is none"
    );
    // Longer than any overlap: a token of its own, and on record as one.
    let shown = world.ok("PATCH", &path, expiring(31 * DAY)).await;
    assert_eq!(shown.get("replaced_by"), None, "{shown}");
    let log = world.ok("GET", log, Value::Null).await;
    assert_eq!(log["items"][0]["subject"], format!("token/{old}"), "{log}");
    world.ok("POST", &rotate, Value::Null).await;
}

#[tokio::test]
async fn a_rotated_token_that_gets_no_end_counts_against_its_plan_again() {
    let people = People::new().await;
    let operator = people.operator();
    let account = people.account("acme", "community").await;
    let first = people.shipping_token(account, "x").await;
    let path = format!("/tokens/{first}");
    let rotate = format!("{path}/rotate");
    let second = id(&people.operate("POST", &rotate, Value::Null).await);
    // Another day for who has not taken the new one is none of the plan's tokens.
    let shown = people.operate("PATCH", &path, expiring(2 * DAY)).await;
    assert_eq!(shown["replaced_by"], second, "{shown}");
    for end in [json!({"expires_at": null}), expiring(31 * DAY)] {
        let (status, refusal) = people.call(&operator, "PATCH", &path, &end).await;
        assert_eq!(status, 409, "{refusal}");
        let detail = refusal["detail"].as_str().expect("text");
        assert!(detail.contains("allows 1 enabled token"), "{detail}");
        let shown = people.operate("GET", &path, Value::Null).await;
        assert_eq!(shown["replaced_by"], second, "nothing was changed");
    }
    // With its successor gone it is the account's one token, whatever end it gets.
    let revoke = format!("/tokens/{second}/revoke");
    people.operate("POST", &revoke, Value::Null).await;
    let shown = people.operate("PATCH", &path, expiring(3 * DAY)).await;
    assert_eq!(shown.get("replaced_by"), None, "{shown}");
    people.operate("POST", &rotate, Value::Null).await;
}

#[tokio::test]
async fn a_token_is_the_last_one_beside_others_that_end_within_minutes() {
    let world = World::new().await;
    // The first start's for metrics, and another one.
    let body = json!({"account": "main", "signal": "metrics", "name": "second"});
    let second = format!("/tokens/{}", id(&world.ok("POST", "/tokens", body).await));
    world.ok("PATCH", "/tokens/2", expiring(60)).await;
    let disable = format!("{second}/disable");
    for (method, path, body) in [
        ("POST", &disable, Value::Null),
        ("DELETE", &second, Value::Null),
        ("PATCH", &second, expiring(60)),
    ] {
        let (status, refusal) = world.call(method, path, body).await;
        assert_eq!(status, 409, "{method} {path}");
        let detail = refusal["detail"].as_str().expect("text");
        assert!(detail.contains("the last enabled one"), "{detail}");
    }
    // What ends in twenty minutes leaves time for another one.
    world.ok("PATCH", "/tokens/2", expiring(1200)).await;
    world.ok("POST", &disable, Value::Null).await;
}

#[tokio::test]
async fn a_rotated_token_is_the_last_one_when_its_successor_ends_within_minutes() {
    let world = World::new().await;
    let rotated = world.ok("POST", "/tokens/2/rotate", Value::Null).await;
    let successor = format!("/tokens/{}?force=true", id(&rotated));
    world.ok("PATCH", &successor, expiring(60)).await;
    let disable = "/tokens/2/disable";
    assert_eq!(status(&world, "POST", disable, Value::Null).await, 409);
    world
        .ok("PATCH", &successor, json!({"expires_at": null}))
        .await;
    world.ok("POST", disable, Value::Null).await;
}

fn from(network: &str) -> Value {
    json!({"sources": [network]})
}

#[tokio::test]
async fn whoever_ships_with_a_rotated_token_is_not_shut_out_by_its_sources_unless_forced() {
    let InUse { world, path, .. } = InUse::new().await;
    let (status, refusal) = world.call("PATCH", &path, from("198.51.100.0/24")).await;
    assert_eq!(status, 409, "{refusal}");
    let detail = refusal["detail"].as_str().expect("text");
    assert!(detail.contains("\"shipper/1\" from 192.0.2.7"), "{detail}");
    let shown = world.ok("GET", &path, Value::Null).await;
    assert_eq!(shown["sources"], json!([]), "nothing was changed");
    world.ok("PATCH", &path, from("192.0.2.0/24")).await;
    let forced = format!("{path}?force=true");
    world.ok("PATCH", &forced, from("198.51.100.0/24")).await;
    // Who is shut out already loses nothing more.
    world.ok("PATCH", &path, from("203.0.113.0/24")).await;
}

#[tokio::test]
async fn whoever_ships_with_the_last_enabled_token_is_not_shut_out_by_its_sources_unless_forced() {
    let world = World::new().await;
    let mut follower = world.follow("a", Kept::default()).await;
    // The first start's: for logs, metrics and traces. Of logs there is another one, and with traces nobody ships.
    world.token("x").await;
    for (sequence, token) in [(1, 1), (2, 2)] {
        ship(&mut follower, sequence, token).await;
    }
    let elsewhere = || from("198.51.100.0/24");
    for (token, expected) in [(1, 200), (2, 409), (3, 200)] {
        let path = format!("/tokens/{token}");
        let (status, answer) = world.call("PATCH", &path, elsewhere()).await;
        assert_eq!(status, expected, "{answer}");
    }
    world.ok("PATCH", "/tokens/2?force=true", elsewhere()).await;
}
