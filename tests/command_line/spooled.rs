//! What is spooled, looked at from a shell: a segment made by hand, as its format is written down.

use std::path::Path;

use prost::Message;

use super::world::{World, err, out};

const ID: u64 = 0x0123_4567_89ab_cdef;

/// A record's head, as far as it is needed.
#[derive(Clone, PartialEq, Message)]
struct Head {
    #[prost(uint64, tag = "1")]
    account: u64,
    #[prost(uint64, tag = "3")]
    destination: u64,
    #[prost(uint32, tag = "5")]
    signal: u32,
    /// OTLP records.
    #[prost(uint64, repeated, tag = "10")]
    counts: Vec<u64>,
}

fn record(account: u64, signal: u32, body: &[u8]) -> Vec<u8> {
    let head = Head {
        account,
        destination: 7,
        signal,
        counts: vec![3],
    }
    .encode_to_vec();
    let mut frame = ID.to_le_bytes().to_vec();
    frame.extend(((head.len() + body.len()) as u32).to_le_bytes());
    frame.extend((head.len() as u16).to_le_bytes());
    frame.extend(1u16.to_le_bytes());
    let content = [head.as_slice(), body].concat();
    let sum = crc32c::crc32c_append(crc32c::crc32c(&frame), &content);
    frame.extend(sum.to_le_bytes());
    frame.extend(content);
    frame
}

/// Puts a segment into the world's spool; without a header, which its name stands in for.
fn put(world: &World, records: &[Vec<u8>]) {
    let folder = world.path("gateway/spool");
    std::fs::create_dir_all(&folder).expect("writable");
    let bytes = [vec![0; 32], records.concat()].concat();
    std::fs::write(folder.join(format!("00000001-{ID:016x}.seg")), bytes).expect("writable");
}

fn segments(folder: &Path) -> usize {
    let files = std::fs::read_dir(folder).expect("a folder");
    let names = files.map(|file| file.expect("readable").file_name());
    names
        .filter(|name| name.to_string_lossy().ends_with(".seg"))
        .count()
}

#[test]
fn where_nothing_was_spooled_that_is_said() {
    let world = World::new(&[]);
    for verb in ["list", "check"] {
        let output = world.run(&["spool", verb]);
        assert_eq!(output.status.code(), Some(1));
        assert!(err(&output).contains("there is no spool in "), "{verb}");
    }
    let output = world.run(&["spool", "drop", "--all"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!world.path("gateway").exists(), "and none is made");
}

#[test]
fn replay_and_drop_want_to_be_told_what() {
    let world = World::new(&[]);
    for arguments in [
        &["spool", "replay"][..],
        &["spool", "drop"],
        &["spool", "drop", "--all", "--account", "1"],
        &["spool", "drop", "--signal", "smells"],
    ] {
        assert_eq!(world.run(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn what_is_spooled_is_listed_checked_and_dropped() {
    let world = World::new(&[]);
    let records = [
        record(1, 0, b"one"),
        record(1, 0, b"two"),
        record(2, 2, b"three"),
    ];
    put(&world, &records);
    let listed = world.run(&["spool", "list"]);
    let both = records[0].len() + records[1].len();
    assert_eq!(
        out(&listed),
        format!(
            "ACCOUNT  SIGNAL  DESTINATION  RECORDS  ITEMS  BYTES\n\
             1        logs    7            2        6      {both}\n\
             2        traces  7            1        3      {}\n",
            records[2].len()
        ),
        "{}",
        err(&listed)
    );
    let checked = world.run(&["spool", "check", "--json"]);
    assert_eq!(checked.status.code(), Some(0), "{}", err(&checked));
    let line: serde_json::Value = serde_json::from_str(&out(&checked)).expect("JSON");
    assert_eq!((&line["records"], &line["damaged"]), (&3.into(), &0.into()));

    let dropped = world.run(&["spool", "drop", "--account", "1"]);
    assert_eq!(out(&dropped), "2 records dropped\n", "{}", err(&dropped));
    let listed = world.run(&["spool", "list", "--json"]);
    assert_eq!(out(&listed).lines().count(), 1);
    assert!(out(&listed).contains("\"account\":2"));
    let folder = world.path("gateway/spool");
    assert_eq!(segments(&folder), 1);
    let dropped = world.run(&["spool", "drop", "--all"]);
    assert_eq!(out(&dropped), "1 records dropped\n");
    assert_eq!(segments(&folder), 0);
}

#[test]
fn a_damaged_record_is_found_and_costs_no_other() {
    let world = World::new(&[]);
    let mut records = [1, 2, 3].map(|account| record(account, 0, b"body"));
    *records[1].last_mut().expect("a byte") ^= 1;
    put(&world, &records);
    let checked = world.run(&["spool", "check"]);
    assert_eq!(checked.status.code(), Some(1));
    assert!(
        err(&checked).contains("1 damaged pieces beside 2 whole records"),
        "{}",
        err(&checked)
    );
    let listed = world.run(&["spool", "list", "--json"]);
    assert_eq!(out(&listed).lines().count(), 2);
}
