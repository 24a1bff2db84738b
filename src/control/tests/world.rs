//! A control plane in a folder of its own, and gateways that follow it.

use std::{collections::BTreeMap, io, path::Path, time::Duration};

use axum::{
    body::{Body, to_bytes},
    http::{Request, StatusCode, header},
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::DuplexStream,
    sync::{mpsc, oneshot},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint},
};
use tower::ServiceExt;

use super::stores;
use crate::{
    control::{
        Config, Control,
        store::{Commit, Filter},
    },
    model::Change,
    rpc::feed::{
        Acknowledge, AuditHead, FromControl, FromGateway, Hello, feed_client::FeedClient,
        from_control::Message, from_gateway,
    },
};

pub(super) struct World {
    pub(super) control: Control,
    pub(super) folder: TempDir,
    admin_token: String,
    pipes: mpsc::Sender<io::Result<DuplexStream>>,
    _stop: oneshot::Sender<()>,
}

impl World {
    pub(super) async fn new() -> Self {
        Self::with(Config::default()).await
    }

    pub(super) async fn with(config: Config) -> Self {
        let folder = TempDir::new().expect("a folder");
        Self::within(config, folder).await
    }

    pub(super) async fn within(mut config: Config, folder: TempDir) -> Self {
        if config.store.is_empty() {
            config.store = stores::url(folder.path()).await;
        }
        let control = Control::open(&config, folder.path()).await.expect("opens");
        let first = control.first_start().await.expect("starts");
        let admin_token = text(&first.admin_token);
        let (pipes, incoming) = mpsc::channel(4);
        let (stop, stopped) = oneshot::channel::<()>();
        let served = control.clone();
        tokio::spawn(async move {
            let shutdown = async { drop(stopped.await) };
            let feed = served.feed(None).expect("ready");
            feed.serve(ReceiverStream::new(incoming), shutdown)
                .await
                .expect("served");
        });
        Self {
            control,
            folder,
            admin_token,
            pipes,
            _stop: stop,
        }
    }

    pub(super) async fn raw(&self, request: Request<Body>) -> (StatusCode, String, Vec<u8>) {
        let response = self
            .control
            .admin()
            .oneshot(request)
            .await
            .expect("answers");
        let kind = response
            .headers()
            .get(header::CONTENT_TYPE)
            .map_or(String::new(), |kind| {
                kind.to_str().expect("text").to_owned()
            });
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 24).await.expect("body");
        (status, kind, body.to_vec())
    }

    pub(super) fn request(&self, method: &str, path: &str, body: impl Into<Body>) -> Request<Body> {
        Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header("authorization", format!("Bearer {}", self.admin_token))
            .header(header::CONTENT_TYPE, "application/json")
            .body(body.into())
            .expect("a request")
    }

    pub(super) async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let (status, _, answer) = self.raw(self.request(method, path, body)).await;
        (
            status.as_u16(),
            serde_json::from_slice(&answer).expect("JSON"),
        )
    }

    pub(super) async fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(method, path, body).await;
        assert!(
            (200..300).contains(&status),
            "{method} {path}: {status} {answer}"
        );
        answer
    }

    /// A commit of nobody's in particular.
    pub(super) async fn begin(&self) -> Commit {
        let store = &self.control.inner.store;
        store.begin("test").await.expect("begun")
    }

    pub(super) async fn token(&self, name: &str) -> Value {
        self.ok(
            "POST",
            "/tokens",
            json!({"account": "main", "signal": "logs", "name": name}),
        )
        .await
    }

    pub(super) async fn pipe(&self) -> Channel {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        self.pipes.send(Ok(theirs)).await.expect("served");
        let mut ours = Some(ours);
        Endpoint::from_static("http://pipe")
            .connect_with_connector(tower::service_fn(move |_| {
                let pipe = ours.take().ok_or_else(|| io::Error::other("used up"));
                async move { pipe.map(TokioIo::new) }
            }))
            .await
            .expect("connects")
    }

    pub(super) async fn follow(&self, name: &str, kept: Kept) -> Follower {
        let key = self.control.join_key();
        Follower::connect(self.pipe().await, key.reveal(), name, kept)
            .await
            .expect("follows")
    }

    /// Everything that a gateway should know.
    pub(super) async fn state(&self) -> BTreeMap<String, Change> {
        let store = &self.control.inner.store;
        let mut state = BTreeMap::new();
        for row in store.destinations(0, 10_000).await.expect("read") {
            apply(&mut state, Change::Destination(row.destination));
        }
        for row in store.accounts(0, 10_000).await.expect("read") {
            apply(&mut state, Change::Account(row.account));
        }
        let mut after = 0;
        loop {
            let page = store.token_page(after, 10_000).await.expect("read");
            let Some(last) = page.last() else {
                return state;
            };
            after = last.id.0;
            for token in page {
                apply(&mut state, Change::Token(token));
            }
        }
    }

    pub(super) async fn live_tokens(&self) -> Vec<u64> {
        let filter = Filter {
            state: Some("live"),
            ..Filter::default()
        };
        let rows = self.control.inner.store.tokens(0, 10_000, &filter).await;
        rows.expect("read")
            .iter()
            .map(|row| row.token.id.0)
            .collect()
    }
}

