//! The kept copy: torn, damaged, foreign and full disks.

use std::{
    collections::HashMap,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use super::*;
use crate::{
    directory::{
        Collected, Config,
        tests::{account, bound, destination, filled, key, state_of, token},
    },
    model::{Change, TokenState},
    rpc::feed,
};
use prost::Message;

fn delta(revision: u64, changes: &[Change]) -> Delta {
    let encoded = feed::Delta {
        revision,
        changes: changes.iter().map(feed::Change::from).collect(),
        history: revision + 100,
    };
    Delta {
        position: Position {
            revision: Revision(revision),
            history: encoded.history,
        },
        bytes: encoded.encode_to_vec(),
        secret: changes
            .iter()
            .any(|change| matches!(change, Change::Destination(_))),
    }
}

fn wait(keeper: &Keeper, revision: u64) -> bool {
    let kept = keeper.kept();
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until {
        if kept.borrow().position.revision == Revision(revision) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    false
}

/// Applies, then keeps, as the follower does.
fn change(directory: &Directory, keeper: &Keeper, revision: u64, changes: Vec<Change>) {
    let (_, lineage, ..) = directory.identity().expect("a table");
    let delta = delta(revision, &changes);
    directory.apply(delta.position, changes);
    keeper.delta(lineage, delta);
}

fn load(folder: &Path) -> (Directory, Loaded) {
    let directory = Directory::new(Config::default());
    let loaded = Keep::open(folder)
        .expect("opens")
        .load(&directory)
        .expect("loads or refuses");
    (directory, loaded)
}

/// A kept folder: a snapshot of revision 1 and deltas up to 6. Returns the content's hash by revision.
fn keep_some(folder: &Path) -> HashMap<u64, u128> {
    let directory = Arc::new(filled(5));
    let in_snapshot = bound(3, TokenState::Live, &["2001:db8::/32"]);
    directory.apply(Revision(1), vec![in_snapshot]);
    let keeper = Keep::open(folder)
        .expect("opens")
        .start(Arc::clone(&directory))
        .expect("starts");
    let mut hashes = HashMap::from([(1, directory.hash())]);
    keeper.replaced();
    assert!(wait(&keeper, 1));
    keeper.fresh(1_700_000_000);
    for revision in 2..=6 {
        let changes = match revision {
            3 => vec![destination(2, "other-hidden-word"), account(2)],
            4 => vec![],
            _ => vec![
                token(revision * 3, TokenState::Revoked),
                bound(1, TokenState::Disabled, &["192.0.2.0/24"]),
            ],
        };
        change(&directory, &keeper, revision, changes);
        hashes.insert(revision, directory.hash());
    }
    assert!(wait(&keeper, 6));
    keeper.close();
    hashes
}

#[test]
fn what_was_kept_is_loaded_with_its_deltas_and_its_age() {
    let folder = tempfile::tempdir().expect("a folder");
    let hashes = keep_some(folder.path());
    let (directory, loaded) = load(folder.path());
    assert_eq!(
        loaded,
        Loaded::Table {
            revision: Revision(6),
            tokens: 8,
            deltas: 5,
            torn_bytes: 0
        }
    );
    assert_eq!(directory.hash(), hashes[&6]);
    assert!(directory.is_loaded() && !directory.is_fresh() && directory.is_stale());
    assert!(directory.age().expect("kept") > Duration::from_secs(86_400));
    assert_eq!(state_of(&directory, 1), Some(TokenState::Disabled));
}

#[test]
fn files_are_private_and_show_no_credential() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let inner = folder.path().join("kept");
    keep_some(&inner);
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&inner), 0o700);
    let mut files = 0;
    for file in fs::read_dir(&inner).expect("a folder") {
        let path = file.expect("a file").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        let bytes = fs::read(&path).expect("readable");
        for secret in [
            &b"hush-hush-secret"[..],
            b"other-hidden-word",
            key().bytes(),
        ] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret));
        }
        files += 1;
    }
    assert_eq!(files, 5, "snapshot, log, mark, seal key, lock");
}

#[test]
fn a_second_process_cannot_keep_in_the_same_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = Keep::open(folder.path()).expect("opens");
    assert!(Keep::open(folder.path()).is_err());
    drop(first);
    assert!(Keep::open(folder.path()).is_ok());
}

