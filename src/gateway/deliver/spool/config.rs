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
    /// A destination of `ack = "spill"` that has not answered by then is too slow: the payload is spooled. 5 s: below what senders
    /// wait for an answer.
    #[serde(deserialize_with = "text::duration")]
    pub spill_after: Duration,
    /// How fast what was spilled goes to one destination once that takes it again, so that live traffic keeps its place. 0 = as
    /// fast as it goes. 32 MiB a second.
    #[serde(deserialize_with = "text::bytes")]
    pub drain_bytes_per_second: u64,
    /// Records on their way to one destination at a time. 16.
    pub drain_records_max: usize,
    /// Their bytes, over all destinations; one record of any size may always be on its way. 32 MiB.
    #[serde(deserialize_with = "text::bytes")]
    pub drain_bytes_max: u64,
    /// What becomes of what a token has shipped that was revoked since.
    pub revoked: Revoked,
    /// What is set aside, damaged or finally refused, up to so many bytes each; past it, it is only counted. 64 MiB.
    #[serde(deserialize_with = "text::bytes")]
    pub aside_bytes_max: u64,
}

/// What becomes of what a token has shipped that was revoked since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Revoked {
    /// It was accepted, so it is delivered.
    Deliver,
    /// It is dropped, and counted as lost.
    Drop,
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
            spill_after: Duration::from_secs(5),
            drain_bytes_per_second: 32 << 20,
            drain_records_max: 16,
            drain_bytes_max: 32 << 20,
            revoked: Revoked::Deliver,
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
