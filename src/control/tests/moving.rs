//! A store that is backed up, put back, copied: whoever followed it must not take two histories for one.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    stores,
    world::{Kept, World, text},
};
use crate::control::{
    Config, Control, Error,
    lock::Lock,
    upkeep::{self, Named},
};

/// On SQLite wherever the tests run.
fn on_sqlite(file: &Path) -> Config {
    Config {
        store: format!("sqlite://{}", file.display()),
        ..Config::default()
    }
}

/// Where a copy goes: to the server that the tests run on, else to another file.
async fn elsewhere(folder: &Path) -> Config {
    if stores::is_shared() {
        stores::config(&folder.join("elsewhere")).await
    } else {
        on_sqlite(&folder.join("elsewhere.sqlite"))
    }
}

fn named(config: &Config) -> Named<'_> {
    Named {
        url: &config.store,
        password_file: None,
    }
}

async fn closed(world: World) -> TempDir {
    let World {
        control, folder, ..
    } = world;
    control.close().await;
    folder
}

async fn copied(folder: &Path, from: &Config, to: &Config) -> Result<Vec<(String, u64)>, Error> {
    upkeep::copy(folder, named(from), named(to)).await
}

#[tokio::test]
async fn a_backup_that_is_put_back_is_another_history_even_once_it_is_ahead() {
    let folder = TempDir::new().expect("a folder");
    let config = on_sqlite(&folder.path().join("store.sqlite"));
    let backup = folder.path().join("backup");
    let world = World::within(config.clone(), folder).await;
    let mut follower = world.follow("a", Kept::default()).await;
    follower.until(1).await;
    let data = world.folder.path().to_owned();
    upkeep::backup(&config, &data, &backup)
        .await
        .expect("taken");
    let mode = fs::metadata(&backup).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for _ in 0..3 {
        world.token("forgotten").await;
    }
    follower.until(4).await;
    let kept = follower.kept.clone();
    drop(follower);
    let running = upkeep::restore(&config, &data, &backup).await;
    assert!(matches!(running, Err(Error::Locked(_))));
    let folder = closed(world).await;
    upkeep::restore(&config, &data, &backup)
        .await
        .expect("back");

    let world = World::within(config, folder).await;
    assert_eq!(world.control.feed_state().head, 1);
    // In the other history, 2 was something else.
    world.ok("POST", "/tokens/1/revoke", Value::Null).await;
    for _ in 0..5 {
        world.token("new").await;
    }
    let mut follower = world.follow("a", kept).await;
    let state = world.state().await;
    while follower.kept.state != state {
        follower.step().await.expect("goes on");
    }
    assert_eq!((follower.snapshots, follower.deltas), (1, 0));
    world.control.verify_audit().await.expect("intact");
}

#[tokio::test]
async fn a_backup_is_refused_where_it_cannot_be_one() {
    let folder = TempDir::new().expect("a folder");
    let config = on_sqlite(&folder.path().join("store.sqlite"));
    let backup = folder.path().join("backup");
    let none = upkeep::backup(&config, folder.path(), &backup).await;
    assert!(matches!(none, Err(Error::NotFound(_))), "{none:?}");
    assert!(!backup.exists());
    let world = World::within(config.clone(), folder).await;
    fs::write(&backup, "mine").expect("written");
    let taken = upkeep::backup(&config, world.folder.path(), &backup).await;
    assert!(matches!(taken, Err(Error::File { .. })), "{taken:?}");
    assert_eq!(text(&backup), "mine", "left alone");
    let folder = closed(world).await;
    let broken = upkeep::restore(&config, folder.path(), &backup).await;
    assert!(broken.is_err());
    let on_server = Config {
        store: "postgres://w@127.0.0.1:9/w".to_owned(),
        ..Config::default()
    };
    let refused = upkeep::backup(&on_server, folder.path(), &folder.path().join("new")).await;
    assert!(
        refused
            .expect_err("refused")
            .to_string()
            .contains("pg_dump")
    );
    World::within(config, folder).await;
}

#[tokio::test]
async fn a_backup_under_another_master_key_is_not_put_back() {
    let folder = TempDir::new().expect("a folder");
    let config = on_sqlite(&folder.path().join("store.sqlite"));
    let backup = folder.path().join("backup");
    let world = World::within(config.clone(), folder).await;
    let data = world.folder.path();
    upkeep::backup(&config, data, &backup).await.expect("taken");
    let folder = closed(world).await;
    let key = folder.path().join("master.key");
    let right = text(&key);
    fs::write(&key, "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=").expect("written");
    let refused = upkeep::restore(&config, folder.path(), &backup).await;
    assert!(matches!(refused, Err(Error::WrongMasterKey)), "{refused:?}");
    fs::write(&key, right).expect("written");
    let world = World::within(config, folder).await;
    assert_eq!(world.control.feed_state().head, 1, "the store is untouched");
}

