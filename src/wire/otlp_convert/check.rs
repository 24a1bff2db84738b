//! OTLP in JSON held against the schema, by streaming and without a word written: what passes has a protobuf form.

use std::{fmt, io};

use serde::de::{
    DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor,
};

use super::{
    BASE64, Fault, Name, Number, message_of, put_hex,
    schema::{Field, Kind, Message},
};
use crate::model::Signal;
use base64::Engine;

/// Checks an `Export*ServiceRequest` in JSON as it is read, as `json_to_protobuf` would: names in either spelling, unknown
/// ones skipped, `null` is unset. Holds one string at a time.
///
/// # Errors
/// [`Fault`] for text that is not JSON, for known fields with a value of another kind, and when `json` fails.
pub fn check_json(signal: Signal, json: impl io::Read) -> Result<(), Fault> {
    let mut reader = serde_json::Deserializer::from_reader(json);
    let mut scratch = Vec::new();
    let whole = Value {
        kind: Kind::One(message_of(signal)),
        scratch: &mut scratch,
    };
    whole.deserialize(&mut reader).map_err(Fault)?;
    reader.end().map_err(Fault)
}

/// Checks the value of one field, or of one element of an array. Says whether it is set: `null` is not.
struct Value<'s> {
    kind: Kind,
    /// Where numbers and ids are made, to see whether they can be.
    scratch: &'s mut Vec<u8>,
}

// === impl Value ===

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_any(self)
    }
}

impl Value<'_> {
    fn scalar<E: Error>(self, put: impl FnOnce(Number<'_>) -> Result<(), E>) -> Result<bool, E> {
        let Kind::Scalar(scalar) = self.kind else {
            return Err(E::custom("a number or boolean where there should be none"));
        };
        let out = self.scratch;
        out.clear();
        put(Number { scalar, out })?;
        Ok(true)
    }

    fn fields<'de, A: MapAccess<'de>>(
        self,
        message: &'static Message,
        mut map: A,
    ) -> Result<bool, A::Error> {
        while let Some(field) = map.next_key_seed(Name(message))? {
            match field {
                Some(Field(_, _, kind)) => {
                    map.next_value_seed(Value {
                        kind: *kind,
                        scratch: &mut *self.scratch,
                    })?;
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(true)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.expecting(f)
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<bool, E> {
        self.scalar(|number| number.visit_bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<bool, E> {
        self.scalar(|number| number.visit_u64(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<bool, E> {
        self.scalar(|number| number.visit_i64(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<bool, E> {
        self.scalar(|number| number.visit_f64(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<bool, E> {
        self.scratch.clear();
        match self.kind {
            Kind::Text => {}
            Kind::Hex => put_hex(self.scratch, text)?,
            Kind::Base64 => BASE64
                .decode_vec(text, self.scratch)
                .map_err(|_| E::custom("bad base64"))?,
            Kind::Scalar(_) => return self.scalar(|number| number.visit_str(text)),
            _ => return Err(E::invalid_type(Unexpected::Str(text), &self)),
        }
        Ok(true)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<bool, A::Error> {
        let Kind::One(message) = self.kind else {
            return Err(A::Error::invalid_type(Unexpected::Map, &self));
        };
        self.fields(message, map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
        let kind = match self.kind {
            Kind::Many(message) => Kind::One(message),
            Kind::Texts => Kind::Text,
            Kind::Packed(scalar) => Kind::Scalar(scalar),
            _ => return Err(A::Error::invalid_type(Unexpected::Seq, &self)),
        };
        loop {
            let element = Value {
                kind,
                scratch: &mut *self.scratch,
            };
            match seq.next_element_seed(element)? {
                Some(true) => {}
                Some(false) => return Err(A::Error::custom("null in an array")),
                None => return Ok(true),
            }
        }
    }
}
