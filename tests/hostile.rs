//! Hostile senders at the doors of a whole gateway: exact counters, bounded cost, one answer for one request.

#![allow(clippy::disallowed_methods, reason = "naive senders are blocking ones")]

mod world;
#[path = "support/hostile_json.rs"]
mod hostile_json;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream as StdStream},
    os::{fd::OwnedFd, unix::net::UnixStream},
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde_json::json;
use world::{World, bodies, live};

const BULK_BYTES_MAX: usize = 10 << 20;
const BAD_TOKEN: &str = "whf_s_00000000000000000000000000000000000000";

fn bearer(token: &str) -> Vec<(String, String)> {
    vec![("authorization".to_owned(), format!("Bearer {token}"))]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_hostile_json_bodies_get_exact_counters() {
    let world = World::start().await;
    let token = world.first_token("logs");
    let (mut good, mut bad, mut too_large) = (0, [0; 3], 0);
    for (place, case) in hostile_json::bodies().into_iter().enumerate() {
        let [fine, malformed, oversized, empty] = case.lines;
        let mut headers = bearer(&token);
        let mut body = case.body;
        let is_too_large = body.len() > BULK_BYTES_MAX;
        if place % 2 == 1 {
            headers.push(("content-encoding".to_owned(), "gzip".to_owned()));
            body = bodies::gzip(&body);
        }
        let raw = live::post(
            Ipv4Addr::LOCALHOST,
            world.bulk().address,
            "/",
            &headers,
            body.into(),
        )
        .await
        .unwrap_or_else(|| panic!("no answer: {}", case.name));
        let what = format!("{}: {}", case.name, raw.text);
        if is_too_large {
            assert_eq!(raw.status, 413, "{what}");
            too_large += 1;
            continue;
        }
        if malformed + oversized + empty == 0 {
            assert_eq!(raw.status, 200, "{what}");
            assert!(raw.text.ends_with("\r\n\r\n"), "{what}");
        } else {
            assert_eq!(raw.status, 400, "{what}");
            let wanted = format!(
                r#"{{"malformedLines":{malformed},"successfulLines":{fine},"oversizedLines":{oversized},"emptyLogLines":{empty}}}"#
            );
            assert!(raw.text.ends_with(&wanted), "{what}, wanted {wanted}");
        }
        good += fine;
        for (sum, count) in bad.iter_mut().zip([malformed, oversized, empty]) {
            *sum += count;
        }
    }
    let books = world.books(1, "logs").await;
    println!(
        "60 bodies, {too_large} past the body's ceiling, {good} good lines, bad {bad:?}: {books}"
    );
    assert_eq!(books["delivered"]["items"], json!(good));
    assert_eq!(world.archived(1, "logs").len() as u64, good);
    assert_eq!(
        books["refused"]["no_good_line"]["items"],
        json!(bad[0] + bad[1] + bad[2] - oversized_with_good(&books))
    );
    assert_eq!(books["in_flight"]["items"], 0);
}

/// Oversized lines beside good ones are refused for their size.
fn oversized_with_good(books: &serde_json::Value) -> u64 {
    books["refused"]["too_large"]["items"].as_u64().unwrap_or(0)
}

/// An honest request works.
async fn assert_well(world: &World, token: &str) {
    let answer = world.bulk().ship("/", token, &[], bodies::lines(1)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// A head over a bare socket; its answer's status.
fn knock(address: SocketAddr, head: Vec<u8>) -> Option<u16> {
    let mut stream = StdStream::connect(address).expect("connects");
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a timeout");
    let mut writing = stream.try_clone().expect("a clone");
    let writer = std::thread::spawn(move || writing.write_all(&head).is_ok());
    let mut back = Vec::new();
    let _ = stream.read_to_end(&mut back);
    let _ = writer.join();
    live::raw(&back).map(|raw| raw.status)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_thousand_headers_and_a_header_of_a_mebibyte_cost_little() {
    let world = World::start().await;
    let token = world.first_token("logs");
    let start = format!("POST / HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n");
    let many: String = (0..200_000).map(|n| format!("x-{n}: y\r\n")).collect();
    let long = format!("x: {}\r\n", "y".repeat(1 << 20));
    let address = world.bulk().address;
    for (name, headers) in [("200,000 headers", many), ("1 MiB header", long)] {
        let head = format!("{start}{headers}content-length: 0\r\n\r\n").into_bytes();
        let began = Instant::now();
        let status = tokio::task::spawn_blocking(move || knock(address, head))
            .await
            .expect("no panic");
        println!("{name} on h1: {status:?} after {:?}", began.elapsed());
        assert!(matches!(status, Some(400..=499)), "{name}: {status:?}");
        assert_well(&world, &token).await;
    }
    // Over HTTP/2 they are pieces of one header block, which nobody need answer, if only the connection ends.
    let values: Vec<String> = (0..20_000).map(|n| format!("x-{n}")).collect();
    let long = "y".repeat(1 << 20);
    let authorization = format!("Bearer {token}");
    for (name, mut headers) in [
        (
            "20,000 headers",
            values
                .iter()
                .map(|name| (name.as_str(), "y"))
                .collect::<Vec<_>>(),
        ),
        ("1 MiB header", vec![("x", long.as_str())]),
    ] {
        headers.push(("authorization", &authorization));
        let (mut streams, _) = world.bulk().connect_h2().await.expect("connects");
        let answer = streams.post("/", &headers, bodies::lines(1)).await;
        let status = answer
            .as_ref()
            .map(|answer| answer.status)
            .map_err(ToString::to_string);
        println!("{name} on h2: {status:?}");
        assert!(!matches!(status, Ok(200)), "{name}");
        assert_well(&world, &token).await;
    }
    assert_eq!(world.archived(1, "logs").len(), 4, "nothing but the honest");
}

/// The gateway's end of a connection, as a second handle of this process on it.
fn server_end(server: SocketAddr, client: SocketAddr) -> OwnedFd {
    let hex = |address: SocketAddr| {
        let SocketAddr::V4(address) = address else {
            panic!("IPv4 only")
        };
        let ip = u32::from_le_bytes(address.ip().octets());
        format!("{ip:08X}:{:04X}", address.port())
    };
    let wanted = format!("{} {}", hex(server), hex(client));
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        let table = fs::read_to_string("/proc/self/net/tcp").expect("a table");
        let inode = table
            .lines()
            .find(|line| line.contains(&wanted))
            .and_then(|line| line.split_whitespace().nth(9))
            .map(|inode| format!("socket:[{inode}]"));
        for entry in fs::read_dir("/proc/self/fd").expect("readable").flatten() {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            if inode.as_deref() != target.to_str() || inode.as_deref() == Some("socket:[0]") {
                continue;
            }
            let number = entry
                .file_name()
                .to_string_lossy()
                .parse()
                .expect("a number");
            let own = rustix::process::getpid();
            let pidfd = rustix::process::pidfd_open(own, rustix::process::PidfdFlags::empty())
                .expect("a handle on this process");
            return rustix::process::pidfd_getfd(
                pidfd,
                number,
                rustix::process::PidfdGetfdFlags::empty(),
            )
            .expect("a second handle");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("the gateway's end is not in this process");
}

/// Streams at full speed until an answer begins. What was written, what is left unread at the gateway's end once it has
/// closed, and the answer.
fn flood_h1(address: SocketAddr) -> (u64, u64, String) {
    let mut stream = StdStream::connect(address).expect("connects");
    let end = server_end(address, stream.local_addr().expect("an address"));
    let head = format!(
        "POST / HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {BAD_TOKEN}\r\ncontent-length: {}\r\n\r\n",
        100 << 20
    );
    stream.set_nonblocking(true).expect("non-blocking");
    let mut pending = head.into_bytes();
    let (mut written, mut back) = (0u64, Vec::new());
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        let mut piece = [0; 4096];
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => back.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
        if !back.is_empty() {
            // The answer has begun: no byte more.
            continue;
        }
        if pending.is_empty() {
            pending = vec![b'x'; 64 << 10];
        }
        if let Ok(count) = stream.write(&pending) {
            written += count as u64;
            pending.drain(..count);
        }
    }
    stream
        .shutdown(std::net::Shutdown::Write)
        .expect("half-closes");
    // A socket is a socket: what its own reader has not taken can be read here, to the end.
    let mut rest = UnixStream::from(end);
    rest.set_nonblocking(false).expect("blocking");
    rest.set_read_timeout(Some(Duration::from_secs(5)))
        .expect("a timeout");
    let (mut unread, mut piece) = (0, vec![0; 64 << 10]);
    loop {
        match rest.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => unread += count as u64,
            Err(error) => panic!("{error}"),
        }
    }
    (written, unread, String::from_utf8_lossy(&back).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_mebibytes_with_a_bad_token_cost_less_than_64_kib_on_h1() {
    // Without the courtesy of throwing away what still comes, all that is ever read was read before the answer.
    let world = World::start_with(|config| config.limits.linger_bytes_max = 0).await;
    let address = world.bulk().address;
    let mut most = 0;
    for _ in 0..20 {
        let (written, unread, answer) = tokio::task::spawn_blocking(move || flood_h1(address))
            .await
            .expect("no panic");
        let taken = written - unread;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        assert!(taken < 64 << 10, "{taken} of {written} bytes were read");
        most = most.max(taken);
    }
    println!("h1: 20 floods, at most {most} bytes read of 104857600 announced");
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("fits").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A header without indexing or compression.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut out = vec![0];
    for text in [name, value] {
        out.push(u8::try_from(text.len()).expect("short"));
        out.extend_from_slice(text.as_bytes());
    }
    out
}

/// Announces 100 MiB over HTTP/2 and sends less than 64 KiB in all; the header block that came back.
fn flood_h2(address: SocketAddr) -> (usize, Vec<u8>) {
    let mut stream = StdStream::connect(address).expect("connects");
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a timeout");
    let block = [
        literal(":method", "POST"),
        literal(":scheme", "http"),
        literal(":path", "/"),
        literal(":authority", "a"),
        literal("authorization", &format!("Bearer {BAD_TOKEN}")),
        literal("content-length", "104857600"),
    ]
    .concat();
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    bytes.extend(frame(1, 4, 1, &block));
    while bytes.len() < (64 << 10) - 8192 {
        bytes.extend(frame(0, 0, 1, &[b'x'; 8000]));
    }
    stream.write_all(&bytes).expect("writes");
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).expect("a frame");
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        stream.read_exact(&mut payload).expect("a frame");
        if head[3] == 1 {
            return (bytes.len(), payload);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_mebibytes_with_a_bad_token_are_answered_before_64_kib_are_sent_on_h2() {
    let world = World::start().await;
    let address = world.bulk().address;
    for _ in 0..20 {
        let (sent, block) = tokio::task::spawn_blocking(move || flood_h2(address))
            .await
            .expect("no panic");
        assert!(sent < 64 << 10, "{sent}");
        let is_401 = block.windows(2).any(|window| window == HUFFMAN_401)
            || block.windows(3).any(|window| window == b"401");
        assert!(is_401, "{block:02x?}");
    }
    let page = world.page("/metrics").await.text();
    let refused = live::metric_in(
        &page,
        "wharfinger_requests_total",
        "door=\"bulk\",outcome=\"unknown_token\"",
    );
    assert!(refused >= 20.0, "{refused}");
    println!("h2: 20 floods, each answered 401 though only 56 KiB had been sent");
}

/// 401 in the code of HPACK: 4 = 011010, 0 = 00000, 1 = 00001.
const HUFFMAN_401: [u8; 2] = [0b0110_1000, 0b0000_0001];

/// Writes everything before it reads anything.
fn naive(address: SocketAddr, body: &[u8]) -> Option<u16> {
    let mut stream = StdStream::connect(address).expect("connects");
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a timeout");
    let head = format!(
        "POST / HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {BAD_TOKEN}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body).ok()?;
    let mut back = Vec::new();
    stream.read_to_end(&mut back).ok()?;
    live::raw(&back).map(|raw| raw.status)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_naive_sender_of_a_mebibyte_sees_its_401_a_hundred_times_of_a_hundred() {
    let world = World::start().await;
    let address = world.bulk().address;
    let h1 = tokio::task::spawn_blocking(move || {
        let body = vec![b'x'; 1 << 20];
        (0..100)
            .filter(|_| naive(address, &body) == Some(401))
            .count()
    });
    let h1 = h1.await.expect("no panic");
    let body = Bytes::from(vec![b'x'; 1 << 20]);
    let authorization = format!("Bearer {BAD_TOKEN}");
    let headers = [("authorization", authorization.as_str())];
    let mut h2 = 0;
    for _ in 0..100 {
        let (mut streams, _) = world.bulk().connect_h2().await.expect("connects");
        let answer = streams.post("/", &headers, body.clone()).await;
        h2 += usize::from(answer.is_ok_and(|answer| answer.status == 401));
    }
    println!("401 seen: {h1} of 100 on h1, {h2} of 100 on h2");
    assert_eq!((h1, h2), (100, 100));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_refused_half_way_over_h2_is_not_reset_under_its_sender() {
    let world = World::start().await;
    let token = world.first_token("logs");
    for _ in 0..20 {
        let stream = tokio::net::TcpStream::connect(world.bulk().address).await;
        let (client, connection) = h2::client::handshake(stream.expect("connects"))
            .await
            .expect("HTTP/2");
        tokio::spawn(connection);
        let request = http::Request::post(format!("http://{}/", world.bulk().address))
            .header("authorization", format!("Bearer {token}"))
            .header("content-encoding", "gzip")
            .body(());
        let mut client = client.ready().await.expect("ready");
        let (response, mut body) = client
            .send_request(request.expect("a request"), false)
            .expect("sent");
        let piece = Bytes::from(vec![b'x'; 16 << 10]);
        body.send_data(piece.clone(), false).expect("sent");
        let response = response.await.expect("an answer");
        assert_eq!(response.status(), 400);
        for _ in 0..8 {
            let reset = std::future::poll_fn(|cx| body.poll_reset(cx));
            let reset = tokio::time::timeout(Duration::from_millis(5), reset).await;
            assert!(reset.is_err(), "{reset:?}");
            body.send_data(piece.clone(), false).expect("sent");
        }
        body.send_data(piece, true).expect("sent to its end");
    }
    println!("h2: 20 bodies refused half-way, none of them reset under its sender");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_that_leaves_during_the_second_look_loses_nothing() {
    let world = World::start().await;
    let token = world.first_token("logs");
    let line = format!("{{\"message\":\"{}\"}}\n", "y".repeat(80));
    let body = Bytes::from(format!("bad\n{}", line.repeat(40_000)));
    let page = async || world.books(1, "logs").await;
    for round in 1..=3 {
        let sender = world.bulk();
        let (mut streams, connection) = sender.connect_h2().await.expect("connects");
        let (token, body) = (token.clone(), body.clone());
        let post = tokio::spawn(async move {
            let authorization = format!("Bearer {token}");
            let headers = [("authorization", authorization.as_str())];
            streams.post("/", &headers, body).await.map(drop)
        });
        // Lines are counted once the whole body is in; the second look comes after.
        while page().await["received"]["items"].as_u64() < Some(round * 40_001) {
            tokio::task::yield_now().await;
        }
        post.abort();
        connection.abort();
    }
    world::eventually("all of it is settled", async || {
        page().await["in_flight"]["items"] == 0
    })
    .await;
    let page = page().await;
    let items = |column: &str| page[column]["items"].as_u64().expect("a number");
    println!("second looks: {page}");
    assert_eq!(items("lost"), 0, "{page}");
    assert!(items("delivered") >= 40_000, "{page}");
}
