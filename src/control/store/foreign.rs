//! What only the compatible routes ask of the store: pages by number, who changed a token, and settings that are kept for
//! callers and mean nothing here.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::{
    AuditFilter, Commit, Store, audit,
    database::{Query, Value, query},
    get_u64, positive, signed, tokens,
    usage::one_of,
};
use crate::{
    clock,
    control::{
        Error,
        record::{AuditRow, Millis, TokenRow, Who},
    },
    model::Signal,
};

/// Accounts asked for in one statement.
const ACCOUNTS: usize = 64;

/// A page of an account's shipping tokens that are not revoked.
pub(crate) struct TokenPage {
    pub(crate) account: u64,
    pub(crate) signal: Signal,
    /// Only those that open something now, or only the others.
    pub(crate) enabled: Option<bool>,
    /// By what, and whether the largest comes first; then by id.
    pub(crate) sort: Vec<(Sort, bool)>,
    pub(crate) offset: u64,
    pub(crate) limit: u32,
}

/// What tokens are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    CreatedAt,
    UpdatedAt,
    Name,
}

/// Who made a token, and who changed it last, as the audit log names them; empty where it doesn't.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hands {
    pub(crate) created_by: String,
    pub(crate) updated_by: String,
}

// === impl Hands ===

impl Hands {
    /// Of a token that was just made.
    pub(crate) fn of(who: &Who) -> Self {
        Self {
            created_by: who.name.clone(),
            updated_by: who.name.clone(),
        }
    }
}

// === impl TokenPage ===

impl TokenPage {
    fn narrow(&self, select: Query) -> Query {
        let select = select
            .and(
                " AND t.account_id = $ AND t.revoked_at IS NULL",
                [signed(self.account).into()],
            )
            .and(" AND t.signal || '' = $", [self.signal.name().into()]);
        let Some(is_enabled) = self.enabled else {
            return select;
        };
        let not = if is_enabled { "" } else { "NOT " };
        select.and(
            &format!(" AND {not}(t.enabled AND (t.expires_at = 0 OR t.expires_at > $))"),
            [i64::from(clock::wall_seconds()).into()],
        )
    }

    fn order(&self) -> String {
        let mut order = String::from(" ORDER BY ");
        for (sort, is_descending) in &self.sort {
            let column = match sort {
                Sort::CreatedAt => "t.created_at",
                Sort::UpdatedAt => "t.updated_at",
                Sort::Name => "t.name",
            };
            let way = if *is_descending { " DESC" } else { "" };
            order.push_str(&format!("{column}{way}, "));
        }
        order.push_str("t.id");
        order
    }
}

// === impl Store ===

impl Store {
    /// How many there are, and that page of them. Sorts all of the account's tokens, so it takes the lists' connections.
    pub(crate) async fn token_search(
        &self,
        page: &TokenPage,
    ) -> Result<(u64, Vec<TokenRow>), Error> {
        let count = "SELECT count(*) FROM shipping_tokens t WHERE t.deleted_at IS NULL";
        let total: i64 = page.narrow(query(count)).fetch_one(&self.lister).await?;
        let select =
            query(tokens::ALL).and(" WHERE t.deleted_at IS NULL AND t.id > $", [0_i64.into()]);
        let rows = page
            .narrow(select)
            .and(
                &format!("{} LIMIT $ OFFSET $", page.order()),
                [page.limit.into(), signed(page.offset).into()],
            )
            .read_all(&self.lister, tokens::read)
            .await?;
        Ok((positive(total)?, rows))
    }

    /// Who made each of those tokens, and who changed it last: a record has its commit's time, and so has the token.
    pub(crate) async fn token_hands(&self, ids: &[u64]) -> Result<BTreeMap<u64, Hands>, Error> {
        let mut hands: BTreeMap<u64, Hands> = BTreeMap::new();
        if ids.is_empty() {
            return Ok(hands);
        }
        let places = vec!["$"; ids.len()].join(", ");
        let values: Vec<Value> = ids.iter().map(|id| signed(*id).into()).collect();
        let records = query(
            "SELECT t.id, t.created_at, t.updated_at, a.at, a.actor FROM shipping_tokens t \
             JOIN audit a ON a.subject = 'token/' || t.id AND (a.at = t.created_at OR a.at = t.updated_at) \
             WHERE a.action <> 'token.reveal'",
        )
        .and(
            &format!(" AND t.id IN ({places}) ORDER BY a.seq"),
            values,
        )
        .fetch_all(&self.lister)
        .await?;
        for record in &records {
            let at: Millis = get_u64(record, "at")?;
            let actor: String = record.get("actor")?;
            let hands = hands.entry(get_u64(record, "id")?).or_default();
            if at == get_u64(record, "created_at")? && hands.created_by.is_empty() {
                hands.created_by.clone_from(&actor);
            }
            if at == get_u64(record, "updated_at")? {
                hands.updated_by = actor;
            }
        }
        Ok(hands)
    }

