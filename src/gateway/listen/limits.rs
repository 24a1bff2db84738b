//! What a connection may cost before anybody has shown a token.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error as _};

use crate::model::{Network, text};

/// The limits of the ingest listeners. Durations are written as text (`5s`, `2m`), sizes as bytes or as text (`64KiB`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// From the accept to the first byte (after the handshake, under TLS).
    #[serde(deserialize_with = "text::positive_duration")]
    pub first_byte_timeout: Duration,
    /// From the accept to the end of the TLS handshake.
    #[serde(deserialize_with = "text::positive_duration")]
    pub tls_handshake_timeout: Duration,
    /// From the first byte of a request's head, or of an HTTP/2 control frame, to its end.
    #[serde(deserialize_with = "text::positive_duration")]
    pub headers_timeout: Duration,
    /// HTTP/1.1 between two requests. Balancers keep 60 s, and must be the ones to close.
    #[serde(deserialize_with = "text::positive_duration")]
    pub idle_h1: Duration,
    /// HTTP/2 without an open stream.
    #[serde(deserialize_with = "text::positive_duration")]
    pub idle_h2: Duration,
    /// After this, give or take 10 %, a connection is asked to go; half as long again, and it is cut.
    #[serde(deserialize_with = "text::positive_duration")]
    pub connection_age: Duration,
    /// An answer of which the peer has taken nothing for this long.
    #[serde(deserialize_with = "text::positive_duration")]
    pub write_stall_timeout: Duration,
    /// After our half-close: how long what the peer still sends is thrown away.
    #[serde(deserialize_with = "text::duration")]
    pub linger_timeout: Duration,
    /// After our half-close: how much is thrown away.
    #[serde(deserialize_with = "text::bytes")]
    pub linger_bytes_max: u64,
    /// HTTP/2 bytes other than DATA in `control_window` without a finished request.
    #[serde(deserialize_with = "text::bytes")]
    pub control_bytes_max: u64,
    /// The time over which control bytes and resets are counted.
    #[serde(deserialize_with = "text::positive_duration")]
    pub control_window: Duration,
    /// HTTP/2 resets, theirs and ours for errors of theirs, in `control_window`: past this the connection is asked to
    /// go, past four times this it is cut.
    pub h2_resets_max: u64,
    /// Connections over all listeners; 0: as the descriptor limit allows, an upstream connection for each included.
    pub connections_max: usize,
    /// Connections of one address (IPv6: of one /64); 0: any number.
    pub connections_per_address_max: usize,
    /// Networks whose connections the limit per address passes over.
    pub trusted_proxies: Vec<Network>,
    /// Concurrent HTTP/2 streams of a connection.
    pub h2_streams_max: u32,
    /// Flow-control window of a stream, 65,535 to 2^31 - 1 bytes.
    #[serde(deserialize_with = "window")]
    pub h2_stream_window: u32,
    /// Flow-control window of a connection, 65,535 to 2^31 - 1 bytes.
    #[serde(deserialize_with = "window")]
    pub h2_connection_window: u32,
    /// Headers of a request.
    pub header_count_max: usize,
    /// Names and values of a request's headers, and HTTP/2's header list, bytes.
    #[serde(deserialize_with = "text::bytes")]
    pub header_bytes_max: u32,
    /// The request's target, bytes.
    #[serde(deserialize_with = "text::bytes")]
    pub uri_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            first_byte_timeout: Duration::from_secs(5),
            tls_handshake_timeout: Duration::from_secs(5),
            headers_timeout: Duration::from_secs(5),
            idle_h1: Duration::from_secs(75),
            idle_h2: Duration::from_secs(120),
            connection_age: Duration::from_secs(600),
            write_stall_timeout: Duration::from_secs(30),
            linger_timeout: Duration::from_secs(2),
            linger_bytes_max: 4 << 20,
            control_bytes_max: 256 << 10,
            control_window: Duration::from_secs(10),
            h2_resets_max: 500,
            connections_max: 0,
            connections_per_address_max: 1_000,
            trusted_proxies: Vec::new(),
            h2_streams_max: 100,
            h2_stream_window: 1 << 20,
            h2_connection_window: 4 << 20,
            header_count_max: 64,
            header_bytes_max: 16 << 10,
            uri_bytes_max: 8 << 10,
        }
    }
}

impl Config {
    /// `connections_max`, or what the process' descriptor limit leaves when half go upstream.
    pub fn connections_allowed(&self) -> usize {
        if self.connections_max > 0 {
            return self.connections_max;
        }
        half_of_descriptors()
    }

    /// A request's whole head on HTTP/1.1: target, headers, and room for the method and the line ends.
    pub(crate) fn head_bytes_max(&self) -> usize {
        (self.header_bytes_max as usize)
            .saturating_add(self.uri_bytes_max)
            .saturating_add(1 << 10)
    }
}

/// Half of what the process' descriptor limit leaves for connections: one half comes in, the other goes upstream.
pub fn half_of_descriptors() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.map_or(1 << 20, |limit| usize::try_from(limit).unwrap_or(1 << 20));
    // 128: listeners, the store, the archive's files, the feed.
    (limit.saturating_sub(128) / 2).max(16)
}

/// What HTTP/2 can express and its peers can't be hurt by.
fn window<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let bytes = text::bytes(deserializer)?;
    if !(65_535..=(1 << 31) - 1).contains(&bytes) {
        return Err(D::Error::custom("must be between 65535 and 2147483647"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_text_and_unknown_keys_are_refused() {
        let config: Config =
            toml::from_str("idle_h1 = \"90s\"\ntrusted_proxies = [\"10.0.0.0/8\"]")
                .expect("a good configuration");
        assert_eq!(config.idle_h1, Duration::from_secs(90));
        assert_eq!(config.headers_timeout, Duration::from_secs(5));
        assert!(toml::from_str::<Config>("idle_h1 = \"0s\"").is_err());
        assert!(toml::from_str::<Config>("connection_age = \"900000000000 years\"").is_err());
        assert!(toml::from_str::<Config>("h2_stream_window = 4294967295").is_err());
        assert!(toml::from_str::<Config>("idle_h3 = \"1s\"").is_err());
        assert!(toml::from_str::<Config>("trusted_proxies = [\"10.0.0.0/33\"]").is_err());
    }

    #[test]
    fn a_network_holds_its_own_and_nobody_else() {
        let cases = [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.1.1", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "2001:db9::1", true),
        ];
        for (network, address, expected) in cases {
            let network: Network = network.parse().expect("a network");
            assert_eq!(
                network.contains(address.parse().expect("an address")),
                expected
            );
        }
    }
}
