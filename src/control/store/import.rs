//! Tokens that others have made, many in one commit: rows by the hundred in a statement, one audit record an account.

use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
};

use futures_util::future;
use serde_json::json;

use super::{
    Commit, Sealer,
    bounds::keeps_no_more,
    database::{Query, Value, query},
    digest_of, get_some_u64, get_u64, group, signal_of, signed,
    tokens::{Details, place, rates_text, sources_text},
};
use crate::{
    clock,
    control::{
        Error,
        record::{AccountRow, reached_from},
    },
    model::{AccountId, Change, Digest, Secret, Signal, Token, TokenId, TokenKind, TokenState},
};

/// Rows of one statement, and digests asked for in one. In powers of two, so that few statements are prepared.
const ROWS_MAX: usize = 256;
/// Of a row that is written.
const COLUMNS: usize = 14;

/// Said to whoever doesn't reach everything of a token in our own form that is none of theirs.
const OWN_FORM: &str = "a token of Wharfinger's own form is taken in by an operator alone: leave it out, and one is made";

/// A token that somebody else has made.
pub(crate) struct GivenToken {
    pub(crate) token: Secret,
    pub(crate) signal: Signal,
    pub(crate) name: String,
    /// Or disabled.
    pub(crate) is_enabled: bool,
    /// Seconds since 1970, 0 = never.
    pub(crate) expires_at: u32,
    pub(crate) details: Details,
}

/// What became of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Imported {
    Made,
    /// It was there, for the same account and signal: nothing was changed.
    Known,
    Refused(String),
    /// It is another account's: whoever doesn't reach that is not to know.
    Withheld,
}

/// A token that is there.
struct Found {
    account: u64,
    /// Whose people reach that account, too.
    reached_from: Option<u64>,
    signal: Signal,
    is_revoked: bool,
}

/// Room that is left in a plan for an account's tokens of a signal.
struct Room {
    enabled: u64,
    /// For those that are not revoked.
    kept: u64,
}

type Rooms = HashMap<(AccountId, Signal), Room>;

/// One that is to be written.
struct Row<'a> {
    at: usize,
    account: AccountId,
    digest: Digest,
    given: &'a GivenToken,
}

// === impl Commit ===

impl Commit {
    /// Adds those that are not there; what becomes of each, in their order. The caller has seen to it that each is well
    /// formed and may be in its account; of what is outside the reach of `home` nothing is told, `None` reaches everything.
    pub(crate) async fn import_tokens(
        &mut self,
        given: &[(&AccountRow, GivenToken)],
        home: Option<u64>,
    ) -> Result<Vec<Imported>, Error> {
        let digests: Vec<_> = given
            .iter()
            .map(|(_, given)| self.digest_key.digest(given.token.reveal().as_bytes()))
            .collect();
        let mut found = self.found(&digests).await?;
        let mut outcomes = Vec::with_capacity(given.len());
        let mut rows = Vec::new();
        let mut rooms = Rooms::new();
        for (at, ((account, given), digest)) in given.iter().zip(digests).enumerate() {
            let found_there = found.get(&digest);
            let outcome = self.outcome(account, given, found_there, home, &mut rooms);
            let outcome = outcome.await?;
            if outcome != Imported::Made {
                outcomes.push(outcome);
                continue;
            }
            let account = account.account.id;
            // The same once more in what is given is known from here on.
            let there = Found {
                account: account.0,
                reached_from: home,
                signal: given.signal,
                is_revoked: false,
            };
            found.insert(digest, there);
            rows.push(Row {
                at,
                account,
                digest,
                given,
            });
            outcomes.push(Imported::Made);
        }
        // Neighbours in an account are neighbours in the table, and its audit record names their range.
        rows.sort_by_key(|row| (row.account, row.at));
        self.write_given(&rows).await?;
        Ok(outcomes)
    }

    /// What would become of one.
    pub(crate) async fn taken_in(
        &mut self,
        account: &AccountRow,
        given: &GivenToken,
        home: Option<u64>,
    ) -> Result<Imported, Error> {
        let digest = self.digest_key.digest(given.token.reveal().as_bytes());
        let found = self.found(&[digest]).await?;
        let found = found.get(&digest);
        self.outcome(account, given, found, home, &mut Rooms::new())
            .await
    }

