//! The real executable as a child process, on free ports of 127.0.0.1.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::Sender;

/// A running `wharfinger`; killed when dropped.
pub struct Process {
    child: Child,
    pub operate: u16,
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port()
}

pub fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
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
    /// Starts it; `operate` is the operators' port of its configuration.
    pub fn start(mode: &str, config: &Path, data: &Path, operate: u16) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_wharfinger"))
            .arg(mode)
            .arg("--config")
            .arg(config)
            .arg("--data")
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        Self { child, operate }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for `/ready` to say yes.
    pub async fn ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if tokio::net::TcpStream::connect(local(self.operate))
                .await
                .is_ok()
            {
                let answer = Sender::new(local(self.operate))
                    .send(http::Method::GET, "/ready", &[], Vec::new())
                    .await;
                if answer.status == 200 {
                    return;
                }
            }
            assert!(Instant::now() < deadline, "not ready within 20 s");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().expect("kills");
        self.child.wait().expect("is gone");
    }

    /// SIGTERM; its exit code.
    pub fn terminate(mut self) -> Option<i32> {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("signals");
        self.child.wait().expect("ends").code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
