//! The audit log's head on the feed: what a gateway was told must be there when it comes back.

use serde_json::Value;

use super::{
    stores,
    world::{Follower, Kept, World},
};
use crate::{control::record::AuditHead, rpc::feed};

/// Reads until the gateway is told of that record.
async fn told(follower: &mut Follower, seq: u64) {
    while follower
        .kept
        .audit
        .as_ref()
        .is_none_or(|head| head.seq != seq)
    {
        follower.step().await.expect("the stream goes on");
    }
}

async fn records(world: &World) -> u64 {
    world.control.verify_audit().await.expect("intact")
}

async fn verify(world: &World, query: &str) -> Value {
    world
        .ok("GET", &format!("/audit/verify{query}"), Value::Null)
        .await
}

async fn disputes(world: &World) -> Vec<Value> {
    let list = world
        .ok("GET", "/audit?action=audit.disputed", Value::Null)
        .await;
    list["items"].as_array().expect("items").clone()
}

/// Cuts the records from `seq` on, and sets the count back with them.
async fn cut(world: &World, seq: u64) {
    let folder = world.folder.path();
    stores::alter(folder, &format!("DELETE FROM audit WHERE seq >= {seq}")).await;
    let before = seq - 1;
    let count = format!("UPDATE counters SET value = {before} WHERE name = 'audit'");
    stores::alter(folder, &count).await;
}

#[tokio::test]
async fn a_tail_that_was_cut_with_its_count_shows_when_a_gateway_comes_back_that_was_told_of_it() {
    let world = World::new().await;
    let mut follower = world.follow("a", Kept::default()).await;
    world.token("one").await;
    world.token("two").await;
    let seq = records(&world).await;
    told(&mut follower, seq).await;
    let kept = follower.kept.clone();
    drop(follower);
    let head = kept.audit.as_ref().expect("told");
    let whole = verify(&world, "").await;
    let hash = blake3::Hash::from_slice(&head.hash)
        .expect("32 bytes")
        .to_string();
    assert_eq!(
        (&whole["is_intact"], &whole["head"]),
        (&true.into(), &hash.clone().into())
    );

    cut(&world, seq).await;
    assert_eq!(
        verify(&world, "").await["is_intact"],
        true,
        "nothing in the store shows it"
    );
    let mut follower = world.follow("a", kept.clone()).await;
    // In the place of the one that was cut stands the record that tells of it.
    while follower.kept.audit == kept.audit {
        follower.step().await.expect("the stream goes on");
    }
    told(&mut follower, seq).await;
    drop(follower);
    let said = disputes(&world).await;
    assert_eq!(said.len(), 1);
    assert_eq!(said[0]["subject"], format!("audit/{seq}"));
    assert_eq!(said[0]["old"]["hash"], hash);
    assert_eq!(
        (&said[0]["new"]["hash"], &said[0]["new"]["kept_by"]),
        (&Value::Null, &"a".into())
    );
    let found = verify(&world, "").await;
    assert_eq!(found["is_intact"], false);
    assert_eq!(found["broken_at"], Value::Null);
    let disputed = found["disputed"][0].as_str().expect("text").to_owned();
    assert!(disputed.starts_with(&format!("{seq}:")), "{disputed}");
    let accepted = verify(&world, &format!("?accept={disputed}")).await;
    assert_eq!(accepted["is_intact"], true);
    // Only while the log has that record: a later cut takes it along.
    let other = format!("{seq}:{}", "0".repeat(64));
    let accepted = verify(&world, &format!("?accept={other}")).await;
    assert_eq!(accepted["is_intact"], false);

    // Said again by another gateway that was told the same, it is not written again.
    let mut other = world.follow("b", kept.clone()).await;
    while other.kept.audit == kept.audit {
        other.step().await.expect("the stream goes on");
    }
    assert_eq!(disputes(&world).await.len(), 1);
}

#[tokio::test]
async fn a_tail_that_is_cut_under_a_stream_shows_as_soon_as_others_are_written_in_its_place() {
    let world = World::new().await;
    let mut follower = world.follow("a", Kept::default()).await;
    world.token("one").await;
    let seq = records(&world).await;
    told(&mut follower, seq).await;
    cut(&world, seq).await;
    world.token("two").await;
    // The new one stands in its place, or the record that tells of it, whichever came first.
    told(&mut follower, seq + 1).await;
    let said = disputes(&world).await;
    assert_eq!(said.len(), 1);
    assert_eq!(said[0]["subject"], format!("audit/{seq}"));
}

#[tokio::test]
async fn a_gateway_that_makes_up_what_it_has_kept_leaves_a_bounded_number_of_records() {
    let world = World::new().await;
    let store = &world.control.inner.store;
    for seq in 1..=30 {
        let made_up = AuditHead { seq, hash: [9; 32] };
        match store.still_has(&made_up, "a").await {
            Ok(is_there) => assert!(!is_there && seq <= 10, "{seq}"),
            Err(error) => assert!(seq > 10, "{seq}: {error}"),
        }
    }
    assert_eq!(disputes(&world).await.len(), 10);
    let first = AuditHead {
        seq: 1,
        hash: [9; 32],
    };
    assert!(
        !store
            .still_has(&first, "b")
            .await
            .expect("on record already")
    );
}

#[tokio::test]
async fn what_a_gateway_was_told_by_another_store_and_what_is_no_head_is_not_looked_for() {
    let world = World::new().await;
    let seq = records(&world).await;
    for (store, seq, bytes) in [
        ("another", 1, 32),
        (world.control.inner.store.id(), 1, 31),
        (world.control.inner.store.id(), 0, 32),
    ] {
        let kept = Kept {
            audit: Some(feed::AuditHead {
                store: store.to_owned(),
                seq,
                hash: vec![7; bytes],
            }),
            ..Kept::default()
        };
        let mut follower = world.follow("a", kept).await;
        told(&mut follower, records(&world).await).await;
    }
    assert_eq!(records(&world).await, seq);
}