pub(super) fn text(path: &Path) -> String {
    std::fs::read_to_string(path)
        .expect("a file")
        .trim()
        .to_owned()
}

/// What a gateway keeps between two streams.
#[derive(Clone, Default)]
pub(super) struct Kept {
    pub(super) store: String,
    pub(super) key: u32,
    pub(super) revision: u64,
    pub(super) history: u64,
    pub(super) instance: Option<String>,
    /// Of the audit log, as it was told last.
    pub(super) audit: Option<AuditHead>,
    pub(super) state: BTreeMap<String, Change>,
}

/// A gateway of the simplest kind: it checks every promise of the protocol as it reads.
pub(super) struct Follower {
    pub(super) kept: Kept,
    pub(super) snapshots: usize,
    pub(super) deltas: usize,
    outbox: mpsc::Sender<FromGateway>,
    pub(super) inbox: Streaming<FromControl>,
    /// The last usage report acknowledged.
    pub(super) applied: Option<(u64, u64)>,
    snapshot: Option<Snapshot>,
}

struct Snapshot {
    begin: u64,
    history: u64,
    tokens: u64,
    state: BTreeMap<String, Change>,
    deltas: Vec<Vec<Change>>,
}

impl Follower {
    pub(super) async fn connect(
        channel: Channel,
        key: &str,
        name: &str,
        kept: Kept,
    ) -> Result<Self, Status> {
        let (outbox, messages) = mpsc::channel(16);
        let hello = Hello {
            gateway: name.into(),
            version: "test".into(),
            store: kept.store.clone(),
            revision: kept.revision,
            digest_key_id: kept.key,
            history: kept.history,
            // One folder a name, as good gateways have it.
            instance: kept.instance.clone().unwrap_or_else(|| name.into()),
            accepted: Vec::new(),
            audit: kept.audit.clone(),
        };
        let hello = FromGateway {
            message: Some(from_gateway::Message::Hello(hello)),
        };
        outbox.send(hello).await.expect("room");
        let mut request = tonic::Request::new(ReceiverStream::new(messages));
        let bearer = format!("Bearer {key}").parse().expect("ASCII");
        request.metadata_mut().insert("authorization", bearer);
        let inbox = FeedClient::new(channel).follow(request).await?.into_inner();
        Ok(Self {
            kept,
            snapshots: 0,
            deltas: 0,
            outbox,
            inbox,
            applied: None,
            snapshot: None,
        })
    }

