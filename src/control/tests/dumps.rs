//! A store on PostgreSQL that is dumped and restored with the server's own tools, as docs/store.md says.

use std::{ffi::OsStr, process::Command};

use serde_json::Value;
use tempfile::TempDir;

use super::{
    stores,
    world::{Kept, World},
};
use crate::control::{
    Config,
    store::{Place, run_sql},
};

/// The same server and parameters, and another database.
fn in_database(url: &str, database: &str) -> String {
    let (path, query) = url.split_at(url.find('?').unwrap_or(url.len()));
    let (server, _) = path.rsplit_once('/').expect("a database");
    format!("{server}/{database}{query}")
}

fn run(program: &str, arguments: &[&OsStr]) {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {said}");
}

/// Closes the control plane; its data folder, and what its store was called.
async fn closed(world: World) -> (TempDir, String) {
    let World {
        control, folder, ..
    } = world;
    let id = control.inner.store.id().to_owned();
    control.close().await;
    (folder, id)
}

#[tokio::test]
async fn a_dump_that_is_restored_is_another_store_and_gateways_take_a_snapshot_of_it() {
    let Some(server) = stores::server() else {
        return;
    };
    let folder = TempDir::new().expect("a folder");
    let config = stores::config(folder.path()).await;
    let (_, schema) = config.store.rsplit_once('=').expect("a schema");
    let database = format!("{schema}_restored");
    let dump = folder.path().join("wharfinger.dump");
    let world = World::within(config.clone(), folder).await;
    world.token("dumped").await;
    let arguments = ["--format=custom", "--schema", schema, "--file"].map(OsStr::new);
    let place = [dump.as_os_str(), server.as_ref()];
    run("pg_dump", &[&arguments[..], &place].concat());
    let mut follower = world.follow("a", Kept::default()).await;
    for _ in 0..3 {
        world.token("forgotten").await;
    }
    follower.until(5).await;
    let kept = follower.kept.clone();
    drop(follower);
    let (folder, dumped) = closed(world).await;

    let place = Place::new(&server, None, folder.path()).expect("a server");
    let create = format!("CREATE DATABASE {database}");
    run_sql(&place, create).await.expect("a database");
    let into = format!("--dbname={}", in_database(&server, &database));
    let arguments = ["--exit-on-error", into.as_str()].map(OsStr::new);
    run(
        "pg_restore",
        &[&arguments[..], &[dump.as_os_str()]].concat(),
    );
    let config = Config {
        store: in_database(&config.store, &database),
        ..config
    };
    let world = World::within(config.clone(), folder).await;
    assert_eq!(world.control.feed_state().head, 2);
    // In the other history, 3 was something else.
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
    drop(follower);
    world.control.verify_audit().await.expect("intact");

    let (folder, restored) = closed(world).await;
    assert_ne!(restored, dumped);
    let world = World::within(config, folder).await;
    let (_folder, again) = closed(world).await;
    assert_eq!(again, restored, "it is at home there");
    let drop = format!("DROP DATABASE {database} WITH (FORCE)");
    run_sql(&place, drop).await.expect("dropped");
}
