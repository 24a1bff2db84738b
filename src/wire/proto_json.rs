//! Protobuf to JSON by walking the bytes along a table, without building the message.
//!
//! # Cost
//! A message's headers are read once to find where each known field starts, ends and how often it occurs, and once more for
//! each repeated field (and each sub-message sent in pieces) that occurs, stepping over all others by their length.
//! A field's content is looked into by its own message only, so the cost is at most (such fields in the table + 1) x (fields
//! on the wire), whatever the order or nesting: interleaving buys an attacker a small factor (no table has more than 10 such
//! fields), not a square.
//! Memory: one array of [`FIELDS_MAX`] slots per level, and at most [`MERGED_BYTES_MAX`] for sub-messages sent in pieces.

mod fields;
mod symbols;
mod text;

use std::io;

pub(super) use fields::{Fields, Raw};
pub(super) use symbols::Symbols;

/// Levels of messages within messages; encoders in the field stay below 20.
const DEPTH_MAX: u32 = 64;
/// Fields of the largest table.
const FIELDS_MAX: usize = 18;
/// Bytes copied per request to join singular sub-messages that arrive in pieces; no known encoder sends any.
const MERGED_BYTES_MAX: usize = 1 << 20;

/// Why a body could not be written as lines.
#[derive(Debug, thiserror::Error)]
pub enum Unwritable {
    /// The body is not what it was announced as.
    #[error("{0}")]
    Malformed(&'static str),
    /// The writer failed.
    #[error(transparent)]
    Output(#[from] io::Error),
}

/// A message's known fields, in the order in which they are written.
pub(super) struct Message {
    pub(super) fields: &'static [Field],
}

/// One known field.
pub(super) struct Field {
    number: u32,
    name: &'static str,
    kind: Kind,
    is_repeated: bool,
    is_always_written: bool,
    /// Fields of the same non-zero group exclude each other: the last on the wire wins.
    oneof: u8,
}

/// What a field's bytes mean and how they are written.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// A message by its own table.
    Message(&'static Message),
    /// UTF-8 text.
    Text,
    /// Bytes as lower-case hex.
    Hex,
    /// Bytes as base64.
    Base64,
    Bool,
    /// int32 and open enums, as a number.
    Int32,
    /// uint32, as a number.
    UInt32,
    /// sint32, as a number.
    SInt32,
    /// fixed32, as a number.
    Fixed32,
    /// int64, as text.
    Int64,
    /// uint64, as text.
    UInt64,
    /// fixed64, as text.
    Fixed64,
    /// sfixed64, as text.
    SFixed64,
    /// int64, as a number.
    Millis,
    /// uint64, as a number.
    Count,
    /// sint64, as a number.
    Delta,
    /// A number, or `"NaN"`, `"Infinity"`, `"-Infinity"`.
    Double,
    /// As [`Kind::Double`], with Prometheus' stale marker kept apart as `"StaleNaN"`.
    Sample,
    /// An enum by its names, as a number beyond them.
    Named(&'static [&'static str]),
    /// A reference into the symbols.
    Symbol,
    /// Repeated (name, value) messages, as an object.
    Pairs,
    /// Repeated references into the symbols, taken in pairs, as an object.
    SymbolPairs,
}

/// A walk in progress.
pub(super) struct Walker<'a, W> {
    out: W,
    symbols: Symbols<'a>,
    merge_bytes_left: usize,
}

/// Where a field was seen.
#[derive(Clone, Copy, Default)]
struct Slot {
    first: usize,
    last: usize,
    count: usize,
}

// === impl Field ===

impl Field {
    pub(super) const fn one(number: u32, name: &'static str, kind: Kind) -> Self {
        Self {
            number,
            name,
            kind,
            is_repeated: false,
            is_always_written: false,
            oneof: 0,
        }
    }

    pub(super) const fn many(number: u32, name: &'static str, kind: Kind) -> Self {
        let mut field = Self::one(number, name, kind);
        field.is_repeated = true;
        field
    }

    /// Written with its default when it is not on the wire, for readers that expect the name.
    pub(super) const fn always(mut self) -> Self {
        self.is_always_written = true;
        self
    }

    pub(super) const fn one_of(mut self, group: u8) -> Self {
        self.oneof = group;
        self
    }
}

// === impl Walker ===

impl<'a, W: io::Write> Walker<'a, W> {
    pub(super) fn new(out: W, symbols: Symbols<'a>) -> Self {
        Self {
            out,
            symbols,
            merge_bytes_left: MERGED_BYTES_MAX,
        }
    }

