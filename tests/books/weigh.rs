//! What arrived: items and bytes at a destination and in an archive, counted by what the bodies are known to say.

use serde_json::Value;

use super::{
    SIGNALS,
    world::{World, recorder::Recorded},
};

/// How often `needle` occurs.
fn count(body: &[u8], needle: &[u8]) -> u64 {
    body.windows(needle.len())
        .filter(|window| *window == needle)
        .count() as u64
}

/// Signal, items and inflated bytes of what arrived at a destination, counted by what the bodies are known to say.
pub(crate) fn weigh(request: &Recorded) -> (&'static str, u64, u64) {
    let header = |name: &str| {
        request
            .headers
            .get(name)
            .map_or("", |value| value.to_str().expect("text"))
    };
    let is_grpc = request.path.ends_with("/Export");
    let body = if is_grpc {
        request.body.slice(5..)
    } else {
        request.body.clone()
    };
    let encoding = if is_grpc {
        header("grpc-encoding")
    } else {
        header("content-encoding")
    };
    let plain = match encoding {
        "gzip" => {
            let mut plain = Vec::new();
            std::io::Read::read_to_end(
                &mut flate2::read::MultiGzDecoder::new(&body[..]),
                &mut plain,
            )
            .expect("gzip");
            plain
        }
        "zstd" => zstd::decode_all(&body[..]).expect("zstd"),
        "snappy" => snap::raw::Decoder::new()
            .decompress_vec(&body)
            .expect("snappy"),
        _ => body.to_vec(),
    };
    let path = request.path.to_ascii_lowercase();
    let signal = SIGNALS
        .into_iter()
        .find(|signal| path.contains(&signal[..signal.len() - 1]))
        .unwrap_or(if path.contains("write") {
            "metrics"
        } else {
            "logs"
        });
    let is_json = header("content-type") == "application/json";
    let items = if path.contains("write") {
        count(&plain, &1.5f64.to_le_bytes())
    } else if path.starts_with("/?") {
        count(&plain, b"\"message\"")
    } else {
        match (signal, is_json) {
            ("logs", _) => count(&plain, b"hello"),
            ("metrics", false) => count(&plain, b"load"),
            ("traces", false) => count(&plain, b"span"),
            ("metrics", true) => count(&plain, b"\"name\":\"load\""),
            _ => count(&plain, b"\"name\":\"span\""),
        }
    };
    (signal, items, plain.len() as u64)
}

/// Items in an account's archive.
pub(crate) fn archived_items(world: &World, account: u64, signal: &str) -> u64 {
    let text = world.archived(account, signal).join("\n");
    let text = text.as_bytes();
    match signal {
        "logs" => count(text, b"\"message\"") + count(text, b"hello"),
        "metrics" => count(text, b"\"name\":\"load\"") + archived_samples(text),
        _ => count(text, b"\"name\":\"span\""),
    }
}

fn archived_samples(text: &[u8]) -> u64 {
    let lines = text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    lines
        .map(|line| serde_json::from_slice::<Value>(line).expect("JSON"))
        .map(|line| line["samples"].as_array().map_or(0, Vec::len) as u64)
        .sum()
}
