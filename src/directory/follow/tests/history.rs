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
    // The welcome is enough to be left for; the heartbeat must not make the table fresh.
    connection.heartbeat_if_heard(6).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revision_of_another_history_is_never_acknowledged_as_ones_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut world = World::start(folder.path());
    let mut connection = world.accept().await;
    snapshot_of_three(&mut connection).await;
    world.broken.store(true, Ordering::Release);
    connection.delta(6, &[token(1, TokenState::Disabled)]).await;
    connection.delta(7, &[token(9, TokenState::Live)]).await;
    world
        .until("at 7", |directory| directory.revision() == Revision(7))
        .await;
    drop(connection);
    // The store went back to 5 and has grown to 8 since: 5 is common, 6 and 7 are not, and 7 revokes.
    let connection = world.accept().await;
    assert_eq!(
        (connection.hello.revision, connection.hello.history),
        (5, history(5))
    );
    connection.welcome("a", 8).await;
    world.broken.store(false, Ordering::Release);
    connection
        .delta_of(66, 6, &[token(2, TokenState::Live)])
        .await;
    connection.delta_of(77, 7, &[revoked(1)]).await;
    connection
        .delta_of(88, 8, &[token(3, TokenState::Live)])
        .await;
    connection.closed_unacknowledged().await;
    assert_eq!(world.directory.revision(), Revision(7), "8 is not ours");
    let mut connection = world.accept().await;
    assert_eq!(connection.hello.revision, 0, "everything is asked for");
    connection.welcome("a", 8).await;
    connection.begin(8, 1).await;
    connection.chunk(&[account(1), revoked(1)]).await;
    connection.end(8, 1).await;
    connection.acknowledged(8).await;
    assert_eq!(state_of(&world.directory, 1), Some(TokenState::Revoked));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_says_its_history_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut world = World::start(folder.path());
    let mut connection = world.accept().await;
    snapshot_of_three(&mut connection).await;
    connection.delta_of(66, 6, &[revoked(1)]).await;
    connection.acknowledged(6).await;
    world.stop().await;
    let mut again = World::start(folder.path());
    let connection = again.accept().await;
    assert_eq!(
        (connection.hello.revision, connection.hello.history),
        (6, 66)
    );
    // Of a snapshot alone, too.
    let mut connection = {
        drop(connection);
        again.accept().await
    };
    connection.welcome("b", 9).await;
    connection.begin(9, 1).await;
    connection.chunk(&[account(1), revoked(1)]).await;
    connection.end(9, 1).await;
    connection.acknowledged(9).await;
    again.stop().await;
    let mut again = World::start(folder.path());
    let connection = again.accept().await;
    assert_eq!(
        (connection.hello.revision, connection.hello.history),
        (9, history(9))
    );
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_store_that_would_take_most_tokens_away_is_held_until_it_is_accepted() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut world = World::start(folder.path());
    let mut connection = world.accept().await;
    connection.welcome("a", 1).await;
    connection.begin(1, 1_500).await;
    connection.chunk(&[account(1)]).await;
    let tokens: Vec<_> = (1..=1_500).map(live).collect();
    connection.chunk(&tokens).await;
    connection.end(1, 1_500).await;
    connection.acknowledged(1).await;
    drop(connection);
    // An empty store under the same address, twice: the table stays, and what it doesn't know is not said to be unknown.
    for _ in 0..2 {
        let connection = world.accept().await;
        connection.welcome("b", 1).await;
        connection.begin(1, 1).await;
        connection.chunk(&[account(1), live(2_000)]).await;
        connection.end(1, 1).await;
        connection.closed_unacknowledged().await;
        assert_eq!(state_of(&world.directory, 7), Some(TokenState::Live));
    }
    world.stop().await;
    let accepting = Config {
        accept_store: "b".into(),
        ..Config::default()
    };
    let mut world = World::start_with(folder.path(), accepting, None);
    let mut connection = world.accept().await;
    connection.welcome("b", 1).await;
    connection.begin(1, 1).await;
    connection.chunk(&[account(1), live(2_000)]).await;
    connection.end(1, 1).await;
    connection.acknowledged(1).await;
    assert_eq!(state_of(&world.directory, 7), None);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_store_replaces_the_table_only_when_its_snapshot_is_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut world = World::start(folder.path());
    let mut connection = world.accept().await;
    snapshot_of_three(&mut connection).await;
    drop(connection);
    let connection = world.accept().await;
    connection.welcome("b", 2).await;
    connection.heartbeat(2).await;
    connection.begin(2, 2).await;
    connection.chunk(&[account(1), live(8)]).await;
    connection.end(2, 2).await;
    // One row is missing.
    connection.closed().await;
    assert_eq!(state_of(&world.directory, 1), Some(TokenState::Live));
    let mut connection = world.accept().await;
    connection.welcome("b", 2).await;
    connection.begin(2, 1).await;
    connection.chunk(&[account(1), live(8)]).await;
    connection.end(2, 1).await;
    connection.acknowledged(2).await;
    assert_eq!(state_of(&world.directory, 1), None);
    assert_eq!(state_of(&world.directory, 8), Some(TokenState::Live));
    world.stop().await;
}
