//! Stores whose history is not the one that the table followed.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_restored_from_a_backup_is_followed_through_a_snapshot() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut world = World::start(folder.path());
    let mut connection = world.accept().await;
    snapshot_of_three(&mut connection).await;
    drop(connection);
    let connection = world.accept().await;
    // The store is at 3 and would go on to a 4 that is not ours: nothing is waited for.
    connection.welcome("a", 3).await;
    connection.closed().await;
    assert_eq!(world.directory.revision(), Revision(5));
    let mut connection = world.accept().await;
    assert_eq!(
        (connection.hello.revision, connection.hello.store.as_str()),
        (0, "")
    );
    connection.welcome("a", 4).await;
    connection.begin(4, 1).await;
    connection.chunk(&[account(1), revoked(1)]).await;
    connection.end(4, 1).await;
    connection.acknowledged(4).await;
    assert_eq!(world.directory.revision(), Revision(4));
    assert_eq!(state_of(&world.directory, 1), Some(TokenState::Revoked));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_between_what_is_kept_and_what_is_enforced_is_asked_for_everything() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut world = World::start(folder.path());
    let mut connection = world.accept().await;
    snapshot_of_three(&mut connection).await;
    world.broken.store(true, Ordering::Release);
    connection.delta(6, &[revoked(1)]).await;
    connection.delta(7, &[revoked(2)]).await;
    world
        .until("at 7", |directory| directory.revision() == Revision(7))
        .await;
    drop(connection);
    let connection = world.accept().await;
    assert_eq!(connection.hello.revision, 5, "6 and 7 were not kept");
    connection.welcome("a", 6).await;
    connection.heartbeat(6).await;
    connection.closed().await;
    world.broken.store(false, Ordering::Release);
    let mut connection = world.accept().await;
    assert_eq!(connection.hello.revision, 0);
    connection.welcome("a", 6).await;
    connection.begin(6, 1).await;
    connection.chunk(&[account(1), revoked(3)]).await;
    connection.end(6, 1).await;
    connection.acknowledged(6).await;
    assert_eq!(world.directory.revision(), Revision(6));
    assert!(world.directory.is_fresh());
    world.stop().await;
}
