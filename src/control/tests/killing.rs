//! A control plane killed in the middle of its work: what it answered is there, and the next start goes on.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use serde_json::json;
use tempfile::TempDir;

use super::{
    stores,
    world::{Kept, World},
};
use crate::{
    control::{Config, Control, store::NewToken},
    model::Signal,
};

const FOLDER: &str = "WHARFINGER_TEST_FOLDER";
const ANSWER: &str = "answered ";

/// Not a test by itself: the process that is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs inside what_was_answered_survives_a_kill"]
async fn the_victim() {
    let Ok(path) = std::env::var(FOLDER) else {
        return;
    };
    let folder = Path::new(&path);
    let control = Control::open(&stores::config(folder).await, folder).await;
    let control = control.expect("opens");
    control.first_start().await.expect("starts");
    loop {
        let mut commit = control.inner.store.begin("victim").await.expect("begun");
        let new = NewToken {
            account: 1,
            signal: Signal::Logs,
            name: "x".into(),
            expires_at: 0,
        };
        commit.insert_token(new).await.expect("written");
        let published = commit.finish().await.expect("committed");
        println!("{ANSWER}{}", published.revision);
    }
}

#[tokio::test]
async fn what_was_answered_survives_a_kill() {
    let folder = TempDir::new().expect("a folder");
    let mut answered = 0;
    for round in 1..=4 {
        let mut victim = Command::new(std::env::current_exe().expect("this one"))
            .args([
                "--ignored",
                "--exact",
                "--nocapture",
                "control::tests::killing::the_victim",
            ])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("spawned");
        let lines = BufReader::new(victim.stdout.take().expect("piped")).lines();
        let revisions = lines
            .map_while(Result::ok)
            .filter_map(|line| line.split_once(ANSWER)?.1.parse::<u64>().ok());
        answered = revisions
            .take(round * 7)
            .last()
            .expect("it answers")
            .max(answered);
        victim.kill().expect("killed");
        victim.wait().expect("gone");
    }
    assert!(
        answered >= 7 * 4,
        "every round goes on where the last one was cut"
    );

    let world = World::within(Config::default(), folder).await;
    let head = world.control.feed_state().head;
    assert!(
        head >= answered,
        "{answered} was answered, and {head} is there"
    );
    world.control.verify_audit().await.expect("intact");
    let made = world
        .ok(
            "POST",
            "/tokens",
            json!({"account": "main", "signal": "logs", "name": "after"}),
        )
        .await;
    assert_eq!(made["revision"], head + 1);
    let mut follower = world.follow("a", Kept::default()).await;
    follower.until(head + 1).await;
    assert_eq!(follower.kept.state, world.state().await);
    // One token per revision, but for the first three.
    assert_eq!(world.live_tokens().await.len() as u64, 3 + head);
}
