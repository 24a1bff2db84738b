//! The directory: states told apart, snapshots and deltas, freshness.

use super::*;
use crate::model::{self, AccountState, DestinationKind, Limits, Token};

pub(super) fn account(id: u64) -> Change {
    Change::Account(model::Account {
        id: AccountId(id),
        name: format!("account {id}"),
        state: AccountState::Active,
        limits: Limits::default(),
        draws_on: None,
        destinations: [Some(DestinationId(1)), None, None],
    })
}

pub(super) fn destination(id: u64, password: &str) -> Change {
    let mut destination = Destination::new(DestinationId(id), "there", DestinationKind::Http);
    destination.credentials = model::Credentials::Basic {
        user: "u".into(),
        password: model::Secret::new(password.into()),
    };
    Change::Destination(destination)
}

pub(super) fn key() -> DigestKey {
    DigestKey::new(3, [9; 32])
}

pub(super) fn text(n: u64) -> String {
    format!("token-number-{n:08}")
}

pub(super) fn token(n: u64, state: TokenState) -> Change {
    Change::Token(Token {
        id: TokenId(n),
        digest: key().digest(text(n).as_bytes()),
        account: AccountId(1),
        signal: Signal::Metrics,
        state,
        expires_at: 0,
        sources: model::Sources::ANYWHERE,
        rates: model::Rates::default(),
    })
}

pub(super) fn filled(tokens: u64) -> Directory {
    let directory = Directory::new(Config::default());
    let mut collected = Collected::new("store", key(), tokens);
    collected.push(destination(1, "hush-hush-secret"));
    collected.push(account(1));
    for n in 1..=tokens {
        collected.push(token(n, TokenState::Live));
    }
    directory.install(collected, Vec::new(), Revision(1));
    directory
}

pub(super) fn state_of(directory: &Directory, n: u64) -> Option<TokenState> {
    let (_, entry) = directory.look_up(text(n).as_bytes())?;
    entry.map(|entry| entry.state)
}

#[test]
fn an_empty_directory_knows_nothing_and_says_so() {
    let directory = Directory::new(Config::default());
    assert!(directory.digest(b"token").is_none());
    assert!(directory.look_up(b"token").is_none());
    assert!(!directory.is_fresh() && !directory.is_loaded() && directory.is_stale());
    assert_eq!(directory.age(), None);
    assert_eq!((directory.revision(), directory.tokens()), (Revision(0), 0));
}

#[test]
fn a_token_leads_to_its_account_and_to_no_other() {
    let directory = filled(10);
    directory.apply(Revision(2), vec![account(2)]);
    let digest = directory.digest(text(4).as_bytes()).expect("a key");
    let found = directory.find(&digest).expect("there");
    assert_eq!((found.token, found.signal), (TokenId(4), Signal::Metrics));
    assert_eq!(found.account.expect("its account").record.id, AccountId(1));
    directory.apply(Revision(3), vec![Change::AccountRemoved(AccountId(1))]);
    assert!(
        directory
            .find(&digest)
            .expect("still known")
            .account
            .is_none()
    );
    assert_eq!(directory.accounts().len(), 1);
    assert!(directory.books(AccountId(1)).is_some());
}

#[test]
fn a_token_may_come_before_its_account() {
    let directory = filled(0);
    directory.apply(Revision(2), vec![Change::AccountRemoved(AccountId(1))]);
    directory.apply(Revision(3), vec![token(1, TokenState::Live)]);
    directory.apply(Revision(4), vec![account(1)]);
    let (_, entry) = directory.look_up(text(1).as_bytes()).expect("a key");
    assert!(entry.expect("there").account.is_some());
}

pub(super) fn bound(n: u64, state: TokenState, networks: &[&str]) -> Change {
    let Change::Token(mut token) = token(n, state) else {
        panic!("a token");
    };
    let networks = networks.iter().map(|text| text.parse().expect("a network"));
    token.sources = model::Sources::only(networks);
    Change::Token(token)
}

fn allows(directory: &Directory, n: u64, address: &str) -> bool {
    let (_, entry) = directory.look_up(text(n).as_bytes()).expect("a key");
    let address = address.parse().expect("an address");
    entry.expect("there").sources.allow(address)
}

