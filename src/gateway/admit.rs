//! May it come in: what the body claims to be, how large it says it is, and whether there is room for it.
//!
//! Everything here is decided before the body is read: an over-limit account costs us headers only.

mod content;
mod memory;
mod rate;
mod rehearsal;

pub(in crate::gateway) use content::{is_json, is_write_2};
pub use memory::{Headroom, Held, Memory};

use std::sync::Arc;

use http::{HeaderValue, Request, header};

use super::{
    authenticate::{Caller, parameters},
    doors::Entrance,
};
use crate::{
    directory::{Account, Directory, usage::Meter},
    model::{Content, Door, Encoding, Limits, Loss, Rejection, Signal, Tally, TokenId},
};
use memory::Claim;
use rate::Charge;

/// An admitted caller's claim on memory, what it has paid of its rates, and its open line in the account's books. Dropping it gives the
/// memory back and settles the line.
#[derive(Debug)]
pub struct Permit {
    /// Who was admitted.
    pub caller: Caller,
    /// What the body is, by its headers.
    pub content: Content,
    /// How it is compressed, by its headers.
    pub encoding: Encoding,
    /// Ceiling on the body, on the wire and after inflation.
    pub body_bytes_max: u64,
    /// `Content-Length`, where there is one.
    pub announced_bytes: Option<u64>,
    /// Bulk: the `?type=` of lines that name none.
    pub line_type: Option<String>,
    /// Checked and counted, then answered: nothing is delivered, and nothing stands in the books.
    pub is_rehearsal: bool,
    claim: Claim,
    charge: Charge,
    line: Line,
}

/// Holds the headers against what the account and the gateway have room for.
///
/// # Errors
/// In this order: what asks for a rehearsal, content type and encoding, announced size, rates, the account's ceilings, the gateway's.
pub fn admit(
    memory: &Arc<Memory>,
    meter: &Meter,
    caller: Caller,
    entrance: Entrance,
    head: &Request<impl Sized>,
) -> Result<Permit, Rejection> {
    let is_rehearsal = rehearsal::is_asked(head)?;
    let (content, encoding) = content::read(head, entrance)?;
    let limits = &caller.account.record.limits;
    let body_bytes_max = body_bytes_max(entrance.door, limits);
    let announced_bytes = announced_bytes(head);
    if announced_bytes.is_some_and(|bytes| bytes > body_bytes_max) {
        return Err(Rejection::TooLarge {
            bytes_max: body_bytes_max,
        });
    }
    // A gateway that goes down says so, not when it would have room.
    memory.check_open()?;
    let mut charge = Charge::check(&caller)?;
    let claim = memory.enter(&caller.account)?;
    charge.enter()?;
    let line_type = line_type(entrance.door, head);
    Ok(Permit {
        line: Line::open(&caller, meter, !is_rehearsal),
        caller,
        content,
        encoding,
        body_bytes_max,
        announced_bytes,
        line_type,
        is_rehearsal,
        claim,
        charge,
    })
}

fn body_bytes_max(door: Door, limits: &Limits) -> u64 {
    match door {
        Door::Bulk => limits.bulk_body_bytes_max,
        Door::OtlpHttp | Door::OtlpGrpc => limits.otlp_body_bytes_max,
        Door::RemoteWrite => limits.remote_write_body_bytes_max,
    }
}

fn announced_bytes(head: &Request<impl Sized>) -> Option<u64> {
    head.headers()
        .get(header::CONTENT_LENGTH)
        .map(HeaderValue::to_str)?
        .ok()?
        .parse()
        .ok()
}

/// A type is one word; anything else in `?type=` is ignored, as if it weren't there.
fn line_type(door: Door, head: &Request<impl Sized>) -> Option<String> {
    if door != Door::Bulk {
        return None;
    }
    parameters(head.uri().query(), "type")
        .find(|name| {
            (1..=128).contains(&name.len())
                && !name
                    .chars()
                    .any(|char| char.is_whitespace() || char.is_control())
        })
        .map(std::borrow::Cow::into_owned)
}

// === impl Permit ===

impl Permit {
    /// Claims memory for bytes that are about to be held.
    ///
    /// # Errors
    /// The account's ceiling, or the gateway's.
    pub fn claim(&mut self, bytes: u64) -> Result<(), Rejection> {
        self.claim.grow(bytes)
    }

