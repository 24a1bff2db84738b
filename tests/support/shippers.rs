//! Honest senders of compressed bodies, as large as honest ones get: small on the wire, large in memory.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::task::JoinSet;

use super::bombs::{gzip, zstd};
use super::world::{Live, bodies, live};

/// One body, ready to be sent any number of times.
#[derive(Clone)]
pub(crate) struct Cargo {
    to: SocketAddr,
    path: &'static str,
    headers: Vec<(String, String)>,
    body: Bytes,
    pub(crate) items: u64,
    /// What bulk lines come to in the archive, where they lie as they came.
    pub(crate) archived_bytes: Option<u64>,
}

/// How the senders of one kind fared.
#[derive(Debug, Default)]
pub(crate) struct Fared {
    pub(crate) accepted: u64,
    pub(crate) told_to_wait: u64,
    pub(crate) slowest: Duration,
    pub(crate) wrong: Vec<String>,
}

impl Cargo {
    fn new(
        to: SocketAddr,
        path: &'static str,
        token: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Self {
        let mut all = vec![("authorization".to_owned(), format!("Bearer {token}"))];
        for (name, value) in headers {
            all.push(((*name).to_owned(), (*value).to_owned()));
        }
        Self {
            to,
            path,
            headers: all,
            body: body.into(),
            items: 0,
            archived_bytes: None,
        }
    }

    fn bulk(live: &Live, token: &str, encoding: &str, lines: &[u8]) -> Self {
        let body = match encoding {
            "gzip" => gzip(lines),
            "zstd" => zstd(lines),
            _ => lines.to_vec(),
        };
        let headers = [("content-encoding", encoding)];
        Self {
            items: lines.iter().filter(|byte| **byte == b'\n').count() as u64,
            archived_bytes: Some(lines.len() as u64),
            ..Self::new(live.bulk, "/", token, &headers, body)
        }
    }

    /// Ordinary logs, 3.7 MB of them, which gzip makes a third of.
    pub(crate) fn logs(live: &Live, token: &str) -> Self {
        Self::bulk(live, token, "gzip", &words(3_700_000))
    }

    /// Logs that repeat, 3.8 MB of them in some hundred bytes.
    pub(crate) fn repeats(live: &Live, token: &str) -> Self {
        let line = format!("{{\"message\":\"{}\"}}\n", "y".repeat(1_000));
        Self::bulk(live, token, "zstd", line.repeat(3_700).as_bytes())
    }

    /// As many lines as a bulk body may hold, plain and compressed.
    pub(crate) fn largest_bulk(live: &Live, token: &str) -> [Self; 2] {
        let lines = words((10 << 20) - 4_096);
        ["identity", "gzip"].map(|encoding| Self::bulk(live, token, encoding, &lines))
    }

    /// OTLP in JSON of 62 MiB, on one line.
    pub(crate) fn json(live: &Live, token: &str) -> Self {
        let record = format!(
            "{{\"timeUnixNano\":\"1700000000000000000\",\"body\":{{\"stringValue\":\"{}\"}}}},",
            "x".repeat(200)
        );
        let count = (62 << 20) / record.len();
        let records = record.repeat(count);
        let body = format!(
            "{{\"resourceLogs\":[{{\"scopeLogs\":[{{\"logRecords\":[{}]}}]}}]}}",
            records.trim_end_matches(',')
        );
        let headers = [
            ("content-type", "application/json"),
            ("content-encoding", "zstd"),
        ];
        let body = zstd(body.as_bytes());
        Self {
            items: count as u64,
            ..Self::new(live.otlp_http, "/v1/logs", token, &headers, body)
        }
    }

    /// OTLP in protobuf, some bytes below its 64 MiB.
    pub(crate) fn protobuf(live: &Live, token: &str) -> Self {
        let time = bodies::fixed64(1, 1u64.to_le_bytes());
        let text = bodies::field(5, &bodies::field(1, &[b'x'; 200]));
        let record = bodies::field(2, &[time, text].concat());
        let count = ((64 << 20) - 64) / record.len();
        let body = bodies::field(1, &bodies::field(2, &record.repeat(count)));
        let headers = [
            ("content-type", "application/x-protobuf"),
            ("content-encoding", "zstd"),
        ];
        Self {
            items: count as u64,
            ..Self::new(live.otlp_http, "/v1/logs", token, &headers, zstd(&body))
        }
    }

    /// Sends it once; `Err` is the answer of who was not told to come back.
    pub(crate) async fn send(&self) -> Result<bool, String> {
        let sent = live::post(
            Ipv4Addr::LOCALHOST,
            self.to,
            self.path,
            &self.headers,
            self.body.clone(),
        );
        match sent.await {
            Some(raw) if raw.status == 200 => Ok(true),
            Some(raw)
                if matches!(raw.status, 429 | 503) && raw.text.contains("\r\nretry-after: ") =>
            {
                Ok(false)
            }
            other => Err(format!("{other:?}")),
        }
    }
}

/// Lines of words without order: what honest logs compress like.
fn words(bytes: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state >> 40
    };
    let mut lines = Vec::with_capacity(bytes + 512);
    while lines.len() < bytes {
        let words: Vec<String> = (0..25).map(|_| format!("{:x}", next())).collect();
        let line = format!(
            "{{\"level\":\"info\",\"host\":\"web-{}\",\"message\":\"{}\"}}\n",
            next() % 7,
            words.join(" ")
        );
        lines.extend_from_slice(line.as_bytes());
    }
    lines
}

/// So many senders at once, each until `count` of its bodies are accepted; who is told to wait comes back.
pub(crate) async fn ship(cargo: Cargo, senders: usize, count: u64) -> Fared {
    let mut flights = JoinSet::new();
    for _ in 0..senders {
        let cargo = cargo.clone();
        flights.spawn(async move {
            let mut fared = Fared::default();
            while fared.accepted < count && fared.wrong.is_empty() && fared.told_to_wait < 1_000 {
                let began = Instant::now();
                match cargo.send().await {
                    Ok(true) => fared.accepted += 1,
                    Ok(false) => {
                        fared.told_to_wait += 1;
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    Err(answer) => fared.wrong.push(answer),
                }
                fared.slowest = fared.slowest.max(began.elapsed());
            }
            fared
        });
    }
    let mut all = Fared::default();
    while let Some(one) = flights.join_next().await {
        let one = one.expect("no panic");
        all.accepted += one.accepted;
        all.told_to_wait += one.told_to_wait;
        all.slowest = all.slowest.max(one.slowest);
        all.wrong.extend(one.wrong);
    }
    all
}
