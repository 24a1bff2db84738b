//! Ambiguous requests at a whole gateway: never two answers for one, and what is hidden behind one never arrives.

mod world;

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use http::Method;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use world::{Sender, World, live};

/// A request with a good token and a line of its own, hidden in another's body.
fn hidden(token: &str) -> String {
    let line = r#"{"smuggled":true}"#;
    format!(
        "POST / HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n{line}",
        line.len()
    )
}

/// Framing lines, and what stands between the head and the hidden request.
const VECTORS: [(&str, &str, &str); 30] = [
    (
        "CL.TE",
        "content-length: {n}\r\ntransfer-encoding: chunked",
        "0\r\n\r\n",
    ),
    (
        "TE.CL",
        "transfer-encoding: chunked\r\ncontent-length: 5",
        "0\r\n\r\n",
    ),
    (
        "CL 0 beside TE",
        "content-length: 0\r\ntransfer-encoding: chunked",
        "0\r\n\r\n",
    ),
    (
        "two CL, first short",
        "content-length: 0\r\ncontent-length: {n}",
        "",
    ),
    (
        "two CL, first long",
        "content-length: {n}\r\ncontent-length: 0",
        "",
    ),
    ("two equal CL", "content-length: 0\r\ncontent-length: 0", ""),
    ("CL list", "content-length: 0, {n}", ""),
    ("CL with plus", "content-length: +0", ""),
    ("CL in hex", "content-length: 0x0", ""),
    ("CL with minus", "content-length: -0", ""),
    ("CL of 2^64", "content-length: 18446744073709551616", ""),
    ("CL with inner space", "content-length: 0 0", ""),
    ("space before CL's colon", "content-length : 0", ""),
    (
        "CL under an underscore",
        "content_length: {n}\r\ncontent-length: 0",
        "",
    ),
    (
        "TE under an underscore",
        "transfer_encoding: chunked\r\ncontent-length: 0",
        "",
    ),
    (
        "space before TE's colon",
        "transfer-encoding : chunked\r\ncontent-length: 0",
        "",
    ),
    (
        "TE with tab",
        "transfer-encoding:\tchunked\r\ncontent-length: 0",
        "0\r\n\r\n",
    ),
    (
        "TE with vertical tab",
        "transfer-encoding: \u{b}chunked\r\ncontent-length: 0",
        "",
    ),
    (
        "TE of another kind",
        "transfer-encoding: xchunked\r\ncontent-length: 0",
        "",
    ),
    ("TE list", "transfer-encoding: gzip, chunked", "0\r\n\r\n"),
    (
        "TE list, chunked first",
        "transfer-encoding: chunked, identity",
        "0\r\n\r\n",
    ),
    (
        "two TE",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity",
        "0\r\n\r\n",
    ),
    (
        "quoted TE",
        "transfer-encoding: \"chunked\"\r\ncontent-length: 0",
        "",
    ),
    (
        "folded CL",
        "x: y\r\n content-length: {n}\r\ncontent-length: 0",
        "",
    ),
    (
        "folded TE",
        "transfer-encoding:\r\n chunked\r\ncontent-length: 0",
        "0\r\n\r\n",
    ),
    (
        "bare LF before TE",
        "x: y\ntransfer-encoding: chunked\r\ncontent-length: 0",
        "",
    ),
    (
        "bare CR before TE",
        "x: y\rtransfer-encoding: chunked\r\ncontent-length: 0",
        "",
    ),
    ("NUL in a header", "x: y\0\r\ncontent-length: 0", ""),
    ("bare LF ends the head", "content-length: 0\n", ""),
    (
        "chunk size past 2^64",
        "transfer-encoding: chunked",
        "10000000000000000\r\n",
    ),
];

const CHUNKS: [&str; 8] = [
    "0\n\n",
    "0\r\n\n",
    "0x0\r\n\r\n",
    "+0\r\n\r\n",
    "-0\r\n\r\n",
    "0 0\r\n\r\n",
    "1\r\nx0\r\n\r\n",
    "0;a\nb\r\n\r\n",
];

/// Every ambiguous request by its name, and where its framing begins.
fn ambiguous(token: &str) -> (Vec<(String, String)>, usize) {
    let hidden = hidden(token);
    let authorized = format!("POST / HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n");
    let mut requests: Vec<(String, String)> = VECTORS
        .iter()
        .map(|(name, framing, between)| {
            let framing = framing.replace("{n}", &(between.len() + hidden.len()).to_string());
            (
                format!("POST {name}"),
                format!("{authorized}{framing}\r\n\r\n{between}{hidden}"),
            )
        })
        .collect();
    for chunks in CHUNKS {
        let request = format!("{authorized}transfer-encoding: chunked\r\n\r\n{chunks}{hidden}");
        requests.push((format!("chunks {chunks:?}"), request));
    }
    for (method, framing) in [
        ("GET", "content-length: {n}"),
        ("HEAD", "content-length: {n}"),
        ("GET", "transfer-encoding: chunked"),
    ] {
        let framing = framing.replace("{n}", &hidden.len().to_string());
        let request = authorized.replace("POST", method);
        requests.push((
            format!("{method} with {framing}"),
            format!("{request}{framing}\r\n\r\n{hidden}"),
        ));
    }
    let old = authorized.replace("HTTP/1.1", "HTTP/1.0");
    requests.push((
        "TE in HTTP/1.0".into(),
        format!("{old}transfer-encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"),
    ));
    (requests, authorized.len())
}

