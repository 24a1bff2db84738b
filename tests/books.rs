//! The books balance, to the item and to the byte, after a seeded load of everything that can happen to a request.
//!
//! `WHARFINGER_DOSE=20000 cargo test --test books -- --nocapture` is the deep dose; `WHARFINGER_SEED` picks another load.

mod world;

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::Method;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};
use world::{
    Recorder, Sender, World, bodies,
    live::{self, metric_in},
    recorder::{Recorded, Script},
};

const SIGNALS: [&str; 3] = ["logs", "metrics", "traces"];
const WRITE_2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

/// Numbers that a seed decides.
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % sides
    }

    fn one_of<T: Copy>(&mut self, these: &[T]) -> T {
        these[self.below(these.len())]
    }
}

/// What happens to a request besides its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Good,
    Dribbled,
    Partial,
    Malformed,
    TooLarge,
    CutOff,
    Stalled,
    ClientGone,
    WrongToken,
    WrongSignal,
    WrongType,
    WrongMethod,
}

const FATES: [Fate; 20] = [
    Fate::Good,
    Fate::Good,
    Fate::Good,
    Fate::Good,
    Fate::Good,
    Fate::Good,
    Fate::Good,
    Fate::Dribbled,
    Fate::Partial,
    Fate::Partial,
    Fate::Partial,
    Fate::Malformed,
    Fate::Malformed,
    Fate::TooLarge,
    Fate::CutOff,
    Fate::Stalled,
    Fate::ClientGone,
    Fate::WrongToken,
    Fate::WrongSignal,
    Fate::WrongMethod,
];

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

