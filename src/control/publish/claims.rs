//! For whom other control planes speak, as far as the store tells and our own clock: theirs may differ, and any may be stepped.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::control::record::{GatewayRow, Millis};

/// A control plane renews its claims four times in that time; one that crashed leaves them behind.
const STANDS_FOR: Duration = Duration::from_secs(60);

/// Claims of gateways' names, and since when we have seen each as it is.
#[derive(Default)]
pub(super) struct Claims(Mutex<HashMap<String, Seen>>);

#[derive(Clone, Copy)]
struct Seen {
    holder: u64,
    /// By the clock of whoever wrote it: tells one writing from the next, and nothing else.
    written_at: Millis,
    since: Instant,
}

// === impl Claims ===

impl Claims {
    /// All there are at the moment.
    pub(super) fn see(&self, rows: &[GatewayRow], now: Instant) {
        let mut claims = self.claims();
        let seen = rows.iter().map(|row| {
            let before = claims.get(&row.name).copied();
            (row.name.clone(), Seen::of(row, before, now))
        });
        *claims = seen.collect();
    }

    /// Whether a stream speaks for it somewhere. One that we have not seen renewed for a minute does so no more.
    pub(super) fn is_held(&self, row: &GatewayRow, now: Instant) -> bool {
        let mut claims = self.claims();
        let before = claims.get(&row.name).copied();
        let seen = Seen::of(row, before, now);
        claims.insert(row.name.clone(), seen);
        seen.holder != 0 && now.saturating_duration_since(seen.since) < STANDS_FOR
    }

    fn claims(&self) -> MutexGuard<'_, HashMap<String, Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl Claims {
    /// As if all had been seen so much earlier.
    pub(super) fn age(&self, by: Duration) {
        for seen in self.claims().values_mut() {
            seen.since = seen.since.checked_sub(by).expect("up for longer");
        }
    }
}

// === impl Seen ===

impl Seen {
    fn of(row: &GatewayRow, before: Option<Self>, now: Instant) -> Self {
        let as_before =
            before.filter(|it| (it.holder, it.written_at) == (row.holder, row.last_seen_at));
        as_before.unwrap_or(Self {
            holder: row.holder,
            written_at: row.last_seen_at,
            since: now,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(holder: u64, last_seen_at: Millis) -> GatewayRow {
        GatewayRow {
            name: "edge".to_owned(),
            instance: "i".to_owned(),
            version: "1".to_owned(),
            revision: 1,
            last_seen_at,
            holder,
        }
    }

    #[test]
    fn a_claim_stands_for_a_minute_of_our_clock_after_it_was_seen_renewed() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        // Clocks of others, which say 1970 and the far future, and one that is stepped back.
        for times in [
            [1, 2, 3],
            [1 << 50, (1 << 50) + 1, (1 << 50) + 2],
            [9, 5, 1],
        ] {
            let claims = Claims::default();
            let [first, second, third] = times.map(|time| row(7, time));
            claims.see(std::slice::from_ref(&first), at(0));
            assert!(claims.is_held(&first, at(59)));
            assert!(claims.is_held(&second, at(61)), "renewed meanwhile");
            assert!(claims.is_held(&second, at(120)));
            assert!(!claims.is_held(&second, at(121)));
            // Late, and all the same.
            assert!(claims.is_held(&third, at(150)));
            assert!(
                claims.is_held(&row(8, third.last_seen_at), at(205)),
                "another stream"
            );
            assert!(claims.is_held(&row(8, third.last_seen_at), at(264)));
            assert!(!claims.is_held(&row(8, third.last_seen_at), at(265)));
        }
    }

    #[test]
    fn one_that_was_given_back_stands_no_more_and_one_of_who_was_retired_is_forgotten() {
        let claims = Claims::default();
        let now = Instant::now();
        assert!(claims.is_held(&row(7, 1), now));
        assert!(!claims.is_held(&row(0, 2), now));
        claims.see(&[row(7, 3)], now);
        claims.see(&[], now);
        assert!(claims.claims().is_empty());
    }
}
