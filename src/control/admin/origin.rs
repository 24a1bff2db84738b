//! Where a request comes from: who holds the connection, or, where that is a proxy of ours, whom the proxies name.

use std::net::{IpAddr, SocketAddr};

use axum::http::{Extensions, HeaderMap};

use crate::{control::Control, model::Network, operate::server::Peer};

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The address that counts, for the audit log and for whoever fails too often.
pub(super) fn address(
    control: &Control,
    headers: &HeaderMap,
    extensions: &Extensions,
) -> Option<IpAddr> {
    let Peer(peer) = extensions.get::<Peer>()?;
    let peer = peer.ip().to_canonical();
    let trusted = &control.inner.config.trusted_proxies;
    Some(behind(trusted, peer, headers).unwrap_or(peer))
}

/// The last address that is none of our proxies'. Each proxy adds whom it heard from at the end: what stands before that
/// address, anybody may have written. What can't be read is nobody's word.
fn behind(trusted: &[Network], peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
    let is_trusted = |address| trusted.iter().any(|network| network.contains(address));
    if !is_trusted(peer) {
        return None;
    }
    let mut lines: Vec<_> = headers.get_all(FORWARDED_FOR).iter().collect();
    lines.reverse();
    for line in lines {
        for written in line.to_str().ok()?.rsplit(',') {
            let address = read(written.trim())?;
            if !is_trusted(address) {
                return Some(address);
            }
        }
    }
    None
}

/// An address, as some proxies write it with a port.
fn read(text: &str) -> Option<IpAddr> {
    let address = text.parse().ok();
    let address = address.or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_address_that_is_no_proxy_of_ours_counts_and_nobody_elses_word() {
        let trusted = ["10.0.0.0/8", "2001:db8:1::/48"];
        let trusted = trusted.map(|text| text.parse().expect("a network"));
        let seen = |peer: &str, lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(FORWARDED_FOR, line.parse().expect("a value"));
            }
            let peer = peer.parse().expect("an address");
            behind(&trusted, peer, &headers).map(|address| address.to_string())
        };
        for (peer, lines, expected) in [
            ("10.0.0.1", &["192.0.2.7"][..], Some("192.0.2.7")),
            ("10.0.0.1", &["198.51.100.9, 192.0.2.7"], Some("192.0.2.7")),
            ("10.0.0.1", &["192.0.2.7, 10.0.0.2"], Some("192.0.2.7")),
            (
                "10.0.0.1",
                &["198.51.100.9", "192.0.2.7,10.0.0.2"],
                Some("192.0.2.7"),
            ),
            ("10.0.0.1", &["192.0.2.7", "10.0.0.2"], Some("192.0.2.7")),
            ("2001:db8:1::5", &["2001:db8:2::7"], Some("2001:db8:2::7")),
            ("10.0.0.1", &["[2001:db8:2::7]:4711"], Some("2001:db8:2::7")),
            ("10.0.0.1", &["192.0.2.7:4711"], Some("192.0.2.7")),
            ("10.0.0.1", &["::ffff:192.0.2.7"], Some("192.0.2.7")),
            // Whoever comes without a proxy of ours is who they are.
            ("192.0.2.1", &["192.0.2.7"], None),
            ("2001:db8:2::1", &["192.0.2.7"], None),
            // What can't be read, or names nobody but proxies, is the peer's.
            ("10.0.0.1", &["192.0.2.7, unknown"], None),
            ("10.0.0.1", &["192.0.2.7,"], None),
            ("10.0.0.1", &[""], None),
            ("10.0.0.1", &["10.0.0.2"], None),
            ("10.0.0.1", &[], None),
        ] {
            assert_eq!(seen(peer, lines).as_deref(), expected, "{peer} {lines:?}");
        }
    }
}