#[tokio::test]
async fn a_store_whose_file_was_copied_has_another_name() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("store.sqlite");
    let config = on_sqlite(&file);
    let world = World::within(config.clone(), folder).await;
    let id = world.control.inner.store.id().to_owned();
    let folder = closed(world).await;
    let other = folder.path().join("other.sqlite");
    fs::copy(&file, &other).expect("copied");
    for (config, is_same) in [(on_sqlite(&other), false), (config, true)] {
        let control = Control::open(&config, folder.path()).await.expect("opens");
        assert_eq!(control.inner.store.id() == id, is_same);
        control.close().await;
    }
}

#[tokio::test]
async fn gateways_follow_a_copy_without_a_snapshot_and_the_original_has_lost_its_name() {
    let folder = TempDir::new().expect("a folder");
    let from = on_sqlite(&folder.path().join("store.sqlite"));
    let to = elsewhere(folder.path()).await;
    let world = World::within(from.clone(), folder).await;
    let mut follower = world.follow("a", Kept::default()).await;
    for _ in 0..300 {
        world.token("x").await;
    }
    world.ok("POST", "/tokens/2/rotate", json!({})).await;
    world.ok("POST", "/tokens/3/revoke", Value::Null).await;
    follower.until(250).await;
    let kept = follower.kept.clone();
    drop(follower);
    let (state, audit) = (world.state().await, world.control.verify_audit().await);
    let running = copied(world.folder.path(), &from, &to).await;
    assert!(matches!(running, Err(Error::Locked(_))));
    let folder = closed(world).await;
    let counts = copied(folder.path(), &from, &to).await.expect("copied");
    let tokens = counts.iter().find(|(name, _)| name == "shipping_tokens");
    assert_eq!(tokens.map(|(_, count)| *count), Some(304));

    let world = World::within(to.clone(), folder).await;
    assert_eq!(world.state().await, state);
    assert_eq!(world.control.verify_audit().await.ok(), audit.ok());
    let mut follower = world.follow("a", kept).await;
    world.token("after").await;
    follower.until(304).await;
    assert_eq!((follower.snapshots, follower.deltas), (0, 54));
    assert_eq!(follower.kept.state, world.state().await);
    let id = world.control.inner.store.id().to_owned();
    let folder = closed(world).await;
    let again = copied(folder.path(), &from, &to).await;
    assert!(matches!(again, Err(Error::Conflict(_))), "{again:?}");
    // Back, from whatever it went to.
    let back = on_sqlite(&folder.path().join("back.sqlite"));
    copied(folder.path(), &to, &back).await.expect("copied");
    let world = World::within(back, folder).await;
    assert_eq!(world.control.inner.store.id(), id);
    let folder = closed(world).await;
    let world = World::within(from, folder).await;
    assert_ne!(world.control.inner.store.id(), id);
}

#[tokio::test]
async fn rates_stand_in_the_store_again_after_a_restart_and_in_a_copy() {
    let folder = TempDir::new().expect("a folder");
    let from = on_sqlite(&folder.path().join("store.sqlite"));
    let to = elsewhere(folder.path()).await;
    let world = World::within(from.clone(), folder).await;
    let token = json!({"account": "main", "signal": "logs", "name": "slow",
        "rates": {"bytes_per_second": 5_000, "items_burst": 3}});
    let token = world.ok("POST", "/tokens", token).await["id"].clone();
    let limits = json!({"limits": {"requests_per_second": 7, "draw_on_main": true}});
    world.ok("PATCH", "/accounts/1", limits).await;
    let sub = json!({"name": "sub", "parent": "main"});
    world.ok("POST", "/accounts", sub).await;
    let (state, places) = (
        world.state().await,
        [from.clone(), from.clone(), to.clone()],
    );
    let mut folder = closed(world).await;
    for (at, place) in places.into_iter().enumerate() {
        if at == 2 {
            let done = copied(folder.path(), &from, &to).await;
            done.expect("copied");
        }
        let world = World::within(place, folder).await;
        assert_eq!(world.state().await, state, "opened for the {at}th time");
        let shown = world
            .ok("GET", &format!("/tokens/{token}"), Value::Null)
            .await;
        let rates = json!({"bytes_per_second": 5_000, "items_burst": 3});
        assert_eq!(shown["rates"], rates);
        let shown = world.ok("GET", "/accounts/2", Value::Null).await;
        assert_eq!(shown["limits"]["requests_per_second"], 7);
        assert_eq!(shown["limits"]["draw_on_main"], true);
        let mut follower = world.follow("a", Kept::default()).await;
        follower.until(world.control.feed_state().head).await;
        assert_eq!(follower.kept.state, state);
        drop(follower);
        folder = closed(world).await;
    }
}

