//! Who may keep how much for how long, whose turn it is, and what is set aside.

use std::{sync::atomic::Ordering, time::Duration};

use super::{
    faulty::Faulty,
    stage::{Stage, key, serial, small},
};
use crate::{
    gateway::deliver::spool::{Config, Refusal, engine::Read, name::Name, shelf::Picked},
    model::{AccountId, DestinationId, Loss, Signal, Tally},
};

fn read(stage: &Stage, picked: &Picked) -> u64 {
    match stage.engine.read(picked) {
        Read::Whole(record) => serial(picked, &record),
        Read::Damaged | Read::Unreadable => panic!("it is whole"),
    }
}

#[test]
fn an_account_and_all_together_keep_no_more_than_they_may() {
    let disk = Faulty::new(1);
    let config = Config {
        account_bytes_max: 400,
        disk_bytes_max: 600,
        ..small(1 << 20)
    };
    let mut stage = Stage::open(&disk, config);
    let budget = |stage: &Stage, account| stage.engine.budget.claim(AccountId(account), 150);
    assert_eq!(budget(&stage, 1), Ok(()));
    assert_eq!(budget(&stage, 1), Ok(()));
    assert_eq!(budget(&stage, 1), Err(Refusal::AccountFull));
    assert_eq!(budget(&stage, 2), Ok(()));
    assert_eq!(budget(&stage, 3), Ok(()));
    assert_eq!(budget(&stage, 4), Err(Refusal::Full));
    for account in [1, 1, 2, 3] {
        stage.engine.budget.unclaim(AccountId(account), 150);
    }
    assert_eq!(stage.engine.budget.bytes(), 0);
    stage.append(key(1, 1), 1).expect("taken");
    assert!(stage.engine.budget.bytes_of(AccountId(1)) > 0);
    stage.drain();
    assert_eq!(stage.engine.budget.bytes_of(AccountId(1)), 0);
    stage.writer.seal();
    assert_eq!(stage.engine.budget.bytes(), 0);
}

#[test]
fn budgets_hold_across_a_restart() {
    let disk = Faulty::new(1);
    let mut stage = Stage::open(&disk, small(500));
    for serial in 1..=20 {
        stage.append(key(1 + serial % 2, 1), serial).expect("taken");
    }
    let of = |stage: &Stage, account| stage.engine.budget.bytes_of(AccountId(account));
    let before = (of(&stage, 1), of(&stage, 2), stage.engine.budget.bytes());
    stage.writer.seal();
    let again = Stage::open(&disk, small(500));
    assert_eq!(
        again.engine.budget.bytes(),
        before.2,
        "before a look into it"
    );
    again.recover_all();
    assert_eq!(
        (of(&again, 1), of(&again, 2), again.engine.budget.bytes()),
        before
    );
}

#[test]
fn a_line_that_is_stuck_holds_up_nobody_and_keeps_its_order() {
    let disk = Faulty::new(1);
    let mut stage = Stage::open(&disk, small(700));
    for serial in 1..=30 {
        stage.append(key(1 + serial % 3, 1), serial).expect("taken");
    }
    let destination = DestinationId(1);
    let rest = Duration::from_secs(60);
    let mut came = Vec::new();
    while let Some(picked) = stage.engine.next(destination, 8) {
        if picked.key.account == AccountId(1) {
            stage.engine.give_back(&picked, rest);
        } else {
            came.push(read(&stage, &picked));
            stage.engine.end(&picked);
        }
    }
    let others = (1..=30).filter(|serial| serial % 3 != 0);
    assert_eq!(came, others.collect::<Vec<_>>(), "in turns");
    stage.clock.fetch_add(59_999, Ordering::SeqCst);
    assert!(stage.engine.next(destination, 8).is_none(), "it rests");
    stage.clock.fetch_add(1, Ordering::SeqCst);
    let stuck: Vec<u64> = stage
        .drain()
        .into_iter()
        .map(|(_, serial)| serial)
        .collect();
    assert_eq!(stuck, (1..=10).map(|number| 3 * number).collect::<Vec<_>>());
}

