//! Counters, minutes, reports and the file, without a feed.

use std::{
    collections::HashSet, convert::Infallible, fs, net::IpAddr, path::Path, sync::Arc,
    time::Duration,
};

use super::{accepted::Acceptance, kept::Kept, meter::Page, *};
use crate::{
    directory::{Account, accounts::Registers, tests},
    model::{AccountId, Change, Tally, TokenId, TokenUsage},
};

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn one_item(n: u64) -> TokenUsage {
    TokenUsage {
        requests: 1,
        received: Tally::new(n, 10 * n),
        ..TokenUsage::default()
    }
}

fn items(pending: &pending::Pending) -> u64 {
    pending
        .each()
        .flat_map(|report| report.tokens.clone().into_values())
        .map(|usage| usage.received.items)
        .sum()
}

fn loaded(folder: &Path) -> pending::Pending {
    let mut pending = pending::Pending::new(99);
    let kept = Kept::open(folder).expect("a folder");
    kept.load(&mut pending).expect("loads");
    pending
}

#[test]
fn a_page_gives_what_was_counted_once_and_is_empty_then() {
    let meter = Meter::default();
    let (a, b) = (TokenId(1), TokenId(2));
    for n in 0..10_u8 {
        meter.presented(a, format!("agent/{}", n % 7).as_bytes(), HERE);
        meter.settled(a, Tally::new(3, 30), Tally::new(2, 20));
    }
    meter.presented(b, &[b'x'; 5_000], HERE);
    meter.presented(b, b"whf_s_0123456789", HERE);
    meter.refused(b, 14);
    meter.refused(b, 14);
    let mut page = Page::default();
    meter.swap(&mut page);
    let mut found = std::collections::BTreeMap::<_, TokenUsage>::new();
    page.drain(77, |token, usage| {
        found.entry(token).or_default().merge(usage)
    });
    assert!(page.is_empty());
    let usage = &found[&a];
    assert_eq!(usage.requests, 10);
    assert_eq!(
        (usage.received, usage.delivered),
        (Tally::new(30, 300), Tally::new(20, 200))
    );
    assert_eq!(
        usage.senders.len(),
        5,
        "the sixth and the seventh come too soon"
    );
    assert_eq!(usage.last_used_at, 77);
    let usage = &found[&b];
    assert_eq!(
        (usage.requests, usage.refused.as_slice()),
        (2, &[(14, 2)][..])
    );
    let agents: Vec<_> = usage.senders.iter().map(|it| it.agent.as_str()).collect();
    let long = "x".repeat(96);
    assert_eq!(agents.len(), 2);
    assert!(
        agents.contains(&long.as_str()) && agents.contains(&"[redacted]"),
        "{agents:?}"
    );
    meter.swap(&mut page);
    assert!(page.is_empty(), "nothing is counted twice");
}

#[test]
fn minutes_that_are_over_are_merged_by_hour_then_by_day_and_nothing_is_lost() {
    let mut pending = pending::Pending::new(1);
    let minutes = 5_000;
    for minute in 0..minutes {
        pending.add(minute * 60, TokenId(minute % 3 + 1), one_item(minute));
        pending.coarsen();
        assert!(pending.minutes().len() <= 128);
    }
    assert_eq!(items(&pending), (0..minutes).sum::<u64>());
    let latest: Vec<_> = pending.minutes().into_iter().rev().take(3).collect();
    assert_eq!(
        latest,
        [4_999, 4_998, 4_997],
        "the last minutes are still told apart"
    );
    // A minute of very many tokens leaves one entry per token.
    for minute in 0..3 {
        for token in 0..150_000 {
            pending.add((10_000 + minute) * 60, TokenId(token + 1), one_item(1));
        }
    }
    pending.coarsen();
    assert!(pending.entries() <= 1 << 18, "{}", pending.entries());
    assert_eq!(items(&pending), (0..minutes).sum::<u64>() + 450_000);
}

#[test]
fn reports_are_numbered_bounded_and_leave_in_order() {
    let mut pending = pending::Pending::new(7);
    for token in 1..=1_000 {
        pending.add(60, TokenId(token), one_item(1));
    }
    pending.add(120, TokenId(1), one_item(5));
    assert!(pending.is_sealable());
    pending.seal();
    assert!(!pending.is_sealable(), "one minute at a time");
    let mut sequence = 0;
    let mut told = 0;
    while let Some(report) = pending.first().cloned() {
        sequence += 1;
        assert_eq!(
            (report.epoch, report.sequence, report.at),
            (7, sequence, 90)
        );
        assert!(report.tokens.len() <= 256);
        told += report.tokens.len();
        assert!(
            pending.acknowledged(7, sequence + 1).is_none(),
            "not the one on its way"
        );
        assert!(
            pending.acknowledged(8, sequence).is_none(),
            "of another epoch"
        );
        assert!(pending.acknowledged(7, sequence).is_some());
    }
    assert_eq!((told, sequence), (1_000, 4));
    pending.seal();
    assert_eq!(pending.first().expect("the next minute").sequence, 5);
}

