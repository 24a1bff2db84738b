//! Rates: how fast payloads may come, and the buckets that they are paid from.
//!
//! A bucket is one number, the moment at which it will be full again. Whoever finds one at least in it passes and pays in full, into
//! debt if need be: a body larger than a burst passes too, and the next one waits for it. So what passes over any time is the
//! rate, one burst and one request at most, and what was given back: who is given back what failed long after it was taken, has as
//! much more at once, so that over all that time it comes to the same.

use std::{
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

const NANOS: u128 = 1_000_000_000;

/// Some thirty years: no bucket is deeper, and nothing costs more.
const NANOS_MAX: u64 = 1_000_000_000_000_000_000;

/// A moment by a clock that nobody sets: nanoseconds from a start that all moments of a process share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

/// What is counted, and weighed against a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Requests.
    Requests,
    /// Bytes of bodies, after inflation.
    Bytes,
    /// Lines, log records, spans, data points, samples, histograms, exemplars.
    Items,
}

/// So many a second over any length of time, and a burst on top.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// 0 = no rate.
    pub per_second: u64,
    /// What comes at once after a rest; 0 = what comes in a second.
    pub burst: u64,
}

/// A rate for each [`Measure`], by [`Measure::index`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates(pub [Rate; 3]);

/// One rate's bucket. Full at first, and after every rest. Without a rate it holds everybody's everything.
#[derive(Debug, Default)]
pub struct Bucket {
    is_limited: AtomicBool,
    /// Held for a few instructions, and only where there is a rate.
    filling: Mutex<Filling>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Filling {
    rate: Rate,
    /// In nanoseconds. In the past: full. Further ahead than it takes to fill: in debt.
    full_at: u64,
    /// When somebody last took from it, or changed its rate, while it was full.
    was_full_at: u64,
    /// When a change of the rate last left it full: what was owed before is owed no more.
    forgot_at: u64,
}

/// What somebody has taken from a bucket. In a bucket that was never full since, all of that counts: whatever time has filled in
/// was everybody's. In one that was, time would have filled in no more, and what is older counts as far as it isn't over.
#[derive(Clone, Copy, Debug, Default)]
pub struct Share {
    /// The rate that it was last taken at.
    per_second: u64,
    /// In nanoseconds of that rate.
    taken: u64,
    since: u64,
    /// When time alone has given it back.
    until: u64,
}

/// A bucket for each [`Measure`]. They outlive every change of the rates that they are filled by.
#[derive(Debug, Default)]
pub struct Buckets([Bucket; 3]);

// === impl Measure ===

impl Measure {
    /// Every one, in the order of [`Measure::index`].
    pub const ALL: [Self; 3] = [Self::Requests, Self::Bytes, Self::Items];

    /// A place in an array of three.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requests => "requests",
            Self::Bytes => "bytes",
            Self::Items => "items",
        })
    }
}

// === impl Rate ===

impl Rate {
    /// What passes at once after a rest; 0 without a rate.
    pub const fn depth(self) -> u64 {
        match self.burst {
            0 => self.per_second,
            burst => burst,
        }
    }
}

// === impl Rates ===

impl Rates {
    /// The rate of that measure.
    pub const fn of(&self, measure: Measure) -> Rate {
        self.0[measure.index()]
    }
}

// === impl Bucket ===

impl Bucket {
    /// From now on filled at that rate. What is in it stays, as far as it fits, and so does what is owed.
    pub fn set(&self, rate: Rate, now: Moment) {
        let rate = Rate {
            burst: rate.depth(),
            ..rate
        };
        let mut filling = self.lock();
        if filling.rate == rate {
            return;
        }
        let level = filling.level(now);
        let full = i64::try_from(rate.burst).unwrap_or(i64::MAX);
        let missing = level.map_or(0, |level| full.saturating_sub(level.min(full)));
        let missing = nanos_of(missing.unsigned_abs(), rate.per_second);
        if filling.full_at <= now.0 {
            filling.was_full_at = now.0;
        }
        filling.rate = rate;
        filling.full_at = now.0.saturating_add(missing);
        if missing == 0 {
            filling.forgot_at = now.0;
        }
        self.is_limited
            .store(rate.per_second != 0, Ordering::Release);
    }

    /// What it is filled at, and what it holds when full.
    pub fn rate(&self) -> Rate {
        self.lock().rate
    }

    /// Whether there is a rate.
    #[inline]
    pub fn is_limited(&self) -> bool {
        self.is_limited.load(Ordering::Acquire)
    }

    /// How long until one whole unit is in it, but for the asker's own `share`; zero when there is.
    pub fn wait(&self, share: &Share, now: Moment) -> Duration {
        match self.is_limited() {
            true => self.lock().wait(share, now),
            false => Duration::ZERO,
        }
    }

    /// Takes `cost`, if one whole unit is in it: of a burst of two requests the third one waits for its own.
    ///
    /// # Errors
    /// How long until there is.
    pub fn pay(&self, cost: u64, share: &mut Share, now: Moment) -> Result<(), Duration> {
        if !self.is_limited() {
            return Ok(());
        }
        let mut filling = self.lock();
        let wait = filling.wait(&Share::default(), now);
        if !wait.is_zero() {
            return Err(wait);
        }
        filling.take(cost, share, now);
        Ok(())
    }

