//! Runs one connection: hyper does the protocol, this holds it to its limits.

use std::{
    convert::Infallible,
    error::Error,
    future::poll_fn,
    hash::{BuildHasher, Hasher, RandomState},
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    Request, Response,
    body::{Body, Frame, Incoming, SizeHint},
    header::{CONNECTION, HeaderValue},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    connection::{Connection, Excess, Exchange},
    drain::Phase,
    framing::Flaw,
    gate::{Cut, Gate},
    limits::Config,
    roster::Entry,
    stream::Shared,
};

/// What every connection of a worker is run with.
#[derive(Clone)]
pub(super) struct Rules<S> {
    pub(super) config: Rc<Config>,
    pub(super) gate: Arc<Gate>,
    pub(super) service: S,
}

/// How far past the limit on headers an HTTP/2 header list is still read, to be refused in the sender's protocol.
const HEADER_LIST_FACTOR: u32 = 4;

/// Serves the connection to its end, and closes it so that the peer sees its last answer.
pub(super) async fn serve<S, F, B>(
    rules: Rules<S>,
    connection: Rc<Connection>,
    socket: Shared,
    entry: Entry,
) where
    S: Fn(Request<Incoming>, Rc<Connection>) -> F + Clone + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let Rules {
        config,
        gate,
        service,
    } = rules;
    let called = connection.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (mut exchange, flaw) = Exchange::begin(called.clone(), &request);
        if let Some(flaw) = flaw {
            request.extensions_mut().insert(Flaw(flaw));
        }
        let answer = service(request, called.clone());
        async move {
            let mut response = answer.await;
            if exchange.answered() {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            Ok::<_, Infallible>(response.map(|body| Tracked {
                body,
                _exchange: exchange,
            }))
        }
    });
    let mut watch = Watch::new(&config, &connection, entry);
    let io = TokioIo::new(socket.clone());
    let ended = if connection.is_h2 {
        let server = h2(&config).serve_connection(io, service);
        let graceful = http2::Connection::graceful_shutdown;
        Box::pin(drive(server, graceful, &mut watch)).await
    } else {
        let graceful = http1::Connection::graceful_shutdown;
        let server = h1(&config).serve_connection(io, service.clone());
        let mut ended = drive(server, graceful, &mut watch).await;
        if ended.is_ok() && socket.replaces_head() {
            let io = TokioIo::new(socket.clone());
            let server = h1(&config).serve_connection(io, service);
            ended = Box::pin(drive(server, graceful, &mut watch)).await;
        }
        ended
    };
    match ended {
        Err(cut) => gate.count_cut(cut),
        Ok(outcome) => {
            if connection.is_h2 && outcome.is_err_and(|error| is_ours(&error)) {
                gate.count_cut(Cut::Protocol);
            }
            Box::pin(socket.linger()).await;
        }
    }
    // Until here it stands on the roster: a drain that ended sooner would reset the peer before it has read its answer.
    drop(watch);
}

/// Whether it was our side that gave up an HTTP/2 connection, for an error of the peer's or a header list past all measure.
fn is_ours(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|it| it.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| cause.is_go_away() && cause.is_library())
}

fn h1(config: &Config) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        // A sender that has finished sending may still be waiting for its answer.
        .half_close(true)
        // hyper's own also runs between requests, where 75 s are due.
        .header_read_timeout(None)
        .max_header_size(config.head_bytes_max());
    builder
}

fn h2(config: &Config) -> http2::Builder<Local> {
    let mut builder = http2::Builder::new(Local);
    builder
        .max_concurrent_streams(config.h2_streams_max.max(1))
        .initial_stream_window_size(config.h2_stream_window)
        .initial_connection_window_size(config.h2_connection_window)
        // Past its own limit h2 answers for itself, bare. Up to this the gateway's own check does, in the sender's protocol.
        .max_header_list_size(config.header_bytes_max.saturating_mul(HEADER_LIST_FACTOR))
        .max_pending_accept_reset_streams(config.h2_streams_max as usize)
        // h2's counter never forgets; ours is a rate.
        .max_local_error_reset_streams(None);
    builder
}

/// Polls the connection until it ends by itself or is cut.
async fn drive<C>(
    server: C,
    graceful: fn(Pin<&mut C>),
    watch: &mut Watch,
) -> Result<hyper::Result<()>, Cut>
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut server = pin!(server);
    let mut alarm = pin!(sleep_until(watch.deadline().0));
    let mut is_listening = false;
    poll_fn(|cx| {
        if !is_listening {
            watch.entry.listen(cx.waker());
            is_listening = true;
        }
        if watch.must_leave() {
            graceful(server.as_mut());
        }
        let turn = &watch.connection.meter.turn;
        turn.begin();
        if let Poll::Ready(outcome) = server.as_mut().poll(cx) {
            return Poll::Ready(Ok(outcome));
        }
        let is_due = watch.connection.meter.messages.borrow_mut().may_go_on();
        if turn.is_cut_short.get() || is_due {
            // After the poll, so that what it spawned runs before we read on.
            cx.waker().wake_by_ref();
        }
        match watch.check_excess() {
            Step::Go => {}
            Step::Leave => cx.waker().wake_by_ref(),
            Step::Cut(cut) => return Poll::Ready(Err(cut)),
        }
        match watch.ring(alarm.as_mut(), cx) {
            Step::Go => Poll::Pending,
            Step::Leave => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Step::Cut(cut) => Poll::Ready(Err(cut)),
        }
    })
    .await
}

