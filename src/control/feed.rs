//! The feed's server: one stream per gateway, checked at the door, sent as messages that were encoded once.

mod port;
mod follow;
mod audit;
mod messages;

pub(super) use follow::STALL_MAX;
pub(super) use messages::encoded;

use std::{
    convert::Infallible,
    fs,
    future::Future,
    io,
    path::Path,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, future::BoxFuture};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::mpsc,
};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    metadata::MetadataMap,
    server::{Grpc, NamedService, StreamingService},
    transport::{Certificate, Identity, Server, ServerTlsConfig, server::Connected},
};

use super::{Control, Error, FeedTls, secret_file};
use crate::{model::Secret, rpc::feed::FromGateway};

/// Between two pings on a connection, and until one is missed: a peer that vanished is gone in ten seconds.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// For a TLS handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// A gateway needs one; a replaced one may linger for a moment.
const STREAMS_MAX: u32 = 16;
/// The largest that a gateway sends is a usage report, with five senders of each of its tokens: some 300 KiB.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Messages on their way to one gateway; the largest are chunks, so some 2 MiB at worst.
const OUTBOX_MESSAGES_MAX: usize = 8;

/// The feed's server, its certificates read and found good; see [`Control::feed`].
pub struct Feed {
    server: Server,
    service: Service,
    bounds: port::Bounds,
}

#[derive(Clone)]
struct Service {
    control: Control,
    stop: CancellationToken,
    /// The handshake has checked the gateway's certificate, which stands for the join key.
    is_proven: bool,
}

/// See [`Control::feed`].
pub(super) fn prepare(control: Control, tls: Option<&FeedTls>) -> Result<Feed, Error> {
    let mut server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .max_concurrent_streams(STREAMS_MAX);
    if let Some(tls) = tls {
        server = server
            .tls_config(server_tls(tls)?)
            .map_err(|error| unusable(tls, &error))?;
    }
    // Streams never end by themselves, and the server waits for them: they must hear of the shutdown, too.
    let stop = control.inner.stop.child_token();
    Ok(Feed {
        server,
        service: Service {
            control,
            stop,
            is_proven: tls.is_some_and(|tls| tls.client_ca_file.is_some()),
        },
        bounds: port::Bounds::default(),
    })
}

/// The library's own sentence is "transport error"; what it means lies beneath.
fn unusable(tls: &FeedTls, error: &dyn std::error::Error) -> Error {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let authority = match &tls.client_ca_file {
        Some(path) => format!(" (gateways' authority {})", path.display()),
        None => String::new(),
    };
    Error::BadCertificate(format!(
        "the feed cannot use certificate {} with key {}{authority}: {cause}",
        tls.certificate_file.display(),
        tls.key_file.display(),
    ))
}

fn server_tls(tls: &FeedTls) -> Result<ServerTlsConfig, Error> {
    let read =
        |path: &Path| fs::read(path).map_err(|source| secret_file::failed("read", path, source));
    let identity = Identity::from_pem(read(&tls.certificate_file)?, read(&tls.key_file)?);
    let config = ServerTlsConfig::new()
        .identity(identity)
        .timeout(HANDSHAKE_MAX);
    Ok(match &tls.client_ca_file {
        None => config,
        Some(path) => config.client_ca_root(Certificate::from_pem(read(path)?)),
    })
}

// === impl Feed ===

impl Feed {
    /// Serves a TCP port until `shutdown` is done or [`Control::close`] is called: 1,024 connections at most, and a
    /// connection that brings no authenticated stream within 10 s is cut.
    ///
    /// # Errors
    /// The server failed.
    pub async fn serve_port(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), Error> {
        self.serve_port_until(listener, std::future::pending(), shutdown)
            .await
    }

    /// The same, accepting nobody once `replaced` is done; those who are connected stay.
    ///
    /// # Errors
    /// The server failed.
    pub async fn serve_port_until(
        self,
        listener: TcpListener,
        replaced: impl Future<Output = ()> + Send,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), Error> {
        let connections = port::connections(listener, self.bounds).take_until(replaced);
        self.serve(connections, shutdown).await
    }

    /// Serves every connection of `incoming`, such as the pipe of a gateway in the same process.
    ///
    /// # Errors
    /// The server failed.
    pub async fn serve<I, S>(
        mut self,
        incoming: S,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), Error>
    where
        I: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
        S: Stream<Item = io::Result<I>> + Send,
    {
        let stop = self.service.stop.clone();
        // Beside the server: once nobody comes any more, it waits for its streams and looks at nothing else.
        let ending = async {
            shutdown.await;
            stop.cancel();
            std::future::pending::<()>().await;
        };
        let served = self
            .server
            .add_service(self.service)
            .serve_with_incoming_shutdown(incoming, stop.cancelled());
        tokio::select! {
            served = served => served?,
            () = ending => {}
        }
        Ok(())
    }
}

#[cfg(test)]
impl Feed {
    /// The same rules with smaller figures.
    pub(super) fn bounded(
        mut self,
        connections: usize,
        first_byte: Duration,
        stranger: Duration,
    ) -> Self {
        self.bounds = port::Bounds {
            connections,
            first_byte,
            stranger,
        };
        self
    }
}

// === impl Service ===

impl NamedService for Service {
    const NAME: &'static str = "wharfinger.feed.v1.Feed";
}

// Written out instead of generated: the generated service would encode every message once per gateway.
impl tower::Service<http::Request<Body>> for Service {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            if request.uri().path() != "/wharfinger.feed.v1.Feed/Follow" {
                return Ok(Status::unimplemented("no such method").into_http());
            }
            let mut grpc = Grpc::new(messages::Codec).max_decoding_message_size(MESSAGE_BYTES_MAX);
            Ok(grpc.streaming(service, request).await)
        })
    }
}

impl StreamingService<FromGateway> for Service {
    type Response = Bytes;
    type ResponseStream = ReceiverStream<Result<Bytes, Status>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<FromGateway>>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            if !service.is_proven {
                check_join_key(request.metadata(), &service.control.inner.join_key)?;
            }
            if let Some(stranger) = request.extensions().get::<port::Stranger>() {
                stranger.let_in();
            }
            let (outbox, messages) = mpsc::channel(OUTBOX_MESSAGES_MAX);
            let Service { control, stop, .. } = service;
            tokio::spawn(follow::follow(control, stop, request.into_inner(), outbox));
            Ok(Response::new(ReceiverStream::new(messages)))
        })
    }
}

fn check_join_key(metadata: &MetadataMap, join_key: &Secret) -> Result<(), Status> {
    let mut given = metadata.get_all("authorization").iter();
    let key = given
        .next()
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .map(|key| Secret::new(key.to_owned()));
    if key.as_ref() == Some(join_key) && given.next().is_none() {
        return Ok(());
    }
    Err(Status::unauthenticated(
        "the join key is missing or wrong; copy it from the control plane's data folder",
    ))
}
