//! One connection: what its requests may know of it, and what its limits are held against.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use hyper::{Request, body::Body};
use tokio::time::Instant;

use super::{BareSlash, frames::Seen, limits::Config, messages::Messages};

/// A connection as its requests see it.
#[derive(Debug)]
pub struct Connection {
    /// The other end, IPv4 as IPv4.
    pub peer: SocketAddr,
    /// What a bare `/` means on the port it came to.
    pub bare_slash: BareSlash,
    /// It came through TLS.
    pub is_tls: bool,
    /// It speaks HTTP/2.
    pub is_h2: bool,
    pub(super) meter: Meter,
}

/// The moving parts: one thread, so plain cells.
#[derive(Debug)]
pub(super) struct Meter {
    pub(super) read: Cell<u64>,
    pub(super) written: Cell<u64>,
    pub(super) read_before_answer: Cell<u64>,
    /// Requests whose answer isn't out yet, and all there have been.
    pub(super) open: Cell<u32>,
    pub(super) begun: Cell<u64>,
    pub(super) idle_since: Cell<Instant>,
    /// When what must end soon began: a head on HTTP/1.1, a control frame or a header block on HTTP/2.
    pub(super) head_since: Cell<Option<Instant>>,
    pub(super) write_blocked_since: Cell<Option<Instant>>,
    /// The next HTTP/1.1 answer says `Connection: close`.
    pub(super) is_leaving: Cell<bool>,
    pub(super) is_eof: Cell<bool>,
    pub(super) is_broken: Cell<bool>,
    pub(super) messages: RefCell<Messages>,
    /// Why hyper couldn't read the latest HTTP/1.1 head. Its own answer, which is in nobody's protocol, is held back.
    pub(super) unreadable: Cell<Option<&'static str>>,
    pub(super) turn: Turn,
    window_began: Cell<Instant>,
    control_bytes: Cell<u64>,
    data_bytes: Cell<u64>,
    resets: Cell<u64>,
    our_resets: Cell<u64>,
}

/// One poll of the connection's task: when it is, and how much it may still read.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) now: Cell<Instant>,
    pub(super) budget: Cell<usize>,
    /// A read was put off: the task must be woken again by itself.
    pub(super) is_cut_short: Cell<bool>,
    /// The last read filled its buffer: there is probably more.
    pub(super) has_more: Cell<bool>,
    pub(super) answer: Cell<Answer>,
}

/// Where an answer is between the service and the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    None,
    /// Ready, and it goes before the next read.
    Ready,
    /// It has been let past one read; reading goes on, lest an answer that never comes stops it.
    Overtaken,
}

/// What a connection has done too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Excess {
    None,
    /// Past the first mark: asked to go.
    Control,
    /// Past twice that.
    ControlFlood,
    /// Past the first mark: asked to go.
    Resets,
    /// Past the last one.
    ResetFlood,
}

/// A request between its head and the end of its answer.
#[derive(Debug)]
pub(super) struct Exchange {
    connection: Rc<Connection>,
    is_answered: bool,
}

/// What a task reads before others get their turn, so that an answer overtakes a flood of body bytes.
pub(super) const TURN_BYTES: usize = 32 << 10;

/// DATA that pays for one reset of ours.
const DATA_PER_RESET: u64 = 1 << 10;

// === impl Connection ===

impl Connection {
    /// Bytes read from the peer so far (inside TLS), those not yet looked at included.
    pub fn bytes_read(&self) -> u64 {
        self.meter.read.get()
    }

    /// Bytes written to the peer so far (inside TLS).
    pub fn bytes_written(&self) -> u64 {
        self.meter.written.get()
    }

    /// [`bytes_read`](Self::bytes_read) when the latest answer began to be written.
    pub fn bytes_read_before_answer(&self) -> u64 {
        self.meter.read_before_answer.get()
    }

    /// Ends the connection with the answer to come: HTTP/1.1 says `Connection: close`; HTTP/2, whose framing can't be
    /// mistaken, goes on. Owed to every [`BadFraming`](crate::model::Rejection::BadFraming), lest what follows a
    /// request that can be read two ways be read as a second one.
    pub fn leave(&self) {
        self.meter.is_leaving.set(true);
    }

    /// Requests begun on this connection so far.
    pub fn requests(&self) -> u64 {
        self.meter.begun.get()
    }
}

// === impl Meter ===

