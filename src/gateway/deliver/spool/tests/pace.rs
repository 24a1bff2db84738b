//! What an acknowledgement that is safe costs, against one that is not, and a start with a GiB spooled.
//!
//! `cargo test --release --lib spool::tests::pace -- --ignored --nocapture --test-threads 1`

use std::{
    fs::File,
    io::{self, IoSlice},
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    faulty::Faulty,
    stage::{key, origin, payload, world},
};
use crate::{
    clock,
    gateway::{
        admit::Held,
        deliver::spool::{
            Config, Spool,
            aside::{DAMAGED, REFUSED},
            disk::{Disk, Files},
            running::Running,
        },
    },
    model::{DestinationId, Payload, Signal},
};

/// Real files that are never synced.
struct Unsynced(Files);

impl Disk for Unsynced {
    type File = File;

    fn list(&self, folder: &str) -> io::Result<Vec<(String, u64)>> {
        self.0.list(folder)
    }

    fn create(&self, name: &str) -> io::Result<File> {
        self.0.create(name)
    }

    fn open(&self, name: &str) -> io::Result<File> {
        self.0.open(name)
    }

    fn bytes(&self, file: &File) -> io::Result<u64> {
        self.0.bytes(file)
    }

    fn append(&self, file: &File, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.0.append(file, parts)
    }

    fn read(&self, file: &File, at: u64, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(file, at, into)
    }

    fn sync(&self, _: &File) -> io::Result<()> {
        Ok(())
    }

    fn sync_folder(&self) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }
}

struct Measured {
    a_second: f64,
    p99: Duration,
    syncs: u64,
}

fn measure<D: Disk>(disk: D, senders: u64, body_bytes: usize) -> Measured {
    const FOR: Duration = Duration::from_secs(3);
    let chance = world(&Faulty::new(1), &Arc::new(AtomicU64::new(1)));
    let running = Running::start(disk, Config::default(), chance).expect("starts");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let body = Bytes::from(vec![b'x'; body_bytes]);
    let start = Instant::now();
    let times = runtime.block_on(async {
        let senders = (0..senders).map(|sender| {
            let (running, body) = (Arc::clone(&running), body.clone());
            tokio::spawn(async move {
                let payload = Payload {
                    chunks: [body].into_iter().collect(),
                    ..payload(sender, Signal::Logs)
                };
                let mut times = Vec::new();
                while start.elapsed() < FOR {
                    let begun = Instant::now();
                    let origin = origin(key(sender, 1), sender, 1);
                    let held = Held::alone(1 << 30);
                    running.append(origin, &payload, held).await.expect("taken");
                    times.push(begun.elapsed());
                }
                times
            })
        });
        let mut all = Vec::new();
        for sender in senders.collect::<Vec<_>>() {
            all.extend(sender.await.expect("no panic"));
        }
        all
    });
    let mut times = times;
    times.sort_unstable();
    Measured {
        a_second: times.len() as f64 / start.elapsed().as_secs_f64(),
        p99: times[times.len() * 99 / 100],
        syncs: running.engine.usage().syncs,
    }
}

#[test]
#[ignore = "takes half a minute, and says nothing on a machine with other things to do"]
fn appends_a_second_with_syncs_and_without() {
    for (senders, body_bytes) in [(1, 4 << 10), (64, 4 << 10), (64, 64 << 10)] {
        let folder = || tempfile::tempdir().expect("a folder");
        let (one, other) = (folder(), folder());
        let files = |folder: &tempfile::TempDir| {
            Files::own(&folder.path().join("spool"), &[DAMAGED, REFUSED]).expect("ours")
        };
        let without = measure(Unsynced(files(&one)), senders, body_bytes);
        let with = measure(files(&other), senders, body_bytes);
        println!(
            "{senders} senders, {body_bytes} bytes: {:.0}/s synced ({} syncs, p99 {:?}), {:.0}/s not (p99 {:?}): {:.0} %",
            with.a_second,
            with.syncs,
            with.p99,
            without.a_second,
            without.p99,
            100.0 * with.a_second / without.a_second
        );
        assert!(with.a_second > 0.0);
    }
}

/// Spools so many bodies of 64 KiB, unsynced, for many accounts.
fn fill(disk: Unsynced, config: Config, records: u64) {
    let chance = world(&Faulty::new(1), &Arc::new(AtomicU64::new(1)));
    let running = Running::start(disk, config, chance).expect("starts");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let body = Bytes::from(vec![b'x'; 64 << 10]);
    runtime.block_on(async {
        let senders = (0..64).map(|sender| {
            let (running, body) = (Arc::clone(&running), body.clone());
            tokio::spawn(async move {
                let payload = Payload {
                    chunks: [body].into_iter().collect(),
                    ..payload(sender, Signal::Logs)
                };
                for _ in 0..records / 64 {
                    let origin = origin(key(sender, 1), sender, clock::steady_ms());
                    let held = Held::alone(1 << 30);
                    running.append(origin, &payload, held).await.expect("taken");
                }
            })
        });
        for sender in senders.collect::<Vec<_>>() {
            sender.await.expect("no panic");
        }
    });
}

#[test]
#[ignore = "writes a GiB"]
fn a_start_with_a_gib_spooled_takes_payloads_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("spool");
    let config = Config {
        account_bytes_max: 0,
        disk_bytes_max: 0,
        ..Config::default()
    };
    let files = Files::own(&place, &[DAMAGED, REFUSED]).expect("ours");
    fill(Unsynced(files), config.clone(), 16_384);
    // As after a kill: the newest segment has no index.
    let files = std::fs::read_dir(&place).expect("a folder");
    let paths = files.map(|file| file.expect("readable").path());
    let is_index = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "index");
    let newest = paths.filter(is_index).max().expect("an index");
    std::fs::remove_file(newest).expect("removed");

    let begun = Instant::now();
    let spool = Spool::start(config, &place).expect("starts");
    let started = begun.elapsed();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let origin = origin(key(1, 1), 1, clock::steady_ms());
    let payload = payload(1, Signal::Logs);
    let taken = spool.append(origin, &payload, Held::alone(1 << 30));
    runtime.block_on(taken).expect("taken");
    let taken = begun.elapsed();
    while spool.next(DestinationId(1), 1).is_none() {
        std::thread::yield_now();
    }
    let handed_out = begun.elapsed();
    while spool.usage().left.records < 16_385 {
        std::thread::yield_now();
    }
    let known = begun.elapsed();
    println!(
        "1 GiB spooled: started after {started:?}, a payload taken after {taken:?}, the first handed out after {handed_out:?}, all known after {known:?}"
    );
    assert!(taken < Duration::from_secs(1));
}
