//! The real executable with everything in one process, as a child: an admin's hands, a sender's, and a killer's.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
};

use super::{
    Answer, Sender, archived_below,
    process::{Process, executable, free_port, local, write_config},
};

/// `wharfinger serve` on ports and data of its own. What it prints lands in a file.
pub struct Live {
    pub folder: TempDir,
    pub bulk: SocketAddr,
    pub otlp_http: SocketAddr,
    pub otlp_grpc: SocketAddr,
    pub remote_write: SocketAddr,
    admin: SocketAddr,
    operate: SocketAddr,
    config: PathBuf,
    environment: Vec<(String, String)>,
    /// Runs first and then becomes the executable: words of a shell.
    before: String,
    process: Option<Process>,
}

/// What came back over a bare socket.
#[derive(Debug)]
pub struct Raw {
    pub status: u16,
    pub text: String,
}

impl Live {
    /// Starts with the rest of a configuration file (all but `[listen]`), and waits until it is ready.
    pub async fn start(rest: &str) -> Self {
        Self::start_with(rest, &[], "").await
    }

    /// The same with variables of the environment, and shell commands that its process runs before it becomes ours.
    pub async fn start_with(rest: &str, environment: &[(&str, &str)], before: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        let ports: Vec<u16> = (0..6).map(|_| free_port()).collect();
        let keys = [
            "bulk",
            "otlp_http",
            "otlp_grpc",
            "remote_write",
            "admin",
            "operate",
        ];
        let open: Vec<_> = keys.into_iter().zip(ports.iter().copied()).collect();
        let config = write_config(folder.path(), &open, rest);
        let mut live = Self {
            bulk: local(ports[0]),
            otlp_http: local(ports[1]),
            otlp_grpc: local(ports[2]),
            remote_write: local(ports[3]),
            admin: local(ports[4]),
            operate: local(ports[5]),
            config,
            environment: environment
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            before: before.to_owned(),
            process: None,
            folder,
        };
        live.up().await;
        live
    }

    /// Starts it again, and waits until it is ready; how long that took.
    pub async fn up(&mut self) -> Duration {
        let began = Instant::now();
        let log = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.log_path())
            .expect("a log");
        let mut command = if self.before.is_empty() {
            Command::new(executable())
        } else {
            let mut shell = Command::new("/bin/sh");
            shell
                .arg("-c")
                .arg(format!("{} && exec \"$0\" \"$@\"", self.before))
                .arg(executable());
            shell
        };
        command
            .arg("serve")
            .arg("--config")
            .arg(&self.config)
            .arg("--data")
            .arg(self.data())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        let mut process = Process::spawn(command, self.operate.port());
        assert!(process.becomes_ready().await, "it ended: {}", self.log());
        self.process = Some(process);
        began.elapsed()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Everything it has printed so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).expect("readable")).into_owned()
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.take().expect("runs").kill();
    }

    /// The running process, to be signalled and waited for.
    pub fn take_process(&mut self) -> Process {
        self.process.take().expect("runs")
    }

    pub fn is_alive(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_alive)
    }

    /// A line of `/proc/PID/status` in KiB: `VmHWM` is the peak of resident memory.
    pub fn memory_kib(&self, line: &str) -> u64 {
        let id = self.process.as_ref().expect("runs").id();
        let status = fs::read_to_string(format!("/proc/{id}/status")).expect("runs");
        status
            .lines()
            .find_map(|text| text.strip_prefix(line)?.strip_prefix(':'))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|number| number.parse().ok())
            .expect("a number")
    }

    /// A call of the admin API that must succeed.
    pub async fn must(&self, method: Method, path: &str, body: Value) -> Value {
        let token = fs::read_to_string(self.data().join("admin-token")).expect("the admin token");
        let (status, answer) =
            super::admin(self.admin, token.trim(), method.clone(), path, body).await;
        assert!(
            (200..300).contains(&status),
            "{method} {path}: {status} {answer}"
        );
        answer
    }

    /// A new account with its tokens for logs, metrics and traces; its number and their texts.
    pub async fn account(&self, name: &str, destination: &str) -> (u64, [String; 3]) {
        let destinations =
            json!({"logs": destination, "metrics": destination, "traces": destination});
        let body = json!({"name": name, "plan": "unlimited", "destinations": destinations});
        let account = self
            .must(Method::POST, "/accounts?wait=enforced", body)
            .await;
        let mut tokens = [const { String::new() }; 3];
        for (token, signal) in tokens.iter_mut().zip(["logs", "metrics", "traces"]) {
            *token = self.token(name, signal).await.1;
        }
        (account["id"].as_u64().expect("a number"), tokens)
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

    /// A new destination of one endpoint, whose own word is waited for.
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

    /// A page of the operators' port.
    pub async fn page(&self, path: &str) -> Answer {
        Sender::new(self.operate)
            .send(Method::GET, path, &[], Vec::new())
            .await
    }

    /// The books of all accounts.
    pub async fn books(&self) -> Vec<Value> {
        let page = self.page("/books").await;
        page.json()["items"].as_array().expect("a list").clone()
    }

    /// The sum over a metric's series whose text contains `labels`.
    pub async fn metric(&self, name: &str, labels: &str) -> f64 {
        metric_in(&self.page("/metrics").await.text(), name, labels)
    }

    /// Every line in an account's archive for a signal.
    pub fn archived(&self, account: u64, signal: &str) -> Vec<String> {
        archived_below(
            self.data()
                .join(format!("gateway/archive/{account}/{signal}")),
        )
    }
}

/// The sum over a metric's series whose text contains `labels`.
pub fn metric_in(page: &str, name: &str, labels: &str) -> f64 {
    page.lines()
        .filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']) && rest.contains(labels))
        })
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// A POST over a bare HTTP/1.1 socket from an address of this machine: it reads while it writes, as good clients do.
/// `None` if no whole status line came back.
pub async fn post(
    from: Ipv4Addr,
    to: SocketAddr,
    path: &str,
    headers: &[(String, String)],
    body: Bytes,
) -> Option<Raw> {
    let socket = TcpSocket::new_v4().ok()?;
    socket.bind(SocketAddr::from((from, 0))).ok()?;
    let stream = socket.connect(to).await.ok()?;
    let mut head = format!(
        "POST {path} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let (mut reading, mut writing) = stream.into_split();
    let write = async move {
        if writing.write_all(head.as_bytes()).await.is_ok() {
            let _ = writing.write_all(&body).await;
        }
        // Kept open: the answer is what ends the exchange.
        writing
    };
    let read = async move {
        let mut back = Vec::new();
        let mut piece = [0; 4096];
        while let Ok(count @ 1..) = reading.read(&mut piece).await {
            back.extend_from_slice(&piece[..count]);
        }
        back
    };
    let back = tokio::select! {
        back = async { tokio::join!(write, std::future::pending::<()>()) } => unreachable!("{back:?}"),
        back = read => back,
    };
    raw(&back)
}

/// Reads an answer's status.
pub fn raw(back: &[u8]) -> Option<Raw> {
    let text = String::from_utf8_lossy(back).into_owned();
    let status = text.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some(Raw { status, text })
}

/// How many times: `WHARFINGER_DOSE`, else the quick dose.
pub fn dose(quick: usize) -> usize {
    std::env::var("WHARFINGER_DOSE").map_or(quick, |text| {
        text.parse().expect("WHARFINGER_DOSE is a number")
    })
}
