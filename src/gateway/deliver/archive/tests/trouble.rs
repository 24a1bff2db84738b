//! What must happen when things go wrong.

use super::*;

#[tokio::test]
async fn a_body_that_inflates_past_its_count_is_refused() {
    let world = World::new(Config::default());
    for encoding in [Encoding::Gzip, Encoding::Zstd, Encoding::Snappy] {
        let mut lying = compressed(&"{\"a\":1}\n".repeat(1000), encoding);
        lying.inflated_bytes = 100;
        let result = world
            .archive
            .store(AccountId(1), TokenId(1), &lying, held())
            .await;
        assert!(matches!(result, Err(Rejection::Internal(_))), "{result:?}");
    }
    assert!(world.files(1, Signal::Logs).is_empty());
}

#[tokio::test]
async fn a_torn_tail_is_never_followed_by_anything() {
    let mut world = World::new(Config::default());
    world.store(1, "{\"a\":1}\n").await.unwrap();
    world.archive.close();
    let first = world
        .folder
        .path()
        .join("archive/1/logs/bulk-2026-11-23T11Z-0001.jsonl");
    File::options()
        .append(true)
        .open(&first)
        .unwrap()
        .write_all(b"{\"to")
        .unwrap();
    world.reopen(Config::default());
    world.store(1, "{\"a\":2}\n").await.unwrap();
    let files = world.files(1, Signal::Logs);
    assert_eq!(files[0].1, "{\"a\":1}\n{\"to");
    assert_eq!(
        files[1],
        (
            "bulk-2026-11-23T11Z-0002.jsonl".into(),
            "{\"a\":2}\n".into()
        )
    );
}

#[tokio::test]
async fn after_a_failed_sync_the_file_is_never_touched_again() {
    let world = World::new(Config::default());
    world.store(1, "{\"a\":1}\n").await.unwrap();
    world.disk().faults.syncs.store(1, Ordering::SeqCst);
    assert!(is_unavailable(
        world.store(1, "{\"lost\":1}\n").await,
        "archive write failed"
    ));
    world.store(1, "{\"a\":2}\n").await.unwrap();
    let files = world.files(1, Signal::Logs);
    assert_eq!(
        files[0].1, "{\"a\":1}\n{\"lost\":1}\n",
        "nothing is cut from it"
    );
    assert_eq!(files[1].1, "{\"a\":2}\n");

    // A file in which nothing was ever acknowledged goes away.
    world.disk().faults.syncs.store(1, Ordering::SeqCst);
    assert!(is_unavailable(
        world.store(2, "{\"lost\":1}\n").await,
        "archive write failed"
    ));
    assert!(world.files(2, Signal::Logs).is_empty());
    assert_eq!(world.archive.usage().disk_bytes, 8 + 11 + 8);
    assert_eq!(world.archive.usage().failures, 2);
}

#[tokio::test]
async fn a_full_disk_refuses_at_once_and_recovers_by_itself() {
    let world = World::new(Config::default());
    world.store(1, "{\"a\":1}\n").await.unwrap();
    world.disk().faults.writes.store(1, Ordering::SeqCst);
    assert!(is_unavailable(
        world.store(1, "{\"torn\":1}\n").await,
        "archive is full"
    ));
    let start = Instant::now();
    assert!(is_unavailable(
        world.store(1, "{\"b\":1}\n").await,
        "archive is full"
    ));
    assert!(start.elapsed() < Duration::from_millis(100));
    while world.store(1, "{\"c\":1}\n").await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(5), "did not recover");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let files = world.files(1, Signal::Logs);
    assert_eq!(files[0].1, "{\"a\":1}\n{\"tor");
    assert_eq!(files[1].1, "{\"c\":1}\n");
    assert_eq!(world.archive.usage().disk_bytes, 13 + 8);
}

