//! How much may be on its way to one destination, and when.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    clock,
    gateway::deliver::{COMPLAINT_EVERY, spool::Config},
    model::{AccountId, Bucket, Moment, Rate, Share, Signal},
};

/// After a failure; doubled with each that follows, up to the second.
const REST: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(30)];

/// One destination's.
pub(super) struct Course {
    /// Records on their way, and their bytes.
    out: Cell<usize>,
    bytes_out: Cell<u64>,
    /// How many may be: one after a failure, one more with each success.
    window: Cell<usize>,
    failures: Cell<u32>,
    rests_until: Cell<Option<Instant>>,
    /// Failures in a row, of lines that alone are refused for now.
    lines: RefCell<HashMap<(AccountId, Signal), u32>>,
    pace: Bucket,
    complained_at: Cell<Option<Instant>>,
}

// === impl Course ===

impl Course {
    pub(super) fn new(config: &Config) -> Self {
        let pace = Bucket::default();
        let rate = Rate {
            per_second: config.drain_bytes_per_second,
            burst: 0,
        };
        pace.set(rate, now());
        Self {
            out: Cell::new(0),
            bytes_out: Cell::new(0),
            window: Cell::new(1),
            failures: Cell::new(0),
            rests_until: Cell::new(None),
            lines: RefCell::default(),
            pace,
            complained_at: Cell::new(None),
        }
    }

    pub(super) fn is_out(&self) -> bool {
        self.out.get() > 0
    }

    pub(super) fn bytes_out(&self) -> u64 {
        self.bytes_out.get()
    }

    /// Whether it knows something that must not be forgotten.
    pub(super) fn is_wanted(&self) -> bool {
        let rests_until = self.rests_until.get();
        self.is_out() || rests_until.is_some_and(|until| Instant::now() < until)
    }

    /// Whether another record may go now.
    pub(super) fn is_open(&self, config: &Config, at: Instant) -> bool {
        let window = self.window.get().min(config.drain_records_max.max(1));
        self.out.get() < window
            && self.rests_until.get().is_none_or(|until| at >= until)
            && self.pace.wait(&Share::default(), now()).is_zero()
    }

    /// A record goes.
    pub(super) fn begin(&self, bytes: u64) {
        self.out.set(self.out.get() + 1);
        self.bytes_out.set(self.bytes_out.get() + bytes);
    }

    /// It is over, one way or another.
    pub(super) fn end(&self, bytes: u64) {
        self.out.set(self.out.get() - 1);
        self.bytes_out.set(self.bytes_out.get() - bytes);
    }

    pub(super) fn pay(&self, bytes: u64) {
        self.pace.charge(bytes, &mut Share::default(), now());
    }

    /// The destination has answered, and took it or refused it for good.
    pub(super) fn succeeded(&self, line: (AccountId, Signal)) {
        self.failures.set(0);
        self.rests_until.set(None);
        self.window.set(self.window.get().saturating_add(1));
        self.lines.borrow_mut().remove(&line);
    }

    /// The destination took nothing: all of it rests.
    pub(super) fn failed(&self, retry_after: Option<Duration>, at: Instant) {
        let resting = self.rests_until.get().filter(|until| at < *until);
        // Those that went together fail together, and count once.
        let until = resting.unwrap_or_else(|| {
            let rest = rest(self.failures.get());
            self.failures.set(self.failures.get().saturating_add(1));
            at + rest
        });
        let asked = at + retry_after.unwrap_or_default();
        self.rests_until.set(Some(until.max(asked)));
        self.window.set(1);
    }

    /// One line a second says that something was not taken, however much it was.
    pub(super) fn may_complain(&self, at: Instant) -> bool {
        let last = self.complained_at.get();
        let may = last.is_none_or(|last| at - last >= COMPLAINT_EVERY);
        if may {
            self.complained_at.set(Some(at));
        }
        may
    }

