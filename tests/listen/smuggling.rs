//! Heads that two readers could understand differently: each is refused, or the connection ends with its answer, and
//! what is hidden behind one is never served.

use std::{
    io::Write,
    net::{Shutdown, TcpStream},
    time::Duration,
};

use wharfinger::gateway::listen::Config;

use super::world::{World, closes_after, read_all, read_answer, status};

const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";

/// Head lines after the request line, and a body; `/` by POST.
const HEADS: [(&str, &str); 36] = [
    (
        "Host: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked",
        "0\r\n\r\n",
    ),
    (
        "Host: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4",
        "0\r\n\r\n",
    ),
    ("Host: a\r\nContent-Length: 4\r\nContent-Length: 5", "abcd"),
    ("Host: a\r\nContent-Length: 4\r\nContent-Length: 4", "abcd"),
    ("Host: a\r\nContent-Length: 4, 4", "abcd"),
    ("Host: a\r\nContent-Length: +4", "abcd"),
    ("Host: a\r\nContent-Length: -1", ""),
    ("Host: a\r\nContent-Length: 0x4", "abcd"),
    ("Host: a\r\nContent-Length: 4 4", "abcd"),
    ("Host: a\r\nContent-Length: 4;", "abcd"),
    ("Host: a\r\nContent-Length:", "abcd"),
    ("Host: a\r\nContent-Length: 99999999999999999999", "abcd"),
    ("Host: a\r\nContent-Length : 4", "abcd"),
    ("Host: a\r\n Content-Length: 4", "abcd"),
    ("Host: a\r\nX: y\r\n Content-Length: 4", "abcd"),
    ("Host: a\r\nX: y\r\n\tz", ""),
    ("Host: a\r\nContent_Length: 4", "abcd"),
    ("Host: a\r\nX_Token: b", ""),
    ("Host: a\r\nTransfer-Encoding: gzip, chunked", "0\r\n\r\n"),
    ("Host: a\r\nTransfer-Encoding: chunked, gzip", "0\r\n\r\n"),
    (
        "Host: a\r\nTransfer-Encoding: chunked, chunked",
        "0\r\n\r\n",
    ),
    ("Host: a\r\nTransfer-Encoding: gzip", ""),
    ("Host: a\r\nTransfer-Encoding: identity", ""),
    ("Host: a\r\nTransfer-Encoding: xchunked", "0\r\n\r\n"),
    ("Host: a\r\nTransfer-Encoding: \"chunked\"", "0\r\n\r\n"),
    ("Host: a\r\nTransfer-Encoding: \x0bchunked", "0\r\n\r\n"),
    (
        "Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "0\r\n\r\n",
    ),
    (
        "Host: a\r\nTransfer-Encoding: x\r\nTransfer-Encoding: chunked",
        "0\r\n\r\n",
    ),
    ("Host: a\r\nTransfer-Encoding : chunked", "0\r\n\r\n"),
    ("Host: a\r\nX: a\nContent-Length: 4", "abcd"),
    ("Host: a\r\nX: a\rContent-Length: 4", "abcd"),
    ("Host: a\r\nX: a\0b", ""),
    ("X: y", ""),
    ("Host: a\r\nHost: b", ""),
    ("Host: a\r\nHost: a", ""),
    ("Host: a@b", ""),
];

/// Whole requests.
const REQUESTS: [&str; 18] = [
    "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd",
    "HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
    "POST http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1 \r\nHost: a\r\n\r\n",
    "POST /  HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST  / HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST /\tHTTP/1.1\r\nHost: a\r\n\r\n",
    "POST / HTTP/1.2\r\nHost: a\r\n\r\n",
    "POST /\r\n\r\n",
    "POST / HTTP/1.1\nHost: a\n\n",
    "POST / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a,b\r\n\r\n",
    "POST / HTTP/1.1\r\nHost:\r\n\r\n",
    "POST / HTTP/1.1\r\n: a\r\nHost: a\r\n\r\n",
    "P\x01ST / HTTP/1.1\r\nHost: a\r\n\r\n",
];

/// Chunked bodies that are none.
const CHUNKS: [&str; 12] = [
    "4\nabcd\r\n0\r\n\r\n",
    "4\r\nabcd0\r\n\r\n",
    "4\r\nabcd\n0\r\n\r\n",
    "0x4\r\nabcd\r\n0\r\n\r\n",
    "+4\r\nabcd\r\n0\r\n\r\n",
    "-4\r\nabcd\r\n0\r\n\r\n",
    "4 4\r\nabcd\r\n0\r\n\r\n",
    "\r\n4\r\nabcd\r\n0\r\n\r\n",
    "10000000000000004\r\nabcd\r\n0\r\n\r\n",
    "g\r\nabcd\r\n0\r\n\r\n",
    "4;x\ny\r\nabcd\r\n0\r\n\r\n",
    "3\r\nabcd\r\n0\r\n\r\n",
];

/// Good requests, to go first on a connection.
const GOOD: [&str; 2] = [
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n",
];

