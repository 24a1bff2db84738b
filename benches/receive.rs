//! What it costs to check and count one body of each content, in bytes a second and in allocations.
//!
//! `cargo bench --bench receive`; the goals are 1 GB/s for OTLP, 0.7 GB/s for bulk lines, no allocation for either.

use std::{alloc::System, hint::black_box, io::Write, time::Duration};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    resource::v1::Resource,
};
use prost::Message;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use wharfinger::{
    model::{Content, Counts, Encoding, Limits, Signal},
    wire::{Scanner, encoding::Inflate},
};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const MIB: usize = 1 << 20;
/// As a socket hands a body over.
const CHUNK_BYTES: usize = 64 << 10;

struct Body {
    name: &'static str,
    content: Content,
    signal: Signal,
    encoding: Encoding,
    inflated_bytes: usize,
    chunks: Vec<Bytes>,
}

impl Body {
    fn new(name: &'static str, content: Content, signal: Signal, bytes: Vec<u8>) -> Self {
        Self {
            name,
            content,
            signal,
            encoding: Encoding::Identity,
            inflated_bytes: bytes.len(),
            chunks: chunked(bytes),
        }
    }

    fn compressed(self, name: &'static str, encoding: Encoding) -> Self {
        let bytes = self.chunks.concat();
        let bytes = match encoding {
            Encoding::Identity => bytes,
            Encoding::Gzip => {
                let level = flate2::Compression::default();
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(&bytes).expect("a Vec takes all");
                encoder.finish().expect("a Vec takes all")
            }
            Encoding::Zstd => zstd::encode_all(bytes.as_slice(), 3).expect("a slice can be read"),
            Encoding::Snappy => snap::raw::Encoder::new()
                .compress_vec(&bytes)
                .expect("shorter than 4 GiB"),
        };
        Self {
            name,
            encoding,
            chunks: chunked(bytes),
            ..self
        }
    }

    fn scan(&self, limits: &Limits) -> Counts {
        let scanner = Scanner::new(self.content, self.signal, limits);
        let mut inflate = Inflate::new(self.encoding, 64 << 20, scanner);
        for chunk in &self.chunks {
            inflate.push(chunk.clone()).expect("an honest body");
        }
        inflate.finish().expect("an honest body").0
    }
}

fn chunked(bytes: Vec<u8>) -> Vec<Bytes> {
    let bytes = Bytes::from(bytes);
    (0..bytes.len())
        .step_by(CHUNK_BYTES)
        .map(|start| bytes.slice(start..bytes.len().min(start + CHUNK_BYTES)))
        .collect()
}

fn text(value: String) -> Option<AnyValue> {
    Some(AnyValue {
        value: Some(any_value::Value::StringValue(value)),
    })
}

fn attribute(key: &str, value: String) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: text(value),
        ..KeyValue::default()
    }
}

