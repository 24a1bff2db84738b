//! Usage in the store: one report, one transaction, with the word that it is applied; it takes no revision.

mod series;
mod uses;

use std::collections::BTreeMap;

pub(crate) use series::{Cursor, Group, Select, Series};
pub(crate) use uses::{SeenSender, TokenUse};

use super::{
    Commit, Store,
    database::{Query, Value, query},
    get_u64, signed,
};
use crate::{
    control::{Error, record::Millis},
    model::{TokenUsage, UsageReport, usage::reason_label},
};

/// A bucket's count stops here, at the largest number that JSON's readers take exactly.
const COUNT_MAX: i64 = (1 << 53) - 1;

/// Counts that are older are taken to be this old: thirty days.
const AGE_SECONDS_MAX: u64 = 30 * 86_400;

/// Rows deleted in one transaction, of one table.
const PRUNE_ROWS: u32 = 1000;

/// Rows of one statement.
const ROWS: usize = 64;

/// How long a bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Minute,
    Hour,
    Day,
}

/// Two clocks at one moment: what a gateway calls a time is told by how long ago it says that was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clocks {
    /// Seconds since 1970 by the gateway's clock, when it sent the report.
    pub(crate) sent_at: u64,
    /// Then by its steady clock, in milliseconds.
    pub(crate) sent_at_ms: u64,
    /// By ours, when it came.
    pub(crate) heard_at: Millis,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filed {
    /// Applied; so many of its tokens are no tokens of this store.
    Applied { unknown: usize },
    /// It, or a later one, was applied before.
    Before,
}

/// A token's usage with whose it is.
struct Line<'a> {
    account: u64,
    token: u64,
    signal: String,
    usage: &'a TokenUsage,
}

// === impl Step ===

impl Step {
    pub(crate) const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    pub(crate) const fn millis(self) -> u64 {
        match self {
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
        }
    }

    /// Where the bucket of that moment begins; days are UTC's.
    pub(crate) const fn start(self, at: Millis) -> Millis {
        at - at % self.millis()
    }
}

// === impl Clocks ===

impl Clocks {
    /// That second of the gateway's clock, by ours. What is older than any outage is a clock that was set meanwhile.
    fn ours(self, seconds: u64) -> Millis {
        let age = self.sent_at.saturating_sub(seconds).min(AGE_SECONDS_MAX);
        self.heard_at.saturating_sub(age * 1000)
    }

    /// That millisecond of the gateway's steady clock, by ours; never is never.
    fn ours_ms(self, millis: u64) -> Millis {
        if millis == 0 {
            return 0;
        }
        let age = self.sent_at_ms.saturating_sub(millis);
        self.heard_at
            .saturating_sub(age.min(AGE_SECONDS_MAX * 1000))
            .max(1)
    }
}

// === impl Store ===

impl Store {
    /// Applies a report unless that was done before.
    pub(crate) async fn file_usage(
        &self,
        report: &UsageReport,
        clocks: Clocks,
    ) -> Result<Filed, Error> {
        let at = clocks.ours(report.at);
        // Tokens never change hands: who owns them can be asked before the writer is held.
        let ids: Vec<_> = report.tokens.keys().map(|token| token.0).collect();
        let owners = self.owners(&ids).await?;
        let lines: Vec<_> = report
            .tokens
            .iter()
            .filter_map(|(token, usage)| {
                let (account, signal) = owners.get(&token.0)?.clone();
                Some(Line {
                    account,
                    token: token.0,
                    signal,
                    usage,
                })
            })
            .collect();
        let mut commit = self.begin("usage").await?;
        if !commit.claim_report(report).await? {
            return Ok(Filed::Before);
        }
        for step in Step::ALL {
            commit.add_usage(step, step.start(at), &lines).await?;
            commit.add_refused(step, step.start(at), &lines).await?;
        }
        commit.add_uses(&lines, clocks).await?;
        commit.finish_unpublished().await?;
        Ok(Filed::Applied {
            unknown: report.tokens.len() - lines.len(),
        })
    }

    /// Account and signal of every one of those tokens that there is, or was.
    pub(crate) async fn owners(&self, ids: &[u64]) -> Result<BTreeMap<u64, (u64, String)>, Error> {
        let mut owners = BTreeMap::new();
        for ids in ids.chunks(ROWS) {
            let select = query("SELECT id, account_id, signal FROM shipping_tokens WHERE id IN (");
            for row in one_of(select, ids).fetch_all(&self.reader).await? {
                let owner = (get_u64(&row, "account_id")?, row.get("signal")?);
                owners.insert(get_u64(&row, "id")?, owner);
            }
        }
        Ok(owners)
    }