fn vectors() -> Vec<String> {
    let heads = HEADS
        .iter()
        .map(|(head, body)| format!("POST / HTTP/1.1\r\n{head}\r\n\r\n{body}"));
    let chunks = CHUNKS.iter().map(|body| {
        format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
    });
    let requests = REQUESTS.iter().map(|&request| request.to_owned());
    heads.chain(requests).chain(chunks).collect()
}

/// The statuses of the answers until the other end closes.
fn answered(mut stream: TcpStream) -> (Vec<u16>, String) {
    stream.shutdown(Shutdown::Write).expect("half-closes");
    let answers = read_all(&mut stream);
    let codes = answers
        .match_indices("HTTP/1.")
        .map(|(at, _)| status(&answers[at..]))
        .collect();
    (codes, answers)
}

#[test]
fn every_known_way_to_hide_a_request_is_refused() {
    let world = World::start(Config::default());
    let vectors = vectors();
    for request in &vectors {
        let mut stream = world.connect();
        stream
            .write_all(format!("{request}{HIDDEN}").as_bytes())
            .expect("writes");
        let (codes, answers) = answered(stream);
        let is_refused = codes.first().is_some_and(|code| (400..500).contains(code));
        assert!(
            is_refused && !codes.contains(&200),
            "{request:?}: {answers}"
        );
    }
    println!("{} vectors refused", vectors.len());
}

#[test]
fn behind_a_good_request_they_are_refused_too() {
    let world = World::start(Config::default());
    let mut sent = 0;
    for good in GOOD {
        for request in vectors() {
            let mut stream = world.connect();
            stream
                .write_all(format!("{good}{request}{HIDDEN}").as_bytes())
                .expect("writes");
            let (codes, answers) = answered(stream);
            sent += 1;
            let is_refused = matches!(codes[..], [200, 400..500]);
            assert!(is_refused, "behind {good:?} {request:?}: {answers}");
        }
    }
    println!("{sent} vectors refused behind a good request");
}

#[test]
fn behind_a_good_request_they_are_refused_wherever_they_are_cut() {
    let world = World::start(Config::default());
    let mut sent = 0;
    for (place, request) in vectors().iter().enumerate() {
        let good = GOOD[place % GOOD.len()];
        for cut in 1..request.len() {
            let (first, second) = request.split_at(cut);
            let mut stream = world.connect();
            stream
                .write_all(format!("{good}{first}").as_bytes())
                .expect("writes");
            assert_eq!(status(&read_answer(&mut stream)), 200);
            // What came first may already have been refused, and its connection gone.
            let _ = stream.write_all(format!("{second}{HIDDEN}").as_bytes());
            let _ = stream.shutdown(Shutdown::Write);
            let answers = read_all(&mut stream);
            sent += 1;
            assert!(
                !answers.contains(" 200 "),
                "behind {good:?} {first:?} and {second:?}: {answers}"
            );
        }
    }
    println!("{sent} cuts of vectors refused behind a good request");
}

#[test]
fn half_a_head_behind_a_request_has_the_time_of_a_head() {
    let limit = Duration::from_millis(700);
    let world = World::start(Config {
        headers_timeout: limit,
        ..Config::default()
    });
    for good in GOOD {
        let mut stream = world.connect();
        stream
            .write_all(format!("{good}POST / HTTP/1.1\r\nHos").as_bytes())
            .expect("writes");
        assert_eq!(status(&read_answer(&mut stream)), 200);
        let took = closes_after(stream);
        assert!(took < limit + Duration::from_secs(1), "took {took:?}");
    }
    world.cut_soon("headers", 2);
}

#[test]
fn honest_variety_is_served() {
    let world = World::start(Config::default());
    let requests = [
        "\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd",
        "POST / HTTP/1.1\r\nHost: a:8070\r\nTransfer-Encoding: Chunked\r\n\r\n4;ext=1\r\nabcd\r\n0\r\nT: v\r\n\r\n",
        "POST http://a/ HTTP/1.1\r\nHost: A\r\nContent-Length: 4\r\n\r\nabcd",
        "POST / HTTP/1.0\r\nContent-Length: 4\r\n\r\nabcd",
        "POST / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AA\r\nContent-Length: 4\r\n\r\nabcd",
        "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nabcd",
    ];
    for request in requests {
        let mut stream = world.connect();
        stream.write_all(request.as_bytes()).expect("writes");
        stream
            .shutdown(std::net::Shutdown::Write)
            .expect("half-closes");
        let answer = read_all(&mut stream);
        assert!(
            answer.contains(" 200 ") && answer.ends_with('4'),
            "{request:?}: {answer}"
        );
    }
    // All behind each other on one connection, in one piece and in many.
    let all = [requests[0], requests[1], GOOD[0], GOOD[1], requests[4]].concat();
    for piece in [all.len(), 1, 7, 50] {
        let mut stream = world.connect();
        for bytes in all.as_bytes().chunks(piece) {
            stream.write_all(bytes).expect("writes");
        }
        let (codes, answers) = answered(stream);
        assert_eq!(codes, [200; 5], "in pieces of {piece}: {answers}");
        assert!(!answers.contains("connection: close"), "{answers}");
    }
}
