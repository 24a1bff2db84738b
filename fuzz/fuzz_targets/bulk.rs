#![no_main]

mod scan;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use wharfinger::{
    model::{Chunks, Content, Counts, Encoding, Signal},
    wire::bulk::good_lines,
};

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, body) = input;
    let piece_bytes = usize::from(piece) + 1;
    let Some(Counts::Lines(lines)) = scan::scan(Content::Lines, Signal::Logs, body, piece_bytes)
    else {
        panic!("no bulk body is at fault as a whole");
    };
    assert_eq!((lines.good + lines.bad()).bytes, body.len() as u64);
    let chunks: Chunks = body.chunks(piece_bytes).map(Bytes::copy_from_slice).collect();
    let good = good_lines(&chunks, Encoding::Identity, &scan::limits()).expect("not compressed");
    assert_eq!(good.len(), lines.good.bytes);
});
