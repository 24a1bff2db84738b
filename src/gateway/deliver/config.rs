//! What an operator may set about connections to destinations.

use std::time::Duration;

use serde::Deserialize;

use crate::model::text;

/// How connections to destinations are kept. The same for all of them; what differs stands in the destination.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// HTTP/1.1 connections kept for reuse, per endpoint and worker thread. 64: a worker's usual concurrency.
    pub idle_per_endpoint_max: usize,
    /// HTTP/1.1 connections in use at once, per endpoint and worker thread; past them requests wait for their turn, within
    /// their destination's time. 256: what one endpoint may take of a common descriptor limit. At least 1.
    pub connections_per_endpoint_max: usize,
    /// Connections to all destinations; 0: as the descriptor limit allows, an ingest connection for each included.
    pub connections_max: usize,
    /// Of a destination's answer; the rest is cut. 64 KiB.
    #[serde(deserialize_with = "text::bytes")]
    pub answer_bytes_max: usize,
    /// An idle connection is closed after this. 30 s: below what receivers and balancers keep.
    #[serde(deserialize_with = "text::duration")]
    pub idle_timeout: Duration,
    /// A name is resolved again after this, when a connection is opened. 30 s.
    #[serde(deserialize_with = "text::duration")]
    pub resolve_every: Duration,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            idle_per_endpoint_max: 64,
            connections_per_endpoint_max: 256,
            connections_max: 0,
            answer_bytes_max: 64 << 10,
            idle_timeout: Duration::from_secs(30),
            resolve_every: Duration::from_secs(30),
        }
    }
}
