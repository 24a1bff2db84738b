//! How times and sizes are written in configuration, for `#[serde(deserialize_with = "...")]`.

use std::{fmt, time::Duration};

use serde::{Deserializer, de};

/// `"30s"`, `"1m 30s"`, `"500ms"`; `"0s"` is none.
///
/// # Errors
/// Anything that isn't a number with a unit.
pub fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    from.deserialize_str(Text {
        expected: "a duration such as \"30s\", \"1m 30s\" or \"500ms\"",
        // A bare 0 has no unit to be wrong about.
        read: |text| match text {
            "0" => Some(Duration::ZERO),
            text => humantime::parse_duration(text).ok(),
        },
    })
}

/// As [`duration`], and longer than nothing.
///
/// # Errors
/// Also `"0s"`.
pub fn positive_duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let read = duration(from)?;
    if read.is_zero() {
        return Err(de::Error::custom("must be longer than nothing"));
    }
    Ok(read)
}

/// As [`duration`], where `""` is none at all.
///
/// # Errors
/// As [`duration`].
pub fn optional_duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    from.deserialize_str(Text {
        expected: "a duration such as \"7d\", or \"\" for none",
        read: |text| match text {
            "" => Some(None),
            text => humantime::parse_duration(text).ok().map(Some),
        },
    })
}

/// A number of bytes: `1048576`, `"1MiB"`, `"256 KiB"`.
///
/// # Errors
/// Anything else, and negative numbers.
pub fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    from.deserialize_any(Bytes)
}

/// Text with a form of its own; what doesn't have it is refused with what was expected.
pub struct Text<T> {
    /// The form, with an example.
    pub expected: &'static str,
    /// `None` refuses.
    pub read: fn(&str) -> Option<T>,
}

impl<T> de::Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.read)(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

struct Bytes;

impl de::Visitor<'_> for Bytes {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of bytes such as 1048576 or \"1MiB\"")
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<u64, E> {
        u64::try_from(number).map_err(|_| E::invalid_value(de::Unexpected::Signed(number), &self))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<u64, E> {
        Ok(number)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
        text.parse::<bytesize::ByteSize>()
            .map(|size| size.as_u64())
            .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}
