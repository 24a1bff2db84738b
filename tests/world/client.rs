//! A sender's hands: requests over real sockets, HTTP/1.1, HTTP/2 and gRPC.

use std::{
    convert::Infallible,
    error::Error,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Version};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::{body::Frame, client::conn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};
use wharfinger::wire::status::{self, Status};

/// Posts to one port, a connection a request.
#[derive(Clone, Copy)]
pub struct Sender {
    pub address: SocketAddr,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
}

/// What came back over gRPC.
#[derive(Debug)]
pub struct GrpcAnswer {
    pub code: u16,
    pub message: String,
    pub details: Option<Status>,
    pub payload: Bytes,
    pub answer: Answer,
}

/// One connection over HTTP/1.1 that is used again and again.
pub struct Kept {
    address: SocketAddr,
    sender: conn::http1::SendRequest<Full<Bytes>>,
}

/// One connection over HTTP/2 that is used again and again.
#[derive(Clone)]
pub struct Streams {
    address: SocketAddr,
    sender: conn::http2::SendRequest<Full<Bytes>>,
}

type Failure = Box<dyn Error + Send + Sync>;

impl Kept {
    /// A POST; an error where there was no whole answer.
    pub async fn post(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, Failure> {
        self.sender.ready().await?;
        let host = self.address.to_string();
        let request = post_request(path, headers, Some(&host), body.into())?;
        try_answer_of(self.sender.send_request(request).await?).await
    }
}

impl Streams {
    /// A POST; an error where there was no whole answer.
    pub async fn post(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, Failure> {
        self.sender.ready().await?;
        let uri = format!("http://{}{path}", self.address);
        let request = post_request(&uri, headers, None, body.into())?;
        try_answer_of(self.sender.send_request(request).await?).await
    }
}

fn post_request(
    uri: &str,
    headers: &[(&str, &str)],
    host: Option<&str>,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, http::Error> {
    let mut request = Request::builder().method(Method::POST).uri(uri);
    if let Some(host) = host {
        request = request.header("host", host);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(body))
}

async fn try_answer_of(response: http::Response<hyper::body::Incoming>) -> Result<Answer, Failure> {
    let (head, body) = response.into_parts();
    let collected = body.collect().await?;
    Ok(Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        trailers: collected.trailers().cloned(),
        body: collected.to_bytes(),
    })
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}

impl Sender {
    pub fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// One request over HTTP/1.1.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let stream = TcpStream::connect(self.address).await.expect("connects");
        let (mut sender, connection) = conn::http1::handshake(TokioIo::new(stream))
            .await
            .expect("shakes hands");
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.address.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).expect("a request");
        answer_of(sender.send_request(request).await.expect("an answer")).await
    }

