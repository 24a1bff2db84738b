#![no_main]

mod scan;

use libfuzzer_sys::fuzz_target;
use wharfinger::model::{Content, Signal};

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (signal, piece, body) = input;
    let signal = Signal::ALL[usize::from(signal) % 3];
    scan::scan(Content::OtlpProtobuf, signal, body, usize::from(piece) + 1);
});
