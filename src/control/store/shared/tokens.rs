//! Shared tokens: digest and sealed text; a row is never removed.

use serde_json::json;

use super::super::{
    Commit, Store, Whose,
    database::{On, Query, Row, query},
    expiry_of, get_some_u64, get_u64, is_hidden,
    room::Kind,
    signed,
};
use crate::{
    control::{Error, record::SharedTokenRow, sight::Join, view},
    model::{Digest, Secret, TokenKind},
};

/// A shared token to be made.
pub(crate) struct NewSharedToken {
    pub(crate) account: u64,
    pub(crate) name: String,
    pub(crate) join: Join,
    /// Ids of filters of the same account.
    pub(crate) filters: Vec<u64>,
    /// Seconds since 1970, 0 = never.
    pub(crate) expires_at: u32,
}

/// Hidden ones too; what follows begins with a blank and `WHERE`.
const ALL: &str = "SELECT id, account_id, name, joined_by, filters, expires_at, created_by, created_at, updated_at, \
     last_used_at, revoked_at, deleted_at FROM shared_tokens";

/// Those after `after`, by id; deleted ones are hidden.
fn select(after: u64, limit: u32, whose: Whose) -> Query {
    let select = query(ALL).and(
        " WHERE deleted_at IS NULL AND id > $",
        [signed(after).into()],
    );
    whose
        .narrow(select)
        .and(" ORDER BY id LIMIT $", [limit.into()])
}

// === impl Store ===

impl Store {
    /// Those after `after`, by id, `limit` at most; revoked ones too.
    pub(crate) async fn shared_tokens(
        &self,
        whose: Whose,
        after: u64,
        limit: u32,
    ) -> Result<Vec<SharedTokenRow>, Error> {
        select(after, limit, whose)
            .read_all(&self.lister, read)
            .await
    }

    /// That one.
    pub(crate) async fn shared_token(&self, id: u64) -> Result<SharedTokenRow, Error> {
        one(&self.reader, id).await
    }

    /// The one with that digest, and whether it is hidden.
    pub(in crate::control::store) async fn shared_token_of(
        &self,
        digest: &Digest,
    ) -> Result<Option<(SharedTokenRow, bool)>, Error> {
        query(ALL)
            .and(" WHERE digest = $", [digest.0.to_vec().into()])
            .read_optional(&self.reader, |row| Ok((read(row)?, is_hidden(row)?)))
            .await
    }
}

async fn one(on: impl Into<On<'_>>, id: u64) -> Result<SharedTokenRow, Error> {
    let row = select(id.saturating_sub(1), 1, Whose::default())
        .read_optional(on, read)
        .await?;
    row.filter(|row| row.id == id)
        .ok_or_else(|| Error::NotFound(format!("there is no shared token {id}")))
}

// === impl Commit ===

impl Commit {
    /// That one, as of this transaction.
    pub(crate) async fn shared_token(&mut self, id: u64) -> Result<SharedTokenRow, Error> {
        one(self.connection()?, id).await
    }

    /// Mints one.
    pub(crate) async fn insert_shared_token(
        &mut self,
        new: NewSharedToken,
    ) -> Result<(SharedTokenRow, Secret), Error> {
        self.has_room(Kind::SharedTokens, new.account).await?;
        self.filters_are_of(new.account, &new.filters).await?;
        let id = self.next_id("shared_token").await?;
        let (secret, digest) = self.mint(TokenKind::Shared);
        let sealed = self.sealer.seal(&place(id), secret.reveal().as_bytes());
        let row = SharedTokenRow {
            id,
            account: new.account,
            name: new.name,
            join: new.join,
            filters: new.filters,
            expires_at: new.expires_at,
            created_by: self.who().name.clone(),
            created_at: self.now,
            updated_at: self.now,
            last_used_at: None,
            revoked_at: None,
        };
        query(
            "INSERT INTO shared_tokens (id, account_id, name, digest, sealed, joined_by, filters, expires_at, \
             created_by, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)",
        )
        .bind(signed(id))
        .bind(signed(row.account))
        .bind(&row.name)
        .bind(digest.0.to_vec())
        .bind(sealed)
        .bind(row.join.name())
        .bind(joined(&row.filters))
        .bind(i64::from(row.expires_at))
        .bind(&row.created_by)
        .bind(signed(row.created_at))
        .execute(self.connection()?)
        .await?;
        self.tell_shared("shared_token.create", None, &row);
        Ok((row, secret))
    }

    /// Replaces name, filters, join, expiry and end. A revoked token is past that.
    pub(crate) async fn update_shared_token(
        &mut self,
        action: &'static str,
        old: &SharedTokenRow,
        mut new: SharedTokenRow,
    ) -> Result<SharedTokenRow, Error> {
        let id = new.id;
        if old.revoked_at.is_some() {
            return Err(Error::Conflict(format!(
                "shared token {id} is revoked, and that is final; create a new one"
            )));
        }
        if new.filters != old.filters {
            self.filters_are_of(new.account, &new.filters).await?;
        }
        new.updated_at = self.now;
        query(
            "UPDATE shared_tokens SET name = $1, joined_by = $2, filters = $3, expires_at = $4, revoked_at = $5, \
             updated_at = $6, version = version + 1 WHERE id = $7",
        )
        .bind(&new.name)
        .bind(new.join.name())
        .bind(joined(&new.filters))
        .bind(i64::from(new.expires_at))
        .bind(new.revoked_at.map(signed))
        .bind(signed(new.updated_at))
        .bind(signed(id))
        .execute(self.connection()?)
        .await?;
        self.tell_shared(action, Some(old), &new);
        Ok(new)
    }

