//! OTLP from JSON into protobuf by streaming: no message is built, so a body of empty objects costs what it weighs.
//!
//! As OTLP's JSON mapping has it: names in either spelling, unknown ones skipped, `null` is unset, 64-bit integers as
//! numbers or strings, ids in hexadecimal, other bytes in base64, enumerations as numbers.

use std::fmt;

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use self::schema::{Field, Kind, Message, Scalar};
use super::protobuf::put_varint;
use crate::model::Signal;

mod check;
mod schema;

pub use check::check_json;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Protobuf bytes for each byte of JSON: `0,` is two bytes there and eight here, but no honest body is all zeros.
const GROWTH_MAX: usize = 3;
const ROOM_BYTES: usize = 1024;

/// The JSON is none, or not OTLP; says where.
#[derive(Debug, thiserror::Error)]
#[error("not OTLP in JSON: {0}")]
pub struct Fault(serde_json::Error);

/// An `Export*ServiceRequest` in protobuf from its JSON form. Takes at most 128 levels of nesting.
///
/// # Errors
/// [`Fault`] for text that is not JSON, and for known fields with a value of another kind.
pub fn json_to_protobuf(signal: Signal, json: &[u8]) -> Result<Vec<u8>, Fault> {
    let message = message_of(signal);
    // Protobuf is the shorter of the two but for arrays of short numbers, which are held to this capacity.
    let room = protobuf_bytes_max(json.len() as u64);
    let mut out = Vec::with_capacity(usize::try_from(room).unwrap_or(usize::MAX));
    let mut reader = serde_json::Deserializer::from_slice(json);
    let whole = Fields {
        message,
        out: &mut out,
    };
    whole.deserialize(&mut reader).map_err(Fault)?;
    reader.end().map_err(Fault)?;
    out.shrink_to_fit();
    Ok(out)
}

fn message_of(signal: Signal) -> &'static Message {
    match signal {
        Signal::Logs => &schema::LOGS,
        Signal::Metrics => &schema::METRICS,
        Signal::Traces => &schema::TRACES,
    }
}

/// What [`json_to_protobuf`] holds beside so many bytes of JSON while it works.
pub const fn protobuf_bytes_max(json_bytes: u64) -> u64 {
    json_bytes
        .saturating_mul(GROWTH_MAX as u64)
        .saturating_add(ROOM_BYTES as u64)
}

/// Writes the fields of one JSON object.
struct Fields<'o> {
    message: &'static Message,
    out: &'o mut Vec<u8>,
}

/// Writes the value of one field with its tag.
struct Value<'o> {
    number: u32,
    kind: Kind,
    out: &'o mut Vec<u8>,
}

/// Writes one number without a tag.
struct Number<'o> {
    scalar: Scalar,
    out: &'o mut Vec<u8>,
}

