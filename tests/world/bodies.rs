//! Bodies that real senders send, built field by field.

/// `count` JSON lines, numbered.
pub fn lines(count: usize) -> Vec<u8> {
    (0..count)
        .map(|n| format!("{{\"message\":\"line {n}\",\"n\":{n}}}\n"))
        .collect::<String>()
        .into_bytes()
}

/// One length-delimited protobuf field.
pub fn field(number: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = varint(u64::from(number << 3 | 2));
    out.extend(varint(bytes.len() as u64));
    out.extend_from_slice(bytes);
    out
}

/// One fixed64 field.
pub fn fixed64(number: u32, value: [u8; 8]) -> Vec<u8> {
    let mut out = varint(u64::from(number << 3 | 1));
    out.extend_from_slice(&value);
    out
}

/// One varint field.
pub fn number(number: u32, value: u64) -> Vec<u8> {
    let mut out = varint(u64::from(number << 3));
    out.extend(varint(value));
    out
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// An OTLP export request of that signal with `count` items.
pub fn otlp(signal: &str, count: usize) -> Vec<u8> {
    let item = match signal {
        "logs" => [
            fixed64(1, 1_700_000_000_000_000_000u64.to_le_bytes()),
            field(5, &field(1, b"hello")),
        ]
        .concat(),
        "traces" => [
            field(1, &[7; 16]),
            field(2, &[9; 8]),
            field(5, b"span"),
            fixed64(7, 1u64.to_le_bytes()),
            fixed64(8, 2u64.to_le_bytes()),
        ]
        .concat(),
        "metrics" => {
            // One gauge a data point: the items are the points.
            let point = [
                fixed64(3, 1u64.to_le_bytes()),
                fixed64(4, 2.5f64.to_le_bytes()),
            ]
            .concat();
            [field(1, b"load"), field(5, &field(1, &point))].concat()
        }
        other => panic!("no such signal: {other}"),
    };
    let scope: Vec<u8> = (0..count).flat_map(|_| field(2, &item)).collect();
    field(1, &field(2, &scope))
}

/// The same in JSON.
pub fn otlp_json(signal: &str, count: usize) -> String {
    let (resources, scopes, items, item) = match signal {
        "logs" => (
            "resourceLogs",
            "scopeLogs",
            "logRecords",
            r#"{"timeUnixNano":"1700000000000000000","body":{"stringValue":"hello"}}"#,
        ),
        "traces" => (
            "resourceSpans",
            "scopeSpans",
            "spans",
            r#"{"traceId":"07070707070707070707070707070707","spanId":"0909090909090909","name":"span"}"#,
        ),
        "metrics" => (
            "resourceMetrics",
            "scopeMetrics",
            "metrics",
            r#"{"name":"load","gauge":{"dataPoints":[{"timeUnixNano":"1","asDouble":2.5}]}}"#,
        ),
        other => panic!("no such signal: {other}"),
    };
    let list = vec![item; count].join(",");
    format!(r#"{{"{resources}":[{{"{scopes}":[{{"{items}":[{list}]}}]}}]}}"#)
}

/// A remote write 1.0 request of one series with `count` samples, not yet compressed.
pub fn write_1(count: usize) -> Vec<u8> {
    let label = [field(1, b"__name__"), field(2, b"up")].concat();
    let samples: Vec<u8> = (0..count)
        .flat_map(|n| {
            let sample = [
                [varint(1 << 3 | 1), 1.5f64.to_le_bytes().to_vec()].concat(),
                number(2, 1_700_000_000_000 + n as u64),
            ]
            .concat();
            field(2, &sample)
        })
        .collect();
    field(1, &[field(1, &label), samples].concat())
}

/// A remote write 2.0 request of one series with `count` samples, not yet compressed.
pub fn write_2(count: usize) -> Vec<u8> {
    let symbols = [field(4, b""), field(4, b"__name__"), field(4, b"up")].concat();
    let samples: Vec<u8> = (0..count)
        .flat_map(|n| {
            let sample = [
                fixed64(1, 1.5f64.to_le_bytes()),
                number(2, 1_700_000_000_000 + n as u64),
            ]
            .concat();
            field(2, &sample)
        })
        .collect();
    let series = [field(1, &[1, 2]), samples].concat();
    [symbols, field(5, &series)].concat()
}

/// Snappy's block format.
pub fn snappy(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new()
        .compress_vec(bytes)
        .expect("compresses")
}

/// RFC 1952.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("compresses");
    encoder.finish().expect("compresses")
}

/// RFC 8878.
pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 3).expect("compresses")
}
