//! Time, from one place: monotonic for every interval, wall time only for what people and files show and for expiry.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Since 1970, by the wall clock.
#[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
pub fn wall() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// Whole seconds since 1970, by the wall clock; token expiry is compared with it.
pub fn wall_seconds() -> u32 {
    u32::try_from(wall().as_secs()).unwrap_or(u32::MAX)
}
