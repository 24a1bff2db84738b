//! A control plane on one folder, stopped and started again: what it is told, and what it says.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    time::Duration,
};

use axum::body::{Body, to_bytes};
use serde_json::Value;
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;
use tower::ServiceExt as _;
use wharfinger::{
    control::{self, Control},
    directory::content_hash,
    model::Change,
    rpc::feed::{FromGateway, Hello, feed_client::FeedClient, from_control::Message, from_gateway},
};

use super::{Counts, ways::Ways};

/// A control plane that is stopped and started again on the same data.
pub(crate) struct Plane {
    data: PathBuf,
    pub(crate) control: Control,
    stop: CancellationToken,
    admin_token: String,
}

// === impl Plane ===

impl Plane {
    pub(crate) async fn start(data: PathBuf, ways: &Ways) -> Self {
        let config = control::Config {
            heartbeat: Duration::from_millis(100),
            ..control::Config::default()
        };
        let control = Control::open(&config, &data).await.expect("opens");
        let first = control.first_start().await.expect("starts");
        let admin_token = std::fs::read_to_string(&first.admin_token).expect("readable");
        let stop = CancellationToken::new();
        let (pipes, incoming) = mpsc::channel(4);
        let feed = control.feed(None).expect("ready");
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(async move { feed.serve(ReceiverStream::new(incoming), stopped).await });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        *ways.port.lock().expect("not poisoned") = listener.local_addr().ok();
        *ways.pipes.lock().expect("not poisoned") = Some(pipes);
        let feed = control.feed(None).expect("ready");
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(async move { feed.serve_port(listener, stopped).await });
        Self {
            data,
            control,
            stop,
            admin_token: admin_token.trim().to_owned(),
        }
    }

    pub(crate) async fn restart(self, ways: &Ways) -> Self {
        *ways.pipes.lock().expect("not poisoned") = None;
        *ways.port.lock().expect("not poisoned") = None;
        let Self {
            data,
            control,
            stop,
            ..
        } = self;
        control.close().await;
        stop.cancel();
        Self::start(data, ways).await
    }

    /// A call of the admin API: its status and its JSON.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let body = match body {
            Value::Null => String::new(),
            Value::String(lines) => lines,
            body => body.to_string(),
        };
        let request = http::Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header("authorization", format!("Bearer {}", self.admin_token))
            .body(Body::from(body))
            .expect("a request");
        let answer = self.control.admin().oneshot(request).await;
        let answer = answer.expect("answers");
        let status = answer.status().as_u16();
        let body = to_bytes(answer.into_body(), 1 << 24).await.expect("a body");
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// One that must succeed.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.ask(method, path, body).await;
        assert!(
            (200..300).contains(&status),
            "{method} {path}: {status} {answer}"
        );
        answer
    }

    /// What the store says a gateway should know, as a gateway that knows nothing is told: the revision, and the hash of it.
    pub(crate) async fn truth(&self, ways: &Ways) -> (u64, u128) {
        let port = ways.port.lock().expect("not poisoned").expect("it runs");
        let channel = Endpoint::from_shared(format!("http://{port}")).expect("a URL");
        let channel = channel.connect().await.expect("connects");
        let (outbox, said) = mpsc::channel(1);
        let hello = from_gateway::Message::Hello(Hello {
            gateway: "auditor".into(),
            instance: "auditor".into(),
            ..Hello::default()
        });
        let hello = FromGateway {
            message: Some(hello),
        };
        outbox.send(hello).await.expect("room");
        let mut request = tonic::Request::new(ReceiverStream::new(said));
        let key = format!("Bearer {}", self.control.join_key().reveal());
        request
            .metadata_mut()
            .insert("authorization", key.parse().expect("ASCII"));
        let mut client = FeedClient::new(channel).max_decoding_message_size(64 << 20);
        let mut told = client.follow(request).await.expect("follows").into_inner();
        let (mut rows, mut head, mut reached) = (HashMap::new(), None, 0);
        while head.is_none_or(|head| reached < head) {
            let message = told.message().await.expect("goes on").expect("goes on");
            let changes = match message.message.expect("a known message") {
                Message::Welcome(welcome) => {
                    head = Some(welcome.head);
                    Vec::new()
                }
                Message::SnapshotChunk(chunk) => chunk.changes,
                Message::SnapshotEnd(end) => {
                    reached = end.revision;
                    Vec::new()
                }
                Message::Delta(_) => panic!("somebody makes changes meanwhile"),
                _ => Vec::new(),
            };
            for change in changes {
                let change = change.into_model().expect("valid").expect("known");
                let key = match &change {
                    Change::Account(account) => (0, account.id.0),
                    Change::Destination(destination) => (1, destination.id.0),
                    Change::Token(token) => (2, token.id.0),
                    _ => panic!("no row: {change:?}"),
                };
                assert!(rows.insert(key, change).is_none(), "{key:?} twice");
            }
        }
        (reached, content_hash(rows.into_values()))
    }

    pub(crate) async fn shown(&self, account: u64, step: &str) -> BTreeMap<u64, Counts> {
        let path = format!("/accounts/{account}/usage?group=token&step={step}");
        let page = self.call("GET", &path, Value::Null).await;
        assert!(page["next"].is_null());
        let mut sums = BTreeMap::<u64, Counts>::new();
        for row in page["items"].as_array().expect("a list") {
            let number = |key: &str| row[key].as_u64().expect("a number");
            let refused = row["refused"].as_object().expect("an object");
            let refused = refused.values().filter_map(Value::as_u64).sum();
            let counts = [
                number("requests"),
                number("items"),
                number("bytes"),
                number("delivered_items"),
                number("delivered_bytes"),
                refused,
            ];
            let sum = sums.entry(number("token")).or_default();
            for (sum, count) in sum.iter_mut().zip(counts) {
                *sum += count;
            }
        }
        sums
    }
}
