//! What the archive holds is claimed, and never more than there is.

use super::*;

const MIB: usize = 1 << 20;

async fn store(world: &World, payload: &Payload, held: Held) -> Result<Delivery, Rejection> {
    let gateway = held.memory();
    let result = world
        .archive
        .store(AccountId(1), TokenId(1), payload, held)
        .await;
    // The answer comes a moment before what was held for it goes.
    let start = Instant::now();
    while gateway.bytes() > 0 {
        assert!(start.elapsed() < Duration::from_secs(5), "still held");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    result
}

fn lines(bytes: usize) -> String {
    format!("{{\"x\":\"{}\"}}\n", "y".repeat(991)).repeat(bytes / 1000)
}

#[tokio::test]
async fn lines_without_room_are_refused_before_they_are_made() {
    let world = World::new(Config::default());
    let payload = compressed(&lines(MIB), Encoding::Zstd);
    let result = store(&world, &payload, Held::alone(MIB as u64 / 2)).await;
    assert_eq!(result, Err(Rejection::Overloaded));
    assert!(world.files(1, Signal::Logs).is_empty());
    store(&world, &payload, Held::alone(2 * MIB as u64))
        .await
        .unwrap();
    assert!(world.files(1, Signal::Logs)[0].1 == lines(MIB));
}

#[tokio::test]
async fn what_is_held_is_given_back_only_with_the_answer() {
    let world = World::new(Config::default());
    let held = Held::alone(MEMORY_BYTES_MAX);
    let gateway = held.memory();
    world.disk().faults.sync_millis.store(200, Ordering::SeqCst);
    let payload = compressed(&lines(MIB), Encoding::Zstd);
    let storing = store(&world, &payload, held);
    let (result, bytes) = tokio::join!(storing, async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        gateway.bytes()
    });
    result.unwrap();
    let lines = lines(MIB).len() as u64;
    assert!((lines..lines + lines / 8).contains(&bytes), "{bytes}");
}

#[tokio::test]
async fn bulk_and_json_far_larger_than_all_memory_pass_through_it_in_pieces() {
    let world = World::new(Config::default());
    let text = lines(20 * MIB);
    let bulk = compressed(&text, Encoding::Gzip);
    store(&world, &bulk, Held::alone(6 * MIB as u64))
        .await
        .unwrap();
    assert!(world.files(1, Signal::Logs)[0].1 == text);
    // One line of 20 MiB.
    let json = format!(
        "{{\"resourceSpans\":[],\"x\":[{}0]}}",
        "123456789,".repeat(2 * MIB)
    );
    let json = Payload {
        signal: Signal::Traces,
        content: Content::OtlpJson,
        counts: Counts::Records(0),
        ..compressed(&json, Encoding::Zstd)
    };
    store(&world, &json, Held::alone(6 * MIB as u64))
        .await
        .unwrap();
    let written = &world.files(1, Signal::Traces)[0].1;
    assert_eq!(written.len() as u64, json.inflated_bytes + 1);
}

#[tokio::test]
async fn lines_that_outgrow_their_claim_go_on_in_a_file_of_their_own() {
    let world = World::new(Config::default());
    let write = |symbol_bytes: usize| {
        // An empty symbol and a long one, and a series whose labels name it 64 times.
        let mut body = vec![0x22, 0];
        trouble::field(&mut body, 0x22, &vec![b'x'; symbol_bytes]);
        let mut series = Vec::new();
        trouble::field(&mut series, 0x0A, &[1].repeat(64));
        trouble::field(&mut body, 0x2A, &series);
        payload(
            Signal::Metrics,
            Content::RemoteWrite2,
            body,
            Counts::Write(WriteCounts::default()),
        )
    };
    let held = || Held::alone(MIB as u64);
    store(&world, &write(100), held()).await.unwrap();
    store(&world, &write(10_000), held()).await.unwrap();
    store(&world, &write(40_000), held()).await.unwrap();
    store(&world, &write(200), held()).await.unwrap();
    let files = world.files(1, Signal::Metrics);
    let lengths: Vec<_> = files
        .iter()
        .map(|(_, text)| text.lines().map(str::len).collect::<Vec<_>>())
        .collect();
    let [shared, own] = &lengths[..] else {
        panic!("{lengths:?}");
    };
    assert!(shared.len() == 3 && shared[1] > 64 * 10_000, "{lengths:?}");
    assert!(own.len() == 1 && own[0] > 64 * 40_000, "{lengths:?}");
}

#[tokio::test]
async fn a_body_that_never_fits_in_one_piece_is_too_large_at_once() {
    let world = World::new(Config::default());
    let body = payload(
        Signal::Logs,
        Content::OtlpProtobuf,
        Vec::from(*b"\x0A\x00"),
        Counts::Records(1),
    );
    let body = Payload {
        inflated_bytes: MEMORY_BYTES_MAX + 1,
        ..body
    };
    let result = store(&world, &body, held()).await;
    assert_eq!(
        result,
        Err(Rejection::TooLarge {
            bytes_max: MEMORY_BYTES_MAX
        })
    );
}