    /// Writes bytes of the caller's own between messages.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> Result<(), Unwritable> {
        Ok(self.out.write_all(bytes)?)
    }

    /// Writes one message as a JSON object.
    pub(super) fn message(&mut self, table: &Message, bytes: &[u8]) -> Result<(), Unwritable> {
        self.at_depth(table, bytes, 1)
    }

    fn at_depth(&mut self, table: &Message, bytes: &[u8], depth: u32) -> Result<(), Unwritable> {
        if depth > DEPTH_MAX {
            return Err(Unwritable::Malformed("messages nested deeper than 64"));
        }
        let slots = locate(table, bytes)?;
        let mut separator = b'{';
        for (field, slot) in table.fields.iter().zip(slots) {
            if slot.count == 0 && !field.is_always_written {
                continue;
            }
            self.out.write_all(&[separator, b'"'])?;
            self.out.write_all(field.name.as_bytes())?;
            self.out.write_all(b"\":")?;
            separator = b',';
            match field.kind {
                Kind::Pairs => self.pairs(field, slot, bytes)?,
                Kind::SymbolPairs => self.symbol_pairs(field, slot, bytes)?,
                _ if field.is_repeated => self.array(field, slot, bytes, depth)?,
                _ => self.singular(field, slot, bytes, depth)?,
            }
        }
        self.raw(if separator == b'{' { b"{}" } else { b"}" })
    }

    fn array(
        &mut self,
        field: &Field,
        slot: Slot,
        bytes: &[u8],
        depth: u32,
    ) -> Result<(), Unwritable> {
        let mut separator = b'[';
        occurrences(field, slot, bytes, |raw| {
            let mut element = |walker: &mut Self, raw| {
                walker.out.write_all(&[separator])?;
                separator = b',';
                walker.value(field.kind, raw, depth)
            };
            each_scalar(field.kind, raw, |raw| element(self, raw))
        })?;
        self.raw(if separator == b'[' { b"[]" } else { b"]" })
    }

    fn singular(
        &mut self,
        field: &Field,
        slot: Slot,
        bytes: &[u8],
        depth: u32,
    ) -> Result<(), Unwritable> {
        if slot.count == 0 {
            return self.value(field.kind, field.kind.default(), depth);
        }
        if slot.count > 1 && matches!(field.kind, Kind::Message(_)) {
            return self.joined(field, slot, bytes, depth);
        }
        match Fields::starting_at(bytes, slot.last).next() {
            Some(found) => self.value(field.kind, found?.raw, depth),
            None => Err(Unwritable::Malformed("cut-off field")),
        }
    }

    /// The pieces of a singular sub-message merge as if they had come in one, as the protobuf specification asks.
    fn joined(
        &mut self,
        field: &Field,
        slot: Slot,
        bytes: &[u8],
        depth: u32,
    ) -> Result<(), Unwritable> {
        let mut whole = Vec::new();
        occurrences(field, slot, bytes, |raw| {
            let piece = raw.bytes()?;
            self.merge_bytes_left = self
                .merge_bytes_left
                .checked_sub(piece.len())
                .ok_or(Unwritable::Malformed("sub-messages sent in pieces"))?;
            whole.extend_from_slice(piece);
            Ok(())
        })?;
        self.value(field.kind, Raw::Bytes(&whole), depth)
    }

    fn pairs(&mut self, field: &Field, slot: Slot, bytes: &[u8]) -> Result<(), Unwritable> {
        let mut separator = b'{';
        occurrences(field, slot, bytes, |raw| {
            let (mut name, mut value) = (&b""[..], &b""[..]);
            for found in Fields::new(raw.bytes()?) {
                let found = found?;
                match found.number {
                    1 => name = found.raw.bytes()?,
                    2 => value = found.raw.bytes()?,
                    _ => {}
                }
            }
            self.pair(separator, name, value)?;
            separator = b',';
            Ok(())
        })?;
        self.raw(if separator == b'{' { b"{}" } else { b"}" })
    }

    fn symbol_pairs(&mut self, field: &Field, slot: Slot, bytes: &[u8]) -> Result<(), Unwritable> {
        let mut separator = b'{';
        let mut name = None;
        occurrences(field, slot, bytes, |raw| {
            each_scalar(field.kind, raw, |raw| {
                let symbol = self.symbols.get(raw.varint()?)?;
                match name.take() {
                    None => name = Some(symbol),
                    Some(name) => {
                        self.pair(separator, name, symbol)?;
                        separator = b',';
                    }
                }
                Ok(())
            })
        })?;
        if name.is_some() {
            return Err(Unwritable::Malformed("a label name without a value"));
        }
        self.raw(if separator == b'{' { b"{}" } else { b"}" })
    }

    fn pair(&mut self, separator: u8, name: &[u8], value: &[u8]) -> Result<(), Unwritable> {
        self.out.write_all(&[separator])?;
        text::text(&mut self.out, name)?;
        self.out.write_all(b":")?;
        text::text(&mut self.out, value)
    }

    fn value(&mut self, kind: Kind, raw: Raw<'_>, depth: u32) -> Result<(), Unwritable> {
        let out = &mut self.out;
        match kind {
            Kind::Message(table) => self.at_depth(table, raw.bytes()?, depth + 1),
            Kind::Text => text::text(out, raw.bytes()?),
            Kind::Hex => text::hex(out, raw.bytes()?),
            Kind::Base64 => text::base64(out, raw.bytes()?),
            Kind::Bool => self.raw(if raw.varint()? == 0 {
                b"false"
            } else {
                b"true"
            }),
            // The wire carries 32-bit kinds in 64 bits; what lies above is cut, as every decoder does.
            Kind::Int32 => text::number(out, &(raw.varint()? as i32)),
            Kind::UInt32 => text::number(out, &(raw.varint()? as u32)),
            Kind::SInt32 => text::number(out, &(zigzag(raw.varint()? & 0xFFFF_FFFF) as i32)),
            Kind::Fixed32 => text::number(out, &raw.fixed32()?),
            Kind::Int64 => text::quoted(out, &(raw.varint()? as i64)),
            Kind::UInt64 => text::quoted(out, &raw.varint()?),
            Kind::Fixed64 => text::quoted(out, &raw.fixed64()?),
            Kind::SFixed64 => text::quoted(out, &(raw.fixed64()? as i64)),
            Kind::Millis => text::number(out, &(raw.varint()? as i64)),
            Kind::Count => text::number(out, &raw.varint()?),
            Kind::Delta => text::number(out, &zigzag(raw.varint()?)),
            Kind::Double => text::double(out, f64::from_bits(raw.fixed64()?)),
            Kind::Sample => text::sample(out, raw.fixed64()?),
            Kind::Named(names) => {
                let number = raw.varint()?;
                match usize::try_from(number).ok().and_then(|at| names.get(at)) {
                    Some(name) => text::text(out, name.as_bytes()),
                    None => text::number(out, &(number as i32)),
                }
            }
            Kind::Symbol => text::text(out, self.symbols.get(raw.varint()?)?),
            Kind::Pairs | Kind::SymbolPairs => Err(Unwritable::Malformed("labels out of place")),
        }
    }
}

