//! A payload in the form its destination takes: the right protocol, inflated or converted where that is needed.

use std::{borrow::Cow, io::Read};

use bytes::{Bytes, BytesMut};

use super::blame::misconfigured;
use crate::{
    model::{
        Chunks, Compression, Content, Destination, DestinationKind, Encoding, Payload, Rejection,
        Signal,
    },
    wire::{grpc, otlp_convert},
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

/// The inflated bytes, which were found to be `bytes` long when the body was checked.
fn inflate(encoding: Encoding, chunks: &Chunks, bytes: u64) -> Result<Bytes, Rejection> {
    const CHANGED: Rejection = Rejection::Internal("a checked body did not inflate again");
    let length = usize::try_from(bytes).map_err(|_| CHANGED)?;
    let body = chunks.to_bytes();
    let mut out = Vec::with_capacity(length);
    // One byte past what was counted tells a longer body.
    let ceiling = bytes.saturating_add(1);
    let read = match encoding {
        Encoding::Identity => return Ok(body),
        Encoding::Gzip => flate2::bufread::MultiGzDecoder::new(body.as_ref())
            .take(ceiling)
            .read_to_end(&mut out),
        Encoding::Zstd => {
            zstd::stream::read::Decoder::with_buffer(body.as_ref()).and_then(|mut decoder| {
                decoder.window_log_max(23)?;
                decoder.take(ceiling).read_to_end(&mut out)
            })
        }
        Encoding::Snappy => {
            if snap::raw::decompress_len(&body).ok() != Some(length) {
                return Err(CHANGED);
            }
            out.resize(length, 0);
            snap::raw::Decoder::new()
                .decompress(&body, &mut out)
                .map_err(Into::into)
        }
    };
    match read {
        Ok(_) if out.len() == length => Ok(out.into()),
        _ => Err(CHANGED),
    }
}

// === impl Shipment ===

impl Shipment<'_> {
    fn inflate(&mut self, bytes: u64) -> Result<(), Rejection> {
        if self.encoding != Encoding::Identity {
            self.chunks = one(inflate(self.encoding, &self.chunks, bytes)?);
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
