//! What only the values together can show to be wrong.

use std::{net::SocketAddr, time::Duration};

use super::{Checks, Config, Unusable};
use crate::operate::logging;

/// More event loops than any machine has cores are a slip of the finger.
const WORKERS_MAX: usize = 1024;

/// Below this the largest default body and the tables leave no room to work in.
const MEMORY_BYTES_MIN: u64 = 64 << 20;

/// A token's last use is told within a minute: half of it, and as much for the way to whoever asks.
const USAGE_EVERY_MAX: Duration = Duration::from_secs(30);

pub(super) fn check(config: &Config, checks: &mut Checks<'_>) {
    ports(config, checks);
    tls(config, checks);
    gateway(config, checks);
    feed(config, checks);
    limits(config, checks);
    control(config, checks);
    if config.directory.usage_every > USAGE_EVERY_MAX {
        checks.refuse(
            &["directory.usage_every"],
            "is above 30 s, and what is said of a token's last use would be more than a minute old",
        );
    }
    if config.drain.timeout.is_zero() {
        checks.refuse(
            &["drain.timeout"],
            "must be longer than 0 s, or every restart cuts off what is in flight",
        );
    }
    if let Err(why) = logging::check_level(&config.log.level) {
        checks.refuse(
            &["log.level"],
            format!(
                "{why}; expected a level such as \"info\" or \"info,wharfinger::control=debug\""
            ),
        );
    }
    if config.data.as_os_str().is_empty() {
        checks.refuse(&["data"], "must name a folder");
    }
}

/// What `wharfinger gateway` needs beyond what every process needs.
///
/// # Errors
/// One sentence that names the keys.
pub fn missing_for_gateway(config: &Config) -> Result<(), Unusable> {
    if config.feed.endpoints.is_empty() {
        return Err(Unusable(
            "a gateway of its own needs `endpoints` in [feed]: the control planes' URLs, such as [\"http://control:9601\"]".to_owned(),
        ));
    }
    if config.feed.join_key_file.is_none() && config.feed.client_certificate.is_none() {
        return Err(Unusable(
            "a gateway of its own needs `join_key_file` in [feed] (a copy of the control plane's `join-key`) or a client certificate".to_owned(),
        ));
    }
    Ok(())
}

fn ports(config: &Config, checks: &mut Checks<'_>) {
    let has_certificate = config.tls.certificate.is_some();
    let open: Vec<_> = config
        .listen
        .all()
        .into_iter()
        .filter(|(_, _, is_tls)| has_certificate || !is_tls)
        .filter_map(|(key, address, _)| Some((key, address?)))
        .collect();
    for (index, (key, address)) in open.iter().enumerate() {
        for (other, taken) in &open[..index] {
            if collide(*address, *taken) {
                checks.refuse(
                    &[key, other],
                    format!("{address} is taken by {other} ({taken})"),
                );
            }
        }
    }
}

fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    // Every address of a machine includes each; [::] takes IPv4 too on most systems.
    let overlap = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && overlap
}

fn tls(config: &Config, checks: &mut Checks<'_>) {
    let tls = &config.tls;
    if tls.certificate.is_some() && tls.key.is_none() {
        checks.refuse(
            &["tls.certificate", "tls.key"],
            "has no key: set tls.key as well",
        );
    }
    if tls.key.is_some() && tls.certificate.is_none() {
        checks.refuse(
            &["tls.key", "tls.certificate"],
            "has no certificate: set tls.certificate as well",
        );
    }
    if tls.client_ca.is_some() && tls.certificate.is_none() {
        checks.refuse(
            &["tls.client_ca", "tls.certificate"],
            "asks senders for certificates, but without tls.certificate there is no TLS",
        );
    }
}