    /// A POST over HTTP/1.1.
    pub async fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        self.send(Method::POST, path, headers, body).await
    }

    /// A POST with a bearer token over HTTP/1.1.
    pub async fn ship(
        &self,
        path: &str,
        token: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let authorization = format!("Bearer {token}");
        let mut all = vec![("authorization", authorization.as_str())];
        all.extend_from_slice(headers);
        self.post(path, &all, body).await
    }

    /// One request over HTTP/2 with prior knowledge.
    pub async fn send_h2(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let stream = TcpStream::connect(self.address).await.expect("connects");
        let (mut sender, connection) =
            conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .expect("shakes hands");
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .version(Version::HTTP_2)
            .uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).expect("a request");
        answer_of(sender.send_request(request).await.expect("an answer")).await
    }

    /// A unary gRPC call: the five-byte frame is put before `message`.
    pub async fn call(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        message: &[u8],
        is_compressed: bool,
    ) -> GrpcAnswer {
        let mut body = vec![u8::from(is_compressed)];
        body.extend_from_slice(&u32::try_from(message.len()).expect("fits").to_be_bytes());
        body.extend_from_slice(message);
        self.call_framed(path, headers, body).await
    }

    /// A unary gRPC call with a body framed by the test.
    pub async fn call_framed(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> GrpcAnswer {
        let mut all = vec![("content-type", "application/grpc"), ("te", "trailers")];
        all.extend_from_slice(headers);
        grpc_answer_of(self.send_h2(Method::POST, path, &all, body).await)
    }

    /// [`Sender::call`] from an address of this machine; an error where there was no answer.
    pub async fn call_from(
        &self,
        from: Ipv4Addr,
        path: &str,
        headers: &[(&str, &str)],
        message: &[u8],
        is_compressed: bool,
    ) -> Result<GrpcAnswer, Failure> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((from, 0)))?;
        let stream = socket.connect(self.address).await?;
        let (mut sender, connection) =
            conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut body = vec![u8::from(is_compressed)];
        body.extend_from_slice(&u32::try_from(message.len())?.to_be_bytes());
        body.extend_from_slice(message);
        let mut request = Request::builder()
            .method(Method::POST)
            .version(Version::HTTP_2)
            .uri(format!("http://{}{path}", self.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body)))?;
        let answer = try_answer_of(sender.send_request(request).await?).await?;
        Ok(grpc_answer_of(answer))
    }

    /// A connection over HTTP/1.1 to keep.
    pub async fn connect(&self) -> Result<Kept, Failure> {
        let stream = TcpStream::connect(self.address).await?;
        let (sender, connection) = conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Kept {
            address: self.address,
            sender,
        })
    }

    /// A connection over HTTP/2 to keep; the task ends with it, without an error if it was closed in good order.
    pub async fn connect_h2(
        &self,
    ) -> Result<(Streams, tokio::task::JoinHandle<hyper::Result<()>>), Failure> {
        let stream = TcpStream::connect(self.address).await?;
        let (sender, connection) =
            conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        let streams = Streams {
            address: self.address,
            sender,
        };
        Ok((streams, tokio::spawn(connection)))
    }

    /// A gRPC call whose body never comes.
    pub async fn call_stalling(&self, path: &str, headers: &[(&str, &str)]) -> GrpcAnswer {
        let stream = TcpStream::connect(self.address).await.expect("connects");
        let (mut sender, connection) =
            conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .expect("shakes hands");
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(Method::POST)
            .version(Version::HTTP_2)
            .uri(format!("http://{}{path}", self.address))
            .header("content-type", "application/grpc");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let never = StreamBody::new(tokio_stream::pending::<Result<Frame<Bytes>, Infallible>>());
        let request = request.body(never).expect("a request");
        let answer = answer_of(sender.send_request(request).await.expect("an answer")).await;
        grpc_answer_of(answer)
    }

    /// Bytes as they are over a bare socket; what came back until it closed, or within `wait`.
    pub async fn raw(&self, bytes: &[u8], wait: Duration) -> String {
        let mut stream = TcpStream::connect(self.address).await.expect("connects");
        let _ = stream.write_all(bytes).await;
        let mut back = Vec::new();
        let _ = tokio::time::timeout(wait, stream.read_to_end(&mut back)).await;
        String::from_utf8_lossy(&back).into_owned()
    }
}

async fn answer_of(response: http::Response<hyper::body::Incoming>) -> Answer {
    let (head, body) = response.into_parts();
    let collected = body.collect().await.expect("a whole answer");
    let trailers = collected.trailers().cloned();
    Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body: collected.to_bytes(),
        trailers,
    }
}

/// Reads the status from the trailers, or from the headers of an answer without a body.
pub fn grpc_answer_of(answer: Answer) -> GrpcAnswer {
    let place = answer.trailers.as_ref().unwrap_or(&answer.headers);
    let text = |name: &str| {
        place
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let details = STANDARD_NO_PAD
        .decode(text("grpc-status-details-bin"))
        .ok()
        .filter(|bytes| !bytes.is_empty())
        .and_then(|bytes| status::parse_status_protobuf(&bytes));
    GrpcAnswer {
        code: text("grpc-status").parse().unwrap_or(u16::MAX),
        message: text("grpc-message"),
        details,
        payload: answer.body.slice(5.min(answer.body.len())..),
        answer,
    }
}