/// Puts a damaged copy of a folder's file in its place, loads, and checks that nothing wrong is served.
fn attack(folder: &Path, name: &str, bytes: &[u8], hashes: &HashMap<u64, u128>) -> Loaded {
    let path = folder.join(name);
    let good = fs::read(&path).expect("readable");
    fs::write(&path, bytes).expect("written");
    let (directory, loaded) = load(folder);
    match &loaded {
        Loaded::Table { revision, .. } => {
            assert_eq!(
                directory.hash(),
                hashes[&revision.0],
                "{name}: a wrong table was loaded"
            );
        }
        Loaded::Nothing | Loaded::Refused(_) => assert!(!directory.is_loaded()),
    }
    let _ = fs::remove_file(folder.join("table.snapshot.refused"));
    fs::write(&path, good).expect("restored");
    loaded
}

#[test]
fn every_byte_flipped_and_every_offset_cut_loads_a_true_prefix_or_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let hashes = keep_some(folder.path());
    let logs = log::paths(folder.path()).expect("listed");
    let log = logs[0]
        .file_name()
        .and_then(|name| name.to_str())
        .expect("a name")
        .to_owned();
    let mut cases = 0;
    for name in ["table.snapshot", log.as_str()] {
        let good = fs::read(folder.path().join(name)).expect("readable");
        for at in 0..good.len() {
            let mut flipped = good.clone();
            flipped[at] ^= 1 << (at % 8);
            let cut = &good[..at];
            for damaged in [&flipped[..], cut] {
                let loaded = attack(folder.path(), name, damaged, &hashes);
                if name == "table.snapshot" {
                    assert!(
                        matches!(loaded, Loaded::Refused(_)),
                        "byte {at}: {loaded:?}"
                    );
                } else {
                    assert!(
                        matches!(loaded, Loaded::Table { .. }),
                        "byte {at}: {loaded:?}"
                    );
                }
                cases += 1;
            }
        }
        let longer = [&good[..], b"more"].concat();
        attack(folder.path(), name, &longer, &hashes);
    }
    println!("{cases} damaged copies");
    assert!(cases > 1_000);
}

#[test]
fn a_torn_tail_is_cut_and_counted_and_the_next_log_goes_on_from_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let hashes = keep_some(folder.path());
    let logs = log::paths(folder.path()).expect("listed");
    let bytes = fs::read(&logs[0]).expect("readable");
    fs::write(&logs[0], &bytes[..bytes.len() - 3]).expect("written");
    let directory = Arc::new(Directory::new(Config::default()));
    let mut keep = Keep::open(folder.path()).expect("opens");
    let loaded = keep.load(&directory).expect("loads");
    let Loaded::Table {
        revision,
        torn_bytes,
        ..
    } = loaded
    else {
        panic!("{loaded:?}");
    };
    assert_eq!(revision, Revision(5));
    assert!(torn_bytes > 0);
    let keeper = keep.start(Arc::clone(&directory)).expect("starts");
    let changes = vec![
        token(18, TokenState::Revoked),
        bound(1, TokenState::Disabled, &["192.0.2.0/24"]),
    ];
    change(&directory, &keeper, 6, changes);
    assert!(wait(&keeper, 6));
    keeper.close();
    let (again, loaded) = load(folder.path());
    assert!(
        matches!(
            loaded,
            Loaded::Table {
                revision: Revision(6),
                ..
            }
        ),
        "{loaded:?}"
    );
    assert_eq!(again.hash(), hashes[&6]);
}

#[test]
fn a_table_that_was_replaced_leaves_nothing_of_the_one_before() {
    let folder = tempfile::tempdir().expect("a folder");
    keep_some(folder.path());
    let old_logs: Vec<_> = log::paths(folder.path()).expect("listed");
    let old_log = fs::read(&old_logs[0]).expect("readable");
    let directory = Arc::new(Directory::new(Config::default()));
    let mut keep = Keep::open(folder.path()).expect("opens");
    keep.load(&directory).expect("loads");
    let keeper = keep.start(Arc::clone(&directory)).expect("starts");
    let mut collected = Collected::new("store", key(), 1);
    collected.push(token(99, TokenState::Live));
    directory.install(collected, Vec::new(), Revision(1));
    keeper.replaced();
    assert!(wait(&keeper, 1));
    keeper.close();
    // As if the machine had stopped before the old log was gone.
    fs::write(&old_logs[0], old_log).expect("written");
    let (again, loaded) = load(folder.path());
    assert!(
        matches!(
            loaded,
            Loaded::Table {
                revision: Revision(1),
                tokens: 1,
                ..
            }
        ),
        "{loaded:?}"
    );
    assert_eq!(again.hash(), directory.hash());
}

