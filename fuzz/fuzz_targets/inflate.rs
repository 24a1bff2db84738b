#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use wharfinger::{
    model::{Chunks, Encoding},
    wire::encoding::inflate_to,
};

const BYTES_MAX: u64 = 1 << 20;

fn inflate(encoding: Encoding, body: &[u8], piece_bytes: usize) -> Option<Vec<u8>> {
    let chunks: Chunks = body.chunks(piece_bytes).map(Bytes::copy_from_slice).collect();
    let mut out = Vec::new();
    inflate_to(encoding, &chunks, BYTES_MAX, &mut |piece| {
        out.extend_from_slice(piece);
        Ok(())
    })
    .ok()?;
    assert!(out.len() as u64 <= BYTES_MAX);
    Some(out)
}

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (encoding, piece, body) = input;
    let encoding = match encoding % 3 {
        0 => Encoding::Gzip,
        1 => Encoding::Zstd,
        _ => Encoding::Snappy,
    };
    let whole = inflate(encoding, body, usize::MAX);
    assert_eq!(inflate(encoding, body, usize::from(piece) + 1), whole);
});
