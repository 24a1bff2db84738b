//! How often somebody may fail: counted by user and by address, in memory that does not grow with what attackers invent.

use std::{
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::control::store::random;

/// How long failures count.
const WINDOW: Duration = Duration::from_secs(300);
/// Wrong passwords for one user, and from one address, in a window.
const USER_FAILURES: u16 = 10;
const ADDRESS_FAILURES: u16 = 50;
/// Unknown tokens from one address in a window. They cannot be guessed; this is for the noise.
const TOKEN_FAILURES: u16 = 1000;
/// Tokens of other accounts that an account's people give, in a window.
const GIVEN_FAILURES: u16 = 10;
/// Places of a row: 2 rows of 8 bytes each make 256 KiB.
const PLACES: usize = 1 << 14;
const ROWS: usize = 2;

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Failing<'a> {
    /// Logging in under that name.
    User(&'a str),
    /// Logging in from there.
    Address(Option<IpAddr>),
    /// Presenting unknown tokens from there.
    Tokens(Option<IpAddr>),
    /// Giving tokens that are another account's, by the people of that one.
    Giving(u64),
}

/// Counters in two rows, each name in one place of each: the smaller count is never too small, and too large only when
/// both places are shared.
pub(in crate::control) struct Throttle {
    key: [u8; 32],
    start: Instant,
    rows: Mutex<Box<[[Place; PLACES]; ROWS]>>,
}

#[derive(Clone, Copy, Default)]
struct Place {
    window: u32,
    failures: u16,
}

// === impl Throttle ===

impl Throttle {
    pub(in crate::control) fn new() -> Self {
        Self {
            key: random(),
            start: Instant::now(),
            rows: Mutex::new(Box::new([[Place::default(); PLACES]; ROWS])),
        }
    }

    /// Counts a failure beforehand, so that many at once are no way around; after how long to come again, when there were
    /// too many already.
    pub(super) fn charge(&self, failing: Failing<'_>) -> Result<(), Duration> {
        let (window, left) = self.window();
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let places = self.places(failing);
        let count = |place: Place| {
            if place.window == window {
                place.failures
            } else {
                0
            }
        };
        let failures = (0..ROWS).map(|row| count(rows[row][places[row]])).min();
        if failures.unwrap_or(0) >= failing.most() {
            return Err(left);
        }
        for (row, place) in places.into_iter().enumerate() {
            let place = &mut rows[row][place];
            *place = Place {
                window,
                failures: count(*place).saturating_add(1),
            };
        }
        Ok(())
    }

    /// It was none.
    pub(super) fn refund(&self, failing: Failing<'_>) {
        let (window, _) = self.window();
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        for (row, place) in self.places(failing).into_iter().enumerate() {
            let place = &mut rows[row][place];
            if place.window == window {
                place.failures = place.failures.saturating_sub(1);
            }
        }
    }

    /// Which window it is, from 1, and how long it lasts.
    fn window(&self) -> (u32, Duration) {
        let elapsed = self.start.elapsed();
        let past = elapsed.as_secs() / WINDOW.as_secs();
        let end = WINDOW * u32::try_from(past + 1).unwrap_or(u32::MAX);
        let window = u32::try_from(past + 1).unwrap_or(u32::MAX);
        (window, end.saturating_sub(elapsed))
    }

    /// Keyed, so that nobody can choose whose places they share.
    fn places(&self, failing: Failing<'_>) -> [usize; ROWS] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        let mut address = |address: Option<IpAddr>| match address {
            None => {}
            Some(IpAddr::V4(address)) => {
                hasher.update(&address.octets());
            }
            // Whoever has one address of a /64 has them all.
            Some(IpAddr::V6(address)) => {
                hasher.update(&address.octets()[..8]);
            }
        };
        let kind = match failing {
            Failing::User(name) => {
                hasher.update(name.as_bytes());
                b"u"
            }
            Failing::Address(from) => {
                address(from);
                b"a"
            }
            Failing::Tokens(from) => {
                address(from);
                b"t"
            }
            Failing::Giving(account) => {
                hasher.update(&account.to_le_bytes());
                b"g"
            }
        };
        hasher.update(kind);
        let hash = *hasher.finalize().as_bytes();
        [0, 8].map(|at| usize::from(u16::from_le_bytes([hash[at], hash[at + 1]])) % PLACES)
    }
}

// === impl Failing ===

impl Failing<'_> {
    const fn most(self) -> u16 {
        match self {
            Self::User(_) => USER_FAILURES,
            Self::Address(_) => ADDRESS_FAILURES,
            Self::Tokens(_) => TOKEN_FAILURES,
            Self::Giving(_) => GIVEN_FAILURES,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_failures_stop_one_name_and_not_another() {
        let throttle = Throttle::new();
        for _ in 0..USER_FAILURES {
            assert!(throttle.charge(Failing::User("anna")).is_ok());
        }
        let wait = throttle
            .charge(Failing::User("anna"))
            .expect_err("too many");
        assert!(wait <= WINDOW && !wait.is_zero());
        assert!(throttle.charge(Failing::User("bert")).is_ok());
        throttle.refund(Failing::User("anna"));
        assert!(throttle.charge(Failing::User("anna")).is_ok());
    }

    #[test]
    fn twenty_thousand_invented_names_stop_hardly_anybody_else() {
        let throttle = Throttle::new();
        for name in 0..20_000 {
            let _ = throttle.charge(Failing::User(&format!("invented {name}")));
        }
        let stopped = (0..1000)
            .filter(|name| {
                throttle
                    .charge(Failing::User(&format!("honest {name}")))
                    .is_err()
            })
            .count();
        assert!(stopped < 10, "{stopped} of 1,000");
    }

    #[test]
    fn a_whole_network_of_ipv6_counts_as_one_address() {
        let throttle = Throttle::new();
        let from = |last: u16| Some(IpAddr::from([0x2001, 0xdb8, 0, 7, 0, 0, 0, last]));
        for last in 0..ADDRESS_FAILURES {
            assert!(throttle.charge(Failing::Address(from(last))).is_ok());
        }
        assert!(throttle.charge(Failing::Address(from(9999))).is_err());
    }
}