#[test]
fn a_token_is_bound_to_its_networks_by_a_delta_and_by_a_snapshot_and_let_go_by_either() {
    const INSIDE: &str = "::ffff:192.0.2.1";
    const OUTSIDE: &str = "198.51.100.1";
    let directory = filled(3);
    assert!(allows(&directory, 1, OUTSIDE));
    // Of changes in one revision the last holds.
    directory.apply(
        Revision(2),
        vec![
            bound(1, TokenState::Live, &["192.0.2.0/24"]),
            bound(2, TokenState::Live, &["192.0.2.0/24"]),
            bound(2, TokenState::Live, &["2001:db8::/32"]),
            bound(3, TokenState::Live, &["192.0.2.0/24"]),
            token(3, TokenState::Live),
        ],
    );
    assert!(allows(&directory, 1, INSIDE) && !allows(&directory, 1, OUTSIDE));
    assert!(allows(&directory, 2, "2001:db8::1") && !allows(&directory, 2, INSIDE));
    assert!(allows(&directory, 3, OUTSIDE));
    let rows = [
        destination(1, "hush-hush-secret"),
        account(1),
        bound(1, TokenState::Live, &["192.0.2.0/24"]),
        bound(2, TokenState::Live, &["2001:db8::/32"]),
        token(3, TokenState::Live),
    ];
    assert_eq!(directory.hash(), content_hash(rows.clone()));

    let mut collected = Collected::new("store", key(), 3);
    rows.into_iter().for_each(|row| collected.push(row));
    collected.push(bound(3, TokenState::Live, &[]));
    let beside = vec![token(1, TokenState::Live)];
    directory.install(collected, beside, Revision(3));
    assert!(allows(&directory, 1, OUTSIDE));
    assert!(allows(&directory, 2, "2001:db8::1") && !allows(&directory, 2, INSIDE));
    assert!(!allows(&directory, 3, INSIDE));
}

#[test]
fn books_survive_a_snapshot() {
    let directory = filled(1);
    let before = directory.books(AccountId(1)).expect("books");
    let mut collected = Collected::new("another", key(), 0);
    collected.push(account(1));
    directory.install(collected, Vec::new(), Revision(9));
    assert!(Arc::ptr_eq(&before, &directory.accounts()[0].books));
}

#[test]
fn an_unchanged_destination_keeps_its_identity() {
    let directory = filled(1);
    let before = directory.destination(DestinationId(1)).expect("there");
    directory.apply(Revision(2), vec![destination(1, "hush-hush-secret")]);
    let again = directory.destination(DestinationId(1)).expect("there");
    assert!(Arc::ptr_eq(&before, &again));
    directory.apply(Revision(3), vec![destination(1, "changed")]);
    let changed = directory.destination(DestinationId(1)).expect("there");
    assert!(!Arc::ptr_eq(&before, &changed));
    directory.apply(
        Revision(4),
        vec![Change::DestinationRemoved(DestinationId(1))],
    );
    assert!(directory.destination(DestinationId(1)).is_none());
}

#[test]
fn fresh_means_at_the_head_a_moment_ago() {
    let directory = filled(1);
    assert!(!directory.is_fresh(), "no heartbeat yet");
    directory.heard(Revision(2), Instant::now());
    assert!(!directory.is_fresh(), "behind the head");
    directory.apply(Revision(2), vec![token(2, TokenState::Live)]);
    assert!(directory.is_fresh(), "has caught up");
    directory.heard(Revision(3), Instant::now());
    assert!(directory.is_fresh(), "was fresh a moment ago");

    let late = Directory::new(Config {
        fresh_within: Duration::from_millis(20),
        ..Config::default()
    });
    late.install(Collected::new("store", key(), 0), Vec::new(), Revision(1));
    late.heard(Revision(1), Instant::now());
    assert!(late.is_fresh());
    thread::sleep(Duration::from_millis(40));
    assert!(!late.is_fresh());
    assert!(late.age().expect("known") >= Duration::from_millis(40));
    assert!(!late.is_stale());
}

#[test]
fn the_hash_is_that_of_the_content_whatever_its_order() {
    let directory = filled(50);
    let mut rows: Vec<Change> = (1..=50).map(|n| token(n, TokenState::Live)).collect();
    rows.push(account(1));
    rows.push(destination(1, "hush-hush-secret"));
    assert_eq!(directory.hash(), content_hash(rows.clone()));
    rows.reverse();
    assert_eq!(directory.hash(), content_hash(rows));
    let before = directory.hash();
    directory.apply(Revision(2), vec![token(7, TokenState::Revoked)]);
    assert_ne!(directory.hash(), before);
}

#[test]
fn a_large_snapshot_replaces_the_table_under_readers_without_a_gap() {
    let directory = Arc::new(filled(1_000));
    let done = Arc::new(AtomicBool::new(false));
    let (reader, stop) = (Arc::clone(&directory), Arc::clone(&done));
    let reading = thread::spawn(move || {
        let mut reads = 0u64;
        while !stop.load(Ordering::Relaxed) {
            for n in 1..=1_000 {
                assert_eq!(state_of(&reader, n), Some(TokenState::Live));
                reads += 1;
            }
        }
        reads
    });
    for revision in 2..30 {
        let mut collected = Collected::new("store", key(), 1_000);
        collected.push(account(1));
        (1..=1_000).for_each(|n| collected.push(token(n, TokenState::Live)));
        directory.install(collected, Vec::new(), Revision(revision));
    }
    done.store(true, Ordering::Relaxed);
    assert!(reading.join().expect("a reader missed a token") > 0);
}

