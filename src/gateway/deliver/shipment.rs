//! A payload in the form its destination takes: the right protocol, inflated or converted where that is needed.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

use super::blame::misconfigured;
use crate::{
    model::{
        Chunks, Compression, Content, Destination, DestinationKind, Encoding, Payload, Rejection,
        Signal,
    },
    wire::{encoding, grpc, otlp_convert},
};

/// What travels upstream.
pub(super) struct Shipment<'p> {
    pub(super) content: Content,
    pub(super) signal: Signal,
    pub(super) encoding: Encoding,
    pub(super) chunks: Cow<'p, Chunks>,
    pub(super) line_type: Option<&'p str>,
}

/// The payload as that destination takes it. Body bytes are shared, not copied, unless they must change.
pub(super) fn prepare<'p>(
    payload: &'p Payload,
    destination: &Destination,
) -> Result<Shipment<'p>, Rejection> {
    let is_otlp = matches!(payload.content, Content::OtlpProtobuf | Content::OtlpJson);
    match destination.kind {
        DestinationKind::Archive => {
            return Err(misconfigured(destination, "is an archive"));
        }
        DestinationKind::OtlpHttp | DestinationKind::OtlpGrpc if !is_otlp => {
            return Err(misconfigured(destination, "takes OTLP only"));
        }
        _ => {}
    }
    let mut shipment = Shipment {
        content: payload.content,
        signal: payload.signal,
        encoding: payload.encoding,
        chunks: Cow::Borrowed(&payload.chunks),
        line_type: payload.line_type.as_deref(),
    };
    let becomes_protobuf =
        payload.content == Content::OtlpJson && destination.kind == DestinationKind::OtlpGrpc;
    if becomes_protobuf || destination.compression == Compression::Identity {
        shipment.inflate(payload.inflated_bytes)?;
    }
    if becomes_protobuf {
        let json = shipment.chunks.to_bytes();
        let protobuf = otlp_convert::json_to_protobuf(payload.signal, &json)
            .map_err(|why| Rejection::Malformed(why.to_string().into()))?;
        shipment.chunks = one(Bytes::from(protobuf));
        shipment.content = Content::OtlpProtobuf;
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
    fn inflate(&mut self, bytes: u64) -> Result<(), Rejection> {
        if self.encoding != Encoding::Identity {
            let inflated = encoding::inflate(self.encoding, &self.chunks, bytes)
                .map_err(|_| Rejection::Internal("a checked body did not inflate again"))?;
            self.chunks = one(inflated);
            self.encoding = Encoding::Identity;
        }
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
