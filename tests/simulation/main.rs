//! Gateways and a control plane with real stores and real feeds, over pipes and TCP that are cut at any moment, and past somebody
//! who leaves out and repeats; both ends are stopped and killed meanwhile. After each hundred changes every gateway's table is the
//! store's, and in the end the API shows what was counted, to the item.
//!
//! `WHARFINGER_DOSE=100000 cargo test --release --test simulation -- --nocapture` is the deep dose: changes of the directory.
//! `WHARFINGER_SEED` picks another run.

mod gateway;
mod meddler;
mod operations;
mod plane;
mod ways;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use serde_json::json;
use tokio::time::{sleep, timeout};

use gateway::Gateway;
use meddler::{Done, Meddler};
use operations::Worker;
use plane::Plane;
use ways::Ways;

/// Of which usage is counted.
const TOKENS: u64 = 40;
const WORKERS: u64 = 4;
/// Changes between two disturbances.
const CHANGES: usize = 100;
const NAMES: [&str; 3] = ["piped", "wired", "meddled"];
/// For a busy machine; usually milliseconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// requests, items, bytes, delivered items, delivered bytes, refused requests
type Counts = [u64; 6];

/// Numbers that look random and come again with the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

/// Two accounts with half of the tokens each.
async fn stock(plane: &Plane) {
    let body = json!({"name": "other", "plan": "unlimited"});
    plane.call("POST", "/accounts", body).await;
    for id in 4..=TOKENS {
        let account = if id <= TOKENS / 2 { "main" } else { "other" };
        let signal = ["logs", "metrics", "traces"][id as usize % 3];
        let body = json!({"account": account, "signal": signal, "name": "t"});
        assert_eq!(plane.call("POST", "/tokens", body).await["id"], id);
    }
}