#[test]
fn a_line_has_no_more_records_out_than_it_may() {
    let disk = Faulty::new(1);
    let mut stage = Stage::open(&disk, small(1 << 20));
    for serial in 1..=20 {
        stage.append(key(1, 1), serial).expect("taken");
    }
    let mut out = Vec::new();
    while let Some(picked) = stage.engine.next(DestinationId(1), 8) {
        out.push(picked);
    }
    assert_eq!(out.len(), 8);
    assert!(stage.engine.next(DestinationId(1), 1).is_none());
    stage.engine.end(&out[3]);
    let next = stage
        .engine
        .next(DestinationId(1), 8)
        .expect("room for one");
    assert_eq!(read(&stage, &next), 9);
    assert!(stage.engine.next(DestinationId(1), 8).is_none());
}

#[test]
fn new_records_are_taken_before_old_ones_are_known_and_handed_out_after_them() {
    let disk = Faulty::new(1);
    let mut stage = Stage::open(&disk, small(500));
    for serial in 1..=12 {
        stage.append(key(1, 1), serial).expect("taken");
    }
    disk.kill();
    let mut stage = Stage::open(&disk, small(500));
    stage.append(key(1, 1), 13).expect("taken at once");
    assert!(
        stage.engine.next(DestinationId(1), 8).is_none(),
        "nothing is known yet"
    );
    stage.recover_all();
    let came: Vec<u64> = stage
        .drain()
        .into_iter()
        .map(|(_, serial)| serial)
        .collect();
    assert_eq!(came, (1..=13).collect::<Vec<_>>());
}

#[test]
fn what_waited_too_long_is_dropped_and_counted() {
    let disk = Faulty::new(1);
    let config = Config {
        age_max: Some(Duration::from_secs(80)),
        ..small(1 << 20)
    };
    let mut stage = Stage::open(&disk, config);
    for serial in 1..=6 {
        stage.append(key(1 + serial % 2, 1), serial).expect("taken");
    }
    stage.clock.fetch_add(10_000, Ordering::SeqCst);
    stage.writer.tick();
    stage.append(key(1, 1), 7).expect("taken");
    let held = stage.engine.next(DestinationId(1), 8).expect("one is out");
    let held_serial = read(&stage, &held);
    stage.clock.fetch_add(75_000, Ordering::SeqCst);
    stage.engine.expire();
    let mut expected = [Tally::default(); 3];
    for serial in (1..=6).filter(|serial| *serial != held_serial) {
        let bytes = 2 * super::stage::body(serial).len() as u64;
        expected[1 + (serial % 2) as usize] += Tally::new(serial % 5, bytes);
    }
    let mut losses = stage.engine.take_losses();
    losses.sort_by_key(|loss| loss.0);
    let lost = |account: u64| {
        let tally = expected[account as usize];
        (AccountId(account), Signal::Logs, Loss::Expired, tally)
    };
    assert_eq!(losses, [lost(1), lost(2)]);
    assert_eq!(stage.engine.take_losses(), [], "told once");
    stage.engine.end(&held);
    let left: Vec<u64> = stage
        .drain()
        .into_iter()
        .map(|(_, serial)| serial)
        .collect();
    assert_eq!(left, [7]);
}