    /// Gives claimed memory back before the permit's end.
    pub fn release(&mut self, bytes: u64) {
        self.claim.shrink(bytes);
    }

    /// The token's last look before its batch travels. An acceptance is noted in the same moment, so that a receipt of the token's
    /// end misses none. A rehearsal accepts nothing.
    ///
    /// # Errors
    /// What has become of the token since the head.
    pub fn accept(&self, directory: &Directory) -> Result<Arc<Account>, Rejection> {
        let look = || self.caller.confirm(directory);
        if self.is_rehearsal {
            return look();
        }
        self.line.meter.accepted(self.caller.token, look)
    }

    /// Hands what is claimed to whoever holds the bytes from here on, for as long as that takes.
    pub fn lend(&mut self) -> Held {
        self.claim.lend()
    }

    /// Enters what was read into the books.
    pub fn received(&mut self, tally: Tally) {
        self.charge.read(tally.bytes);
        self.line.receive(tally);
    }

    /// A whole body is in: whether its rates leave anything for it.
    ///
    /// # Errors
    /// The rate that doesn't.
    pub fn settle(&mut self) -> Result<(), Rejection> {
        self.charge.settle(self.line.received.items)
    }

    /// From here on the sender is owed an answer: what dies now is lost, not cut off.
    pub fn received_whole(&mut self) {
        self.line.is_whole = true;
    }

    /// Everything read so far is refused.
    pub fn refused(&mut self, rejection: &Rejection) {
        if rejection.is_ours() {
            self.charge.give_back();
        }
        self.line.refuse(rejection.index(), self.line.open);
    }

    /// A part of what was read is refused.
    pub fn refused_part(&mut self, rejection: &Rejection, part: Tally) {
        self.line.refuse(rejection.index(), part);
    }

    /// A part of what was read is refused, by [`Rejection::index`].
    pub fn refused_part_for(&mut self, reason: usize, part: Tally) {
        self.line.refuse(reason, part);
    }

    /// The rest of what was read has been taken by the destination.
    pub fn delivered(&mut self) {
        self.line.deliver();
    }

    /// The rest of what was read is safe in the spool.
    pub fn spooled(&mut self) {
        self.line.spool();
    }

    /// Read and not yet settled.
    pub const fn open_tally(&self) -> Tally {
        self.line.open
    }
}

/// One request's line in its account's books: what is open when it is dropped is settled there and then, and all of it
/// is counted as the token's.
#[derive(Debug)]
struct Line {
    account: Arc<Account>,
    signal: Signal,
    token: TokenId,
    meter: Meter,
    open: Tally,
    received: Tally,
    delivered: Tally,
    is_whole: bool,
    /// Whether it stands in the books and in the token's usage: a rehearsal's is only weighed.
    is_booked: bool,
}

// === impl Line ===

impl Line {
    fn open(caller: &Caller, meter: &Meter, is_booked: bool) -> Self {
        Self {
            account: Arc::clone(&caller.account),
            signal: caller.signal,
            token: caller.token,
            meter: meter.clone(),
            open: Tally::default(),
            received: Tally::default(),
            delivered: Tally::default(),
            is_whole: false,
            is_booked,
        }
    }

    fn receive(&mut self, tally: Tally) {
        if self.is_booked {
            self.account.books.received(self.signal, tally);
        }
        self.open += tally;
        self.received += tally;
    }

    fn refuse(&mut self, reason: usize, tally: Tally) {
        if self.is_booked {
            self.account.books.refused(self.signal, reason, tally);
        }
        self.open = self.open - tally;
    }

    fn deliver(&mut self) {
        if self.is_booked {
            self.account.books.delivered(self.signal, self.open);
        }
        self.delivered += self.open;
        self.open = Tally::default();
    }

    /// As good as delivered, to the token's usage: its sender is told that it is safe.
    fn spool(&mut self) {
        if self.is_booked {
            self.account.books.spooled(self.signal, self.open);
        }
        self.delivered += self.open;
        self.open = Tally::default();
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.is_booked {
            return;
        }
        if self.received != Tally::default() {
            self.meter
                .settled(self.token, self.received, self.delivered);
        }
        if self.open == Tally::default() {
            return;
        }
        if self.is_whole {
            let books = &self.account.books;
            books.lost(self.signal, Loss::Died, self.open);
        } else {
            self.refuse(Rejection::BodyCutOff.index(), self.open);
        }
    }
}
