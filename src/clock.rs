//! Time, from one place: monotonic for every interval, wall time only for what people and files show and for expiry.

use std::{
    sync::OnceLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

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

/// Milliseconds since 1970 by the wall clock as it stood at the first call, counted on without it: differences within a process are
/// true whatever happens to the wall clock.
pub fn steady_ms() -> u64 {
    static START: OnceLock<(Instant, Duration)> = OnceLock::new();
    let (began, at) = START.get_or_init(|| (Instant::now(), wall()));
    let now = *at + began.elapsed();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
