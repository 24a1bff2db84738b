//! OTLP requests as lines of the OTLP-JSON file format: one request a line.
//!
//! Names in lowerCamelCase, trace and span ids in hex, 64-bit integers as text, enums as numbers, bytes in base64,
//! `"NaN"`, `"Infinity"` and `"-Infinity"` as text. What is not on the wire is not written, but for names that readers
//! need (`key`, `values` and the top array). Unknown fields are dropped.

mod tables;

use std::io;

use super::proto_json::{Symbols, Unwritable, Walker};
use crate::model::Signal;

/// Writes an inflated protobuf request as one line.
///
/// # Errors
/// The body is not protobuf, holds text that is not UTF-8, or nests deeper than 64 messages; or `out` failed.
/// What was written until then is no line.
pub fn write_protobuf(
    signal: Signal,
    body: &[u8],
    out: &mut impl io::Write,
) -> Result<(), Unwritable> {
    let table = match signal {
        Signal::Logs => &tables::LOGS,
        Signal::Metrics => &tables::METRICS,
        Signal::Traces => &tables::TRACES,
    };
    let mut walker = Walker::new(out, Symbols::default());
    walker.message(table, body)?;
    walker.raw(b"\n")
}

/// Writes an inflated and checked JSON request as one line: raw line ends can stand only between its tokens.
///
/// # Errors
/// `out` failed.
pub fn write_json(body: &[u8], out: &mut impl io::Write) -> io::Result<()> {
    let mut rest = body.trim_ascii();
    while let Some(end) = memchr::memchr2(b'\n', b'\r', rest) {
        out.write_all(&rest[..end])?;
        out.write_all(b" ")?;
        rest = &rest[end + 1..];
    }
    out.write_all(rest)?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests;
