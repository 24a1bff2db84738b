//! Senders that show a token to the gateway: where it belongs, and where it doesn't.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::Method;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::{
    stage::Stage,
    world::{Sender, bodies, process::local},
};

const OTLP: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

/// Presents a token at every door, in every place, with some misdeeds; every answer's head and body.
pub(crate) async fn present(stage: &Stage, token: &str) -> Vec<String> {
    let doors = &stage.doors;
    let bearer = format!("Bearer {token}");
    let basic = format!("Basic {}", STANDARD.encode(format!("user:{token}")));
    let mut answers = Vec::new();
    for (port, path, name, value) in [
        (doors.bulk, "/", "authorization", bearer.as_str()),
        (doors.bulk, "/", "authorization", &format!("Splunk {token}")),
        (doors.bulk, "/", "authorization", &basic),
        (doors.bulk, "/", "x-api-token", token),
        (doors.bulk, "/", "cookie", token),
        (doors.bulk, "/", "user-agent", token),
        (doors.bulk, "/", "content-encoding", token),
        (doors.bulk, &format!("/?token={token}"), "x-a", "b"),
        (
            doors.bulk,
            &format!("/{token}?validate=true"),
            "authorization",
            &bearer,
        ),
        (doors.bulk, &format!("/?token={token}x"), "x-a", "b"),
        (doors.bulk, "/whoami", "authorization", &bearer),
        (doors.otlp_http, "/v1/logs", "authorization", &bearer),
        (
            doors.otlp_http,
            &format!("/v1/{token}"),
            "authorization",
            &bearer,
        ),
        (
            doors.remote_write,
            "/api/v1/write",
            "authorization",
            &bearer,
        ),
    ] {
        let sender = Sender::new(local(port));
        let headers = [(name, value)];
        let method = match path {
            "/whoami" => Method::GET,
            _ => Method::POST,
        };
        for body in [
            bodies::lines(2),
            format!("{{\"bad\": {token}\n").into_bytes(),
        ] {
            let answer = sender
                .send(method.clone(), path, &headers, body.clone())
                .await;
            answers.push(format!("{:?} {}", answer.headers, answer.text()));
            let answer = sender.send_h2(method.clone(), path, &headers, body).await;
            answers.push(format!("{:?} {}", answer.headers, answer.text()));
        }
    }
    let json = [
        ("content-type", "application/json"),
        ("authorization", bearer.as_str()),
    ];
    let sender = Sender::new(local(doors.otlp_http));
    let logs = bodies::otlp_json("logs", 2);
    answers.push(sender.post("/v1/logs", &json, logs).await.text());
    let sender = Sender::new(local(doors.otlp_grpc));
    for body in [bodies::otlp("logs", 2), vec![0x0a, 0xff]] {
        let headers = [("authorization", bearer.as_str())];
        answers.push(format!(
            "{:?}",
            sender.call(OTLP, &headers, &body, false).await
        ));
    }
    let sender = Sender::new(local(doors.bulk));
    for head in [
        format!("{token} / HTTP/1.1\r\nhost: a\r\n\r\n"),
        format!("POST / HTTP/1.1\r\nhost: a\r\nauthorization: {bearer}\r\nhost: {token}\r\n\r\n"),
        format!(
            "POST / HTTP/1.1\r\nhost: a\r\nauthorization: {bearer}\r\ncontent-length: {token}\r\n\r\n"
        ),
    ] {
        answers.push(sender.raw(head.as_bytes(), Duration::from_millis(50)).await);
    }
    answers
}

/// A request whose head has not ended: the gateway has to hold what has come of it.
pub(crate) async fn hold(stage: &Stage, token: &str) -> TcpStream {
    let address = local(stage.doors.bulk);
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let head = format!("POST / HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n");
    stream.write_all(head.as_bytes()).await.expect("sends");
    stream
}
