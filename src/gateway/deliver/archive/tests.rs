//! The archive: what is answered is on disk, whole, in its account's file.

mod memory;
mod stalls;
mod trouble;

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Instant,
};

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::model::{Door, Encoding, LineCounts, Signal, Tally, WriteCounts};

/// Failures to come, for the tests of what must happen then.
#[derive(Default)]
pub(super) struct Faults {
    writes: AtomicU32,
    syncs: AtomicU32,
    /// How long every sync takes.
    pub(super) sync_millis: AtomicU64,
}

impl Faults {
    /// Leaves a torn line behind, as a full disk does.
    pub(super) fn on_write(&self, mut file: &File, bytes: &[u8]) -> io::Result<()> {
        if take(&self.writes) {
            file.write_all(&bytes[..bytes.len() / 2])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "a disk that takes its time")]
    pub(super) fn on_sync(&self) -> io::Result<()> {
        thread::sleep(Duration::from_millis(
            self.sync_millis.load(Ordering::SeqCst),
        ));
        if take(&self.syncs) {
            return Err(io::Error::other("injected"));
        }
        Ok(())
    }
}

fn take(left: &AtomicU32) -> bool {
    let less = |left: u32| left.checked_sub(1);
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
        .is_ok()
}

/// An archive in a folder of its own, with its clock in hand.
struct World {
    folder: TempDir,
    wall: Arc<AtomicU64>,
    archive: Archive,
}

const MEMORY_BYTES_MAX: u64 = 256 << 20;
const ELEVEN: u64 = 1_795_431_600;

impl World {
    fn new(config: Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let wall = Arc::new(AtomicU64::new(ELEVEN));
        let archive = open(config, folder.path(), &wall);
        Self {
            folder,
            wall,
            archive,
        }
    }

    fn reopen(&mut self, config: Config) {
        self.archive.close();
        self.archive = open(config, self.folder.path(), &self.wall);
    }

    async fn store(&self, account: u64, line: &str) -> Result<Delivery, Rejection> {
        self.archive
            .store(AccountId(account), TokenId(1), &bulk(line), held())
            .await
    }

    /// Names and content of an account's files, in the order of their names.
    fn files(&self, account: u64, signal: Signal) -> Vec<(String, String)> {
        let folder = self
            .folder
            .path()
            .join("archive")
            .join(account.to_string())
            .join(signal.name());
        let mut files: Vec<_> = fs::read_dir(folder)
            .map(|entries| entries.map(|entry| entry.unwrap()).collect::<Vec<_>>())
            .unwrap_or_default()
            .into_iter()
            .map(|entry| {
                let text = fs::read_to_string(entry.path()).unwrap();
                (entry.file_name().into_string().unwrap(), text)
            })
            .collect();
        files.sort();
        files
    }

    fn disk(&self) -> &Disk {
        &self.archive.0.disk
    }
}

fn open(config: Config, folder: &Path, wall: &Arc<AtomicU64>) -> Archive {
    let wall = Arc::clone(wall);
    let wall: Wall = Arc::new(move || Duration::from_secs(wall.load(Ordering::SeqCst)));
    Archive::start_at(config, folder.join("archive"), MEMORY_BYTES_MAX, wall).unwrap()
}

fn held() -> Held {
    Held::alone(MEMORY_BYTES_MAX)
}

fn payload(signal: Signal, content: Content, body: Vec<u8>, counts: Counts) -> Payload {
    Payload {
        door: Door::Bulk,
        signal,
        content,
        encoding: Encoding::Identity,
        inflated_bytes: body.len() as u64,
        chunks: [Bytes::from(body)].into_iter().collect(),
        counts,
        line_type: None,
    }
}

fn bulk(text: &str) -> Payload {
    let counts = LineCounts {
        good: Tally::new(text.lines().count() as u64, text.len() as u64),
        ..LineCounts::default()
    };
    payload(
        Signal::Logs,
        Content::Lines,
        text.into(),
        Counts::Lines(counts),
    )
}

fn compressed(text: &str, encoding: Encoding) -> Payload {
    let bytes = match encoding {
        Encoding::Identity => text.as_bytes().to_vec(),
        Encoding::Gzip => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), Default::default());
            gzip.write_all(text.as_bytes()).unwrap();
            gzip.finish().unwrap()
        }
        Encoding::Zstd => zstd::encode_all(text.as_bytes(), 1).unwrap(),
        Encoding::Snappy => snap::raw::Encoder::new()
            .compress_vec(text.as_bytes())
            .unwrap(),
    };
    let (left, right) = bytes.split_at(bytes.len() / 2);
    Payload {
        encoding,
        chunks: [left, right]
            .into_iter()
            .map(Bytes::copy_from_slice)
            .collect(),
        ..bulk(text)
    }
}

