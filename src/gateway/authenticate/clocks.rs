//! Clocks that are wrong, or set while we run: what is unknown, what is known, and what has expired.

use std::{
    net::Ipv4Addr,
    thread,
    time::{Duration, Instant},
};

use http::Request;

use super::identify;
use crate::{
    clock::{self, steps},
    directory::{Collected, Config, Directory},
    model::{
        Account, AccountId, AccountState, Change, DigestKey, Limits, Rates, Rejection, Revision,
        Signal, Sources, Token, TokenId, TokenState,
    },
};

const KNOWN: &str = "known-to-the-table";
const UNKNOWN: &str = "nobody-has-heard-of-it";
const FRESH_WITHIN: Duration = Duration::from_millis(150);
const TEN_YEARS: i64 = 10 * 365 * 86_400;
const STEPS: [i64; 5] = [0, TEN_YEARS, -TEN_YEARS, 3, -3];

fn directory(expires_at: u32) -> Directory {
    directory_with(AccountState::Active, |token| token.expires_at = expires_at)
}

/// One account of that state, and one live token of it that is `changed`.
fn directory_with(account: AccountState, changed: impl FnOnce(&mut Token)) -> Directory {
    let directory = Directory::new(Config {
        fresh_within: FRESH_WITHIN,
        ..Config::default()
    });
    let key = DigestKey::new(1, [7; 32]);
    let digest = key.digest(KNOWN.as_bytes());
    let mut collected = Collected::new("store", key, 1);
    collected.push(Change::Account(Account {
        id: AccountId(1),
        name: "acme".into(),
        state: account,
        limits: Limits::default(),
        draws_on: None,
        destinations: [None; 3],
    }));
    let mut token = Token {
        id: TokenId(1),
        digest,
        account: AccountId(1),
        signal: Signal::Logs,
        state: TokenState::Live,
        expires_at: 0,
        sources: Sources::default(),
        rates: Rates::default(),
    };
    changed(&mut token);
    collected.push(Change::Token(token));
    directory.install(collected, Vec::new(), Revision(1));
    directory
}

/// Why a token is refused now; `None` when it isn't.
fn refused(directory: &Directory, token: &str) -> Option<Rejection> {
    let head = Request::post("/").header("authorization", format!("Bearer {token}"));
    let head = head.body(()).expect("valid");
    identify(directory, &head, Ipv4Addr::LOCALHOST.into())
        .err()
        .map(|refused| refused.rejection)
}

#[test]
fn unknown_is_told_from_dead_by_how_long_ago_the_feed_was_heard_and_by_no_clock() {
    let mut cases = 0;
    for at_first in STEPS {
        for meanwhile in STEPS {
            steps::set(at_first);
            let directory = directory(0);
            assert_eq!(refused(&directory, KNOWN), None);
            let never_heard = refused(&directory, UNKNOWN);
            assert_eq!(never_heard, Some(Rejection::DirectoryStale));
            directory.heard(Revision(1), Instant::now());
            assert_eq!(refused(&directory, UNKNOWN), Some(Rejection::UnknownToken));
            steps::set(meanwhile);
            assert_eq!(refused(&directory, KNOWN), None);
            assert_eq!(refused(&directory, UNKNOWN), Some(Rejection::UnknownToken));
            assert!(directory.is_fresh() && !directory.is_stale());
            thread::sleep(FRESH_WITHIN + Duration::from_millis(20));
            steps::set(at_first);
            assert_eq!(refused(&directory, KNOWN), None, "known ones are served on");
            let old = refused(&directory, UNKNOWN);
            assert_eq!(
                old,
                Some(Rejection::DirectoryStale),
                "{at_first} {meanwhile}"
            );
            assert!(!directory.is_stale(), "not for a day");
            cases += 1;
        }
    }
    steps::set(0);
    println!("{cases} pairs of clocks");
    assert_eq!(cases, STEPS.len() * STEPS.len());
}

#[test]
fn what_may_have_been_taken_back_is_not_called_dead_by_a_table_that_would_not_know() {
    type Case = (AccountState, fn(&mut Token), Rejection);
    let cases: [Case; 5] = [
        (
            AccountState::Active,
            |token| token.state = TokenState::Disabled,
            Rejection::DisabledToken,
        ),
        (
            AccountState::Active,
            |token| token.expires_at = 1,
            Rejection::ExpiredToken,
        ),
        (
            AccountState::Active,
            |token| token.sources = Sources::only([]),
            Rejection::SourceNotAllowed,
        ),
        (
            AccountState::Active,
            |token| token.account = AccountId(2),
            Rejection::SuspendedAccount,
        ),
        (AccountState::Suspended, |_| (), Rejection::SuspendedAccount),
    ];
    for (account, changed, rejection) in cases {
        let directory = directory_with(account, changed);
        let stale = Some(Rejection::DirectoryStale);
        assert_eq!(refused(&directory, KNOWN), stale, "{rejection:?}");
        directory.heard(Revision(1), Instant::now());
        assert_eq!(refused(&directory, KNOWN), Some(rejection.clone()));
        thread::sleep(FRESH_WITHIN + Duration::from_millis(20));
        assert_eq!(refused(&directory, KNOWN), stale, "{rejection:?}");
    }
    // What is final stays so, however old the table is.
    let directory = directory_with(AccountState::Active, |token| {
        token.state = TokenState::Revoked;
    });
    assert_eq!(refused(&directory, KNOWN), Some(Rejection::RevokedToken));
}

#[test]
fn expiry_alone_goes_by_the_wall_clock_and_comes_back_with_it() {
    let directory = directory(clock::wall_seconds() + 3_600);
    directory.heard(Revision(1), Instant::now());
    for (ahead, expected) in [
        (0, None),
        (3_590, None),
        (3_700, Some(Rejection::ExpiredToken)),
        (TEN_YEARS, Some(Rejection::ExpiredToken)),
        (-TEN_YEARS, None),
        (0, None),
    ] {
        steps::set(ahead);
        assert_eq!(refused(&directory, KNOWN), expected, "{ahead}");
    }
    steps::set(0);
}
