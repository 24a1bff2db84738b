//! Tokens in the store: digest and sealed text; a row is never removed.

mod texts;

use serde_json::json;

pub(super) use texts::{rates_text, sources_text};

use super::{
    Commit, Store,
    commit::Table,
    database::{On, Query, Row, Value, query},
    digest_of, expiry_of, get_some_u64, get_u64, signal_of, signed,
    whose::REACHED,
};
use crate::{
    clock,
    control::{Error, record::TokenRow, view},
    model::{
        AccountId, Change, Rates, Secret, Signal, Sources, Token, TokenId, TokenKind, TokenState,
    },
};

/// A shipping token to be made.
pub(crate) struct NewToken {
    pub(crate) account: u64,
    pub(crate) signal: Signal,
    pub(crate) name: String,
    /// Seconds since 1970, 0 = never.
    pub(crate) expires_at: u32,
}

/// What may be said beside of a token to be made.
#[derive(Default)]
pub(crate) struct Details {
    pub(crate) description: String,
    pub(crate) sources: Sources,
    pub(crate) rates: Rates,
    /// The token itself, well formed, when somebody else has made it.
    pub(crate) token: Option<Secret>,
}

/// Which tokens to list.
#[derive(Default)]
pub(crate) struct Filter {
    pub(crate) account: Option<u64>,
    pub(crate) signal: Option<Signal>,
    pub(crate) name: Option<String>,
    /// `live`, `disabled`, `revoked` or `expired`.
    pub(crate) state: Option<&'static str>,
    /// Only those of this account and of the sub-accounts that it reaches.
    pub(crate) home: Option<u64>,
}

/// Hidden ones too; what follows begins with a blank and `WHERE`.
pub(super) const ALL: &str = "SELECT t.id, t.account_id, a.name AS account_name, t.signal, t.name, t.digest, \
     t.enabled, t.expires_at, t.revoked_at, t.description, t.sources, t.rates, t.replaced_by, t.created_at, t.updated_at, t.revision, \
     t.deleted_at FROM shipping_tokens t JOIN accounts a ON a.id = t.account_id";

/// Only conditions that are asked for stand in it, and one of them chooses the index: a name, else an account, else a
/// signal. What the others are compared by is no bare column, so that their indexes are out of the choice: SQLite has no
/// figures to choose by.
fn select(after: u64, limit: u32, filter: &Filter) -> Query {
    let mut select = query(ALL).and(
        " WHERE t.deleted_at IS NULL AND t.id > $",
        [signed(after).into()],
    );
    let mut is_chosen = false;
    let mut column = |select: Query, name: &str, value: Value| {
        let column = match (is_chosen, &value) {
            (false, _) => format!("t.{name}"),
            (true, Value::Text(_)) => format!("t.{name} || ''"),
            (true, _) => format!("+t.{name}"),
        };
        is_chosen = true;
        select.and(&format!(" AND {column} = $"), [value])
    };
    if let Some(name) = &filter.name {
        select = column(select, "name", name.into());
    }
    if let Some(account) = filter.account {
        select = column(select, "account_id", signed(account).into());
    }
    if let Some(signal) = filter.signal {
        select = column(select, "signal", signal.name().into());
    }
    if let Some(home) = filter.home {
        let (plus, home) = (if is_chosen { "+" } else { "" }, signed(home));
        select = select.and(
            &format!(" AND {plus}t.account_id IN {REACHED}"),
            [home.into(), home.into()],
        );
    }
    if let Some(state) = filter.state {
        select = select.and(
            " AND CASE WHEN t.revoked_at IS NOT NULL THEN 'revoked' \
             WHEN t.expires_at <> 0 AND t.expires_at <= $ THEN 'expired' \
             WHEN NOT t.enabled THEN 'disabled' ELSE 'live' END = $",
            [i64::from(clock::wall_seconds()).into(), state.into()],
        );
    }
    select.and(" ORDER BY t.id LIMIT $", [limit.into()])
}

// === impl Store ===

