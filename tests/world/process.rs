//! The real executable as a child process, on free ports of 127.0.0.1.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::Sender;

/// A running `wharfinger`; killed when dropped.
pub struct Process {
    child: Child,
    pub operate: u16,
}

/// A port that was free a moment ago, below those that the system hands to outgoing connections: so it stays free.
/// No two calls in a process get the same one.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    for _ in 0..1_000 {
        let mut random = [0; 2];
        getrandom::fill(&mut random).expect("randomness");
        let port = 10_000 + u16::from_le_bytes(random) % 20_000;
        let is_free = std::net::TcpListener::bind(local(port)).is_ok();
        if is_free && GIVEN.lock().expect("not poisoned").insert(port) {
            return port;
        }
    }
    panic!("no free port");
}

/// The executable under test: `WHARFINGER_EXECUTABLE`, else the one that was built with the tests.
pub fn executable() -> OsString {
    std::env::var_os("WHARFINGER_EXECUTABLE")
        .unwrap_or_else(|| env!("CARGO_BIN_EXE_wharfinger").into())
}

pub fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Where a process that keeps its data there logs: beside it.
pub fn log_of(data: &Path) -> PathBuf {
    data.with_extension("log")
}

/// A configuration file with those `[listen]` keys open, and every other door closed.
pub fn write_config(folder: &Path, open: &[(&str, u16)], rest: &str) -> PathBuf {
    let mut text = String::from("[listen]\n");
    for key in [
        "otlp_grpc",
        "otlp_http",
        "bulk",
        "bulk_tls",
        "remote_write",
        "remote_write_tls",
        "admin",
        "feed",
        "operate",
    ] {
        let port = open.iter().find(|(name, _)| *name == key);
        let address = port.map_or(String::new(), |(_, port)| format!("127.0.0.1:{port}"));
        text.push_str(&format!("{key} = \"{address}\"\n"));
    }
    text.push_str(rest);
    std::fs::create_dir_all(folder).expect("a folder");
    let path = folder.join("wharfinger.toml");
    std::fs::write(&path, text).expect("writes");
    path
}

impl Process {
    /// Starts it; `operate` is the operators' port of its configuration. What it prints lands in [`log_of`] its data.
    pub fn start(mode: &str, config: &Path, data: &Path, operate: u16) -> Self {
        let log = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(log_of(data))
            .expect("a log");
        let mut command = Command::new(executable());
        command
            .arg(mode)
            .arg("--config")
            .arg(config)
            .arg("--data")
            .arg(data)
            .stdout(Stdio::null())
            .stderr(log);
        Self::spawn(command, operate)
    }

    /// Starts a command that is, or becomes, the executable.
    pub fn spawn(mut command: Command, operate: u16) -> Self {
        let child = command.stdin(Stdio::null()).spawn().expect("starts");
        Self { child, operate }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for `/ready` to say yes.
    pub async fn ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.says_ready().await {
            assert!(Instant::now() < deadline, "not ready within 20 s");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The same; no if the process ends instead.
    pub async fn becomes_ready(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.is_alive() {
            if self.says_ready().await {
                return true;
            }
            assert!(Instant::now() < deadline, "not ready within 20 s");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    async fn says_ready(&self) -> bool {
        let address = local(self.operate);
        if tokio::net::TcpStream::connect(address).await.is_err() {
            return false;
        }
        let answer = Sender::new(address)
            .send(http::Method::GET, "/ready", &[], Vec::new())
            .await;
        answer.status == 200
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().expect("kills");
        self.child.wait().expect("is gone");
    }

    /// SIGTERM; its exit code.
    pub fn terminate(self) -> Option<i32> {
        self.signal_term();
        self.wait()
    }

    /// SIGTERM, and on.
    pub fn signal_term(&self) {
        self.signal(Signal::TERM);
    }

    /// Any signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("signals");
    }

    /// Waits for its end; its exit code.
    pub fn wait(mut self) -> Option<i32> {
        self.child.wait().expect("ends").code()
    }

    /// Whether it runs.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("can be asked").is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
