//! A token that is deleted is revoked first: with the same proof, the same guards, and a tombstone at every gateway.

use axum::http::header;
use serde_json::{Value, json};

use super::{
    etags::with,
    people::People,
    usage,
    world::{Follower, Kept, World},
};
use crate::model::{Change, TokenState};

fn state_of(follower: &Follower, token: u64) -> TokenState {
    match &follower.kept.state[&format!("token/{token}")] {
        Change::Token(token) => token.state,
        other => panic!("{other:?}"),
    }
}

async fn actions(world: &World, token: u64) -> Vec<Value> {
    let path = format!("/audit?subject=token/{token}");
    let list = world.ok("GET", &path, Value::Null).await;
    let items = list["items"].as_array().expect("items");
    items.iter().map(|item| item["action"].clone()).collect()
}

#[tokio::test]
async fn a_live_token_is_deleted_with_the_receipt_of_its_revocation_and_leaves_a_tombstone() {
    let world = World::new().await;
    let id = world.token("web").await["id"].as_u64().expect("an id");
    let mut gateway = world.follow("a", Kept::default()).await;
    gateway.until(2).await;
    let path = format!("/tokens/{id}?wait=enforced&timeout_ms=5000");
    let call = world.call("DELETE", &path, Value::Null);
    let enforcing = async {
        gateway.until(3).await;
        gateway.acknowledge(3).await;
    };
    let ((status, answer), ()) = tokio::join!(call, enforcing);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        (&answer["id"], &answer["revision"]),
        (&json!(id), &json!(3))
    );
    let proof = &answer["enforcement"];
    assert_eq!(
        (&proof["enforced"], &proof["gateways"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(proof.get("last_accepted_at"), Some(&Value::Null));
    assert_eq!(state_of(&gateway, id), TokenState::Revoked);
    // One who comes later hears of it, too.
    let mut late = world.follow("late", Kept::default()).await;
    late.until(3).await;
    assert_eq!(state_of(&late, id), TokenState::Revoked);
    assert_eq!(gateway.kept.state, world.state().await);

    let path = format!("/tokens/{id}");
    for method in ["GET", "DELETE"] {
        assert_eq!(world.call(method, &path, Value::Null).await.0, 404);
    }
    let list = world.ok("GET", "/tokens?name=web", Value::Null).await;
    assert_eq!(list["items"], json!([]));
    assert_eq!(
        actions(&world, id).await,
        ["token.create", "token.revoke", "token.delete"]
    );
    // Who was not there in time is named.
    let other = world.token("other").await["id"].clone();
    let path = format!("/tokens/{other}?wait=enforced&timeout_ms=50");
    let (status, answer) = world.call("DELETE", &path, Value::Null).await;
    assert_eq!(
        (status, &answer["enforcement"]["laggards"]),
        (202, &json!(["a", "late"]))
    );
    world.control.verify_audit().await.expect("intact");
}

#[tokio::test]
async fn the_last_enabled_token_of_a_signal_is_deleted_only_by_force_and_a_revoked_one_freely() {
    let world = World::new().await;
    let head = world.control.feed_state().head;
    // The first start's, one for each signal.
    let (status, refusal) = world.call("DELETE", "/tokens/2", Value::Null).await;
    assert_eq!(status, 409);
    assert!(
        refusal["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains("?force=true")),
        "{refusal}"
    );
    let stale = (header::IF_MATCH, "\"999\"");
    let answer = with(
        &world,
        "DELETE",
        "/tokens/2?force=true",
        stale,
        &Value::Null,
    )
    .await;
    assert_eq!(answer.status, 412);
    assert_eq!(world.control.feed_state().head, head, "nothing was changed");
    world.ok("GET", "/tokens/2", Value::Null).await;
    let (status, _) = world
        .call("DELETE", "/tokens/2?force=perhaps", Value::Null)
        .await;
    assert_eq!(status, 400);
    world
        .ok("DELETE", "/tokens/2?force=true", Value::Null)
        .await;
    world
        .ok("POST", "/tokens/3/disable?force=true", Value::Null)
        .await;
    // Disabled, it is nobody's last one.
    world.ok("DELETE", "/tokens/3", Value::Null).await;
    world.ok("POST", "/tokens/1/revoke", Value::Null).await;
    world.ok("DELETE", "/tokens/1", Value::Null).await;
    assert_eq!(
        actions(&world, 1).await,
        ["token.create", "token.revoke", "token.delete"]
    );
}

#[tokio::test]
async fn a_rotated_token_in_use_is_deleted_only_by_force_and_never_by_compatible_routes() {
    let people = People::new().await;
    let world = &people.world;
    let account = people.account("acme", "pro").await;
    let old = people.shipping_token(account, "web").await;
    let path = format!("/tokens/{old}");
    let rotated = people
        .operate("POST", &format!("{path}/rotate"), Value::Null)
        .await;
    let mut gateway = world.follow("a", Kept::default()).await;
    usage::tell(
        &mut gateway,
        usage::report(7, 1, vec![usage::token(old, 1)]),
    )
    .await;
    let (status, refusal) = world.call("DELETE", &path, Value::Null).await;
    assert_eq!(status, 409, "{refusal}");
    let why = format!("token {}, which replaces it", rotated["id"]);
    assert!(
        refusal["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains(&why)),
        "{refusal}"
    );
    let (_, hand) = people.api_token(Some(account), &["tokens"]).await;
    let uri = format!("/v1/log-shipping/tokens/{old}");
    for (method, body) in [("DELETE", Value::Null), ("PUT", json!({"enabled": false}))] {
        let (status, answer) = people.send(&hand, method, &uri, &body).await;
        assert_eq!(status, 409, "{method}: {answer}");
    }
    people
        .operate("DELETE", &format!("{path}?force=true"), Value::Null)
        .await;
    assert_eq!(people.send(&hand, "GET", &uri, &Value::Null).await.0, 404);
}
