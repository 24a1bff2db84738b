//! What stands against the end of a token that a rotation replaces, and against that of the last one.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::{
    people::id,
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

#[tokio::test]
async fn a_rotated_token_in_use_is_not_made_to_end_within_minutes_unless_forced() {
    let world = World::new().await;
    let mut follower = world.follow("a", Kept::default()).await;
    let old = id(&world.token("x").await);
    let path = format!("/tokens/{old}");
    let rotate = format!("{path}/rotate");
    let successor = id(&world.ok("POST", &rotate, Value::Null).await);
    ship(&mut follower, 1, old).await;
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