/// Finds a field by its name in either spelling.
struct Name(&'static Message);

const VARINT: u32 = 0;
const EIGHT_BYTES: u32 = 1;
const DELIMITED: u32 = 2;
const FOUR_BYTES: u32 = 5;

fn put_tag(out: &mut Vec<u8>, number: u32, wire: u32) {
    put_varint(out, u64::from(number << 3 | wire));
}

fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_tag(out, number, DELIMITED);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Puts the length before what `write` wrote: short ones into a byte kept free, longer ones by moving the rest.
fn delimited<T, E>(
    out: &mut Vec<u8>,
    number: u32,
    write: impl FnOnce(&mut Vec<u8>) -> Result<T, E>,
) -> Result<T, E> {
    put_tag(out, number, DELIMITED);
    let start = out.len();
    out.push(0);
    let done = write(out)?;
    let length = out.len() - start - 1;
    if length < 0x80 {
        out[start] = length as u8;
    } else {
        let mut prefix = Vec::with_capacity(10);
        put_varint(&mut prefix, length as u64);
        out.splice(start..=start, prefix);
    }
    Ok(done)
}

/// `time_unix_nano` is found by that name and by `timeUnixNano`.
fn is_named(field: &str, given: &str) -> bool {
    if field == given {
        return true;
    }
    let mut field = field.bytes();
    let mut given = given.bytes();
    loop {
        let expected = match field.next() {
            Some(b'_') => field.next().map(|byte| byte.to_ascii_uppercase()),
            other => other,
        };
        match (expected, given.next()) {
            (None, None) => return true,
            (expected, given) if expected == given => {}
            _ => return false,
        }
    }
}

// === impl Fields ===

impl<'de> DeserializeSeed<'de> for Fields<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(field) = map.next_key_seed(Name(self.message))? {
            match field {
                Some(Field(_, number, kind)) => map.next_value_seed(Value {
                    number: *number,
                    kind: *kind,
                    out: self.out,
                })?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

// === impl Name ===

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<&'static Field>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<&'static Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok((self.0.0.iter()).find(|Field(field, ..)| is_named(field, name)))
    }
}

// === impl Value ===

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl Value<'_> {
    fn scalar<E: Error>(self, put: impl FnOnce(Number<'_>) -> Result<(), E>) -> Result<(), E> {
        let Kind::Scalar(scalar) = self.kind else {
            return Err(E::custom("a number or boolean where there should be none"));
        };
        put_tag(self.out, self.number, scalar.wire());
        put(Number {
            scalar,
            out: self.out,
        })
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.expecting(f)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.scalar(|number| number.visit_bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.scalar(|number| number.visit_u64(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.scalar(|number| number.visit_i64(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.scalar(|number| number.visit_f64(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        match self.kind {
            Kind::Text => put_bytes(self.out, self.number, text.as_bytes()),
            Kind::Hex => return delimited(self.out, self.number, |out| put_hex(out, text)),
            Kind::Base64 => {
                let bytes = BASE64.decode(text).map_err(|_| E::custom("bad base64"))?;
                put_bytes(self.out, self.number, &bytes);
            }
            Kind::Scalar(_) => return self.scalar(|number| number.visit_str(text)),
            _ => return Err(E::invalid_type(serde::de::Unexpected::Str(text), &self)),
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let Kind::One(message) = self.kind else {
            return Err(A::Error::invalid_type(serde::de::Unexpected::Map, &self));
        };
        delimited(self.out, self.number, |out| {
            Fields { message, out }.visit_map(map)
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let each = match self.kind {
            Kind::Many(message) => Kind::One(message),
            Kind::Texts => Kind::Text,
            Kind::Packed(scalar) => {
                return delimited(self.out, self.number, |out| {
                    while out.len() + 10 < out.capacity() {
                        if seq.next_element_seed(Number { scalar, out })?.is_none() {
                            return Ok(());
                        }
                    }
                    Err(A::Error::custom("far longer in protobuf than in JSON"))
                });
            }
            _ => return Err(A::Error::invalid_type(serde::de::Unexpected::Seq, &self)),
        };
        let Self { number, out, .. } = self;
        loop {
            let before = out.len();
            let element = Value {
                number,
                kind: each,
                out,
            };
            if seq.next_element_seed(element)?.is_none() {
                return Ok(());
            }
            if out.len() == before {
                return Err(A::Error::custom("null in an array"));
            }
        }
    }
}

fn put_hex<E: Error>(out: &mut Vec<u8>, text: &str) -> Result<(), E> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = text.as_bytes().chunks(2);
    for pair in pairs {
        let byte = match pair {
            [high, low] => digit(*high).zip(digit(*low)),
            _ => None,
        };
        let (high, low) = byte.ok_or_else(|| E::custom("bad hexadecimal"))?;
        out.push((high << 4 | low) as u8);
    }
    Ok(())
}

// === impl Kind ===

impl Kind {
    fn expecting(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One(_) => "an object",
            Self::Many(_) | Self::Texts | Self::Packed(_) => "an array",
            Self::Text => "a string",
            Self::Hex => "a string in hexadecimal",
            Self::Base64 => "a string in base64",
            Self::Scalar(_) => "a number or a boolean",
        })
    }
}

// === impl Scalar ===

impl Scalar {
    const fn wire(self) -> u32 {
        match self {
            Self::Bool | Self::Int64 | Self::Sint32 | Self::Uint32 | Self::Uint64 => VARINT,
            Self::Double | Self::Fixed64 | Self::Sfixed64 => EIGHT_BYTES,
            Self::Fixed32 => FOUR_BYTES,
        }
    }
}

// === impl Number ===

impl<'de> DeserializeSeed<'de> for Number<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl Visitor<'_> for Number<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.scalar {
            Scalar::Bool => "a boolean",
            Scalar::Double => "a number",
            _ => "an integer in its range",
        })
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        match self.scalar {
            Scalar::Bool => self.out.push(u8::from(value)),
            _ => return Err(E::invalid_type(serde::de::Unexpected::Bool(value), &self)),
        }
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        let out_of_range = || E::custom(format_args!("{value} is out of range"));
        let signed = || i64::try_from(value).map_err(|_| out_of_range());
        let short = || u32::try_from(value).map_err(|_| out_of_range());
        match self.scalar {
            Scalar::Bool => {
                return Err(E::invalid_type(
                    serde::de::Unexpected::Unsigned(value),
                    &self,
                ));
            }
            Scalar::Double => self.out.extend((value as f64).to_le_bytes()),
            Scalar::Fixed32 => self.out.extend(short()?.to_le_bytes()),
            Scalar::Fixed64 => self.out.extend(value.to_le_bytes()),
            Scalar::Uint32 => put_varint(self.out, u64::from(short()?)),
            Scalar::Uint64 => put_varint(self.out, value),
            Scalar::Sfixed64 | Scalar::Int64 | Scalar::Sint32 => {
                return self.visit_i64(signed()?);
            }
        }
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        let out_of_range = || E::custom(format_args!("{value} is out of range"));
        match self.scalar {
            Scalar::Sfixed64 => self.out.extend(value.to_le_bytes()),
            Scalar::Int64 => put_varint(self.out, value.cast_unsigned()),
            Scalar::Sint32 => {
                let value = i32::try_from(value).map_err(|_| out_of_range())?;
                put_varint(
                    self.out,
                    u64::from(((value << 1) ^ (value >> 31)).cast_unsigned()),
                );
            }
            Scalar::Double => self.out.extend((value as f64).to_le_bytes()),
            _ => {
                let value = u64::try_from(value).map_err(|_| out_of_range())?;
                return self.visit_u64(value);
            }
        }
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        const EXACT: f64 = (1u64 << 53) as f64;
        match self.scalar {
            Scalar::Double => self.out.extend(value.to_le_bytes()),
            // `1.0` and `1e3` are integers in JSON, as far as a double holds them exactly.
            _ if value.fract() == 0.0 && value.abs() <= EXACT => {
                return self.visit_i64(value as i64);
            }
            _ => return Err(E::invalid_type(serde::de::Unexpected::Float(value), &self)),
        }
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let bad = |this: &Self| E::invalid_type(serde::de::Unexpected::Str(text), this);
        match self.scalar {
            Scalar::Bool => Err(bad(&self)),
            Scalar::Double => {
                let value = match text {
                    "NaN" => f64::NAN,
                    "Infinity" => f64::INFINITY,
                    "-Infinity" => f64::NEG_INFINITY,
                    _ => text.parse().map_err(|_| bad(&self))?,
                };
                self.visit_f64(value)
            }
            _ => match (text.parse::<u64>(), text.parse::<i64>()) {
                (Ok(value), _) => self.visit_u64(value),
                (_, Ok(value)) => self.visit_i64(value),
                _ => Err(bad(&self)),
            },
        }
    }
}

#[cfg(test)]
mod tests;
