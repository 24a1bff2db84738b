//! The connections of one endpoint and what is remembered of its health. One worker thread's own: nothing is shared.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{AbortHandle, spawn_local},
    time::{Instant, timeout},
};

use super::{
    body::Chain,
    config::Config,
    connect::{ConnectFault, Place},
    sockets::{Sockets, free_within},
};

/// A destination's answer needs no larger head.
const ANSWER_HEAD_BYTES_MAX: usize = 16 << 10;
/// Streams of ours on one HTTP/2 connection before another is opened, however many the destination allows.
const STREAMS_MAX: usize = 256;
/// HTTP/2 connections to one endpoint; past them streams wait for their turn.
const SHARED_MAX: usize = 8;
/// How long a failing endpoint is passed over: doubled with each failure up to the second.
const REST: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];
/// How long others are asked first, after an endpoint has answered that it takes nothing.
const BUSY: Duration = Duration::from_secs(1);

/// One endpoint with its connections.
pub(super) struct Endpoint {
    place: Place,
    /// For HTTP/1.1 connections in use. A new one is opened only when none is idle, so these bound all of them.
    turns: Arc<Semaphore>,
    idle: RefCell<Vec<Idle>>,
    shared: RefCell<Vec<Rc<Shared>>>,
    dialing: Semaphore,
    dialed: RefCell<(u64, Option<ConnectFault>)>,
    failures: Cell<u32>,
    failed_at: Cell<Option<Instant>>,
    resting_until: Cell<Option<Instant>>,
    /// It answers, and takes nothing: others should be asked first.
    busy_until: Cell<Option<Instant>>,
    /// Requests on their way.
    out: Cell<usize>,
}

/// A request on its way to an endpoint, until it is dropped.
pub(super) struct Out<'e>(&'e Cell<usize>);

/// What a connection may cost in sockets and time.
pub(super) struct Bounds<'a> {
    pub(super) config: &'a Config,
    pub(super) sockets: &'a Sockets,
    pub(super) connect_timeout: Duration,
    /// Until then a turn is waited for.
    pub(super) by: Instant,
}

struct Idle {
    sender: http1::SendRequest<Chain>,
    task: AbortHandle,
    since: Instant,
}

/// An HTTP/1.1 connection held for one request; closed when dropped.
pub(super) struct Exclusive {
    pub(super) sender: http1::SendRequest<Chain>,
    task: Abort,
    _turn: OwnedSemaphorePermit,
    /// It has answered before: its death before an answer may be no more than a keep-alive that ended.
    pub(super) is_reused: bool,
}

/// Ends a connection's task: one whose peer takes nothing would else hold its socket for ever.
struct Abort(Option<AbortHandle>);

/// An HTTP/2 connection that carries many requests.
struct Shared {
    sender: h2::client::SendRequest<Bytes>,
    streams: Cell<usize>,
    last_used: Cell<Instant>,
    is_retired: Cell<bool>,
}

/// A claim on one stream of a shared connection.
pub(super) struct Stream {
    connection: Rc<Shared>,
    /// As [`Exclusive::is_reused`].
    pub(super) is_reused: bool,
}

// === impl Endpoint ===

