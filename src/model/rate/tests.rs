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
            match bucket.pay(cost, &mut Share::default(), now) {
                Ok(()) => {
                    passed += u128::from(cost);
                    largest = largest.max(cost);
                }
                Err(wait) => {
                    prop_assert!(wait > Duration::ZERO);
                    was_refused_at = Some((now, passed));
                    let soon = Moment(now.0 + u64::try_from(wait.as_nanos()).expect("short"));
                    prop_assert_eq!(bucket.wait(&Share::default(), soon), Duration::ZERO);
                    prop_assert!(bucket.wait(&Share::default(), Moment(soon.0 - 1)) > Duration::ZERO);
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
        if bucket
            .pay(1, &mut Share::default(), Moment(step * 100_000))
            .is_ok()
        {
            passed += 1;
        }
    }
    // The last of them asks a tenth of a unit before the 60 seconds are over.
    assert_eq!(passed, 60 * 1_000 + 500 - 1);
}

#[test]
fn a_request_larger_than_a_burst_passes_and_the_next_one_waits_for_it() {
    let bucket = bucket(100, 10);
    assert!(bucket.pay(1_000, &mut Share::default(), seconds(1)).is_ok());
    assert_eq!(bucket.level(seconds(1)), Some(-990));
    let wait = bucket
        .pay(1, &mut Share::default(), seconds(1))
        .expect_err("it is in debt");
    assert_eq!(wait.as_millis(), 9_910);
    assert!(bucket.pay(1, &mut Share::default(), seconds(11)).is_ok());
}

#[test]
fn what_the_asker_has_taken_itself_does_not_stand_in_its_way_and_goes_back_whole() {
    let bucket = bucket(100, 10);
    let mut share = Share::default();
    bucket.charge(50, &mut share, seconds(1));
    assert_eq!(bucket.level(seconds(1)), Some(-40));
    assert_eq!(bucket.wait(&share, seconds(1)), Duration::ZERO, "its own");
    bucket.charge(10, &mut Share::default(), seconds(1));
    assert_eq!(bucket.wait(&share, seconds(1)).as_millis(), 10);
    let later = Moment(seconds(1).0 + 300_000_000);
    assert_eq!(bucket.level(later), Some(-20));
    bucket.give_back(&share, later);
    assert_eq!(bucket.level(later), Some(10), "as if it had never come");
    bucket.give_back(&share, seconds(9));
    assert_eq!(bucket.level(seconds(9)), Some(10), "no more than full");
}

#[test]
fn a_body_that_begins_slowly_is_not_refused_for_its_own_bytes() {
    let bucket = bucket(1_000_000, 0);
    let mut share = Share::default();
    bucket.charge(1_000, &mut share, seconds(1));
    bucket.charge(5_000_000, &mut share, seconds(9));
    assert_eq!(bucket.wait(&share, seconds(9)), Duration::ZERO);
    bucket.give_back(&share, seconds(9));
    assert_eq!(bucket.level(seconds(9)), Some(1_000_000));
}

#[test]
fn what_was_taken_before_a_rest_is_not_given_back_after_it() {
    let bucket = bucket(5, 5);
    let mut old = Share::default();
    bucket.charge(5, &mut old, seconds(1));
    // Full again since a second, and emptied by others.
    bucket.charge(5, &mut Share::default(), seconds(3));
    bucket.give_back(&old, seconds(3));
    assert_eq!(bucket.level(seconds(3)), Some(0));
}

#[test]
fn of_many_who_come_at_once_and_too_fast_some_pass_and_as_many_as_the_rate_says() {
    for seconds_each in [0, 1, 10] {
        let bucket = bucket(1_000_000, 0);
        let mut shares = [Share::default(); 10];
        let end = 1 + seconds_each;
        for second in 1..=end {
            for share in &mut shares {
                bucket.charge(2_000_000 / end, share, seconds(second));
            }
        }
        let passed = shares.iter().filter(|share| {
            let passes = bucket.wait(share, seconds(end)).is_zero();
            if !passes {
                bucket.give_back(share, seconds(end));
            }
            passes
        });
        let passed = 2 * passed.count() as u64;
        let allowed = seconds_each + 1 + 2;
        assert!((1..=allowed).contains(&passed), "{passed} MB of {allowed}");
        assert!(passed + 4 >= allowed.min(20), "{passed} MB of {allowed}");
    }
}

#[test]
fn a_change_of_the_rate_keeps_what_is_in_it_and_what_is_owed() {
    for (first, then) in [
        ((1_000, 0), (10, 0)),
        ((10, 0), (1_000, 0)),
        ((100, 10_000), (100, 100)),
        ((7, 100), (1_000_000_000, 0)),
        ((1_000_000_000_000, 0), (1, 1)),
    ] {
        for left in [-500, -1, 0, 3, 1_000_000] {
            let bucket = bucket(first.0, first.1);
            let full = bucket.level(seconds(1)).expect("a rate");
            let left = full.min(left);
            bucket.charge(
                (full - left).unsigned_abs(),
                &mut Share::default(),
                seconds(1),
            );
            let (per_second, burst) = then;
            bucket.set(Rate { per_second, burst }, seconds(1));
            let fits = i64::try_from(bucket.rate().burst).expect("small");
            let level = bucket.level(seconds(1)).expect("a rate");
            // Rounded down to the nanosecond, which at the fastest rate here is a thousand.
            let rounding = i64::try_from(first.0.max(then.0) / 1_000_000_000).expect("small") + 1;
            let off = left.min(fits) - level;
            assert!(
                (0..=rounding).contains(&off),
                "{first:?} {then:?}: {left} {level}"
            );
        }
    }
}