    /// The plan comes before what is not told: else its refusal would tell that there is no such token.
    async fn outcome(
        &mut self,
        account: &AccountRow,
        given: &GivenToken,
        found: Option<&Found>,
        home: Option<u64>,
        rooms: &mut Rooms,
    ) -> Result<Imported, Error> {
        if let Some(found) = found.filter(|found| found.is_within(home)) {
            return Ok(found.beside(account.account.id.0, given.signal));
        }
        // By its looks alone, whether it is there or not.
        if home.is_some() && TokenKind::has_prefix(&given.token) {
            return Ok(Imported::Refused(OWN_FORM.to_owned()));
        }
        if let Some(refused) = self
            .past_the_plan(account, given, found.is_none(), rooms)
            .await?
        {
            return Ok(Imported::Refused(refused));
        }
        Ok(match found {
            None => Imported::Made,
            Some(_) => Imported::Withheld,
        })
    }

    /// Refuses a text that is a token already, whoever has it.
    pub(super) async fn is_new(&mut self, digest: Digest) -> Result<(), Error> {
        if self.found(&[digest]).await?.is_empty() {
            return Ok(());
        }
        Err(Error::Conflict("this token is there already".to_owned()))
    }

    async fn found(&mut self, digests: &[Digest]) -> Result<HashMap<Digest, Found>, Error> {
        let mut found = HashMap::new();
        for digests in powers(digests) {
            let mut select = query(
                "SELECT t.account_id, t.signal, t.digest, t.revoked_at, a.parent_id, a.accessible \
                 FROM shipping_tokens t JOIN accounts a ON a.id = t.account_id WHERE t.digest IN (",
            );
            for (at, digest) in digests.iter().enumerate() {
                let text = if at == 0 { "$" } else { ", $" };
                select = select.and(text, [digest.0.to_vec().into()]);
            }
            let rows = select.and(")", []).fetch_all(self.connection()?).await?;
            for row in rows {
                let parent = get_some_u64(&row, "parent_id")?;
                let is_accessible: bool = row.get("accessible")?;
                let there = Found {
                    account: get_u64(&row, "account_id")?,
                    reached_from: reached_from(parent, is_accessible),
                    signal: signal_of(row.get("signal")?)?,
                    is_revoked: row.get::<Option<i64>, _>("revoked_at")?.is_some(),
                };
                found.insert(digest_of(row.get("digest")?)?, there);
            }
        }
        Ok(found)
    }

    /// Why the account's plan has no room for one more; `rooms` is what is left, and one that is made takes its place in it.
    async fn past_the_plan(
        &mut self,
        account: &AccountRow,
        given: &GivenToken,
        is_made: bool,
        rooms: &mut Rooms,
    ) -> Result<Option<String>, Error> {
        let now = clock::wall_seconds();
        let (plan, id, signal) = (account.plan, account.account.id, given.signal);
        let (Some(most), Some(kept_most)) = (plan.tokens_max(now), plan.kept_tokens_max()) else {
            return Ok(None);
        };
        let mut left = match rooms.remove(&(id, signal)) {
            Some(left) => left,
            None => {
                let enabled = self.enabled_tokens(id.0, signal, most).await?;
                let kept = self.kept_tokens(id.0, signal, kept_most).await?;
                Room {
                    enabled: most.saturating_sub(enabled),
                    kept: kept_most.saturating_sub(kept),
                }
            }
        };
        let is_enabled = given.is_enabled && (given.expires_at == 0 || given.expires_at > now);
        let refused = if left.kept == 0 {
            Some(keeps_no_more(plan, kept_most, id.0, signal))
        } else if is_enabled && left.enabled == 0 {
            Some(format!(
                "plan {} allows {most} enabled tokens for {signal} of account {id}, and no more",
                plan.name()
            ))
        } else {
            left.kept -= u64::from(is_made);
            left.enabled -= u64::from(is_made && is_enabled);
            None
        };
        rooms.insert((id, signal), left);
        Ok(refused)
    }

