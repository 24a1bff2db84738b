//! The body: read at its pace, never past the permit, checked and counted while it arrives, kept as it came.

mod gather;
mod pace;
mod sift;

pub use pace::Config;
pub use sift::Whole;

use bytes::Bytes;
use hyper::body::Incoming;

use super::{admit::Permit, doors::Entrance};
use crate::{
    model::{Content, Counts, Door, Encoding, Payload, Rejection, Tally},
    wire::{
        self,
        encoding::{Inflate, Progress},
        grpc::{self, Unframe},
    },
};
use gather::Gather;
use pace::Paced;

/// A whole, checked body of an admitted caller: proof that it may be delivered.
#[derive(Debug)]
pub struct Batch {
    permit: Permit,
    payload: Payload,
}

/// Reads the body to its end. What a refused body has left unread stays in `body`.
///
/// # Errors
/// What is wrong with it; what was read until then stands in the books as refused for that reason.
pub async fn receive(
    mut permit: Permit,
    entrance: Entrance,
    body: &mut Incoming,
    config: &Config,
) -> Result<Whole, Rejection> {
    match read(&mut permit, entrance, body, config).await {
        Ok(payload) => Ok(Whole::new(permit, payload)),
        Err(rejection) => {
            permit.refused(&rejection);
            Err(rejection)
        }
    }
}

async fn read(
    permit: &mut Permit,
    entrance: Entrance,
    body: &mut Incoming,
    config: &Config,
) -> Result<Payload, Rejection> {
    let mut paced = Paced::new(body, permit.announced_bytes, config);
    let mut unframe = (entrance.door == Door::OtlpGrpc).then(Unframe::default);
    let mut check = Check::new(permit);
    let mut gather = Gather::default();
    let mut wire_bytes = 0;
    while let Some(chunk) = paced.next().await? {
        let chunk = match &mut unframe {
            Some(unframe) => check.unframed(permit, &mut paced, unframe, chunk)?,
            None => chunk,
        };
        wire_bytes += chunk.len() as u64;
        if wire_bytes > permit.body_bytes_max {
            return Err(too_large(permit));
        }
        permit.claim(gather.cost_bytes(&chunk))?;
        gather.push(chunk.clone());
        check.push(permit, chunk).await?;
    }
    if let Some(unframe) = &unframe {
        unframe.finish().map_err(|fault| match fault {
            grpc::Fault::CutOff => Rejection::BodyCutOff,
            other => Rejection::Malformed(other.to_string().into()),
        })?;
    }
    if wire_bytes == 0 {
        // No body is no body, whatever its headers say of it.
        check = Check::with(permit, Encoding::Identity);
    }
    let encoding = check.encoding;
    let (counts, inflated_bytes) = check.finish(permit)?;
    permit.settle()?;
    let payload = Payload {
        door: entrance.door,
        signal: permit.caller.signal,
        content: permit.content,
        encoding,
        chunks: gather.finish(),
        inflated_bytes,
        counts,
        line_type: permit.line_type.take(),
    };
    permit.received_whole();
    Ok(payload)
}

fn too_large(permit: &Permit) -> Rejection {
    Rejection::TooLarge {
        bytes_max: permit.body_bytes_max,
    }
}

fn rejection_of(fault: wire::Fault) -> Rejection {
    match fault {
        wire::Fault::Malformed(why) => Rejection::Malformed(why),
        wire::Fault::TooLarge { bytes_max } => Rejection::TooLarge { bytes_max },
    }
}

/// Inflation and scan of one body, with its cost charged to the permit.
struct Check {
    encoding: Encoding,
    inflate: Inflate,
    /// Inflated bytes that stand in the books already.
    booked_bytes: u64,
    /// What the decoder holds, as far as it is claimed.
    claimed_bytes: u64,
}

// === impl Check ===

impl Check {
    fn new(permit: &Permit) -> Self {
        Self::with(permit, permit.encoding)
    }

    fn with(permit: &Permit, encoding: Encoding) -> Self {
        let limits = &permit.caller.account.record.limits;
        let scanner = wire::Scanner::new(permit.content, permit.caller.signal, limits);
        Self {
            encoding,
            inflate: Inflate::new(encoding, permit.body_bytes_max, scanner),
            booked_bytes: 0,
            claimed_bytes: 0,
        }
    }

