//! Floor 1: bytes and formats, no policy.

pub mod grpc;
pub mod status;
pub mod otlp_convert;
