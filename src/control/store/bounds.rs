//! How many shipping tokens a plan allows, enabled and in all, weighed over a whole commit: a rotation is one change of the
//! count.

use super::{
    Commit, Store,
    database::{Query, query},
    rotation::NOW_SECONDS,
    signed,
};
use crate::{
    clock,
    control::{Error, plan::Plan, record::TokenRow},
    model::{Signal, TokenState},
};

/// What a commit adds and takes, by account and signal.
pub(super) type Counted = std::collections::BTreeMap<(u64, Signal), Added>;

/// Tokens that a commit adds; fewer than none where it takes some.
#[derive(Default)]
pub(super) struct Added {
    /// To those that are enabled.
    enabled: i64,
    /// To those that are not revoked.
    kept: i64,
}

/// Live tokens, but for those that a live one replaces: of the account `$1` for the signal `$2` at the second `$3`.
const ENABLED: &str = "SELECT t.id FROM shipping_tokens t WHERE t.account_id = $1 AND t.signal = $2 \
     AND t.enabled AND t.revoked_at IS NULL AND (t.expires_at = 0 OR t.expires_at > $3) \
     AND NOT EXISTS (SELECT 1 FROM shipping_tokens s WHERE s.id = t.replaced_by \
     AND s.enabled AND s.revoked_at IS NULL AND (s.expires_at = 0 OR s.expires_at > $3)";

/// How many of them count against a plan: also those whose successor is on its way out itself, so that rotations in a chain
/// are no way to more tokens. Counted no further than it matters: an account may have a million.
fn counted(account: u64, signal: Signal, most: u64) -> Query {
    let sql =
        format!("SELECT count(*) FROM ({ENABLED} AND s.replaced_by IS NULL) LIMIT $4) AS counted");
    enabled(sql, account, signal, clock::wall_seconds()).bind(signed(most))
}

/// How many are not revoked, whatever else they are; counted no further than it matters.
fn kept(account: u64, signal: Signal, most: u64) -> Query {
    query(
        "SELECT count(*) FROM (SELECT id FROM shipping_tokens WHERE account_id = $1 AND signal = $2 \
         AND revoked_at IS NULL LIMIT $3) AS counted",
    )
    .bind(signed(account))
    .bind(signal.name())
    .bind(signed(most))
}

/// What is said where a plan has no room for one more of them.
pub(super) fn keeps_no_more(plan: Plan, most: u64, account: u64, signal: Signal) -> String {
    format!(
        "plan {} allows {most} tokens that are not revoked per account and signal, disabled and expired ones too, and \
         account {account} would have more for {signal}; revoke or delete some first",
        plan.name()
    )
}

fn enabled(sql: String, account: u64, signal: Signal, at: u32) -> Query {
    query(sql)
        .bind(signed(account))
        .bind(signal.name())
        .bind(i64::from(at))
}

// === impl Store ===

impl Store {
    /// How many tokens of an account count against its plan for that signal.
    pub(crate) async fn enabled_tokens(&self, account: u64, signal: Signal) -> Result<u64, Error> {
        let all = i64::MAX.unsigned_abs();
        let count = counted(account, signal, all).fetch_one(&self.lister);
        super::positive(count.await?)
    }
}

// === impl Commit ===

impl Commit {
    /// Every change of a token passes here.
    pub(super) fn count_token(&mut self, old: Option<&TokenRow>, new: &TokenRow) {
        let now = clock::wall_seconds();
        let before = old.is_some_and(|row| is_enabled(row, now));
        let was_live = old.is_some_and(|row| row.state(now) == "live");
        // One that comes back on its way out may count again: what it was replaced by may be on its way out by now, or gone.
        let is_back = new.state(now) == "live" && !was_live;
        let added = Added {
            enabled: i64::from(is_enabled(new, now) || is_back) - i64::from(before),
            kept: i64::from(is_kept(new)) - i64::from(old.is_some_and(is_kept)),
        };
        let place = (new.token.account.0, new.token.signal);
        let counted = self.counted.entry(place).or_default();
        counted.enabled += added.enabled;
        counted.kept += added.kept;
    }