impl Store {
    /// Those after `after`, by id, `limit` at most; hidden ones are left out. May look at every row, so it has
    /// connections of its own.
    pub(crate) async fn tokens(
        &self,
        after: u64,
        limit: u32,
        filter: &Filter,
    ) -> Result<Vec<TokenRow>, Error> {
        select(after, limit, filter)
            .read_all(&self.lister, read)
            .await
    }

    /// That one.
    pub(crate) async fn token(&self, id: u64) -> Result<TokenRow, Error> {
        one(&self.reader, id).await
    }

    /// For a snapshot: every token after `after` as gateways are told of it, hidden ones too.
    pub(crate) async fn token_page(&self, after: u64, limit: u32) -> Result<Vec<Token>, Error> {
        query(
            "SELECT id, account_id, signal, digest, enabled, expires_at, revoked_at, sources, rates \
             FROM shipping_tokens WHERE id > $1 ORDER BY id LIMIT $2",
        )
        .bind(signed(after))
        .bind(limit)
        .read_all(&self.reader, |row| read_token(row).map(told))
        .await
    }

    /// How many tokens there are, hidden ones too: rows stay, so the counter knows.
    pub(crate) async fn token_count(&self) -> Result<u64, Error> {
        super::counter(&self.reader, "token").await
    }

    /// The text of a shipping token that is not revoked. Only for our own files: people go through the audit log.
    pub(crate) async fn open_token(&self, id: u64) -> Result<Option<Secret>, Error> {
        let sealed: Option<Vec<u8>> =
            query("SELECT sealed FROM shipping_tokens WHERE id = $1 AND revoked_at IS NULL")
                .bind(signed(id))
                .fetch_value(&self.reader)
                .await?;
        sealed
            .map(|sealed| self.sealer.open_text(&place(id), &sealed))
            .transpose()
    }
}

async fn one(on: impl Into<On<'_>>, id: u64) -> Result<TokenRow, Error> {
    let row = select(id.saturating_sub(1), 1, &Filter::default())
        .read_optional(on, read)
        .await?;
    row.filter(|row| row.token.id.0 == id)
        .ok_or_else(|| none(id))
}

fn none(id: u64) -> Error {
    Error::NotFound(format!("there is no token {id}"))
}

// === impl Commit ===

impl Commit {
    /// That one, as of this transaction.
    pub(crate) async fn token(&mut self, id: u64) -> Result<TokenRow, Error> {
        one(self.connection()?, id).await
    }

    /// Mints one and adds it.
    pub(crate) async fn insert_token(
        &mut self,
        new: NewToken,
    ) -> Result<(TokenRow, Secret), Error> {
        self.insert_detailed(new, Details::default()).await
    }

    /// The same with all that may be said of it.
    pub(crate) async fn insert_detailed(
        &mut self,
        new: NewToken,
        details: Details,
    ) -> Result<(TokenRow, Secret), Error> {
        let account = self.account(new.account).await?;
        let (secret, digest) = match details.token {
            None => self.mint(TokenKind::Shipping),
            Some(token) => {
                let digest = self.digest_key.digest(token.reveal().as_bytes());
                self.is_new(digest).await?;
                (token, digest)
            }
        };
        let id = self.next_id("token").await?;
        let row = TokenRow {
            token: Token {
                id: TokenId(id),
                digest,
                account: account.account.id,
                signal: new.signal,
                state: TokenState::Live,
                expires_at: new.expires_at,
                sources: details.sources,
                rates: details.rates,
            },
            account_name: account.account.name,
            name: new.name,
            description: details.description,
            replaced_by: None,
            created_at: self.now,
            updated_at: self.now,
            revision: 0,
        };
        let sealed = self.sealer.seal(&place(id), secret.reveal().as_bytes());
        query(
            "INSERT INTO shipping_tokens (id, account_id, signal, name, digest, sealed, enabled, \
             expires_at, description, sources, rates, created_at, updated_at, revision) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12, 0)",
        )
        .bind(signed(id))
        .bind(signed(row.token.account.0))
        .bind(row.token.signal.name())
        .bind(&row.name)
        .bind(digest.0.to_vec())
        .bind(sealed)
        .bind(true)
        .bind(i64::from(row.token.expires_at))
        .bind(&row.description)
        .bind(sources_text(&row.token.sources))
        .bind(rates_text(&row.token.rates))
        .bind(signed(row.created_at))
        .execute(self.connection()?)
        .await?;
        self.tell_token("token.create", None, &row);
        Ok((row, secret))
    }