/// One connection's clocks. A request moves none of them: the alarm is only set again when something is due sooner
/// than it was, or when it has rung.
struct Watch {
    config: Rc<Config>,
    connection: Rc<Connection>,
    entry: Entry,
    age_at: Instant,
    cut_at: Option<(Instant, Cut)>,
    leaving: Leaving,
    /// When hyper was asked to end the connection.
    left_at: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Leaving {
    No,
    /// At the next answer (HTTP/1.1), after the first request (HTTP/2).
    Politely,
    /// As soon as nothing is in flight.
    Now,
}

enum Step {
    Go,
    Leave,
    Cut(Cut),
}

// === impl Watch ===

impl Watch {
    fn new(config: &Rc<Config>, connection: &Rc<Connection>, entry: Entry) -> Self {
        let now = Instant::now();
        Self {
            config: config.clone(),
            connection: connection.clone(),
            entry,
            age_at: now + spread(config.connection_age),
            cut_at: None,
            leaving: Leaving::No,
            left_at: None,
        }
    }

    /// Whether to ask hyper, once, to end the connection gracefully.
    fn must_leave(&mut self) -> bool {
        let due = match self.entry.roster().phase() {
            Phase::Open => Leaving::No,
            Phase::Announced => Leaving::Politely,
            Phase::Stopping { .. } => Leaving::Now,
        };
        self.leaving = self.leaving.max(due);
        if self.leaving == Leaving::No || self.left_at.is_some() {
            return false;
        }
        let meter = &self.connection.meter;
        meter.is_leaving.set(true);
        let may = if self.connection.is_h2 {
            self.leaving == Leaving::Now || meter.begun.get() > 0
        } else {
            // Not in the middle of a head: that request is answered, with `Connection: close`.
            self.leaving == Leaving::Now
                && (meter.open.get() > 0 || meter.head_since.get().is_none())
        };
        if may {
            self.left_at = Some(Instant::now());
        }
        may
    }

    fn check_excess(&mut self) -> Step {
        let (cut, grace) = match self.connection.meter.excess(&self.config) {
            Excess::None => return Step::Go,
            Excess::ControlFlood => return Step::Cut(Cut::ControlFlood),
            Excess::ResetFlood => return Step::Cut(Cut::Resets),
            Excess::Control => (Cut::ControlFlood, Duration::from_secs(1)),
            // What is in flight may finish; whoever goes on resetting comes to the last mark first.
            Excess::Resets => (Cut::Resets, self.config.connection_age / 2),
        };
        let at = Instant::now() + grace;
        if self.cut_at.is_some_and(|(earlier, _)| earlier <= at) {
            return Step::Go;
        }
        self.cut_at = Some((at, cut));
        self.leaving = Leaving::Now;
        Step::Leave
    }

    /// What is due next, and what is then to be done.
    fn deadline(&self) -> (Instant, Due) {
        let (config, meter) = (&self.config, &self.connection.meter);
        let mut next = match self.cut_at {
            Some((at, cut)) => (at, Due::Cut(cut)),
            None => (self.age_at, Due::Age),
        };
        let mut earliest = |at: Instant, due| {
            if at < next.0 {
                next = (at, due);
            }
        };
        if let Some(since) = meter.head_since.get() {
            earliest(since + config.headers_timeout, Due::Cut(Cut::Headers));
        } else if let (0, Some(left_at)) = (meter.open.get(), self.left_at) {
            // Told to go, with nothing in flight: a peer that doesn't answer h2's last ping holds up no drain.
            let since = left_at.max(meter.idle_since.get());
            earliest(since + config.headers_timeout, Due::Cut(Cut::Idle));
        } else if meter.open.get() == 0 {
            let idle = if self.connection.is_h2 {
                config.idle_h2
            } else {
                config.idle_h1
            };
            earliest(meter.idle_since.get() + idle, Due::Idle);
        }
        if let Some(since) = meter.write_blocked_since.get() {
            earliest(
                since + config.write_stall_timeout,
                Due::Cut(Cut::WriteStall),
            );
        }
        next
    }

    fn ring(&mut self, mut alarm: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Step {
        loop {
            let (at, due) = self.deadline();
            if at < alarm.deadline() {
                alarm.as_mut().reset(at);
            }
            if alarm.as_mut().poll(cx).is_pending() {
                return Step::Go;
            }
            let now = Instant::now();
            if at > now {
                alarm.as_mut().reset(at);
                continue;
            }
            match due {
                Due::Cut(cut) => return Step::Cut(cut),
                Due::Idle => self.leaving = Leaving::Now,
                Due::Age => {
                    self.leaving = self.leaving.max(Leaving::Politely);
                    self.cut_at = Some((now + self.config.connection_age / 2, Cut::Age));
                }
            }
            alarm.as_mut().reset(now + self.config.headers_timeout);
            return Step::Leave;
        }
    }
}

#[derive(Clone, Copy)]
enum Due {
    Cut(Cut),
    Idle,
    Age,
}

/// Give or take 10 %, so that a fleet that connected at once doesn't come back at once.
fn spread(age: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish() % 2_001;
    age.mul_f64(0.9 + random as f64 / 10_000.0)
}

/// A body whose end is the end of its exchange.
struct Tracked<B> {
    body: B,
    _exchange: Exchange,
}

impl<B: Body + Unpin> Body for Tracked<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// HTTP/2's streams stay on their connection's thread.
#[derive(Clone, Copy, Debug)]
struct Local;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}
