//! A disk that fails: nothing is acknowledged after a failed sync, all is refused at once, and it goes on without a restart.

use std::{sync::atomic::Ordering, time::Instant};

use super::{
    faulty::Faulty,
    stage::{Stage, key, small},
};
use crate::gateway::deliver::spool::Refusal;

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    Sync,
    Full,
    ReadOnly,
}

/// Breaks the disk after so many good operations, mends it, loses power, and looks.
fn run(trouble: Trouble, after: u32) -> (u64, u64) {
    let disk = Faulty::new(u64::from(after) + 1);
    let mut stage = Stage::open(&disk, small(2_000));
    let mut acknowledged = Vec::new();
    let (mut serial, mut refused) = (0, 0);
    let mut append = |stage: &mut Stage, acknowledged: &mut Vec<u64>| {
        serial += 1;
        let taken = stage.append(key(1, 1), serial);
        if taken.is_ok() {
            acknowledged.push(serial);
        }
        taken
    };
    if let Trouble::Sync = trouble {
        disk.state().good_syncs = Some(after);
    }
    for number in 0..after + 3 {
        if number == after {
            match trouble {
                Trouble::Sync => {}
                Trouble::Full => disk.state().is_full = true,
                Trouble::ReadOnly => disk.state().fails_one_of = 1,
            }
        }
        let start = Instant::now();
        let taken = append(&mut stage, &mut acknowledged);
        if number < after {
            assert_eq!(taken, Ok(()), "{trouble:?} after {after}, at {number}");
        } else {
            assert_eq!(taken, Err(Refusal::Disk), "{trouble:?} after {after}");
            assert!(stage.engine.is_failing.load(Ordering::Relaxed));
            assert!(!stage.writer.probe(), "{trouble:?}: it is not well");
            assert!(start.elapsed().as_millis() < 100);
            refused += 1;
        }
    }
    {
        let mut state = disk.state();
        (state.good_syncs, state.is_full, state.fails_one_of) = (None, false, 0);
    }
    assert!(stage.writer.probe(), "{trouble:?}: it is well again");
    assert_eq!(append(&mut stage, &mut acknowledged), Ok(()));
    disk.lose_power();
    let stage = Stage::open(&disk, small(2_000));
    stage.recover_all();
    let came: Vec<u64> = stage
        .drain()
        .into_iter()
        .map(|(_, serial)| serial)
        .collect();
    for serial in &acknowledged {
        assert!(
            came.contains(serial),
            "{trouble:?} after {after}: {serial} is lost"
        );
    }
    (acknowledged.len() as u64, refused)
}

#[test]
fn nothing_is_acknowledged_after_a_failed_sync_and_a_mended_disk_is_used_again() {
    let (mut runs, mut acknowledged, mut refused) = (0, 0, 0);
    for trouble in [Trouble::Sync, Trouble::Full, Trouble::ReadOnly] {
        for after in 0..200 {
            let (yes, no) = run(trouble, after);
            runs += 1;
            acknowledged += yes;
            refused += no;
        }
    }
    println!("{runs} runs: {acknowledged} acknowledged, 0 lost; {refused} refused at once");
    assert_eq!(runs, 600);
}

#[test]
fn what_failed_leaves_no_files_behind() {
    let disk = Faulty::new(3);
    let mut stage = Stage::open(&disk, small(2_000));
    disk.state().good_syncs = Some(0);
    for serial in 1..50 {
        assert_eq!(stage.append(key(1, 1), serial), Err(Refusal::Disk));
        stage.writer.probe();
    }
    assert_eq!(disk.files().len(), 0);
    assert_eq!(stage.engine.usage().disk_bytes, 0);
    assert_eq!(stage.engine.usage().left.records, 0);
}

#[test]
fn a_disk_that_is_full_is_drained_and_what_is_done_with_does_not_come_back() {
    let disk = Faulty::new(4);
    let mut stage = Stage::open(&disk, small(600));
    for serial in 1..=30 {
        stage.append(key(1, 1), serial).expect("taken");
    }
    disk.state().is_full = true;
    let drained: Vec<u64> = stage
        .drain()
        .into_iter()
        .map(|(_, serial)| serial)
        .collect();
    assert_eq!(
        drained,
        (1..=30).collect::<Vec<_>>(),
        "no mark could be written"
    );
    disk.state().is_full = false;
    stage.append(key(1, 1), 31).expect("taken");
    assert_eq!(stage.drain(), [(key(1, 1), 31)]);
    disk.kill();
    let stage = Stage::open(&disk, small(600));
    stage.recover_all();
    assert_eq!(stage.drain(), []);
}