fn gateway(config: &Config, checks: &mut Checks<'_>) {
    let gateway = &config.gateway;
    let is_name = |name: &str| {
        name.len() <= 64
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    if !is_name(&gateway.name) {
        checks.refuse(
            &["gateway.name"],
            "has at most 64 of A-Z a-z 0-9 - _ . (it is a metric label and a header value)",
        );
    }
    if gateway.workers > WORKERS_MAX {
        checks.refuse(
            &["gateway.workers"],
            format!(
                "{} is above the ceiling of {WORKERS_MAX}; 0 means one per core",
                gateway.workers
            ),
        );
    }
    if gateway.memory_bytes != 0 && gateway.memory_bytes < MEMORY_BYTES_MIN {
        checks.refuse(
            &["gateway.memory_bytes"],
            "is below 64MiB, too little to work in; 0 means what the cgroup or the machine has",
        );
    }
    if gateway.memory_bytes != 0 && gateway.in_flight_bytes_max > gateway.memory_bytes {
        checks.refuse(
            &["gateway.in_flight_bytes_max", "gateway.memory_bytes"],
            "is above gateway.memory_bytes, so memory would run out first",
        );
    }
}

fn feed(config: &Config, checks: &mut Checks<'_>) {
    let feed = &config.feed;
    for endpoint in &feed.endpoints {
        if !is_endpoint(endpoint) {
            checks.refuse(
                &["feed.endpoints"],
                format!(
                    "{endpoint:?} is not a URL such as \"http://control:9601\" or \"https://control:9601\""
                ),
            );
        }
    }
    let pair = (&feed.client_certificate, &feed.client_key);
    if matches!(pair, (Some(_), None)) {
        checks.refuse(
            &["feed.client_certificate", "feed.client_key"],
            "has no key: set feed.client_key as well",
        );
    }
    if matches!(pair, (None, Some(_))) {
        checks.refuse(
            &["feed.client_key", "feed.client_certificate"],
            "has no certificate: set feed.client_certificate as well",
        );
    }
}

/// What no request can come through.
fn limits(config: &Config, checks: &mut Checks<'_>) {
    let limits = &config.limits;
    for (key, is_none) in [
        ("limits.header_count_max", limits.header_count_max == 0),
        ("limits.header_bytes_max", limits.header_bytes_max == 0),
        ("limits.uri_bytes_max", limits.uri_bytes_max == 0),
        ("limits.h2_streams_max", limits.h2_streams_max == 0),
        (
            "archive.answer_timeout",
            config.archive.answer_timeout.is_zero(),
        ),
        (
            "spool.answer_timeout",
            config.spool.answer_timeout.is_zero(),
        ),
        ("spool.spill_after", config.spool.spill_after.is_zero()),
    ] {
        if is_none {
            checks.refuse(&[key], "must be above 0, or no request can come through");
        }
    }
}

fn control(config: &Config, checks: &mut Checks<'_>) {
    let control = &config.control;
    if control.heartbeat.saturating_mul(2) > config.directory.fresh_within {
        checks.refuse(
            &["control.heartbeat", "directory.fresh_within"],
            "is above half of directory.fresh_within, so one late heartbeat would turn every unknown token's 401 into 503",
        );
    }
    if let Err(why) = control.check_store() {
        checks.refuse(&["control.store"], why);
    }
    if control.store_password_file.is_some() && !control.store.starts_with("postgres") {
        checks.refuse(
            &["control.store_password_file", "control.store"],
            "is for a store on PostgreSQL, and control.store names none",
        );
    }
    if control.feed_certificate.is_some() != control.feed_key.is_some() {
        checks.refuse(
            &["control.feed_key", "control.feed_certificate"],
            "needs control.feed_certificate and control.feed_key, both or neither",
        );
    }
    if control.feed_client_ca.is_some() && control.feed_certificate.is_none() {
        checks.refuse(
            &["control.feed_client_ca", "control.feed_certificate"],
            "asks gateways for certificates, but without control.feed_certificate there is no TLS",
        );
    }
}

fn is_endpoint(endpoint: &str) -> bool {
    let Ok(uri) = endpoint.parse::<http::Uri>() else {
        return false;
    };
    let plain_path = uri.path_and_query().is_none_or(|path| path.as_str() == "/");
    matches!(uri.scheme_str(), Some("http" | "https"))
        && uri
            .authority()
            .is_some_and(|authority| !authority.as_str().contains('@'))
        && plain_path
}