    /// Takes gRPC's prefix off; it says whether `grpc-encoding` applies to this message, and how long it is.
    fn unframed(
        &mut self,
        permit: &Permit,
        paced: &mut Paced<&mut Incoming>,
        unframe: &mut Unframe,
        chunk: Bytes,
    ) -> Result<Bytes, Rejection> {
        let is_first = unframe.frame().is_none();
        let message = unframe
            .push(chunk)
            .map_err(|fault| Rejection::Malformed(fault.to_string().into()))?;
        if let Some(frame) = unframe.frame()
            && is_first
        {
            if u64::from(frame.length) > permit.body_bytes_max {
                return Err(too_large(permit));
            }
            // gRPC clients send no Content-Length: this is where a message says how long it is.
            paced.announced(u64::from(frame.length));
            match (frame.compressed, permit.encoding) {
                (true, Encoding::Identity) => {
                    return Err(Rejection::Malformed(
                        "the message is marked as compressed, and grpc-encoding names nothing"
                            .into(),
                    ));
                }
                (false, Encoding::Gzip | Encoding::Zstd | Encoding::Snappy) => {
                    *self = Self::with(permit, Encoding::Identity);
                }
                _ => {}
            }
        }
        Ok(message)
    }

    /// Inflates and scans a chunk, in steps: a chunk that inflates to the ceiling holds up no neighbour.
    async fn push(&mut self, permit: &mut Permit, chunk: Bytes) -> Result<(), Rejection> {
        self.inflate.feed(chunk);
        loop {
            let progress = self.inflate.step();
            let inflated = self.inflate.inflated_bytes();
            permit.received(Tally::new(0, inflated - self.booked_bytes));
            self.booked_bytes = inflated;
            match progress.map_err(rejection_of)? {
                Progress::Drained => return Ok(()),
                Progress::Paused => tokio::task::yield_now().await,
                Progress::Charge => {
                    let held = self.inflate.memory_bytes();
                    permit.claim(held - self.claimed_bytes)?;
                    self.claimed_bytes = held;
                }
            }
        }
    }

    fn finish(self, permit: &mut Permit) -> Result<(Counts, u64), Rejection> {
        let (counts, inflated_bytes) = self.inflate.finish().map_err(rejection_of)?;
        let items = match counts {
            Counts::Lines(lines) => lines.good.items + lines.bad().items,
            other => other.items(),
        };
        permit.received(Tally::new(items, inflated_bytes - self.booked_bytes));
        // The decoder is gone, and what it held.
        permit.release(self.claimed_bytes);
        Ok((counts, inflated_bytes))
    }
}

// === impl Batch ===

impl Batch {
    /// Whose it is, and the books it stands in.
    pub const fn permit(&self) -> &Permit {
        &self.permit
    }

    /// What travels.
    pub const fn payload(&self) -> &Payload {
        &self.payload
    }

    /// What travels, with the permit that pays for what it becomes on its way.
    pub const fn parts_mut(&mut self) -> (&mut Permit, &Payload) {
        (&mut self.permit, &self.payload)
    }

    /// Whether there is nothing to deliver: a client's empty body on close, an export without a record.
    pub fn is_empty(&self) -> bool {
        match self.payload.content {
            Content::Lines | Content::OtlpProtobuf | Content::OtlpJson => {
                self.payload.counts.items() == 0
            }
            // Metadata travels without a sample.
            Content::RemoteWrite1 | Content::RemoteWrite2 => self.payload.inflated_bytes == 0,
        }
    }

    /// Everything that was received has been taken, but for what the destination refused.
    pub fn settle(mut self, outcome: &Result<crate::model::Delivery, Rejection>) {
        match outcome {
            Ok(delivery) if delivery.is_spooled => self.permit.spooled(),
            Ok(delivery) => self.settle_parts(delivery.refused_items),
            // A 2.0 receiver may refuse a request and say how much of it was written all the same.
            Err(Rejection::DestinationRefused {
                written: Some(written),
                ..
            }) => {
                let items = self.permit.open_tally().items;
                let written = Counts::Write(*written).items();
                self.settle_parts(items.saturating_sub(written));
            }
            Err(rejection) => self.permit.refused(rejection),
        }
    }

    /// The destination refused so many items and took the rest. It counts in items: their bytes are their share.
    fn settle_parts(&mut self, refused_items: u64) {
        let open = self.permit.open_tally();
        let refused = open.part(refused_items);
        if refused.items > 0 {
            self.permit
                .refused_part_for(Rejection::DESTINATION_REFUSED, refused);
        }
        if refused.items < open.items || open.items == 0 {
            self.permit.delivered();
        } else {
            // Nothing is left to deliver but the odd byte of rounding.
            let rest = self.permit.open_tally();
            self.permit
                .refused_part_for(Rejection::DESTINATION_REFUSED, rest);
        }
    }
}
