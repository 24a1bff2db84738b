//! The whole path over loopback: a sender's request, through every stage, to a destination and back.
//!
//! `cargo bench --bench flow`; `cargo bench --bench flow -- --test` runs each once. Sender, gateway (one worker), control
//! plane and sink share this process and its cores, so the figures are for comparing with themselves. `http/...`: one
//! keep-alive connection, one request after the other, to a sink that reads the body and says 200. `archive/...`: 64
//! connections at once, each answered after its line is fsynced; the time is for all 64.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use http::{Request, Response, Version, header};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::{AnyValue, any_value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
};
use prost::Message as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::{self, Runtime},
    sync::Mutex,
};
use wharfinger::{
    app::{self, Running},
    config::{Config, Listen},
};

// As the executable has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CONCURRENT: usize = 64;

/// A whole Wharfinger in this process, an account whose signals go to the sink, and one that has the archive.
struct Bench {
    app: Running,
    _data: TempDir,
    to_sink: String,
    to_archive: String,
}

/// A keep-alive connection with one request to repeat.
enum Sender {
    Http1(Mutex<http1::SendRequest<Full<Bytes>>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

struct Shipment {
    sender: Sender,
    address: SocketAddr,
    path: &'static str,
    content_type: &'static str,
    token: String,
    body: Bytes,
}

fn flow(criterion: &mut Criterion) {
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let bench = runtime.block_on(Bench::start());
    let ports = &bench.app.ports;
    let [bulk, otlp, grpc] =
        [ports.bulk, ports.otlp_http, ports.otlp_grpc].map(|port| port.expect("open"));
    let http1 = |address, path, content_type, body: Vec<u8>| {
        let token = bench.to_sink.clone();
        runtime.block_on(Shipment::over_http1(
            address,
            path,
            content_type,
            token,
            body,
        ))
    };
    let mut group = criterion.benchmark_group("flow");
    group.measurement_time(Duration::from_secs(4));
    for (name, bytes) in [
        ("http/bulk-1k", 1 << 10),
        ("http/bulk-64k", 64 << 10),
        ("http/bulk-1m", 1 << 20),
    ] {
        let shipment = http1(bulk, "/", "application/json", lines(bytes));
        measure(&mut group, &runtime, name, shipment);
    }
    let message = export(1 << 10);
    let shipment = http1(otlp, "/v1/logs", "application/x-protobuf", message);
    measure(&mut group, &runtime, "http/otlp-1k", shipment);
    let message = export(4 << 10);
    let shipment = runtime.block_on(Shipment::over_grpc(grpc, bench.to_sink.clone(), &message));
    measure(&mut group, &runtime, "http/grpc-4k", shipment);

    let shipments: Vec<_> = (0..CONCURRENT)
        .map(|_| {
            let token = bench.to_archive.clone();
            let body = lines(1 << 10);
            runtime.block_on(Shipment::over_http1(
                bulk,
                "/",
                "application/json",
                token,
                body,
            ))
        })
        .collect();
    let shipments = Arc::new(shipments);
    group.throughput(Throughput::Elements(CONCURRENT as u64));
    group.bench_function("archive/bulk-1k-64-at-once", |bencher| {
        bencher.iter(|| runtime.block_on(join_all(shipments.iter().map(Shipment::ship))));
    });
    group.finish();
    drop(shipments);
    runtime.block_on(bench.app.shutdown());
}

fn measure(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    runtime: &Runtime,
    name: &str,
    shipment: Shipment,
) {
    group.throughput(Throughput::Bytes(shipment.body.len() as u64));
    group.bench_function(name, |bencher| {
        bencher.iter(|| runtime.block_on(shipment.ship()));
    });
}

// === impl Bench ===

impl Bench {
    async fn start() -> Self {
        let data = TempDir::new().expect("a folder");
        let free = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let mut config = Config {
            data: data.path().to_owned(),
            listen: Listen {
                otlp_grpc: free,
                otlp_http: free,
                bulk: free,
                bulk_tls: None,
                remote_write: None,
                remote_write_tls: None,
                admin: free,
                feed: None,
                operate: None,
            },
            ..Config::default()
        };
        config.gateway.workers = 1;
        // A bench is longer than a connection's life, and fuller than a folder's default.
        config.limits.connection_age = Duration::from_secs(86_400);
        config.archive.disk_bytes_max = 0;
        let app = app::start_serve(config).await.expect("starts");
        let sink = sink().await;
        let admin = Admin {
            address: app.ports.admin.expect("open"),
            token: read(&data, "admin-token"),
        };
        let endpoint = format!("http://{sink}");
        let destination = json!({"name": "sink", "kind": "http", "endpoints": [endpoint]});
        admin.post("/destinations", destination).await;
        let account = json!({"name": "sink", "destinations": {"logs": "sink"}});
        admin.post("/accounts", account).await;
        let token = json!({"account": "sink", "signal": "logs", "name": "bench"});
        let token = admin.post("/tokens", token).await;
        Self {
            app,
            to_sink: token["token"].as_str().expect("a token").to_owned(),
            to_archive: read(&data, "tokens/main-logs"),
            _data: data,
        }
    }
}

fn read(data: &TempDir, name: &str) -> String {
    let text = std::fs::read_to_string(data.path().join(name)).expect("made by the first start");
    text.trim().to_owned()
}

struct Admin {
    address: SocketAddr,
    token: String,
}

impl Admin {
    async fn post(&self, path: &str, body: Value) -> Value {
        let mut sender = connect_http1(self.address).await;
        let request = Request::post(format!("/api/v1{path}?wait=enforced"))
            .header(header::HOST, self.address.to_string())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .body(Full::from(body.to_string()))
            .expect("a request");
        let answer = sender.send_request(request).await.expect("an answer");
        let is_made = answer.status().is_success();
        let body = answer.into_body().collect().await.expect("a whole answer");
        let body = body.to_bytes();
        assert!(is_made, "{path}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).expect("JSON")
    }
}

/// Reads every body and says 200.
async fn sink() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).expect("sets");
            let swallow = service_fn(|request: Request<Incoming>| async move {
                let mut body = request.into_body();
                while let Some(frame) = body.frame().await {
                    frame?;
                }
                Ok::<_, hyper::Error>(Response::new(Empty::<Bytes>::new()))
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), swallow),
            );
        }
    });
    address
}

