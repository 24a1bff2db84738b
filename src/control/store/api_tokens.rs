//! API tokens in the store: digests, and the sealed text of the first one alone.

use serde_json::json;

use super::{
    Commit, Store, Whose,
    database::{On, Query, Row, query},
    expiry_of, get_some_u64, get_u64,
    room::Kind,
    signed,
};
use crate::{
    clock,
    control::{Error, record::ApiTokenRow, scope::Scopes, view},
    model::{Secret, TokenKind},
};

/// Which API tokens to list.
#[derive(Default)]
pub(crate) struct ApiTokenFilter {
    pub(crate) whose: Whose,
    pub(crate) name: Option<String>,
    /// `live`, `revoked` or `expired`.
    pub(crate) state: Option<&'static str>,
}

/// An API token to be made.
pub(crate) struct NewApiToken {
    /// `None` for an operator's.
    pub(crate) account: Option<u64>,
    pub(crate) name: String,
    pub(crate) scopes: Scopes,
    /// Seconds since 1970, 0 = never.
    pub(crate) expires_at: u32,
}

pub(super) const SELECT: &str = "SELECT id, account_id, name, scopes, expires_at, created_by, created_at, last_used_at, revoked_at \
     FROM api_tokens WHERE id > ";

/// Those after `after`, by id.
fn select(after: u64, limit: u32, filter: &ApiTokenFilter) -> Query {
    let select = query(SELECT).and("$", [signed(after).into()]);
    let mut select = filter.whose.narrow(select);
    if let Some(name) = &filter.name {
        select = select.and(" AND name = $", [name.into()]);
    }
    if let Some(state) = filter.state {
        select = select.and(
            " AND CASE WHEN revoked_at IS NOT NULL THEN 'revoked' \
             WHEN expires_at <> 0 AND expires_at <= $ THEN 'expired' ELSE 'live' END = $",
            [i64::from(clock::wall_seconds()).into(), state.into()],
        );
    }
    select.and(" ORDER BY id LIMIT $", [limit.into()])
}

// === impl Store ===

impl Store {
    /// Those after `after`, by id, revoked ones too.
    pub(crate) async fn api_tokens(
        &self,
        filter: &ApiTokenFilter,
        after: u64,
        limit: u32,
    ) -> Result<Vec<ApiTokenRow>, Error> {
        select(after, limit, filter)
            .read_all(&self.lister, read)
            .await
    }

    /// That one.
    pub(crate) async fn api_token(&self, id: u64) -> Result<ApiTokenRow, Error> {
        one(&self.reader, id).await
    }

    /// The text of an API token that is kept.
    pub(crate) async fn open_api_token(&self, id: u64) -> Result<Option<Secret>, Error> {
        let sealed: Option<Vec<u8>> =
            query("SELECT sealed FROM api_tokens WHERE id = $1 AND revoked_at IS NULL")
                .bind(signed(id))
                .fetch_value(&self.reader)
                .await?;
        sealed
            .map(|sealed| self.sealer.open_text(&place(id), &sealed))
            .transpose()
    }
}

async fn one(on: impl Into<On<'_>>, id: u64) -> Result<ApiTokenRow, Error> {
    let row = select(id.saturating_sub(1), 1, &ApiTokenFilter::default())
        .read_optional(on, read)
        .await?;
    row.filter(|row| row.id == id)
        .ok_or_else(|| Error::NotFound(format!("there is no API token {id}")))
}

// === impl Commit ===

impl Commit {
    /// That one, as of this transaction.
    pub(crate) async fn api_token(&mut self, id: u64) -> Result<ApiTokenRow, Error> {
        one(self.connection()?, id).await
    }

    /// Mints one. Its text can be read again only when it `is_kept`: for a file of our own.
    pub(crate) async fn insert_api_token(
        &mut self,
        new: NewApiToken,
        is_kept: bool,
    ) -> Result<(ApiTokenRow, Secret), Error> {
        if let Some(account) = new.account {
            self.has_room(Kind::ApiTokens, account).await?;
        }
        let id = self.next_id("api_token").await?;
        let (secret, digest) = self.mint(TokenKind::Api);
        let sealed = match is_kept {
            true => self.sealer.seal(&place(id), secret.reveal().as_bytes()),
            false => Vec::new(),
        };
        let row = ApiTokenRow {
            id,
            account: new.account,
            name: new.name,
            scopes: new.scopes,
            expires_at: new.expires_at,
            created_by: self.who().name.clone(),
            created_at: self.now,
            last_used_at: None,
            revoked_at: None,
        };
        query(
            "INSERT INTO api_tokens (id, name, digest, sealed, created_at, account_id, scopes, expires_at, created_by) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(signed(id))
        .bind(&row.name)
        .bind(digest.0.to_vec())
        .bind(sealed)
        .bind(signed(row.created_at))
        .bind(row.account.map(signed))
        .bind(row.scopes.names().join(" "))
        .bind(i64::from(row.expires_at))
        .bind(&row.created_by)
        .execute(self.connection()?)
        .await?;
        let new = json!(view::ApiToken::from(&row));
        self.note(
            "api_token.create",
            format!("api_token/{id}"),
            None,
            Some(new),
        );
        Ok((row, secret))
    }

    /// Ends it for ever; a revoked one stays as it is.
    pub(crate) async fn revoke_api_token(&mut self, id: u64) -> Result<ApiTokenRow, Error> {
        let old = self.api_token(id).await?;
        if old.revoked_at.is_some() {
            return Ok(old);
        }
        let now = self.now;
        query("UPDATE api_tokens SET revoked_at = $1, version = version + 1 WHERE id = $2")
            .bind(signed(now))
            .bind(signed(id))
            .execute(self.connection()?)
            .await?;
        Ok(self.tell_revoked(old))
    }

    /// Ends an account's, each on record by itself.
    pub(super) async fn revoke_api_tokens_of(&mut self, account: u64) -> Result<(), Error> {
        let live = query(SELECT)
            .and(
                "0 AND account_id = $ AND revoked_at IS NULL ORDER BY id",
                [signed(account).into()],
            )
            .read_all(self.connection()?, read)
            .await?;
        let now = self.now;
        query(
            "UPDATE api_tokens SET revoked_at = $1, version = version + 1 \
             WHERE account_id = $2 AND revoked_at IS NULL",
        )
        .bind(signed(now))
        .bind(signed(account))
        .execute(self.connection()?)
        .await?;
        for old in live {
            self.tell_revoked(old);
        }
        Ok(())
    }

    fn tell_revoked(&mut self, old: ApiTokenRow) -> ApiTokenRow {
        let new = ApiTokenRow {
            revoked_at: Some(self.now),
            ..old.clone()
        };
        let states = [&old, &new].map(|row| json!(view::ApiToken::from(row)));
        let [old, now] = states.map(Some);
        self.note("api_token.revoke", place(new.id), old, now);
        new
    }
}

fn place(id: u64) -> String {
    format!("api_token/{id}")
}

pub(super) fn read(row: &Row) -> Result<ApiTokenRow, Error> {
    Ok(ApiTokenRow {
        id: get_u64(row, "id")?,
        account: get_some_u64(row, "account_id")?,
        name: row.get("name")?,
        scopes: Scopes::parse(row.get("scopes")?)
            .ok_or_else(|| Error::damaged("scopes that there are not"))?,
        expires_at: expiry_of(row)?,
        created_by: row.get("created_by")?,
        created_at: get_u64(row, "created_at")?,
        last_used_at: get_some_u64(row, "last_used_at")?,
        revoked_at: get_some_u64(row, "revoked_at")?,
    })
}