    /// Replaces name, description, state, expiry, sources, rates and successor. A revoked token is past that.
    pub(crate) async fn update_token(
        &mut self,
        action: &'static str,
        old: &TokenRow,
        mut new: TokenRow,
    ) -> Result<TokenRow, Error> {
        let id = new.token.id.0;
        if old.token.state == TokenState::Revoked {
            return Err(Error::Conflict(format!(
                "token {id} is revoked, and that is final; create a new one"
            )));
        }
        new.updated_at = self.now;
        let revoked_at = (new.token.state == TokenState::Revoked).then_some(signed(self.now));
        query(
            "UPDATE shipping_tokens SET name = $1, enabled = $2, revoked_at = $3, expires_at = $4, \
             replaced_by = $5, updated_at = $6, description = $7, sources = $8, rates = $9, version = version + 1 WHERE id = $10",
        )
        .bind(&new.name)
        .bind(new.token.state == TokenState::Live)
        .bind(revoked_at)
        .bind(i64::from(new.token.expires_at))
        .bind(new.replaced_by.map(signed))
        .bind(signed(new.updated_at))
        .bind(&new.description)
        .bind(sources_text(&new.token.sources))
        .bind(rates_text(&new.token.rates))
        .bind(signed(id))
        .execute(self.connection()?)
        .await?;
        self.tell_token(action, Some(old), &new);
        Ok(new)
    }

    /// Ends it for ever. A revoked one stays as it is, and gets a revision to be waited for all the same:
    /// who asks again wants the proof.
    pub(crate) async fn revoke_token(&mut self, id: u64) -> Result<TokenRow, Error> {
        let old = self.token(id).await?;
        self.revoke_row(old).await
    }

    /// The same, also of one that is hidden.
    pub(crate) async fn revoke_found_token(&mut self, id: u64) -> Result<TokenRow, Error> {
        let old = query(ALL)
            .and(" WHERE t.id = $", [signed(id).into()])
            .read_optional(self.connection()?, read)
            .await?;
        self.revoke_row(old.ok_or_else(|| none(id))?).await
    }

    async fn revoke_row(&mut self, old: TokenRow) -> Result<TokenRow, Error> {
        if old.token.state == TokenState::Revoked {
            self.tell_token("token.revoke", Some(&old), &old);
            return Ok(old);
        }
        let mut new = old.clone();
        new.token.state = TokenState::Revoked;
        self.update_token("token.revoke", &old, new).await
    }

    /// Ends a token for ever, unless it has ended, and hides it; gateways keep its tombstone. What would be lost with it stands
    /// against that, unless it is meant.
    pub(crate) async fn delete_token(&mut self, id: u64, is_forced: bool) -> Result<(), Error> {
        let mut row = self.token(id).await?;
        if row.token.state != TokenState::Revoked {
            if !is_forced {
                self.not_the_last(&row).await?;
                self.nobody_sends(&row).await?;
            }
            row = self.revoke_token(id).await?;
        }
        let now = signed(self.now);
        query("UPDATE shipping_tokens SET deleted_at = $1, updated_at = $1 WHERE id = $2")
            .bind(now)
            .bind(signed(id))
            .execute(self.connection()?)
            .await?;
        self.tell_token("token.delete", Some(&row), &row);
        Ok(())
    }

    /// The text of a token; the reading is audited.
    pub(crate) async fn reveal_token(&mut self, id: u64) -> Result<Secret, Error> {
        let row = self.token(id).await?;
        if row.token.state == TokenState::Revoked {
            return Err(Error::Conflict(format!(
                "token {id} is revoked; there is nothing left to reveal"
            )));
        }
        let sealed: Vec<u8> = query("SELECT sealed FROM shipping_tokens WHERE id = $1")
            .bind(signed(id))
            .fetch_one(self.connection()?)
            .await?;
        let account = Some(row.token.account.0);
        self.note_of(account, "token.reveal", format!("token/{id}"), None, None);
        self.sealer.open_text(&place(id), &sealed)
    }

