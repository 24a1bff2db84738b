//! Heads that can't be read, or that are too much of one: refused in the protocol of the door they knock at.

use std::time::Duration;

use crate::world::{Sender, World, live};

/// What makes a head too much, or unreadable.
fn excesses() -> [(&'static str, String, String); 5] {
    let many = |count: usize| {
        (0..count)
            .map(|n| format!("x-{n}: y\r\n"))
            .collect::<String>()
    };
    [
        ("90 headers", String::new(), many(90)),
        ("150 headers", String::new(), many(150)),
        ("200,000 headers", String::new(), "a:b\r\n".repeat(200_000)),
        (
            "a target of 40 KB",
            format!("?x={}", "z".repeat(40_000)),
            String::new(),
        ),
        (
            "a bad length",
            String::new(),
            "content-length: abc\r\n".into(),
        ),
    ]
}

async fn knock(door: Sender, head: String) -> String {
    door.raw(head.as_bytes(), Duration::from_secs(5))
        .await
        .to_ascii_lowercase()
}

#[tokio::test]
async fn a_head_that_cannot_be_read_is_refused_in_its_doors_protocol() {
    let world = World::start().await;
    let doors = [
        (world.bulk(), "/", "text/plain", "text/plain"),
        (
            world.otlp_http(),
            "/v1/logs",
            "application/x-protobuf",
            "application/x-protobuf",
        ),
        (
            world.otlp_http(),
            "/v1/logs",
            "application/json",
            "application/json",
        ),
        (
            world.remote_write(),
            "/api/v1/write",
            "application/x-protobuf",
            "text/plain",
        ),
        (world.bulk(), "/nowhere", "text/plain", "text/plain"),
    ];
    for (door, path, kind, expected) in doors {
        for (name, query, headers) in excesses() {
            let head = format!(
                "POST {path}{query} HTTP/1.1\r\nhost: a\r\ncontent-type: {kind}\r\n{headers}\r\n"
            );
            let back = knock(door, head).await;
            let case = format!("{name} at {path} as {kind}: {back}");
            assert!(back.starts_with("http/1.1 400 "), "{case}");
            assert_eq!(back.matches("http/1.1 ").count(), 1, "{case}");
            assert!(back.contains("\r\nx-request-id: "), "{case}");
            assert!(back.contains("\r\nconnection: close\r\n"), "{case}");
            assert!(
                back.contains(&format!("\r\ncontent-type: {expected}")),
                "{case}"
            );
            assert!(back.contains("not well framed"), "{case}");
        }
    }
    for garbage in [
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\r\n\r\n",
        "GET\r\n\r\n",
        "\0\0\0\0\r\n\r\n",
    ] {
        let back = knock(world.bulk(), garbage.to_owned()).await;
        assert!(back.starts_with("http/1.1 400 "), "{garbage:?}: {back}");
        assert!(back.contains("\r\nx-request-id: "), "{garbage:?}: {back}");
    }
    let page = world.page("/metrics").await.text();
    let refused = ["bulk", "otlp_http", "remote_write", "none"].map(|door| {
        let labels = format!("door=\"{door}\",outcome=\"bad_framing\"");
        live::metric_in(&page, "wharfinger_requests_total", &labels)
    });
    assert_eq!(refused, [5.0, 10.0, 5.0, 8.0], "{page}");
}

#[tokio::test]
async fn a_header_list_past_the_limit_is_refused_in_its_doors_protocol_on_http2() {
    let world = World::start().await;
    let long = "y".repeat(20 << 10);
    let path = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
    let answer = world
        .otlp_grpc()
        .call(path, &[("x", &long)], b"", false)
        .await;
    assert_eq!((answer.answer.status, answer.code), (200, 3), "{answer:?}");
    let names: Vec<String> = (0..500).map(|n| format!("x-{n}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), "y")).collect();
    let answer = world.otlp_grpc().call(path, &many, b"", false).await;
    assert_eq!((answer.answer.status, answer.code), (200, 3), "{answer:?}");
    for (door, path) in [(world.bulk(), "/"), (world.remote_write(), "/api/v1/write")] {
        for headers in [&[("x", long.as_str())][..], &many] {
            let answer = door.send_h2(http::Method::POST, path, headers, "").await;
            assert_eq!(answer.status, 400, "{answer:?}");
            assert!(answer.headers.contains_key("x-request-id"), "{answer:?}");
        }
    }
}
