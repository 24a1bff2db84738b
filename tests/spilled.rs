//! What a destination doesn't take is safe all the same: spooled, answered, and delivered once the destination takes it.

mod world;

use std::{collections::BTreeMap, time::Duration};

use http::Method;
use serde_json::{Value, json};
use wharfinger::{
    gateway::deliver::spool::{
        Revoked,
        offline::{self, Chosen},
    },
    model::AccountId,
};
use world::{Recorder, World, bodies, eventually, live::metric_in, recorder::Script};

const LINES: usize = 5;

/// An account of a destination with that `ack`, its token for logs, and who stands at its other end.
struct Stage {
    world: World,
    recorder: Recorder,
    destination: u64,
    account: u64,
    token: String,
    token_id: u64,
}

impl Stage {
    async fn start(ack: &str) -> Self {
        Self::on(World::start().await, ack).await
    }

    async fn on(world: World, ack: &str) -> Self {
        let recorder = Recorder::start().await;
        let url = recorder.url();
        let destination = world.destination_of("there", "http", &url, ack).await;
        let account = world.account("acme", "there").await;
        let (token_id, token) = world.token("acme", "logs").await;
        Self {
            world,
            recorder,
            destination,
            account,
            token,
            token_id,
        }
    }

    /// Ships one body that says which it is.
    async fn ship(&self, number: usize) -> u16 {
        let lines: String = (0..LINES)
            .map(|line| format!("{{\"body\":{number},\"line\":{line}}}\n"))
            .collect();
        let bulk = self.world.bulk();
        let answer = bulk.ship("/", &self.token, &[], lines.into_bytes()).await;
        answer.status
    }

    async fn items(&self, column: &str) -> u64 {
        let books = self.world.books(self.account, "logs").await;
        books[column]["items"].as_u64().expect("a number")
    }

    async fn settled(&self, column: &str, items: usize) {
        eventually(&format!("{items} {column}"), async || {
            self.items(column).await == items as u64 && self.items("in_flight").await == 0
        })
        .await;
    }

    /// How often each body has arrived.
    fn arrived(&self) -> BTreeMap<u64, usize> {
        let mut arrived = BTreeMap::new();
        for recorded in self
            .recorder
            .recorded()
            .iter()
            .filter(|it| it.status == 200)
        {
            let lines: Vec<Value> = std::str::from_utf8(&recorded.body)
                .expect("text")
                .lines()
                .map(|line| serde_json::from_str(line).expect("JSON"))
                .collect();
            assert_eq!(lines.len(), LINES, "a body is whole");
            let number = lines[0]["body"].as_u64().expect("a number");
            *arrived.entry(number).or_default() += 1;
        }
        arrived
    }

    async fn difference(&self) -> f64 {
        let page = self.world.page("/metrics").await.text();
        metric_in(&page, "wharfinger_books_spool_difference_items", "")
    }
}

