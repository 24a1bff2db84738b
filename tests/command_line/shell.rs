//! `serve` as a process, and the command line beside it.

use std::{
    path::PathBuf,
    process::{Command, Output},
};

use serde_json::Value;

use super::world::{
    Sender,
    process::{Process, free_port, local, write_config},
};

/// A running `serve` and a shell that finds it by its configuration, as an operator's does.
pub(super) struct Shell {
    pub(super) serve: Process,
    pub(super) config: PathBuf,
    pub(super) folder: tempfile::TempDir,
    pub(super) bulk: u16,
}

impl Shell {
    pub(super) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let [bulk, admin, operate] = std::array::from_fn(|_| free_port());
        let open = [("bulk", bulk), ("admin", admin), ("operate", operate)];
        let config = write_config(
            folder.path(),
            &open,
            "[gateway]\nworkers = 1\n[directory]\nusage_every = \"50ms\"\n",
        );
        let serve = Process::start("serve", &config, &folder.path().join("data"), operate);
        serve.ready().await;
        Self {
            serve,
            config,
            folder,
            bulk,
        }
    }

    pub(super) fn run(&self, line: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wharfinger"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("WHARFINGER_") {
                command.env_remove(name);
            }
        }
        command
            .args(line.split(' '))
            .arg("--config")
            .arg(&self.config)
            .arg("--data")
            .arg(self.folder.path().join("data"))
            .current_dir(self.folder.path())
            .output()
            .expect("the executable starts")
    }

    /// What a person reads on stdout; the command must succeed.
    pub(super) fn says(&self, line: &str) -> String {
        let output = self.run(line);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {error}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// The object that a script reads: one line of JSON.
    pub(super) fn object(&self, line: &str) -> Value {
        let text = self.says(&format!("{line} --json"));
        assert_eq!(text.lines().count(), 1, "{line}: {text}");
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{line}: {text}"))
    }

    /// The sentence of a command that must fail with that code.
    pub(super) fn fails(&self, line: &str, code: i32) -> String {
        let output = self.run(line);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{line}: {error}");
        assert!(output.stdout.is_empty(), "{line}");
        error
    }

    /// The status of a line shipped with that token.
    pub(super) async fn ships(&self, token: &str) -> u16 {
        let sender = Sender::new(local(self.bulk));
        sender.ship("/", token, &[], "{\"a\":1}\n").await.status
    }
}
