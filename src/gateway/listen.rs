//! Where connections come in: an accept loop of our own over hyper, HTTP/1.1 and HTTP/2 on every port, each connection
//! held to limits on its first byte, handshake, heads, idleness, age and control frames.
//!
//! Everything here runs on one thread per worker: nothing but the [`Gate`] and the [`Drain`] is shared between them.

mod chunks;
mod connection;
mod drain;
mod frames;
pub mod framing;
mod gate;
mod heads;
mod limits;
mod messages;
mod outline;
mod roster;
mod serve;
mod stream;
pub mod tls;

use std::{
    error::Error,
    io,
    net::{Ipv6Addr, SocketAddr, TcpListener as StdListener},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    Request, Response,
    body::{Body, Incoming},
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_rustls::TlsAcceptor;
use tracing::warn;

pub use connection::Connection;
pub use drain::{Drain, Phase};
pub use gate::{Cut, Gate, Ticket};
pub use limits::{Config, half_of_descriptors};

use connection::Meter;
use roster::{Entry, Roster};
use serve::{Rules, serve};
use stream::{Shared, Silence, Transport};

/// What a bare `/` means on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BareSlash {
    /// No route.
    Nothing,
    /// Log bulk.
    Bulk,
    /// Prometheus remote write.
    RemoteWrite,
}

/// A listener of one worker.
#[derive(Debug)]
pub struct Bound {
    /// From [`bind`] or [`bind_again`].
    pub std: StdListener,
    /// What a bare `/` means there.
    pub bare_slash: BareSlash,
    /// TLS, if the port speaks it.
    pub tls: Option<Arc<tls::Certificates>>,
}

/// Waiting connections that the kernel keeps for us.
const BACKLOG: i32 = 4_096;

/// Of a drain's time, what is kept at most for deliveries whose connections were cut.
const REST_MAX: Duration = Duration::from_millis(500);

/// Binds a port that nobody else has, so that more workers can join by [`bind_again`].
///
/// # Errors
/// The operating system's; `AddrInUse` also where another process would share the port.
pub fn bind(address: SocketAddr) -> io::Result<StdListener> {
    // SO_REUSEPORT would hide a port that is taken. One that the kernel chooses isn't, and would be after a probe's end.
    if address.port() != 0 {
        drop(open(address, false)?);
    }
    open(address, true)
}

/// Binds the port of a listener once more, for another worker: the kernel spreads connections over them.
///
/// # Errors
/// The operating system's.
pub fn bind_again(listener: &StdListener) -> io::Result<StdListener> {
    open(listener.local_addr()?, true)
}

