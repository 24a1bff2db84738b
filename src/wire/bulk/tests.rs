//! Bulk lines: good ones kept as they came, bad ones counted by their reason.

use std::io::Write;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{
    model::{Chunks, Encoding, Limits},
    wire::cuts::{cut, cuts},
};

const LINE_BYTES_MAX: u64 = 24;

fn limits() -> Limits {
    Limits {
        bulk_line_bytes_max: LINE_BYTES_MAX,
        ..Limits::default()
    }
}

fn scan(pieces: &[&[u8]]) -> LineCounts {
    let mut scan = Scan::new(LINE_BYTES_MAX);
    for piece in pieces {
        scan.push(piece);
    }
    scan.finish()
}

/// The plain way: split, measure, parse.
fn classes(body: &[u8]) -> Vec<(Class, &[u8])> {
    body.split_inclusive(|byte| *byte == b'\n')
        .map(|line| {
            let content = match line {
                [content @ .., b'\r', b'\n'] | [content @ .., b'\n'] => content,
                content => content,
            };
            let parsed = std::str::from_utf8(content)
                .ok()
                .and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
            let class = if content.len() as u64 > LINE_BYTES_MAX {
                Class::Oversized
            } else if content.iter().all(|byte| b" \t\r".contains(byte)) {
                Class::Empty
            } else {
                match parsed {
                    Some(serde_json::Value::Object(members)) if members.is_empty() => Class::Empty,
                    Some(serde_json::Value::Object(_)) => Class::Good,
                    _ => Class::Malformed,
                }
            };
            (class, line)
        })
        .collect()
}

fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        4 => "\\{\"[a-zé]{1,4}\":[0-9]{1,12}\\}",
        1 => "\\{ ?\\}",
        1 => "[ \t\r]{0,30}",
        1 => "[\\[\\]{}\",:0-9a ]{0,30}",
        1 => "\\{\"a\":\"[a-z]{12,20}\"\\}",
    ];
    let line = prop_oneof![
        9 => line.prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..20),
    ];
    let end = prop_oneof![Just("\n"), Just("\r\n")];
    (proptest::collection::vec((line, end), 0..20), 0usize..3).prop_map(|(lines, drop)| {
        let mut body: Vec<u8> = lines
            .into_iter()
            .flat_map(|(line, end)| [line.as_slice(), end.as_bytes()].concat())
            .collect();
        body.truncate(body.len().saturating_sub(drop));
        body
    })
}

fn good(body: &[u8]) -> Vec<u8> {
    classes(body)
        .into_iter()
        .filter(|(class, _)| *class == Class::Good)
        .flat_map(|(_, line)| line.to_vec())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn counters_are_exact_and_add_up_to_the_body_however_it_is_cut(body in bodies(), at in cuts()) {
        let mut wanted = LineCounts::default();
        for (class, line) in classes(&body) {
            *match class {
                Class::Good => &mut wanted.good,
                Class::Malformed => &mut wanted.malformed,
                Class::Oversized => &mut wanted.oversized,
                Class::Empty => &mut wanted.empty,
            } += Tally::new(1, line.len() as u64);
        }
        prop_assert_eq!(scan(&[&body]), wanted);
        prop_assert_eq!(scan(&cut(&body, &at)), wanted);
        prop_assert_eq!((wanted.good + wanted.bad()).bytes, body.len() as u64);
    }

    #[test]
    fn good_lines_are_kept_and_no_others(body in bodies(), at in cuts()) {
        let chunks: Chunks = cut(&body, &at).into_iter().map(Bytes::copy_from_slice).collect();
        let kept = good_lines(&chunks, Encoding::Identity, &limits()).unwrap();
        prop_assert_eq!(&kept.to_bytes()[..], good(&body));
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&body).unwrap();
        let compressed = [Bytes::from(encoder.finish().unwrap())].into_iter().collect();
        let kept = good_lines(&compressed, Encoding::Gzip, &limits()).unwrap();
        prop_assert_eq!(&kept.to_bytes()[..], good(&body));
    }
}

#[test]
fn a_trailing_newline_is_not_an_empty_line() {
    assert_eq!(scan(&[b""]), LineCounts::default());
    for body in ["{\"a\":1}", "{\"a\":1}\n", "{\"a\":1}\r\n"] {
        let counts = scan(&[body.as_bytes()]);
        assert_eq!(counts.good, Tally::new(1, body.len() as u64));
        assert_eq!(counts.bad(), Tally::default());
    }
    assert_eq!(scan(&[b"\n"]).empty, Tally::new(1, 1));
}

#[test]
fn few_good_runs_are_slices_of_the_body_and_many_are_one_copy() {
    let few: Chunks = [Bytes::from_static(
        b"{\"a\":1}\nbad\n{\"b\":2}\n{\"c\":3}\n",
    )]
    .into_iter()
    .collect();
    let kept = good_lines(&few, Encoding::Identity, &limits()).unwrap();
    let whole = few.iter().next().unwrap();
    let starts: Vec<usize> = kept
        .iter()
        .map(|slice| slice.as_ptr() as usize - whole.as_ptr() as usize)
        .collect();
    assert_eq!(starts, [0, 12]);

    let many: Chunks = [Bytes::from(b"{\"a\":1}\n\n".repeat(5000))]
        .into_iter()
        .collect();
    let kept = good_lines(&many, Encoding::Identity, &limits()).unwrap();
    assert_eq!(kept.iter().count(), 1);
    assert_eq!(kept.to_bytes(), b"{\"a\":1}\n".repeat(5000));
}

#[test]
fn a_carriage_return_cut_from_its_line_feed_is_still_a_line_end() {
    let line = format!("{{\"a\":\"{}\"}}", "x".repeat(LINE_BYTES_MAX as usize - 8));
    assert_eq!(line.len() as u64, LINE_BYTES_MAX);
    assert_eq!(scan(&[line.as_bytes(), b"\r", b"\n"]).good.items, 1);
    assert_eq!(scan(&[line.as_bytes(), b"\r", b" \n"]).oversized.items, 1);
}
