//! A destination under a test's thumb: real sockets, an answer to order, every request kept.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, request::Parts};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::BoxBody};
use hyper::{body::Frame, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

/// What a request is answered with.
#[derive(Clone, Debug)]
pub struct Script {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(&'static str, String)>,
    pub after: std::time::Duration,
    /// Counts a remote-write 2.0 request's samples, for an honest `Written` header.
    pub written: Option<fn(&Recorded) -> u64>,
}

/// A request that arrived.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// What it was answered with.
    pub status: u16,
}

/// Serves HTTP/1.1 and, for gRPC, HTTP/2 on one port.
#[derive(Clone)]
pub struct Recorder {
    pub address: SocketAddr,
    script: Arc<Mutex<Script>>,
    recorded: Arc<Mutex<Vec<Recorded>>>,
}

impl Script {
    pub fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            trailers: Vec::new(),
            after: std::time::Duration::ZERO,
            written: None,
        }
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub fn after(mut self, delay: std::time::Duration) -> Self {
        self.after = delay;
        self
    }

    pub fn written(mut self, count: fn(&Recorded) -> u64) -> Self {
        self.written = Some(count);
        self
    }

    /// A gRPC answer: a message (empty = none) and a status.
    pub fn grpc(code: u16, message: &str, payload: Option<&[u8]>) -> Self {
        let mut script = Self::status(200).header("content-type", "application/grpc");
        if let Some(payload) = payload {
            script.body = vec![0];
            script
                .body
                .extend_from_slice(&u32::try_from(payload.len()).expect("fits").to_be_bytes());
            script.body.extend_from_slice(payload);
        }
        script.trailers = vec![
            ("grpc-status", code.to_string()),
            ("grpc-message", message.to_owned()),
        ];
        script
    }
}

impl Recorder {
    /// Starts with an answer of 200 and nothing in it.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let recorder = Self {
            address: listener.local_addr().expect("an address"),
            script: Arc::new(Mutex::new(Script::status(200))),
            recorded: Arc::default(),
        };
        let serving = recorder.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        recorder
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request from now on is answered so.
    pub fn answer(&self, script: Script) {
        *self.script.lock().expect("not poisoned") = script;
    }

    pub fn recorded(&self) -> Vec<Recorded> {
        self.recorded.lock().expect("not poisoned").clone()
    }

    pub fn forget(&self) {
        self.recorded.lock().expect("not poisoned").clear();
    }

    async fn serve(self, stream: tokio::net::TcpStream) {
        let mut start = [0; 3];
        let is_h2 = matches!(stream.peek(&mut start).await, Ok(3) if &start == b"PRI");
        let service = service_fn(move |request| self.clone().record(request));
        let io = TokioIo::new(stream);
        if is_h2 {
            let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(io, service)
                .await;
        } else {
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(io, service)
                .await;
        }
    }

    async fn record(
        self,
        request: Request<Incoming>,
    ) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
        let (Parts { uri, headers, .. }, body) = request.into_parts();
        let Ok(body) = body.collect().await else {
            return Ok(Response::new(Full::default().boxed()));
        };
        let mut script = self.script.lock().expect("not poisoned").clone();
        let recorded = Recorded {
            status: script.status,
            path: uri
                .path_and_query()
                .map(ToString::to_string)
                .unwrap_or_default(),
            headers,
            body: body.to_bytes(),
        };
        if let Some(count) = script.written {
            let written = "x-prometheus-remote-write-samples-written";
            script.headers.push((written, count(&recorded).to_string()));
        }
        self.recorded.lock().expect("not poisoned").push(recorded);
        tokio::time::sleep(script.after).await;
        let mut response = Response::builder().status(script.status);
        for (name, value) in &script.headers {
            response = response.header(*name, value);
        }
        let body = if script.trailers.is_empty() {
            Full::from(script.body).boxed()
        } else {
            let mut trailers = HeaderMap::new();
            for (name, value) in &script.trailers {
                trailers.insert(*name, value.parse().expect("a value"));
            }
            let data = (!script.body.is_empty()).then(|| Frame::data(Bytes::from(script.body)));
            let frames = data.into_iter().chain([Frame::trailers(trailers)]).map(Ok);
            StreamBody::new(tokio_stream::iter(frames.collect::<Vec<_>>())).boxed()
        };
        Ok(response.body(body).expect("a response"))
    }
}