#[test]
fn few_records_that_pin_much_disk_are_put_together_in_their_order() {
    let disk = Faulty::new(1);
    let mut stage = Stage::open(&disk, small(4_000));
    for serial in 1..=400 {
        // Every twentieth is for somebody who takes nothing.
        let account = if serial % 20 == 0 { 2 } else { 1 };
        stage.append(key(account, account), serial).expect("taken");
    }
    while let Some(picked) = stage.engine.next(DestinationId(1), 8) {
        stage.engine.end(&picked);
    }
    stage.writer.seal();
    let before = stage.engine.usage();
    while stage.engine.merge() {}
    let after = stage.engine.usage();
    assert_eq!(after.left.records, 20);
    assert!(
        after.disk_bytes * 4 < before.disk_bytes,
        "{before:?} {after:?}"
    );
    assert!(after.segments * 4 < before.segments, "{before:?} {after:?}");
    let pinned: Vec<u64> = (1..=20).map(|number| 20 * number).collect();
    disk.lose_power();
    let stage = Stage::open(&disk, small(4_000));
    stage.recover_all();
    let came: Vec<u64> = stage
        .drain()
        .into_iter()
        .map(|(_, serial)| serial)
        .collect();
    assert_eq!(came, pinned);
    println!(
        "{} segments of {} bytes became {} of {}",
        before.segments, before.disk_bytes, after.segments, after.disk_bytes
    );
}

#[test]
fn a_payload_that_nobody_takes_is_set_aside_for_a_person() {
    let disk = Faulty::new(1);
    let config = Config {
        aside_bytes_max: 20_000,
        ..small(1 << 20)
    };
    let mut stage = Stage::open(&disk, config);
    for serial in 1..=40 {
        stage.append(key(1, 1), serial).expect("taken");
    }
    while let Some(picked) = stage.engine.next(DestinationId(1), 8) {
        stage.engine.set_aside(&picked, "400: not what we take");
    }
    let files = disk.files();
    let aside = |ending: &str| {
        let aside = files.iter().filter(|(name, _)| name.ends_with(ending));
        aside.map(|(_, bytes)| bytes.clone()).collect::<Vec<_>>()
    };
    let (bodies, about) = (aside(".body"), aside(".json"));
    assert!(!bodies.is_empty() && bodies.len() == about.len());
    assert!(bodies.contains(&super::stage::body(1)), "as it came");
    let told: serde_json::Value = serde_json::from_slice(&about[0]).expect("JSON");
    assert_eq!(told["account"], 1);
    assert_eq!(told["reason"], "400: not what we take");
    let bytes: usize = bodies.iter().chain(&about).map(Vec::len).sum();
    assert!(bytes <= 20_000, "bounded: {bytes}");
    assert_eq!(bodies.len(), 2, "each file takes a block");
    let items: u64 = (1..=40).map(|serial| serial % 5).sum();
    let losses = stage.engine.take_losses();
    assert_eq!(losses.len(), 1);
    assert_eq!((losses[0].2, losses[0].3.items), (Loss::Refused, items));
    assert_eq!(stage.engine.usage().left.records, 0);
}

#[test]
fn one_damaged_record_is_counted_for_its_account_and_copied() {
    let disk = Faulty::new(1);
    let mut stage = Stage::open(&disk, small(1 << 20));
    for serial in 1..=3 {
        stage.append(key(serial, 1), serial).expect("taken");
    }
    stage.writer.seal();
    let files = disk.files();
    let (file, bytes) = files
        .iter()
        .find(|(name, _)| name.ends_with(".seg"))
        .expect("one");
    let mut bytes = bytes.clone();
    let at = bytes
        .windows(8)
        .position(|eight| eight == 2u64.to_le_bytes())
        .expect("there");
    bytes[at] ^= 0xFF;
    disk.put(file, bytes);
    let came: Vec<u64> = stage
        .drain()
        .into_iter()
        .map(|(_, serial)| serial)
        .collect();
    assert_eq!(came, [1, 3]);
    let losses = stage.engine.take_losses();
    assert_eq!(losses.len(), 1);
    assert_eq!((losses[0].0, losses[0].2), (AccountId(2), Loss::Damaged));
    let name = Name::parse(file).expect("ours").0.to_string();
    let copied = disk
        .files()
        .into_keys()
        .filter(|file| file.starts_with("damaged/"))
        .count();
    assert_eq!(copied, 1, "of {name}");
}