impl Meter {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            read: Cell::new(0),
            written: Cell::new(0),
            read_before_answer: Cell::new(0),
            open: Cell::new(0),
            begun: Cell::new(0),
            idle_since: Cell::new(now),
            head_since: Cell::new(None),
            write_blocked_since: Cell::new(None),
            is_leaving: Cell::new(false),
            is_eof: Cell::new(false),
            is_broken: Cell::new(false),
            messages: RefCell::default(),
            unreadable: Cell::new(None),
            turn: Turn {
                now: Cell::new(now),
                budget: Cell::new(TURN_BYTES),
                is_cut_short: Cell::new(false),
                has_more: Cell::new(false),
                answer: Cell::new(Answer::None),
            },
            window_began: Cell::new(now),
            control_bytes: Cell::new(0),
            data_bytes: Cell::new(0),
            resets: Cell::new(0),
            our_resets: Cell::new(0),
        }
    }

    /// Counts what came.
    pub(super) fn count(&self, seen: Seen, window: Duration) {
        self.move_window(window);
        add(&self.control_bytes, seen.control_bytes);
        add(&self.data_bytes, seen.data_bytes);
        add(&self.resets, seen.resets);
    }

    /// Counts resets of ours.
    pub(super) fn count_our_resets(&self, resets: u64, window: Duration) {
        if resets > 0 {
            self.move_window(window);
            add(&self.our_resets, resets);
        }
    }

    fn move_window(&self, window: Duration) {
        let now = self.turn.now.get();
        if now.duration_since(self.window_began.get()) > window {
            self.window_began.set(now);
            self.control_bytes.set(0);
            self.data_bytes.set(0);
            self.resets.set(0);
            self.our_resets.set(0);
        }
    }

    pub(super) fn excess(&self, config: &Config) -> Excess {
        // An upload refused in flight goes on arriving for a while, and h2 answers its frames with resets: those are paid
        // for by their size.
        let paid = self.data_bytes.get() / DATA_PER_RESET;
        let unpaid = self.our_resets.get().saturating_sub(paid);
        let resets = self.resets.get().saturating_add(unpaid);
        let control = self.control_bytes.get();
        if control > config.control_bytes_max.saturating_mul(2) {
            Excess::ControlFlood
        } else if control > config.control_bytes_max {
            Excess::Control
        } else if resets > config.h2_resets_max.saturating_mul(4) {
            Excess::ResetFlood
        } else if resets > config.h2_resets_max {
            Excess::Resets
        } else {
            Excess::None
        }
    }
}

fn add(cell: &Cell<u64>, count: u64) {
    cell.set(cell.get().saturating_add(count));
}

// === impl Turn ===

impl Turn {
    pub(super) fn begin(&self) {
        self.now.set(Instant::now());
        self.budget.set(TURN_BYTES);
        self.is_cut_short.set(false);
    }

    /// May the socket be read now? If not, the turn ends short.
    pub(super) fn may_read(&self) -> bool {
        let overtakes = self.answer.get() == Answer::Ready && self.has_more.get();
        if overtakes {
            self.answer.set(Answer::Overtaken);
        }
        let may = self.budget.get() > 0 && !overtakes;
        if !may {
            self.is_cut_short.set(true);
        }
        may
    }
}

// === impl Exchange ===

impl Exchange {
    /// A head has been understood. Gives also what was ambiguous about it.
    pub(super) fn begin<B: Body>(
        connection: Rc<Connection>,
        request: &Request<B>,
    ) -> (Self, Option<&'static str>) {
        let meter = &connection.meter;
        let mut flaw = None;
        if !connection.is_h2 {
            let length = request.body().size_hint().exact();
            flaw = meter.messages.borrow_mut().begin(length);
            flaw = meter.unreadable.get().or(flaw);
            if flaw.is_some() {
                connection.leave();
            }
            meter.head_since.set(None);
        }
        meter.open.set(meter.open.get().saturating_add(1));
        meter.begun.set(meter.begun.get().saturating_add(1));
        let exchange = Self {
            connection,
            is_answered: false,
        };
        (exchange, flaw)
    }

    /// The service has answered; the answer isn't written yet. Gives whether it must say `Connection: close`.
    pub(super) fn answered(&mut self) -> bool {
        self.is_answered = true;
        let meter = &self.connection.meter;
        meter.turn.answer.set(Answer::Ready);
        // hyper gives up a connection whose body it hasn't got by now, without having said so.
        let is_early = !meter.messages.borrow().is_whole();
        !self.connection.is_h2 && (is_early || meter.is_leaving.get())
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let meter = &self.connection.meter;
        meter.open.set(meter.open.get().saturating_sub(1));
        if self.is_answered {
            meter.control_bytes.set(0);
        }
        meter.messages.borrow_mut().end();
        meter.idle_since.set(Instant::now());
    }
}
