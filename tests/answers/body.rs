//! What is decided once the body is looked at, and by the destination.

use std::time::Duration;

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use wharfinger::wire::status;

use crate::{
    stage::{Stage, with_written},
    table::{
        At, BODY_FAILED, EVERYWHERE, MALFORMED, SUCCESS, Seen, TOO_LARGE, assert_cell, report, row,
    },
    world::{Answer, World, bodies, recorder::Script},
};

#[tokio::test]
async fn a_body_past_the_ceiling_is_refused_announced_or_not() {
    let stage = Stage::set("http").await;
    stage
        .limits(
            json!({"bulk_body_bytes_max": 100, "otlp_body_bytes_max": 100,
                       "remote_write_body_bytes_max": 100}),
        )
        .await;
    for at in EVERYWHERE {
        let big = match at {
            At::Bulk => bodies::lines(10),
            At::OtlpProtobuf | At::Grpc => bodies::otlp("logs", 10),
            At::OtlpJson => bodies::otlp_json("logs", 10).into_bytes(),
            At::Write1 => bodies::snappy(&bodies::write_1(20)),
            At::Write2 => bodies::snappy(&bodies::write_2(20)),
        };
        let seen = at
            .ship(&stage.world, Some(stage.token(at)), big.clone())
            .await;
        assert_cell(&TOO_LARGE, at, "announced or declared", &seen);
        if at == At::Bulk {
            assert_eq!(seen.answer.text(), "Request body size exceeds 100 bytes");
        }
        if !matches!(at, At::Write1 | At::Write2) {
            // Small on the wire, past the ceiling once inflated.
            let seen = ship_gzipped(&stage, at, &big.repeat(20)).await;
            assert_cell(&TOO_LARGE, at, "inflated", &seen);
        }
    }
    report("too large");
}

async fn ship_gzipped(stage: &Stage, at: At, body: &[u8]) -> Seen {
    let authorization = format!("Bearer {}", stage.token(at));
    let body = bodies::gzip(body);
    let mut headers = at.headers();
    headers.push(("authorization", &authorization));
    let sender = at.sender(&stage.world);
    if at == At::Grpc {
        headers.push(("grpc-encoding", "gzip"));
        return sender.call(at.path(), &headers, &body, true).await.into();
    }
    headers.push(("content-encoding", "gzip"));
    sender.post(at.path(), &headers, body).await.into()
}

#[tokio::test]
async fn a_body_that_stalls_or_is_cut_off_is_503() {
    let world = World::start_with(|config| {
        config.receive.body_timeout = Duration::from_millis(300);
        config.receive.body_window = Duration::from_secs(1);
    })
    .await;
    let stage = Stage::set_in(world, "http").await;
    for at in EVERYWHERE {
        if at == At::Grpc {
            continue;
        }
        for is_cut in [false, true] {
            let seen = ship_part(&stage, at, is_cut).await;
            let why = if is_cut { "cut off" } else { "too slow" };
            assert_cell(&BODY_FAILED, at, why, &seen);
        }
    }
    // Over gRPC: a frame that promises more than the stream brings, and a stream that brings nothing more.
    let authorization = format!("Bearer {}", stage.token(At::Grpc));
    let headers = [("authorization", authorization.as_str())];
    let mut short = vec![0, 0, 0, 0, 200];
    short.extend_from_slice(&At::Grpc.body());
    let seen = stage
        .world
        .otlp_grpc()
        .call_framed(At::Grpc.path(), &headers, short)
        .await;
    assert_cell(&BODY_FAILED, At::Grpc, "cut off", &seen.into());
    let seen = stage
        .world
        .otlp_grpc()
        .call_stalling(At::Grpc.path(), &headers)
        .await;
    assert_cell(&BODY_FAILED, At::Grpc, "too slow", &seen.into());
    report("body failed");
}

/// Announces 1,000 bytes, sends ten; then waits, or closes its side.
async fn ship_part(stage: &Stage, at: At, is_cut: bool) -> Seen {
    let address = at.sender(&stage.world).address;
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let mut head = format!(
        "POST {} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\ncontent-length: 1000\r\n",
        at.path(),
        stage.token(at)
    );
    for (name, value) in at.headers() {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await.expect("sends");
    // The start of a snappy body that declares a size below every ceiling.
    stream.write_all(&at.body()[..10]).await.expect("sends");
    if is_cut {
        stream.shutdown().await.expect("half-closes");
    }
    let mut back = Vec::new();
    tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut back))
        .await
        .expect("an answer in time")
        .expect("a clean close");
    parse_answer(&back).into()
}

fn parse_answer(bytes: &[u8]) -> Answer {
    let end = bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap_or_else(|| panic!("no head: {:?}", String::from_utf8_lossy(bytes)));
    let head = std::str::from_utf8(&bytes[..end]).expect("text");
    let mut lines = head.split("\r\n");
    let status = lines.next().expect("a status line")[9..12]
        .parse()
        .expect("a status");
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| {
            (
                name.parse::<http::HeaderName>().expect("a name"),
                value.parse().expect("a value"),
            )
        })
        .collect();
    Answer {
        status,
        headers,
        body: bytes[end + 4..].to_vec().into(),
        trailers: None,
    }
}

