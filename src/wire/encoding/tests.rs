//! Inflation: every encoding, any cut, bombs and damage.

use std::io::Write;

use proptest::prelude::*;

use super::*;
use crate::{
    model::{Content, Limits, Signal},
    wire::cuts::{cut, cuts},
};

fn compress(encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
    match encoding {
        Encoding::Identity => bytes.to_vec(),
        Encoding::Gzip => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Encoding::Zstd => ::zstd::encode_all(bytes, 1).unwrap(),
        Encoding::Snappy => snap::raw::Encoder::new().compress_vec(bytes).unwrap(),
    }
}

fn inflate(encoding: Encoding, pieces: &[&[u8]], bytes_max: u64) -> Result<Vec<u8>, Fault> {
    let chunks = pieces
        .iter()
        .map(|piece| Bytes::copy_from_slice(piece))
        .collect();
    let mut out = Vec::new();
    inflate_to(encoding, &chunks, bytes_max, &mut |piece| {
        out.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(out)
}

fn encodings() -> impl Strategy<Value = Encoding> {
    prop_oneof![
        Just(Encoding::Identity),
        Just(Encoding::Gzip),
        Just(Encoding::Zstd),
        Just(Encoding::Snappy),
    ]
}

/// Bytes that compress: runs, repeats and noise.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            (any::<u8>(), 0usize..100_000).prop_map(|(byte, length)| vec![byte; length]),
            ("[a-z]{1,9}", 0usize..500).prop_map(|(word, times)| word.repeat(times).into_bytes()),
        ],
        0..6,
    )
    .prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn what_was_compressed_comes_out_again_however_it_is_cut(
        encoding in encodings(), body in bodies(), at in cuts(),
    ) {
        let compressed = compress(encoding, &body);
        let inflated = inflate(encoding, &cut(&compressed, &at), body.len() as u64);
        prop_assert_eq!(inflated.as_deref(), Ok(body.as_slice()));
    }

    #[test]
    fn members_and_frames_follow_each_other(
        encoding in prop_oneof![Just(Encoding::Gzip), Just(Encoding::Zstd)],
        parts in proptest::collection::vec(bodies(), 1..4), at in cuts(),
    ) {
        let compressed: Vec<u8> = parts.iter().flat_map(|part| compress(encoding, part)).collect();
        let inflated = inflate(encoding, &cut(&compressed, &at), u64::MAX);
        prop_assert_eq!(inflated, Ok(parts.concat()));
    }

    #[test]
    fn a_stream_cut_short_is_malformed(
        encoding in prop_oneof![Just(Encoding::Gzip), Just(Encoding::Zstd), Just(Encoding::Snappy)],
        body in bodies(), at in any::<prop::sample::Index>(),
    ) {
        let compressed = compress(encoding, &body);
        let end = 1 + at.index(compressed.len());
        prop_assume!(end < compressed.len());
        prop_assert!(matches!(inflate(encoding, &[&compressed[..end]], u64::MAX), Err(Fault::Malformed(_))));
    }

    #[test]
    fn a_body_past_its_ceiling_is_too_large(encoding in encodings(), body in bodies()) {
        prop_assume!(!body.is_empty());
        let bytes_max = body.len() as u64 - 1;
        let compressed = compress(encoding, &body);
        prop_assert_eq!(inflate(encoding, &[&compressed], bytes_max), Err(Fault::TooLarge { bytes_max }));
    }

    #[test]
    fn one_flipped_byte_gives_a_verdict_that_no_cut_changes(
        encoding in encodings(), body in bodies(), at in cuts(),
        place in any::<prop::sample::Index>(), flip in 1u8..,
    ) {
        let mut compressed = compress(encoding, &body);
        prop_assume!(!compressed.is_empty());
        let place = place.index(compressed.len());
        compressed[place] ^= flip;
        let whole = inflate(encoding, &[&compressed], 1 << 20).ok();
        let pieces = inflate(encoding, &cut(&compressed, &at), 1 << 20).ok();
        prop_assert_eq!(whole, pieces);
    }

    #[test]
    fn arbitrary_bytes_never_panic(encoding in encodings(), bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let headed = [compress(encoding, b"")[..5.min(compress(encoding, b"").len())].to_vec(), bytes.clone()].concat();
        let _ = inflate(encoding, &[&bytes], 1 << 20);
        let _ = inflate(encoding, &[&headed], 1 << 20);
    }

    #[test]
    fn snappy_agrees_with_the_snap_crate(bytes in proptest::collection::vec(0u8..40, 0..60)) {
        let wanted = snap::raw::Decoder::new().decompress_vec(&bytes).ok();
        let ours = inflate(Encoding::Snappy, &[&bytes], u64::from(u32::MAX)).ok();
        // No body at all is nobody's business here: the gateway has its own word for it.
        if !bytes.is_empty() {
            prop_assert_eq!(ours, wanted);
        }
    }
}

