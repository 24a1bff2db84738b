//! Time, from one place: monotonic for every interval, wall time only for what people and files show and for expiry.

use std::{
    sync::OnceLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Since 1970, by the wall clock.
#[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
pub fn wall() -> Duration {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    #[cfg(test)]
    let now = steps::stepped(now);
    now
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

/// Nanoseconds since the first call, by a clock that nobody sets.
pub fn steady_ns() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let passed = START.get_or_init(Instant::now).elapsed();
    u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX)
}

/// Between half of it and all of it, so that those who wait together don't come back together.
pub fn jittered(wait: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX);
    wait.mul_f64(0.5 + 0.5 * f64::from(random) / f64::from(u32::MAX))
}

/// A wall clock that is wrong, or set while we run; of one thread, so that tests don't disturb each other.
#[cfg(test)]
pub(crate) mod steps {
    use std::{cell::Cell, time::Duration};

    thread_local! {
        static AHEAD: Cell<i64> = const { Cell::new(0) };
    }

    /// From now on this thread's wall clock is so many seconds ahead of the true one, or behind it.
    pub(crate) fn set(ahead_seconds: i64) {
        AHEAD.set(ahead_seconds);
    }

    pub(super) fn stepped(now: Duration) -> Duration {
        let ahead = AHEAD.get();
        let by = Duration::from_secs(ahead.unsigned_abs());
        if ahead < 0 {
            now.saturating_sub(by)
        } else {
            now + by
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steady_clock_goes_on_whatever_the_wall_clock_does() {
        let before = steady_ms();
        for ahead in [10 * 365 * 86_400, -10 * 365 * 86_400] {
            steps::set(ahead);
            let shown = wall_seconds();
            let now = steady_ms();
            steps::set(0);
            assert!(shown.abs_diff(wall_seconds()) > 300_000_000, "it was set");
            assert!((before..before + 10_000).contains(&now), "{before} {now}");
        }
    }
}
