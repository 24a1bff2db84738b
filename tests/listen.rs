//! The listener over real sockets: what it cuts and when, what a refused sender sees, and how it goes.

#![allow(clippy::disallowed_methods, reason = "tests may sleep and read clocks")]

#[path = "listen/drain.rs"]
mod drain;
#[path = "listen/floods.rs"]
mod floods;
#[path = "listen/smuggling.rs"]
mod smuggling;
#[path = "listen/tls.rs"]
mod tls;
#[path = "listen/world.rs"]
mod world;

use std::{
    cell::Cell,
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    rc::Rc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use wharfinger::gateway::listen::{BareSlash, Bound, Config, Drain, Gate, bind, run};
use world::{World, ask, client_runtime, closes_after, read_all, read_answer, status};

const MIB: usize = 1 << 20;

fn quick() -> Config {
    Config {
        first_byte_timeout: Duration::from_millis(600),
        headers_timeout: Duration::from_millis(700),
        idle_h1: Duration::from_millis(800),
        idle_h2: Duration::from_millis(900),
        ..Config::default()
    }
}

fn is_near(took: Duration, limit: Duration) {
    let early = Duration::from_millis(50);
    assert!(
        took + early >= limit && took <= limit + Duration::from_secs(1),
        "took {took:?}, limit {limit:?}"
    );
}

#[test]
fn a_silent_connection_is_cut_at_its_limit() {
    let world = World::start(quick());
    is_near(closes_after(world.connect()), quick().first_byte_timeout);
    world.is_empty_soon();
    world.cut_soon("first_byte", 1);
}

#[test]
fn slow_heads_are_cut_however_busy_they_look() {
    let world = World::start(quick());
    let began = Instant::now();
    let mut stream = world.connect();
    stream
        .write_all(b"POST / HTTP/1.1\r\nHost: a\r\n")
        .expect("writes");
    let mut writer = stream.try_clone().expect("a second handle");
    let drip = std::thread::spawn(move || {
        while writer.write_all(b"x: y\r\n").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    closes_after(stream);
    is_near(began.elapsed(), quick().headers_timeout);
    drip.join().expect("the writer ends");
    world.cut_soon("headers", 1);
}

#[test]
fn a_slow_head_on_a_kept_connection_is_cut_too() {
    let world = World::start(quick());
    let mut stream = world.connect();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("writes");
    assert_eq!(status(&read_answer(&mut stream)), 200);
    std::thread::sleep(Duration::from_millis(300));
    stream.write_all(b"GET / HT").expect("writes");
    is_near(closes_after(stream), quick().headers_timeout);
    world.cut_soon("headers", 1);
}

#[test]
fn a_kept_connection_outlives_the_headers_timeout_and_is_closed_when_idle() {
    let config = Config {
        idle_h1: Duration::from_millis(1_500),
        ..quick()
    };
    let world = World::start(config.clone());
    let mut stream = world.connect();
    for _ in 0..3 {
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .expect("writes");
        assert_eq!(status(&read_answer(&mut stream)), 200);
        std::thread::sleep(Duration::from_millis(900));
    }
    let rest = config.idle_h1 - Duration::from_millis(900);
    is_near(closes_after(stream), rest);
}

#[test]
fn preface_then_silence_settings_then_silence_and_half_a_header_block_are_cut() {
    let world = World::start(quick());
    let limits = quick();
    for (bytes, limit) in [
        (floods::preface(), limits.headers_timeout),
        (floods::preface()[..10].to_vec(), limits.headers_timeout),
        (floods::hello(), limits.idle_h2),
        (
            [floods::hello(), floods::frame(1, 0, 1, &[0x83])].concat(),
            limits.headers_timeout,
        ),
    ] {
        let mut stream = world.connect();
        stream.write_all(&bytes).expect("writes");
        // An idle connection is first told to go, and cut when it doesn't within the headers timeout.
        let took = closes_after(stream);
        assert!(took + Duration::from_millis(50) >= limit, "{took:?}");
        assert!(
            took <= limit + limits.headers_timeout + Duration::from_secs(1),
            "{took:?}"
        );
    }
    world.is_empty_soon();
}

#[test]
fn an_old_connection_says_so_with_its_next_answer() {
    let world = World::start(Config {
        connection_age: Duration::from_millis(400),
        ..Config::default()
    });
    let mut stream = world.connect();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("writes");
    assert!(!read_answer(&mut stream).contains("connection: close"));
    std::thread::sleep(Duration::from_millis(500));
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("writes");
    let answer = read_all(&mut stream);
    assert!(
        status(&answer) == 200 && answer.contains("connection: close"),
        "{answer}"
    );
}

#[test]
fn a_refused_mebibyte_still_sees_its_answer_a_hundred_times_of_a_hundred() {
    let world = World::start(Config::default());
    let body = vec![b'x'; MIB];
    let seen = (0..100)
        .filter(|_| {
            let mut stream = world.connect();
            let head = format!("POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: {MIB}\r\n\r\n");
            // As urllib does: the whole body first, then the answer.
            let sent = stream
                .write_all(head.as_bytes())
                .and_then(|()| stream.write_all(&body));
            sent.is_ok() && status(&read_all(&mut stream)) == 401
        })
        .count();
    assert_eq!(seen, 100);
}

#[test]
fn a_refused_flood_on_http1_is_answered_before_64_kib_are_read() {
    let world = World::start(Config::default());
    let mut stream = world.connect();
    let head = b"POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 104857600\r\n\r\n";
    stream.write_all(head).expect("writes");
    let mut writer = stream.try_clone().expect("a second handle");
    let flood = std::thread::spawn(move || {
        let piece = vec![b'x'; MIB];
        let sent = (0..100)
            .take_while(|_| writer.write_all(&piece).is_ok())
            .count();
        let _ = writer.shutdown(Shutdown::Write);
        sent
    });
    assert_eq!(status(&read_all(&mut stream)), 401);
    let sent = flood.join().expect("the writer ends");
    let before: usize = ask(&world, "/before").1.parse().expect("a number");
    println!("h1: {before} bytes read before the answer, {sent} MiB sent");
    assert!(before < 64 << 10 && before > 0);
}

#[test]
fn a_refused_flood_on_http2_is_answered_before_64_kib_are_read_and_the_connection_goes_on() {
    let world = World::start(Config::default());
    let address = world.address;
    client_runtime().block_on(async {
        let stream = tokio::net::TcpStream::connect(address)
            .await
            .expect("connects");
        let (client, connection) = h2::client::handshake(stream).await.expect("a handshake");
        tokio::spawn(connection);
        let mut most = 0;
        for round in 0..120 {
            let mut client = client.clone().ready().await.expect("goes on");
            let request = http::Request::post("http://a/refuse")
                .body(())
                .expect("a request");
            let (answer, mut body) = client.send_request(request, false).expect("sends");
            let flood = tokio::spawn(async move {
                let piece = Bytes::from(vec![b'x'; MIB]);
                body.reserve_capacity(100 * MIB);
                while let Some(Ok(room)) = std::future::poll_fn(|cx| body.poll_capacity(cx)).await {
                    if body.send_data(piece.slice(..room.min(MIB)), false).is_err() {
                        break;
                    }
                }
            });
            assert_eq!(
                answer.await.expect("an answer").status(),
                401,
                "round {round}"
            );
            flood.await.expect("the flood ends");
            let request = http::Request::get("http://a/before")
                .body(())
                .expect("a request");
            let mut client = client.ready().await.expect("goes on");
            let (answer, _) = client.send_request(request, true).expect("sends");
            let mut body = answer.await.expect("an answer").into_body();
            let text = body.data().await.expect("a body").expect("a body");
            let total: u64 = String::from_utf8_lossy(&text).parse().expect("a number");
            most = most.max(total);
        }
        println!("h2: {most} bytes read in all before the last of 120 refusals of 100 MiB");
    });
    assert_eq!((world.cut("resets"), world.gate.accepted()), (0, 1));
}

#[test]
fn one_refused_flood_on_http2_costs_less_than_64_kib() {
    let world = World::start(Config::default());
    let mut most = 0;
    for _ in 0..20 {
        let mut stream = world.connect();
        // Everything that the first window allows, at once: nothing waits for anything.
        let mut bytes = floods::hello();
        bytes.extend(floods::post(1, "/refuse"));
        (0..3).for_each(|_| bytes.extend(floods::frame(0, 0, 1, &[0; 16_384])));
        bytes.extend(floods::frame(0, 0, 1, &[0; 16_383]));
        stream.write_all(&bytes).expect("writes");
        let mut scratch = [0; 4_096];
        let mut have = 0;
        while !scratch[..have].windows(2).any(|pair| pair == b"no") {
            have += stream.read(&mut scratch[have..]).expect("an answer");
        }
        let before: usize = ask(&world, "/before").1.parse().expect("a number");
        most = most.max(before);
    }
    println!("h2: at most {most} bytes read before the answer");
    assert!(most < 64 << 10 && most > 0);
}

#[test]
fn two_hundred_thousand_headers_and_a_mebibyte_of_header_are_refused_cheaply() {
    let world = World::start(Config::default());
    let many = "x: y\r\n".repeat(200_000);
    let long = format!("x: {}\r\n", "y".repeat(MIB));
    for headers in [many, long] {
        let mut stream = world.connect();
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
        let mut writer = stream.try_clone().expect("a second handle");
        let sender = std::thread::spawn(move || writer.write_all(head.as_bytes()).is_ok());
        let answer = read_all(&mut stream);
        assert_eq!(status(&answer), 400);
        assert!(answer.contains("BadFraming") && answer.contains("too long or"));
        sender.join().expect("the writer ends");
    }
}

#[test]
fn a_request_that_panics_takes_its_connection_along_and_nobody_elses() {
    let world = World::start(Config::default());
    let mut neighbour = world.connect();
    for _ in 0..3 {
        let mut stream = world.connect();
        stream
            .write_all(b"GET /panic HTTP/1.1\r\nHost: a\r\n\r\n")
            .expect("writes");
        assert_eq!(read_all(&mut stream), "");
        neighbour
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .expect("writes");
        assert_eq!(status(&read_answer(&mut neighbour)), 200);
    }
    drop(neighbour);
    world.is_empty_soon();
    world.drain.stop(Instant::now() + Duration::from_secs(5));
    assert_eq!(world.join(), 0);
}

#[test]
fn a_stream_that_panics_takes_neither_its_connection_along_nor_the_streams_beside_it() {
    let world = World::start(Config::default());
    let address = world.address;
    client_runtime().block_on(async {
        let stream = tokio::net::TcpStream::connect(address)
            .await
            .expect("connects");
        let (client, connection) = h2::client::handshake(stream).await.expect("a handshake");
        tokio::spawn(connection);
        let ask = async |path: &str| {
            let request = http::Request::get(format!("http://a{path}"))
                .body(())
                .expect("a request");
            let mut client = client.clone().ready().await.expect("goes on");
            let (answer, _) = client.send_request(request, true).expect("sends");
            let answer = tokio::time::timeout(Duration::from_secs(5), answer).await;
            let answer = answer.expect("it is answered or reset");
            answer.map(|answer| answer.status().as_u16())
        };
        let falling = async {
            for _ in 0..3 {
                assert!(ask("/panic").await.is_err());
                assert_eq!(ask("/").await.expect("an answer"), 200);
            }
        };
        let (beside, ()) = tokio::join!(ask("/slow"), falling);
        assert_eq!(beside.expect("an answer"), 200);
    });
    assert_eq!(world.gate.accepted(), 1);
}

/// Panics when it is cloned for the connection after the last allowed.
struct Bomb(Rc<Cell<u32>>);

impl Clone for Bomb {
    fn clone(&self) -> Self {
        let left = self.0.get().checked_sub(1);
        self.0.set(left.expect("an accept loop panics in a test"));
        Self(self.0.clone())
    }
}

#[test]
fn an_accept_loop_that_panics_ends_its_worker_at_once() {
    let std = bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let address = std.local_addr().expect("an address");
    let worker = std::thread::spawn(move || {
        let config = Config::default();
        let gate = Gate::new(&config);
        let bomb = Bomb(Rc::new(Cell::new(1)));
        let service = move |_: hyper::Request<hyper::body::Incoming>, _| {
            let _ = &bomb;
            async { hyper::Response::new(http_body_util::Full::<Bytes>::default()) }
        };
        let bound = vec![Bound {
            std,
            bare_slash: BareSlash::Nothing,
            tls: None,
        }];
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let running = run(bound, Rc::new(config), gate, service, Drain::new());
        let ended = tokio::task::LocalSet::new().block_on(&runtime, running);
        ended.map_err(|error| error.to_string())
    });
    closes_after(TcpStream::connect(address).expect("connects"));
    let ended = worker.join().expect("the panic is the loop's");
    assert!(ended.is_err_and(|why| why.contains("an accept loop has ended")));
}

#[test]
fn a_sender_that_half_closes_gets_its_answer() {
    let world = World::start(Config::default());
    let mut stream = world.connect();
    stream
        .write_all(b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab")
        .expect("writes");
    stream.shutdown(Shutdown::Write).expect("half-closes");
    assert_eq!(status(&read_all(&mut stream)), 200);
}

#[test]
fn the_late_body_of_a_refused_request_is_not_taken_for_a_head() {
    let world = World::start(quick());
    for framing in ["Content-Length: 12", "Transfer-Encoding: chunked"] {
        for pause in [0, 50] {
            let mut stream = world.connect();
            let head = format!("POST /slow HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n");
            stream.write_all(head.as_bytes()).expect("writes");
            std::thread::sleep(Duration::from_millis(pause));
            stream.write_all(b"2\r\n{\n\r\n0\r\n\r\n").expect("writes");
            assert_eq!(status(&read_answer(&mut stream)), 200);
            stream
                .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                .expect("writes");
            assert_eq!(status(&read_answer(&mut stream)), 200);
            let head = head.replace("/slow", "/refuse");
            stream.write_all(head.as_bytes()).expect("writes");
            std::thread::sleep(Duration::from_millis(pause));
            // The connection may have been given up by now, and then says so.
            let _ = stream.write_all(b"2\r\n{\n\r\n0\r\n\r\n");
            let answer = read_answer(&mut stream);
            assert_eq!(status(&answer), 401);
            if !answer.contains("connection: close") {
                stream
                    .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                    .expect("writes");
                assert_eq!(status(&read_answer(&mut stream)), 200);
            }
        }
    }
    assert_eq!(world.cut("headers"), 0);
}

#[test]
fn a_peer_that_takes_nothing_of_its_answer_is_cut() {
    let limit = Duration::from_millis(500);
    let world = World::start(Config {
        write_stall_timeout: limit,
        ..Config::default()
    });
    let mut stream = world.connect();
    stream
        .write_all(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("writes");
    // A neighbour that takes its own slowly, but takes it, is let be.
    let mut slow = world.connect();
    slow.write_all(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("writes");
    let mut piece = vec![0; MIB];
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(100));
        slow.read_exact(&mut piece).expect("goes on");
    }
    world.cut_soon("write_stall", 1);
}

#[test]
fn caps_turn_away_the_connection_after_the_last() {
    let world = World::start(Config {
        connections_per_address_max: 3,
        ..Config::default()
    });
    let mut held: Vec<TcpStream> = (0..3).map(|_| world.connect()).collect();
    std::thread::sleep(Duration::from_millis(100));
    assert!(closes_after(world.connect()) < Duration::from_secs(1));
    for stream in &mut held {
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .expect("writes");
        assert_eq!(status(&read_all(stream)), 200);
    }
    drop(held);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(ask(&world, "/").0, 200);
    assert_eq!(world.gate.refused(), (0, 1));
}