    /// Refuses what adds to the tokens of an account past its plan. Who is past it already, after a trial, keeps what there is.
    pub(super) async fn within_plans(&mut self) -> Result<(), Error> {
        let now = clock::wall_seconds();
        for ((account, signal), added) in std::mem::take(&mut self.counted) {
            if added.enabled <= 0 && added.kept <= 0 {
                continue;
            }
            let plan = self.account(account).await?.plan;
            if let Some(most) = plan.tokens_max(now).filter(|_| added.enabled > 0)
                && self.enabled_tokens(account, signal, most + 1).await? > most
            {
                return Err(Error::Conflict(format!(
                    "plan {} allows {most} enabled tokens per account and signal, and account {account} would have \
                     more for {signal}; disable or revoke one first",
                    plan.name()
                )));
            }
            if let Some(most) = plan.kept_tokens_max().filter(|_| added.kept > 0)
                && self.kept_tokens(account, signal, most + 1).await? > most
            {
                return Err(Error::Conflict(keeps_no_more(plan, most, account, signal)));
            }
        }
        Ok(())
    }

    /// Refuses to take away the only enabled token of a signal. One that was rotated is that too, when its successor is gone.
    pub(crate) async fn not_the_last(&mut self, token: &TokenRow) -> Result<(), Error> {
        if !self.is_the_last(token).await? {
            return Ok(());
        }
        let (account, signal) = (token.token.account.0, token.token.signal);
        Err(Error::Conflict(format!(
            "token {} is the last enabled one for {signal} of account {account}, but for such as end within ten minutes: \
             without it nothing of that signal is taken; enable or create another one first, or say ?force=true",
            token.token.id
        )))
    }

    /// Whether it is enabled, and no other one of its account and signal will be in ten minutes, when those have ended that
    /// are as good as ended.
    pub(super) async fn is_the_last(&mut self, token: &TokenRow) -> Result<bool, Error> {
        let (account, signal) = (token.token.account.0, token.token.signal);
        let now = clock::wall_seconds();
        let soon = now.saturating_add(NOW_SECONDS);
        // Also one whose successor will be gone by then.
        for (its, at, is_last) in [("<>", soon, false), ("=", now, true), ("=", soon, true)] {
            let found = enabled(
                format!("{ENABLED}) AND t.id {its} $4 LIMIT 1"),
                account,
                signal,
                at,
            );
            let found: Option<i64> = found
                .bind(signed(token.token.id.0))
                .fetch_value(self.connection()?)
                .await?;
            if found.is_some() {
                return Ok(is_last);
            }
        }
        Ok(false)
    }

    /// Up to `most` of them.
    pub(super) async fn enabled_tokens(
        &mut self,
        account: u64,
        signal: Signal,
        most: u64,
    ) -> Result<u64, Error> {
        let count = counted(account, signal, most).fetch_one(self.connection()?);
        super::positive(count.await?)
    }

    /// Up to `most` of those that are not revoked.
    pub(super) async fn kept_tokens(
        &mut self,
        account: u64,
        signal: Signal,
        most: u64,
    ) -> Result<u64, Error> {
        let count = kept(account, signal, most).fetch_one(self.connection()?);
        super::positive(count.await?)
    }
}

fn is_kept(row: &TokenRow) -> bool {
    row.token.state != TokenState::Revoked
}

fn is_enabled(row: &TokenRow, now: u32) -> bool {
    let expires_at = row.token.expires_at;
    row.token.state == TokenState::Live
        && row.replaced_by.is_none()
        && (expires_at == 0 || expires_at > now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::store::Place;

    #[tokio::test]
    async fn an_accounts_tokens_are_counted_by_its_own_index() {
        let folder = tempfile::tempdir().expect("a folder");
        // SQLite has no figures to choose an index by; PostgreSQL has.
        let place = Place::new("", None, folder.path()).expect("a place");
        let store = Store::open(folder.path(), place, 100).await.expect("opens");
        let sql = format!("EXPLAIN QUERY PLAN {}", kept(7, Signal::Logs, 10).sql());
        let rows = query(sql).fetch_all(&store.reader).await;
        let rows = rows.expect("a plan");
        let steps: Vec<String> = rows
            .iter()
            .map(|row| row.get("detail").expect("text"))
            .collect();
        let plan = steps.join("; ");
        let index = "shipping_tokens_kept (account_id=? AND signal=?)";
        assert!(plan.contains(index), "{plan}");
    }
}
