//! A control plane and some gateways, each a process of its own, and connections that outlive refusals.

use std::{
    io::Write as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};

use super::process::{Process, free_port, local, log_of, write_config};

pub struct Cluster {
    pub control: Option<Process>,
    pub gateways: Vec<Gateway>,
    pub admin: u16,
    pub admin_token: String,
    pub folder: tempfile::TempDir,
    control_config: PathBuf,
    control_operate: u16,
}

/// Tokens that the first start makes.
pub const FIRST_TOKENS: usize = 3;
/// Lines of one import.
const IMPORT_LINES: usize = 250_000;

pub struct Gateway {
    pub process: Option<Process>,
    config: PathBuf,
    pub data: PathBuf,
    pub bulk: u16,
    pub operate: u16,
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

    /// Starts it with an empty log: what that says is this start's.
    pub fn start_to_log(&mut self) {
        if let Err(error) = std::fs::remove_file(log_of(&self.data)) {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
        }
        self.start();
    }

    /// Whether its log has that message.
    pub fn says(&self, message: &str) -> bool {
        let log = std::fs::read_to_string(log_of(&self.data)).expect("a log");
        log.contains(&format!("\"message\":\"{message}\""))
    }

    /// SIGKILL, and its data is lost.
    pub fn lose(&mut self) {
        self.process.take().expect("runs").kill();
        std::fs::remove_dir_all(&self.data).expect("removes");
    }
}

impl Cluster {
    /// A control plane and as many gateways, all ready.
    pub async fn start(gateways_count: usize) -> Self {
        let mut cluster = Self::alone(gateways_count).await;
        for gateway in &mut cluster.gateways {
            gateway.start();
            gateway.ready().await;
        }
        cluster
    }

    /// A control plane that is ready, and gateways that have never been started.
    pub async fn alone(gateways_count: usize) -> Self {
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
            gateways.push(Gateway {
                process: None,
                config,
                data: folder.path().join(format!("gateway-{n}")),
                bulk,
                operate,
            });
        }
        let admin_token = std::fs::read_to_string(data.join("admin-token")).expect("there");
        Self {
            control: Some(control),
            control_config: config,
            control_operate: operate,
            gateways,
            admin,
            admin_token: admin_token.trim().to_owned(),
            folder,
        }
    }

    /// Starts the control plane again, on what it left.
    pub async fn start_control(&mut self) {
        let data = self.folder.path().join("control");
        let operate = self.control_operate;
        let control = Process::start("control", &self.control_config, &data, operate);
        control.ready().await;
        self.control = Some(control);
    }

    /// Stops the control plane in good order.
    pub fn stop_control(&mut self) {
        let control = self.control.take().expect("runs");
        assert_eq!(control.terminate(), Some(0));
    }

    /// Where the control plane finds its store from its next start on.
    pub fn set_store(&self, url: &str) {
        let mut config = std::fs::OpenOptions::new()
            .append(true)
            .open(&self.control_config)
            .expect("opens");
        write!(config, "[control]\nstore = \"{url}\"\n").expect("writes");
    }

    /// Takes in logs tokens of account `main` in another shape than ours: those of [`imported`] with these numbers.
    pub async fn import(&self, numbers: std::ops::Range<usize>) {
        let authorization = format!("Bearer {}", self.admin_token);
        let headers = [
            ("authorization", authorization.as_str()),
            ("content-type", "application/x-ndjson"),
        ];
        let mut start = numbers.start;
        while start < numbers.end {
            let end = numbers.end.min(start + IMPORT_LINES);
            let lines = (start..end).map(|number| imported(number) + "\n");
            let body = lines.collect::<String>().into_bytes();
            let path = "/api/v1/tokens/import?account=main&signal=logs";
            let answer = super::Sender::new(local(self.admin))
                .send(Method::POST, path, &headers, body)
                .await;
            let json: Value = serde_json::from_slice(&answer.body).expect("JSON");
            assert_eq!(answer.status, 200, "{json}");
            assert_eq!(json["made"], end - start, "{json}");
            start = end;
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

/// A token in another shape than ours, the same one for the same number.
pub fn imported(number: usize) -> String {
    let mut text = format!("{number:08}");
    let mut state = number as u64;
    while text.len() < 32 {
        // The finaliser of SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        text.push_str(&format!("{:08x}", mixed >> 32));
    }
    text
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
