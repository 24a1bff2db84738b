//! Heads that two readers could understand differently: each is refused, or the connection ends with its answer, and
//! what is hidden behind one is never served.

use std::io::Write;

use wharfinger::gateway::listen::Config;

use super::world::{World, read_all};

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

/// Sends it with a hidden request behind, and wants one refusal and nothing served.
fn is_refused(world: &World, request: &str) {
    let mut stream = world.connect();
    stream
        .write_all(format!("{request}{HIDDEN}").as_bytes())
        .expect("writes");
    stream
        .shutdown(std::net::Shutdown::Write)
        .expect("half-closes");
    let answers = read_all(&mut stream);
    let codes: Vec<_> = answers
        .match_indices("HTTP/1.")
        .map(|(at, _)| &answers[at + 9..at + 12])
        .collect();
    assert!(
        codes.first().is_some_and(|code| code.starts_with('4')),
        "{request:?}: {answers}"
    );
    assert!(!answers.contains(" 200 "), "{request:?}: {answers}");
}

#[test]
fn every_known_way_to_hide_a_request_is_refused() {
    let world = World::start(Config::default());
    for (head, body) in HEADS {
        is_refused(&world, &format!("POST / HTTP/1.1\r\n{head}\r\n\r\n{body}"));
    }
    for request in REQUESTS {
        is_refused(&world, request);
    }
    for body in CHUNKS {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        is_refused(&world, &format!("{head}{body}"));
    }
    println!(
        "{} vectors refused",
        HEADS.len() + REQUESTS.len() + CHUNKS.len()
    );
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
    // Two behind each other on one connection: both served, and then it ends, since nobody watched the second head.
    let mut stream = world.connect();
    stream
        .write_all([requests[0], requests[1]].concat().as_bytes())
        .expect("writes");
    stream
        .shutdown(std::net::Shutdown::Write)
        .expect("half-closes");
    let answers = read_all(&mut stream);
    assert_eq!(answers.matches(" 200 ").count(), 2);
    assert_eq!(answers.matches("connection: close").count(), 1);
}