#[test]
fn without_a_rate_everything_passes_and_one_that_comes_begins_full() {
    let bucket = Bucket::default();
    assert!(
        bucket
            .pay(u64::MAX, &mut Share::default(), seconds(5))
            .is_ok()
    );
    bucket.charge(u64::MAX, &mut Share::default(), seconds(5));
    bucket.set(
        Rate {
            per_second: 10,
            burst: 0,
        },
        seconds(1),
    );
    assert_eq!(bucket.level(seconds(1)), Some(10));
    assert_eq!(bucket.level(seconds(1)), Some(10));
    bucket.set(Rate::default(), seconds(1));
    assert_eq!(bucket.level(seconds(1)), None);
    // By the clocks of workers that read them a little apart.
    assert!(bucket.pay(1, &mut Share::default(), seconds(9)).is_ok());
    assert_eq!(bucket.wait(&Share::default(), seconds(2)), Duration::ZERO);
    assert!(bucket.pay(1, &mut Share::default(), seconds(2)).is_ok());
}

#[test]
fn a_burst_that_takes_longer_than_a_life_to_fill_is_no_way_around_a_rate() {
    let bucket = bucket(1, 1_000_000_000_000);
    for _ in 0..1_000 {
        let _ = bucket.pay(1_000_000_000, &mut Share::default(), seconds(1));
    }
    assert!(bucket.pay(1, &mut Share::default(), seconds(1)).is_err());
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
                    if bucket.pay(100, &mut Share::default(), now).is_ok() {
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

#[test]
fn what_was_taken_is_as_much_after_the_rate_has_changed() {
    for (before, after) in [(10_000_000, 1_000_000), (1_000, 1_000_000)] {
        let bucket = bucket(before, before);
        let (mut share, mut others) = (Share::default(), Share::default());
        bucket.charge(6 * before, &mut share, seconds(1));
        bucket.charge(5 * before, &mut others, seconds(1));
        let rate = Rate {
            per_second: after,
            burst: after,
        };
        bucket.set(rate, seconds(1));
        let owed_by_others = bucket.level(seconds(1)).expect("a rate") + 6 * before as i64;
        bucket.give_back(&share, seconds(1));
        assert_eq!(bucket.level(seconds(1)), Some(owed_by_others));
        bucket.charge(1, &mut others, seconds(1));
        bucket.give_back(&others, seconds(1));
        // What was in it at first, as far as it fits.
        let first = before.min(after) as i64;
        assert_eq!(bucket.level(seconds(1)), Some(first), "{before}");
    }
    let mut share = Share::default();
    bucket(1_000, 1_000).charge(5_000, &mut share, seconds(1));
    assert_eq!(share.at(0, seconds(1)).taken, 0, "without a rate");
    let halved = share.at(500, seconds(3));
    assert_eq!((halved.taken, halved.until), (10_000_000_000, seconds(9).0));
}

#[test]
fn a_change_that_leaves_a_bucket_full_leaves_nobody_anything_to_give_back() {
    for (then, full) in [((1_000_000, 1_000_000), 1_000_000), ((10_000_000, 2), 2)] {
        let bucket = bucket(10_000_000, 10_000_000);
        let (mut old, mut others) = (Share::default(), Share::default());
        bucket.charge(6_000_000, &mut old, seconds(1));
        let (per_second, burst) = then;
        bucket.set(Rate { per_second, burst }, Moment(seconds(1).0 + 1));
        assert_eq!(bucket.level(Moment(seconds(1).0 + 1)), Some(full));
        let now = Moment(seconds(1).0 + 2);
        bucket.charge(9_000_000, &mut others, now);
        let owed = bucket.level(now);
        bucket.give_back(&old, now);
        assert_eq!(bucket.level(now), owed);
        assert!(!bucket.wait(&old, now).is_zero());
        // What it takes from now on is its own again.
        bucket.charge(1_000, &mut old, now);
        bucket.give_back(&old, now);
        assert_eq!(bucket.level(now), owed);
    }
}

#[test]
fn a_worker_whose_clock_is_behind_has_paid_for_its_own_bytes_too() {
    let bucket = bucket(1_000, 1);
    bucket.charge(1, &mut Share::default(), Moment(seconds(5).0 + 900));
    let mut share = Share::default();
    bucket.charge(9_000, &mut share, seconds(5));
    assert_eq!(bucket.wait(&share, seconds(8)), Duration::ZERO);
    let rate = Rate {
        per_second: 2_000,
        burst: 5,
    };
    // Full again, and changed by a worker whose clock is ahead.
    bucket.set(rate, Moment(seconds(50).0 + 900));
    let mut share = Share::default();
    bucket.charge(9_000, &mut share, seconds(50));
    bucket.give_back(&share, seconds(51));
    assert_eq!(bucket.level(seconds(51)), Some(5));
}

#[test]
fn what_was_full_again_before_its_rate_changed_is_not_given_back() {
    for then in [20, 1_000_000] {
        let bucket = bucket(10, 10);
        let (mut old, mut others) = (Share::default(), Share::default());
        bucket.charge(6, &mut old, seconds(1));
        let rate = Rate {
            per_second: then,
            burst: 0,
        };
        bucket.set(rate, seconds(100));
        bucket.charge(then, &mut others, seconds(100));
        let level = bucket.level(seconds(100));
        bucket.give_back(&old, seconds(100));
        assert_eq!(bucket.level(seconds(100)), level, "{then}");
    }
}
