//! How times, sizes and optional paths are written in configuration, for `#[serde(deserialize_with = "...")]`; and which
//! characters no name has.

use std::{fmt, marker::PhantomData, path::PathBuf, time::Duration};

use serde::{Deserialize as _, Deserializer, de};

use super::Network;

/// A clock can be moved by so much without running over: 100 years.
const DURATION_MAX: Duration = Duration::from_secs(100 * 31_557_600);

/// Whether a character is none that people read, and does something to those around it: a control character, or a mark that
/// turns the direction of what follows, so that a name reads as another one.
pub fn is_hidden(character: char) -> bool {
    character.is_control() || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `"30s"`, `"1m 30s"`, `"500ms"`; `"0s"` is none. At most 100 years.
///
/// # Errors
/// Anything that isn't a number with a unit, or is longer.
pub fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    from.deserialize_str(Text {
        expected: "a duration such as \"30s\", \"1m 30s\" or \"500ms\"",
        // A bare 0 has no unit to be wrong about.
        read: |text| match text {
            "0" => Some(Duration::ZERO),
            text => read_duration(text),
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
            text => read_duration(text).map(Some),
        },
    })
}

fn read_duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text)
        .ok()
        .filter(|duration| *duration <= DURATION_MAX)
}

/// Networks, none with bits set past its prefix: what may have meant one host must not trust a whole network.
///
/// # Errors
/// Anything else in the list.
pub fn networks<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Network>, D::Error> {
    let networks = Vec::<Network>::deserialize(from)?;
    match networks.iter().find(|network| network.has_host_bits()) {
        None => Ok(networks),
        Some(network) => Err(de::Error::custom(format!(
            "{network} has bits set past its prefix; the network is {}",
            network.canonical()
        ))),
    }
}

/// A number of bytes: `1048576`, `"1MiB"`, `"256 KiB"`.
///
/// # Errors
/// Anything else, negative numbers, and what is too large for the number's type.
pub fn bytes<'de, D: Deserializer<'de>, T: TryFrom<u64>>(from: D) -> Result<T, D::Error> {
    from.deserialize_any(Bytes(PhantomData))
}

/// A path, or `""` for none.
///
/// # Errors
/// Anything that isn't text.
pub fn optional_path<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    from.deserialize_str(Text {
        expected: "a path, or \"\" for none",
        read: |text| Some((!text.is_empty()).then(|| PathBuf::from(text))),
    })
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

struct Bytes<T>(PhantomData<T>);

impl<T: TryFrom<u64>> de::Visitor<'_> for Bytes<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of bytes such as 1048576 or \"1MiB\"")
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        u64::try_from(number)
            .ok()
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| E::invalid_value(de::Unexpected::Signed(number), &self))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        T::try_from(number).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse::<bytesize::ByteSize>()
            .ok()
            .and_then(|size| T::try_from(size.as_u64()).ok())
            .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Sizes {
        #[serde(deserialize_with = "bytes")]
        wide: u64,
        #[serde(deserialize_with = "bytes")]
        narrow: u32,
    }

    #[test]
    fn a_size_that_its_number_cannot_hold_is_refused_and_never_cut() {
        let good: Sizes = toml::from_str("wide = \"8 GiB\"\nnarrow = \"64KiB\"").unwrap();
        assert_eq!((good.wide, good.narrow), (8 << 30, 64 << 10));
        for narrow in ["\"4GiB\"", "4294967296", "-1", "\"much\"", "true"] {
            let text = format!("wide = 1\nnarrow = {narrow}");
            assert!(toml::from_str::<Sizes>(&text).is_err(), "{narrow}");
        }
    }
}
