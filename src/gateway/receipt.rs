//! One receipt a request: opened first, filed exactly once, also when the client hangs up.

use std::{
    cell::Cell,
    net::IpAddr,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use http::{HeaderValue, Method, Request, header};
use tracing::debug;

use super::{
    admit::{is_json, is_write_2},
    authenticate::{Caller, Refused},
    doors::{self, Entrance},
};
use crate::{
    directory::usage::Meter,
    model::{Delivery, Door, Rejection, Signal, TokenId},
    operate::metrics::{Outcome, RequestMetrics},
};

/// How an OTLP/HTTP request is answered: in its own content type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpForm {
    /// Binary protobuf.
    Protobuf,
    /// JSON, where partial success names what was rejected after the signal.
    Json(Signal),
}

/// The protocol an answer is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// No door: plain HTTP.
    Plain,
    /// Log bulk.
    Bulk,
    /// OTLP/HTTP.
    Otlp(OtlpForm),
    /// OTLP/gRPC.
    Grpc,
    /// Remote write.
    RemoteWrite {
        /// 2.0, whose answers carry `Written` headers.
        is_2: bool,
    },
}

/// A request's public number: what an answer's `x-request-id` and our logs have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId(u64);

/// Hands out request ids of one worker: a random start of its own, then a counter, so that no two workers share one.
#[derive(Debug)]
pub struct RequestIds {
    worker: u32,
    next: Cell<u32>,
}

/// What is known of a request so far. Filed by [`Receipt::file`], else when dropped.
#[derive(Debug)]
pub struct Receipt {
    id: RequestId,
    opened: Instant,
    dialect: Cell<Dialect>,
    door: Cell<Option<Door>>,
    is_head: Cell<bool>,
    token: Cell<Option<TokenId>>,
    metrics: RequestMetrics,
    meter: Meter,
    is_filed: Cell<bool>,
}

// === impl RequestId ===

impl RequestId {
    /// Sixteen hexadecimal digits.
    pub fn header(self) -> HeaderValue {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 16];
        for (place, digit) in text.iter_mut().rev().enumerate() {
            *digit = HEX[(self.0 >> (4 * place)) as usize & 15];
        }
        HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("-"))
    }

    /// `wait` and up to as much again, in whole seconds: a fleet refused together doesn't come back together.
    pub fn spread(self, wait: Duration) -> Duration {
        // Rounded up: not before a destination asked for.
        let wait = (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1);
        // The counter's low bits, stirred: neighbours in time land apart.
        let stirred = self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
        Duration::from_secs(wait + stirred % (wait + 1))
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

// === impl RequestIds ===

impl RequestIds {
    /// Ids of one more worker.
    pub fn new() -> Self {
        static WORKERS: AtomicU32 = AtomicU32::new(0);
        static SEED: OnceLock<u32> = OnceLock::new();
        let seed = *SEED.get_or_init(|| {
            let mut seed = [0; 4];
            // Without randomness ids repeat from start to start; in one process they are still unique.
            let _ = getrandom::fill(&mut seed);
            u32::from_le_bytes(seed)
        });
        let worker = WORKERS.fetch_add(1, Ordering::Relaxed);
        Self {
            worker: seed.wrapping_add(worker),
            next: Cell::new(0),
        }
    }

    pub(super) fn next(&self) -> RequestId {
        let next = self.next.get();
        self.next.set(next.wrapping_add(1));
        RequestId(u64::from(self.worker) << 32 | u64::from(next))
    }
}

impl Default for RequestIds {
    fn default() -> Self {
        Self::new()
    }
}

// === impl Receipt ===

impl Receipt {
    /// Opens a request's receipt.
    pub fn open(ids: &RequestIds, metrics: &RequestMetrics, meter: &Meter) -> Self {
        Self {
            id: ids.next(),
            opened: Instant::now(),
            dialect: Cell::new(Dialect::Plain),
            door: Cell::new(None),
            is_head: Cell::new(false),
            token: Cell::new(None),
            metrics: metrics.clone(),
            meter: meter.clone(),
            is_filed: Cell::new(false),
        }
    }

    /// The protocol is known, or it is known that there is none.
    pub fn entered(&self, entrance: Option<Entrance>, head: &Request<impl Sized>) {
        self.is_head.set(head.method() == Method::HEAD);
        // A gRPC status is a success to whoever reads only HTTP's: it is for those alone who speak gRPC in full.
        let speaks_grpc = doors::is_grpc_call(head);
        let Some(entrance) = entrance else {
            // To a path that isn't ours too: UNIMPLEMENTED, not a bare 404.
            if speaks_grpc {
                self.dialect.set(Dialect::Grpc);
            }
            return;
        };
        let dialect = match entrance.door {
            Door::Bulk => Dialect::Bulk,
            Door::OtlpGrpc if speaks_grpc => Dialect::Grpc,
            Door::OtlpGrpc => Dialect::Plain,
            Door::RemoteWrite => Dialect::RemoteWrite {
                is_2: is_write_2(head.headers()),
            },
            Door::OtlpHttp => Dialect::Otlp(match entrance.signal {
                Some(signal) if is_json(head.headers()) => OtlpForm::Json(signal),
                _ => OtlpForm::Protobuf,
            }),
        };
        self.dialect.set(dialect);
        self.door.set(Some(entrance.door));
    }

    /// The token's public number is known, whether or not it opens anything: from here on the request is the token's.
    ///
    /// # Errors
    /// Passed through.
    pub fn presented(
        &self,
        caller: Result<Caller, Refused>,
        head: &Request<impl Sized>,
        peer: IpAddr,
    ) -> Result<Caller, Rejection> {
        let token = match &caller {
            Ok(caller) => Some(caller.token),
            Err(refused) => refused.token,
        };
        self.token.set(token);
        if let Some(token) = token {
            let agent = head.headers().get(header::USER_AGENT);
            let agent = agent.map_or(&b""[..], HeaderValue::as_bytes);
            self.meter.presented(token, agent, peer);
        }
        caller.map_err(|refused| refused.rejection)
    }

    /// The protocol to answer in.
    pub const fn dialect(&self) -> Dialect {
        self.dialect.get()
    }

    /// Whether its answer is to have no body.
    pub const fn is_head(&self) -> bool {
        self.is_head.get()
    }

    /// The request's number.
    pub const fn id(&self) -> RequestId {
        self.id
    }

    /// The token's public number.
    pub const fn token(&self) -> Option<TokenId> {
        self.token.get()
    }

    /// How it ended.
    pub fn file(self, outcome: &Result<Delivery, Rejection>) {
        let outcome = match outcome {
            Ok(delivery) if delivery.validated.is_some() => Outcome::Answered,
            Ok(delivery) if delivery.is_partial() => Outcome::Partial,
            Ok(_) => Outcome::Delivered,
            Err(rejection) => {
                debug!(
                    request = %self.id,
                    door = self.door.get().map_or("none", Door::name),
                    token = self.token.get().map(|token| token.0),
                    reason = rejection.label(),
                    detail = ?rejection,
                    "refused"
                );
                if let Some(token) = self.token.get() {
                    self.meter.refused(token, rejection.index());
                }
                Outcome::Refused(rejection.index())
            }
        };
        self.count(outcome);
    }

    /// It asked and was told: nothing was shipped.
    pub fn answered(self) {
        self.count(Outcome::Answered);
    }

    fn count(&self, outcome: Outcome) {
        self.is_filed.set(true);
        self.metrics
            .ended(self.door.get(), outcome, self.opened.elapsed());
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if !self.is_filed.get() {
            self.count(Outcome::ClientGone);
        }
    }
}