fn number_from(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// What has been done and compared.
#[derive(Default)]
struct Tally {
    cuts: usize,
    plane_restarts: usize,
    gateway_restarts: usize,
    gateway_kills: usize,
    hashes: usize,
    look_ups: usize,
}

/// A control plane, three gateways, and who changes the directory.
struct Scene {
    ways: Ways,
    plane: Plane,
    gateways: Vec<Gateway>,
    workers: Vec<Worker>,
    meddler: SocketAddr,
    meddled: Arc<Done>,
    folder: tempfile::TempDir,
    tally: Tally,
}

async fn work(workers: &mut [Worker], plane: &Plane) {
    let changes = CHANGES / WORKERS as usize;
    let all = workers.iter_mut().map(|worker| worker.work(plane, changes));
    futures_util::future::join_all(all).await;
}

// === impl Scene ===

impl Scene {
    async fn start(seed: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let ways = Ways::new();
        let plane = Plane::start(folder.path().join("control"), &ways).await;
        stock(&plane).await;
        let (meddler, meddled) = Meddler::start(ways.clone(), seed).await;
        let workers = (0..WORKERS).map(|number| Worker::new(number, seed));
        let mut scene = Self {
            ways,
            plane,
            gateways: Vec::new(),
            workers: workers.collect(),
            meddler,
            meddled,
            folder,
            tally: Tally::default(),
        };
        for name in NAMES {
            let folder = scene.folder.path().join(name);
            scene.start_gateway(name, folder).await;
        }
        scene
    }

    async fn start_gateway(&mut self, name: &str, folder: PathBuf) {
        let source = match name {
            "piped" => self.ways.over_pipes(),
            "wired" => self.ways.over_tcp(None).await,
            _ => self.ways.over_tcp(Some(self.meddler)).await,
        };
        let key = self.plane.control.join_key();
        self.gateways
            .push(Gateway::start(name, folder, source, key));
    }

    /// A hundred changes, and beside them something that makes somebody connect again.
    async fn disturb(mut self, round: usize, dice: &mut Dice) -> Self {
        let pause = sleep(Duration::from_micros(dice.below(30_000)));
        let opened = self.ways.opened();
        match round % 8 {
            3 => {
                self.plane = self.plane.restart(&self.ways).await;
                self.tally.plane_restarts += 1;
                work(&mut self.workers, &self.plane).await;
            }
            event @ (5 | 7) => {
                let at = dice.below(NAMES.len() as u64) as usize;
                let gateway = self.gateways.swap_remove(at);
                let name = gateway.name.clone();
                let into = self.folder.path().join(format!("kill-{round}"));
                let end = async {
                    pause.await;
                    match event {
                        5 => gateway.stop().await,
                        _ => gateway.kill(into).await,
                    }
                };
                let (_, folder) = tokio::join!(work(&mut self.workers, &self.plane), end);
                let count = match event {
                    5 => &mut self.tally.gateway_restarts,
                    _ => &mut self.tally.gateway_kills,
                };
                *count += 1;
                self.start_gateway(&name, folder).await;
            }
            _ => {
                let cut = async {
                    pause.await;
                    self.ways.cut();
                };
                tokio::join!(work(&mut self.workers, &self.plane), cut);
                self.tally.cuts += 1;
            }
        }
        let came_back = async {
            while self.ways.opened() == opened {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let came_back = timeout(PATIENCE, came_back).await;
        came_back.expect("somebody reconnects");
        self
    }

    /// Every gateway's table has the hash of the store's rows, and knows each token that was made, as it is.
    async fn compare(&mut self) {
        let (revision, hash) = self.plane.truth(&self.ways).await;
        for gateway in &self.gateways {
            let reached = async {
                while gateway.directory.revision().0 != revision {
                    sleep(Duration::from_millis(1)).await;
                }
            };
            let reached = timeout(PATIENCE, reached).await;
            let name = &gateway.name;
            reached.unwrap_or_else(|_| panic!("{name} stays behind revision {revision}"));
            assert_eq!(gateway.directory.hash(), hash, "{name} at {revision}");
            self.tally.hashes += 1;
            for worker in &self.workers {
                self.tally.look_ups += worker.check(&gateway.directory, name);
            }
        }
    }

    /// Everything shown, by token; each gateway has told all.
    async fn end(self) -> [BTreeMap<u64, Counts>; 3] {
        for gateway in self.gateways {
            let is_told = gateway.usage.finish(PATIENCE).await;
            assert!(is_told, "{} has not told all", gateway.name);
            gateway.stop().await;
        }
        let audit = self.plane.control.verify_audit().await;
        audit.expect("intact");
        let mut shown = [const { BTreeMap::new() }; 3];
        for (shown, step) in shown.iter_mut().zip(["minute", "hour", "day"]) {
            for account in [1, 2] {
                shown.extend(self.plane.shown(account, step).await);
            }
        }
        shown
    }

    fn print(&self, reconnects: usize) {
        let tally = &self.tally;
        let done: usize = self.workers.iter().map(|worker| worker.done).sum();
        let meddled = |count: &std::sync::atomic::AtomicUsize| count.load(Ordering::Relaxed);
        println!(
            "{done} changes, {reconnects} reconnects: {} cuts, {} restarts of the control plane, {} restarts and {} kills of gateways",
            tally.cuts, tally.plane_restarts, tally.gateway_restarts, tally.gateway_kills
        );
        println!(
            "{} deltas left out, {} sent again, {} reports of usage sent again, {} acknowledgements lost",
            meddled(&self.meddled.gaps),
            meddled(&self.meddled.duplicates),
            meddled(&self.meddled.reports),
            meddled(&self.meddled.lost),
        );
        println!(
            "{} tables had the store's hash, {} tokens looked up were as they should be",
            tally.hashes, tally.look_ups
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_are_the_stores_and_usage_is_what_was_counted_whatever_is_lost_repeated_or_killed() {
    let rounds = number_from("WHARFINGER_DOSE", 4_000) as usize / CHANGES;
    let seed = number_from("WHARFINGER_SEED", 20_261_127);
    println!("seed {seed}");
    let mut dice = Dice(seed);
    let mut scene = Scene::start(seed).await;
    let mut sent = BTreeMap::new();
    scene.compare().await;
    let first = scene.ways.opened();
    for round in 1..=rounds {
        for gateway in &scene.gateways {
            for _ in 0..dice.below(60) {
                gateway.count(&mut dice, &mut sent);
            }
        }
        scene = scene.disturb(round, &mut dice).await;
        scene.compare().await;
    }
    let reconnects = scene.ways.opened() - first;
    scene.print(reconnects);
    assert!(reconnects >= rounds && rounds > 0);
    for count in [&scene.meddled.gaps, &scene.meddled.duplicates] {
        assert!(count.load(Ordering::Relaxed) > 0, "nobody has meddled");
    }
    let items: u64 = sent.values().map(|counts| counts[1]).sum();
    for shown in scene.end().await {
        assert_eq!(shown, sent);
    }
    println!("{items} items counted and shown");
    assert!(items > 0);
}
