//! A change that takes many live tokens away at once is held inside its transaction, before it has a revision, until its
//! caller says that this many are meant. It is weighed together with what others have taken away within the last minute, or
//! many small ones would do, in one revision or in a row, what a large one may not.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{Commit, database::query, positive, signed};
use crate::{
    clock,
    control::{
        Error,
        record::{AccountRow, TokenRow},
    },
    model::AccountState,
};

/// So many tokens at least, and more than one in [`SHARE`]: as gateways measure the snapshot of another store.
const DROPPED_MIN: u64 = 1_000;
const SHARE: u64 = 10;

/// How long what was taken away is weighed with what comes after it.
const LATELY: Duration = Duration::from_secs(60);
/// How long it stands how many are live: what expires and what other control planes end meanwhile is not known here.
const COUNTED: Duration = Duration::from_secs(5);
/// So many times as many are looked for as a change needs, so that those after it need no count of their own.
const AHEAD: u64 = 2;
/// What is taken away within so long is remembered as one.
const STEP: Duration = Duration::from_secs(1);

/// Accounts of one statement.
const ACCOUNTS: usize = 64;

/// As [`TokenRow::state`] has it.
const LIVE: &str = "enabled AND revoked_at IS NULL AND (expires_at = 0 OR expires_at > $)";

/// What a commit takes away.
#[derive(Default)]
pub(super) struct Dropped {
    /// Tokens that were changed themselves.
    ended: u64,
    /// Tokens of accounts that were suspended.
    suspended: u64,
    confirmed: u64,
    /// Whether the call names one token.
    is_named: bool,
}

/// What this process has taken away within the last minute. A restart forgets it.
#[derive(Default)]
pub(super) struct Lately {
    /// What nobody has confirmed.
    unconfirmed: VecDeque<(Instant, u64)>,
    live: Option<Live>,
}

/// So many tokens are live at least.
struct Live {
    since: Instant,
    tokens: u64,
}

/// `rest` is what stays live.
fn is_held(dropped: u64, rest: u64) -> bool {
    dropped >= DROPPED_MIN && rest < rest_max(dropped)
}

/// With so many left, the dropped ones are a tenth of all, and not more.
fn rest_max(dropped: u64) -> u64 {
    dropped.saturating_mul(SHARE - 1)
}

// === impl Dropped ===

impl Dropped {
    /// All of them, whoever meant it.
    pub(super) fn tokens(&self) -> u64 {
        self.ended + self.suspended
    }

    /// Meant as it is: the number was stated, or it is the one token that the call names. A revocation must never wait for
    /// what others do.
    fn is_meant(&self) -> bool {
        let is_one = self.is_named && self.suspended == 0 && self.ended <= 1;
        is_one || self.tokens() <= self.confirmed
    }

    /// What those who come after it are weighed with.
    pub(super) fn unconfirmed(&self) -> u64 {
        if self.is_meant() { 0 } else { self.tokens() }
    }
}

// === impl Lately ===

impl Lately {
    pub(super) fn add(&mut self, tokens: u64, now: Instant) {
        if tokens == 0 {
            return;
        }
        match self.unconfirmed.back_mut() {
            Some((since, sum)) if now.duration_since(*since) < STEP => *sum += tokens,
            _ => self.unconfirmed.push_back((now, tokens)),
        }
        self.forget(now);
    }

    pub(super) fn sum(&mut self, now: Instant) -> u64 {
        self.forget(now);
        self.unconfirmed.iter().map(|(_, tokens)| tokens).sum()
    }

    /// So many were counted, before the change in whose transaction they were.
    pub(super) fn count(&mut self, tokens: u64, now: Instant) {
        self.live = Some(Live { since: now, tokens });
    }

    /// A change is done that takes so many away, whoever meant it.
    pub(super) fn end(&mut self, tokens: u64) {
        if let Some(live) = &mut self.live {
            live.tokens = live.tokens.saturating_sub(tokens);
        }
    }

    /// What was counted may have been undone.
    pub(super) fn uncount(&mut self) {
        self.live = None;
    }

    /// So many are live as far as it is known.
    pub(super) fn live(&self, now: Instant) -> u64 {
        let fresh = self.live.as_ref();
        let fresh = fresh.filter(|live| now.duration_since(live.since) < COUNTED);
        fresh.map_or(0, |live| live.tokens)
    }

    fn forget(&mut self, now: Instant) {
        // The last of a step counts for a minute, too.
        while let Some((since, _)) = self.unconfirmed.front()
            && now.duration_since(*since) >= LATELY + STEP
        {
            self.unconfirmed.pop_front();
        }
    }
}

// === impl Commit ===

impl Commit {
    /// The caller means to take so many live tokens away. More are held all the same.
    pub(crate) fn confirm(&mut self, tokens: u64) {
        self.dropped.confirmed = tokens;
    }

    /// The caller names the one token that is to end. Who says nothing is weighed, however little it is.
    pub(crate) fn names_token(&mut self) {
        self.dropped.is_named = true;
    }

    /// Every change of a token passes here.
    pub(super) fn drop_token(&mut self, old: Option<&TokenRow>, new: &TokenRow) {
        let now = clock::wall_seconds();
        let was_live = old.is_some_and(|row| row.state(now) == "live");
        if was_live && new.state(now) != "live" {
            self.dropped.ended += 1;
        }
    }

