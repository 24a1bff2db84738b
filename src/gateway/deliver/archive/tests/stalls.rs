//! A disk that takes its time: a slow one is waited for, a stalled one is not.

use super::*;

const STALLED: &str = "archive's disk has stalled";
const LATE: &str = "archive did not take it in time";

fn stalling(world: &World, millis: u64) {
    world
        .disk()
        .faults
        .sync_millis
        .store(millis, Ordering::SeqCst);
}

async fn after(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

#[tokio::test]
async fn a_slow_disk_refuses_nobody() {
    let world = World::new(Config::default());
    stalling(&world, 300);
    let stores = (0..40).map(|number| {
        let line = format!("{{\"a\":{number}}}\n");
        let world = &world;
        async move {
            after(number * 25).await;
            world.store(1, &line).await.unwrap();
        }
    });
    futures_util::future::join_all(stores).await;
    assert_eq!(world.files(1, Signal::Logs)[0].1.lines().count(), 40);
}

#[tokio::test]
async fn while_a_sync_is_overdue_what_is_new_is_refused_at_once() {
    let world = World::new(Config::default());
    stalling(&world, 2_000);
    let ((), ()) = tokio::join!(
        async {
            world.store(1, "{\"patient\":1}\n").await.unwrap();
        },
        async {
            after(1_300).await;
            let start = Instant::now();
            assert!(is_unavailable(world.store(2, "{}\n").await, STALLED));
            assert!(start.elapsed() < Duration::from_millis(100));
        }
    );
    stalling(&world, 0);
    world.store(1, "{\"after\":1}\n").await.unwrap();
    let files = world.files(1, Signal::Logs);
    assert_eq!(files[0].1, "{\"patient\":1}\n{\"after\":1}\n");
    assert!(world.files(2, Signal::Logs).is_empty());
}

#[tokio::test]
async fn what_waits_too_long_is_refused_and_then_no_longer_begun() {
    let world = World::new(Config {
        answer_timeout: Duration::from_millis(400),
        ..Config::default()
    });
    stalling(&world, 900);
    let start = Instant::now();
    let ((), ()) = tokio::join!(
        async {
            assert!(is_unavailable(
                world.store(1, "{\"begun\":1}\n").await,
                LATE
            ));
        },
        async {
            after(100).await;
            assert!(is_unavailable(
                world.store(1, "{\"waits\":1}\n").await,
                LATE
            ));
        }
    );
    let took = start.elapsed();
    assert!(took < Duration::from_millis(800), "{took:?}");
    stalling(&world, 0);
    after(700).await;
    world.store(1, "{\"after\":1}\n").await.unwrap();
    // The disk took the first after all: its sender was told nothing else than to send it again.
    let files = world.files(1, Signal::Logs);
    assert_eq!(files[0].1, "{\"begun\":1}\n{\"after\":1}\n");
}

#[tokio::test]
async fn a_file_of_one_body_alone_goes_away_when_its_sender_was_refused() {
    let world = World::new(Config {
        answer_timeout: Duration::from_millis(2_000),
        ..Config::default()
    });
    stalling(&world, 6_000);
    let line = format!("{{\"x\":\"{}\"}}\n", "y".repeat(990));
    let large = compressed(&line.repeat(6_000), Encoding::Zstd);
    let stored = world
        .archive
        .store(AccountId(1), TokenId(1), &large, held());
    assert!(is_unavailable(stored.await, LATE));
    world.archive.close();
    assert!(world.files(1, Signal::Logs).is_empty());
    assert_eq!(world.archive.usage().disk_bytes, 0);
}
