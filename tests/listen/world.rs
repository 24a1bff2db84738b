//! One worker on a thread of its own, and small clients that do exactly what they are told.

use std::{
    cell::RefCell,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    rc::Rc,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, StatusCode, body::Incoming};
use tokio::task::LocalSet;
use wharfinger::gateway::listen::{
    BareSlash, Bound, Config, Connection, Drain, Gate, bind, framing, run, tls::Certificates,
};

/// A listener with a service that refuses `/refuse` unread, takes its time on `/slow`, says on `/before` what had been
/// read before the last refusal's answer, and answers everything else with the length of its body.
pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) gate: Arc<Gate>,
    pub(crate) drain: Drain,
    worker: Option<JoinHandle<usize>>,
}

type Last = Rc<RefCell<Option<Rc<Connection>>>>;

impl World {
    pub(crate) fn start(config: Config) -> Self {
        Self::start_with(config, None)
    }

    pub(crate) fn start_with(config: Config, tls: Option<Arc<Certificates>>) -> Self {
        let std = bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let address = std.local_addr().expect("an address");
        let gate = Gate::new(&config);
        let drain = Drain::new();
        let (worker_gate, worker_drain) = (gate.clone(), drain.clone());
        let worker = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            let config = Rc::new(config);
            let last = Last::default();
            let checks = config.clone();
            let service = move |request, connection| {
                answer(request, connection, checks.clone(), last.clone())
            };
            let bound = vec![Bound {
                std,
                bare_slash: BareSlash::Bulk,
                tls,
            }];
            LocalSet::new()
                .block_on(
                    &runtime,
                    run(bound, config, worker_gate, service, worker_drain),
                )
                .expect("the worker runs")
        });
        Self {
            address,
            gate,
            drain,
            worker: Some(worker),
        }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("connects");
        let limit = Some(Duration::from_secs(20));
        stream.set_read_timeout(limit).expect("a limit");
        stream.set_write_timeout(limit).expect("a limit");
        stream
    }

    /// Waits for the worker's end; gives the connections cut.
    pub(crate) fn join(mut self) -> usize {
        let worker = self.worker.take().expect("joined once");
        worker.join().expect("the worker doesn't panic")
    }

    /// Every place has been given back, or is within two seconds.
    pub(crate) fn is_empty_soon(&self) {
        let began = Instant::now();
        while self.gate.open() > 0 {
            // One that is still being written to lingers for two seconds.
            assert!(began.elapsed() < Duration::from_secs(4), "connections stay");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// So many connections have been cut for this reason, or are within two seconds.
    pub(crate) fn cut_soon(&self, label: &str, expected: u64) {
        let began = Instant::now();
        while self.cut(label) < expected && began.elapsed() < Duration::from_secs(2) {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(self.cut(label), expected, "{label}");
    }

    /// How many connections were cut for this reason.
    pub(crate) fn cut(&self, label: &str) -> u64 {
        let labels = wharfinger::gateway::listen::Cut::LABELS;
        let at = labels
            .iter()
            .position(|known| *known == label)
            .expect("a label");
        self.gate.cuts()[at]
    }
}

async fn answer(
    request: Request<Incoming>,
    connection: Rc<Connection>,
    config: Rc<Config>,
    last: Last,
) -> Response<Full<Bytes>> {
    let reply = |status, text: String| {
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        response
    };
    if let Err(rejection) = framing::check(&request, &config) {
        connection.leave();
        return reply(StatusCode::BAD_REQUEST, format!("{rejection:?}"));
    }
    match request.uri().path() {
        "/refuse" => {
            *last.borrow_mut() = Some(connection);
            return reply(StatusCode::UNAUTHORIZED, "no".to_owned());
        }
        "/before" => {
            let last = last.borrow();
            let read = last
                .as_ref()
                .map(|connection| connection.bytes_read_before_answer());
            return reply(StatusCode::OK, read.unwrap_or_default().to_string());
        }
        "/big" => return reply(StatusCode::OK, "x".repeat(32 << 20)),
        "/slow" => tokio::time::sleep(Duration::from_millis(500)).await,
        "/stuck" => std::future::pending().await,
        "/panic" => panic!("a request panics in a test"),
        _ => {}
    }
    match request.into_body().collect().await {
        Ok(body) => reply(StatusCode::OK, body.to_bytes().len().to_string()),
        Err(error) => reply(StatusCode::BAD_REQUEST, error.to_string()),
    }
}

/// Sends a whole request on a connection of its own; gives status and body.
pub(crate) fn ask(world: &World, path: &str) -> (u16, String) {
    let mut stream = world.connect();
    let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("writes");
    let answer = read_all(&mut stream);
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    (status(&answer), body.to_owned())
}

/// Reads until the other end closes, or resets after what it had to say.
pub(crate) fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads one answer whose body is short enough to come with its head.
pub(crate) fn read_answer(stream: &mut TcpStream) -> String {
    let mut bytes = vec![0; 4_096];
    let mut have = 0;
    loop {
        let text = String::from_utf8_lossy(&bytes[..have]).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| {
                    line.to_ascii_lowercase()
                        .strip_prefix("content-length: ")?
                        .parse()
                        .ok()
                })
                .unwrap_or(0);
            if body.len() >= length {
                return text;
            }
        }
        match stream.read(&mut bytes[have..]) {
            Ok(count) if count > 0 => have += count,
            _ => return text,
        }
    }
}

pub(crate) fn status(answer: &str) -> u16 {
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    code.unwrap_or(0)
}

/// How long until the other end closes.
pub(crate) fn closes_after(mut stream: TcpStream) -> Duration {
    let began = Instant::now();
    let mut scratch = [0; 4_096];
    while matches!(stream.read(&mut scratch), Ok(count) if count > 0) {}
    began.elapsed()
}

/// A runtime for clients that need one.
pub(crate) fn client_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}