    /// Every account that was changed passes here, as it was and as it is; each at its place in both.
    pub(super) async fn drop_suspended(
        &mut self,
        before: &[&AccountRow],
        after: &[&AccountRow],
    ) -> Result<(), Error> {
        let is_suspended = |row: &AccountRow| row.account.state == AccountState::Suspended;
        let ids: Vec<_> = before
            .iter()
            .zip(after)
            .filter(|(before, after)| !is_suspended(before) && is_suspended(after))
            .map(|(_, after)| signed(after.account.id.0))
            .collect();
        for ids in ids.chunks(ACCOUNTS) {
            let now = i64::from(clock::wall_seconds());
            let mut count = query("SELECT count(*) FROM shipping_tokens WHERE ")
                .and(LIVE, [now.into()])
                .and(" AND account_id IN (", []);
            for (at, id) in ids.iter().enumerate() {
                count = count.and(if at == 0 { "$" } else { ", $" }, [(*id).into()]);
            }
            let count = count.and(")", []).fetch_one(self.connection()?).await?;
            self.dropped.suspended += positive(count)?;
        }
        Ok(())
    }

    /// Refuses what takes too much away, by itself or with what was taken away lately. What stays is counted only where much
    /// is taken, and a little further than it matters: a single token's end costs nothing here, and a series of changes is counted
    /// each time that it has doubled.
    pub(super) async fn not_held(&mut self) -> Result<(), Error> {
        if self.dropped.is_meant() {
            return Ok(());
        }
        let dropped = self.dropped.tokens();
        let lately = self.dropped_lately()?;
        let sum = dropped.saturating_add(lately);
        let rest = self.writer()?.live().saturating_sub(dropped);
        if !is_held(sum, rest) {
            return Ok(());
        }
        let rest = query("SELECT count(*) FROM (SELECT 1 FROM shipping_tokens WHERE ")
            .and(LIVE, [i64::from(clock::wall_seconds()).into()])
            .and(
                " AND account_id NOT IN (SELECT a.id FROM accounts a LEFT JOIN accounts p ON p.id = a.parent_id \
                 WHERE a.suspended OR p.suspended) LIMIT $) AS live",
                [signed(rest_max(sum).saturating_mul(AHEAD)).into()],
            )
            .fetch_one(self.connection()?)
            .await?;
        let rest = positive(rest)?;
        // Taken off again when this one is done.
        self.writer()?.count_live(dropped + rest);
        if is_held(sum, rest) {
            return Err(Error::Held {
                dropped,
                lately,
                live: dropped + rest,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_tokens_and_more_than_a_tenth_are_held_and_nothing_less() {
        for (dropped, rest, held) in [
            (999, 0, false),
            (1_000, 0, true),
            (1_000, 8_999, true),
            (1_000, 9_000, false),
            (1_001, 9_008, true),
            (1_001, 9_009, false),
            (u64::MAX, 1, true),
        ] {
            assert_eq!(is_held(dropped, rest), held, "{dropped} beside {rest}");
        }
    }

    #[test]
    fn what_was_taken_away_counts_for_a_minute_and_is_kept_by_the_second() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut lately = Lately::default();
        for millis in (0..10_000).step_by(10) {
            lately.add(1, at(millis));
        }
        lately.add(0, at(20_000));
        assert_eq!(lately.unconfirmed.len(), 10);
        assert_eq!(lately.sum(at(60_000)), 1_000);
        // The first second is forgotten when its last one is a minute old.
        assert_eq!(lately.sum(at(60_999)), 1_000);
        assert_eq!(lately.sum(at(61_000)), 900);
        assert_eq!(lately.sum(at(80_000)), 0);
        assert!(lately.unconfirmed.is_empty());
    }

    #[test]
    fn what_was_counted_stands_for_seconds_less_what_has_ended_since() {
        let start = Instant::now();
        let mut lately = Lately::default();
        lately.end(5);
        assert_eq!(lately.live(start), 0);
        lately.count(20_000, start);
        lately.end(1_000);
        assert_eq!(lately.live(start), 19_000);
        // One that ends 600 after 1,000 passes by what is known; one that ends 1,000 has to count.
        assert!(!is_held(1_600, lately.live(start) - 600));
        assert!(is_held(2_000, lately.live(start) - 1_001));
        lately.end(20_000);
        assert_eq!(lately.live(start), 0);
        lately.count(20_000, start);
        assert_eq!(lately.live(start + COUNTED - STEP), 20_000);
        assert_eq!(lately.live(start + COUNTED), 0);
        lately.count(20_000, start);
        lately.uncount();
        assert_eq!(lately.live(start), 0);
    }

    #[test]
    fn what_is_meant_is_one_token_by_its_name_or_no_more_than_was_confirmed() {
        for (is_named, ended, suspended, confirmed, unconfirmed) in [
            (true, 1, 0, 0, 0),
            (true, 2, 0, 0, 2),
            (true, 0, 1, 0, 1),
            (false, 0, 0, 0, 0),
            (false, 1, 0, 0, 1),
            (false, 1, 0, 1, 0),
            (false, 2, 1, 2, 3),
            (false, 2, 1, 3, 0),
        ] {
            let dropped = Dropped {
                ended,
                suspended,
                confirmed,
                is_named,
            };
            assert_eq!(dropped.unconfirmed(), unconfirmed, "{ended}, {suspended}");
        }
    }
}
