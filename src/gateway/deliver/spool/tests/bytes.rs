//! A segment of several records, each byte of it flipped and each end cut off, with its index and without: never a panic, never
//! a wrong byte, and what is lost is the record that was hit, and counted.

use std::collections::BTreeMap;

use super::{
    faulty::Faulty,
    stage::{Stage, key, small},
};
use crate::gateway::deliver::spool::{
    Usage,
    frame::HEADER_BYTES,
    name::{Kind, Name},
};

const RECORDS: u64 = 6;

type Files = BTreeMap<String, Vec<u8>>;

/// A closed spool of one segment, where its records begin, and its end.
fn written() -> (Files, Name, Vec<usize>) {
    let disk = Faulty::new(7);
    let mut stage = Stage::open(&disk, small(1 << 20));
    let mut ends = vec![HEADER_BYTES];
    for serial in 1..=RECORDS {
        let (waiting, _answered) = stage.waiting(key(1 + serial % 2, 1), serial);
        ends.push(ends[ends.len() - 1] + waiting.record_bytes() as usize);
        stage.writer.commit(vec![waiting]);
        drop(_answered);
    }
    stage.writer.seal();
    let files = disk.files();
    let names = files.keys().filter_map(|file| Name::parse(file));
    let name = names.map(|(name, _)| name).next().expect("a segment");
    assert_eq!(
        files[&name.file(Kind::Segment)].len(),
        *ends.last().expect("ends")
    );
    (files, name, ends)
}

/// Starts on those files and takes everything; which records came, and what was counted.
fn survivors(files: &Files) -> (Vec<u64>, Usage) {
    let disk = Faulty::new(1);
    for (name, bytes) in files {
        disk.put(name, bytes.clone());
    }
    let stage = Stage::open(&disk, small(1 << 20));
    stage.recover_all();
    let mut drained: Vec<u64> = stage
        .drain()
        .into_iter()
        .map(|(_, serial)| serial)
        .collect();
    drained.sort_unstable();
    (drained, stage.engine.usage())
}

/// All records but the one in which that byte lies.
fn others(ends: &[usize], at: usize) -> Vec<u64> {
    let is_hit = |serial: u64| {
        let end = serial as usize;
        (ends[end - 1]..ends[end]).contains(&at)
    };
    (1..=RECORDS).filter(|serial| !is_hit(*serial)).collect()
}

#[test]
fn each_byte_flipped_costs_one_record_and_is_counted() {
    let (files, name, ends) = written();
    let segment = name.file(Kind::Segment);
    let mut flips = 0;
    for has_index in [true, false] {
        let mut files = files.clone();
        if !has_index {
            files.remove(&name.file(Kind::Index));
        }
        for at in 0..files[&segment].len() {
            for bit in [0x01, 0x80] {
                let mut hit = files.clone();
                hit.get_mut(&segment).expect("there")[at] ^= bit;
                let (survived, usage) = survivors(&hit);
                assert_eq!(survived, others(&ends, at), "byte {at}, index {has_index}");
                let is_counted = usage.damaged_records == 1 || usage.torn_bytes > 0;
                assert_eq!(is_counted, at >= HEADER_BYTES, "byte {at}");
                assert_eq!((usage.left.records, usage.segments), (0, 0), "byte {at}");
                flips += 1;
            }
        }
    }
    println!("{flips} flips: each cost the record that was hit, and no other");
    assert!(flips > 1_000);
}

#[test]
fn each_end_cut_off_costs_what_was_cut() {
    let (files, name, ends) = written();
    let segment = name.file(Kind::Segment);
    let mut cuts = 0;
    for has_index in [true, false] {
        let mut files = files.clone();
        if !has_index {
            files.remove(&name.file(Kind::Index));
        }
        for end in 0..files[&segment].len() {
            let mut cut = files.clone();
            cut.get_mut(&segment).expect("there").truncate(end);
            let (survived, usage) = survivors(&cut);
            let whole = ends.iter().skip(1).filter(|record| **record <= end).count() as u64;
            assert_eq!(survived, (1..=whole).collect::<Vec<_>>(), "cut at {end}");
            if has_index {
                assert_eq!(usage.damaged_records, RECORDS - whole, "cut at {end}");
            }
            cuts += 1;
        }
    }
    println!("{cuts} cuts: each cost what was cut off, and nothing before");
    assert!(cuts > 500);
}

#[test]
fn a_damaged_index_or_journal_costs_no_record() {
    let (files, name, _) = written();
    let all: Vec<u64> = (1..=RECORDS).collect();
    let index = name.file(Kind::Index);
    let mut flips = 0;
    for at in 0..files[&index].len() {
        for cut in [false, true] {
            let mut hit = files.clone();
            let bytes = hit.get_mut(&index).expect("there");
            if cut {
                bytes.truncate(at);
            } else {
                bytes[at] ^= 0x10;
            }
            assert_eq!(survivors(&hit).0, all, "byte {at}");
            flips += 1;
        }
    }
    // A journal of noise marks nothing as done; so does another segment's.
    for noise in 0..200u64 {
        let mut hit = files.clone();
        hit.insert(name.file(Kind::Done), super::stage::body(noise));
        assert_eq!(survivors(&hit).0, all, "noise {noise}");
    }
    assert!(flips > 200);
}
