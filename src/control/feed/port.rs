//! The feed's TCP port: how many connections there may be, and how long a stranger may hold one.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep, sleep_until},
};
use tokio_stream::Stream;
use tonic::transport::server::Connected;

/// Connections at once: one for each gateway, and room for those that come back before the old one is missed.
const CONNECTIONS_MAX: usize = 1024;
/// A gateway speaks first, and at once.
const FIRST_BYTE_MAX: Duration = Duration::from_secs(5);
/// To an authenticated stream, through TLS and the HTTP/2 preface.
const STRANGER_MAX: Duration = Duration::from_secs(10);
/// After an accept that failed: descriptors that have run out come back no sooner for asking at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a connection may wait, and with how many others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) connections: usize,
    pub(super) first_byte: Duration,
    pub(super) stranger: Duration,
}

/// One accepted connection; holds its place until it is dropped.
pub(super) struct Connection {
    stream: TcpStream,
    stranger: Stranger,
    /// The next deadline; `None` once a stream was authenticated.
    deadline: Option<Pin<Box<Sleep>>>,
    /// When the last deadline ends, and whether the first byte has come.
    until: Instant,
    has_spoken: bool,
    _place: OwnedSemaphorePermit,
}

/// Reaches the service with every request: who is let in says so here.
#[derive(Clone, Debug, Default)]
pub(super) struct Stranger {
    is_known: Arc<AtomicBool>,
}

/// Accepted connections, without end and without errors; those past the last place are closed at once.
pub(super) fn connections(
    listener: TcpListener,
    bounds: Bounds,
) -> impl Stream<Item = io::Result<Connection>> {
    let places = Arc::new(Semaphore::new(bounds.connections));
    futures_util::stream::unfold((listener, places), move |(listener, places)| async move {
        let connection = accept(&listener, &places, bounds).await;
        Some((Ok(connection), (listener, places)))
    })
}

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>, bounds: Bounds) -> Connection {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Ok(place) = places.clone().try_acquire_owned() {
                    return Connection::new(stream, bounds, place);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the feed cannot accept connections, trying again");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

// === impl Bounds ===

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS_MAX,
            first_byte: FIRST_BYTE_MAX,
            stranger: STRANGER_MAX,
        }
    }
}

// === impl Stranger ===

impl Stranger {
    /// From here on the connection may stay.
    pub(super) fn let_in(&self) {
        self.is_known.store(true, Ordering::Release);
    }
}

// === impl Connection ===

impl Connection {
    fn new(stream: TcpStream, bounds: Bounds, place: OwnedSemaphorePermit) -> Self {
        // A delta is a small write that somebody waits for; a connection that is gone says so when it is read.
        let _ = stream.set_nodelay(true);
        let now = Instant::now();
        Self {
            stream,
            stranger: Stranger::default(),
            deadline: Some(Box::pin(sleep_until(now + bounds.first_byte))),
            until: now + bounds.stranger,
            has_spoken: false,
            _place: place,
        }
    }

    /// An error once the deadline is past; otherwise the task is woken when it will be.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(deadline) = &mut self.deadline else {
            return Ok(());
        };
        if deadline.as_mut().poll(cx).is_pending() {
            return Ok(());
        }
        if self.stranger.is_known.load(Ordering::Acquire) {
            self.deadline = None;
            return Ok(());
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}

impl Connected for Connection {
    type ConnectInfo = Stranger;

    fn connect_info(&self) -> Stranger {
        self.stranger.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if !self.has_spoken && buffer.filled().len() > before {
            self.has_spoken = true;
            let until = self.until;
            if let Some(deadline) = &mut self.deadline {
                deadline.as_mut().reset(until);
            }
            self.check(cx)?;
        }
        outcome
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
