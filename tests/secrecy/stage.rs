//! A control plane and a gateway with all its doors, processes that log all they can, and hands to ask them.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use http::Method;
use serde_json::Value;

use crate::world::{
    Answer, Sender,
    process::{Process, executable, free_port, local, write_config},
};

/// Ports of the gateway.
pub(crate) struct Doors {
    pub(crate) bulk: u16,
    pub(crate) otlp_http: u16,
    pub(crate) otlp_grpc: u16,
    pub(crate) remote_write: u16,
    pub(crate) operate: u16,
}

pub(crate) struct Stage {
    pub(crate) control: Process,
    pub(crate) gateway: Process,
    pub(crate) doors: Doors,
    admin: u16,
    config: PathBuf,
    /// Holds all that the two write, and nothing else.
    pub(crate) folder: tempfile::TempDir,
    /// For what a person would have written.
    pub(crate) aside: tempfile::TempDir,
}

// === impl Stage ===

impl Stage {
    /// Both ready; `planted` stands in the gateway's environment.
    pub(crate) async fn set(planted: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (admin, feed, operate) = (free_port(), free_port(), free_port());
        let open = [("admin", admin), ("feed", feed), ("operate", operate)];
        let config = write_config(&folder.path().join("control-config"), &open, "");
        let control = start(folder.path(), "control", &config, operate, planted).await;
        let doors = Doors {
            bulk: free_port(),
            otlp_http: free_port(),
            otlp_grpc: free_port(),
            remote_write: free_port(),
            operate: free_port(),
        };
        let open = [
            ("bulk", doors.bulk),
            ("otlp_http", doors.otlp_http),
            ("otlp_grpc", doors.otlp_grpc),
            ("remote_write", doors.remote_write),
            ("operate", doors.operate),
        ];
        let rest = format!(
            "[gateway]\nname = \"gateway\"\nworkers = 2\n[directory]\nusage_every = \"50ms\"\n[feed]\n\
             endpoints = [\"http://127.0.0.1:{feed}\"]\njoin_key_file = \"{}\"\n",
            folder.path().join("control/join-key").display()
        );
        let gateway = write_config(&folder.path().join("gateway-config"), &open, &rest);
        let gateway = start(folder.path(), "gateway", &gateway, doors.operate, planted).await;
        Self {
            control,
            gateway,
            doors,
            admin,
            config,
            folder,
            aside: tempfile::tempdir().expect("a folder"),
        }
    }

    /// What stands in a file of the control plane's.
    pub(crate) fn secret_file(&self, name: &str) -> String {
        let path = self.folder.path().join("control").join(name);
        let text = fs::read_to_string(&path).unwrap_or_else(|_| panic!("{}", path.display()));
        text.trim().to_owned()
    }

    /// Anything that is asked of the admin port.
    pub(crate) async fn ask(
        &self,
        method: Method,
        uri: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Answer {
        let body = match body {
            Value::Null => String::new(),
            Value::String(lines) => lines.clone(),
            body => body.to_string(),
        };
        let sender = Sender::new(local(self.admin));
        let mut all = vec![("content-type", "application/json")];
        all.extend_from_slice(headers);
        sender.send(method, uri, &all, body).await
    }

    /// A call by the first operator's token that must succeed.
    pub(crate) async fn must(&self, method: Method, path: &str, body: Value) -> Value {
        let token = format!("Bearer {}", self.secret_file("admin-token"));
        let headers = [("authorization", token.as_str())];
        let uri = format!("/api/v1{path}");
        let answer = self.ask(method, &uri, &headers, &body).await;
        let shown = String::from_utf8_lossy(&answer.body);
        assert!(answer.status < 300, "{path}: {} {shown}", answer.status);
        serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
    }

    /// A page of the operators' port.
    pub(crate) async fn page(&self, operate: u16, path: &str) -> Answer {
        let sender = Sender::new(local(operate));
        sender.send(Method::GET, path, &[], Vec::new()).await
    }

    /// The executable with words of a command line; what it printed.
    pub(crate) fn run(&self, words: &[&str]) -> String {
        let mut command = Command::new(executable());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("WHARFINGER_") {
                command.env_remove(name);
            }
        }
        let output: Output = command
            .args(words)
            .arg("--config")
            .arg(&self.config)
            .arg("--data")
            .arg(self.folder.path().join("control"))
            .current_dir(self.aside.path())
            .output()
            .expect("the executable starts");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {error}");
        String::from_utf8(output.stdout).expect("text")
    }
}

/// `mode` is its folder's name, too.
async fn start(folder: &Path, mode: &str, config: &Path, operate: u16, planted: &str) -> Process {
    let log = File::create(folder.join(format!("{mode}.log"))).expect("a log");
    let mut command = Command::new(executable());
    command
        .arg(mode)
        .arg("--config")
        .arg(config)
        .arg("--data")
        .arg(folder.join(mode))
        .env("WHARFINGER_LOG", "trace")
        .env("PLANTED", planted)
        .stdout(Stdio::from(log.try_clone().expect("a log")))
        .stderr(Stdio::from(log));
    let process = Process::spawn(command, operate);
    process.ready().await;
    process
}