fn open(address: SocketAddr, is_shared: bool) -> io::Result<StdListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(is_shared)?;
    if address.ip() == Ipv6Addr::UNSPECIFIED {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Serves until the drain is over; gives the number of connections that were cut shortly before its deadline: a tenth of the
/// time left, at most half a second, is for what their requests have begun.
///
/// Must run inside a `LocalSet` on a current-thread runtime. The service is given each request with its connection. Its
/// future is dropped when its HTTP/2 stream is reset or the connection is cut; on HTTP/1.1 a peer that has gone shows
/// only when the body is read or the answer written, since senders may half-close and wait.
///
/// # Errors
/// A listener that the runtime can't take, or an accept loop that has panicked.
pub async fn run<S, F, B>(
    bound: Vec<Bound>,
    config: Rc<Config>,
    gate: Arc<Gate>,
    service: S,
    drain: Drain,
) -> io::Result<usize>
where
    S: Fn(Request<Incoming>, Rc<Connection>) -> F + Clone + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut phases = drain.subscribe();
    let roster = Roster::new(*phases.borrow_and_update());
    let rules = Rules {
        config,
        gate,
        service,
    };
    let mut loops = tokio::task::JoinSet::new();
    for bound in bound {
        let door = Door {
            bare_slash: bound.bare_slash,
            tls: bound.tls,
            rules: rules.clone(),
            roster: roster.clone(),
        };
        let listener = TcpListener::from_std(bound.std)?;
        loops.spawn_local(door.accept(listener, drain.subscribe()));
    }
    let deadline = loop {
        let phase = *phases.borrow_and_update();
        roster.move_to(phase);
        if let Phase::Stopping { deadline } = phase {
            break Instant::from_std(deadline);
        }
        tokio::select! {
            changed = phases.changed() => if changed.is_err() {
                break Instant::now();
            },
            Some(ended) = loops.join_next() => {
                let is_asked = matches!(*phases.borrow(), Phase::Stopping { .. });
                if !is_asked {
                    // A worker that has lost a port must not go on as if it hadn't.
                    let why = ended.err().map_or_else(|| "unasked".into(), |error| error.to_string());
                    return Err(io::Error::other(format!("an accept loop has ended: {why}")));
                }
            }
        }
    };
    let finished = async {
        while loops.join_next().await.is_some() {}
        roster.emptied().await;
    };
    if timeout_at(cut_at(Instant::now(), deadline), finished)
        .await
        .is_ok()
    {
        return Ok(0);
    }
    let cut = roster.abort();
    (0..cut).for_each(|_| rules.gate.count_cut(Cut::Drain));
    // The aborted tasks end, and give back their tickets, when they are next polled.
    let _ = timeout(Duration::from_secs(1), roster.emptied()).await;
    Ok(cut)
}

/// A little before the deadline: whoever still waits for an answer then leaves a delivery behind, which needs time to end.
fn cut_at(now: Instant, deadline: Instant) -> Instant {
    let left = deadline.saturating_duration_since(now);
    now + left.saturating_sub((left / 10).min(REST_MAX))
}

/// All that one listener's connections need.
struct Door<S> {
    bare_slash: BareSlash,
    tls: Option<Arc<tls::Certificates>>,
    rules: Rules<S>,
    roster: Rc<Roster>,
}

impl<S, F, B> Door<S>
where
    S: Fn(Request<Incoming>, Rc<Connection>) -> F + Clone + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    async fn accept(self, listener: TcpListener, mut phases: watch::Receiver<Phase>) {
        let mut trouble = Trouble::default();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = phases.wait_for(|phase| matches!(phase, Phase::Stopping { .. })) => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    trouble.is_over();
                    self.let_in(stream, peer);
                }
                Err(error) => {
                    self.rules.gate.count_accept_error();
                    if let Some(pause) = trouble.pause(&error, Instant::now()) {
                        sleep(pause).await;
                    }
                }
            }
        }
        // Closing a listener resets whoever is already in its queue, so they come in first; those who go on connecting don't.
        let Ok(listener) = listener.into_std() else {
            return;
        };
        for _ in 0..BACKLOG {
            let Ok((stream, peer)) = listener.accept() else {
                return;
            };
            let stream = stream
                .set_nonblocking(true)
                .and_then(|()| TcpStream::from_std(stream));
            if let Ok(stream) = stream {
                self.let_in(stream, peer);
            }
        }
    }

    fn let_in(&self, stream: TcpStream, peer: SocketAddr) {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        // No place: closed at once, which costs the least.
        let Some(ticket) = self.rules.gate.admit(peer.ip()) else {
            return;
        };
        // Without it answers wait for the peer's delayed acknowledgement; a socket that refuses it still works.
        let _ = stream.set_nodelay(true);
        let entry = self.roster.enter();
        let id = entry.id();
        let newcomer = Newcomer {
            stream,
            peer,
            ticket,
            entry,
            bare_slash: self.bare_slash,
            tls: self.tls.as_ref().map(|tls| tls.current()),
        };
        self.roster.spawn(id, newcomer.serve(self.rules.clone()));
    }
}