    /// Reads one message; the head when it was a heartbeat.
    pub(super) async fn step(&mut self) -> Result<Option<u64>, Status> {
        let message = tokio::time::timeout(Duration::from_secs(20), self.inbox.message())
            .await
            .expect("the feed is never silent")?
            .ok_or_else(|| Status::cancelled("the stream is over"))?;
        match message.message.expect("a known message") {
            Message::Welcome(welcome) => {
                assert_eq!(welcome.digest_key.len(), 32);
                self.kept.store = welcome.store;
                self.kept.key = welcome.digest_key_id;
            }
            Message::SnapshotBegin(begin) => {
                self.snapshots += 1;
                self.snapshot = Some(Snapshot {
                    begin: begin.revision,
                    history: begin.history,
                    tokens: 0,
                    state: BTreeMap::new(),
                    deltas: Vec::new(),
                });
            }
            Message::SnapshotChunk(chunk) => {
                let snapshot = self.snapshot.as_mut().expect("begun");
                for change in chunk.changes {
                    let change = change.into_model().expect("valid").expect("known");
                    snapshot.tokens += u64::from(matches!(change, Change::Token(_)));
                    apply(&mut snapshot.state, change);
                }
            }
            Message::Delta(delta) => {
                self.deltas += 1;
                let before = match &self.snapshot {
                    Some(snapshot) => snapshot.begin + snapshot.deltas.len() as u64,
                    None => self.kept.revision,
                };
                assert_eq!(delta.revision, before + 1, "a gap in the feed");
                assert_ne!(delta.history, 0);
                let changes = delta.changes.into_iter();
                let changes =
                    changes.map(|change| change.into_model().expect("valid").expect("known"));
                if let Some(snapshot) = &mut self.snapshot {
                    snapshot.deltas.push(changes.collect());
                    snapshot.history = delta.history;
                } else {
                    changes.for_each(|change| apply(&mut self.kept.state, change));
                    self.kept.revision = delta.revision;
                    self.kept.history = delta.history;
                }
            }
            Message::SnapshotEnd(end) => {
                let mut snapshot = self.snapshot.take().expect("begun");
                assert_eq!(snapshot.tokens, end.tokens, "a torn snapshot");
                assert_eq!(snapshot.begin + snapshot.deltas.len() as u64, end.revision);
                for change in snapshot.deltas.into_iter().flatten() {
                    apply(&mut snapshot.state, change);
                }
                self.kept.state = snapshot.state;
                self.kept.revision = end.revision;
                self.kept.history = snapshot.history;
            }
            Message::UsageAcknowledge(applied) => {
                self.applied = Some((applied.epoch, applied.sequence));
            }
            Message::Audit(head) => self.kept.audit = Some(head),
            Message::Heartbeat(heartbeat) => {
                assert!(self.snapshot.is_none());
                assert_eq!(
                    heartbeat.head, self.kept.revision,
                    "a head without its deltas"
                );
                return Ok(Some(heartbeat.head));
            }
        }
        Ok(None)
    }

    /// Reads until `revision` is applied.
    pub(super) async fn until(&mut self, revision: u64) {
        while self.kept.revision < revision || self.snapshot.is_some() {
            self.step().await.expect("the stream goes on");
        }
    }

    pub(super) async fn acknowledge(&self, revision: u64) {
        self.say(from_gateway::Message::Acknowledge(Acknowledge {
            revision,
            accepted: Vec::new(),
        }))
        .await;
    }

    pub(super) async fn say(&self, message: from_gateway::Message) {
        let message = FromGateway {
            message: Some(message),
        };
        self.outbox.send(message).await.expect("room");
    }
}

fn apply(state: &mut BTreeMap<String, Change>, change: Change) {
    match &change {
        Change::Account(account) => state.insert(format!("account/{}", account.id), change),
        Change::AccountRemoved(id) => state.remove(&format!("account/{id}")),
        Change::Destination(to) => state.insert(format!("destination/{}", to.id), change),
        Change::DestinationRemoved(id) => state.remove(&format!("destination/{id}")),
        Change::Token(token) => state.insert(format!("token/{}", token.id), change),
    };
}
