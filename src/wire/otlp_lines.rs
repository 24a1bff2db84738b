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

/// Writes an inflated and checked JSON request as one line, piece by piece: raw line ends and tabs can stand only between
/// its tokens.
#[derive(Debug, Default)]
pub struct JsonLine {
    has_begun: bool,
    /// White space at the end of what came: written when something follows.
    blanks: usize,
}

// === impl JsonLine ===

impl JsonLine {
    /// Takes the next piece.
    ///
    /// # Errors
    /// `out` failed.
    pub fn push(&mut self, piece: &[u8], out: &mut impl io::Write) -> io::Result<()> {
        let whole = piece.trim_ascii_end();
        if !whole.is_empty() {
            let mut rest = if self.has_begun {
                self.write_blanks(out)?;
                whole
            } else {
                whole.trim_ascii_start()
            };
            self.has_begun = true;
            while let Some(end) = memchr::memchr3(b'\n', b'\r', b'\t', rest) {
                out.write_all(&rest[..end])?;
                out.write_all(b" ")?;
                rest = &rest[end + 1..];
            }
            out.write_all(rest)?;
            self.blanks = 0;
        }
        if self.has_begun {
            self.blanks += piece.len() - whole.len();
        }
        Ok(())
    }

    fn write_blanks(&mut self, out: &mut impl io::Write) -> io::Result<()> {
        const BLANKS: [u8; 256] = [b' '; 256];
        while self.blanks > 0 {
            let count = self.blanks.min(BLANKS.len());
            out.write_all(&BLANKS[..count])?;
            self.blanks -= count;
        }
        Ok(())
    }

    /// Ends the line.
    ///
    /// # Errors
    /// `out` failed.
    pub fn finish(self, out: &mut impl io::Write) -> io::Result<()> {
        out.write_all(b"\n")
    }
}

#[cfg(test)]
mod tests;
