//! What an operator may say about the spool.

use std::time::Duration;

use serde::Deserialize;

use crate::model::text;

/// `[spool]`: bytes as integers or as text such as `"64MiB"`, times as text such as `"7d"`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// A segment that has grown to this is sealed and a new one started; a larger record has one of its own. 64 MiB.
    #[serde(deserialize_with = "text::bytes")]
    pub segment_bytes_max: u64,
    /// All segments together; past it, payloads are refused until space returns. 0 = no ceiling. 10 GiB.
    #[serde(deserialize_with = "text::bytes")]
    pub disk_bytes_max: u64,
    /// What one account may have spooled. 0 = no ceiling of its own. 2 GiB.
    #[serde(deserialize_with = "text::bytes")]
    pub account_bytes_max: u64,
    /// What has waited longer is dropped, and counted as lost: by segments, so up to an eighth of the time later. None = kept.
    /// 3 days.
    #[serde(deserialize_with = "text::optional_duration")]
    pub age_max: Option<Duration>,
    /// Bytes of payloads that may wait for the disk; an empty queue takes one of any size. 64 MiB.
    #[serde(deserialize_with = "text::bytes")]
    pub queue_bytes_max: u64,
    /// A payload that is not on disk by then is refused. 10 s: what a cloud volume may stall for.
    #[serde(deserialize_with = "text::duration")]
    pub answer_timeout: Duration,
    /// What is set aside, damaged or finally refused, up to so many bytes each; past it, it is only counted. 64 MiB.
    #[serde(deserialize_with = "text::bytes")]
    pub aside_bytes_max: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            segment_bytes_max: 64 << 20,
            disk_bytes_max: 10 << 30,
            account_bytes_max: 2 << 30,
            age_max: Some(Duration::from_secs(3 * 86_400)),
            queue_bytes_max: 64 << 20,
            answer_timeout: Duration::from_secs(10),
            aside_bytes_max: 64 << 20,
        }
    }
}

impl Config {
    /// How long a segment is written to at most, however little comes: what expires together.
    pub(super) fn segment_age_max(&self) -> Option<Duration> {
        self.age_max.map(|age| age / 8)
    }
}
