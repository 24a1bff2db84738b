//! Retention: files whose hour ended long enough ago are deleted, by a sweep a minute.

use std::time::Duration;

use tracing::{info, warn};

use super::{Wall, disk::Disk};
use crate::gateway::deliver::stop::Stop;

const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Only a file of a past hour may go, and its writer may be a commit late in noticing the new hour.
const RETENTION_MIN: Duration = Duration::from_secs(60);

/// Sweeps until stopped.
pub(super) fn run(disk: &Disk, stop: &Stop, retention: Duration, wall: &Wall) {
    loop {
        sweep(disk, retention, wall());
        if stop.wait(SWEEP_EVERY) {
            return;
        }
    }
}

pub(super) fn sweep(disk: &Disk, retention: Duration, now: Duration) {
    let retention = retention.max(RETENTION_MIN);
    let (mut files, mut freed_bytes) = (0u64, 0u64);
    let swept = disk.each_file(|path, name, bytes| {
        if name.hour.end().saturating_add(retention) > now {
            return;
        }
        match disk.remove(path, bytes) {
            Ok(()) => {
                files += 1;
                freed_bytes = freed_bytes.saturating_add(bytes);
            }
            Err(error) => warn!(file = %path.display(), %error, "can't delete an expired file"),
        }
    });
    if let Err(error) = swept {
        warn!(%error, "retention sweep ended early");
    }
    if files > 0 {
        disk.count_deleted(files);
        info!(files, freed.bytes = freed_bytes, "expired files deleted");
    }
}
