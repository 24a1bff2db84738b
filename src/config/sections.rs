//! The sections that belong to no single part.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use serde::Deserialize;

use super::text;

/// `[listen]`: an address for each door, `None` where it is off. Port 0 takes any free one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// OTLP/gRPC.
    #[serde(deserialize_with = "text::address")]
    pub otlp_grpc: Option<SocketAddr>,
    /// OTLP/HTTP.
    #[serde(deserialize_with = "text::address")]
    pub otlp_http: Option<SocketAddr>,
    /// Log bulk.
    #[serde(deserialize_with = "text::address")]
    pub bulk: Option<SocketAddr>,
    /// Log bulk over TLS; closed while there is no certificate.
    #[serde(deserialize_with = "text::address")]
    pub bulk_tls: Option<SocketAddr>,
    /// Prometheus remote write.
    #[serde(deserialize_with = "text::address")]
    pub remote_write: Option<SocketAddr>,
    /// Prometheus remote write over TLS; closed while there is no certificate.
    #[serde(deserialize_with = "text::address")]
    pub remote_write_tls: Option<SocketAddr>,
    /// Admin API.
    #[serde(deserialize_with = "text::address")]
    pub admin: Option<SocketAddr>,
    /// Feed for gateways of other processes.
    #[serde(deserialize_with = "text::address")]
    pub feed: Option<SocketAddr>,
    /// Metrics, health and version.
    #[serde(deserialize_with = "text::address")]
    pub operate: Option<SocketAddr>,
}

/// `[tls]`: PEM files, read again when they change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Chain of the TLS doors, leaf first.
    #[serde(deserialize_with = "text::optional_path")]
    pub certificate: Option<PathBuf>,
    /// Its key.
    #[serde(deserialize_with = "text::optional_path")]
    pub key: Option<PathBuf>,
    /// Asks senders for a certificate signed by one of these.
    #[serde(deserialize_with = "text::optional_path")]
    pub client_ca: Option<PathBuf>,
}

/// `[gateway]`: the gateway as a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gateway {
    /// How the control plane knows it; must differ between gateways. Empty: the host's name and six characters made once.
    pub name: String,
    /// Event loops, each on a core. 0: one per core.
    pub workers: usize,
    /// Memory the process may have, in bytes. 0: the cgroup's limit, else the machine's memory.
    #[serde(deserialize_with = "text::bytes")]
    pub memory_bytes: u64,
    /// Body bytes in flight over all accounts. 0: a quarter of the memory.
    #[serde(deserialize_with = "text::bytes")]
    pub in_flight_bytes_max: u64,
}

/// `[feed]`: where `wharfinger gateway` finds its control planes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Feed {
    /// `http://` or `https://` URLs, tried in turn.
    pub endpoints: Vec<String>,
    /// File with the key that gateways join by.
    #[serde(deserialize_with = "text::optional_path")]
    pub join_key_file: Option<PathBuf>,
    /// PEM certificates trusted instead of the system's.
    #[serde(deserialize_with = "text::optional_path")]
    pub ca: Option<PathBuf>,
    /// PEM chain that the gateway shows, for mTLS.
    #[serde(deserialize_with = "text::optional_path")]
    pub client_certificate: Option<PathBuf>,
    /// Its key.
    #[serde(deserialize_with = "text::optional_path")]
    pub client_key: Option<PathBuf>,
}

/// `[drain]`: from SIGTERM to the end.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Drain {
    /// Ready and serving for that long after SIGTERM, until load balancers have noticed.
    #[serde(deserialize_with = "text::duration")]
    pub delay: Duration,
    /// What is in flight after that has this long to finish.
    #[serde(deserialize_with = "text::duration")]
    pub timeout: Duration,
}

// === impl Listen ===

impl Default for Listen {
    fn default() -> Self {
        // Local until told otherwise: a first try must not open the machine to its network.
        let local = |port| Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        Self {
            otlp_grpc: local(4317),
            otlp_http: local(4318),
            bulk: local(8070),
            bulk_tls: local(8071),
            remote_write: local(8052),
            remote_write_tls: local(8053),
            admin: local(9600),
            feed: local(9601),
            operate: local(9602),
        }
    }
}

impl Listen {
    /// Every door with its key and whether it speaks TLS only.
    pub fn all(&self) -> [(&'static str, Option<SocketAddr>, bool); 9] {
        [
            ("listen.otlp_grpc", self.otlp_grpc, false),
            ("listen.otlp_http", self.otlp_http, false),
            ("listen.bulk", self.bulk, false),
            ("listen.bulk_tls", self.bulk_tls, true),
            ("listen.remote_write", self.remote_write, false),
            ("listen.remote_write_tls", self.remote_write_tls, true),
            ("listen.admin", self.admin, false),
            ("listen.feed", self.feed, false),
            ("listen.operate", self.operate, false),
        ]
    }
}

// === impl Drain ===

impl Default for Drain {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            timeout: Duration::from_secs(30),
        }
    }
}