fn is_unavailable(result: Result<Delivery, Rejection>, because: &str) -> bool {
    matches!(result, Err(Rejection::DestinationUnavailable { why, .. }) if why == because)
}

#[tokio::test]
async fn a_stored_line_lies_in_its_accounts_folder_readable_by_its_owner_only() {
    let world = World::new(Config::default());
    let mut typed = bulk("{\"a\":1}\n{\"type\":\"own\"}\n");
    typed.line_type = Some("nginx".into());
    let delivery = world
        .archive
        .store(AccountId(7), TokenId(9), &typed, held())
        .await
        .unwrap();
    assert_eq!(delivery.lines.unwrap().good.items, 2);
    let files = world.files(7, Signal::Logs);
    assert_eq!(
        files,
        [(
            "bulk-2026-11-23T11Z-0001.jsonl".into(),
            "{\"type\":\"nginx\",\"a\":1}\n{\"type\":\"own\"}\n".into()
        )]
    );
    let root = world.folder.path().join("archive");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&root), 0o700);
    assert_eq!(mode(&root.join("7/logs")), 0o700);
    assert_eq!(mode(&root.join("7/logs").join(&files[0].0)), 0o600);
}

#[tokio::test]
async fn every_encoding_is_inflated_and_every_protocol_is_written() {
    let world = World::new(Config::default());
    let encodings = [
        Encoding::Identity,
        Encoding::Gzip,
        Encoding::Zstd,
        Encoding::Snappy,
    ];
    for encoding in encodings {
        let payload = compressed("{\"a\":1}\n{\"b\":2}", encoding);
        world
            .archive
            .store(AccountId(1), TokenId(1), &payload, held())
            .await
            .unwrap();
    }
    assert_eq!(
        world.files(1, Signal::Logs)[0].1,
        "{\"a\":1}\n{\"b\":2}\n".repeat(4)
    );

    let json = payload(
        Signal::Traces,
        Content::OtlpJson,
        b"{\n \"resourceSpans\": []\r\n}\n".into(),
        Counts::Records(0),
    );
    assert_eq!(
        world
            .archive
            .store(AccountId(1), TokenId(1), &json, held())
            .await,
        Ok(Delivery::default())
    );
    let traces = world.files(1, Signal::Traces);
    assert_eq!(
        traces,
        [(
            "otlp-2026-11-23T11Z-0001.jsonl".into(),
            "{  \"resourceSpans\": []  }\n".into()
        )]
    );

    // One series without labels, with a sample of 0 at 0.
    let counts = WriteCounts {
        samples: 1,
        ..WriteCounts::default()
    };
    let write = payload(
        Signal::Metrics,
        Content::RemoteWrite2,
        vec![0x22, 0, 0x2A, 2, 0x12, 0],
        Counts::Write(counts),
    );
    let delivery = world
        .archive
        .store(AccountId(1), TokenId(1), &write, held())
        .await
        .unwrap();
    assert_eq!(delivery.written, Some(counts));
    let metrics = world.files(1, Signal::Metrics);
    assert_eq!(metrics[0].0, "remote_write-2026-11-23T11Z-0001.jsonl");
    assert_eq!(
        metrics[0].1,
        "{\"labels\":{},\"samples\":[{\"timestamp_ms\":0,\"value\":0}]}\n".replace(":0}", ":0.0}")
    );
}

#[tokio::test]
async fn files_are_rotated_by_size_and_by_hour() {
    let world = World::new(Config {
        file_bytes_max: 20,
        ..Config::default()
    });
    for number in 0..4 {
        world
            .store(1, &format!("{{\"a\":{number}}}\n"))
            .await
            .unwrap();
    }
    let long = format!("{{\"long\":\"{}\"}}\n", "x".repeat(100));
    world.store(1, &long).await.unwrap();
    world.wall.fetch_add(3600, Ordering::SeqCst);
    world.store(1, "{\"b\":1}\n").await.unwrap();
    let expected = [
        ("bulk-2026-11-23T11Z-0001.jsonl", "{\"a\":0}\n{\"a\":1}\n"),
        ("bulk-2026-11-23T11Z-0002.jsonl", "{\"a\":2}\n{\"a\":3}\n"),
        ("bulk-2026-11-23T11Z-0003.jsonl", &long),
        ("bulk-2026-11-23T12Z-0001.jsonl", "{\"b\":1}\n"),
    ];
    assert_eq!(
        world.files(1, Signal::Logs),
        expected.map(|(name, text)| (name.into(), text.into()))
    );
}

