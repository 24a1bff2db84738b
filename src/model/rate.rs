//! Rates: how fast payloads may come, and the buckets that they are paid from.
//!
//! A bucket is one number, the moment at which it will be full again. Whoever finds one at least in it passes and pays in full, into
//! debt if need be: a body larger than a burst passes too, and the next one waits for it. So what passes over any time is the
//! rate, one burst and one request at most.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

const NANOS: u128 = 1_000_000_000;

/// Some thirty years: no bucket is deeper, and nothing costs more.
const NANOS_MAX: u64 = 1_000_000_000_000_000_000;

/// A moment by a clock that nobody sets: nanoseconds from a start that all moments of a process share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    per_second: AtomicU64,
    /// What it holds when it is full.
    burst: AtomicU64,
    /// In nanoseconds. In the past: full. Further ahead than it takes to fill: in debt.
    full_at: AtomicU64,
    /// Of requests that are on their way and have not paid yet: nobody else is let in on it.
    arriving: AtomicU64,
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
        if self.rate() == rate {
            return;
        }
        let level = self.level(now);
        // Nobody pays until it is whole.
        self.per_second.store(0, Ordering::Release);
        self.burst.store(rate.burst, Ordering::Release);
        let full = i64::try_from(rate.burst).unwrap_or(i64::MAX);
        let missing = level.map_or(0, |level| full.saturating_sub(level.min(full)));
        let missing = nanos_of(missing.unsigned_abs(), rate.per_second);
        let full_at = now.0.saturating_add(missing);
        self.full_at.store(full_at, Ordering::Release);
        self.per_second.store(rate.per_second, Ordering::Release);
    }

    /// What it is filled at, and what it holds when full.
    pub fn rate(&self) -> Rate {
        Rate {
            per_second: self.per_second.load(Ordering::Acquire),
            burst: self.burst.load(Ordering::Acquire),
        }
    }

    /// Whether there is a rate.
    #[inline]
    pub fn is_limited(&self) -> bool {
        self.per_second.load(Ordering::Relaxed) != 0
    }

    /// How long until something is in it, but for what is arriving; zero when something is.
    pub fn wait(&self, now: Moment) -> Duration {
        let rate = self.rate();
        let arriving = nanos_of(self.arriving.load(Ordering::Acquire), rate.per_second);
        let full_at = self.full_at.load(Ordering::Acquire).max(now.0);
        wait_from(full_at.saturating_add(arriving), rate, now)
    }

    /// Takes `cost`, if anything is in it.
    ///
    /// # Errors
    /// How long until something is.
    pub fn pay(&self, cost: u64, now: Moment) -> Result<(), Duration> {
        let rate = self.rate();
        if rate.per_second == 0 {
            return Ok(());
        }
        let cost = nanos_of(cost, rate.per_second);
        let pay = |full_at: u64| {
            let is_empty = !wait_from(full_at, rate, now).is_zero();
            (!is_empty).then(|| full_at.max(now.0).saturating_add(cost))
        };
        match self
            .full_at
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, pay)
        {
            Ok(_) => Ok(()),
            Err(full_at) => Err(wait_from(full_at, rate, now)),
        }
    }

    /// Takes `cost`, whatever is in it.
    pub fn charge(&self, cost: u64, now: Moment) {
        let per_second = self.per_second.load(Ordering::Acquire);
        let cost = nanos_of(cost, per_second);
        if cost > 0 {
            self.move_full_at(|full_at| full_at.max(now.0).saturating_add(cost));
        }
    }

    /// Gives back what was taken; it never holds more than when it is full.
    pub fn give_back(&self, cost: u64, now: Moment) {
        let per_second = self.per_second.load(Ordering::Acquire);
        let cost = nanos_of(cost, per_second);
        if cost > 0 {
            self.move_full_at(|full_at| full_at.saturating_sub(cost).max(now.0));
        }
    }

    fn move_full_at(&self, to: impl Fn(u64) -> u64) {
        let _ = self
            .full_at
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |at| Some(to(at)));
    }

    /// So much is on its way; [`Bucket::arrived`] must follow.
    pub fn arriving(&self, cost: u64) {
        self.arriving.fetch_add(cost, Ordering::AcqRel);
    }

    /// So much has been on its way, and pays now or never.
    pub fn arrived(&self, cost: u64) {
        self.arriving.fetch_sub(cost, Ordering::AcqRel);
    }

    /// What is in it now; below nothing in debt. `None` without a rate.
    pub fn level(&self, now: Moment) -> Option<i64> {
        let rate = self.rate();
        if rate.per_second == 0 {
            return None;
        }
        let full = nanos_of(rate.burst, rate.per_second);
        let ahead = self.full_at.load(Ordering::Acquire).saturating_sub(now.0);
        let nanos = i128::from(full) - i128::from(ahead);
        let level = (nanos * i128::from(rate.per_second)).div_euclid(NANOS as i128);
        Some(level.try_into().unwrap_or(i64::MIN))
    }

    /// Whether it is as a new one is.
    pub fn is_full(&self, now: Moment) -> bool {
        self.full_at.load(Ordering::Acquire) <= now.0
    }
}

/// How long until one whole unit is in a bucket: of a burst of two requests the third one waits for its own.
fn wait_from(full_at: u64, rate: Rate, now: Moment) -> Duration {
    let ahead = full_at.saturating_sub(now.0);
    let one = nanos_of(1, rate.per_second);
    let full = nanos_of(rate.burst, rate.per_second);
    Duration::from_nanos(ahead.saturating_add(one).saturating_sub(full))
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
