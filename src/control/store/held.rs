//! A change that takes many live tokens away at once is held inside its transaction, before it has a revision, until its
//! caller says that this many are meant.

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

/// Accounts of one statement.
const ACCOUNTS: usize = 64;

/// As [`TokenRow::state`] has it.
const LIVE: &str = "enabled AND revoked_at IS NULL AND (expires_at = 0 OR expires_at > $)";

/// What a commit takes away.
#[derive(Default)]
pub(super) struct Dropped {
    tokens: u64,
    confirmed: u64,
}

/// `rest` is what stays live.
fn is_held(dropped: u64, rest: u64) -> bool {
    dropped >= DROPPED_MIN && rest < rest_max(dropped)
}

/// With so many left, the dropped ones are a tenth of all, and not more.
fn rest_max(dropped: u64) -> u64 {
    dropped.saturating_mul(SHARE - 1)
}

// === impl Commit ===

impl Commit {
    /// The caller means to take so many live tokens away. More are held all the same.
    pub(crate) fn confirm(&mut self, tokens: u64) {
        self.dropped.confirmed = tokens;
    }

    /// Every change of a token passes here.
    pub(super) fn drop_token(&mut self, old: Option<&TokenRow>, new: &TokenRow) {
        let now = clock::wall_seconds();
        let was_live = old.is_some_and(|row| row.state(now) == "live");
        if was_live && new.state(now) != "live" {
            self.dropped.tokens += 1;
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
            self.dropped.tokens += positive(count)?;
        }
        Ok(())
    }

    /// Refuses what takes too much away. What stays is counted only where much is taken, and no further than it matters: a
    /// single token's end costs nothing here.
    pub(super) async fn not_held(&mut self) -> Result<(), Error> {
        let Dropped { tokens, confirmed } = self.dropped;
        if tokens < DROPPED_MIN || tokens <= confirmed {
            return Ok(());
        }
        let rest = query("SELECT count(*) FROM (SELECT 1 FROM shipping_tokens WHERE ")
            .and(LIVE, [i64::from(clock::wall_seconds()).into()])
            .and(
                " AND account_id NOT IN (SELECT a.id FROM accounts a LEFT JOIN accounts p ON p.id = a.parent_id \
                 WHERE a.suspended OR p.suspended) LIMIT $) AS live",
                [signed(rest_max(tokens)).into()],
            )
            .fetch_one(self.connection()?)
            .await?;
        let rest = positive(rest)?;
        if is_held(tokens, rest) {
            return Err(Error::Held {
                dropped: tokens,
                live: tokens + rest,
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
}