    /// Ends it for ever; a revoked one stays as it is.
    pub(crate) async fn revoke_shared_token(&mut self, id: u64) -> Result<SharedTokenRow, Error> {
        let old = self.shared_token(id).await?;
        if old.revoked_at.is_some() {
            return Ok(old);
        }
        let new = SharedTokenRow {
            revoked_at: Some(self.now),
            ..old.clone()
        };
        self.update_shared_token("shared_token.revoke", &old, new)
            .await
    }

    /// Ends an account's, each on record by itself.
    pub(in crate::control::store) async fn revoke_shared_tokens_of(
        &mut self,
        account: u64,
    ) -> Result<(), Error> {
        let live = query(ALL)
            .and(
                " WHERE account_id = $ AND revoked_at IS NULL ORDER BY id",
                [signed(account).into()],
            )
            .read_all(self.connection()?, read)
            .await?;
        let now = self.now;
        query(
            "UPDATE shared_tokens SET revoked_at = $1, updated_at = $1, version = version + 1 \
             WHERE account_id = $2 AND revoked_at IS NULL",
        )
        .bind(signed(now))
        .bind(signed(account))
        .execute(self.connection()?)
        .await?;
        for old in live {
            let new = SharedTokenRow {
                revoked_at: Some(now),
                updated_at: now,
                ..old.clone()
            };
            self.tell_shared("shared_token.revoke", Some(&old), &new);
        }
        Ok(())
    }

    /// Hides a revoked one.
    pub(crate) async fn hide_shared_token(&mut self, id: u64) -> Result<SharedTokenRow, Error> {
        let row = self.shared_token(id).await?;
        if row.revoked_at.is_none() {
            return Err(Error::Conflict(format!(
                "shared token {id} is not revoked; revoke it before you delete it"
            )));
        }
        let now = signed(self.now);
        query("UPDATE shared_tokens SET deleted_at = $1, updated_at = $1 WHERE id = $2")
            .bind(now)
            .bind(signed(id))
            .execute(self.connection()?)
            .await?;
        self.tell_shared("shared_token.delete", Some(&row), &row);
        Ok(row)
    }

    /// The text of one; the reading is audited.
    pub(crate) async fn reveal_shared_token(&mut self, id: u64) -> Result<Secret, Error> {
        let row = self.shared_token(id).await?;
        if row.revoked_at.is_some() {
            return Err(Error::Conflict(format!(
                "shared token {id} is revoked; there is nothing left to reveal"
            )));
        }
        let sealed: Vec<u8> = query("SELECT sealed FROM shared_tokens WHERE id = $1")
            .bind(signed(id))
            .fetch_one(self.connection()?)
            .await?;
        self.note_of(
            Some(row.account),
            "shared_token.reveal",
            format!("shared_token/{id}"),
            None,
            None,
        );
        self.sealer.open_text(&place(id), &sealed)
    }

    /// A token of that account that goes by that filter and may open something yet.
    pub(super) async fn token_with_filter(
        &mut self,
        account: u64,
        filter: u64,
    ) -> Result<Option<u64>, Error> {
        let rows = select(0, u32::MAX, Whose::account(account))
            .read_all(self.connection()?, read)
            .await?;
        let goes_by_it =
            |row: &&SharedTokenRow| row.revoked_at.is_none() && row.filters.contains(&filter);
        Ok(rows.iter().find(goes_by_it).map(|row| row.id))
    }

    /// Refuses filters that there are not, and other accounts' alike.
    async fn filters_are_of(&mut self, account: u64, filters: &[u64]) -> Result<(), Error> {
        for id in filters {
            let row = Error::found(self.shared_filter(*id).await)?;
            if row.is_none_or(|row| row.account != account) {
                return Err(Error::NotFound(format!(
                    "account {account} has no shared filter {id}"
                )));
            }
        }
        Ok(())
    }

    fn tell_shared(
        &mut self,
        action: &'static str,
        old: Option<&SharedTokenRow>,
        new: &SharedTokenRow,
    ) {
        let old = old.map(|old| json!(view::SharedToken::from(old)));
        let now = json!(view::SharedToken::from(new));
        self.note(action, format!("shared_token/{}", new.id), old, Some(now));
    }
}

pub(in crate::control::store) fn place(id: u64) -> String {
    format!("shared_token/{id}")
}

fn joined(ids: &[u64]) -> String {
    let ids: Vec<_> = ids.iter().map(u64::to_string).collect();
    ids.join(" ")
}

/// Ids of filters as a row has them.
pub(super) fn filters(row: &Row) -> Result<Vec<u64>, Error> {
    let text: String = row.get("filters")?;
    let ids = text.split_whitespace().map(str::parse);
    ids.collect::<Result<_, _>>()
        .map_err(|_| Error::damaged("ids of filters that are none"))
}

/// How a row joins them.
pub(super) fn join(row: &Row) -> Result<Join, Error> {
    Join::parse(row.get("joined_by")?).ok_or_else(|| Error::damaged("filters joined by no word"))
}

fn read(row: &Row) -> Result<SharedTokenRow, Error> {
    Ok(SharedTokenRow {
        id: get_u64(row, "id")?,
        account: get_u64(row, "account_id")?,
        name: row.get("name")?,
        join: join(row)?,
        filters: filters(row)?,
        expires_at: expiry_of(row)?,
        created_by: row.get("created_by")?,
        created_at: get_u64(row, "created_at")?,
        updated_at: get_u64(row, "updated_at")?,
        last_used_at: get_some_u64(row, "last_used_at")?,
        revoked_at: get_some_u64(row, "revoked_at")?,
    })
}