#[test]
fn a_failing_disk_acknowledges_nothing_and_recovers_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let directory = Arc::new(filled(5));
    let keep = Keep::open(folder.path()).expect("opens");
    let broken = Arc::clone(&keep.broken);
    let keeper = keep.start(Arc::clone(&directory)).expect("starts");
    keeper.replaced();
    assert!(wait(&keeper, 1));
    broken.store(true, Ordering::Release);
    for revision in 2..=9 {
        change(
            &directory,
            &keeper,
            revision,
            vec![token(revision, TokenState::Revoked)],
        );
    }
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(keeper.kept().borrow().position.revision, Revision(1));
    broken.store(false, Ordering::Release);
    assert!(wait(&keeper, 9), "kept again without a restart");
    keeper.close();
    let (again, _) = load(folder.path());
    assert_eq!(again.hash(), directory.hash());
}

#[test]
fn many_starts_leave_few_logs() {
    let folder = tempfile::tempdir().expect("a folder");
    keep_some(folder.path());
    let mut last = 0;
    for revision in 7..40 {
        let directory = Arc::new(Directory::new(Config::default()));
        let mut keep = Keep::open(folder.path()).expect("opens");
        keep.load(&directory).expect("loads");
        assert_eq!(directory.revision(), Revision(revision - 1));
        let keeper = keep.start(Arc::clone(&directory)).expect("starts");
        change(
            &directory,
            &keeper,
            revision,
            vec![token(revision, TokenState::Live)],
        );
        assert!(wait(&keeper, revision));
        if log::paths(folder.path()).expect("listed").len() > 16 {
            // The compaction is looked after while the thread runs.
            std::thread::sleep(Duration::from_millis(300));
        }
        keeper.close();
        last = log::paths(folder.path()).expect("listed").len();
    }
    assert!(last <= 20, "{last} logs");
    let (again, loaded) = load(folder.path());
    assert!(
        matches!(
            loaded,
            Loaded::Table {
                revision: Revision(39),
                torn_bytes: 0,
                ..
            }
        ),
        "{loaded:?}"
    );
    assert_eq!(state_of(&again, 20), Some(TokenState::Live));
}

#[test]
fn a_copy_sealed_with_another_key_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    keep_some(folder.path());
    let directory = Directory::new(Config::default());
    let mut keep = Keep::open_with(folder.path(), Some(&"0f".repeat(32))).expect("opens");
    assert!(matches!(keep.load(&directory), Ok(Loaded::Refused(_))));
    assert!(!directory.is_loaded());
    assert!(folder.path().join("table.snapshot.refused").exists());
}

/// The folder's one log, with its bytes.
fn the_log(folder: &Path) -> (PathBuf, Vec<u8>) {
    let path = log::paths(folder).expect("listed").remove(0);
    let bytes = fs::read(&path).expect("readable");
    (path, bytes)
}

#[test]
fn a_damaged_delta_before_good_ones_makes_the_table_doubtful_until_it_has_caught_up() {
    let folder = tempfile::tempdir().expect("a folder");
    keep_some(folder.path());
    let (path, mut bytes) = the_log(folder.path());
    // Past the head of 8 + 8 + 9 bytes and the record of freshness: the first delta.
    bytes[25 + 17 + 12] ^= 1;
    fs::write(&path, bytes).expect("written");
    for with_mark in [true, false] {
        if !with_mark {
            fs::remove_file(folder.path().join("table.mark")).expect("was there");
        }
        let (directory, loaded) = load(folder.path());
        let is_first = matches!(&loaded, Loaded::Table { revision, .. } if revision.0 == 1);
        assert!(is_first, "{loaded:?}");
        assert!(directory.is_doubtful(), "mark: {with_mark}");
        directory.heard(Revision(6), Instant::now());
        directory.apply(Revision(5), Vec::new());
        assert!(directory.is_doubtful(), "not at the head yet");
        directory.apply(Revision(6), Vec::new());
        assert!(!directory.is_doubtful());
    }
}

