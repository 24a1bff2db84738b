//! With threads and real files: syncs are shared, a restart finds everything, a disk that stalls or fails refuses at once.

use std::{
    collections::BTreeSet,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use super::{
    faulty::Faulty,
    stage::{body, key, origin, payload, small, world},
};
use crate::{
    clock,
    gateway::{
        admit::Held,
        deliver::spool::{Config, Refusal, Spool, offline, running::Running},
    },
    model::{AccountId, DestinationId, Signal},
};

fn held() -> Held {
    Held::alone(1 << 30)
}

async fn append(spool: &Spool, account: u64, serial: u64) -> Result<(), Refusal> {
    let origin = origin(key(account, 1), serial, clock::steady_ms());
    let payload = payload(serial, Signal::Logs);
    spool.append(origin, &payload, held()).await
}

/// Takes everything that is there for destination 1, waiting for what is not known yet.
fn take_all(spool: &Spool, count: usize) -> Vec<u64> {
    let start = Instant::now();
    let mut came = Vec::new();
    while came.len() < count && start.elapsed() < Duration::from_secs(10) {
        let Some(lease) = spool.next(DestinationId(1), 8) else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        let (lease, record) = lease.read().expect("whole");
        let bytes = record.payload.chunks.to_bytes();
        let serial = u64::from_le_bytes(*bytes.first_chunk().expect("a serial"));
        assert_eq!(bytes, body(serial));
        came.push(serial);
        lease.done();
    }
    came
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_senders_share_syncs_and_everything_comes_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let spool = Spool::start(Config::default(), &folder.path().join("spool")).expect("starts");
    let senders = (0..64u64).map(|sender| {
        let spool = spool.clone();
        tokio::spawn(async move {
            for number in 0..20 {
                let serial = sender * 20 + number;
                append(&spool, 1 + sender % 7, serial).await.expect("taken");
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.await.expect("no panic");
    }
    let syncs = spool.usage().syncs;
    println!("1280 appends, {syncs} syncs");
    assert!(syncs < 1_280 / 2, "{syncs}");
    let came = tokio::task::spawn_blocking(move || take_all(&spool, 1_280));
    let came: BTreeSet<u64> = came.await.expect("no panic").into_iter().collect();
    assert_eq!(came, (0..1_280).collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_finds_what_is_left_and_nobody_else_may_look() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("spool");
    let spool = Spool::start(Config::default(), &place).expect("starts");
    for serial in 1..=5 {
        append(&spool, serial, serial).await.expect("taken");
    }
    let second = Spool::start(Config::default(), &place);
    assert!(second.is_err_and(|error| error.to_string().contains("another process")));
    let first = tokio::task::spawn_blocking({
        let spool = spool.clone();
        move || take_all(&spool, 2)
    });
    assert_eq!(first.await.expect("no panic"), [1, 2]);
    let modes = |path: &Path| {
        let metadata = std::fs::metadata(path).expect("there");
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(modes(&place), 0o700);
    for file in std::fs::read_dir(&place).expect("a folder") {
        let path = file.expect("readable").path();
        let is_folder = path.is_dir();
        assert_eq!(
            modes(&path),
            if is_folder { 0o700 } else { 0o600 },
            "{path:?}"
        );
    }
    spool.close();
    assert_eq!(append(&spool, 1, 9).await, Err(Refusal::Closed));
    drop(spool);
    let listed = offline::list(&place).expect("there");
    assert_eq!(listed.iter().map(|(_, left)| left.records).sum::<u64>(), 3);
    let checked = offline::check(&place).expect("there");
    assert_eq!(
        (
            checked[0].records,
            checked[0].damaged,
            checked[0].torn_bytes
        ),
        (5, 0, 0)
    );
    let chosen = offline::Chosen {
        account: Some(AccountId(4)),
        ..offline::Chosen::default()
    };
    assert_eq!(offline::drop(&place, chosen).expect("nobody uses it"), 1);
    let spool = Spool::start(Config::default(), &place).expect("starts");
    let left = tokio::task::spawn_blocking(move || take_all(&spool, 2));
    assert_eq!(left.await.expect("no panic"), [3, 5]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_is_dropped_is_handed_out_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let spool = Spool::start(Config::default(), &folder.path().join("spool")).expect("starts");
    append(&spool, 1, 1).await.expect("taken");
    // Who waits for it is told first.
    let lease = loop {
        match spool.next(DestinationId(1), 8) {
            Some(lease) => break lease,
            None => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    };
    assert_eq!(
        (lease.account(), lease.signal()),
        (AccountId(1), Signal::Logs)
    );
    assert!(lease.bytes() > body(1).len() as u64);
    assert!(spool.next(DestinationId(1), 8).is_none());
    drop(lease);
    let lease = spool.next(DestinationId(1), 8).expect("again");
    lease.retry(Duration::from_secs(3_600));
    assert!(spool.next(DestinationId(1), 8).is_none(), "it rests");
}

type Broken = Arc<Running<Faulty>>;

fn start(disk: &Faulty) -> Broken {
    let clock = Arc::new(AtomicU64::new(1));
    let config = Config {
        answer_timeout: Duration::from_millis(1_500),
        ..small(1 << 20)
    };
    Running::start(disk.clone(), config, world(disk, &clock)).expect("starts")
}

async fn put(running: &Broken, serial: u64) -> Result<(), Refusal> {
    let payload = payload(serial, Signal::Logs);
    let origin = origin(key(1, 1), serial, 1);
    running.append(origin, &payload, held()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fails_refuses_at_once_and_is_used_again_without_a_restart() {
    let disk = Faulty::new(1);
    let running = start(&disk);
    put(&running, 1).await.expect("taken");
    disk.state().is_full = true;
    assert_eq!(put(&running, 2).await, Err(Refusal::Disk));
    for serial in 3..200 {
        let start = Instant::now();
        assert_eq!(put(&running, serial).await, Err(Refusal::Disk));
        assert!(start.elapsed() < Duration::from_millis(100));
    }
    disk.state().is_full = false;
    let mended = Instant::now();
    while put(&running, 200).await.is_err() {
        assert!(
            mended.elapsed() < Duration::from_secs(5),
            "it does not recover"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("used again after {:?}", mended.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_stalls_refuses_what_is_new_and_takes_back_what_came_too_late() {
    let disk = Faulty::new(1);
    let running = start(&disk);
    put(&running, 1).await.expect("taken");
    disk.state().sync_takes = Duration::from_millis(2_500);
    let waits = tokio::spawn({
        let running = Arc::clone(&running);
        async move { put(&running, 2).await }
    });
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    let start = Instant::now();
    assert_eq!(put(&running, 3).await, Err(Refusal::Stalled));
    assert!(start.elapsed() < Duration::from_millis(100));
    assert_eq!(waits.await.expect("no panic"), Err(Refusal::Late));
    disk.state().sync_takes = Duration::ZERO;
    let mended = Instant::now();
    while put(&running, 4).await.is_err() {
        assert!(
            mended.elapsed() < Duration::from_secs(5),
            "it does not recover"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    running.close();
    assert_eq!(
        running.engine.usage().left.records,
        2,
        "the late one is taken back"
    );
}