    /// Takes `cost`, whatever is in it.
    pub fn charge(&self, cost: u64, share: &mut Share, now: Moment) {
        if self.is_limited() {
            self.lock().take(cost, share, now);
        }
    }

    /// Gives back what was taken; it never holds more than when it is full.
    pub fn give_back(&self, share: &Share, now: Moment) {
        if self.is_limited() {
            let mut filling = self.lock();
            filling.full_at = filling.full_at.saturating_sub(filling.left(share, now));
        }
    }

    /// What is in it now; below nothing in debt. `None` without a rate.
    pub fn level(&self, now: Moment) -> Option<i64> {
        self.lock().level(now)
    }

    /// Whether it is as a new one is.
    pub fn is_full(&self, now: Moment) -> bool {
        self.lock().full_at <= now.0
    }

    fn lock(&self) -> MutexGuard<'_, Filling> {
        self.filling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Filling ===

impl Filling {
    fn take(&mut self, cost: u64, share: &mut Share, now: Moment) {
        let cost = nanos_of(cost, self.rate.per_second);
        if self.full_at <= now.0 {
            self.was_full_at = now.0;
        }
        self.full_at = self.full_at.max(now.0).saturating_add(cost);
        *share = self.counted(share, now);
        share.until = share.until.max(now.0);
        if share.taken == 0 || self.was_full_at > share.since {
            share.taken = share.until - now.0;
            // Another worker's clock may be a little ahead of this one's.
            share.since = now.0.max(self.was_full_at).max(self.forgot_at);
        }
        share.taken = share.taken.saturating_add(cost);
        share.until = share.until.saturating_add(cost);
    }

    /// What of a share still counts: no more than is missing.
    fn left(&self, share: &Share, now: Moment) -> u64 {
        let share = self.counted(share, now);
        let left = match self.was_full_at > share.since {
            true => share.until.saturating_sub(now.0),
            false => share.taken,
        };
        left.min(self.full_at.saturating_sub(now.0))
    }

    /// A share by the rate as it is now.
    fn counted(&self, share: &Share, now: Moment) -> Share {
        let share = match share.since < self.forgot_at {
            true => Share::default(),
            false => *share,
        };
        share.at(self.rate.per_second, now)
    }

    fn wait(&self, share: &Share, now: Moment) -> Duration {
        let Rate { per_second, burst } = self.rate;
        if per_second == 0 {
            return Duration::ZERO;
        }
        let ahead = self.full_at.saturating_sub(now.0) - self.left(share, now);
        let one = nanos_of(1, per_second);
        let full = nanos_of(burst, per_second);
        Duration::from_nanos(ahead.saturating_add(one).saturating_sub(full))
    }

    fn level(&self, now: Moment) -> Option<i64> {
        let Rate { per_second, burst } = self.rate;
        if per_second == 0 {
            return None;
        }
        let ahead = self.full_at.saturating_sub(now.0);
        let nanos = i128::from(nanos_of(burst, per_second)) - i128::from(ahead);
        let level = (nanos * i128::from(per_second)).div_euclid(NANOS as i128);
        Some(level.try_into().unwrap_or(i64::MIN))
    }
}

// === impl Share ===

impl Share {
    /// As much of whatever is counted, by another rate.
    fn at(&self, per_second: u64, now: Moment) -> Self {
        if self.per_second == per_second {
            return *self;
        }
        let scaled = |nanos: u64| {
            let nanos = u128::from(nanos) * u128::from(self.per_second);
            let nanos = nanos.checked_div(per_second.into()).unwrap_or(0);
            nanos.try_into().unwrap_or(u64::MAX).min(NANOS_MAX)
        };
        let until = scaled(self.until.saturating_sub(now.0));
        Self {
            per_second,
            taken: scaled(self.taken),
            since: self.since,
            until: now.0.saturating_add(until),
        }
    }
}

/// How long a rate takes for so much, rounded up: what costs something is never free. No rate takes no time.
fn nanos_of(cost: u64, per_second: u64) -> u64 {
    if per_second == 0 || cost == 0 {
        return 0;
    }
    match cost.checked_mul(NANOS as u64) {
        Some(nanos) => nanos.div_ceil(per_second).min(NANOS_MAX),
        None => {
            let nanos = (u128::from(cost) * NANOS).div_ceil(per_second.into());
            nanos.try_into().unwrap_or(u64::MAX).min(NANOS_MAX)
        }
    }
}

// === impl Buckets ===

impl Buckets {
    /// From now on filled at those rates.
    pub fn set(&self, rates: &Rates, now: Moment) {
        for measure in Measure::ALL {
            self.of(measure).set(rates.of(measure), now);
        }
    }

    /// The bucket of that measure.
    #[inline]
    pub const fn of(&self, measure: Measure) -> &Bucket {
        &self.0[measure.index()]
    }

    /// Whether there is any rate.
    #[inline]
    pub fn is_limited(&self) -> bool {
        self.0.iter().any(Bucket::is_limited)
    }

    /// Whether they are as new ones are.
    pub fn is_full(&self, now: Moment) -> bool {
        self.0.iter().all(|bucket| bucket.is_full(now))
    }
}

#[cfg(test)]
mod tests;