/// A good request, to go first on a connection.
fn good(token: &str) -> String {
    format!(
        "POST / HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ncontent-length: 10\r\n\r\n{{\"good\":1}}"
    )
}

/// A good request and the beginning of another in one piece, and its rest after the first answer: what came back.
async fn cut_behind_good(address: SocketAddr, first: String, second: String) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    stream.write_all(first.as_bytes()).await.expect("writes");
    let mut back = vec![0; 4_096];
    let mut have = 0;
    while !back[..have].windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        have += match stream.read(&mut back[have..]).await {
            Ok(count) if count > 0 => count,
            end => panic!("no answer to the first: {end:?}"),
        };
    }
    back.truncate(have);
    // What came first may already have been refused, and its connection gone.
    let _ = stream.write_all(second.as_bytes()).await;
    let _ = timeout(Duration::from_millis(400), stream.read_to_end(&mut back)).await;
    String::from_utf8_lossy(&back).into_owned()
}

/// The first was served, and the second not: refused, or given up with the connection.
fn is_served_once(back: &str) -> bool {
    let served = back.matches("HTTP/1.1 200").count();
    let is_refused = back.matches("HTTP/1.1 ").count() <= 2;
    back.starts_with("HTTP/1.1 200") && served == 1 && is_refused
}

fn smuggled(world: &World) -> usize {
    let lines = world.archived(1, "logs");
    lines.iter().filter(|it| it.contains("smuggled")).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_good_request_they_are_not_served_either() {
    let world = World::start().await;
    let token = world.first_token("logs");
    let (requests, _) = ambiguous(&token);
    let good = good(&token);
    for (name, request) in &requests {
        let all = format!("{good}{request}");
        let wait = Duration::from_millis(400);
        let back = world.bulk().raw(all.as_bytes(), wait).await;
        assert!(is_served_once(&back), "{name}: {back}");
    }
    println!("{} vectors behind a good request", requests.len());
    assert_eq!(smuggled(&world), 0);
    assert_eq!(world.archived(1, "logs").len(), requests.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_good_request_they_are_not_served_wherever_they_are_cut() {
    let world = World::start().await;
    let token = world.first_token("logs");
    let (requests, framing) = ambiguous(&token);
    let good = good(&token);
    let address = world.app.ports.bulk.expect("open");
    let mut cuts = Vec::new();
    for (name, request) in &requests {
        for at in framing - 3..request.len().min(framing + 90) {
            let (first, second) = request.split_at(at);
            cuts.push((name.clone(), format!("{good}{first}"), second.to_owned()));
        }
    }
    let sent = cuts.len();
    let mut cuts = cuts.into_iter();
    let mut running = tokio::task::JoinSet::new();
    loop {
        if running.len() < 32
            && let Some((name, first, second)) = cuts.next()
        {
            running.spawn(async move {
                let back = cut_behind_good(address, first, second.clone()).await;
                assert!(is_served_once(&back), "{name}, {second:?} later: {back}");
            });
            continue;
        }
        match running.join_next().await {
            Some(ended) => ended.expect("served once"),
            None => break,
        }
    }
    println!("{sent} cuts of vectors behind a good request");
    assert_eq!(smuggled(&world), 0);
    assert_eq!(world.archived(1, "logs").len(), sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_hidden_behind_an_ambiguous_request_is_never_served() {
    let world = World::start().await;
    let token = world.first_token("logs");
    let (requests, _) = ambiguous(&token);
    let ports: [Sender; 3] = [world.bulk(), world.otlp_http(), world.remote_write()];
    let mut statuses = BTreeMap::<u16, usize>::new();
    for (name, request) in &requests {
        for port in ports {
            let back = port
                .raw(request.as_bytes(), Duration::from_millis(400))
                .await;
            let answers = back.matches("HTTP/1.1 ").count();
            let status = live::raw(back.as_bytes()).map_or(0, |raw| raw.status);
            assert!(answers <= 1, "{name}: {answers} answers: {back}");
            let is_right = status == 0 || (400..600).contains(&status);
            assert!(is_right, "{name}: {back}");
            *statuses.entry(status).or_default() += 1;
        }
    }
    let smuggled = smuggled(&world);
    println!(
        "{} vectors at 3 ports, statuses {statuses:?}, {smuggled} served of what they hid",
        requests.len()
    );
    assert_eq!(smuggled, 0);
    // The same line in the open arrives: the oracle sees what there is to see.
    let back = world
        .bulk()
        .send(
            Method::POST,
            "/",
            &[("authorization", &format!("Bearer {token}"))],
            r#"{"smuggled":false}"#,
        )
        .await;
    assert_eq!(back.status, 200);
    assert_eq!(world.archived(1, "logs").len(), 1);
}
