//! The books balance, to the item and to the byte, after a seeded load of everything that can happen to a request.
//!
//! `WHARFINGER_DOSE=20000 cargo test --test books -- --nocapture` is the deep dose; `WHARFINGER_SEED` picks another load.

mod parcel;
mod weigh;
#[path = "../world/mod.rs"]
mod world;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tokio::task::JoinSet;

use parcel::{Dice, FATES, Fate, parcel, send};
use weigh::{archived_items, weigh};
use world::{
    Recorder, World, bodies,
    live::{self, metric_in},
    recorder::{Recorded, Script},
};

const SIGNALS: [&str; 3] = ["logs", "metrics", "traces"];

/// A destination and what it does.
struct Place {
    name: &'static str,
    recorder: Option<Recorder>,
    /// Of what reaches it, whether it takes it; and how many items of each request it refuses all the same.
    takes: bool,
    refuses_items: u64,
    account: u64,
    tokens: [String; 3],
}

/// What the senders know when all is over.
#[derive(Default)]
struct Known {
    /// Items that were answered with success, by account and signal.
    acknowledged: BTreeMap<(u64, &'static str), u64>,
    /// Items whose senders did not wait for the answer.
    unheard: BTreeMap<(u64, &'static str), u64>,
    fates: BTreeMap<Fate, usize>,
    answers: BTreeMap<String, usize>,
}

async fn places(world: &World) -> Vec<Place> {
    // A 2.0 receiver that takes all of it says so; one that doesn't says that it wrote one sample.
    let takes = || Script::status(200).written(|request| weigh(request).1);
    let one = |status| Script::status(status).written(|_| 1);
    let two = [bodies::number(1, 2), bodies::field(2, b"two too many")].concat();
    let partial = Script::status(200)
        .header("content-type", "application/x-protobuf")
        .body(bodies::field(1, &two));
    let mut places = Vec::new();
    for (name, kind, script, takes, refuses_items) in [
        ("archive", "archive", None, true, 0),
        ("takes", "http", Some(takes()), true, 0),
        ("falls-short", "http", Some(one(200)), true, 0),
        (
            "slow",
            "http",
            Some(takes().after(Duration::from_millis(80))),
            true,
            0,
        ),
        ("refuses", "http", Some(one(400)), false, 0),
        ("down", "http", Some(one(503)), false, 0),
        ("not-ours", "http", Some(one(401)), false, 0),
        (
            "otlp-takes",
            "otlp_http",
            Some(Script::status(200)),
            true,
            0,
        ),
        ("otlp-partial", "otlp_http", Some(partial), true, 2),
        (
            "grpc-takes",
            "otlp_grpc",
            Some(Script::grpc(0, "", Some(&[]))),
            true,
            0,
        ),
        (
            "grpc-partial",
            "otlp_grpc",
            Some(Script::grpc(0, "", Some(&bodies::field(1, &two)))),
            true,
            2,
        ),
        (
            "grpc-refuses",
            "otlp_grpc",
            Some(Script::grpc(3, "no", None)),
            false,
            0,
        ),
    ] {
        let recorder = match script {
            Some(script) => {
                let recorder = Recorder::start().await;
                recorder.answer(script);
                world.destination(name, kind, &recorder.url()).await;
                Some(recorder)
            }
            None => None,
        };
        let account = world.account(&format!("account-{name}"), name).await;
        let mut tokens = [const { String::new() }; 3];
        for (token, signal) in tokens.iter_mut().zip(SIGNALS) {
            *token = world.token(&format!("account-{name}"), signal).await.1;
        }
        places.push(Place {
            name,
            recorder,
            takes,
            refuses_items,
            account,
            tokens,
        });
    }
    places
}

fn column(page: &Value, name: &str, unit: &str) -> u64 {
    page[name][unit].as_u64().expect("a number")
}

fn refused(page: &Value, unit: &str) -> u64 {
    let reasons = page["refused"].as_object().expect("reasons");
    reasons
        .values()
        .map(|tally| tally[unit].as_u64().expect("a number"))
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_books_balance_after_everything_that_can_happen() {
    let world = World::start_with(|config| {
        config.receive.body_timeout = Duration::from_secs(1);
        config.receive.body_window = Duration::from_secs(1);
    })
    .await;
    let places = places(&world).await;
    let seed =
        std::env::var("WHARFINGER_SEED").map_or(20_261_123, |text| text.parse().expect("a number"));
    let mut dice = Dice(seed);
    let known = Arc::new(Mutex::new(Known::default()));
    let total = live::dose(400);
    let mut flights = JoinSet::new();
    for _ in 0..total {
        let place = &places[dice.below(places.len())];
        let mut fate = dice.one_of(&FATES);
        let signal = if fate == Fate::Partial {
            0
        } else {
            dice.below(3)
        };
        if fate == Fate::TooLarge && dice.below(4) > 0 {
            fate = Fate::WrongType;
        }
        let token = match fate {
            Fate::WrongToken => "whf_s_00000000000000000000000000000000000000",
            Fate::WrongSignal => &place.tokens[(signal + 1) % 3],
            _ => &place.tokens[signal],
        };
        let parcel = parcel(&world, &mut dice, fate, signal, token);
        let (known, account) = (Arc::clone(&known), place.account);
        if flights.len() >= 32 {
            let flight: Option<Result<(), _>> = flights.join_next().await;
            flight.expect("some").expect("no panic");
        }
        flights.spawn(async move {
            let outcome = send(&parcel, fate).await;
            let mut known = known.lock().expect("not poisoned");
            *known.fates.entry(fate).or_default() += 1;
            let key = (account, SIGNALS[signal]);
            match outcome {
                Some((is_success, answer)) => {
                    *known.answers.entry(answer).or_default() += 1;
                    if is_success {
                        *known.acknowledged.entry(key).or_default() += parcel.items;
                    }
                }
                None => *known.unheard.entry(key).or_default() += parcel.items,
            }
        });
    }
    while let Some(flight) = flights.join_next().await {
        flight.expect("no panic");
    }
    world::eventually("nothing is in flight", async || {
        let page = world.page("/metrics").await.text();
        metric_in(&page, "wharfinger_requests_in_flight", "") == 0.0
            && metric_in(&page, "wharfinger_body_in_flight_bytes", "") == 0.0
            && metric_in(&page, "wharfinger_items_in_flight", "") == 0.0
    })
    .await;
    let known = std::mem::take(&mut *known.lock().expect("not poisoned"));
    println!(
        "seed {seed}: {total} requests; {:?}; {:?}",
        known.fates, known.answers
    );
    check_accounts(&world, &places, &known).await;
    check_totals(&world).await;
}

/// Each account's pages: they balance, and say what its destination holds and its senders were told.
async fn check_accounts(world: &World, places: &[Place], known: &Known) {
    let (mut pages, mut items) = (0, 0);
    for place in places {
        let mut held: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for request in place.recorder.iter().flat_map(Recorder::recorded) {
            let (signal, items, bytes) = weigh(&request);
            let sum = held.entry(signal).or_default();
            // What a 2.0 receiver says it wrote is what it holds.
            sum.0 += if place.name == "falls-short" && is_write_2(&request) {
                1
            } else {
                items.saturating_sub(place.refuses_items)
            };
            sum.1 += bytes;
        }
        for signal in SIGNALS {
            let page = world.books(place.account, signal).await;
            let what = format!("{} {signal}: {page}", place.name);
            for unit in ["items", "bytes"] {
                let ended = column(&page, "delivered", unit)
                    + refused(&page, unit)
                    + column(&page, "lost", unit);
                assert_eq!(column(&page, "received", unit), ended, "{what}");
                assert_eq!(column(&page, "in_flight", unit), 0, "{what}");
                assert_eq!(column(&page, "lost", unit), 0, "{what}");
            }
            let delivered = column(&page, "delivered", "items");
            // A 2.0 receiver that refuses says all the same how much it wrote: one sample of each request.
            let written = |recorder: &Recorder| {
                let recorded = recorder.recorded();
                recorded.iter().filter(|one| is_write_2(one)).count() as u64
            };
            let (held_items, held_bytes) = match &place.recorder {
                None => (archived_items(world, place.account, signal), 0),
                Some(_) if place.takes => held.get(signal).copied().unwrap_or_default(),
                Some(recorder) if place.name == "refuses" && signal == "metrics" => {
                    (written(recorder), 0)
                }
                Some(_) => (0, 0),
            };
            assert_eq!(delivered, held_items, "{what}");
            if place.name == "takes" || place.name == "slow" {
                assert_eq!(column(&page, "delivered", "bytes"), held_bytes, "{what}");
            }
            let key = (place.account, signal);
            let told = known.acknowledged.get(&key).copied().unwrap_or(0);
            let unheard = known.unheard.get(&key).copied().unwrap_or(0);
            let says_all = place.name != "falls-short" || signal != "metrics";
            if place.refuses_items == 0 && place.takes && says_all {
                assert!(
                    (told..=told + unheard).contains(&delivered),
                    "{told} {unheard} {what}"
                );
            }
            pages += 1;
            items += column(&page, "received", "items");
        }
    }
    println!(
        "{pages} pages of {} accounts balance: {items} items received",
        places.len()
    );
    assert!(items > 1_000);
}

fn is_write_2(request: &Recorded) -> bool {
    let kind = request.headers["content-type"].to_str();
    kind.unwrap_or_default().contains("write.v2")
}

/// The totals of `/metrics` are the sums over the accounts' books.
async fn check_totals(world: &World) {
    let page = world.page("/metrics").await.text();
    let books = world.page("/books").await.json();
    let accounts = books["items"].as_array().expect("a list");
    let mut compared = 0;
    for signal in SIGNALS {
        let sum = |read: &dyn Fn(&Value) -> u64| -> u64 {
            accounts
                .iter()
                .map(|account| read(&account["signals"][signal]))
                .sum()
        };
        for (what, unit, metric) in [
            ("received", "items", "wharfinger_items_received_total"),
            ("received", "bytes", "wharfinger_body_received_bytes_total"),
            ("delivered", "items", "wharfinger_items_delivered_total"),
            (
                "delivered",
                "bytes",
                "wharfinger_body_delivered_bytes_total",
            ),
            ("refused", "items", "wharfinger_items_refused_total"),
            ("refused", "bytes", "wharfinger_body_refused_bytes_total"),
            ("lost", "items", "wharfinger_items_lost_total"),
            ("lost", "bytes", "wharfinger_body_lost_bytes_total"),
        ] {
            let books = if what == "refused" {
                sum(&|page| refused(page, unit))
            } else {
                sum(&|page| column(page, what, unit))
            };
            let label = format!("signal=\"{signal}\"");
            assert_eq!(
                metric_in(&page, metric, &label),
                books as f64,
                "{metric} {signal}"
            );
            compared += 1;
        }
    }
    println!("{compared} totals in /metrics equal the sums of the books");
}
