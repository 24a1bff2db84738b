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

/// One rate's bucket. Full at first, and after every rest.
#[derive(Debug, Default)]
pub struct Bucket {
    per_second: AtomicU64,
    /// What it holds when it is full.
    burst: AtomicU64,
    /// How long it takes to fill, in nanoseconds.
    depth: AtomicU64,
    /// In nanoseconds. In the past: full. Further ahead than `depth`: in debt.
    full_at: AtomicU64,
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
    /// From now on filled at that rate. What is in it, or owed, stays the same amount.
    pub fn set(&self, rate: Rate, now: Moment) {
        let before = self.per_second.swap(rate.per_second, Ordering::AcqRel);
        self.burst.store(rate.depth(), Ordering::Release);
        let depth = nanos_of(rate.depth(), rate.per_second);
        self.depth.store(depth, Ordering::Release);
        if before == rate.per_second {
            return;
        }
        // Whoever pays between these lines pays at the old rate or at the new one.
        let owed = |full_at: u64| {
            let missing = u128::from(full_at.saturating_sub(now.0)) * u128::from(before);
            let nanos = match rate.per_second {
                0 => 0,
                per_second => missing.div_ceil(per_second.into()),
            };
            Some(now.0.saturating_add(clamped(nanos)))
        };
        let _ = self
            .full_at
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, owed);
    }

    /// Whether there is a rate.
    #[inline]
    pub fn is_limited(&self) -> bool {
        self.per_second.load(Ordering::Relaxed) != 0
    }

    /// How long until something is in it; zero when something is. `paid` of it is the asker's own payment, and doesn't count.
    pub fn wait(&self, paid: u64, now: Moment) -> Duration {
        let per_second = self.per_second.load(Ordering::Acquire);
        let full_at = self.full_at.load(Ordering::Acquire);
        self.wait_from(full_at, nanos_of(paid, per_second), now)
    }

    /// Takes `cost`, if anything is in it but for what the asker has `paid` already.
    ///
    /// # Errors
    /// How long until something is.
    pub fn pay(&self, cost: u64, paid: u64, now: Moment) -> Result<(), Duration> {
        let per_second = self.per_second.load(Ordering::Acquire);
        let (cost, paid) = (nanos_of(cost, per_second), nanos_of(paid, per_second));
        let pay = |full_at: u64| {
            let wait = self.wait_from(full_at, paid, now);
            wait.is_zero()
                .then(|| full_at.max(now.0).saturating_add(cost))
        };
        match self
            .full_at
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, pay)
        {
            Ok(_) => Ok(()),
            Err(full_at) => Err(self.wait_from(full_at, paid, now)),
        }
    }

    fn wait_from(&self, full_at: u64, paid_nanos: u64, now: Moment) -> Duration {
        let ahead = full_at.saturating_sub(paid_nanos).saturating_sub(now.0);
        // A whole one: of a burst of two requests the third one waits for its own.
        let one = nanos_of(1, self.per_second.load(Ordering::Acquire));
        let depth = self.depth.load(Ordering::Acquire);
        Duration::from_nanos(ahead.saturating_add(one).saturating_sub(depth))
    }

    /// Takes `cost`, whatever is in it.
    pub fn charge(&self, cost: u64, now: Moment) {
        let per_second = self.per_second.load(Ordering::Acquire);
        let cost = nanos_of(cost, per_second);
        let paid = |full_at: u64| Some(full_at.max(now.0).saturating_add(cost));
        let _ = self
            .full_at
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, paid);
    }

    /// Gives a part of what was taken back.
    pub fn give_back(&self, cost: u64) {
        let per_second = self.per_second.load(Ordering::Acquire);
        let cost = nanos_of(cost, per_second);
        let back = |full_at: u64| Some(full_at.saturating_sub(cost));
        let _ = self
            .full_at
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, back);
    }

    /// What is in it now; below nothing in debt. `None` without a rate.
    pub fn level(&self, now: Moment) -> Option<i64> {
        let per_second = self.per_second.load(Ordering::Acquire);
        if per_second == 0 {
            return None;
        }
        let depth = self.depth.load(Ordering::Acquire);
        let ahead = self.full_at.load(Ordering::Acquire).saturating_sub(now.0);
        let nanos = i128::from(depth) - i128::from(ahead);
        let level = (nanos * i128::from(per_second)).div_euclid(NANOS as i128);
        Some(level.try_into().unwrap_or(i64::MIN))
    }

    /// What it is filled at, and what it holds when full.
    pub fn rate(&self) -> Rate {
        Rate {
            per_second: self.per_second.load(Ordering::Acquire),
            burst: self.burst.load(Ordering::Acquire),
        }
    }

    /// Whether it is as a new one is.
    pub fn is_full(&self, now: Moment) -> bool {
        self.full_at.load(Ordering::Acquire) <= now.0
    }
}

/// How long a rate takes for so much, rounded up: what costs something is never free.
fn nanos_of(cost: u64, per_second: u64) -> u64 {
    if per_second == 0 || cost == 0 {
        return 0;
    }
    match cost.checked_mul(NANOS as u64) {
        Some(nanos) => nanos.div_ceil(per_second),
        None => clamped((u128::from(cost) * NANOS).div_ceil(per_second.into())),
    }
}

fn clamped(nanos: u128) -> u64 {
    nanos.try_into().unwrap_or(u64::MAX)
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
