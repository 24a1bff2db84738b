//! How slowly a body may come: 30 s and what its announced size takes at 256 KiB/s, and never less than 1 KiB/s over 5 s.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use crate::model::{Rejection, text};

/// Limits on the time a body takes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// For any body.
    #[serde(deserialize_with = "text::positive_duration")]
    pub body_timeout: Duration,
    /// Added to it: the announced size at this many bytes per second.
    #[serde(deserialize_with = "text::bytes")]
    pub body_bytes_per_second: u64,
    /// In every window of [`Config::body_window`] at least this many bytes per second, on average.
    #[serde(deserialize_with = "text::bytes")]
    pub body_bytes_per_second_min: u64,
    /// Windows follow one another; a body that stalls is cut within two of them.
    #[serde(deserialize_with = "text::positive_duration")]
    pub body_window: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            body_timeout: Duration::from_secs(30),
            body_bytes_per_second: 256 << 10,
            body_bytes_per_second_min: 1 << 10,
            body_window: Duration::from_secs(5),
        }
    }
}

/// A body being read against the clock. Costs no timer while its bytes are already there.
#[derive(Debug)]
pub(super) struct Paced<'b> {
    body: &'b mut Incoming,
    deadline: Instant,
    window_ends: Instant,
    window_bytes: u64,
    window_bytes_min: u64,
    window: Duration,
    bytes_per_second: u64,
}

// === impl Paced ===

impl<'b> Paced<'b> {
    pub(super) fn new(
        body: &'b mut Incoming,
        announced_bytes: Option<u64>,
        config: &Config,
    ) -> Self {
        let now = Instant::now();
        let mut paced = Self {
            body,
            deadline: now + config.body_timeout,
            window_ends: now + config.body_window,
            window_bytes: 0,
            window_bytes_min: config
                .body_bytes_per_second_min
                .saturating_mul(config.body_window.as_secs()),
            window: config.body_window,
            bytes_per_second: config.body_bytes_per_second.max(1),
        };
        paced.announced(announced_bytes.unwrap_or(0));
        paced
    }

    /// So many bytes are to come: the deadline moves by what they take.
    pub(super) fn announced(&mut self, bytes: u64) {
        self.deadline += Duration::from_secs(bytes / self.bytes_per_second);
    }

    /// The next bytes as they came; `None` at the end. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Rejection> {
        loop {
            let check_at = self.window_ends.min(self.deadline);
            match timeout_at(check_at, self.body.frame()).await {
                Ok(None) => return Ok(None),
                Ok(Some(Ok(frame))) => {
                    // Trailers carry nothing for us.
                    let Ok(chunk) = frame.into_data() else {
                        continue;
                    };
                    self.window_bytes += chunk.len() as u64;
                    return Ok(Some(chunk));
                }
                Ok(Some(Err(_))) => return Err(Rejection::BodyCutOff),
                Err(_elapsed) => {
                    let is_slow = self.window_bytes < self.window_bytes_min;
                    if is_slow || check_at >= self.deadline {
                        return Err(Rejection::BodyTooSlow);
                    }
                    self.window_bytes = 0;
                    // From now, not from then: a gateway that was held up itself must not blame its senders.
                    self.window_ends = Instant::now() + self.window;
                }
            }
        }
    }
}
