//! How addresses, durations, sizes and optional paths are written: for `#[serde(with = "...")]` or `deserialize_with`.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use serde::{Deserializer, de};

/// `"127.0.0.1:4317"`, `"[::1]:4317"`, `"localhost:4317"`, `":4317"` (every IPv4 address), `""` (off).
pub fn address<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
    from.deserialize_str(Text {
        expected: "an address such as \"127.0.0.1:4318\", \":4318\" (all interfaces) or \"\" (off)",
        read: read_address,
    })
}

/// `"30s"`, `"1m 30s"`, `"500ms"`; `"0s"` is none.
pub fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    from.deserialize_str(Text {
        expected: "a duration such as \"30s\", \"1m 30s\" or \"500ms\"",
        read: |text| {
            // A bare 0 has no unit to be wrong about.
            if text == "0" {
                return Some(Duration::ZERO);
            }
            humantime::parse_duration(text).ok()
        },
    })
}

/// A number of bytes: `1048576`, `"1MiB"`, `"256 KiB"`.
pub fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    from.deserialize_any(Bytes)
}

/// A path, or `""` for none.
pub fn optional_path<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    from.deserialize_str(Text {
        expected: "a path, or \"\" for none",
        read: |text| Some((!text.is_empty()).then(|| PathBuf::from(text))),
    })
}

fn read_address(text: &str) -> Option<Option<SocketAddr>> {
    if text.is_empty() {
        return Some(None);
    }
    if let Some(port) = text.strip_prefix(':') {
        let port = port.parse().ok()?;
        return Some(Some((Ipv4Addr::UNSPECIFIED, port).into()));
    }
    if let Some(port) = text.strip_prefix("localhost:") {
        let port = port.parse().ok()?;
        return Some(Some((Ipv4Addr::LOCALHOST, port).into()));
    }
    text.parse().ok().map(Some)
}

struct Text<T> {
    expected: &'static str,
    read: fn(&str) -> Option<T>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_an_address_is_read() {
        let read = |text| read_address(text).map(|some| some.map(|address| address.to_string()));
        assert_eq!(read(""), Some(None));
        assert_eq!(read(":0"), Some(Some("0.0.0.0:0".to_owned())));
        assert_eq!(
            read("localhost:9600"),
            Some(Some("127.0.0.1:9600".to_owned()))
        );
        assert_eq!(read("[::]:1"), Some(Some("[::]:1".to_owned())));
        for wrong in ["4317", ":", ":65536", "example.org:1", "127.0.0.1", " :1"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
