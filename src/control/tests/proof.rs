//! The proof of enforcement, and commits whose caller has gone.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::{Kept, World};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_hangs_up_leaves_no_hole_and_no_unpublished_commit() {
    let world = World::new().await;
    let mut follower = world.follow("a", Kept::default()).await;
    follower.until(1).await;
    for patience in 0..120 {
        // From before the first row to after the commit, wherever that falls on this machine.
        let wait = Duration::from_micros(patience * 60);
        let _ = tokio::time::timeout(wait, world.token("x")).await;
        // Having the writer means that the commit before has ended.
        let store = &world.control.inner.store;
        drop(store.begin("test").await.expect("begun"));
        let committed = store.head().await.expect("read");
        assert_eq!(world.control.feed_state().head, committed, "{wait:?}");
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
