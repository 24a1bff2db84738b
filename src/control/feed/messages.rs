//! The feed's messages on the wire: ours go out as bytes that were encoded once for everybody.

use bytes::{BufMut, Bytes};
use prost::Message;
use tonic::{
    Status,
    codec::{DecodeBuf, Decoder, EncodeBuf, Encoder},
};

use crate::rpc::feed::{FromControl, FromGateway, from_control};

/// Encoded messages out, decoded ones in.
pub(super) struct Codec;

/// A message as every stream sends it.
pub(in crate::control) fn encoded(message: from_control::Message) -> Bytes {
    let message = FromControl {
        message: Some(message),
    };
    message.encode_to_vec().into()
}

// === impl Codec ===

impl tonic::codec::Codec for Codec {
    type Encode = Bytes;
    type Decode = FromGateway;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Codec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for Codec {
    type Item = FromGateway;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<FromGateway>, Status> {
        FromGateway::decode(buffer)
            .map(Some)
            .map_err(|error| Status::invalid_argument(error.to_string()))
    }
}