    /// The first of each account's tokens for a signal that is enabled; an account without one is left out.
    pub(crate) async fn first_tokens(
        &self,
        accounts: &[u64],
        signal: Signal,
    ) -> Result<BTreeMap<u64, u64>, Error> {
        let mut tokens = BTreeMap::new();
        for accounts in accounts.chunks(ACCOUNTS) {
            let rows = first(signal, accounts).read_all(&self.lister, |row| {
                Ok((get_u64(row, "account_id")?, get_u64(row, "id")?))
            });
            tokens.extend(rows.await?);
        }
        Ok(tokens)
    }

    /// How many audit records there are of that kind, and that page of them.
    pub(crate) async fn audit_page(
        &self,
        filter: &AuditFilter,
        is_descending: bool,
        offset: u64,
        limit: u32,
    ) -> Result<(u64, Vec<AuditRow>), Error> {
        let count = query("SELECT count(*) FROM audit WHERE seq > ").and("$", [0_i64.into()]);
        let total: i64 = audit::narrow(count, filter).fetch_one(&self.lister).await?;
        let select = query("SELECT * FROM audit WHERE seq > ").and("$", [0_i64.into()]);
        let way = if is_descending { " DESC" } else { "" };
        let rows = audit::narrow(select, filter)
            .and(
                &format!(" ORDER BY seq{way} LIMIT $ OFFSET $"),
                [limit.into(), signed(offset).into()],
            )
            .read_all(&self.lister, audit::read)
            .await?;
        Ok((positive(total)?, rows))
    }

    /// What is kept for an account: JSON.
    pub(crate) async fn kept(&self, account: u64) -> Result<String, Error> {
        let kept = kept(account).fetch_value(&self.reader).await?;
        Ok(kept.unwrap_or_default())
    }

    /// What is kept for each sub-account of a main account that reaches it, `limit` at most.
    pub(crate) async fn kept_of(
        &self,
        main: u64,
        limit: u32,
    ) -> Result<BTreeMap<u64, String>, Error> {
        query("SELECT id, kept FROM accounts WHERE parent_id = $1 AND accessible AND deleted_at IS NULL LIMIT $2")
            .bind(signed(main))
            .bind(limit)
            .fetch_all(&self.lister)
            .await?
            .iter()
            .map(|row| Ok((get_u64(row, "id")?, row.get("kept")?)))
            .collect()
    }
}

const FIRST: &str = "SELECT account_id, min(id) AS id FROM shipping_tokens WHERE signal || '' = $1 AND enabled \
     AND revoked_at IS NULL AND (expires_at = 0 OR expires_at > $2) AND account_id IN (";

/// The first of each account's tokens for a signal that is enabled.
fn first(signal: Signal, accounts: &[u64]) -> Query {
    let select = query(FIRST)
        .bind(signal.name())
        .bind(i64::from(clock::wall_seconds()));
    one_of(select, accounts).and(" GROUP BY account_id", [])
}

fn kept(account: u64) -> Query {
    query("SELECT kept FROM accounts WHERE id = $1").bind(signed(account))
}

// === impl Commit ===

impl Commit {
    /// What is kept for an account, as of this transaction.
    pub(crate) async fn kept(&mut self, account: u64) -> Result<String, Error> {
        let kept = kept(account).fetch_value(self.connection()?).await?;
        Ok(kept.unwrap_or_default())
    }

    /// Keeps that for an account: it holds no secret, and means nothing to gateways.
    pub(crate) async fn keep(
        &mut self,
        account: u64,
        old: Option<Json>,
        new: Json,
    ) -> Result<(), Error> {
        if old.as_ref() == Some(&new) {
            return Ok(());
        }
        query("UPDATE accounts SET kept = $1 WHERE id = $2")
            .bind(new.to_string())
            .bind(signed(account))
            .execute(self.connection()?)
            .await?;
        self.note("account.keep", format!("account/{account}"), old, Some(new));
        Ok(())
    }

    /// The first of an account's tokens for a signal that is enabled.
    pub(crate) async fn first_token(
        &mut self,
        account: u64,
        signal: Signal,
    ) -> Result<Option<u64>, Error> {
        let select = first(signal, &[account]);
        let row = select.fetch_optional(self.connection()?).await?;
        row.map(|row| get_u64(&row, "id")).transpose()
    }

    /// Revokes all of an account's tokens, when there are no more than `most`.
    pub(crate) async fn revoke_tokens_of(&mut self, account: u64, most: u32) -> Result<(), Error> {
        let rows = query(
            "SELECT id FROM shipping_tokens WHERE account_id = $1 AND revoked_at IS NULL ORDER BY id LIMIT $2",
        )
        .bind(signed(account))
        .bind(most.saturating_add(1))
        .fetch_all(self.connection()?)
        .await?;
        if rows.len() > most as usize {
            return Err(Error::Conflict(format!(
                "account {account} has more than {most} tokens that are not revoked; revoke some first"
            )));
        }
        for row in &rows {
            self.revoke_token(get_u64(row, "id")?).await?;
        }
        Ok(())
    }
}