#[test]
fn what_is_in_memory_does_not_grow_with_the_backlog() {
    let disk = Faulty::new(1);
    let mut stage = Stage::open(&disk, small(500));
    for serial in 1..=2_000 {
        stage.append(key(1 + serial % 5, 1), serial).expect("taken");
    }
    stage.writer.seal();
    let stage = Stage::open(&disk, small(500));
    stage.recover_all();
    let shelf = stage.engine.shelf();
    assert!(shelf.segments.len() > 400, "{}", shelf.segments.len());
    let opened = shelf
        .segments
        .keys()
        .filter(|number| shelf.contents(**number).is_some());
    assert!(opened.count() <= 9);
    drop(shelf);
    assert_eq!(stage.drain().len(), 2_000);
}

const EIO: i32 = 5;
const EMFILE: i32 = 24;

/// Thin segments, of each record the fourth; gives their serial numbers.
fn thin(disk: &Faulty) -> Vec<u64> {
    let mut stage = Stage::open(disk, small(500));
    for serial in 1..=80 {
        stage.append(key(1, 1), serial).expect("taken");
    }
    stage.writer.seal();
    let mut kept = Vec::new();
    while let Some(picked) = stage.engine.next(DestinationId(1), 64) {
        let serial = read(&stage, &picked);
        match serial.is_multiple_of(4) {
            true => kept.push(serial),
            false => stage.engine.end(&picked),
        }
    }
    disk.kill();
    kept
}

fn segments(disk: &Faulty) -> Vec<String> {
    let files = disk.files().into_keys();
    files.filter(|name| name.ends_with(".seg")).collect()
}

#[test]
fn a_segment_that_cannot_be_read_for_a_while_is_lost_by_no_merge_of_its_neighbours() {
    for (hidden, restarts) in [
        (".seg", false),
        (".seg", true),
        (".index", false),
        (".index", true),
        (".done", false),
        (".done", true),
    ] {
        let disk = Faulty::new(1);
        let kept = thin(&disk);
        let names = segments(&disk);
        assert!(names.len() > 9, "{names:?}");
        let file = names[names.len() / 2].replace(".seg", hidden);
        assert!(disk.files().contains_key(&file), "{file}");
        disk.state().unreadable.insert(file, EMFILE);
        let mut stage = Stage::open(&disk, small(500));
        stage.recover_all();
        let mut merges = 0;
        while stage.engine.merge() {
            merges += 1;
        }
        assert!(merges > 0 && segments(&disk).len() < names.len());
        disk.state().unreadable.clear();
        if restarts {
            disk.kill();
            stage = Stage::open(&disk, small(500));
            stage.recover_all();
        }
        stage.engine.recover_again();
        while stage.engine.merge() {}
        let mut came: Vec<u64> = stage.drain().into_iter().map(|(_, it)| it).collect();
        came.sort_unstable();
        assert_eq!(came, kept, "{hidden} {restarts}");
    }
}

#[test]
fn a_record_that_the_disk_never_gives_holds_up_its_line_for_so_long_and_no_longer() {
    for (error, gives_up) in [(EIO, true), (EMFILE, false)] {
        let disk = Faulty::new(1);
        let mut stage = Stage::open(&disk, small(300));
        for serial in 1..=8 {
            stage.append(key(1, 1), serial).expect("taken");
        }
        stage.writer.seal();
        let first = segments(&disk).swap_remove(0);
        disk.state().unreadable.insert(first, error);
        let picked = stage.engine.next(DestinationId(1), 1).expect("one");
        let mut tries = 1;
        while tries < 1_000 && matches!(stage.engine.read(&picked), Read::Unreadable) {
            tries += 1;
        }
        assert_eq!(tries < 1_000, gives_up, "{tries}");
        let lost = stage.engine.take_losses();
        assert_eq!(!lost.is_empty(), gives_up, "{lost:?}");
    }
}
