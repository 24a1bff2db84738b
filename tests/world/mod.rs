//! One `World`: a whole Wharfinger in this process on ports of its own, with an admin's hands and a sender's.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "every test file uses its part of the world"
)]

pub mod bodies;
pub mod client;
pub mod cluster;
pub mod live;
pub mod process;
pub mod recorder;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use wharfinger::{
    app::{self, Running},
    config::Config,
};

pub use client::{Answer, GrpcAnswer, Sender};
pub use cluster::{Cluster, Gateway};
pub use live::Live;
pub use recorder::Recorder;

/// A running Wharfinger with its data in a folder that goes with it.
pub struct World {
    pub app: Running,
    pub data: TempDir,
    admin_token: String,
}

impl World {
    /// `serve` with every port its own, and its defaults.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// `serve` with a changed configuration.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let data = TempDir::new().expect("a folder");
        Self::start_in(data, change).await
    }

    /// `serve` on data that is already there.
    pub async fn start_in(data: TempDir, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config_on(&data);
        change(&mut config);
        let app = app::start_serve(config).await.expect("starts");
        let admin_token = std::fs::read_to_string(data.path().join("admin-token"))
            .expect("the admin token's file");
        Self {
            app,
            data,
            admin_token: admin_token.trim().to_owned(),
        }
    }

    /// Stops, and hands the data on to whoever starts next.
    pub async fn stop(self) -> TempDir {
        self.app.shutdown().await;
        self.data
    }

    /// A call of the admin API: its status and its JSON.
    pub async fn admin(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        admin(
            self.app.ports.admin.expect("open"),
            &self.admin_token,
            method,
            path,
            body,
        )
        .await
    }

    /// A call that must succeed.
    pub async fn must(&self, method: Method, path: &str, body: Value) -> Value {
        let (status, answer) = self.admin(method.clone(), path, body).await;
        assert!(
            (200..300).contains(&status),
            "{method} {path}: {status} {answer}"
        );
        answer
    }

    /// A new account whose three signals go to `destination`; its number.
    pub async fn account(&self, name: &str, destination: &str) -> u64 {
        let destinations =
            json!({"logs": destination, "metrics": destination, "traces": destination});
        let body = json!({"name": name, "plan": "unlimited", "destinations": destinations});
        let account = self
            .must(Method::POST, "/accounts?wait=enforced", body)
            .await;
        account["id"].as_u64().expect("a number")
    }

    /// A new destination of that kind, whose own word is waited for; its name is what accounts refer to.
    pub async fn destination(&self, name: &str, kind: &str, endpoint: &str) {
        self.destination_of(name, kind, endpoint, "destination")
            .await;
    }

    /// The same with another `ack`; its number.
    pub async fn destination_of(&self, name: &str, kind: &str, endpoint: &str, ack: &str) -> u64 {
        let body = json!({"name": name, "kind": kind, "endpoints": [endpoint], "ack": ack});
        let destination = self
            .must(Method::POST, "/destinations?wait=enforced", body)
            .await;
        destination["id"].as_u64().expect("a number")
    }

    /// A new, enforced token: its number and its text.
    pub async fn token(&self, account: &str, signal: &str) -> (u64, String) {
        let body = json!({"account": account, "signal": signal, "name": "test"});
        let token = self.must(Method::POST, "/tokens?wait=enforced", body).await;
        (
            token["id"].as_u64().expect("a number"),
            token["token"].as_str().expect("a token").to_owned(),
        )
    }

    /// The token that the first start made.
    pub fn first_token(&self, signal: &str) -> String {
        std::fs::read_to_string(self.data.path().join(format!("tokens/main-{signal}")))
            .expect("the first start's token file")
            .trim()
            .to_owned()
    }

    /// Senders at the four doors.
    pub fn bulk(&self) -> Sender {
        Sender::new(self.app.ports.bulk.expect("open"))
    }
    pub fn otlp_http(&self) -> Sender {
        Sender::new(self.app.ports.otlp_http.expect("open"))
    }
    pub fn otlp_grpc(&self) -> Sender {
        Sender::new(self.app.ports.otlp_grpc.expect("open"))
    }
    pub fn remote_write(&self) -> Sender {
        Sender::new(self.app.ports.remote_write.expect("open"))
    }

    /// A page of the operators' port.
    pub async fn page(&self, path: &str) -> Answer {
        Sender::new(self.app.ports.operate.expect("open"))
            .send(Method::GET, path, &[], Vec::new())
            .await
    }

    /// Every line in an account's archive for a signal.
    pub fn archived(&self, account: u64, signal: &str) -> Vec<String> {
        archived_below(
            self.data
                .path()
                .join(format!("gateway/archive/{account}/{signal}")),
        )
    }

    /// One account's page of the books for a signal.
    pub async fn books(&self, account: u64, signal: &str) -> Value {
        let page = self.page(&format!("/books/{account}")).await;
        let page: Value = serde_json::from_slice(&page.body).expect("JSON");
        page["signals"][signal].clone()
    }
}

/// Every port 0, so that worlds run side by side; one worker, so that a test's machine isn't all workers.
pub fn config_on(data: &TempDir) -> Config {
    let mut config = Config {
        data: data.path().to_owned(),
        ..Config::default()
    };
    let free = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    config.listen = wharfinger::config::Listen {
        otlp_grpc: free,
        otlp_http: free,
        bulk: free,
        bulk_tls: free,
        remote_write: free,
        remote_write_tls: free,
        admin: free,
        feed: free,
        operate: free,
    };
    config.gateway.workers = 1;
    config
}

/// Lines of all files of a folder, in the order of their names.
pub fn archived_below(folder: PathBuf) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("readable").path())
        .collect();
    files.sort();
    files
        .iter()
        .flat_map(|file| {
            let text = std::fs::read_to_string(file).expect("readable");
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
}

/// A call of an admin API.
pub async fn admin(
    address: SocketAddr,
    token: &str,
    method: Method,
    path: &str,
    body: Value,
) -> (u16, Value) {
    let authorization = format!("Bearer {token}");
    let headers = [
        ("authorization", authorization.as_str()),
        ("content-type", "application/json"),
    ];
    let body = if body.is_null() {
        Vec::new()
    } else {
        body.to_string().into_bytes()
    };
    let answer = Sender::new(address)
        .send(method, &format!("/api/v1{path}"), &headers, body)
        .await;
    let json = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    (answer.status, json)
}

/// Waits until something holds, for ten seconds.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..1000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 10 s: {what}");
}
