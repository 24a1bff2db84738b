#![no_main]

mod scan;

use libfuzzer_sys::fuzz_target;
use wharfinger::{
    model::{Content, Signal},
    wire::{line_type, otlp_lines, write_lines},
};

/// What the archive writes of a body: JSON, one value a line, whatever the body.
fn assert_json_lines(lines: &[u8]) {
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        // Deeper than a reader goes is still JSON: only a refusal for another reason counts.
        if let Err(error) = serde_json::from_slice::<serde_json::Value>(line) {
            assert!(error.to_string().contains("recursion limit"), "{error}");
        }
    }
}

fuzz_target!(|input: (u8, &[u8])| {
    let (kind, body) = input;
    let mut lines = Vec::new();
    match kind % 6 {
        0..=2 => {
            let signal = Signal::ALL[usize::from(kind % 6)];
            if otlp_lines::write_protobuf(signal, body, &mut lines).is_ok() {
                assert_json_lines(&lines);
            }
        }
        3 => {
            if write_lines::write_1(body, &mut lines).is_ok() {
                assert_json_lines(&lines);
            }
        }
        4 => {
            if write_lines::write_2(body, &mut lines).is_ok() {
                assert_json_lines(&lines);
            }
        }
        _ => {
            let is_good = scan::scan(Content::Lines, Signal::Logs, body, 7)
                .is_some_and(|counts| counts.items() > 0 && lines_are_all_good(counts));
            line_type::write_lines(body, Some("t"), &mut lines).expect("a Vec takes everything");
            if is_good {
                assert_json_lines(&lines);
            }
        }
    }
});

fn lines_are_all_good(counts: wharfinger::model::Counts) -> bool {
    match counts {
        wharfinger::model::Counts::Lines(lines) => lines.bad().items == 0,
        _ => false,
    }
}