#[tokio::test]
async fn half_a_copy_is_served_by_nobody() {
    let folder = TempDir::new().expect("a folder");
    let from = on_sqlite(&folder.path().join("store.sqlite"));
    let world = World::within(from.clone(), folder).await;
    let folder = closed(world).await;
    let to = on_sqlite(&folder.path().join("control/store.sqlite"));
    copied(folder.path(), &from, &to).await.expect("copied");
    let mark = crate::control::store::Place::new(&to.store, None, folder.path()).expect("a place");
    let sql = "INSERT INTO meta (name, value) VALUES ('copying', x'')".to_owned();
    let marked = crate::control::store::run_sql(&mark, sql).await;
    marked.expect("marked");
    let served = Control::open(&to, folder.path()).await.err();
    assert!(matches!(served, Some(Error::HalfCopied(_))), "{served:?}");
    let again = copied(folder.path(), &from, &to).await;
    assert!(matches!(again, Err(Error::HalfCopied(_))), "{again:?}");
}

#[tokio::test]
async fn a_store_in_a_file_has_one_process_whatever_the_data_folders_and_by_whichever_path() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("control/store.sqlite");
    let config = on_sqlite(&file);
    let world = World::within(config.clone(), folder).await;
    let data = world.folder.path();
    let other = TempDir::new().expect("a folder");
    fs::copy(data.join("master.key"), other.path().join("master.key")).expect("copied");
    let link = other.path().join("link.sqlite");
    std::os::unix::fs::symlink(&file, &link).expect("linked");
    // One that is there, and not in use.
    let free = other.path().join("free.sqlite");
    fs::write(&free, "").expect("written");
    let free = on_sqlite(&free);
    for by in [config.clone(), on_sqlite(&link)] {
        let second = Control::open(&by, other.path()).await.err();
        assert!(matches!(second, Some(Error::StoreLocked(_))), "{second:?}");
        let said = second.expect("refused").to_string();
        assert!(said.contains("control/store.sqlite.lock"), "{said}");
        let from = copied(other.path(), &by, &free).await;
        assert!(matches!(from, Err(Error::StoreLocked(_))), "{from:?}");
        let to = copied(other.path(), &free, &by).await;
        assert!(matches!(to, Err(Error::StoreLocked(_))), "{to:?}");
        let restored = upkeep::restore(&by, other.path(), &other.path().join("none")).await;
        assert!(
            matches!(restored, Err(Error::StoreLocked(_))),
            "{restored:?}"
        );
    }
    let over = upkeep::backup(&config, data, &file).await;
    assert!(matches!(over, Err(Error::StoreLocked(_))), "{over:?}");
    // What only reads goes on, from everywhere.
    let backup = other.path().join("backup");
    let taken = upkeep::backup(&config, other.path(), &backup).await;
    taken.expect("taken");
    let folder = closed(world).await;
    let second = Control::open(&config, other.path()).await.expect("free");
    second.close().await;
    let place = config.place(folder.path()).expect("a place");
    Lock::take(folder.path(), &[&place, &place]).expect("not in its own way");
}

#[tokio::test]
async fn a_link_may_be_there_before_its_store_and_is_still_one_after_a_restore() {
    let folder = TempDir::new().expect("a folder");
    let other = TempDir::new().expect("a folder");
    let link = folder.path().join("link.sqlite");
    std::os::unix::fs::symlink("far/real.sqlite", &link).expect("linked");
    let real = folder.path().join("far/real.sqlite");
    let config = on_sqlite(&link);
    let world = World::within(config.clone(), folder).await;
    fs::copy(
        world.folder.path().join("master.key"),
        other.path().join("master.key"),
    )
    .expect("copied");
    let second = Control::open(&on_sqlite(&real), other.path()).await.err();
    assert!(matches!(second, Some(Error::StoreLocked(_))), "{second:?}");
    world.token("kept").await;
    let backup = other.path().join("backup");
    let taken = upkeep::backup(&config, world.folder.path(), &backup).await;
    taken.expect("taken");
    world.token("lost").await;
    let folder = closed(world).await;
    assert!(!folder.path().join("link.sqlite.lock").exists());
    let restored = upkeep::restore(&config, folder.path(), &backup).await;
    restored.expect("restored");
    let target = fs::read_link(&link).expect("a link");
    assert_eq!(target, Path::new("far/real.sqlite"));
    // The three of the first start, and what was kept.
    let control = Control::open(&on_sqlite(&real), folder.path())
        .await
        .expect("opens");
    let count = control.inner.store.token_count().await.expect("read");
    assert_eq!(count, 4);
    control.close().await;
}

#[tokio::test]
async fn a_copy_of_what_is_not_there_makes_nothing() {
    let folder = TempDir::new().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let to = on_sqlite(&at("to/store.sqlite"));
    let wrong = on_sqlite(&at("no/such.sqlite"));
    let copied = copied(&at("data"), &wrong, &to).await;
    assert!(matches!(copied, Err(Error::NotFound(_))), "{copied:?}");
    let made = fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(made, 0);
}
