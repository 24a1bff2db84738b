//! Reading protobuf: one field after the other, with nothing believed about lengths.

use super::Unwritable;

/// A field as it stands on the wire.
#[derive(Clone, Copy)]
pub(in crate::wire) struct Found<'a> {
    pub(in crate::wire) number: u32,
    /// Where its tag starts.
    pub(super) start: usize,
    pub(in crate::wire) raw: Raw<'a>,
}

/// A field's value by its wire type.
#[derive(Clone, Copy)]
pub(in crate::wire) enum Raw<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// The fields of one message. Ends after its first error.
pub(in crate::wire) struct Fields<'a> {
    whole: usize,
    rest: &'a [u8],
}

const CUT_OFF: Unwritable = Unwritable::Malformed("cut-off protobuf");
const WRONG_TYPE: Unwritable = Unwritable::Malformed("a field with another field's wire type");

// === impl Raw ===

impl<'a> Raw<'a> {
    pub(in crate::wire) fn bytes(self) -> Result<&'a [u8], Unwritable> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(WRONG_TYPE),
        }
    }

    pub(super) fn varint(self) -> Result<u64, Unwritable> {
        match self {
            Self::Varint(value) => Ok(value),
            _ => Err(WRONG_TYPE),
        }
    }

    pub(super) fn fixed64(self) -> Result<u64, Unwritable> {
        match self {
            Self::Fixed64(value) => Ok(value),
            _ => Err(WRONG_TYPE),
        }
    }

    pub(super) fn fixed32(self) -> Result<u32, Unwritable> {
        match self {
            Self::Fixed32(value) => Ok(value),
            _ => Err(WRONG_TYPE),
        }
    }
}

// === impl Fields ===

impl<'a> Fields<'a> {
    pub(in crate::wire) fn new(bytes: &'a [u8]) -> Self {
        Self::starting_at(bytes, 0)
    }

    /// `start` must be where a field starts.
    pub(in crate::wire) fn starting_at(bytes: &'a [u8], start: usize) -> Self {
        Self {
            whole: bytes.len(),
            rest: bytes.get(start..).unwrap_or_default(),
        }
    }

    fn read(&mut self) -> Result<Found<'a>, Unwritable> {
        let start = self.whole - self.rest.len();
        let tag = u32::try_from(take_varint(&mut self.rest)?)
            .map_err(|_| Unwritable::Malformed("a field number out of range"))?;
        let number = tag >> 3;
        if number == 0 {
            return Err(Unwritable::Malformed("field number 0"));
        }
        let raw = match tag & 7 {
            0 => Raw::Varint(take_varint(&mut self.rest)?),
            1 => take_like(Raw::Fixed64(0), &mut self.rest)?,
            2 => {
                let length = usize::try_from(take_varint(&mut self.rest)?).map_err(|_| CUT_OFF)?;
                let (bytes, rest) = self.rest.split_at_checked(length).ok_or(CUT_OFF)?;
                self.rest = rest;
                Raw::Bytes(bytes)
            }
            5 => take_like(Raw::Fixed32(0), &mut self.rest)?,
            _ => return Err(Unwritable::Malformed("groups are not taken")),
        };
        Ok(Found { number, start, raw })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Found<'a>, Unwritable>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let found = self.read();
        if found.is_err() {
            self.rest = &[];
        }
        Some(found)
    }
}

/// Takes one scalar of the same wire type off the front.
pub(super) fn take_like<'a>(kind: Raw<'_>, rest: &mut &'a [u8]) -> Result<Raw<'a>, Unwritable> {
    match kind {
        Raw::Varint(_) => take_varint(rest).map(Raw::Varint),
        Raw::Fixed64(_) => {
            let (bytes, after) = rest.split_first_chunk().ok_or(CUT_OFF)?;
            *rest = after;
            Ok(Raw::Fixed64(u64::from_le_bytes(*bytes)))
        }
        Raw::Fixed32(_) => {
            let (bytes, after) = rest.split_first_chunk().ok_or(CUT_OFF)?;
            *rest = after;
            Ok(Raw::Fixed32(u32::from_le_bytes(*bytes)))
        }
        Raw::Bytes(_) => Err(WRONG_TYPE),
    }
}

fn take_varint(rest: &mut &[u8]) -> Result<u64, Unwritable> {
    let mut value = 0u64;
    for (place, byte) in rest.iter().take(10).enumerate() {
        if place == 9 && *byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            *rest = &rest[place + 1..];
            return Ok(value);
        }
    }
    Err(if rest.len() < 10 {
        CUT_OFF
    } else {
        Unwritable::Malformed("a varint past 64 bits")
    })
}
