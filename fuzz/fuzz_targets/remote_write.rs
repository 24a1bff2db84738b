#![no_main]

mod scan;

use libfuzzer_sys::fuzz_target;
use wharfinger::model::{Content, Signal};

fuzz_target!(|input: (bool, u8, &[u8])| {
    let (is_version2, piece, body) = input;
    let content = if is_version2 {
        Content::RemoteWrite2
    } else {
        Content::RemoteWrite1
    };
    scan::scan(content, Signal::Metrics, body, usize::from(piece) + 1);
});
