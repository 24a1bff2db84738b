//! Who comes with a shared token, as the store has it at this moment: nothing of it is remembered.

use super::{
    super::{
        Store,
        callers::{HOME, HomeRow, home},
        database::query,
        expiry_of, get_some_u64, get_u64, signed,
    },
    filters::read,
    tokens::{filters, join},
};
use crate::{
    control::{
        Error,
        record::Millis,
        sight::{Match, Sight},
    },
    model::Digest,
};

/// What a shared token opens.
#[derive(Clone, Debug)]
pub(crate) struct VisitorRow {
    pub(crate) id: u64,
    /// The account that shares.
    pub(crate) home: HomeRow,
    /// Seconds since 1970, 0 = never.
    pub(crate) expires_at: u32,
    pub(crate) sight: Sight,
    /// When its use was last written down.
    pub(crate) used_at: Millis,
}

// === impl Store ===

impl Store {
    /// What the shared token of that digest opens; an expired one's too.
    pub(crate) async fn visitor(&self, digest: &Digest) -> Result<Option<VisitorRow>, Error> {
        let sql = format!(
            "SELECT t.id, t.joined_by, t.filters, t.expires_at, t.last_used_at, {HOME} FROM shared_tokens t \
             JOIN accounts a ON a.id = t.account_id LEFT JOIN accounts p ON p.id = a.parent_id \
             WHERE t.digest = $1 AND t.revoked_at IS NULL AND t.deleted_at IS NULL AND a.deleted_at IS NULL"
        );
        let row = query(sql)
            .bind(digest.0.to_vec())
            .fetch_optional(&self.reader)
            .await?;
        let Some(row) = row else {
            return Ok(None);
        };
        let Some(home) = home(&row)? else {
            return Ok(None);
        };
        let mut seen = Vec::new();
        for id in filters(&row)? {
            seen.push(self.matched(id, home.id).await?);
        }
        Ok(Some(VisitorRow {
            id: get_u64(&row, "id")?,
            home,
            expires_at: expiry_of(&row)?,
            sight: Sight {
                join: join(&row)?,
                filters: seen,
            },
            used_at: get_some_u64(&row, "last_used_at")?.unwrap_or(0),
        }))
    }

    /// A filter that is gone matches nothing, and so does another account's: no row of ours has one.
    async fn matched(&self, id: u64, account: u64) -> Result<Match, Error> {
        let found = query("SELECT * FROM shared_filters WHERE id = $1 AND account_id = $2")
            .bind(signed(id))
            .bind(signed(account))
            .read_optional(&self.reader, read)
            .await?;
        Ok(match found {
            Some(row) => Match::of(&row.field, &row.value),
            None => Match::Nothing,
        })
    }

    /// Writes down that it was used now.
    pub(crate) async fn touch_shared_token(&self, id: u64) -> Result<(), Error> {
        let mut commit = self.begin("use").await?;
        let now = signed(commit.now);
        query("UPDATE shared_tokens SET last_used_at = $1 WHERE id = $2")
            .bind(now)
            .bind(signed(id))
            .execute(commit.connection()?)
            .await?;
        commit.finish_unpublished().await
    }
}