fn each_once(bodies: std::ops::Range<u64>) -> BTreeMap<u64, usize> {
    bodies.map(|number| (number, 1)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_destination_that_is_down_does_not_take_is_spooled_and_delivered_once_it_is_back() {
    let stage = Stage::start("spill").await;
    assert_eq!(stage.ship(0).await, 200);
    stage.settled("delivered", LINES).await;
    assert_eq!(stage.items("spooled").await, 0, "it is not needed yet");
    stage.recorder.answer(Script::status(503));
    for number in 1..40 {
        assert_eq!(stage.ship(number).await, 200);
    }
    stage.settled("spooled", 39 * LINES).await;
    assert_eq!(stage.items("delivered").await, LINES as u64);
    eventually("the spool says the same", async || {
        stage.difference().await == 0.0
    })
    .await;
    stage.recorder.answer(Script::status(200));
    stage.settled("delivered", 40 * LINES).await;
    assert_eq!(stage.items("spooled").await, 0);
    assert_eq!(stage.arrived(), each_once(0..40));
    assert_eq!(stage.items("lost").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_wait_for_their_destination_unless_it_says_otherwise() {
    let stage = Stage::start("spill").await;
    let path = format!("/destinations/{}?wait=enforced", stage.destination);
    let reset = json!({ "ack": null });
    stage.world.must(Method::PATCH, &path, reset).await;
    let (_, metrics) = stage.world.token("acme", "metrics").await;
    stage.recorder.answer(Script::status(503));
    let (write_1, write_2) = (bodies::write_1(3), bodies::write_2(3));
    let ship = async |body: &[u8], headers: &[(&str, &str)]| {
        let at = stage.world.remote_write();
        let body = bodies::snappy(body);
        at.ship("/api/v1/write", &metrics, headers, body)
            .await
            .status
    };
    let v1 = [
        ("content-type", "application/x-protobuf"),
        ("content-encoding", "snappy"),
    ];
    let v2 = [
        (
            "content-type",
            "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        ),
        ("content-encoding", "snappy"),
    ];
    assert_eq!(ship(&write_1, &v1).await, 503);
    assert_eq!(stage.ship(0).await, 200, "logs are spilled");
    let spill = json!({ "ack": "spill" });
    stage.world.must(Method::PATCH, &path, spill).await;
    assert_eq!(ship(&write_1, &v1).await, 204);
    // Nobody but its receiver can say what was written of it.
    assert_eq!(ship(&write_2, &v2).await, 503);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_that_is_slow_is_not_waited_for() {
    let world = World::start_with(|config| {
        config.spool.spill_after = Duration::from_millis(200);
    })
    .await;
    let stage = Stage::on(world, "spill").await;
    let slow = Script::status(200).after(Duration::from_secs(2));
    stage.recorder.answer(slow);
    let began = std::time::Instant::now();
    assert_eq!(stage.ship(0).await, 200);
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    // It is patient with what is spooled.
    stage.settled("delivered", LINES).await;
    assert_eq!(stage.items("spooled").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_spooled_first_is_answered_whatever_its_destination_does() {
    let stage = Stage::start("spool").await;
    stage
        .recorder
        .answer(Script::status(200).after(Duration::from_secs(1)));
    let began = std::time::Instant::now();
    for number in 0..10 {
        assert_eq!(stage.ship(number).await, 200);
    }
    assert!(
        began.elapsed() < Duration::from_millis(900),
        "{:?}",
        began.elapsed()
    );
    stage.recorder.answer(Script::status(200));
    stage.settled("delivered", 10 * LINES).await;
    assert_eq!(stage.arrived(), each_once(0..10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_spooled_before_a_restart_is_carried_over_and_delivered_after_it() {
    let stage = Stage::start("spill").await;
    stage.recorder.answer(Script::status(503));
    for number in 0..20 {
        assert_eq!(stage.ship(number).await, 200);
    }
    let Stage {
        world,
        recorder,
        destination,
        account,
        token,
        token_id,
    } = stage;
    let data = world.stop().await;
    recorder.answer(Script::status(200));
    let world = World::start_in(data, |_| {}).await;
    let stage = Stage {
        world,
        recorder,
        destination,
        account,
        token,
        token_id,
    };
    stage.settled("delivered", 20 * LINES).await;
    assert_eq!(stage.items("carried").await, 20 * LINES as u64);
    assert_eq!(stage.items("received").await, 0);
    assert_eq!(stage.arrived(), each_once(0..20));
    eventually("nothing is left", async || stage.difference().await == 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_spooled_and_finally_refused_is_set_aside_and_stands_in_the_books_as_lost() {
    let stage = Stage::start("spool").await;
    stage
        .recorder
        .answer(Script::status(400).body("no such field"));
    assert_eq!(stage.ship(0).await, 200);
    stage.settled("lost", LINES).await;
    let books = stage.world.books(stage.account, "logs").await;
    assert_eq!(books["lost_because"]["refused"]["items"], LINES as u64);
    assert_eq!(stage.items("spooled").await, 0);
    stage.recorder.answer(Script::status(200));
    assert_eq!(stage.ship(1).await, 200);
    stage.settled("delivered", LINES).await;
    let Stage {
        world,
        recorder,
        account,
        ..
    } = stage;
    let data = world.stop().await;
    let folder = data.path().join("gateway/spool");
    let aside = || {
        std::fs::read_dir(folder.join("refused"))
            .expect("a folder")
            .count()
    };
    assert_eq!(aside(), 2, "the body, and what is known of it");
    let none = Chosen {
        account: Some(AccountId(account + 1)),
        ..Chosen::default()
    };
    assert_eq!(offline::replay(&folder, none).expect("there"), 0);
    // Its destination takes it by now.
    assert_eq!(
        offline::replay(&folder, Chosen::default()).expect("there"),
        1
    );
    assert_eq!(aside(), 0);
    let world = World::start_in(data, |_| {}).await;
    eventually("it is delivered", async || {
        let books = world.books(account, "logs").await;
        books["delivered"]["items"] == LINES as u64 && books["carried"]["items"] == LINES as u64
    })
    .await;
    let taken = recorder.recorded();
    let taken = taken.iter().filter(|it| it.status == 200);
    assert_eq!(taken.count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_token_has_shipped_that_is_revoked_since_is_delivered_or_dropped_as_configured() {
    for policy in [Revoked::Deliver, Revoked::Drop] {
        let world = World::start_with(|config| config.spool.revoked = policy).await;
        let stage = Stage::on(world, "spill").await;
        stage.recorder.answer(Script::status(503));
        for number in 0..5 {
            assert_eq!(stage.ship(number).await, 200);
        }
        let path = format!("/tokens/{}?wait=enforced&force=true", stage.token_id);
        stage.world.must(Method::DELETE, &path, Value::Null).await;
        stage.recorder.answer(Script::status(200));
        match policy {
            Revoked::Deliver => {
                stage.settled("delivered", 5 * LINES).await;
                assert_eq!(stage.arrived(), each_once(0..5));
            }
            Revoked::Drop => {
                stage.settled("lost", 5 * LINES).await;
                assert_eq!(stage.arrived(), BTreeMap::new());
                let books = stage.world.books(stage.account, "logs").await;
                assert_eq!(books["lost_because"]["dropped"]["items"], 5 * LINES as u64);
            }
        }
        assert_eq!(stage.items("spooled").await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_whose_spool_is_full_is_told_so_and_another_one_is_not() {
    let world = World::start_with(|config| config.spool.account_bytes_max = 2_000).await;
    let stage = Stage::on(world, "spill").await;
    stage.recorder.answer(Script::status(503));
    let mut taken = 0;
    while stage.ship(taken).await == 200 {
        taken += 1;
        assert!(taken < 100);
    }
    assert!(taken > 2, "{taken}");
    let bulk = stage.world.bulk();
    let refused = bulk.ship("/", &stage.token, &[], bodies::lines(1)).await;
    assert_eq!(refused.status, 503);
    stage.world.account("other", "there").await;
    let (_, other) = stage.world.token("other", "logs").await;
    let answer = bulk.ship("/", &other, &[], bodies::lines(1)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    stage.recorder.answer(Script::status(200));
    stage.settled("delivered", taken * LINES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_account_that_its_destination_holds_off_does_not_hold_up_another() {
    let stage = Stage::start("spool").await;
    let other = Recorder::start().await;
    let url = other.url();
    stage
        .world
        .destination_of("elsewhere", "http", &url, "spool")
        .await;
    let account = stage.world.account("other", "elsewhere").await;
    let (_, token) = stage.world.token("other", "logs").await;
    stage
        .recorder
        .answer(Script::status(200).after(Duration::from_secs(30)));
    for number in 0..50 {
        assert_eq!(stage.ship(number).await, 200);
    }
    let bulk = stage.world.bulk();
    for _ in 0..20 {
        let answer = bulk.ship("/", &token, &[], bodies::lines(1)).await;
        assert_eq!(answer.status, 200);
    }
    eventually("the other account's are delivered", async || {
        let books = stage.world.books(account, "logs").await;
        books["delivered"]["items"] == 20
    })
    .await;
    assert_eq!(other.recorded().len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_that_only_restarts_is_asked_again_and_its_sender_knows_nothing_of_it() {
    let stage = Stage::start("destination").await;
    stage.recorder.answer(Script::status(503));
    let back = async {
        eventually("it was asked", async || {
            !stage.recorder.recorded().is_empty()
        })
        .await;
        stage.recorder.answer(Script::status(200));
    };
    let (answered, ()) = tokio::join!(stage.ship(0), back);
    assert_eq!(answered, 200);
    stage.settled("delivered", LINES).await;
    // One that is known to be down is asked once.
    stage.recorder.answer(Script::status(503));
    assert_eq!(stage.ship(1).await, 503);
    let asked = stage.recorder.recorded().len();
    assert_eq!(stage.ship(2).await, 503);
    assert_eq!(stage.recorder.recorded().len(), asked + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_that_asks_for_a_wait_is_not_asked_again_before() {
    let stage = Stage::start("destination").await;
    let busy = Script::status(503).header("retry-after", "7");
    stage.recorder.answer(busy);
    assert_eq!(stage.ship(0).await, 503);
    assert_eq!(stage.recorder.recorded().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_spooled_arrives_as_its_accounts_and_its_tokens() {
    let stage = Stage::start("spill").await;
    let path = format!("/destinations/{}?wait=enforced", stage.destination);
    let headers = json!({"headers": [{"name": "x-of", "value": "{account}-{token_id}"}]});
    stage.world.must(Method::PATCH, &path, headers).await;
    let other = stage.world.account("other", "there").await;
    let (other_id, other_token) = stage.world.token("other", "logs").await;
    stage.recorder.answer(Script::status(503));
    let bulk = stage.world.bulk();
    for number in 0..10 {
        assert_eq!(stage.ship(number).await, 200);
        let lines = b"{\"of\":\"the other\"}\n".to_vec();
        let answer = bulk.ship("/", &other_token, &[], lines).await;
        assert_eq!(answer.status, 200);
    }
    stage.recorder.answer(Script::status(200));
    stage.settled("delivered", 10 * LINES).await;
    eventually("the other account's", async || {
        stage.world.books(other, "logs").await["delivered"]["items"] == 10
    })
    .await;
    let mut seen = [0, 0];
    for recorded in stage
        .recorder
        .recorded()
        .iter()
        .filter(|it| it.status == 200)
    {
        let is_other = recorded.body.starts_with(b"{\"of\"");
        let (account, token) = match is_other {
            true => (other, other_id),
            false => (stage.account, stage.token_id),
        };
        assert_eq!(recorded.headers["x-of"], format!("{account}-{token}"));
        seen[usize::from(is_other)] += 1;
    }
    assert_eq!(seen, [10, 10]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_spooled_goes_where_its_account_goes_by_then() {
    let stage = Stage::start("spill").await;
    stage.recorder.answer(Script::status(503));
    for number in 0..10 {
        assert_eq!(stage.ship(number).await, 200);
    }
    let next = Recorder::start().await;
    let url = next.url();
    stage
        .world
        .destination_of("next", "http", &url, "spill")
        .await;
    let path = format!("/accounts/{}?wait=enforced", stage.account);
    let to = |name: &str| json!({"destinations": {"logs": name}});
    stage.world.must(Method::PATCH, &path, to("next")).await;
    stage.settled("delivered", 10 * LINES).await;
    assert_eq!(next.recorded().len(), 10);
    next.answer(Script::status(503));
    for number in 10..20 {
        assert_eq!(stage.ship(number).await, 200);
    }
    stage.world.must(Method::PATCH, &path, to("archive")).await;
    stage.settled("delivered", 20 * LINES).await;
    let archived = stage.world.archived(stage.account, "logs");
    assert_eq!(archived.len(), 10 * LINES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn samples_that_are_spooled_are_not_overtaken_by_newer_ones() {
    let stage = Stage::start("spill").await;
    let (_, metrics) = stage.world.token("acme", "metrics").await;
    let headers = [
        ("content-type", "application/x-protobuf"),
        ("content-encoding", "snappy"),
    ];
    let at = stage.world.remote_write();
    for number in 1..=60usize {
        match number {
            10 => stage.recorder.answer(Script::status(503)),
            30 => stage.recorder.answer(Script::status(200)),
            _ => {}
        }
        let body = bodies::snappy(&bodies::write_1(number));
        let answer = at.ship("/api/v1/write", &metrics, &headers, body).await;
        assert_eq!(answer.status, 204, "{number}");
    }
    let sent = (1..=60).sum::<u64>();
    eventually("all of it", async || {
        let books = stage.world.books(stage.account, "metrics").await;
        books["delivered"]["items"] == sent
    })
    .await;
    let expected: Vec<_> = (1..=60)
        .map(|number| bodies::snappy(&bodies::write_1(number)))
        .collect();
    let arrived: Vec<_> = stage.recorder.recorded();
    let arrived: Vec<_> = arrived
        .iter()
        .filter(|it| it.status == 200)
        .map(|it| it.body.to_vec())
        .collect();
    assert!(arrived == expected, "in the order of their sender");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_that_asks_for_a_wait_gets_nothing_before_it_is_over() {
    let stage = Stage::start("spill").await;
    let busy = Script::status(429).header("retry-after", "3600");
    stage.recorder.answer(busy);
    for number in 0..20 {
        assert_eq!(stage.ship(number).await, 200);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    // One that was live, and one out of the spool.
    assert_eq!(stage.recorder.recorded().len(), 2);
    assert_eq!(stage.items("spooled").await, 20 * LINES as u64);
    // Another account's is no business of theirs.
    stage.recorder.answer(Script::status(200));
    let account = stage.world.account("other", "there").await;
    let (_, token) = stage.world.token("other", "logs").await;
    let answer = stage
        .world
        .bulk()
        .ship("/", &token, &[], bodies::lines(1))
        .await;
    assert_eq!(answer.status, 200);
    let books = stage.world.books(account, "logs").await;
    assert_eq!(books["delivered"]["items"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_waited_too_long_is_over_and_stands_in_the_books_as_lost() {
    let world = World::start_with(|config| {
        config.spool.age_max = Some(Duration::from_millis(800));
    })
    .await;
    let stage = Stage::on(world, "spill").await;
    stage.recorder.answer(Script::status(503));
    for number in 0..5 {
        assert_eq!(stage.ship(number).await, 200);
    }
    stage.settled("lost", 5 * LINES).await;
    let books = stage.world.books(stage.account, "logs").await;
    assert_eq!(books["lost_because"]["expired"]["items"], 5 * LINES as u64);
    assert_eq!(stage.items("spooled").await, 0);
    eventually("the spool says the same", async || {
        stage.difference().await == 0.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_that_holds_all_room_leaves_another_one_its_own() {
    let world = World::start_with(|config| {
        config.spool.drain_bytes_max = 300_000;
    })
    .await;
    let stage = Stage::on(world, "spool").await;
    stage
        .recorder
        .answer(Script::status(200).after(Duration::from_secs(20)));
    let bulk = stage.world.bulk();
    let large = format!("{{\"a\":\"{}\"}}\n", "x".repeat(100_000)).into_bytes();
    for _ in 0..20 {
        let answer = bulk.ship("/", &stage.token, &[], large.clone()).await;
        assert_eq!(answer.status, 200);
    }
    let other = Recorder::start().await;
    let url = other.url();
    stage
        .world
        .destination_of("elsewhere", "http", &url, "spool")
        .await;
    let account = stage.world.account("other", "elsewhere").await;
    let (_, token) = stage.world.token("other", "logs").await;
    for _ in 0..20 {
        let answer = bulk.ship("/", &token, &[], large.clone()).await;
        assert_eq!(answer.status, 200);
    }
    eventually("the other one's are delivered", async || {
        stage.world.books(account, "logs").await["delivered"]["items"] == 20
    })
    .await;
    // No more of them than may be on their way, at most one record too many for each.
    let waiting = stage.recorder.recorded().len();
    assert!((1..=4).contains(&waiting), "{waiting}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_spool_takes_nothing_a_destination_that_rests_is_asked_all_the_same() {
    let world = World::start_with(|config| config.spool.account_bytes_max = 1).await;
    let stage = Stage::on(world, "spill").await;
    stage.recorder.answer(Script::status(503));
    assert_eq!(stage.ship(0).await, 503);
    stage.recorder.answer(Script::status(200));
    // It rests for a second still.
    assert_eq!(stage.ship(1).await, 200);
    stage.settled("delivered", LINES).await;
    assert_eq!(stage.items("spooled").await, 0);
}