/// A request that is ready to go.
struct Parcel {
    to: Sender,
    path: String,
    headers: Vec<(String, String)>,
    body: Bytes,
    items: u64,
    is_grpc: bool,
    is_compressed: bool,
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
    let written = |script: Script| script.header("x-prometheus-remote-write-samples-written", "1");
    let two = [bodies::number(1, 2), bodies::field(2, b"two too many")].concat();
    let plain = |status| written(Script::status(status));
    let partial = Script::status(200)
        .header("content-type", "application/x-protobuf")
        .body(bodies::field(1, &two));
    let mut places = Vec::new();
    for (name, kind, script, takes, refuses_items) in [
        ("archive", "archive", None, true, 0),
        ("takes", "http", Some(plain(200)), true, 0),
        (
            "slow",
            "http",
            Some(plain(200).after(Duration::from_millis(80))),
            true,
            0,
        ),
        ("refuses", "http", Some(plain(400)), false, 0),
        ("down", "http", Some(plain(503)), false, 0),
        ("not-ours", "http", Some(plain(401)), false, 0),
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

/// A body of that fate in a random form of that signal; bulk where the fate is about lines.
fn parcel(world: &World, dice: &mut Dice, fate: Fate, signal: usize, token: &str) -> Parcel {
    let count = 2 + dice.below(40);
    let signal_name = SIGNALS[signal];
    let is_lines = fate == Fate::Partial || fate == Fate::TooLarge && signal == 0;
    let form = if is_lines { 0 } else { dice.below(5) };
    let bad: &[u8] = b"\n  \nnot json\n{}\n{\"cut\":\n";
    let bearer = ("authorization".to_owned(), format!("Bearer {token}"));
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let (to, path, kind, plain, is_grpc) = match (form, signal) {
        (0, 0) => {
            let mut body = bodies::lines(count);
            match fate {
                Fate::Partial => body.extend_from_slice(bad),
                Fate::Malformed => body = bad.to_vec(),
                Fate::TooLarge => body = bodies::lines(1).repeat((11 << 20) / 27),
                _ => {}
            }
            (
                world.bulk(),
                "/?type=mixed".to_owned(),
                "text/plain".to_owned(),
                body,
                false,
            )
        }
        (0 | 1, 1) => {
            let is_2 = form == 1;
            let mut body = if is_2 {
                bodies::write_2(count)
            } else {
                bodies::write_1(count)
            };
            if fate == Fate::Malformed {
                body.extend_from_slice(&[0x0a, 0x7f]);
            }
            if fate == Fate::TooLarge {
                body = vec![0; 33 << 20];
            }
            let body = bodies::snappy(&body);
            let headers = vec![
                bearer,
                header(
                    "content-type",
                    if is_2 {
                        WRITE_2
                    } else {
                        "application/x-protobuf"
                    },
                ),
                header("content-encoding", "snappy"),
            ];
            return Parcel {
                to: world.remote_write(),
                path: "/api/v1/write".to_owned(),
                headers,
                body: body.into(),
                items: count as u64,
                is_grpc: false,
                is_compressed: false,
            };
        }
        (2, _) => {
            let mut body = bodies::otlp_json(signal_name, count).into_bytes();
            if fate == Fate::Malformed {
                body.truncate(body.len() - 1);
            }
            (
                world.otlp_http(),
                format!("/v1/{signal_name}"),
                "application/json".to_owned(),
                body,
                false,
            )
        }
        _ => {
            let mut body = bodies::otlp(signal_name, count);
            if fate == Fate::Malformed {
                body.extend_from_slice(&[0x0a, 0x7f]);
            }
            let service = ["logs.v1.Logs", "metrics.v1.Metrics", "trace.v1.Trace"][signal];
            if form == 3 {
                let path = format!("/opentelemetry.proto.collector.{service}Service/Export");
                (
                    world.otlp_grpc(),
                    path,
                    "application/grpc".to_owned(),
                    body,
                    true,
                )
            } else {
                let kind = "application/x-protobuf".to_owned();
                (
                    world.otlp_http(),
                    format!("/v1/{signal_name}"),
                    kind,
                    body,
                    false,
                )
            }
        }
    };
    let plain = if fate == Fate::TooLarge && form != 0 {
        vec![b' '; 65 << 20]
    } else {
        plain
    };
    let encoding = match fate {
        Fate::TooLarge => "gzip",
        _ => dice.one_of(&["identity", "gzip", "zstd"]),
    };
    let body = match encoding {
        "gzip" => bodies::gzip(&plain),
        "zstd" => bodies::zstd(&plain),
        _ => plain,
    };
    let name = if is_grpc {
        "grpc-encoding"
    } else {
        "content-encoding"
    };
    let kind = if fate == Fate::WrongType {
        "text/html"
    } else {
        &kind
    };
    Parcel {
        to,
        path,
        headers: vec![bearer, header("content-type", kind), header(name, encoding)],
        body: body.into(),
        items: count as u64,
        is_grpc,
        is_compressed: encoding != "identity",
    }
}

/// Sends one to its fate. Whether it was a success, and how it was answered; `None` if nobody waited.
async fn send(parcel: &Parcel, fate: Fate) -> Option<(bool, String)> {
    let headers: Vec<_> = parcel
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    if parcel.is_grpc {
        let headers: Vec<_> = headers
            .into_iter()
            .filter(|(name, _)| *name != "content-type")
            .collect();
        let seen = match fate {
            Fate::Stalled => parcel.to.call_stalling(&parcel.path, &headers).await,
            Fate::CutOff => {
                let mut short = vec![u8::from(parcel.is_compressed), 0, 1, 0, 0];
                short.extend_from_slice(&parcel.body);
                parcel.to.call_framed(&parcel.path, &headers, short).await
            }
            _ => {
                parcel
                    .to
                    .call(&parcel.path, &headers, &parcel.body, parcel.is_compressed)
                    .await
            }
        };
        return Some((seen.code == 0, format!("gRPC {}", seen.code)));
    }
    let status = match fate {
        Fate::WrongMethod => {
            let answer = parcel
                .to
                .send(Method::PUT, &parcel.path, &headers, Vec::new())
                .await;
            answer.status
        }
        Fate::CutOff | Fate::Stalled | Fate::Dribbled | Fate::ClientGone => {
            by_hand(parcel, fate).await?
        }
        _ => {
            let body = parcel.body.clone();
            let address = parcel.to.address;
            let raw = live::post(
                Ipv4Addr::LOCALHOST,
                address,
                &parcel.path,
                &parcel.headers,
                body,
            );
            raw.await
                .unwrap_or_else(|| panic!("no answer: {fate:?} {}", parcel.path))
                .status
        }
    };
    // The good lines of a partial body are safe before its 400 is sent.
    let is_success = status < 300 || fate == Fate::Partial && status == 400;
    Some((is_success, format!("HTTP {status}")))
}

/// Over a bare socket, in pieces.
async fn by_hand(parcel: &Parcel, fate: Fate) -> Option<u16> {
    let mut stream = TcpStream::connect(parcel.to.address)
        .await
        .expect("connects");
    let announced = match fate {
        Fate::CutOff | Fate::Stalled => parcel.body.len() + 1_000,
        _ => parcel.body.len(),
    };
    let mut head = format!(
        "POST {} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {announced}\r\n",
        parcel.path
    );
    for (name, value) in &parcel.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await.expect("sends");
    for piece in parcel.body.chunks(parcel.body.len().div_ceil(4).max(1)) {
        stream.write_all(piece).await.expect("sends");
        if fate == Fate::Dribbled {
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    }
    match fate {
        Fate::CutOff => stream.shutdown().await.expect("half-closes"),
        Fate::ClientGone => return None,
        _ => {}
    }
    let mut back = Vec::new();
    stream.read_to_end(&mut back).await.expect("an answer");
    Some(
        live::raw(&back)
            .unwrap_or_else(|| panic!("no answer: {fate:?} {}", parcel.path))
            .status,
    )
}

/// How often `needle` occurs.
fn count(body: &[u8], needle: &[u8]) -> u64 {
    body.windows(needle.len())
        .filter(|window| *window == needle)
        .count() as u64
}

/// Signal, items and inflated bytes of what arrived at a destination, counted by what the bodies are known to say.
fn weigh(request: &Recorded) -> (&'static str, u64, u64) {
    let header = |name: &str| {
        request
            .headers
            .get(name)
            .map_or("", |value| value.to_str().expect("text"))
    };
    let is_grpc = request.path.ends_with("/Export");
    let body = if is_grpc {
        request.body.slice(5..)
    } else {
        request.body.clone()
    };
    let encoding = if is_grpc {
        header("grpc-encoding")
    } else {
        header("content-encoding")
    };
    let plain = match encoding {
        "gzip" => {
            let mut plain = Vec::new();
            std::io::Read::read_to_end(
                &mut flate2::read::MultiGzDecoder::new(&body[..]),
                &mut plain,
            )
            .expect("gzip");
            plain
        }
        "zstd" => zstd::decode_all(&body[..]).expect("zstd"),
        "snappy" => snap::raw::Decoder::new()
            .decompress_vec(&body)
            .expect("snappy"),
        _ => body.to_vec(),
    };
    let path = request.path.to_ascii_lowercase();
    let signal = SIGNALS
        .into_iter()
        .find(|signal| path.contains(&signal[..signal.len() - 1]))
        .unwrap_or(if path.contains("write") {
            "metrics"
        } else {
            "logs"
        });
    let is_json = header("content-type") == "application/json";
    let items = if path.contains("write") {
        count(&plain, &1.5f64.to_le_bytes())
    } else if path.starts_with("/?") {
        count(&plain, b"\"message\"")
    } else {
        match (signal, is_json) {
            ("logs", _) => count(&plain, b"hello"),
            ("metrics", false) => count(&plain, b"load"),
            ("traces", false) => count(&plain, b"span"),
            ("metrics", true) => count(&plain, b"\"name\":\"load\""),
            _ => count(&plain, b"\"name\":\"span\""),
        }
    };
    (signal, items, plain.len() as u64)
}

/// Items in an account's archive.
fn archived_items(world: &World, account: u64, signal: &str) -> u64 {
    let text = world.archived(account, signal).join("\n");
    let text = text.as_bytes();
    match signal {
        "logs" => count(text, b"\"message\"") + count(text, b"hello"),
        "metrics" => count(text, b"\"name\":\"load\"") + archived_samples(text),
        _ => count(text, b"\"name\":\"span\""),
    }
}

fn archived_samples(text: &[u8]) -> u64 {
    let lines = text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    lines
        .map(|line| serde_json::from_slice::<Value>(line).expect("JSON"))
        .map(|line| line["samples"].as_array().map_or(0, Vec::len) as u64)
        .sum()
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
    let known = known.lock().expect("not poisoned");
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
            sum.0 += items.saturating_sub(place.refuses_items);
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
                let requests = recorder.recorded();
                let is_2 = |request: &&Recorded| {
                    request.headers["content-type"]
                        .to_str()
                        .unwrap_or_default()
                        .contains("write.v2")
                };
                requests.iter().filter(is_2).count() as u64
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
            if place.refuses_items == 0 && place.takes {
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