    /// The destination answers, and takes nothing of that line for now: how long it alone rests.
    pub(super) fn refused(
        &self,
        line: (AccountId, Signal),
        retry_after: Option<Duration>,
    ) -> Duration {
        let mut lines = self.lines.borrow_mut();
        let failures = lines.entry(line).or_default();
        let rest = rest(*failures).max(retry_after.unwrap_or_default());
        *failures = failures.saturating_add(1);
        rest
    }
}

fn rest(failures: u32) -> Duration {
    let rest = REST[0] * 2u32.saturating_pow(failures.min(10));
    clock::jittered(rest.min(REST[1]))
}

fn now() -> Moment {
    Moment(clock::steady_ns())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: (AccountId, Signal) = (AccountId(1), Signal::Logs);

    fn course(bytes_per_second: u64) -> (Course, Config) {
        let config = Config {
            drain_bytes_per_second: bytes_per_second,
            drain_records_max: 4,
            ..Config::default()
        };
        (Course::new(&config), config)
    }

    /// Sends as many as may go now.
    fn fill(course: &Course, config: &Config, at: Instant) -> usize {
        let mut gone = 0;
        while course.is_open(config, at) {
            course.begin(7);
            gone += 1;
        }
        gone
    }

    #[test]
    fn after_a_failure_one_goes_alone_and_more_with_each_success_up_to_the_ceiling() {
        let (course, config) = course(0);
        let at = Instant::now();
        for out in [1, 2, 4, 4] {
            assert_eq!(fill(&course, &config, at), out);
            (0..out).for_each(|_| {
                course.end(7);
                course.succeeded(LINE);
            });
        }
        assert_eq!(fill(&course, &config, at), 4);
        // Four that went together count once.
        (0..4).for_each(|_| {
            course.end(7);
            course.failed(None, at);
        });
        assert_eq!(fill(&course, &config, at), 0);
        assert_eq!(fill(&course, &config, at + REST[0]), 1);
        assert_eq!(course.bytes_out(), 7);
        // One of them is told to wait for longer.
        course.failed(None, at + REST[0]);
        course.failed(Some(Duration::from_secs(9)), at + REST[0]);
        course.end(7);
        assert_eq!(fill(&course, &config, at + Duration::from_secs(9)), 0);
    }

    #[test]
    fn rests_grow_to_half_a_minute_and_are_as_long_as_the_destination_asks() {
        let (course, config) = course(0);
        let mut at = Instant::now();
        let mut rests = Vec::new();
        for _ in 0..12 {
            course.failed(None, at);
            let began = at;
            while !course.is_open(&config, at) {
                at += Duration::from_millis(25);
            }
            rests.push(at - began);
        }
        let step = Duration::from_millis(25);
        assert!(
            rests[0] <= REST[0] + step && rests[11] <= REST[1] + step,
            "{rests:?}"
        );
        assert!(rests[11] >= REST[1] / 2, "{rests:?}");
        course.failed(Some(Duration::from_secs(120)), at);
        assert!(!course.is_open(&config, at + Duration::from_secs(119)));
        at += Duration::from_secs(120);
        assert!(course.is_open(&config, at));
        let alone = course.refused(LINE, Some(Duration::from_secs(60)));
        assert_eq!(alone, Duration::from_secs(60));
        assert!(course.is_open(&config, at), "others go on");
    }

    #[test]
    fn no_more_goes_than_the_pace_allows() {
        let (course, config) = course(1_000_000);
        let began = std::time::Instant::now();
        let mut sent = 0;
        while began.elapsed() < Duration::from_millis(1_500) {
            if course.is_open(&config, Instant::now()) {
                course.pay(10_000);
                sent += 10_000;
            } else {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        // A second's worth at once, then the pace, and one record.
        let allowed = began.elapsed().as_micros() as u64 + 1_000_000 + 10_000;
        assert!(sent <= allowed, "{sent} of {allowed}");
        assert!(sent * 10 >= allowed * 9, "{sent} of {allowed}");
    }
}
