//! Filters of shared tokens: what one matches never changes.

use serde_json::json;

use super::super::{
    Commit, Store, Whose,
    database::{On, Query, Row, query},
    get_u64,
    room::Kind,
    signed,
};
use crate::control::{Error, record::SharedFilterRow, view};

/// A filter to be made.
pub(crate) struct NewSharedFilter {
    pub(crate) account: u64,
    pub(crate) field: String,
    pub(crate) value: String,
    pub(crate) description: String,
}

const SELECT: &str = "SELECT id, account_id, field, value, description, created_by, created_at, updated_at \
     FROM shared_filters WHERE id > ";

/// Those after `after`, by id.
fn select(after: u64, limit: u32, whose: Whose) -> Query {
    let select = query(SELECT).and("$", [signed(after).into()]);
    whose
        .narrow(select)
        .and(" ORDER BY id LIMIT $", [limit.into()])
}

// === impl Store ===

impl Store {
    /// Those after `after`, by id, `limit` at most.
    pub(crate) async fn shared_filters(
        &self,
        whose: Whose,
        after: u64,
        limit: u32,
    ) -> Result<Vec<SharedFilterRow>, Error> {
        select(after, limit, whose)
            .read_all(&self.lister, read)
            .await
    }

    /// That one.
    pub(crate) async fn shared_filter(&self, id: u64) -> Result<SharedFilterRow, Error> {
        one(&self.reader, id).await
    }
}

async fn one(on: impl Into<On<'_>>, id: u64) -> Result<SharedFilterRow, Error> {
    let row = select(id.saturating_sub(1), 1, Whose::default())
        .read_optional(on, read)
        .await?;
    row.filter(|row| row.id == id)
        .ok_or_else(|| Error::NotFound(format!("there is no shared filter {id}")))
}

// === impl Commit ===

impl Commit {
    /// That one, as of this transaction.
    pub(crate) async fn shared_filter(&mut self, id: u64) -> Result<SharedFilterRow, Error> {
        one(self.connection()?, id).await
    }

    /// Adds one.
    pub(crate) async fn insert_shared_filter(
        &mut self,
        new: NewSharedFilter,
    ) -> Result<SharedFilterRow, Error> {
        self.has_room(Kind::SharedFilters, new.account).await?;
        let id = self.next_id("shared_filter").await?;
        let row = SharedFilterRow {
            id,
            account: new.account,
            field: new.field,
            value: new.value,
            description: new.description,
            created_by: self.who().name.clone(),
            created_at: self.now,
            updated_at: self.now,
        };
        query(
            "INSERT INTO shared_filters (id, account_id, field, value, description, created_by, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $7)",
        )
        .bind(signed(id))
        .bind(signed(row.account))
        .bind(&row.field)
        .bind(&row.value)
        .bind(&row.description)
        .bind(&row.created_by)
        .bind(signed(row.created_at))
        .execute(self.connection()?)
        .await?;
        self.tell_filter("shared_filter.create", None, Some(&row));
        Ok(row)
    }

    /// Replaces its description.
    pub(crate) async fn describe_shared_filter(
        &mut self,
        id: u64,
        description: String,
    ) -> Result<SharedFilterRow, Error> {
        let old = self.shared_filter(id).await?;
        let new = SharedFilterRow {
            description,
            updated_at: self.now,
            ..old.clone()
        };
        query("UPDATE shared_filters SET description = $1, updated_at = $2, version = version + 1 WHERE id = $3")
            .bind(&new.description)
            .bind(signed(new.updated_at))
            .bind(signed(id))
            .execute(self.connection()?)
            .await?;
        self.tell_filter("shared_filter.change", Some(&old), Some(&new));
        Ok(new)
    }

    /// Removes one that no token goes by any more: a token must not come to show more, or less, by the way.
    pub(crate) async fn delete_shared_filter(&mut self, id: u64) -> Result<SharedFilterRow, Error> {
        let row = self.shared_filter(id).await?;
        if let Some(token) = self.token_with_filter(row.account, id).await? {
            return Err(Error::Conflict(format!(
                "shared token {token} goes by shared filter {id}; change or revoke that token first"
            )));
        }
        query("DELETE FROM shared_filters WHERE id = $1")
            .bind(signed(id))
            .execute(self.connection()?)
            .await?;
        self.tell_filter("shared_filter.delete", Some(&row), None);
        Ok(row)
    }

    fn tell_filter(
        &mut self,
        action: &'static str,
        old: Option<&SharedFilterRow>,
        new: Option<&SharedFilterRow>,
    ) {
        let Some(id) = new.or(old).map(|row| row.id) else {
            return;
        };
        let [old, new] = [old, new].map(|row| row.map(|row| json!(view::SharedFilter::from(row))));
        self.note(action, format!("shared_filter/{id}"), old, new);
    }
}

pub(super) fn read(row: &Row) -> Result<SharedFilterRow, Error> {
    Ok(SharedFilterRow {
        id: get_u64(row, "id")?,
        account: get_u64(row, "account_id")?,
        field: row.get("field")?,
        value: row.get("value")?,
        description: row.get("description")?,
        created_by: row.get("created_by")?,
        created_at: get_u64(row, "created_at")?,
        updated_at: get_u64(row, "updated_at")?,
    })
}
