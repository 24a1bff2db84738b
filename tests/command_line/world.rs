//! A shell and a scripted admin API.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Command, Output},
    thread::JoinHandle,
    time::Duration,
};

pub(crate) const TOKEN: &str = "whf_a_0123456789abcdefghijABCDEFGHIJ01234567";

/// What arrived: method and target, the Authorization header, the Idempotency-Key, the body.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) authorization: String,
    pub(crate) key: String,
    pub(crate) body: String,
}

/// A shell in a folder of its own with an admin token, and an API that answers by script.
pub(crate) struct World {
    folder: tempfile::TempDir,
    pub(crate) url: String,
    api: JoinHandle<Vec<Seen>>,
}

impl World {
    pub(crate) fn new(script: &[(u16, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        std::fs::write(folder.path().join("admin-token"), format!("{TOKEN}\n"))
            .expect("the folder is writable");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let script: Vec<(u16, String)> = script
            .iter()
            .map(|(status, body)| (*status, (*body).to_owned()))
            .collect();
        let api = std::thread::spawn(move || {
            script
                .into_iter()
                .map(|(status, body)| {
                    let (stream, _) = listener.accept().expect("the command connects");
                    answer(stream, status, &body)
                })
                .collect()
        });
        Self { folder, url, api }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        command()
            .args(arguments)
            .env("WHARFINGER_URL", &self.url)
            .env("WHARFINGER_DATA", self.folder.path())
            .output()
            .expect("the executable starts")
    }

    pub(crate) fn seen(self) -> Vec<Seen> {
        self.api.join().expect("every scripted answer was fetched")
    }
}

pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wharfinger"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WHARFINGER_") {
            command.env_remove(name);
        }
    }
    command
}

fn answer(stream: TcpStream, status: u16, body: &str) -> Seen {
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a timeout is set");
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).expect("a request line");
    let (mut length, mut authorization, mut key) = (0, String::new(), String::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).expect("a header");
        let Some((name, value)) = header.trim_end().split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().expect("a length"),
            "authorization" => authorization = value.to_owned(),
            "idempotency-key" => key = value.to_owned(),
            _ => {}
        }
    }
    let mut sent = vec![0; length];
    reader.read_exact(&mut sent).expect("the body");
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = reader.into_inner();
    // Status 0 is an answer that gets lost.
    if status != 0 {
        stream
            .write_all(format!("{head}{body}").as_bytes())
            .expect("the command reads");
    }
    Seen {
        line: line.trim_end().to_owned(),
        authorization,
        key,
        body: String::from_utf8(sent).expect("the command sends UTF-8"),
    }
}

pub(crate) fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