// === impl Shipment ===

impl Shipment {
    async fn over_http1(
        address: SocketAddr,
        path: &'static str,
        content_type: &'static str,
        token: String,
        body: Vec<u8>,
    ) -> Self {
        let shipment = Self {
            sender: Sender::Http1(Mutex::new(connect_http1(address).await)),
            address,
            path,
            content_type,
            token,
            body: body.into(),
        };
        shipment.ship().await;
        shipment
    }

    async fn over_grpc(address: SocketAddr, token: String, message: &[u8]) -> Self {
        let stream = connect(address).await;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("shakes hands");
        tokio::spawn(connection);
        let mut body = vec![0];
        let length = u32::try_from(message.len()).expect("small");
        body.extend_from_slice(&length.to_be_bytes());
        body.extend_from_slice(message);
        let shipment = Self {
            sender: Sender::Http2(sender),
            address,
            path: "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            content_type: "application/grpc",
            token,
            body: body.into(),
        };
        shipment.ship().await;
        shipment
    }

    /// One request, to the end of its answer; anything but a success ends the bench.
    async fn ship(&self) {
        let request = Request::post(format!("http://{}{}", self.address, self.path))
            .header(header::HOST, self.address.to_string())
            .header(header::CONTENT_TYPE, self.content_type)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token));
        let body = Full::new(self.body.clone());
        let (answer, is_grpc) = match &self.sender {
            Sender::Http1(sender) => {
                let request = request.body(body).expect("a request");
                let mut sender = sender.lock().await;
                sender.ready().await.expect("the connection is kept alive");
                (sender.send_request(request).await, false)
            }
            Sender::Http2(sender) => {
                let request = request
                    .version(Version::HTTP_2)
                    .header(header::TE, "trailers");
                let request = request.body(body).expect("a request");
                (sender.clone().send_request(request).await, true)
            }
        };
        let (head, body) = answer.expect("an answer").into_parts();
        let body = body.collect().await.expect("a whole answer");
        assert!(head.status.is_success(), "{head:?}");
        if is_grpc {
            let trailers = body.trailers().unwrap_or(&head.headers);
            let status = trailers.get("grpc-status").map(|code| code.as_bytes());
            assert_eq!(status, Some(b"0".as_slice()), "{trailers:?}");
        }
    }
}

async fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.expect("connects");
    stream.set_nodelay(true).expect("sets");
    stream
}

async fn connect_http1(address: SocketAddr) -> http1::SendRequest<Full<Bytes>> {
    let (sender, connection) = http1::handshake(TokioIo::new(connect(address).await))
        .await
        .expect("shakes hands");
    tokio::spawn(connection);
    sender
}

/// JSON lines of some 128 bytes, together no more than that many bytes.
fn lines(bytes: usize) -> Vec<u8> {
    let line = format!(
        "{{\"level\":\"info\",\"message\":\"{}\"}}\n",
        "m".repeat(97)
    );
    line.repeat((bytes / line.len()).max(1)).into_bytes()
}

/// An OTLP export request of log records of some 100 bytes, together about that many bytes.
fn export(bytes: usize) -> Vec<u8> {
    let record = LogRecord {
        time_unix_nano: 1_700_000_000_000_000_000,
        body: Some(AnyValue {
            value: Some(any_value::Value::StringValue("m".repeat(80))),
        }),
        ..LogRecord::default()
    };
    let count = bytes / (record.encoded_len() + 2);
    let scope = ScopeLogs {
        log_records: vec![record; count],
        ..ScopeLogs::default()
    };
    let resource = ResourceLogs {
        scope_logs: vec![scope],
        ..ResourceLogs::default()
    };
    ExportLogsServiceRequest {
        resource_logs: vec![resource],
    }
    .encode_to_vec()
}

criterion_group!(benches, flow);
criterion_main!(benches);