#[test]
fn what_is_written_down_comes_back_and_each_damaged_byte_costs_only_what_it_hit() {
    let folder = tempfile::tempdir().expect("a folder");
    let kept = Kept::open(folder.path()).expect("a folder");
    let mut pending = pending::Pending::new(7);
    for token in 1..=600 {
        pending.add(60, TokenId(token), one_item(token));
    }
    pending.seal();
    for token in 1..=300 {
        pending.add(120, TokenId(token), one_item(token));
    }
    kept.write(&pending).expect("written");
    let entries = |pending: &pending::Pending| -> Vec<(u64, u64, TokenId, u64)> {
        let reports = pending.each();
        let entries = reports.flat_map(|report| {
            let tokens = report.tokens.clone().into_iter();
            tokens.map(move |(token, usage)| {
                (report.at, report.sequence, token, usage.received.bytes)
            })
        });
        entries.collect()
    };
    let whole = entries(&pending);
    assert_eq!(whole.len(), 900);
    assert_eq!(entries(&loaded(folder.path())), whole);
    let path = folder.path().join("usage.pending");
    let bytes = fs::read(&path).expect("readable");
    let mut cases = 0;
    for at in (0..bytes.len()).step_by(97) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        for damaged in [flipped, bytes[..at].to_vec()] {
            fs::write(&path, &damaged).expect("written");
            let found = entries(&loaded(folder.path()));
            assert!(
                whole.starts_with(&found),
                "byte {at}: what was never written"
            );
            assert!(!path.exists(), "byte {at}: the file is set aside");
            cases += 1;
        }
    }
    println!("{cases} damaged files");
    assert!(cases > 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_before_it_is_on_disk_and_a_disk_that_comes_back_is_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().join("usage");
    let usage = Usage::start(&folder, Duration::from_millis(5)).expect("starts");
    let reports = usage.reports();
    fs::remove_dir_all(&folder).expect("gone");
    let meter = usage.meter();
    meter.settled(TokenId(1), Tally::new(4, 40), Tally::new(4, 40));
    for _ in 0..5 {
        assert!(!usage.flush().await);
        assert!(reports.first.borrow().is_none(), "not on disk, and shown");
    }
    fs::create_dir(&folder).expect("made");
    let mut first = reports.first.clone();
    let shown = first.wait_for(Option::is_some);
    let shown = tokio::time::timeout(Duration::from_secs(10), shown).await;
    let report = shown
        .expect("in time")
        .expect("counting")
        .clone()
        .expect("there");
    assert_eq!(report.tokens[&TokenId(1)].received, Tally::new(4, 40));
    reports.acknowledged(report.epoch, report.sequence);
    assert!(usage.finish(Duration::from_secs(10)).await);
    usage.close().await;
    assert!(loaded(&folder).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_earlier_start_tells_its_reports_under_its_own_epoch_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let every = Duration::from_secs(3_600);
    let usage = Usage::start(folder.path(), every).expect("starts");
    usage
        .meter()
        .settled(TokenId(1), Tally::new(1, 10), Tally::default());
    usage.flush().await;
    let earlier = usage.reports().first.borrow().clone().expect("sealed");
    usage
        .meter()
        .settled(TokenId(1), Tally::new(2, 20), Tally::default());
    usage.close().await;
    let usage = Usage::start(folder.path(), every).expect("starts again");
    let reports = usage.reports();
    assert_eq!(reports.first.borrow().as_deref(), Some(&*earlier));
    reports.acknowledged(earlier.epoch, earlier.sequence);
    usage.flush().await;
    usage.flush().await;
    let later = reports.first.borrow().clone().expect("the rest");
    assert_ne!(later.epoch, earlier.epoch);
    assert_eq!(
        (later.sequence, later.tokens[&TokenId(1)].received.items),
        (1, 2)
    );
    usage.close().await;
}

fn account(id: u64) -> Arc<Account> {
    let Change::Account(record) = tests::account(id) else {
        panic!("an account");
    };
    Registers::default().attach(record)
}

fn accept(meter: &Meter, token: u64, of: u64) {
    let look = || Ok::<_, Infallible>(account(of));
    meter.accepted(TokenId(token), look).expect("found");
    // Another millisecond.
    std::thread::sleep(Duration::from_millis(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_accounts_the_latest_token_is_told_and_what_an_earlier_start_left_whosever_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let every = Duration::from_secs(3_600);
    let usage = Usage::start(folder.path(), every).expect("starts");
    accept(&usage.meter(), 9, 5);
    usage.close().await;

    let usage = Usage::start(folder.path(), every).expect("starts again");
    let (one, other) = (usage.meter(), usage.meter());
    accept(&one, 1, 5);
    accept(&other, 2, 5);
    // What was taken from the pages, and what is in them.
    usage.flush().await;
    accept(&one, 3, 6);
    accept(&other, 4, 7);
    let reports = usage.reports();
    let told = |accounts: &[u64]| {
        let accounts: HashSet<_> = accounts.iter().map(|id| AccountId(*id)).collect();
        let mut told = reports.accepted_of(&accounts);
        told.sort_unstable_by_key(|(token, _)| *token);
        let whose = |(token, last): (TokenId, Acceptance)| (token.0, last.account);
        told.into_iter().map(whose).collect::<Vec<_>>()
    };
    assert_eq!(told(&[5, 6]), [(2, 5), (3, 6), (9, 0)]);
    assert_eq!(told(&[8]), [(9, 0)]);
    // Used once more, it is known whose it is.
    accept(&one, 9, 5);
    usage.flush().await;
    assert_eq!(told(&[5]), [(9, 5)]);
    usage.close().await;
}
