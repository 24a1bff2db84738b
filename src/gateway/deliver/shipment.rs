//! A payload in the form its destination takes: the right protocol, inflated or converted where that is needed.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

use super::blame::misconfigured;
use crate::{
    model::{
        Chunks, Compression, Content, Counts, Destination, DestinationKind, Encoding, Payload,
        Rejection, Signal,
    },
    wire::{
        encoding::{Again, Progress},
        grpc, otlp_convert,
    },
};

/// Claims memory for bytes that are about to be held, on behalf of whoever sends them.
pub(super) type Claim<'c> = &'c mut dyn FnMut(u64) -> Result<(), Rejection>;

/// JSON above this is converted on a thread for slow work: it takes a millisecond.
const CONVERTED_HERE_BYTES_MAX: usize = 256 << 10;

/// What travels upstream.
pub(super) struct Shipment<'p> {
    pub(super) content: Content,
    pub(super) signal: Signal,
    pub(super) encoding: Encoding,
    pub(super) chunks: Cow<'p, Chunks>,
    pub(super) line_type: Option<&'p str>,
    /// What is in it, to hold a destination's own count against.
    pub(super) counts: Counts,
}

/// Whether a destination of that kind takes what it is.
pub(super) fn check(payload: &Payload, destination: &Destination) -> Result<(), Rejection> {
    let is_otlp = matches!(payload.content, Content::OtlpProtobuf | Content::OtlpJson);
    match destination.kind {
        DestinationKind::Archive => Err(misconfigured(destination, "is an archive")),
        DestinationKind::OtlpHttp | DestinationKind::OtlpGrpc if !is_otlp => {
            Err(misconfigured(destination, "takes OTLP only"))
        }
        _ => Ok(()),
    }
}

/// The payload as that destination takes it. Body bytes are shared, not copied, unless they must change; then what they
/// come to is claimed before it is allocated, and others get their turn in between.
pub(super) async fn prepare<'p>(
    payload: &'p Payload,
    destination: &Destination,
    claim: Claim<'_>,
) -> Result<Shipment<'p>, Rejection> {
    check(payload, destination)?;
    let mut shipment = Shipment {
        content: payload.content,
        signal: payload.signal,
        encoding: payload.encoding,
        chunks: Cow::Borrowed(&payload.chunks),
        line_type: payload.line_type.as_deref(),
        counts: payload.counts,
    };
    let becomes_protobuf =
        payload.content == Content::OtlpJson && destination.kind == DestinationKind::OtlpGrpc;
    if becomes_protobuf || destination.compression == Compression::Identity {
        shipment.inflate(payload.inflated_bytes, claim).await?;
    }
    if becomes_protobuf {
        shipment.convert(claim).await?;
    }
    if destination.kind == DestinationKind::OtlpGrpc {
        shipment.frame()?;
    }
    Ok(shipment)
}

fn one(bytes: Bytes) -> Cow<'static, Chunks> {
    Cow::Owned(Chunks::from_iter([bytes]))
}

// === impl Shipment ===

impl Shipment<'_> {
    async fn inflate(&mut self, bytes: u64, claim: Claim<'_>) -> Result<(), Rejection> {
        let failed = |_| Rejection::Internal("a checked body did not inflate again");
        if self.encoding == Encoding::Identity {
            return Ok(());
        }
        claim(bytes)?;
        let mut again = Again::new(self.encoding, &self.chunks, bytes);
        let mut claimed_bytes = 0;
        loop {
            match again.step().map_err(failed)? {
                Progress::Drained => break,
                Progress::Paused => tokio::task::yield_now().await,
                Progress::Charge => {
                    let held = again.memory_bytes();
                    claim(held.saturating_sub(claimed_bytes))?;
                    claimed_bytes = held;
                }
            }
        }
        self.chunks = one(again.finish().map_err(failed)?);
        self.encoding = Encoding::Identity;
        Ok(())
    }

    async fn convert(&mut self, claim: Claim<'_>) -> Result<(), Rejection> {
        let bytes = self.chunks.len();
        let copied = if self.chunks.iter().len() > 1 {
            bytes
        } else {
            0
        };
        claim(copied.saturating_add(otlp_convert::protobuf_bytes_max(bytes)))?;
        let (signal, json) = (self.signal, self.chunks.to_bytes());
        let converted = if json.len() > CONVERTED_HERE_BYTES_MAX {
            let work = move || otlp_convert::json_to_protobuf(signal, &json);
            tokio::task::spawn_blocking(work)
                .await
                .map_err(|_| Rejection::Internal("a conversion did not end"))?
        } else {
            otlp_convert::json_to_protobuf(signal, &json)
        };
        let protobuf = converted.map_err(|why| Rejection::Malformed(why.to_string().into()))?;
        self.chunks = one(Bytes::from(protobuf));
        self.content = Content::OtlpProtobuf;
        Ok(())
    }

    /// Puts gRPC's prefix before the message. A small one is copied behind it, so that both are one DATA frame.
    fn frame(&mut self) -> Result<(), Rejection> {
        const COPIED_MAX: u64 = 8 << 10;
        let length = u32::try_from(self.chunks.len()).map_err(|_| Rejection::TooLarge {
            bytes_max: u64::from(u32::MAX),
        })?;
        let prefix = grpc::prefix(self.encoding != Encoding::Identity, length);
        if self.chunks.len() <= COPIED_MAX {
            let mut frame = BytesMut::with_capacity(grpc::PREFIX_BYTES + length as usize);
            frame.extend_from_slice(&prefix);
            for chunk in self.chunks.iter() {
                frame.extend_from_slice(chunk);
            }
            self.chunks = one(frame.freeze());
        } else {
            let prefix = [Bytes::copy_from_slice(&prefix)];
            let framed = prefix.into_iter().chain(self.chunks.iter().cloned());
            self.chunks = Cow::Owned(framed.collect());
        }
        Ok(())
    }
}
