//! A tag scanner for protobuf: checks and counts messages against static tables, never building one.
//!
//! Resumable at any byte, allocates nothing, and its work per byte is bounded: long strings are skipped or checked in bulk.

use super::{
    Fault,
    budget::Budget,
    malformed,
    utf8::{Utf8, is_utf8},
};

/// Messages within messages; prost stops at 100, OTLP's own depth is 7 plus the nesting of values.
const DEPTH_MAX: usize = 64;
/// What every protobuf implementation takes at most for one field.
const FIELD_BYTES_MAX: u64 = i32::MAX as u64;
/// Field numbers are looked up in an array; the highest that any table names is 17.
const FIELDS: usize = 18;

/// Appends a number in protobuf's variable length: seven bits a byte, the lowest first.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A message type: what each of its fields is, by number.
#[derive(Debug)]
pub(super) struct Message {
    fields: [Kind; FIELDS],
}

/// What a field may be. Fields not named are skipped whatever they are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Not in the table.
    Unknown,
    /// Once meant something else: its presence says that the body is another message.
    Refused,
    /// Integers, booleans, enums.
    Varint,
    /// `fixed64`, `sfixed64`, `double`.
    Fixed64,
    /// `fixed32`, `float`.
    Fixed32,
    /// Any bytes.
    Bytes,
    /// UTF-8.
    Text,
    /// A sub-message.
    Message(&'static Message),
    /// A sub-message that is an item, counted in that column.
    Item(&'static Message, usize),
    /// Repeated integers, packed or not.
    Varints,
    /// Repeated eight-byte values, packed or not.
    Fixed64s,
    /// An entry of the symbol table (remote write 2.0).
    Symbol,
    /// One reference or more into the symbol table, packed or not.
    References,
}

impl Message {
    /// The type with these fields.
    pub(super) const fn new(fields: &[(usize, Kind)]) -> Self {
        let mut table = [Kind::Unknown; FIELDS];
        let mut at = 0;
        while at < fields.len() {
            table[fields[at].0] = fields[at].1;
            at += 1;
        }
        Self { fields: table }
    }
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    message: &'static Message,
    /// Where in the body it ends.
    end: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Tag,
    Integer { is_reference: bool },
    Length(Kind),
    Skip { end: u64 },
    Text { end: u64 },
    Integers { end: u64, are_references: bool },
}

/// A scan of one message of a table's type.
#[derive(Debug)]
pub(super) struct Scan {
    frames: [Frame; DEPTH_MAX],
    depth: usize,
    state: State,
    /// Bytes of the body before the piece at hand.
    seen: u64,
    /// The bits of a varint that is cut, and how many there are.
    cut: u64,
    cut_bits: u32,
    utf8: Utf8,
    budget: Budget,
    counts: [u64; 3],
    symbols: u64,
    /// One past the highest reference met.
    symbols_needed: u64,
}

impl Scan {
    /// A scan of a `root` message.
    pub(super) fn new(root: &'static Message) -> Self {
        let frame = Frame {
            message: root,
            end: u64::MAX,
        };
        Self {
            frames: [frame; DEPTH_MAX],
            depth: 0,
            state: State::Tag,
            seen: 0,
            cut: 0,
            cut_bits: 0,
            utf8: Utf8::default(),
            budget: Budget::default(),
            counts: [0; 3],
            symbols: 0,
            symbols_needed: 0,
        }
    }

    /// Takes the next piece.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let mut reader = Reader {
            base: self.seen,
            bytes,
            at: 0,
        };
        while reader.at < bytes.len() {
            match self.state {
                State::Tag => self.field(&mut reader)?,
                State::Length(kind) => self.length(&mut reader, kind)?,
                State::Integer { is_reference } => self.integer(&mut reader, is_reference)?,
                State::Skip { end } => {
                    if reader.take(end).1 {
                        self.state = State::Tag;
                    }
                }
                State::Text { end } => {
                    let (piece, is_last) = reader.take(end);
                    if !self.utf8.push(piece) || (is_last && !self.utf8.is_whole()) {
                        return malformed("a string is not UTF-8");
                    }
                    if is_last {
                        self.state = State::Tag;
                    }
                }
                State::Integers {
                    end,
                    are_references,
                } => self.integers(&mut reader, end, are_references)?,
            }
        }
        self.seen += bytes.len() as u64;
        Ok(())
    }

    /// The body has ended: the counts by column.
    pub(super) fn finish(mut self) -> Result<[u64; 3], Fault> {
        self.leave_ended(self.seen);
        if self.depth > 0 || self.cut_bits > 0 || !matches!(self.state, State::Tag) {
            return malformed("the message is cut off");
        }
        if self.symbols_needed > self.symbols {
            return malformed("a reference points past the symbol table");
        }
        Ok(self.counts)
    }

    fn leave_ended(&mut self, position: u64) {
        while self.frames[self.depth].end == position {
            self.depth -= 1;
        }
    }

    /// A tag, and as much of its field as takes no waiting.
    #[inline]
    fn field(&mut self, reader: &mut Reader<'_>) -> Result<(), Fault> {
        self.leave_ended(reader.position());
        let Some(tag) = self.varint(reader)? else {
            return Ok(());
        };
        let number = tag >> 3;
        if number == 0 || tag > u64::from(u32::MAX) {
            return malformed("a field number is out of range");
        }
        let fields = &self.frames[self.depth].message.fields;
        let kind = match fields.get(number as usize) {
            Some(kind) => *kind,
            None => Kind::Unknown,
        };
        match (tag & 7, kind) {
            (_, Kind::Refused) => malformed("the body is another message"),
            (
                2,
                Kind::Unknown
                | Kind::Bytes
                | Kind::Text
                | Kind::Message(_)
                | Kind::Item(..)
                | Kind::Varints
                | Kind::Fixed64s
                | Kind::Symbol
                | Kind::References,
            ) => {
                self.state = State::Length(kind);
                if reader.at < reader.bytes.len() {
                    return self.length(reader, kind);
                }
                self.within(reader.position())
            }
            (0, Kind::References) => self.integer(reader, true),
            (0, Kind::Unknown | Kind::Varint | Kind::Varints) => self.integer(reader, false),
            (1, Kind::Unknown | Kind::Fixed64 | Kind::Fixed64s) => self.skip(reader, 8),
            (5, Kind::Unknown | Kind::Fixed32) => self.skip(reader, 4),
            (3 | 4, _) => malformed("groups are not taken"),
            (6 | 7, _) => malformed("a wire type is unknown"),
            _ => malformed("a field has another type than it should"),
        }
    }

    /// The length of a field, and its content where that is at hand.
    #[inline]
    fn length(&mut self, reader: &mut Reader<'_>, kind: Kind) -> Result<(), Fault> {
        let Some(length) = self.varint(reader)? else {
            return Ok(());
        };
        if length > FIELD_BYTES_MAX {
            return malformed("a length is out of range");
        }
        let end = reader.position() + length;
        self.within(end)?;
        match kind {
            Kind::Message(message) => self.enter(message, end, reader.position()),
            Kind::Item(message, column) => {
                self.counts[column] += 1;
                self.enter(message, end, reader.position())
            }
            Kind::Text => self.text(reader, length),
            Kind::Symbol => {
                if self.symbols == 0 && length > 0 {
                    return malformed("the first symbol is not empty");
                }
                self.symbols += 1;
                self.text(reader, length)
            }
            Kind::Fixed64s if length % 8 != 0 => malformed("a packed field is cut"),
            Kind::Varints | Kind::References => {
                self.state = State::Integers {
                    end,
                    are_references: matches!(kind, Kind::References),
                };
                if length == 0 {
                    self.state = State::Tag;
                }
                Ok(())
            }
            _ => self.skip(reader, length),
        }
    }

    fn enter(&mut self, message: &'static Message, end: u64, position: u64) -> Result<(), Fault> {
        self.budget.spend(position)?;
        self.state = State::Tag;
        if end == position {
            return Ok(());
        }
        if self.depth + 1 == DEPTH_MAX {
            return malformed("messages are nested too deeply");
        }
        self.depth += 1;
        self.frames[self.depth] = Frame { message, end };
        Ok(())
    }

    #[inline]
    fn skip(&mut self, reader: &mut Reader<'_>, length: u64) -> Result<(), Fault> {
        let end = reader.position() + length;
        self.within(end)?;
        self.state = if reader.take(end).1 {
            State::Tag
        } else {
            State::Skip { end }
        };
        Ok(())
    }

    #[inline]
    fn text(&mut self, reader: &mut Reader<'_>, length: u64) -> Result<(), Fault> {
        let end = reader.position() + length;
        let (piece, is_whole) = reader.take(end);
        let is_good = if is_whole {
            self.state = State::Tag;
            is_utf8(piece)
        } else {
            self.state = State::Text { end };
            self.utf8 = Utf8::default();
            self.utf8.push(piece)
        };
        if is_good {
            Ok(())
        } else {
            malformed("a string is not UTF-8")
        }
    }

    #[inline]
    fn integer(&mut self, reader: &mut Reader<'_>, is_reference: bool) -> Result<(), Fault> {
        self.state = State::Integer { is_reference };
        if let Some(value) = self.varint(reader)? {
            self.state = State::Tag;
            if is_reference {
                self.refer(value);
            }
        }
        self.within(reader.position())
    }

    fn integers(
        &mut self,
        reader: &mut Reader<'_>,
        end: u64,
        are_references: bool,
    ) -> Result<(), Fault> {
        while reader.position() < end {
            let Some(value) = self.varint(reader)? else {
                break;
            };
            if are_references {
                self.refer(value);
            }
        }
        match reader.position() {
            position if position > end || (position == end && self.cut_bits > 0) => {
                malformed("a packed field is cut")
            }
            position => {
                if position == end {
                    self.state = State::Tag;
                }
                Ok(())
            }
        }
    }

    fn refer(&mut self, symbol: u64) {
        self.symbols_needed = self.symbols_needed.max(symbol.saturating_add(1));
    }

    /// Whether the message at hand reaches that far.
    #[inline]
    fn within(&self, end: u64) -> Result<(), Fault> {
        if end > self.frames[self.depth].end {
            return malformed("a field reaches past the end of its message");
        }
        Ok(())
    }

    /// The varint at hand, or `None` after its first bytes where the piece ends in it.
    #[inline]
    fn varint(&mut self, reader: &mut Reader<'_>) -> Result<Option<u64>, Fault> {
        if self.cut_bits == 0
            && let Some(byte) = reader.bytes.get(reader.at)
            && *byte < 0x80
        {
            reader.at += 1;
            return Ok(Some(u64::from(*byte)));
        }
        self.long_varint(reader)
    }

    fn long_varint(&mut self, reader: &mut Reader<'_>) -> Result<Option<u64>, Fault> {
        while let Some(byte) = reader.bytes.get(reader.at) {
            reader.at += 1;
            // The tenth byte holds the 64th bit and nothing else.
            if self.cut_bits == 63 && *byte > 1 {
                return malformed("an integer is longer than 64 bits");
            }
            self.cut |= u64::from(byte & 0x7F) << self.cut_bits;
            self.cut_bits += 7;
            if *byte < 0x80 {
                let value = self.cut;
                (self.cut, self.cut_bits) = (0, 0);
                return Ok(Some(value));
            }
        }
        // What is cut must still end inside its message; the next byte at the earliest.
        if reader.position() >= self.frames[self.depth].end {
            return malformed("a field reaches past the end of its message");
        }
        Ok(None)
    }
}

struct Reader<'a> {
    base: u64,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Where in the body the next byte stands.
    #[inline]
    fn position(&self) -> u64 {
        self.base + self.at as u64
    }

    /// What is at hand of the bytes up to `end`, and whether that is all of them.
    #[inline]
    fn take(&mut self, end: u64) -> (&'a [u8], bool) {
        let wanted = end - self.position();
        let rest = &self.bytes[self.at..];
        match usize::try_from(wanted) {
            Ok(wanted) if wanted <= rest.len() => {
                self.at += wanted;
                (&rest[..wanted], true)
            }
            _ => {
                self.at = self.bytes.len();
                (rest, false)
            }
        }
    }
}
