//! A control plane and some gateways, each a process of its own, and connections that outlive refusals.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};

use super::process::{Process, free_port, local, write_config};

pub struct Cluster {
    pub control: Option<Process>,
    pub gateways: Vec<Gateway>,
    pub admin: u16,
    pub admin_token: String,
    pub folder: tempfile::TempDir,
}

pub struct Gateway {
    pub process: Option<Process>,
    config: PathBuf,
    pub data: PathBuf,
    pub bulk: u16,
    operate: u16,
}

impl Gateway {
    pub fn start(&mut self) {
        self.process = Some(Process::start(
            "gateway",
            &self.config,
            &self.data,
            self.operate,
        ));
    }

    pub async fn ready(&self) {
        self.process.as_ref().expect("runs").ready().await;
    }
}

impl Cluster {
    pub async fn start(gateways_count: usize) -> Self {
        let folder = tempfile::TempDir::new().expect("a folder");
        let (admin, feed, operate) = (free_port(), free_port(), free_port());
        let data = folder.path().join("control");
        let open = [("admin", admin), ("feed", feed), ("operate", operate)];
        let config = write_config(&folder.path().join("control-config"), &open, "");
        let control = Process::start("control", &config, &data, operate);
        control.ready().await;
        let mut gateways = Vec::new();
        for n in 0..gateways_count {
            let (bulk, operate) = (free_port(), free_port());
            let rest = format!(
                "[gateway]\nname = \"gateway-{n}\"\nworkers = 1\n[feed]\nendpoints = [\"http://127.0.0.1:{feed}\"]\njoin_key_file = \"{}\"\n",
                data.join("join-key").display()
            );
            let open = [("bulk", bulk), ("operate", operate)];
            let config = write_config(
                &folder.path().join(format!("gateway-{n}-config")),
                &open,
                &rest,
            );
            let mut gateway = Gateway {
                process: None,
                config,
                data: folder.path().join(format!("gateway-{n}")),
                bulk,
                operate,
            };
            gateway.start();
            gateway.ready().await;
            gateways.push(gateway);
        }
        let admin_token = std::fs::read_to_string(data.join("admin-token")).expect("there");
        Self {
            control: Some(control),
            gateways,
            admin,
            admin_token: admin_token.trim().to_owned(),
            folder,
        }
    }

    pub async fn admin(&self, path: &str, body: Value) -> Value {
        let (status, answer) = super::admin(
            local(self.admin),
            &self.admin_token,
            Method::POST,
            path,
            body,
        )
        .await;
        assert!(
            (200..300).contains(&status) && status != 202,
            "{path}: {status} {answer}"
        );
        answer
    }

    pub async fn create(&self) -> (u64, String) {
        let body = json!({"account": "main", "signal": "logs", "name": "dose"});
        let token = self.admin("/tokens", body).await;
        (
            token["id"].as_u64().expect("a number"),
            token["token"].as_str().expect("a token").to_owned(),
        )
    }
}

/// A connection to one port that is used for one request after the other, and opened again when it was closed.
pub struct Line {
    port: u16,
    sender: LineSender,
}

enum LineSender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Line {
    pub async fn http1(port: u16) -> Self {
        let (sender, connection) = http1::handshake(open(port).await)
            .await
            .expect("shakes hands");
        tokio::spawn(connection);
        let sender = LineSender::Http1(sender);
        Self { port, sender }
    }

    /// One that outlives refusals.
    pub async fn http2(port: u16) -> Self {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), open(port).await)
            .await
            .expect("shakes hands");
        tokio::spawn(connection);
        let sender = LineSender::Http2(sender);
        Self { port, sender }
    }

    /// The status that a token gets for a body.
    pub async fn post(&mut self, token: &str, body: &'static [u8]) -> u16 {
        if let LineSender::Http1(sender) = &mut self.sender
            && sender.ready().await.is_err()
        {
            *self = Self::http1(self.port).await;
        }
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://127.0.0.1:{}/", self.port))
            .header("host", format!("127.0.0.1:{}", self.port))
            .header("authorization", format!("Bearer {token}"))
            .body(Full::from(body))
            .expect("a request");
        let answer = match &mut self.sender {
            LineSender::Http1(sender) => sender.send_request(request).await,
            LineSender::Http2(sender) => sender.send_request(request).await,
        };
        let answer = answer.expect("an answer");
        let status = answer.status().as_u16();
        answer.into_body().collect().await.expect("a body");
        status
    }

    /// Knocks with an empty body until the answer is `status`; when that was.
    pub async fn until(&mut self, token: &str, status: u16) -> Instant {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.post(token, b"").await != status {
            assert!(Instant::now() < deadline, "not {status} within 10 s");
        }
        Instant::now()
    }
}

async fn open(port: u16) -> TokioIo<tokio::net::TcpStream> {
    let stream = tokio::net::TcpStream::connect(local(port))
        .await
        .expect("connects");
    stream.set_nodelay(true).expect("sets");
    TokioIo::new(stream)
}
