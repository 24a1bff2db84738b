//! What an operator may say about the archive.

use std::time::Duration;

use serde::Deserialize;

use crate::model::text;

/// `[archive]`: bytes as integers or as text such as `"256MiB"`, times as text such as `"7d"`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// A file that has grown to this is closed and a new one started. A single larger record is still written whole. 256 MiB.
    #[serde(deserialize_with = "text::bytes")]
    pub file_bytes_max: u64,
    /// Files whose hour ended longer ago are deleted, by a sweep a minute. None = kept. At least a minute.
    #[serde(deserialize_with = "text::optional_duration")]
    pub retention: Option<Duration>,
    /// All files together; past it, payloads are refused until space returns. 0 = no ceiling. 10 GiB.
    #[serde(deserialize_with = "text::bytes")]
    pub disk_bytes_max: u64,
    /// Bytes of bodies, as they came, that may wait for the disk; an empty queue takes one of any size. 64 MiB.
    #[serde(deserialize_with = "text::bytes")]
    pub queue_bytes_max: u64,
    /// Bodies that may wait for the disk, however small. 16,384: some 10 MiB of bookkeeping.
    pub queue_payloads_max: usize,
    /// A payload that is not on disk by then is refused, and may be there all the same; added to it is the inflated size at
    /// 4 MiB/s. 10 s: what a cloud volume may stall for, and what many senders wait.
    #[serde(deserialize_with = "text::duration")]
    pub answer_timeout: Duration,
    /// Threads that inflate and transcode; at least one. 2.
    pub threads: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            file_bytes_max: 256 << 20,
            retention: None,
            disk_bytes_max: 10 << 30,
            queue_bytes_max: 64 << 20,
            queue_payloads_max: 16_384,
            answer_timeout: Duration::from_secs(10),
            threads: 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_taken_as_integers_and_as_text() {
        let config: Config = toml::from_str(
            "file_bytes_max = \"1 MiB\"\nqueue_bytes_max = 4096\nretention = \"7d\"",
        )
        .unwrap();
        assert_eq!(config.file_bytes_max, 1 << 20);
        assert_eq!(config.queue_bytes_max, 4096);
        assert_eq!(config.retention, Some(Duration::from_secs(7 * 86_400)));
        assert_eq!(config.disk_bytes_max, 10 << 30);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "file_bytes_max = \"many\"",
            "file_bytes_max = -1",
            "retention = 7",
            "retentoin = \"7d\"",
        ] {
            assert!(toml::from_str::<Config>(text).is_err(), "{text}");
        }
    }
}