#[tokio::test]
async fn the_disk_ceiling_holds_across_a_restart_and_lifts_when_files_go() {
    let config = Config {
        disk_bytes_max: 20,
        ..Config::default()
    };
    let mut world = World::new(config.clone());
    world.store(1, "{\"a\":1}\n").await.unwrap();
    world.store(1, "{\"a\":2}\n").await.unwrap();
    assert!(is_unavailable(
        world.store(1, "{\"a\":3}\n").await,
        "archive is full"
    ));
    world.reopen(config);
    assert_eq!(world.archive.usage().disk_bytes, 16);
    assert!(is_unavailable(
        world.store(1, "{\"a\":3}\n").await,
        "archive is full"
    ));
    let now = Duration::from_secs(ELEVEN + 3 * 3600);
    retention::sweep(world.disk(), Duration::from_secs(3600), now);
    world.store(1, "{\"a\":3}\n").await.unwrap();
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_unavailable_and_not_a_loss() {
    let world = World::new(Config::default());
    // A file in the folder's place refuses even root, unlike permissions.
    let place = world.folder.path().join("archive/1");
    fs::write(&place, "").unwrap();
    assert!(is_unavailable(
        world.store(1, "{\"a\":1}\n").await,
        "archive write failed"
    ));
    world.store(2, "{\"a\":1}\n").await.unwrap();
    fs::remove_file(&place).unwrap();
    world.store(1, "{\"a\":1}\n").await.unwrap();
}

#[tokio::test]
async fn a_file_deleted_under_us_is_not_written_to() {
    let world = World::new(Config::default());
    world.store(1, "{\"a\":1}\n").await.unwrap();
    fs::remove_dir_all(world.folder.path().join("archive/1")).unwrap();
    world.store(1, "{\"a\":2}\n").await.unwrap();
    let files = world.files(1, Signal::Logs);
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].1, "{\"a\":2}\n");
}

#[tokio::test]
async fn one_long_symbol_referred_to_from_everywhere_is_refused() {
    let world = World::new(Config::default());
    // Field 4: an empty symbol and one of 100,000 bytes; field 5: a series of 50,000 pairs of references to it.
    let mut body = vec![0x22, 0];
    field(&mut body, 0x22, &vec![b'x'; 100_000]);
    let mut series = Vec::new();
    field(&mut series, 0x0A, &[1].repeat(100_000));
    field(&mut body, 0x2A, &series);
    let bomb = payload(
        Signal::Metrics,
        Content::RemoteWrite2,
        body,
        Counts::Write(WriteCounts::default()),
    );
    let result = world
        .archive
        .store(AccountId(1), TokenId(1), &bomb, held())
        .await;
    assert!(
        matches!(result, Err(Rejection::TooLarge { .. })),
        "{result:?}"
    );
    assert!(world.files(1, Signal::Metrics).is_empty());
    assert_eq!(world.archive.usage().disk_bytes, 0);
}

pub(super) fn field(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    prost::encoding::encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

#[tokio::test]
async fn a_full_queue_refuses_and_a_closed_archive_too() {
    let inbox = Inbox::new(10, 2, MEMORY_BYTES_MAX);
    let push = |text: &str| {
        inbox.push(Job {
            key: Key::of(AccountId(1), &bulk(text)),
            token: TokenId(1),
            payload: bulk(text),
            claimed: Claimed::new(held(), 0).expect("room"),
            is_rehearsal: false,
            answer: Answer::new(Duration::from_secs(60)).0,
        })
    };
    let full = Err(unavailable("archive queue is full"));
    assert_eq!(
        push("{\"longer than the queue\":1}\n"),
        Ok(()),
        "an empty queue takes any"
    );
    assert_eq!(push("{}\n"), full, "by bytes");
    drop(inbox.pop());
    assert_eq!(push("{}\n"), Ok(()));
    assert_eq!(push("{}\n"), Ok(()));
    assert_eq!(push("{}\n"), full, "by count");

    let world = World::new(Config::default());
    world.archive.close();
    assert!(is_unavailable(
        world.store(1, "{\"a\":1}\n").await,
        "archive is closed"
    ));
}

#[tokio::test]
async fn json_that_is_not_otlp_within_an_item_is_malformed_and_says_where() {
    let world = World::new(Config::default());
    let store = async |record: &str, encoding| {
        let body =
            format!("{{\"resourceLogs\":[{{\"scopeLogs\":[{{\"logRecords\":[{record}]}}]}}]}}");
        let json = Payload {
            content: Content::OtlpJson,
            counts: Counts::Records(1),
            ..compressed(&body, encoding)
        };
        world
            .archive
            .store(AccountId(1), TokenId(1), &json, held())
            .await
    };
    for encoding in [Encoding::Identity, Encoding::Zstd] {
        let bad = store("{\"timeUnixNano\":{\"a\":[1]},\"body\":\"x\"}", encoding).await;
        let Err(Rejection::Malformed(why)) = bad else {
            panic!("{bad:?}");
        };
        assert!(why.contains("line 1 column "), "{why}");
        // A newer sender's fields are none of our business.
        let newer = "{\"timeUnixNano\":\"1\",\"future\":{\"a\":[1]}}";
        assert_eq!(store(newer, encoding).await, Ok(Delivery::default()));
    }
    let files = world.files(1, Signal::Logs);
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].1.lines().count(), 2);
    assert!(files[0].1.contains("future"), "as it came");
}
