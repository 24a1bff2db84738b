//! What only a store in a file can show; not for the run on PostgreSQL.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use tempfile::TempDir;

use super::world::{Kept, World};
use crate::control::{Config, Control, Error};

async fn opening(folder: &Path) -> Result<Control, Error> {
    Control::open(&Config::default(), folder).await
}

#[tokio::test]
async fn a_store_that_is_none_or_cannot_be_written_is_told_from_one_that_failed() {
    let folder = TempDir::new().expect("a folder");
    opening(folder.path()).await.expect("opens").close().await;
    let path = folder.path().join("control/store.sqlite");
    let good = fs::read(&path).expect("read");
    // The format's own word for a file that may only be read, which holds for root, too.
    let mut read_only = good.clone();
    read_only[18] = 3;
    for (bytes, word) in [
        (&b"this is no database ".repeat(99), "not a database"),
        (&read_only, "readonly"),
    ] {
        fs::write(&path, bytes).expect("written");
        let error = opening(folder.path()).await.err().expect("refused");
        assert!(error.is_unusable_store(), "{error}");
        let said = format!("{:#}", anyhow::Error::from(error));
        assert_eq!(said.matches(word).count(), 1, "{said}");
    }
    fs::write(&path, good).expect("written");
    opening(folder.path()).await.expect("opens again");
}

#[tokio::test]
async fn nobody_else_may_read_a_file_of_the_store() {
    let folder = TempDir::new().expect("a folder");
    let store = folder.path().join("control");
    for _ in 0..2 {
        let control = opening(folder.path()).await.expect("opens");
        control.first_start().await.expect("starts");
        let mut files = 0;
        for file in fs::read_dir(&store).expect("read") {
            let path = file.expect("a file").path();
            let mode = fs::metadata(&path).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", path.display());
            files += 1;
        }
        assert!(files >= 2, "store and log");
        control.close().await;
        // As a version before this one made it.
        let readable = fs::Permissions::from_mode(0o644);
        fs::set_permissions(store.join("store.sqlite"), readable).expect("set");
    }
}

#[tokio::test]
async fn a_restored_store_that_has_grown_past_a_gateway_is_not_taken_for_its_past() {
    let world = World::new().await;
    world.token("before").await;
    let World {
        control, folder, ..
    } = world;
    control.close().await;
    let kept_aside = tempfile::tempdir().expect("a folder");
    let database = folder.path().join("control/store.sqlite");
    let aside = kept_aside.path().join("store.sqlite");
    std::fs::copy(&database, &aside).expect("copied");
    let world = World::within(Config::default(), folder).await;
    let mut follower = world.follow("a", Kept::default()).await;
    world.token("lost").await;
    world.token("lost as well").await;
    follower.until(4).await;
    let kept = follower.kept.clone();
    drop(follower);
    let World {
        control, folder, ..
    } = world;
    control.close().await;
    std::fs::copy(&aside, &database).expect("restored");
    let world = World::within(Config::default(), folder).await;
    for name in ["other", "than", "before"] {
        world.token(name).await;
    }
    let mut follower = world.follow("a", kept).await;
    follower.until(5).await;
    assert_eq!((follower.snapshots, follower.deltas), (1, 0));
    assert_eq!(follower.kept.state, world.state().await);
}
