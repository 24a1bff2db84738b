//! How many shipping tokens a plan allows, weighed over a whole commit: a rotation or an import is one change of the count.

use super::{
    Commit, Store,
    database::{Query, query},
    signed,
};
use crate::{
    clock,
    control::{Error, record::TokenRow},
    model::{Signal, TokenState},
};

/// Tokens that a commit adds to those that are enabled, or takes from them, by account and signal.
pub(super) type Counted = std::collections::BTreeMap<(u64, Signal), i64>;

/// Counted no further than it matters: an account may have a million of them.
const ENABLED: &str = "SELECT count(*) FROM (SELECT 1 FROM shipping_tokens WHERE account_id = $1 AND signal = $2 \
     AND enabled AND revoked_at IS NULL AND replaced_by IS NULL AND (expires_at = 0 OR expires_at > $3) \
     LIMIT $4) AS enabled";

fn enabled(account: u64, signal: Signal, most: u64) -> Query {
    query(ENABLED)
        .bind(signed(account))
        .bind(signal.name())
        .bind(i64::from(clock::wall_seconds()))
        .bind(signed(most))
}

// === impl Store ===

impl Store {
    /// How many tokens of an account count against its plan for that signal.
    pub(crate) async fn enabled_tokens(&self, account: u64, signal: Signal) -> Result<u64, Error> {
        let count = enabled(account, signal, i64::MAX.unsigned_abs()).fetch_one(&self.lister);
        super::positive(count.await?)
    }
}

// === impl Commit ===

impl Commit {
    /// Every change of a token passes here.
    pub(super) fn count_token(&mut self, old: Option<&TokenRow>, new: &TokenRow) {
        let now = clock::wall_seconds();
        let before = old.is_some_and(|row| is_enabled(row, now));
        let change = i64::from(is_enabled(new, now)) - i64::from(before);
        if change != 0 {
            let place = (new.token.account.0, new.token.signal);
            *self.counted.entry(place).or_default() += change;
        }
    }

    /// Refuses what adds to the enabled tokens of an account past its plan. Who is past it already, after a trial, keeps
    /// what there is.
    pub(super) async fn within_plans(&mut self) -> Result<(), Error> {
        let now = clock::wall_seconds();
        for ((account, signal), change) in std::mem::take(&mut self.counted) {
            if change <= 0 {
                continue;
            }
            let plan = self.account(account).await?.plan;
            let Some(most) = plan.tokens_max(now) else {
                continue;
            };
            if self.enabled_tokens(account, signal, most + 1).await? > most {
                return Err(Error::Conflict(format!(
                    "plan {} allows {most} enabled tokens per account and signal, and account {account} would have \
                     more for {signal}; disable or revoke one first",
                    plan.name()
                )));
            }
        }
        Ok(())
    }

    /// Refuses to take away the only enabled token of a signal.
    pub(crate) async fn not_the_last(&mut self, token: &TokenRow) -> Result<(), Error> {
        let (account, signal) = (token.token.account.0, token.token.signal);
        if is_enabled(token, clock::wall_seconds())
            && self.enabled_tokens(account, signal, 2).await? == 1
        {
            return Err(Error::Conflict(format!(
                "token {} is the last enabled one for {signal} of account {account}: without it nothing of that signal \
                 is taken; enable or create another one first, or say ?force=true",
                token.token.id
            )));
        }
        Ok(())
    }

    /// Up to `most` of them; those that are on their way out after a rotation don't count.
    pub(super) async fn enabled_tokens(
        &mut self,
        account: u64,
        signal: Signal,
        most: u64,
    ) -> Result<u64, Error> {
        let count = enabled(account, signal, most).fetch_one(self.connection()?);
        super::positive(count.await?)
    }
}

fn is_enabled(row: &TokenRow, now: u32) -> bool {
    let expires_at = row.token.expires_at;
    row.token.state == TokenState::Live
        && row.replaced_by.is_none()
        && (expires_at == 0 || expires_at > now)
}
