//! One connection to a control plane: a pipe within the process, or HTTP/2 to the next endpoint in turn.

use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::time;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::{Lost, Source};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A chunk of a snapshot in one piece, and a few behind it.
const WINDOW_BYTES: u32 = 4 << 20;

/// Between the two ends of a pipe.
const PIPE_BYTES: usize = 256 << 10;

/// Connects, to one endpoint after the other.
pub(super) struct Connector {
    source: Source,
    next: usize,
}

impl Connector {
    pub(super) fn new(source: Source) -> Self {
        // Gateways that start together shall not all follow the first.
        let next = getrandom::u32().unwrap_or(0) as usize;
        Self { source, next }
    }

    pub(super) async fn connect(&mut self) -> Result<Channel, Lost> {
        match time::timeout(CONNECT_TIMEOUT, self.attempt()).await {
            Ok(connected) => connected,
            Err(_) => Err(Lost::Connect("it takes too long".into())),
        }
    }

    async fn attempt(&mut self) -> Result<Channel, Lost> {
        match &self.source {
            Source::Pipe(acceptor) => {
                let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
                if acceptor.send(theirs).await.is_err() {
                    return Err(Lost::Connect("the control plane is gone".into()));
                }
                let mut ours = Some(TokioIo::new(ours));
                let connector = service_fn(move |_| {
                    let ours = ours.take();
                    async move { ours.ok_or_else(|| std::io::Error::other("one pipe, one connection")) }
                });
                let endpoint = windows(Endpoint::from_static("http://pipe"));
                endpoint
                    .connect_with_connector(connector)
                    .await
                    .map_err(failed)
            }
            Source::Remote { endpoints, tls } => {
                let count = endpoints.len().max(1);
                let url = endpoints.get(self.next % count);
                self.next = self.next.wrapping_add(1);
                let url = url.ok_or_else(|| Lost::Connect("no endpoint is configured".into()))?;
                let mut endpoint = windows(Endpoint::from_shared(url.clone()).map_err(failed)?)
                    .connect_timeout(CONNECT_TIMEOUT)
                    .tcp_nodelay(true);
                if let Some(read) = tls {
                    let tls = read().map_err(|error| Lost::Connect(error.to_string()))?;
                    endpoint = endpoint.tls_config(tls).map_err(failed)?;
                }
                endpoint.connect().await.map_err(failed)
            }
        }
    }
}

fn windows(endpoint: Endpoint) -> Endpoint {
    endpoint
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
}

/// The whole chain: tonic's own text is "transport error".
fn failed(error: tonic::transport::Error) -> Lost {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    Lost::Connect(text)
}