impl Endpoint {
    pub(super) fn new(place: Place, connections_max: usize) -> Self {
        let turns = connections_max.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            place,
            turns: Arc::new(Semaphore::new(turns)),
            idle: RefCell::new(Vec::new()),
            shared: RefCell::new(Vec::new()),
            dialing: Semaphore::const_new(1),
            dialed: RefCell::new((0, None)),
            failures: Cell::new(0),
            failed_at: Cell::new(None),
            resting_until: Cell::new(None),
            busy_until: Cell::new(None),
            out: Cell::new(0),
        }
    }

    /// How many requests are on their way.
    pub(super) fn out(&self) -> usize {
        self.out.get()
    }

    /// One more is.
    pub(super) fn begin(&self) -> Out<'_> {
        self.out.set(self.out.get() + 1);
        Out(&self.out)
    }

    /// An HTTP/1.1 connection: the one used last, so that the others may go; a new one if `fresh` or none is idle.
    pub(super) async fn exclusive(
        &self,
        fresh: bool,
        bounds: &Bounds<'_>,
    ) -> Result<Exclusive, ConnectFault> {
        let why = "too many connections to the destination are in use";
        let turn = free_within(&self.turns, bounds.by, why).await?;
        while let Some(idle) = self.pop_idle() {
            if fresh {
                // The new one takes its place.
                break;
            }
            if idle.since.elapsed() < bounds.config.idle_timeout
                && !idle.sender.is_closed()
                && idle.sender.is_ready()
            {
                return Ok(Exclusive {
                    sender: idle.sender,
                    task: Abort(Some(idle.task)),
                    _turn: turn,
                    is_reused: true,
                });
            }
        }
        let socket = bounds.sockets.take(bounds.by).await?;
        let stream = self
            .place
            .connect(bounds.connect_timeout, bounds.config.resolve_every)
            .await?;
        let (sender, connection) = http1::Builder::new()
            .max_header_size(ANSWER_HEAD_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| ConnectFault::Down("connecting to the destination failed".into()))?;
        // Its end is seen by the sender; there is nothing more to say of it.
        let task = spawn_local(async move {
            let _ = connection.await;
            drop(socket);
        });
        Ok(Exclusive {
            sender,
            task: Abort(Some(task.abort_handle())),
            _turn: turn,
            is_reused: false,
        })
    }

    fn pop_idle(&self) -> Option<Idle> {
        self.idle.borrow_mut().pop()
    }

    /// Takes a connection back whose answer was read to its end.
    pub(super) async fn release(&self, mut used: Exclusive, bounds: &Bounds<'_>) {
        if !used.sender.is_ready() {
            // The connection's own task may need one more turn; whatever is not ready then has something left to say.
            tokio::task::yield_now().await;
        }
        let mut idle = self.idle.borrow_mut();
        let is_kept = used.sender.is_ready()
            && !used.sender.is_closed()
            && idle.len() < bounds.config.idle_per_endpoint_max
            && !bounds.sockets.is_wanted();
        if let Some(task) = used.task.0.take_if(|_| is_kept) {
            idle.push(Idle {
                sender: used.sender,
                task,
                since: Instant::now(),
            });
        }
    }

    /// Whether a request finds a connection here.
    pub(super) fn has_connection(&self) -> bool {
        !self.idle.borrow().is_empty() || !self.shared.borrow().is_empty()
    }

    /// Closes the connection that has been idle for longest, if there is one: its socket is wanted elsewhere.
    pub(super) fn give_up_one(&self) -> bool {
        let mut idle = self.idle.borrow_mut();
        if !idle.is_empty() {
            drop(idle.remove(0));
            return true;
        }
        let mut shared = self.shared.borrow_mut();
        let unused = shared
            .iter()
            .position(|connection| connection.streams.get() == 0);
        unused.map(|at| shared.remove(at)).is_some()
    }

    /// A stream on a shared HTTP/2 connection. Those who come while one is being opened wait for it.
    pub(super) async fn stream(&self, bounds: &Bounds<'_>) -> Result<Stream, ConnectFault> {
        if let Some(stream) = self.claim() {
            return Ok(stream);
        }
        let before = self.dialed.borrow().0;
        let _turn = self.dialing.acquire().await;
        if let Some(stream) = self.claim() {
            return Ok(stream);
        }
        if let (after, Some(fault)) = &*self.dialed.borrow()
            && *after != before
        {
            // The one waited for has failed: asking again at once would make a queue of time-outs.
            return Err(fault.clone());
        }
        let dialed = self.dial_shared(bounds).await;
        let mut last = self.dialed.borrow_mut();
        last.0 += 1;
        last.1 = dialed.as_ref().err().cloned();
        let connection = dialed?;
        self.shared.borrow_mut().push(connection.clone());
        Ok(Stream::new(connection, false))
    }

    async fn dial_shared(&self, bounds: &Bounds<'_>) -> Result<Rc<Shared>, ConnectFault> {
        let connect_timeout = bounds.connect_timeout;
        let socket = bounds.sockets.take(bounds.by).await?;
        let stream = self
            .place
            .connect(connect_timeout, bounds.config.resolve_every)
            .await?;
        let handshake = h2::client::Builder::new()
            .enable_push(false)
            .max_header_list_size(ANSWER_HEAD_BYTES_MAX as u32)
            .handshake::<_, Bytes>(stream);
        let failed = |_| ConnectFault::Down("destination does not answer in HTTP/2".into());
        let (sender, mut connection) = handshake.await.map_err(failed)?;
        let ping = connection.ping_pong();
        let shared = Rc::new(Shared {
            sender,
            streams: Cell::new(0),
            last_used: Cell::new(Instant::now()),
            is_retired: Cell::new(false),
        });
        let ended = Rc::downgrade(&shared);
        spawn_local(async move {
            let _ = connection.await;
            drop(socket);
            if let Some(shared) = ended.upgrade() {
                shared.is_retired.set(true);
            }
        });
        // Its settings come before its pong: until they are in, h2 would open more streams than it may take.
        if let Some(mut ping) = ping {
            let pong = timeout(connect_timeout, ping.ping(h2::Ping::opaque())).await;
            match pong {
                Ok(pong) => pong.map(drop).map_err(failed)?,
                Err(_) => {
                    let late = "destination does not answer in HTTP/2";
                    return Err(ConnectFault::Down(late.into()));
                }
            }
        }
        Ok(shared)
    }

    fn claim(&self) -> Option<Stream> {
        let mut shared = self.shared.borrow_mut();
        shared.retain(|connection| !connection.is_retired.get());
        let is_free = |connection: &&Rc<Shared>| {
            let streams_max = connection.sender.current_max_send_streams();
            connection.streams.get() < streams_max.min(STREAMS_MAX)
        };
        let least = || {
            shared
                .iter()
                .min_by_key(|connection| connection.streams.get())
        };
        let free = shared.iter().find(is_free);
        let connection = free.or_else(|| least().filter(|_| shared.len() >= SHARED_MAX))?;
        Some(Stream::new(connection.clone(), true))
    }

    /// Whether requests should rather go elsewhere now.
    pub(super) fn is_resting(&self, now: Instant) -> bool {
        self.resting_until.get().is_some_and(|until| now < until)
    }

    /// About to be tried: after its rest one request probes it, and the others wait for what that finds.
    pub(super) fn probe(&self, now: Instant) {
        if self.failures.get() > 0 && !self.is_resting(now) {
            self.resting_until.set(Some(now + REST[0]));
        }
    }

    /// It has answered.
    pub(super) fn succeeded(&self) {
        self.failures.set(0);
        self.resting_until.set(None);
    }

    /// It has answered that it takes nothing now: whoever refuses quickest must not be sent most.
    pub(super) fn refused(&self, now: Instant) {
        self.succeeded();
        self.busy_until.set(Some(now + BUSY));
    }

    /// Whether it has said so lately.
    pub(super) fn is_busy(&self, now: Instant) -> bool {
        self.busy_until.get().is_some_and(|until| now < until)
    }

    /// It could not be reached, or is down. Attempts that were on their way together fail together, and count once.
    pub(super) fn failed(&self, began: Instant, now: Instant) {
        if self.failed_at.get().is_some_and(|at| began < at) {
            return;
        }
        let failures = self.failures.get();
        let rest = REST[0] * 2u32.saturating_pow(failures.min(10));
        self.failed_at.set(Some(now));
        self.resting_until.set(Some(now + rest.min(REST[1])));
        self.failures.set(failures.saturating_add(1));
    }

    /// Closes what has been idle for long.
    pub(super) fn sweep(&self, idle_timeout: Duration) {
        self.idle
            .borrow_mut()
            .retain(|idle| idle.since.elapsed() < idle_timeout && !idle.sender.is_closed());
        self.shared.borrow_mut().retain(|connection| {
            let is_idle = connection.streams.get() == 0
                && connection.last_used.get().elapsed() >= idle_timeout;
            !is_idle && !connection.is_retired.get()
        });
    }
}

#[cfg(test)]
impl Endpoint {
    pub(super) fn idle_connections(&self) -> usize {
        self.idle.borrow().len()
    }
}

// === impl Out ===

impl Drop for Out<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

// === impl Abort ===

impl Drop for Abort {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

// === impl Stream ===

impl Stream {
    fn new(connection: Rc<Shared>, is_reused: bool) -> Self {
        connection.streams.set(connection.streams.get() + 1);
        Self {
            connection,
            is_reused,
        }
    }

    pub(super) fn sender(&self) -> h2::client::SendRequest<Bytes> {
        self.connection.sender.clone()
    }

    /// No further stream goes onto this connection; those on it run to their end.
    pub(super) fn retire(&self) {
        self.connection.is_retired.set(true);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let streams = &self.connection.streams;
        streams.set(streams.get() - 1);
        self.connection.last_used.set(Instant::now());
    }
}