// === impl Kind ===

impl Kind {
    fn default(self) -> Raw<'static> {
        match self {
            Self::Message(_) | Self::Text | Self::Hex | Self::Base64 | Self::Pairs => {
                Raw::Bytes(b"")
            }
            Self::Fixed64 | Self::SFixed64 | Self::Double | Self::Sample => Raw::Fixed64(0),
            Self::Fixed32 => Raw::Fixed32(0),
            _ => Raw::Varint(0),
        }
    }
}

fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Finds every known field of a message in one pass over its headers.
fn locate(table: &Message, bytes: &[u8]) -> Result<[Slot; FIELDS_MAX], Unwritable> {
    debug_assert!(table.fields.len() <= FIELDS_MAX);
    let mut slots = [Slot::default(); FIELDS_MAX];
    for found in Fields::new(bytes) {
        let found = found?;
        let Some(at) = table.fields.iter().position(|f| f.number == found.number) else {
            continue;
        };
        let slot = &mut slots[at];
        if slot.count == 0 {
            slot.first = found.start;
            let group = table.fields[at].oneof;
            if group != 0 {
                for (other, field) in table.fields.iter().enumerate() {
                    if other != at && field.oneof == group {
                        slots[other].count = 0;
                    }
                }
            }
        }
        slots[at].last = found.start;
        slots[at].count += 1;
    }
    Ok(slots)
}

/// Visits a field's occurrences, from the first on and no further than the last.
fn occurrences<'b>(
    field: &Field,
    slot: Slot,
    bytes: &'b [u8],
    mut visit: impl FnMut(Raw<'b>) -> Result<(), Unwritable>,
) -> Result<(), Unwritable> {
    let mut left = slot.count;
    if left == 0 {
        return Ok(());
    }
    for found in Fields::starting_at(bytes, slot.first) {
        let found = found?;
        if found.number == field.number {
            visit(found.raw)?;
            left -= 1;
            if left == 0 {
                break;
            }
        }
    }
    Ok(())
}

/// Visits the values of one occurrence: several when it is packed, else itself.
fn each_scalar<'b>(
    kind: Kind,
    raw: Raw<'b>,
    mut visit: impl FnMut(Raw<'b>) -> Result<(), Unwritable>,
) -> Result<(), Unwritable> {
    let (Raw::Bytes(packed), scalar) = (raw, kind.default()) else {
        return visit(raw);
    };
    if let Raw::Bytes(_) = scalar {
        return visit(raw);
    }
    let mut rest = packed;
    while !rest.is_empty() {
        visit(fields::take_like(scalar, &mut rest)?)?;
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests;
