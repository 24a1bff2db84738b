//! Ways to the control plane of the moment, over pipes and TCP, that are cut at any moment.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, copy_bidirectional, duplex},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;
use wharfinger::directory::Source;

/// Where connections to the control plane of the moment go.
#[derive(Clone)]
pub(crate) struct Ways {
    pub(crate) pipes: Arc<Mutex<Option<mpsc::Sender<std::io::Result<DuplexStream>>>>>,
    pub(crate) port: Arc<Mutex<Option<SocketAddr>>>,
    /// Cancelled, and replaced, to cut every connection.
    cut: Arc<Mutex<CancellationToken>>,
    opened: Arc<AtomicUsize>,
}

// === impl Ways ===

impl Ways {
    pub(crate) fn new() -> Self {
        Self {
            pipes: Arc::default(),
            port: Arc::default(),
            cut: Arc::new(Mutex::new(CancellationToken::new())),
            opened: Arc::default(),
        }
    }

    pub(crate) fn cut(&self) {
        let mut cut = self.cut.lock().expect("not poisoned");
        std::mem::take(&mut *cut).cancel();
    }

    async fn relay(
        &self,
        mut here: impl AsyncRead + AsyncWrite + Unpin,
        mut there: impl AsyncRead + AsyncWrite + Unpin,
    ) {
        let cut = self.cut.lock().expect("not poisoned").clone();
        self.opened.fetch_add(1, Ordering::Relaxed);
        tokio::select! {
            _ = copy_bidirectional(&mut here, &mut there) => {}
            () = cut.cancelled() => {}
        }
    }

    /// A source of pipes for one gateway.
    pub(crate) fn over_pipes(&self) -> Source {
        let (sender, mut asked) = mpsc::channel::<DuplexStream>(4);
        let ways = self.clone();
        tokio::spawn(async move {
            while let Some(here) = asked.recv().await {
                let ways = ways.clone();
                let pipes = ways.pipes.lock().expect("not poisoned").clone();
                tokio::spawn(async move {
                    let (ours, there) = duplex(16 << 10);
                    if let Some(pipes) = pipes
                        && pipes.send(Ok(there)).await.is_ok()
                    {
                        ways.relay(here, ours).await;
                    }
                });
            }
        });
        Source::Pipe(sender)
    }

    /// A source over TCP for one gateway, perhaps through somebody who meddles.
    pub(crate) async fn over_tcp(&self, meddler: Option<SocketAddr>) -> Source {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let ways = self.clone();
        tokio::spawn(async move {
            while let Ok((here, _)) = listener.accept().await {
                let ways = ways.clone();
                let port = *ways.port.lock().expect("not poisoned");
                tokio::spawn(async move {
                    if let Some(port) = port
                        && let Ok(there) = TcpStream::connect(meddler.unwrap_or(port)).await
                    {
                        ways.relay(here, there).await;
                    }
                });
            }
        });
        Source::Remote {
            endpoints: vec![format!("http://{address}")],
            tls: None,
        }
    }

    /// Connections that came about so far.
    pub(crate) fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }
}