#[test]
fn config_takes_human_durations_and_refuses_unknown_keys() {
    let config: Config = toml::from_str("fresh_within = \"3s\"").expect("valid");
    assert_eq!(config.fresh_within, Duration::from_secs(3));
    assert_eq!(config.stale_after, Duration::from_secs(86_400));
    assert!(toml::from_str::<Config>("fresh = \"3s\"").is_err());
    assert!(toml::from_str::<Config>("fresh_within = \"soon\"").is_err());
}

fn paced(id: u64, per_second: u64) -> Change {
    let Change::Account(mut record) = account(id) else {
        unreachable!("an account");
    };
    record.limits.rates.0[0].per_second = per_second;
    Change::Account(record)
}

#[test]
fn rates_hold_once_they_are_told_and_never_from_a_snapshot_that_is_refused() {
    let directory = filled(20_000);
    let rate = || {
        let accounts = directory.accounts();
        let rate = accounts[0].buckets.of(model::Measure::Requests).rate();
        assert_eq!(
            rate.per_second,
            accounts[0].record.limits.rates.0[0].per_second
        );
        rate.per_second
    };
    assert_eq!(rate(), 0);
    directory.apply(Revision(2), vec![paced(1, 9), paced(1, 5)]);
    assert_eq!(rate(), 5);
    let mut wrong = Collected::new("another store", key(), 0);
    wrong.push(paced(1, 1_000_000));
    let position = Revision(7).into();
    let refused = directory.install_guarded(wrong, vec![paced(1, 2_000_000)], position);
    assert!(refused.is_err());
    assert_eq!(rate(), 5);
    let mut again = Collected::new("store", key(), 0);
    again.push(paced(1, 6));
    directory.install(again, vec![paced(1, 7)], Revision(3));
    assert_eq!(rate(), 7);
}

/// A store's snapshot with those accounts, in that order, and 1,500 tokens of account 1.
fn snapshot_of(
    store: &str,
    key: &DigestKey,
    accounts: &[(u64, AccountState)],
    expires_at: u32,
) -> Collected {
    let mut collected = Collected::new(store, key.clone(), 1_500);
    for (id, state) in accounts {
        let Change::Account(mut record) = account(*id) else {
            unreachable!("an account");
        };
        record.state = *state;
        collected.push(Change::Account(record));
        // Of no account that there is: it takes a slot of its own.
        let Change::Token(mut stray) = token(9_000 + id, TokenState::Revoked) else {
            unreachable!("a token");
        };
        stray.account = AccountId(100 + id);
        collected.push(Change::Token(stray));
    }
    for n in 1..=1_500 {
        let Change::Token(mut token) = token(n, TokenState::Live) else {
            unreachable!("a token");
        };
        token.digest = key.digest(text(n).as_bytes());
        token.expires_at = expires_at;
        collected.push(Change::Token(token));
    }
    collected
}

#[test]
fn of_another_store_no_snapshot_is_taken_in_which_most_tokens_are_good_no_more() {
    use AccountState::{Active, Suspended};
    let directory = Directory::new(Config::default());
    let first = snapshot_of("store", &key(), &[(2, Suspended), (1, Active)], 0);
    directory.install(first, Vec::new(), Revision(1));
    let offer = |snapshot| {
        let position = Revision(9).into();
        directory.install_guarded(snapshot, Vec::new(), position)
    };
    let other_key = DigestKey::new(4, [8; 32]);
    let past = clock::wall_seconds() - 1;
    let both = [(1, Active), (2, Active)];
    let suspended = [(3, Active), (1, Suspended), (2, Active)];
    for (what, snapshot) in [
        ("another key", snapshot_of("other", &other_key, &both, 0)),
        (
            "a suspended account",
            snapshot_of("other", &key(), &suspended, 0),
        ),
        (
            "no account",
            snapshot_of("other", &key(), &[(2, Active)], 0),
        ),
        (
            "tokens past their time",
            snapshot_of("other", &key(), &both, past),
        ),
    ] {
        let taken = offer(snapshot).expect_err(what);
        assert_eq!(taken.to_string(), "1500 of 1500 live tokens", "{what}");
        assert_eq!(state_of(&directory, 7), Some(TokenState::Live), "{what}");
    }
    let good = snapshot_of(
        "other",
        &key(),
        &[(2, Suspended), (3, Suspended), (1, Active)],
        0,
    );
    assert!(offer(good).is_ok());
    // Of the same store it is meant. What was shut out before is no loss to another one.
    assert!(offer(snapshot_of("other", &key(), &suspended, 0)).is_ok());
    assert!(offer(Collected::new("third", key(), 0)).is_ok());
}
