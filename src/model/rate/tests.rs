//! A bucket against what its rate says, whatever comes and however fast.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use proptest::prelude::*;

use super::*;

fn bucket(per_second: u64, burst: u64) -> Bucket {
    let bucket = Bucket::default();
    bucket.set(Rate { per_second, burst }, Moment(0));
    bucket
}

fn seconds(seconds: u64) -> Moment {
    Moment(seconds * 1_000_000_000)
}

proptest! {
    #[test]
    fn what_passes_is_the_rate_a_burst_and_one_request_at_most_and_no_less_under_demand(
        per_second in 1u64..1_000_000,
        burst in 0u64..2_000_000,
        asks in prop::collection::vec((0u64..2_000_000_000, 1u64..5_000), 1..300),
    ) {
        let rate = Rate { per_second, burst };
        let bucket = bucket(per_second, burst);
        let (mut now, mut passed, mut largest) = (Moment(1 << 40), 0u128, 0u64);
        let start = now;
        let mut was_refused_at = None;
        for (pause, cost) in asks {
            now.0 += pause;
            match bucket.pay(cost, 0, now) {
                Ok(()) => {
                    passed += u128::from(cost);
                    largest = largest.max(cost);
                }
                Err(wait) => {
                    prop_assert!(wait > Duration::ZERO);
                    was_refused_at = Some((now, passed));
                    let soon = Moment(now.0 + u64::try_from(wait.as_nanos()).expect("short"));
                    prop_assert_eq!(bucket.wait(0, soon), Duration::ZERO);
                    prop_assert!(bucket.wait(0, Moment(soon.0 - 1)) > Duration::ZERO);
                }
            }
        }
        let filled = |until: Moment| u128::from(until.0 - start.0) * u128::from(per_second) / NANOS;
        let most = filled(now) + u128::from(rate.depth()) + u128::from(largest) + 1;
        prop_assert!(passed <= most, "{passed} of {most}");
        if let Some((at, passed)) = was_refused_at {
            // Refused only once the burst was spent; rounding costs a unit a request at most.
            prop_assert!(passed + 300 >= u128::from(rate.depth()), "{passed} at {at:?}");
        }
    }
}

#[test]
fn a_constant_demand_gets_the_rate_to_the_unit() {
    let bucket = bucket(1_000, 500);
    let mut passed = 0;
    for step in 0..600_000u64 {
        // Ten times the rate, over 60 seconds.
        if bucket.pay(1, 0, Moment(step * 100_000)).is_ok() {
            passed += 1;
        }
    }
    // The last of them asks a tenth of a unit before the 60 seconds are over.
    assert_eq!(passed, 60 * 1_000 + 500 - 1);
}

#[test]
fn a_request_larger_than_a_burst_passes_and_the_next_one_waits_for_it() {
    let bucket = bucket(100, 10);
    assert!(bucket.pay(1_000, 0, seconds(1)).is_ok());
    assert_eq!(bucket.level(seconds(1)), Some(-990));
    let wait = bucket.pay(1, 0, seconds(1)).expect_err("it is in debt");
    assert_eq!(wait.as_millis(), 9_910);
    assert!(bucket.pay(1, 0, seconds(11)).is_ok());
}

#[test]
fn what_the_asker_paid_itself_does_not_stand_in_its_way() {
    let bucket = bucket(100, 10);
    assert!(bucket.pay(50, 0, seconds(1)).is_ok());
    assert!(bucket.pay(5, 0, seconds(1)).is_err());
    assert!(bucket.pay(5, 50, seconds(1)).is_ok());
    bucket.give_back(55);
    assert_eq!(bucket.level(seconds(1)), Some(10));
}

#[test]
fn a_change_of_the_rate_keeps_what_is_owed() {
    let bucket = bucket(100, 100);
    bucket.charge(300, seconds(1));
    assert_eq!(bucket.level(seconds(1)), Some(-200));
    for (per_second, burst) in [(1_000, 100), (7, 100), (1_000_000_000, 100), (100, 100)] {
        bucket.set(Rate { per_second, burst }, seconds(1));
        let level = bucket.level(seconds(1)).expect("a rate");
        assert!((-203..=-200).contains(&level), "{level} at {per_second}");
    }
    bucket.set(Rate::default(), seconds(1));
    assert_eq!(bucket.level(seconds(1)), None);
    assert!(bucket.pay(u64::MAX, 0, seconds(1)).is_ok());
}

#[test]
fn threads_together_get_no_more_than_one_would() {
    let bucket = bucket(1_000_000, 1_000);
    let passed = AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..4u64 {
            let (bucket, passed) = (&bucket, &passed);
            scope.spawn(move || {
                for step in 0..100_000u64 {
                    let now = Moment(step * 1_000 + thread);
                    if bucket.pay(100, 0, now).is_ok() {
                        passed.fetch_add(100, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    // A tenth of a second, and a request on top.
    let passed = passed.into_inner();
    assert!(passed <= 100_000 + 1_000 + 100, "{passed}");
    assert!(passed >= 100_000, "{passed}");
}
