//! Reading for the feed: kept deltas in order, and everything in key ranges, never in one long transaction.

use bytes::Bytes;
use sqlx::Row;

use super::{Store, commit::framed, get_u64, signed};
use crate::control::Error;

/// Deltas read at once: a few large ones must not fill the memory.
const DELTAS_MAX: i64 = 64;

/// Deltas from the store.
pub(crate) enum Kept {
    /// The next ones in order, as encoded messages.
    Deltas(Vec<Bytes>),
    /// They are no longer kept.
    Gone,
}

impl Store {
    /// The next deltas after `revision`, which must be below the head.
    pub(crate) async fn kept_since(&self, revision: u64) -> Result<Kept, Error> {
        let rows = sqlx::query(
            "SELECT revision, delta FROM changes WHERE revision > $1 ORDER BY revision LIMIT $2",
        )
        .bind(signed(revision))
        .bind(DELTAS_MAX)
        .fetch_all(&self.reader)
        .await?;
        let mut last = revision;
        let mut deltas = Vec::with_capacity(rows.len());
        for row in rows {
            let revision = get_u64(&row, "revision")?;
            if revision != last + 1 {
                break;
            }
            let place = format!("change/{revision}");
            let delta = self
                .sealer
                .open(&place, row.try_get("delta")?)
                .ok_or_else(|| Error::damaged(format!("{place} does not open")))?;
            deltas.push(framed(&delta));
            last = revision;
        }
        Ok(if deltas.is_empty() {
            Kept::Gone
        } else {
            Kept::Deltas(deltas)
        })
    }
}
