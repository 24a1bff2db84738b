//! An account's usage over time, in buckets, a page at a time.

use std::collections::BTreeMap;

use super::Step;
use crate::{
    control::{
        Error,
        record::Millis,
        sight::{Join, Match, Sight},
        store::{
            Store,
            database::{Query, Row, Value, query},
            get_u64, signal_of, signed,
        },
    },
    model::Signal,
};

/// What buckets are told apart by, beside their time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    None,
    Signal,
    Token,
}

/// Where a page ends: everything up to this bucket and this group is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) start: Millis,
    pub(crate) key: u64,
}

/// Which buckets.
#[derive(Clone, Debug)]
pub(crate) struct Select {
    pub(crate) account: u64,
    pub(crate) step: Step,
    /// Buckets that begin here or later, and before `to`.
    pub(crate) from: Millis,
    pub(crate) to: Millis,
    pub(crate) signal: Option<Signal>,
    pub(crate) token: Option<u64>,
    pub(crate) group: Group,
    /// No more than this; `None` is all of it.
    pub(crate) sight: Option<Sight>,
    pub(crate) after: Option<Cursor>,
    pub(crate) limit: u32,
}

/// A bucket of a group. One in which nothing happened isn't there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Series {
    pub(crate) at: Cursor,
    /// Where they are told apart by signal or token.
    pub(crate) signal: Option<Signal>,
    /// Where they are told apart by token.
    pub(crate) token: Option<u64>,
    pub(crate) requests: u64,
    pub(crate) items: u64,
    pub(crate) bytes: u64,
    pub(crate) delivered_items: u64,
    pub(crate) delivered_bytes: u64,
    pub(crate) refused: BTreeMap<String, u64>,
}

// === impl Group ===

impl Group {
    /// A number to sort and go on by.
    const fn key(self) -> &'static str {
        match self {
            Self::None => "CAST(0 AS BIGINT)",
            Self::Signal => {
                "CAST(CASE signal WHEN 'logs' THEN 1 WHEN 'metrics' THEN 2 ELSE 3 END AS BIGINT)"
            }
            Self::Token => "token_id",
        }
    }
}

// === impl Select ===

impl Select {
    fn range(&self, question: String) -> Query {
        let mut question = query(question)
            .and(" WHERE account_id = $", [signed(self.account).into()])
            .and(" AND step = $", [signed(self.step.millis()).into()])
            .and(" AND start < $", [signed(self.to).into()]);
        if let Some(signal) = self.signal {
            question = question.and(" AND signal = $", [signal.name().into()]);
        }
        if let Some(token) = self.token {
            question = question.and(" AND token_id = $", [signed(token).into()]);
        }
        match &self.sight {
            Some(sight) => self.seen(question, sight),
            None => question,
        }
    }

    fn seen(&self, question: Query, sight: &Sight) -> Query {
        if sight.filters.is_empty() {
            return question;
        }
        let mut values = Vec::new();
        let conditions: Vec<_> = sight
            .filters
            .iter()
            .map(|filter| self.matched(filter, &mut values))
            .collect();
        let join = match sight.join {
            Join::And => " AND ",
            Join::Or => " OR ",
        };
        question.and(&format!(" AND ({})", conditions.join(join)), values)
    }

    fn matched(&self, filter: &Match, values: &mut Vec<Value>) -> &'static str {
        match filter {
            Match::Signal(name) => {
                values.push(name.into());
                "signal = $"
            }
            Match::TokenId(id) => {
                values.push(signed(*id).into());
                "token_id = $"
            }
            Match::TokenName(name) => {
                values.extend([signed(self.account).into(), name.into()]);
                "token_id IN (SELECT id FROM shipping_tokens WHERE account_id = $ AND name = $)"
            }
            Match::Nothing => "1 = 0",
        }
    }

    fn buckets(&self) -> Query {
        let key = self.group.key();
        // PostgreSQL's sums of BIGINT are NUMERIC.
        let sums = [
            "requests",
            "items",
            "bytes",
            "delivered_items",
            "delivered_bytes",
        ]
        .map(|column| format!("CAST(SUM({column}) AS BIGINT) AS {column}"))
        .join(", ");
        let mut question = self.range(format!(
            "SELECT start, {key} AS grouped, MIN(signal) AS of_signal, {sums} FROM usage"
        ));
        question = match self.after {
            None => question.and(" AND start >= $", [signed(self.from).into()]),
            Some(after) => question
                .and(
                    " AND start >= $",
                    [signed(after.start.max(self.from)).into()],
                )
                .and(
                    &format!(" AND (start > $ OR {key} > $)"),
                    [signed(after.start).into(), signed(after.key).into()],
                ),
        };
        question.and(
            &format!(" GROUP BY start, {key} ORDER BY start, {key} LIMIT $"),
            [self.limit.into()],
        )
    }

    fn refused(&self, first: Millis, last: Millis) -> Query {
        let key = self.group.key();
        self.range(format!(
            "SELECT start, {key} AS grouped, reason, CAST(SUM(requests) AS BIGINT) AS requests FROM usage_refused"
        ))
        .and(
            &format!(" AND start >= $ AND start <= $ GROUP BY start, {key}, reason"),
            [signed(first).into(), signed(last).into()],
        )
    }
}

// === impl Store ===

impl Store {
    /// In the order of time, then of the groups; `limit` at most. May look at many rows, so it takes the lists' connections.
    pub(crate) async fn usage(&self, select: &Select) -> Result<Vec<Series>, Error> {
        let mut rows = select
            .buckets()
            .read_all(&self.lister, |row| read(row, select.group))
            .await?;
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            return Ok(rows);
        };
        let refused = select.refused(first.at.start, last.at.start);
        for row in refused.fetch_all(&self.lister).await? {
            let at = cursor(&row)?;
            let found =
                rows.binary_search_by_key(&(at.start, at.key), |it| (it.at.start, it.at.key));
            if let Ok(found) = found {
                let reason = row.get("reason")?;
                rows[found]
                    .refused
                    .insert(reason, get_u64(&row, "requests")?);
            }
        }
        Ok(rows)
    }
}

fn cursor(row: &Row) -> Result<Cursor, Error> {
    Ok(Cursor {
        start: get_u64(row, "start")?,
        key: get_u64(row, "grouped")?,
    })
}

fn read(row: &Row, group: Group) -> Result<Series, Error> {
    let at = cursor(row)?;
    let signal = match group {
        Group::None => None,
        Group::Signal | Group::Token => Some(signal_of(row.get("of_signal")?)?),
    };
    Ok(Series {
        at,
        signal,
        token: (group == Group::Token).then_some(at.key),
        requests: get_u64(row, "requests")?,
        items: get_u64(row, "items")?,
        bytes: get_u64(row, "bytes")?,
        delivered_items: get_u64(row, "delivered_items")?,
        delivered_bytes: get_u64(row, "delivered_bytes")?,
        refused: BTreeMap::new(),
    })
}
