//! Floor 1: the formats on the wire. Bytes in, counts or a fault out; no policy, no I/O.
//!
//! Every scanner takes its body in pieces of any size, keeps nothing of what it has seen, and allocates nothing.

mod budget;
mod utf8;

pub mod encoding;

pub mod bulk;
mod json;
mod otlp_json;

mod otlp;
mod protobuf;
mod remote_write;

mod proto_json;
pub mod otlp_lines;
pub mod write_lines;
pub mod line_type;
pub mod otlp_convert;

pub mod grpc;
pub mod status;

#[cfg(test)]
mod cuts;

pub use proto_json::Unwritable;

use std::borrow::Cow;

use crate::model::{Content, Counts, Limits, Signal};

/// What is wrong with a body. Final: the same bytes will never do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not what it claims to be; says why.
    #[error("{0}")]
    Malformed(Cow<'static, str>),
    /// Inflates past its ceiling.
    #[error("larger than {bytes_max} bytes")]
    TooLarge {
        /// The ceiling that was passed.
        bytes_max: u64,
    },
}

const fn malformed<T>(why: &'static str) -> Result<T, Fault> {
    Err(Fault::Malformed(Cow::Borrowed(why)))
}

/// Checks and counts one inflated body.
#[derive(Debug)]
pub enum Scanner {
    /// JSON objects, one a line.
    Lines(bulk::Scan),
    /// OTLP in protobuf.
    Otlp(otlp::Scan),
    /// OTLP in JSON.
    OtlpJson(otlp_json::Scan),
    /// Remote write 1.0 and 2.0.
    RemoteWrite(remote_write::Scan),
}

impl Scanner {
    /// A scanner for a body of that content. `signal` matters for OTLP only, `limits` for lines only.
    pub fn new(content: Content, signal: Signal, limits: &Limits) -> Self {
        match content {
            Content::Lines => Self::Lines(bulk::Scan::new(limits.bulk_line_bytes_max)),
            Content::OtlpProtobuf => Self::Otlp(otlp::Scan::new(signal)),
            Content::OtlpJson => Self::OtlpJson(otlp_json::Scan::new(signal)),
            Content::RemoteWrite1 => Self::RemoteWrite(remote_write::Scan::version1()),
            Content::RemoteWrite2 => Self::RemoteWrite(remote_write::Scan::version2()),
        }
    }

    /// Takes the next piece of the body.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        match self {
            Self::Lines(scan) => {
                scan.push(bytes);
                Ok(())
            }
            Self::Otlp(scan) => scan.push(bytes),
            Self::OtlpJson(scan) => scan.push(bytes),
            Self::RemoteWrite(scan) => scan.push(bytes),
        }
    }

    /// The body has ended: what was in it. A body cut in the middle is malformed.
    pub fn finish(self) -> Result<Counts, Fault> {
        match self {
            Self::Lines(scan) => Ok(Counts::Lines(scan.finish())),
            Self::Otlp(scan) => scan.finish().map(Counts::Records),
            Self::OtlpJson(scan) => scan.finish().map(Counts::Records),
            Self::RemoteWrite(scan) => scan.finish().map(Counts::Write),
        }
    }
}
