//! What a configuration opens to the network in the clear: allowed, and said loudly at every start.

use std::net::{IpAddr, SocketAddr};

use super::Ports;
use crate::config::Config;

/// One sentence for each thing that others on the network could read or use.
pub(super) fn sentences(config: &Config, ports: &Ports, follows_remotely: bool) -> Vec<String> {
    let mut sentences = Vec::new();
    let is_open = |address: &SocketAddr| !address.ip().to_canonical().is_loopback();
    if let Some(address) = ports.feed.filter(is_open)
        && config.control.feed_tls().is_none()
    {
        sentences.push(format!(
            "the feed listens on {address} without TLS: the join key, every token's digest and the destinations' \
             credentials cross the network in the clear; set control.feed_certificate and control.feed_key"
        ));
    }
    if let Some(address) = ports.admin.filter(is_open) {
        sentences.push(format!(
            "the admin API listens on {address} and has no TLS of its own: admin and shipping tokens cross the network \
             in the clear; keep it on 127.0.0.1 behind a proxy that has TLS"
        ));
    }
    if !follows_remotely && let Some(host) = config.control.exposed_store() {
        sentences.push(format!(
            "the store on {host} may be reached without TLS: the database's password and every row cross the network in \
             the clear; add ?sslmode=verify-full to control.store"
        ));
    }
    let plain = |endpoint: &&String| {
        endpoint.parse::<http::Uri>().is_ok_and(|uri| {
            uri.scheme_str() == Some("http") && !uri.host().is_some_and(is_loopback)
        })
    };
    if follows_remotely && let Some(endpoint) = config.feed.endpoints.iter().find(plain) {
        sentences.push(format!(
            "the feed comes from {endpoint} without TLS: the join key and the destinations' credentials cross the \
             network in the clear; use https:// in feed.endpoints"
        ));
    }
    sentences
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(feed: &str, admin: &str, has_tls: bool, endpoint: &str) -> Vec<String> {
        let mut config = Config::default();
        config.feed.endpoints = vec![endpoint.to_owned()];
        if has_tls {
            config.control.feed_certificate = Some("c".into());
            config.control.feed_key = Some("k".into());
        }
        let ports = Ports {
            feed: Some(feed.parse().expect("an address")),
            admin: Some(admin.parse().expect("an address")),
            ..Ports::default()
        };
        sentences(&config, &ports, true)
    }

    #[test]
    fn what_stays_on_the_machine_or_has_tls_is_not_worth_a_word() {
        for endpoint in [
            "http://localhost:1",
            "http://[::1]:1",
            "http://127.0.0.2:1",
            "https://a:1",
        ] {
            let told = told("127.0.0.1:1", "[::1]:2", false, endpoint);
            assert_eq!(told, Vec::<String>::new());
        }
        assert!(told("0.0.0.0:1", "127.0.0.1:2", true, "https://a:1").is_empty());
    }

    #[test]
    fn a_far_store_without_sure_tls_is_told_where_there_is_a_store() {
        let mut config = Config::default();
        config.control.store = "postgres://w@db/w".to_owned();
        let told = |config: &Config, is_gateway| {
            sentences(config, &Ports::default(), is_gateway).join(" ")
        };
        assert!(told(&config, false).contains("sslmode=verify-full"));
        assert_eq!(told(&config, true), "");
        config.control.store.push_str("?sslmode=verify-full");
        assert_eq!(told(&config, false), "");
    }

    #[test]
    fn each_open_thing_has_its_sentence() {
        for (feed, admin, endpoint, word) in [
            (
                "0.0.0.0:1",
                "127.0.0.1:2",
                "https://a:1",
                "feed_certificate",
            ),
            ("[::]:1", "127.0.0.1:2", "https://a:1", "feed_certificate"),
            ("127.0.0.1:1", "10.0.0.1:2", "https://a:1", "admin API"),
            (
                "127.0.0.1:1",
                "127.0.0.1:2",
                "http://control:1",
                "feed.endpoints",
            ),
            (
                "127.0.0.1:1",
                "127.0.0.1:2",
                "http://127.evil.example:1",
                "feed.endpoints",
            ),
        ] {
            let told = told(feed, admin, false, endpoint);
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(told[0].contains(word), "{told:?}");
        }
    }
}
