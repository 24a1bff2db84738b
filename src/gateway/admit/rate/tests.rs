//! What a request pays, whatever becomes of it.

use super::*;
use crate::{
    directory::{Account, Collected, Config, Directory},
    model::{
        self, AccountId, AccountState, Change, DigestKey, Limits, Rate, Rates, Revision, Signal,
        Sources, Token, TokenId, TokenState,
    },
};

const BURST: u64 = 1_000;
/// Slow enough that nothing comes back while a test runs.
const SLOW: Rate = Rate {
    per_second: 1,
    burst: BURST,
};
const KEY: [u8; 32] = [7; 32];
const TOKEN: &str = "a-token-with-rates";

/// An account that draws on its main account, and its token, each with the same rates.
fn caller() -> (Directory, Caller) {
    let directory = Directory::new(Config::default());
    let key = DigestKey::new(1, KEY);
    let rates = Rates([SLOW; 3]);
    let mut collected = Collected::new("store", key.clone(), 1);
    for (id, draws_on) in [(1, None), (2, Some(AccountId(1)))] {
        collected.push(Change::Account(model::Account {
            id: AccountId(id),
            name: format!("account {id}"),
            state: AccountState::Active,
            limits: Limits {
                rates,
                ..Limits::default()
            },
            draws_on,
            destinations: [None; 3],
        }));
    }
    collected.push(Change::Token(Token {
        id: TokenId(1),
        digest: key.digest(TOKEN.as_bytes()),
        account: AccountId(2),
        signal: Signal::Logs,
        state: TokenState::Live,
        expires_at: 0,
        sources: Sources::ANYWHERE,
        rates,
    }));
    directory.install(collected, Vec::new(), Revision(1));
    let head = http::Request::post("/").header("authorization", format!("Bearer {TOKEN}"));
    let head = head.body(()).expect("valid");
    let from = std::net::Ipv4Addr::LOCALHOST.into();
    let caller = crate::gateway::authenticate::identify(&directory, &head, from);
    let caller = caller.unwrap_or_else(|refused| panic!("{refused:?}"));
    (directory, caller)
}

fn all_buckets(caller: &Caller) -> [Arc<Buckets>; 3] {
    let account: &Account = &caller.account;
    [
        caller.buckets.clone().expect("its token has rates"),
        Arc::clone(&account.buckets),
        account.main_buckets.clone().expect("it draws on its main"),
    ]
}

/// What is missing from each of the token's, the account's and the main account's buckets; it must be the same of all three.
fn paid(caller: &Caller) -> [i64; 3] {
    let now = now();
    let levels = all_buckets(caller).map(|buckets| {
        Measure::ALL.map(|measure| {
            let level = buckets.of(measure).level(now).expect("a rate");
            i64::try_from(BURST).expect("small") - level
        })
    });
    assert!(levels.iter().all(|of| *of == levels[0]), "{levels:?}");
    levels[0]
}

fn entered(caller: &Caller) -> Charge {
    let mut charge = Charge::check(caller).expect("there is room");
    charge.enter().expect("there is room");
    charge
}

#[test]
fn what_is_taken_is_paid_by_all_once_it_is_in() {
    let (_directory, caller) = caller();
    let mut charge = entered(&caller);
    charge.read(100);
    charge.read(200);
    assert_eq!(paid(&caller), [1, 300, 0]);
    charge.settle(7).expect("there is room");
    drop(charge);
    assert_eq!(paid(&caller), [1, 300, 7]);
}

#[test]
fn what_fails_by_itself_has_cost_what_was_read_of_it() {
    let (_directory, caller) = caller();
    let mut charge = entered(&caller);
    charge.read(300);
    drop(charge);
    assert_eq!(paid(&caller), [1, 300, 0]);
}

#[test]
fn what_fails_on_our_side_has_cost_nothing_before_and_after_its_end() {
    let (_directory, caller) = caller();
    let mut charge = entered(&caller);
    charge.read(300);
    charge.give_back();
    drop(charge);
    assert_eq!(paid(&caller), [0; 3]);
    let mut charge = entered(&caller);
    charge.read(300);
    charge.settle(7).expect("there is room");
    charge.give_back();
    drop(charge);
    assert_eq!(paid(&caller), [0; 3]);
}

#[test]
fn what_one_payer_refuses_no_other_one_pays() {
    for empty in 0..3 {
        for measure in [Measure::Bytes, Measure::Items] {
            let (_directory, caller) = caller();
            let mut charge = entered(&caller);
            charge.read(300);
            // Meanwhile others have taken all that is left.
            let bucket = all_buckets(&caller)[empty].clone();
            let mut others = Share::default();
            bucket.of(measure).charge(BURST, &mut others, now());
            let refused = charge.settle(7).expect_err("it is empty");
            let payer = [Payer::Token, Payer::Account, Payer::MainAccount][empty];
            let Rejection::Throttled { over, .. } = refused else {
                panic!("{refused:?}");
            };
            assert_eq!(over, Over::Rate(payer, measure));
            drop(charge);
            bucket.of(measure).give_back(&others, now());
            assert_eq!(paid(&caller), [1, 0, 0], "{payer:?} {measure:?}");
        }
    }
}

#[test]
fn a_body_on_its_way_counts_as_far_as_it_has_come() {
    let (_directory, caller) = caller();
    let mut slow = entered(&caller);
    slow.read(1);
    assert!(Charge::check(&caller).is_ok());
    slow.read(BURST);
    let refused = Charge::check(&caller).expect_err("nothing is left");
    assert!(
        matches!(refused, Rejection::Throttled { .. }),
        "{refused:?}"
    );
    slow.settle(7)
        .expect("what it has paid itself is no hindrance");
    assert_eq!(paid(&caller), [1, 1 + BURST as i64, 7]);
}

#[test]
fn of_empty_buckets_the_one_that_takes_longest_is_told() {
    for (longer, payer) in [(0, Payer::Token), (2, Payer::MainAccount)] {
        let (_directory, caller) = caller();
        let mut charge = entered(&caller);
        for (at, bucket) in all_buckets(&caller).iter().enumerate() {
            let owed = if at == longer { 60 } else { 20 };
            let items = bucket.of(Measure::Items);
            items.charge(BURST + owed, &mut Share::default(), now());
        }
        let refused = charge.settle(7).expect_err("they are empty");
        let Rejection::Throttled {
            over, retry_after, ..
        } = refused
        else {
            panic!("{refused:?}");
        };
        assert_eq!(over, Over::Rate(payer, Measure::Items));
        assert!(
            (55..=61).contains(&retry_after.as_secs()),
            "{retry_after:?}"
        );
    }
}
