//! The audit log's head on the feed: what a gateway was told must be there when it comes back.

use std::time::Duration;

use serde_json::Value;

use super::{
    stores,
    world::{Follower, Kept, World},
};
use crate::{
    control::{
        record::AuditHead,
        store::{Keeper, Sought},
    },
    rpc::feed,
};

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
        .ok(
            "GET",
            "/audit?action=audit.disputed&limit=1000",
            Value::Null,
        )
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

fn made_up(seq: u64) -> AuditHead {
    AuditHead { seq, hash: [9; 32] }
}

fn keeper(name: &str) -> Keeper<'_> {
    Keeper {
        name,
        instance: name,
    }
}

#[tokio::test]
async fn a_gateway_that_makes_up_what_it_has_kept_takes_a_bounded_number_of_places_and_only_its_own()
 {
    let world = World::new().await;
    let store = &world.control.inner.store;
    let seek =
        async |seq: u64, by: Keeper<'_>| store.seek(&made_up(seq), by).await.expect("looked for");
    for seq in 1..=30 {
        let renamed = format!("a{seq}");
        let by = Keeper {
            name: &renamed,
            instance: "a",
        };
        let expected = match seq {
            1..=10 => Sought::Disputed,
            _ => Sought::NoRoom,
        };
        assert_eq!(seek(seq, by).await, expected, "{seq}");
    }
    assert_eq!(disputes(&world).await.len(), 10);
    assert_eq!(
        seek(1, keeper("b")).await,
        Sought::Disputed,
        "on record already"
    );
    assert_eq!(disputes(&world).await.len(), 10);
    assert_eq!(
        seek(40, keeper("b")).await,
        Sought::Disputed,
        "a place of its own"
    );
    assert_eq!(disputes(&world).await.len(), 11);
    for seq in 100..200 {
        let name = format!("c{seq}");
        let expected = match seq {
            100..189 => Sought::Disputed,
            _ => Sought::NoRoom,
        };
        assert_eq!(seek(seq, keeper(&name)).await, expected, "{seq}");
    }
    store.an_hour_passes().await;
    assert_eq!(
        seek(11, keeper("a")).await,
        Sought::Disputed,
        "written down later"
    );
    assert_eq!(disputes(&world).await.len(), 101);
}

#[tokio::test]
async fn a_dispute_that_could_not_be_written_takes_no_place() {
    let world = World::new().await;
    let store = &world.control.inner.store;
    let folder = world.folder.path();
    let count = async |change: &str| {
        let count = format!("UPDATE counters SET value = value {change} WHERE name = 'audit'");
        stores::alter(folder, &count).await;
    };
    // The next record's number is taken.
    count("- 1").await;
    for seq in 1..=12 {
        let failed = store.seek(&made_up(seq), keeper("a")).await;
        assert!(failed.is_err(), "{seq}: {failed:?}");
    }
    count("+ 1").await;
    let sought = store.seek(&made_up(1), keeper("a")).await;
    assert_eq!(sought.expect("written"), Sought::Disputed);
    assert_eq!(disputes(&world).await.len(), 1);
}

#[tokio::test]
async fn a_dispute_without_room_is_told_by_the_gateway_again_and_written_once_there_is_room() {
    let world = World::new().await;
    let store = &world.control.inner.store;
    let mut follower = world.follow("a", Kept::default()).await;
    world.token("one").await;
    let seq = records(&world).await;
    told(&mut follower, seq).await;
    for seq in 1..=10 {
        let sought = store.seek(&made_up(seq), keeper("a")).await;
        assert_eq!(sought.expect("written"), Sought::Disputed);
    }
    told(&mut follower, records(&world).await).await;
    let kept = follower.kept.audit.clone().expect("told");
    cut(&world, kept.seq).await;
    world.token("two").await;
    for _ in 0..5 {
        follower.step().await.expect("the stream goes on");
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let is_on_record = async || {
        let subject = format!("audit/{}", kept.seq);
        disputes(&world)
            .await
            .iter()
            .any(|it| it["subject"] == subject)
    };
    assert!(!is_on_record().await);
    assert_eq!(
        follower.kept.audit.as_ref(),
        Some(&kept),
        "told nothing newer"
    );
    store.an_hour_passes().await;
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while !is_on_record().await {
        assert!(std::time::Instant::now() < until, "never written");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Starts the world's control plane again on a store that takes itself for a copy.
async fn renamed(world: World) -> World {
    let folder = world.folder.path();
    stores::alter(folder, "UPDATE meta SET value = '' WHERE name = 'home'").await;
    let World {
        control, folder, ..
    } = world;
    control.close().await;
    World::within(crate::control::Config::default(), folder).await
}

#[tokio::test]
async fn a_store_that_gets_another_name_says_so_and_must_have_what_it_had_under_those_before() {
    let world = World::new().await;
    let mut follower = world.follow("a", Kept::default()).await;
    world.token("one").await;
    let seq = records(&world).await;
    told(&mut follower, seq).await;
    let shared = follower.kept.clone();
    world.token("two").await;
    told(&mut follower, seq + 1).await;
    let cut_away = follower.kept.clone();
    drop(follower);
    let before = world.control.inner.store.id().to_owned();
    cut(&world, seq + 1).await;

    let world = renamed(world).await;
    let after = world.control.inner.store.id().to_owned();
    assert_ne!(after, before);
    let list = world
        .ok("GET", "/audit?action=store.renamed", Value::Null)
        .await;
    let record = &list["items"][0];
    assert_eq!(record["seq"], seq + 1);
    assert_eq!(record["subject"], format!("store/{after}"));
    let head = shared.audit.as_ref().expect("told");
    let hash = blake3::Hash::from_slice(&head.hash).expect("32 bytes");
    assert_eq!(record["old"]["store"], before);
    assert_eq!(record["old"]["seq"], seq);
    assert_eq!(record["old"]["hash"], hash.to_string());
    // What the original may have gone on with is no dispute, nor what both have.
    for kept in [cut_away, shared.clone()] {
        let mut follower = world.follow("a", kept).await;
        told(&mut follower, seq + 1).await;
    }
    assert_eq!(disputes(&world).await.len(), 0);
    assert_eq!(verify(&world, "").await["is_intact"], true);

    // Twice renamed, and written anew before the first time.
    let world = renamed(world).await;
    let mut kept = shared;
    if let Some(head) = &mut kept.audit {
        head.hash = vec![7; 32];
    }
    let mut follower = world.follow("a", kept).await;
    told(&mut follower, seq + 3).await;
    let said = disputes(&world).await;
    assert_eq!(said.len(), 1);
    assert_eq!(said[0]["subject"], format!("audit/{seq}"));
    assert_eq!(verify(&world, "").await["is_intact"], false);
}

#[tokio::test]
async fn the_last_few_names_of_a_store_are_kept() {
    let mut world = World::new().await;
    let first = world.control.inner.store.id().to_owned();
    let mut second = String::new();
    for times in 1..=9 {
        world = renamed(world).await;
        if times == 1 {
            second = world.control.inner.store.id().to_owned();
        }
    }
    let store = &world.control.inner.store;
    assert_eq!(store.last_record_as(&first), None);
    assert!(store.last_record_as(&second).is_some());
    world.control.verify_audit().await.expect("intact");
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