/// Records of some 200 bytes, or of some 1,000 with twenty attributes.
fn log_records(attributes: usize) -> ExportLogsServiceRequest {
    let record = |at: usize| LogRecord {
        time_unix_nano: 1_790_000_000_000_000_000 + at as u64,
        observed_time_unix_nano: 1_790_000_000_000_000_999 + at as u64,
        severity_number: 9,
        severity_text: "INFO".to_owned(),
        body: text(format!(
            "GET /api/v1/orders/{at} took {} ms, 200, user agent curl/8.5.0",
            at % 977
        )),
        attributes: (0..attributes)
            .map(|key| attribute(&format!("http.request.header.{key}"), format!("value-{at}")))
            .collect(),
        trace_id: vec![7; 16],
        span_id: vec![9; 8],
        ..LogRecord::default()
    };
    let mut log_records = Vec::new();
    let mut bytes = 0;
    while bytes < MIB {
        log_records.push(record(log_records.len()));
        bytes += log_records.last().map_or(0, Message::encoded_len) + 3;
    }
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(Resource {
                attributes: vec![attribute("service.name", "orders".to_owned())],
                ..Resource::default()
            }),
            scope_logs: vec![ScopeLogs {
                scope: Some(InstrumentationScope {
                    name: "bench".to_owned(),
                    ..InstrumentationScope::default()
                }),
                log_records,
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    }
}

fn lines() -> Vec<u8> {
    let mut body = Vec::new();
    let mut at = 0;
    while body.len() < MIB {
        at += 1;
        writeln!(
            body,
            r#"{{"@timestamp":"2026-11-23T22:15:{:02}.{:03}Z","level":"INFO","logger":"com.example.orders.OrderController","thread":"http-nio-8080-exec-{}","message":"Order {at} accepted for customer \"c-{}\" in {} ms","http":{{"method":"POST","path":"/api/v1/orders","status":201,"bytes":{}}},"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","sampled":true,"duration":{}.25}}"#,
            at % 60, at % 1000, at % 16, at % 9973, at % 977, at % 5000, at % 300,
        )
        .expect("a Vec takes all");
    }
    body
}

/// A remote-write 1.0 request as Prometheus sends it: one sample a series, some eight labels.
fn samples() -> Vec<u8> {
    fn field(number: u8, content: &[u8], out: &mut Vec<u8>) {
        out.push(number << 3 | 2);
        prost::encoding::encode_varint(content.len() as u64, out);
        out.extend_from_slice(content);
    }
    let mut body = Vec::new();
    let mut at = 0;
    while body.len() < MIB {
        at += 1;
        let mut series = Vec::new();
        for (name, value) in [
            (
                "__name__",
                "http_request_duration_seconds_bucket".to_owned(),
            ),
            ("cluster", "eu-central-1".to_owned()),
            ("instance", format!("10.0.{}.{}:9100", at % 255, at % 253)),
            ("job", "kubernetes-pods".to_owned()),
            ("le", format!("0.{}", at % 20)),
            ("method", "GET".to_owned()),
            ("namespace", "production".to_owned()),
            ("pod", format!("orders-7d9c{at:x}")),
        ] {
            let mut label = Vec::new();
            field(1, name.as_bytes(), &mut label);
            field(2, value.as_bytes(), &mut label);
            field(1, &label, &mut series);
        }
        let mut sample = vec![0x09];
        sample.extend((at as f64).to_le_bytes());
        sample.push(0x10);
        prost::encoding::encode_varint(1_790_000_000_000, &mut sample);
        field(2, &sample, &mut series);
        field(1, &series, &mut body);
    }
    body
}

fn bodies() -> Vec<Body> {
    use Content::{Lines, OtlpJson, OtlpProtobuf, RemoteWrite1};
    use Signal::{Logs, Metrics};
    let json = serde_json::to_vec(&log_records(2)).expect("a request is JSON");
    vec![
        Body::new(
            "otlp_200_byte_records",
            OtlpProtobuf,
            Logs,
            log_records(2).encode_to_vec(),
        ),
        Body::new(
            "otlp_many_attributes",
            OtlpProtobuf,
            Logs,
            log_records(20).encode_to_vec(),
        ),
        Body::new("otlp_json", OtlpJson, Logs, json),
        Body::new("bulk_lines", Lines, Logs, lines()),
        Body::new("bulk_lines_gzip", Lines, Logs, lines())
            .compressed("bulk_lines_gzip", Encoding::Gzip),
        Body::new("bulk_lines_zstd", Lines, Logs, lines())
            .compressed("bulk_lines_zstd", Encoding::Zstd),
        Body::new("remote_write", RemoteWrite1, Metrics, samples()),
        Body::new("remote_write_snappy", RemoteWrite1, Metrics, samples())
            .compressed("remote_write_snappy", Encoding::Snappy),
    ]
}

fn receive(criterion: &mut Criterion) {
    let limits = Limits::default();
    let mut group = criterion.benchmark_group("receive");
    for body in bodies() {
        let region = Region::new(ALLOCATOR);
        let counts = black_box(body.scan(&limits));
        let allocated = region.change();
        println!(
            "{}: {} bytes, {} items, {} allocations of {} bytes",
            body.name,
            body.inflated_bytes,
            counts.items(),
            allocated.allocations + allocated.reallocations,
            allocated.bytes_allocated,
        );
        group.throughput(Throughput::Bytes(body.inflated_bytes as u64));
        group.bench_function(body.name, |bencher| bencher.iter(|| body.scan(&limits)));
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = receive
}
criterion_main!(benches);
