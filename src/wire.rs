//! Floor 1: bytes and formats, no policy.

pub mod line_type;
pub mod otlp_lines;
mod proto_json;
pub mod write_lines;

pub use proto_json::Unwritable;