/// A connection that hasn't said what it speaks.
struct Newcomer {
    stream: TcpStream,
    peer: SocketAddr,
    ticket: Ticket,
    entry: Entry,
    bare_slash: BareSlash,
    tls: Option<Arc<rustls::ServerConfig>>,
}

impl Newcomer {
    async fn serve<S, F, B>(self, rules: Rules<S>)
    where
        S: Fn(Request<Incoming>, Rc<Connection>) -> F + Clone + 'static,
        F: Future<Output = Response<B>> + 'static,
        B: Body<Data = Bytes> + Unpin + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let config = rules.config.clone();
        let is_tls = self.tls.is_some();
        let mut transport = match self.tls {
            None => Transport::Plain(self.stream),
            Some(tls) => {
                let handshake = Box::pin(TlsAcceptor::from(tls).accept(self.stream));
                match timeout(config.tls_handshake_timeout, handshake).await {
                    Ok(Ok(stream)) => Transport::Tls(Box::new(stream)),
                    _ => return rules.gate.count_cut(Cut::Handshake),
                }
            }
        };
        let first_byte_by = Instant::now() + config.first_byte_timeout;
        let (is_h2, prefix) = match transport.sniff(first_byte_by, &config).await {
            Ok(told) => told,
            Err(Silence::Closed) => return,
            Err(Silence::Cut(cut)) => return rules.gate.count_cut(cut),
        };
        let connection = Rc::new(Connection {
            peer: self.peer,
            bare_slash: self.bare_slash,
            is_tls,
            is_h2,
            meter: Meter::new(Instant::now()),
        });
        if !is_h2 && !prefix.is_empty() {
            // A head has begun, though hyper hasn't seen it yet: a drain must let it be answered.
            connection.meter.head_since.set(Some(Instant::now()));
        }
        let socket = Shared::new(transport, prefix, connection.clone(), config);
        serve(rules, connection, socket, self.entry).await;
        drop(self.ticket);
    }
}

/// What an accept loop does when accepting fails: it goes on, without a busy loop and without a flood of logs.
#[derive(Debug, Default)]
struct Trouble {
    pause: Option<Duration>,
    logged_at: Option<Instant>,
}

impl Trouble {
    fn is_over(&mut self) {
        self.pause = None;
    }

    /// How long to wait before the next accept, if at all.
    fn pause(&mut self, error: &io::Error, now: Instant) -> Option<Duration> {
        let is_peers = matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::Interrupted
        );
        if is_peers {
            return None;
        }
        let minute = Duration::from_secs(60);
        if self
            .logged_at
            .is_none_or(|at| now.duration_since(at) >= minute)
        {
            self.logged_at = Some(now);
            warn!(%error, "cannot accept connections, trying again");
        }
        let pause = match self.pause {
            None => Duration::from_millis(10),
            Some(last) => (last * 2).min(Duration::from_millis(100)),
        };
        self.pause = Some(pause);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_an_error_and_a_second_worker_is_not() {
        let first = bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let address = first.local_addr().expect("an address");
        let error = bind(address).expect_err("the port is taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let second = bind_again(&first).expect("a second listener");
        assert_eq!(second.local_addr().expect("an address"), address);
    }

    #[test]
    fn trouble_waits_longer_each_time_and_an_aborted_peer_is_none() {
        let now = Instant::now();
        let mut trouble = Trouble::default();
        let exhausted = io::Error::from_raw_os_error(24);
        let pauses: Vec<_> = (0..6)
            .filter_map(|_| trouble.pause(&exhausted, now))
            .map(|pause| pause.as_millis())
            .collect();
        assert_eq!(pauses, [10, 20, 40, 80, 100, 100]);
        let aborted = io::Error::from(io::ErrorKind::ConnectionAborted);
        assert_eq!(trouble.pause(&aborted, now), None);
        trouble.is_over();
        assert_eq!(
            trouble.pause(&exhausted, now),
            Some(Duration::from_millis(10))
        );
    }
}