    async fn write_given(&mut self, rows: &[Row<'_>]) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        let count = rows.len() as u64;
        let last = group::skip(self.connection()?, "token", count).await?;
        // Whoever else commits with this one: there is one revision for all, and nobody else takes it meanwhile.
        let revision = super::counter(self.connection()?, "revision").await? + 1;
        let first = last + 1 - count;
        let mut ranges: BTreeMap<AccountId, (u64, u64)> = BTreeMap::new();
        for (row, id) in rows.iter().zip(first..) {
            ranges.entry(row.account).or_insert((id, id)).1 = id;
            self.change(Change::Token(row.token(id)));
        }
        let (sealer, times) = (self.sealer.clone(), [signed(self.now), signed(revision)]);
        let mut next = first;
        let mut pieces = powers(rows).map(|rows| {
            let insert = insert(rows, next, times, &sealer);
            next += rows.len() as u64;
            insert
        });
        let mut prepared = pieces.next();
        while let Some(insert) = prepared {
            // While the database takes these rows, the next ones are sealed.
            let inserted = insert.execute(self.connection()?);
            let (inserted, next) = future::join(inserted, async { pieces.next() }).await;
            inserted?;
            prepared = next;
        }
        for (account, (first, last)) in ranges {
            let made = json!({"account": account.0, "tokens": last + 1 - first, "first_id": first, "last_id": last});
            let subject = format!("token/{first}-{last}");
            self.note("token.import", subject, None, Some(made));
        }
        Ok(())
    }

    /// Accounts by their ids and names, those that there are.
    pub(crate) async fn accounts_at(
        &mut self,
        ids: &[u64],
        names: &[&str],
    ) -> Result<Vec<AccountRow>, Error> {
        let ids: Vec<Value> = ids.iter().map(|id| signed(*id).into()).collect();
        let names: Vec<Value> = names.iter().map(|name| (*name).into()).collect();
        let mut accounts = Vec::new();
        for (column, values) in [("id", ids), ("name", names)] {
            for values in powers(&values) {
                accounts.extend(self.accounts_in(column, values).await?);
            }
        }
        Ok(accounts)
    }
}

/// In pieces whose sizes are powers of two.
fn powers<T>(mut rest: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = (1 << rest.len().checked_ilog2()?).min(ROWS_MAX);
        let (piece, after) = rest.split_at(size);
        rest = after;
        Some(piece)
    })
}

/// Rows with ids from `next` on; `times` are now and the revision.
fn insert(rows: &[Row<'_>], mut next: u64, times: [i64; 2], sealer: &Sealer) -> Query {
    let mut insert = query(&*TEXTS[rows.len().ilog2() as usize]);
    for row in rows {
        let sealed = sealer.seal(&place(next), row.given.token.reveal().as_bytes());
        for value in row.values(next, times, sealed) {
            insert = insert.bind(value);
        }
        next += 1;
    }
    insert
}

/// For 1, 2, 4 rows and so on.
static TEXTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let powers = 0..=ROWS_MAX.ilog2();
    powers.map(|power| text(1 << power)).collect()
});

fn text(rows: usize) -> String {
    let row = |row: usize| {
        let from = row * COLUMNS;
        let places: Vec<_> = (from + 1..=from + COLUMNS)
            .map(|place| format!("${place}"))
            .collect();
        format!("({})", places.join(", "))
    };
    let rows: Vec<_> = (0..rows).map(row).collect();
    format!(
        "INSERT INTO shipping_tokens (created_at, updated_at, revision, id, account_id, signal, name, digest, sealed, \
         enabled, expires_at, description, sources, rates) VALUES {}",
        rows.join(", ")
    )
}

// === impl Row ===

impl Row<'_> {
    fn values(&self, id: u64, [now, revision]: [i64; 2], sealed: Vec<u8>) -> [Value; COLUMNS] {
        let given = self.given;
        [
            now.into(),
            now.into(),
            revision.into(),
            signed(id).into(),
            signed(self.account.0).into(),
            given.signal.name().into(),
            (&given.name).into(),
            self.digest.0.to_vec().into(),
            sealed.into(),
            given.is_enabled.into(),
            i64::from(given.expires_at).into(),
            (&given.details.description).into(),
            sources_text(&given.details.sources).into(),
            rates_text(&given.details.rates).into(),
        ]
    }

    fn token(&self, id: u64) -> Token {
        let given = self.given;
        Token {
            id: TokenId(id),
            digest: self.digest,
            account: self.account,
            signal: given.signal,
            state: match given.is_enabled {
                true => TokenState::Live,
                false => TokenState::Disabled,
            },
            expires_at: given.expires_at,
            sources: given.details.sources.clone(),
            rates: given.details.rates,
        }
    }
}

// === impl Found ===

impl Found {
    fn is_within(&self, home: Option<u64>) -> bool {
        home.is_none() || home == Some(self.account) || home == self.reached_from
    }

    /// What a token that is the same text comes to. Whose it is otherwise is nobody's business here.
    fn beside(&self, account: u64, signal: Signal) -> Imported {
        if (self.account, self.signal) != (account, signal) {
            let why = "this token is there already, for another account or signal";
            return Imported::Refused(why.to_owned());
        }
        if self.is_revoked {
            let why = "this token is revoked, and that is final";
            return Imported::Refused(why.to_owned());
        }
        Imported::Known
    }
}