#[test]
fn an_acknowledged_end_that_is_missing_makes_the_table_doubtful_and_a_torn_one_does_not() {
    let folder = tempfile::tempdir().expect("a folder");
    keep_some(folder.path());
    let (path, bytes) = the_log(folder.path());
    let (directory, _) = load(folder.path());
    assert!(!directory.is_doubtful());
    fs::write(&path, [&bytes[..], b"half a record"].concat()).expect("written");
    let (directory, loaded) = load(folder.path());
    assert!(matches!(loaded, Loaded::Table { torn_bytes, .. } if torn_bytes > 0));
    assert!(
        !directory.is_doubtful(),
        "what was never kept is not missing"
    );
    fs::write(&path, &bytes[..bytes.len() - 3]).expect("written");
    assert!(load(folder.path()).0.is_doubtful());
    fs::remove_file(&path).expect("was there");
    assert!(load(folder.path()).0.is_doubtful());
}

#[test]
fn a_table_stays_doubtful_over_a_restart_in_the_middle_of_catching_up() {
    let folder = tempfile::tempdir().expect("a folder");
    keep_some(folder.path());
    fs::remove_file(the_log(folder.path()).0).expect("was there");
    let directory = Arc::new(Directory::new(Config::default()));
    let mut keep = Keep::open(folder.path()).expect("opens");
    keep.load(&directory).expect("loads");
    let keeper = keep.start(Arc::clone(&directory)).expect("starts");
    change(&directory, &keeper, 2, vec![]);
    assert!(wait(&keeper, 2));
    keeper.close();
    let (directory, _) = load(folder.path());
    assert_eq!(directory.revision(), Revision(2));
    assert!(directory.is_doubtful());
}

#[test]
fn a_log_that_is_missing_between_two_makes_the_table_doubtful() {
    let folder = tempfile::tempdir().expect("a folder");
    keep_some(folder.path());
    let first = the_log(folder.path()).0;
    let directory = Arc::new(Directory::new(Config::default()));
    let mut keep = Keep::open(folder.path()).expect("opens");
    keep.load(&directory).expect("loads");
    let keeper = keep.start(Arc::clone(&directory)).expect("starts");
    change(&directory, &keeper, 7, vec![]);
    assert!(wait(&keeper, 7));
    keeper.close();
    fs::remove_file(first).expect("was there");
    fs::remove_file(folder.path().join("table.mark")).expect("was there");
    assert!(load(folder.path()).0.is_doubtful());
}

#[test]
fn a_seal_key_that_is_none_sets_the_copy_aside_and_the_start_goes_on_empty() {
    for damage in [&b"not a key"[..], b"", &[0xff; 64]] {
        let folder = tempfile::tempdir().expect("a folder");
        keep_some(folder.path());
        fs::write(folder.path().join("seal.key"), damage).expect("written");
        let (directory, loaded) = load(folder.path());
        assert_eq!(loaded, Loaded::Nothing);
        assert!(!directory.is_loaded());
        for name in ["seal.key", "table.snapshot"] {
            assert!(folder.path().join(format!("{name}.refused")).exists());
        }
        assert_eq!(log::paths(folder.path()).expect("listed").len(), 0);
        let hashes = keep_some(folder.path());
        assert_eq!(load(folder.path()).0.hash(), hashes[&6], "kept anew");
    }
}

#[test]
fn files_that_cannot_be_read_do_not_block_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    keep_some(folder.path());
    // A folder opens like a file and then can't be read, for whomever.
    let unreadable = |path: &Path| {
        let _ = fs::remove_file(path);
        fs::create_dir(path).expect("made");
    };
    for _ in 0..2 {
        unreadable(&the_log(folder.path()).0);
        let (directory, loaded) = load(folder.path());
        assert!(
            matches!(
                loaded,
                Loaded::Table {
                    revision: Revision(1),
                    ..
                }
            ),
            "{loaded:?}"
        );
        assert!(directory.is_doubtful());
        keep_some(folder.path());
        unreadable(&folder.path().join("table.snapshot"));
        assert!(matches!(load(folder.path()).1, Loaded::Refused(_)));
        keep_some(folder.path());
        unreadable(&folder.path().join("seal.key"));
        assert_eq!(load(folder.path()).1, Loaded::Nothing);
        keep_some(folder.path());
    }
}