fn lines(encoding: Encoding, bytes_max: u64) -> Inflate {
    let scanner = Scanner::new(Content::Lines, Signal::Logs, &Limits::default());
    Inflate::new(encoding, bytes_max, scanner)
}

#[test]
fn trailing_bytes_are_malformed() {
    for encoding in [Encoding::Gzip, Encoding::Zstd, Encoding::Snappy] {
        for tail in [&b"\0"[..], b"garbage", &[0; 64]] {
            let body = [compress(encoding, b"{\"a\":1}\n").as_slice(), tail].concat();
            assert!(
                matches!(
                    inflate(encoding, &[&body], 1 << 20),
                    Err(Fault::Malformed(_))
                ),
                "{encoding:?} with {tail:?} behind it"
            );
        }
    }
}

#[test]
fn a_gzip_header_with_everything_in_it_is_read() {
    let body = compress(Encoding::Gzip, b"hello");
    let mut full = body[..10].to_vec();
    full[3] = 0b11111;
    full.extend(b"\x03\x00xyzname\0comment\0\xAA\xBB");
    full.extend(&body[10..]);
    assert_eq!(inflate(Encoding::Gzip, &[&full], 99).unwrap(), b"hello");
    let bytes: Vec<&[u8]> = full.chunks(1).collect();
    assert_eq!(inflate(Encoding::Gzip, &bytes, 99).unwrap(), b"hello");
    full[3] |= 0x20;
    assert!(inflate(Encoding::Gzip, &[&full], 99).is_err());
}

#[test]
fn skippable_frames_are_skipped_and_may_not_be_cut() {
    let frame = compress(Encoding::Zstd, b"hello");
    let skippable = b"\x5A\x2A\x4D\x18\x04\0\0\0skip";
    let body = [skippable, frame.as_slice(), skippable].concat();
    assert_eq!(inflate(Encoding::Zstd, &[&body], 99).unwrap(), b"hello");
    assert!(inflate(Encoding::Zstd, &[&body[..body.len() - 1]], 99).is_err());
}

#[test]
fn no_body_at_all_is_an_empty_body_in_every_encoding() {
    for encoding in [
        Encoding::Identity,
        Encoding::Gzip,
        Encoding::Zstd,
        Encoding::Snappy,
    ] {
        assert_eq!(inflate(encoding, &[], 0).unwrap(), b"");
    }
}

#[test]
fn memory_is_announced_before_it_is_taken() {
    let body = vec![b'\n'; 3 << 20];
    for (encoding, least) in [
        (Encoding::Gzip, 64 << 10),
        // Level 1 has a window of 512 KiB.
        (Encoding::Zstd, 512 << 10),
        (Encoding::Snappy, 3 << 20),
    ] {
        let mut inflate = lines(encoding, 10 << 20);
        assert_eq!(inflate.memory_bytes(), 0);
        inflate.feed(compress(encoding, &body).into());
        assert_eq!(inflate.step(), Ok(Progress::Charge), "{encoding:?}");
        assert_eq!(inflate.inflated_bytes(), 0);
        assert!(inflate.memory_bytes() >= least, "{encoding:?}");
        let announced = inflate.memory_bytes();
        let mut steps = 1;
        while inflate.step().unwrap() == Progress::Paused {
            steps += 1;
        }
        assert_eq!(inflate.memory_bytes(), announced);
        assert!(steps >= 12, "{encoding:?}: {steps} steps for 3 MiB");
        assert_eq!(inflate.finish().unwrap().1, 3 << 20);
    }
}

#[test]
fn a_declared_size_past_the_ceiling_is_refused_before_anything_is_allocated() {
    let mut inflate = lines(Encoding::Snappy, 1 << 20);
    inflate.feed(Bytes::from_static(&[0x80, 0x80, 0x80, 0x80, 0x0A, 0, 0]));
    assert_eq!(inflate.step(), Err(Fault::TooLarge { bytes_max: 1 << 20 }));
    assert_eq!(inflate.memory_bytes(), 0);
}

#[test]
fn a_flood_of_empty_members_pauses_and_buys_no_memory() {
    for encoding in [Encoding::Gzip, Encoding::Zstd] {
        let mut inflate = lines(encoding, 10 << 20);
        inflate.feed(compress(encoding, b"").repeat(10_000).into());
        let mut pauses = 0;
        loop {
            match inflate.step().unwrap() {
                Progress::Drained => break,
                Progress::Paused => pauses += 1,
                Progress::Charge => (),
            }
        }
        assert!(pauses > 100, "{encoding:?}: {pauses} pauses");
        assert!(inflate.memory_bytes() < 2 << 20);
        assert_eq!(inflate.finish().unwrap().1, 0);
    }
}