#[tokio::test]
async fn what_the_destination_refuses_for_good_is_relayed() {
    let stage = Stage::set("http").await;
    for at in EVERYWHERE {
        for status in [400, 409, 422] {
            let script = Script::status(status).body("out of order sample");
            stage.recorder.answer(with_written(script, 1));
            let seen = stage.ship(at).await;
            let row = row("destination refuses for good", 400, status, 3, 400, false);
            assert_cell(&row, at, &format!("{status}"), &seen);
            match at {
                At::Bulk => assert_eq!(
                    seen.answer.json(),
                    json!({"malformedLines":3,"successfulLines":0,"oversizedLines":0,"emptyLogLines":0})
                ),
                At::Write2 => {
                    let samples = "x-prometheus-remote-write-samples-written";
                    assert_eq!(seen.answer.header(samples), Some("1"));
                }
                At::Write1 => assert!(seen.answer.text().contains("out of order sample")),
                _ => {}
            }
        }
    }
    // A 2xx to 2.0 without Written headers is a 1.0 receiver that stored nothing: the sender must fall back.
    stage.recorder.answer(Script::status(204));
    let seen = stage.ship(At::Write2).await;
    assert_cell(
        &row("lacks 2.0", 0, 0, 0, 415, false),
        At::Write2,
        "204",
        &seen,
    );
    report("destination refuses");
}

#[tokio::test]
async fn malformed_and_partly_bad_bodies_are_counted_and_told() {
    let stage = Stage::set("http").await;
    for at in EVERYWHERE {
        stage.accept(at);
        let token = Some(stage.token(at));
        let seen = at.ship(&stage.world, token, at.malformed_body()).await;
        assert_cell(&MALFORMED, at, "malformed", &seen);
    }
    // Bulk: the good lines are safe before the counters are sent.
    stage.recorder.forget();
    let body = b"{\"a\":1}\nnope\n{\"a\":2}\r\n\n[1]\n{\"a\":3}".to_vec();
    let seen = At::Bulk
        .ship(&stage.world, Some(stage.token(At::Bulk)), body)
        .await;
    assert_cell(
        &row("partly bad", 400, 0, 0, 0, false),
        At::Bulk,
        "lines",
        &seen,
    );
    assert_eq!(
        seen.answer.json(),
        json!({"malformedLines":2,"successfulLines":3,"oversizedLines":0,"emptyLogLines":1})
    );
    let kept = stage.recorder.recorded();
    let lines: Vec<_> = kept[0]
        .body
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .collect();
    assert_eq!(lines.len(), 3, "{kept:?}");
    // OTLP: the destination's partial success, in the sender's own form.
    let partial = status::partial_success_protobuf(2, "two are too old");
    stage.recorder.answer(
        Script::status(200)
            .header("content-type", "application/x-protobuf")
            .body(partial.clone()),
    );
    let seen = stage.ship(At::OtlpProtobuf).await;
    assert_cell(&SUCCESS, At::OtlpProtobuf, "partial", &seen);
    assert_eq!(
        status::parse_partial_success_protobuf(&seen.answer.body),
        Some((2, "two are too old".to_owned()))
    );
    let seen = stage.ship(At::Grpc).await;
    assert_cell(&SUCCESS, At::Grpc, "partial", &seen);
    assert_eq!(
        status::parse_partial_success_protobuf(&seen.answer.body[5..]),
        Some((2, "two are too old".to_owned()))
    );
    let json_partial = r#"{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"too old"}}"#;
    stage.recorder.answer(
        Script::status(200)
            .header("content-type", "application/json")
            .body(json_partial),
    );
    let seen = stage.ship(At::OtlpJson).await;
    assert_cell(&SUCCESS, At::OtlpJson, "partial", &seen);
    assert_eq!(
        seen.answer.json()["partialSuccess"]["rejectedLogRecords"],
        "2"
    );
    // Remote write 2.0: what was written is said on a 400 too.
    stage.recorder.answer(with_written(
        Script::status(400).body("one is out of order"),
        2,
    ));
    let seen = stage.ship(At::Write2).await;
    assert_cell(
        &row("partly bad", 0, 0, 0, 400, false),
        At::Write2,
        "written",
        &seen,
    );
    assert_eq!(
        seen.answer
            .header("x-prometheus-remote-write-samples-written"),
        Some("2")
    );
    // A receiver that says yes and writes less: 2.0 knows no success for that.
    stage.recorder.answer(with_written(Script::status(204), 2));
    let seen = stage.ship(At::Write2).await;
    let row = row("partly bad", 0, 0, 0, 400, false);
    assert_cell(&row, At::Write2, "written less", &seen);
    assert_eq!(
        seen.answer
            .header("x-prometheus-remote-write-samples-written"),
        Some("2")
    );
    report("malformed");
}
