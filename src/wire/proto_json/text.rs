//! Writing JSON values.

use std::io;

use base64::{display::Base64Display, engine::general_purpose::STANDARD};
use serde::Serialize;

use super::Unwritable;

/// The bits of Prometheus' "this series has ended", a NaN unlike the NaNs that are measured.
const STALE_NAN: u64 = 0x7FF0_0000_0000_0002;

pub(super) fn text(out: &mut impl io::Write, bytes: &[u8]) -> Result<(), Unwritable> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Unwritable::Malformed("a text that is not UTF-8"))?;
    json(out, text)
}

pub(super) fn number(out: &mut impl io::Write, value: &impl Serialize) -> Result<(), Unwritable> {
    json(out, value)
}

pub(super) fn quoted(out: &mut impl io::Write, value: &impl Serialize) -> Result<(), Unwritable> {
    out.write_all(b"\"")?;
    json(out, value)?;
    Ok(out.write_all(b"\"")?)
}

pub(super) fn double(out: &mut impl io::Write, value: f64) -> Result<(), Unwritable> {
    let word: &[u8] = if value.is_nan() {
        b"\"NaN\""
    } else if value == f64::INFINITY {
        b"\"Infinity\""
    } else if value == f64::NEG_INFINITY {
        b"\"-Infinity\""
    } else {
        return json(out, &value);
    };
    Ok(out.write_all(word)?)
}

pub(super) fn sample(out: &mut impl io::Write, bits: u64) -> Result<(), Unwritable> {
    if bits == STALE_NAN {
        return Ok(out.write_all(b"\"StaleNaN\"")?);
    }
    double(out, f64::from_bits(bits))
}

pub(super) fn hex(out: &mut impl io::Write, bytes: &[u8]) -> Result<(), Unwritable> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.write_all(b"\"")?;
    for piece in bytes.chunks(32) {
        let mut digits = [0u8; 64];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(piece) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        out.write_all(&digits[..piece.len() * 2])?;
    }
    Ok(out.write_all(b"\"")?)
}

pub(super) fn base64(out: &mut impl io::Write, bytes: &[u8]) -> Result<(), Unwritable> {
    Ok(write!(out, "\"{}\"", Base64Display::new(bytes, &STANDARD))?)
}

fn json(out: &mut impl io::Write, value: &(impl Serialize + ?Sized)) -> Result<(), Unwritable> {
    serde_json::to_writer(out, value).map_err(|error| Unwritable::Output(error.into()))
}