    fn tell_token(&mut self, action: &'static str, old: Option<&TokenRow>, new: &TokenRow) {
        let id = new.token.id.0;
        self.change(Change::Token(told(new.token.clone())));
        self.stamp(Table::Tokens, id);
        self.count_token(old, new);
        self.drop_token(old, new);
        let old = old.map(|old| json!(view::Token::from(old)));
        let new = json!(view::Token::from(new));
        self.note(action, format!("token/{id}"), old, Some(new));
    }
}

pub(super) fn place(id: u64) -> String {
    format!("token/{id}")
}

/// What gateways are told of a token. Nothing is paid from a revoked one, and tombstones stay for ever, so they stay small.
fn told(mut token: Token) -> Token {
    if token.state == TokenState::Revoked {
        token.rates = Rates::default();
    }
    token
}

fn read_token(row: &Row) -> Result<Token, Error> {
    let revoked_at: Option<i64> = row.get("revoked_at")?;
    let state = match (revoked_at, row.get("enabled")?) {
        (Some(_), _) => TokenState::Revoked,
        (None, true) => TokenState::Live,
        (None, false) => TokenState::Disabled,
    };
    Ok(Token {
        id: TokenId(get_u64(row, "id")?),
        digest: digest_of(row.get("digest")?)?,
        account: AccountId(get_u64(row, "account_id")?),
        signal: signal_of(row.get("signal")?)?,
        state,
        expires_at: expiry_of(row)?,
        sources: texts::sources(row.get("sources")?)?,
        rates: texts::rates(row.get("rates")?)?,
    })
}

pub(super) fn read(row: &Row) -> Result<TokenRow, Error> {
    Ok(TokenRow {
        token: read_token(row)?,
        account_name: row.get("account_name")?,
        name: row.get("name")?,
        description: row.get("description")?,
        replaced_by: get_some_u64(row, "replaced_by")?,
        created_at: get_u64(row, "created_at")?,
        updated_at: get_u64(row, "updated_at")?,
        revision: get_u64(row, "revision")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::store::Place;

    /// Which index finds the tokens; sorts are told too.
    async fn plan(store: &Store, filter: &Filter) -> String {
        let sql = format!("EXPLAIN QUERY PLAN {}", select(7, 10, filter).sql());
        let rows = query(sql).fetch_all(&store.reader).await;
        let steps = rows.expect("a plan");
        let steps = steps
            .iter()
            .map(|row| row.get::<String, _>("detail").expect("text"));
        steps.collect::<Vec<_>>().join("; ")
    }

    #[tokio::test]
    async fn every_filter_with_an_index_uses_it_and_nothing_is_sorted() {
        let folder = tempfile::tempdir().expect("a folder");
        // SQLite has no figures to choose an index by; PostgreSQL has.
        let place = Place::new("", None, folder.path()).expect("a place");
        let store = Store::open(folder.path(), place, 100).await.expect("opens");
        for (name, account, signal, index) in [
            (false, false, false, "(id>?)"),
            (
                false,
                false,
                true,
                "shipping_tokens_by_signal (signal=? AND id>?)",
            ),
            (
                false,
                true,
                false,
                "shipping_tokens_by_account (account_id=? AND id>?)",
            ),
            (
                false,
                true,
                true,
                "shipping_tokens_by_account (account_id=? AND id>?)",
            ),
            (
                true,
                false,
                false,
                "shipping_tokens_by_name (name=? AND id>?)",
            ),
            (
                true,
                true,
                true,
                "shipping_tokens_by_name (name=? AND id>?)",
            ),
        ] {
            for state in [None, Some("live")] {
                let filter = Filter {
                    account: account.then_some(1),
                    signal: signal.then_some(Signal::Logs),
                    name: name.then(|| "n".to_owned()),
                    state,
                    home: None,
                };
                let plan = plan(&store, &filter).await;
                assert!(plan.contains(index), "{plan}");
                assert!(!plan.contains("TEMP B-TREE"), "{plan}");
            }
        }
    }
}
