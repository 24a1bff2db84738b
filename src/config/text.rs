//! How addresses are written, for `#[serde(deserialize_with = "...")]`; times, sizes and paths are in the model.

use std::net::{Ipv4Addr, SocketAddr};

use serde::Deserializer;

use crate::model::text::Text;

pub(super) use crate::model::text::{bytes, duration, optional_path};

/// `"127.0.0.1:4317"`, `"[::1]:4317"`, `"localhost:4317"`, `":4317"` (every IPv4 address), `""` (off).
pub fn address<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
    from.deserialize_str(Text {
        expected: "an address such as \"127.0.0.1:4318\", \":4318\" (all interfaces) or \"\" (off)",
        read: read_address,
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
