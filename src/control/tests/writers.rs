//! Sixteen writers at once, on one control plane or on several: every change in exactly one delta, in the order in which
//! it was made, and no revision left out. `WHARFINGER_DOSE` is how many changes they make. Changes that arrive together
//! commit together; with `WHARFINGER_ALONE=1` each has a commit of its own, so that as many revisions are made.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use prost::Message as _;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::{
    stores,
    world::{Follower, Kept, World},
};
use crate::{
    control::{
        Config,
        store::{self, NewToken, random},
    },
    model::{Change, Signal, TokenState},
    rpc::feed::{FromControl, from_control},
};

const WRITERS: u64 = 16;

/// A token's change, and the revision that its writer was told.
type Told = (u64, TokenState, u64);

/// What the writers are given to do.
pub(super) struct Dose {
    changes: u64,
    /// Each in a commit of its own.
    is_alone: bool,
}

impl Dose {
    /// What the environment asks for.
    pub(super) fn asked() -> Self {
        let dose = std::env::var("WHARFINGER_DOSE").ok();
        Self {
            changes: dose.map_or(480, |dose| dose.parse().expect("a number")),
            is_alone: std::env::var("WHARFINGER_ALONE").is_ok_and(|alone| alone == "1"),
        }
    }

    /// Of a control plane that keeps every delta of it.
    pub(super) fn config(&self) -> Config {
        Config {
            keep_changes: self.changes * 2,
            ..Config::default()
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_writers_leave_no_gap() {
    let dose = Dose::asked();
    let world = World::with(dose.config()).await;
    write_and_check(&[world], &dose).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_writers_who_commit_alone_leave_no_gap() {
    let dose = Dose {
        changes: 160,
        is_alone: true,
    };
    let world = World::with(dose.config()).await;
    write_and_check(&[world], &dose).await;
}

/// On every one of these control planes, which have one store.
pub(super) async fn write_and_check(worlds: &[World], dose: &Dose) {
    if dose.is_alone {
        for world in worlds {
            world.control.inner.store.stay_open(Duration::ZERO).await;
        }
    }
    let target = Arc::new(AtomicU64::new(u64::MAX));
    let mut followers = Vec::new();
    for world in worlds {
        let follower = world.follow("follower", Kept::default()).await;
        followers.push(read_on(follower, target.clone()));
    }
    let start = Instant::now();
    let writers = (0..WRITERS).map(|writer| {
        let world = &worlds[writer as usize % worlds.len()];
        write(world, dose.changes / WRITERS)
    });
    let told = futures_util::future::join_all(writers).await;
    let took = start.elapsed();
    let head = worlds[0].control.inner.store.head().await.expect("read");
    target.store(head, Ordering::Release);
    for writer in &told {
        assert!(writer.is_sorted_by_key(|(_, _, revision)| revision));
    }
    let mut told = told.concat();
    let seen = published(&worlds[0], head).await;
    let made: Vec<_> = seen
        .iter()
        .filter(|(_, state, _)| *state == TokenState::Live)
        .map(|(id, ..)| *id)
        .collect();
    assert!(made.is_sorted_by(|one, next| one < next), "in order");
    let count = told.len();
    // The first revision is the first start's.
    if dose.is_alone {
        assert_eq!(head, count as u64 + 1, "a revision for each change");
    }
    let mut seen = seen;
    // Three tokens are the first start's.
    seen.retain(|(id, ..)| *id > 3);
    let by_token = |one: &Told| (one.0, one.1 == TokenState::Revoked, one.2);
    told.sort_by_key(by_token);
    seen.sort_by_key(by_token);
    assert_eq!(told, seen, "every change is in the delta that was told");
    let expected = hash(&worlds[0].state().await);
    for follower in followers {
        let follower = follower.await.expect("no panic");
        assert_eq!(follower.kept.revision, head);
        assert_eq!(hash(&follower.kept.state), expected);
        assert_eq!(follower.snapshots, 1, "the first one only");
    }
    for world in worlds {
        world.control.verify_audit().await.expect("intact");
    }
    println!(
        "{count} changes by {WRITERS} writers on {} control planes: {:.0} changes/s in {head} revisions ({:.1} a commit), \
         hash {}",
        worlds.len(),
        count as f64 / took.as_secs_f64(),
        count as f64 / (head - 1) as f64,
        &expected.to_hex()[..16],
    );
}

/// Tokens made and revoked, with some works that fail or are dropped between them.
async fn write(world: &World, changes: u64) -> Vec<Told> {
    let store = &world.control.inner.store;
    let mut told: Vec<Told> = Vec::new();
    while (told.len() as u64) < changes {
        let [dice, ..] = random::<8>();
        let mut commit = store.begin("writer").await.expect("begun");
        let live = told
            .last()
            .filter(|(_, state, _)| *state == TokenState::Live);
        match (dice % 16, live.copied()) {
            (0, _) => {
                let refused = commit.reveal_token(u64::from(u32::MAX)).await;
                assert!(refused.is_err());
            }
            (1, _) => drop(commit.insert_token(new()).await.expect("written")),
            (2..5, Some((id, ..))) => {
                // As the route does: of those that nobody names, a thousand within a minute are held.
                commit.names_token();
                commit.revoke_token(id).await.expect("written");
                let revision = commit.finish().await.expect("committed").revision;
                told.push((id, TokenState::Revoked, revision));
            }
            _ => {
                let (row, _) = commit.insert_token(new()).await.expect("written");
                let revision = commit.finish().await.expect("committed").revision;
                told.push((row.token.id.0, TokenState::Live, revision));
            }
        }
    }
    told
}

fn new() -> NewToken {
    NewToken {
        account: 1,
        signal: Signal::Logs,
        name: "x".into(),
        expires_at: 0,
    }
}

/// Reads until it has come to the target.
fn read_on(mut follower: Follower, target: Arc<AtomicU64>) -> JoinHandle<Follower> {
    tokio::spawn(async move {
        while follower.kept.revision < target.load(Ordering::Acquire) {
            follower.step().await.expect("goes on");
        }
        follower
    })
}

/// Every token's change in the deltas 1 to `head`, none of which may be missing.
async fn published(world: &World, head: u64) -> Vec<Told> {
    let store = &world.control.inner.store;
    let mut seen = Vec::new();
    let mut revision = 0;
    while revision < head {
        let kept = store.kept_since(revision, head).await.expect("read");
        let store::Kept::Deltas(deltas) = kept else {
            panic!("a gap after {revision}");
        };
        for delta in deltas {
            revision += 1;
            let message = FromControl::decode(delta).expect("a message").message;
            let Some(from_control::Message::Delta(delta)) = message else {
                panic!("no delta at {revision}");
            };
            assert_eq!(delta.revision, revision);
            assert!(!delta.changes.is_empty());
            for change in delta.changes {
                let change = change.into_model().expect("valid").expect("known");
                if let Change::Token(token) = change {
                    seen.push((token.id.0, token.state, revision));
                }
            }
        }
    }
    seen
}

fn hash(state: &BTreeMap<String, Change>) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for (name, change) in state {
        hasher.update(format!("{name} {change:?}\n").as_bytes());
    }
    hasher.finalize()
}

/// Two control planes on one store.
pub(super) async fn pair(config: Config) -> (World, World) {
    let folder = TempDir::new().expect("a folder");
    let config = Config {
        store: stores::url(folder.path()).await,
        ..config
    };
    let one = World::within(config.clone(), folder).await;
    let folder = TempDir::new().expect("a folder");
    // Tokens are sealed under it, and digests keyed by what it seals.
    let key = one.folder.path().join("master.key");
    std::fs::copy(key, folder.path().join("master.key")).expect("copied");
    let other = World::within(config, folder).await;
    (one, other)
}
