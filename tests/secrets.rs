//! No secret leaves the store: after every kind of refusal, at the lowest log level, no token's text is found anywhere.

mod world;

use std::{fs, net::Ipv4Addr, path::Path, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::Method;
use serde_json::{Value, json};
use world::{Live, Recorder, Sender, bodies, live, recorder::Script};

/// What must not be found, by the name it was given.
struct Secrets(Vec<(&'static str, Vec<u8>)>);

impl Secrets {
    fn add(&mut self, name: &'static str, text: &str) {
        assert!(text.len() >= 16, "{name} is too short to be looked for");
        self.0.push((name, text.as_bytes().to_vec()));
        // As Basic credentials carry it, from each of the three places where base64 may begin.
        for before in ["", "u:", "user:"] {
            let coded = STANDARD.encode(format!("{before}{text}"));
            let from = before.len().div_ceil(3) * 4;
            self.0
                .push((name, coded.as_bytes()[from..coded.len() - 4].to_vec()));
        }
    }

    fn found_in(&self, place: &str, bytes: &[u8]) -> Vec<String> {
        let found = self.0.iter().filter(|(_, text)| contains(bytes, text));
        found
            .map(|(name, _)| format!("{name} in {place}"))
            .collect()
    }
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == text[0]) {
        if rest[at..].starts_with(text) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

/// Everything below a folder, file by file.
fn files(folder: &Path, visit: &mut impl FnMut(&Path, Vec<u8>)) {
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            files(&path, visit);
        } else if let Ok(bytes) = fs::read(&path) {
            visit(&path, bytes);
        }
    }
}

/// Presents a token in every place and with every misdeed; every answer's head and body.
async fn present(live: &Live, token: &str, other: &str) -> Vec<String> {
    let bearer = format!("Bearer {token}");
    let basic = format!("Basic {}", STANDARD.encode(format!("user:{token}")));
    let ways: Vec<(String, Vec<(String, String)>)> = [
        ("/", "authorization", bearer.clone()),
        ("/", "authorization", format!("Splunk {token}")),
        ("/", "authorization", format!("ApiKey {token}")),
        ("/", "authorization", basic),
        ("/", "authorization", format!("Digest {token}")),
        ("/", "authorization", token.to_owned()),
        ("/", "x-api-token", token.to_owned()),
        ("/", "cookie", token.to_owned()),
        ("/v1/logs", "authorization", bearer.clone()),
        ("/v1/metrics", "authorization", bearer.clone()),
        ("/api/v1/write", "authorization", bearer.clone()),
        ("/nowhere", "authorization", bearer.clone()),
    ]
    .into_iter()
    .map(|(path, name, value)| (path.to_owned(), vec![(name.to_owned(), value)]))
    .chain([
        (format!("/?token={token}"), vec![]),
        (format!("/?token={token}x"), vec![]),
        (format!("/?token={token}&token={other}"), vec![]),
        (format!("/{token}"), vec![]),
        (format!("/v1/logs/{token}"), vec![]),
        (
            format!("/?token={other}"),
            vec![("authorization".to_owned(), bearer.clone())],
        ),
        (
            format!("/?type={token}"),
            vec![("authorization".to_owned(), bearer.clone())],
        ),
        (
            "/".to_owned(),
            vec![
                ("authorization".to_owned(), bearer.clone()),
                ("content-encoding".to_owned(), token.to_owned()),
            ],
        ),
        (
            "/v1/logs".to_owned(),
            vec![
                ("authorization".to_owned(), bearer.clone()),
                ("content-type".to_owned(), token.to_owned()),
            ],
        ),
    ])
    .collect();
    let bodies = [
        bodies::lines(1),
        format!("{{\"bad\": {token}\n").into_bytes(),
        vec![b' '; 11 << 20],
        bodies::snappy(&[0x0a, 0xff]),
    ];
    let mut answers = Vec::new();
    for (path, headers) in &ways {
        for (place, body) in bodies.iter().enumerate() {
            if place == 2 && path != "/" {
                continue;
            }
            for port in [live.bulk, live.otlp_http, live.remote_write] {
                let body = body.clone().into();
                let raw = live::post(Ipv4Addr::LOCALHOST, port, path, headers, body).await;
                answers.extend(raw.map(|raw| raw.text));
            }
        }
    }
    // Framing faults, another method, gRPC in all its ways, a head that never ends.
    let sender = Sender::new(live.bulk);
    for head in [
        format!("POST /?token={token} HTTP/1.1\r\n\r\n"),
        format!("POST / HTTP/1.1\r\nhost: a\r\nauthorization: {bearer}\r\nhost: {token}\r\n\r\n"),
        format!(
            "POST / HTTP/1.1\r\nhost: a\r\nauthorization: {bearer}\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
        format!(
            "POST / HTTP/1.1\r\nhost: a\r\nauthorization: {bearer}\r\ncontent-length: {token}\r\n\r\n"
        ),
        format!("{token} / HTTP/1.1\r\nhost: a\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nhost: a\r\nauthorization: {bearer}\r\n\r\n"),
        format!(
            "POST / HTTP/1.1\r\nhost: a\r\nauthorization: {bearer}\r\nauthorization: Bearer {other}\r\ncontent-length: 0\r\n\r\n"
        ),
    ] {
        answers.push(
            sender
                .raw(head.as_bytes(), Duration::from_millis(100))
                .await,
        );
    }
    for (authorization, body) in [
        (bearer.as_str(), bodies::otlp("logs", 1)),
        (token, vec![0x0a, 0xff]),
        (&bearer, vec![0x0a, 0xff]),
    ] {
        let path = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
        let headers = [("authorization", authorization)];
        let answer = Sender::new(live.otlp_grpc)
            .call(path, &headers, &body, false)
            .await;
        answers.push(format!("{answer:?}"));
        let odd = format!("/{token}.Service/Export");
        let answer = Sender::new(live.otlp_grpc)
            .call(&odd, &headers, &body, false)
            .await;
        answers.push(format!("{answer:?}"));
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_is_found_in_logs_metrics_answers_or_kept_files() {
    let live = Live::start_with("", &[("WHARFINGER_LOG", "trace")], "").await;
    let mut secrets = Secrets(Vec::new());
    let admin = fs::read_to_string(live.data().join("admin-token")).expect("the admin token");
    secrets.add("the admin token", admin.trim());
    let join_key = fs::read_to_string(live.data().join("join-key")).expect("the join key");
    secrets.add("the join key", join_key.trim());
    // A destination that says what it was told, and one that is down: its credential is a secret too.
    let recorder = Recorder::start().await;
    let credential = "a-credential-of-a-destination-0123456789";
    secrets.add("the destination's credential", credential);
    let credentials = json!({"kind": "bearer", "token": credential});
    let mut tokens = Vec::new();
    let down = format!(
        "http://{}",
        world::process::local(world::process::free_port())
    );
    for (name, kind, url) in [
        ("echoes", "http", recorder.url()),
        ("down", "http", down),
        ("kept", "archive", String::new()),
    ] {
        if kind == "http" {
            let body =
                json!({"name": name, "kind": kind, "endpoints": [url], "credentials": credentials});
            live.must(Method::POST, "/destinations?wait=enforced", body)
                .await;
        }
        let place = if kind == "http" { name } else { "archive" };
        let (_, three) = live.account(name, place).await;
        tokens.extend(three);
    }
    recorder.answer(Script::status(400).body(format!("you sent Bearer {credential}")));
    for how in ["disable", "revoke", "expire"] {
        let (id, token) = live.token("kept", "logs").await;
        let (path, method, body) = match how {
            "expire" => (
                format!("/tokens/{id}?wait=enforced"),
                Method::PATCH,
                json!({"expires_at": "2020-01-01T00:00:00Z"}),
            ),
            _ => (
                format!("/tokens/{id}/{how}?wait=enforced"),
                Method::POST,
                Value::Null,
            ),
        };
        live.must(method, &path, body).await;
        tokens.push(token);
    }
    let mut answers = Vec::new();
    for (place, token) in tokens.iter().enumerate() {
        secrets.add("a shipping token", token);
        answers.extend(present(&live, token, &tokens[(place + 1) % tokens.len()]).await);
    }
    let (mut found, mut bytes) = (Vec::new(), 0);
    for answer in &answers {
        let answer: String = answer.chars().take(4_000).collect();
        bytes += answer.len();
        found.extend(secrets.found_in(&format!("the answer {answer}"), answer.as_bytes()));
    }
    for page in ["/metrics", "/books", "/ready", "/version", "/nowhere"] {
        let page_bytes = live.page(page).await.body;
        bytes += page_bytes.len();
        found.extend(secrets.found_in(page, &page_bytes));
    }
    let log = live.log();
    bytes += log.len();
    for line in log.lines() {
        found.extend(secrets.found_in(&format!("the log: {line}"), line.as_bytes()));
    }
    let mut kept = 0;
    files(&live.data().join("gateway/directory"), &mut |path, file| {
        kept += 1;
        bytes += file.len();
        found.extend(secrets.found_in(&path.display().to_string(), &file));
    });
    // The store holds tokens sealed; its write-ahead log is among these files.
    files(&live.data().join("control"), &mut |path, file| {
        kept += 1;
        bytes += file.len();
        found.extend(secrets.found_in(&path.display().to_string(), &file));
    });
    // The eyes are open: where a secret does lie, in its own file of mode 0600, it is found.
    let own = fs::read(live.data().join("admin-token")).expect("readable");
    assert_eq!(
        secrets.found_in("its own file", &own),
        ["the admin token in its own file"]
    );
    println!(
        "{} secrets looked for in {} answers, {} log lines, {kept} kept files, {bytes} bytes: {} found",
        tokens.len() + 3,
        answers.len(),
        log.lines().count(),
        found.len()
    );
    assert!(answers.len() > 500 && log.lines().count() > 200 && kept > 0);
    assert!(
        log.contains("unknown_token") && log.contains("revoked_token"),
        "no refusal was logged"
    );
    assert!(found.is_empty(), "{found:#?}");
}