    /// Deletes a few of the oldest buckets that begin before `before`; whether there may be more.
    pub(crate) async fn prune_usage(&self, step: Step, before: Millis) -> Result<bool, Error> {
        for (table, key) in [
            ("usage_refused", "account_id, step, start, token_id, reason"),
            ("usage", "account_id, step, start, token_id"),
        ] {
            let oldest = format!("SELECT MIN(start) FROM {table} WHERE step = $1");
            let oldest: Option<Option<i64>> = query(oldest)
                .bind(signed(step.millis()))
                .fetch_value(&self.reader)
                .await?;
            if oldest
                .flatten()
                .is_none_or(|oldest| oldest >= signed(before))
            {
                continue;
            }
            let delete = format!(
                "DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} \
                 WHERE step = $1 AND start < $2 ORDER BY start LIMIT {PRUNE_ROWS})"
            );
            let mut commit = self.begin("usage").await?;
            query(delete)
                .bind(signed(step.millis()))
                .bind(signed(before))
                .execute(commit.connection()?)
                .await?;
            commit.finish_unpublished().await?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Forgets processes of gateways that were last heard of before `before`.
    pub(crate) async fn prune_usage_epochs(&self, before: Millis) -> Result<(), Error> {
        let oldest: Option<Option<i64>> = query("SELECT MIN(at) FROM usage_epochs")
            .fetch_value(&self.reader)
            .await?;
        if oldest
            .flatten()
            .is_none_or(|oldest| oldest >= signed(before))
        {
            return Ok(());
        }
        let mut commit = self.begin("usage").await?;
        query("DELETE FROM usage_epochs WHERE at < $1")
            .bind(signed(before))
            .execute(commit.connection()?)
            .await?;
        commit.finish_unpublished().await
    }
}

/// The rest of `... IN (`.
pub(super) fn one_of(select: Query, ids: &[u64]) -> Query {
    let mut select = select;
    for (index, id) in ids.iter().enumerate() {
        let text = if index == 0 { "$" } else { ", $" };
        select = select.and(text, [signed(*id).into()]);
    }
    select.and(")", [])
}

/// `column = column + what is new`, which stops at the most.
fn add(table: &str, column: &str) -> String {
    format!(
        "{column} = CASE WHEN {table}.{column} > {COUNT_MAX} - excluded.{column} \
         THEN {COUNT_MAX} ELSE {table}.{column} + excluded.{column} END"
    )
}

fn count(value: u64) -> Value {
    signed(value).min(COUNT_MAX).into()
}

// === impl Commit ===

impl Commit {
    /// Takes the report's number, once for all control planes of this store and whatever the gateway is called: whoever comes
    /// second waits for the first one's commit, and finds it taken.
    async fn claim_report(&mut self, report: &UsageReport) -> Result<bool, Error> {
        let now = signed(self.now);
        let taken = query(
            "INSERT INTO usage_epochs (epoch, sequence, at) VALUES ($1, $2, $3) \
             ON CONFLICT (epoch) DO UPDATE SET sequence = excluded.sequence, at = excluded.at \
             WHERE usage_epochs.sequence < excluded.sequence",
        )
        .bind(format!("{:016x}", report.epoch))
        .bind(signed(report.sequence))
        .bind(now)
        .execute(self.connection()?)
        .await?;
        Ok(taken == 1)
    }

    async fn add_usage(
        &mut self,
        step: Step,
        start: Millis,
        lines: &[Line<'_>],
    ) -> Result<(), Error> {
        let columns = [
            "requests",
            "items",
            "bytes",
            "delivered_items",
            "delivered_bytes",
        ];
        let sums = columns.map(|column| add("usage", column)).join(", ");
        for lines in lines.chunks(ROWS) {
            let rows = lines.iter().map(|line| {
                let usage = line.usage;
                [
                    signed(line.account).into(),
                    signed(step.millis()).into(),
                    signed(start).into(),
                    signed(line.token).into(),
                    (&line.signal).into(),
                    count(usage.requests),
                    count(usage.received.items),
                    count(usage.received.bytes),
                    count(usage.delivered.items),
                    count(usage.delivered.bytes),
                ]
            });
            let insert = query(
                "INSERT INTO usage (account_id, step, start, token_id, signal, requests, items, bytes, \
                 delivered_items, delivered_bytes) VALUES ",
            );
            values(insert, rows)
                .and(
                    &format!(
                        " ON CONFLICT (account_id, step, start, token_id) DO UPDATE SET {sums}"
                    ),
                    [],
                )
                .execute(self.connection()?)
                .await?;
        }
        Ok(())
    }

    async fn add_refused(
        &mut self,
        step: Step,
        start: Millis,
        lines: &[Line<'_>],
    ) -> Result<(), Error> {
        let sum = add("usage_refused", "requests");
        let rows: Vec<_> = lines
            .iter()
            .flat_map(|line| {
                line.usage
                    .refused
                    .iter()
                    .map(move |refused| (line, *refused))
            })
            .collect();
        for rows in rows.chunks(ROWS) {
            let rows = rows.iter().map(|(line, (reason, requests))| {
                [
                    signed(line.account).into(),
                    signed(step.millis()).into(),
                    signed(start).into(),
                    signed(line.token).into(),
                    (&line.signal).into(),
                    reason_label(*reason).into(),
                    count(*requests),
                ]
            });
            let insert = query(
                "INSERT INTO usage_refused (account_id, step, start, token_id, signal, reason, requests) VALUES ",
            );
            values(insert, rows)
                .and(
                    &format!(" ON CONFLICT (account_id, step, start, token_id, reason) DO UPDATE SET {sum}"),
                    [],
                )
                .execute(self.connection()?)
                .await?;
        }
        Ok(())
    }
}

/// `($1, $2), ($3, $4)` with their arguments.
fn values<const N: usize>(insert: Query, rows: impl Iterator<Item = [Value; N]>) -> Query {
    let places = vec!["$"; N].join(", ");
    let mut insert = insert;
    for (index, row) in rows.enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        insert = insert.and(&format!("{comma}({places})"), row);
    }
    insert
}

#[cfg(test)]
mod tests;
