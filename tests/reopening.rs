//! A restart with a kept copy that is older than the store: the doors open when it has caught up, and not before.

mod world;

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::Method;
use serde_json::json;
use tokio::task::JoinSet;
use world::{Sender, World, bodies, process::free_port};

const KNOCKERS: usize = 4;

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to).expect("made");
    for file in std::fs::read_dir(from).expect("a folder") {
        let file = file.expect("a file");
        std::fs::copy(file.path(), to.join(file.file_name())).expect("copied");
    }
}

/// Knocks until told to stop, and gives every status that was answered.
async fn knock(bulk: SocketAddr, token: String, stop: Arc<AtomicBool>) -> Vec<u16> {
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", authorization.as_str())];
    let mut statuses = Vec::new();
    while !stop.load(Ordering::Acquire) {
        if let Ok(mut open) = Sender::new(bulk).connect().await
            && let Ok(answer) = open.post("/", &headers, bodies::lines(1)).await
        {
            statuses.push(answer.status);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    statuses
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_revoked_since_the_kept_copy_opens_nothing_after_the_restart() {
    let world = World::start().await;
    let (id, token) = world.token("main", "logs").await;
    let live = world.bulk().ship("/", &token, &[], bodies::lines(1)).await;
    assert_eq!(live.status, 200, "{live:?}");
    let data = world.stop().await;
    let kept = data.path().join("gateway/directory");
    let older = tempfile::tempdir().expect("a folder");
    copy(&kept, older.path());

    let world = World::start_in(data, |_| {}).await;
    world
        .must(
            Method::POST,
            &format!("/tokens/{id}/revoke?wait=enforced"),
            json!({}),
        )
        .await;
    let mut data = world.stop().await;
    for _ in 0..5 {
        copy(older.path(), &kept);
        let bulk = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let stop = Arc::new(AtomicBool::new(false));
        let mut knockers = JoinSet::new();
        for _ in 0..KNOCKERS {
            knockers.spawn(knock(bulk, token.clone(), Arc::clone(&stop)));
        }
        let world = World::start_in(data, |config| config.listen.bulk = Some(bulk)).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        stop.store(true, Ordering::Release);
        let statuses: Vec<u16> = knockers.join_all().await.into_iter().flatten().collect();
        assert!(statuses.contains(&401), "{statuses:?}");
        assert!(!statuses.contains(&200), "{statuses:?}");
        data = world.stop().await;
    }
}