#[tokio::test]
async fn retention_deletes_what_is_older_and_only_what_is_ours() {
    let world = World::new(Config::default());
    world.store(1, "{\"a\":1}\n").await.unwrap();
    world.wall.fetch_add(3600, Ordering::SeqCst);
    world.store(1, "{\"a\":2}\n").await.unwrap();
    let folder = world.folder.path().join("archive/1/logs");
    fs::write(folder.join("notes.jsonl"), "").unwrap();
    let hour = Duration::from_secs(3600);
    let end = Duration::from_secs(ELEVEN + 3600);
    retention::sweep(world.disk(), hour, end + hour - Duration::from_secs(1));
    assert_eq!(world.files(1, Signal::Logs).len(), 3);
    retention::sweep(world.disk(), hour, end + hour);
    let left: Vec<_> = world
        .files(1, Signal::Logs)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(left, ["bulk-2026-11-23T12Z-0001.jsonl", "notes.jsonl"]);
    assert_eq!(world.archive.usage().deleted_files, 1);
    assert_eq!(world.archive.usage().disk_bytes, 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_stores_share_syncs_and_are_all_there_exactly_once_after_reopening() {
    let mut world = World::new(Config {
        file_bytes_max: 4096,
        ..Config::default()
    });
    // A disk that takes its time, however busy the machine is: who comes meanwhile waits for the next sync together.
    world.disk().faults.sync_millis.store(2, Ordering::SeqCst);
    let start = Instant::now();
    let tasks: Vec<_> = (0..64u64)
        .map(|sender| {
            let archive = world.archive.clone();
            tokio::spawn(async move {
                for number in 0..20 {
                    let line = format!("{{\"sender\":{sender},\"number\":{number}}}\n");
                    archive
                        .store(AccountId(sender % 3), TokenId(1), &bulk(&line), held())
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let syncs = world.archive.usage().syncs;
    println!(
        "1280 stores by 64 senders in {:?} with {syncs} syncs",
        start.elapsed()
    );
    assert!(syncs <= 1280 / 4, "{syncs} syncs for 1280 stores");
    world.reopen(Config::default());
    let mut seen = HashMap::new();
    for account in 0..3 {
        for (name, text) in world.files(account, Signal::Logs) {
            assert!(text.len() <= 4096, "{name}");
            for line in text.lines() {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                let (sender, number) = (
                    line["sender"].as_u64().unwrap(),
                    line["number"].as_u64().unwrap(),
                );
                assert_eq!(sender % 3, account);
                *seen.entry((sender, number)).or_insert(0) += 1;
            }
        }
    }
    assert_eq!(seen.len(), 1280);
    assert!(seen.values().all(|times| *times == 1));
}

#[tokio::test]
async fn a_large_body_gets_a_file_of_its_own_and_leaves_none_when_it_fails() {
    let world = World::new(Config {
        file_bytes_max: 1000,
        ..Config::default()
    });
    world.store(1, "{\"a\":1}\n").await.unwrap();
    let line = format!("{{\"x\":\"{}\"}}\n", "y".repeat(990));
    let large = line.repeat(9_000);
    world.store(1, &large).await.unwrap();
    world.store(1, "{\"a\":2}\n").await.unwrap();
    let files = world.files(1, Signal::Logs);
    assert_eq!(files.len(), 2);
    assert_eq!(files[0].1, "{\"a\":1}\n{\"a\":2}\n");
    assert!(files[1].1 == large);

    world.disk().faults.syncs.store(1, Ordering::SeqCst);
    assert!(is_unavailable(
        world.store(1, &large).await,
        "archive write failed"
    ));
    world.disk().faults.writes.store(1, Ordering::SeqCst);
    assert!(is_unavailable(
        world.store(1, &large).await,
        "archive is full"
    ));
    assert_eq!(world.files(1, Signal::Logs).len(), 2);
    assert_eq!(world.archive.usage().disk_bytes, 16 + large.len() as u64);
}

#[tokio::test]
async fn closing_stores_everything_that_waits_also_for_clients_that_have_gone() {
    let world = World::new(Config::default());
    for number in 0..50 {
        let payload = bulk(&format!("{{\"a\":{number}}}\n"));
        let store = world
            .archive
            .store(AccountId(1), TokenId(1), &payload, held());
        drop(tokio::time::timeout(Duration::ZERO, store).await);
    }
    world.archive.close();
    let files = world.files(1, Signal::Logs);
    assert_eq!(
        files
            .iter()
            .map(|(_, text)| text.lines().count())
            .sum::<usize>(),
        50
    );
}
