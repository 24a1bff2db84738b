//! Reading for the feed: kept deltas in order, and everything in key ranges, never in one long transaction.

use bytes::Bytes;
use prost::Message as _;

use super::{
    Sealer, Store,
    database::{Pool, query},
    get_u64,
    group::framed,
    signed,
};
use crate::{control::Error, rpc::feed};

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
    /// The next deltas after `revision`, which must be below `head`, and none past it: the database is a moment ahead
    /// of what has been published.
    pub(crate) async fn kept_since(&self, revision: u64, head: u64) -> Result<Kept, Error> {
        kept_since(&self.reader, &self.sealer, revision, head).await
    }
}

impl Store {
    /// What the commit of that revision drew; `None` when its delta is no longer kept, or is from a time before histories.
    pub(crate) async fn history_of(&self, revision: u64) -> Result<Option<u64>, Error> {
        let sealed: Option<Vec<u8>> = query("SELECT delta FROM changes WHERE revision = $1")
            .bind(signed(revision))
            .fetch_value(&self.reader)
            .await?;
        let Some(sealed) = sealed else {
            return Ok(None);
        };
        let place = format!("change/{revision}");
        let delta = self
            .sealer
            .open(&place, &sealed)
            .and_then(|delta| feed::Delta::decode(&delta[..]).ok())
            .ok_or_else(|| Error::damaged(format!("{place} does not open")))?;
        Ok(Some(delta.history).filter(|history| *history != 0))
    }
}

/// See [`Store::kept_since`].
pub(super) async fn kept_since(
    reader: &Pool,
    sealer: &Sealer,
    revision: u64,
    head: u64,
) -> Result<Kept, Error> {
    let rows = query(
        "SELECT revision, delta FROM changes WHERE revision > $1 AND revision <= $2 \
         ORDER BY revision LIMIT $3",
    )
    .bind(signed(revision))
    .bind(signed(head))
    .bind(DELTAS_MAX)
    .fetch_all(reader)
    .await?;
    let mut last = revision;
    let mut deltas = Vec::with_capacity(rows.len());
    for row in rows {
        let revision = get_u64(&row, "revision")?;
        if revision != last + 1 {
            break;
        }
        let place = format!("change/{revision}");
        let delta = sealer
            .open(&place, row.get("delta")?)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        control::tests::stores,
        model::{Destination, DestinationId, DestinationKind},
    };

    #[tokio::test]
    async fn what_is_committed_and_not_yet_published_stays_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = stores::open(folder.path(), 100).await;
        for name in ["a", "b", "c"] {
            let new = Destination::new(DestinationId(0), name, DestinationKind::Archive);
            let mut commit = store.begin("test").await.expect("begins");
            commit.insert_destination(new).await.expect("inserts");
            commit.finish().await.expect("commits");
        }
        for (after, head, count) in [(0, 2, 2), (1, 2, 1), (0, 3, 3)] {
            match store.kept_since(after, head).await.expect("read") {
                Kept::Deltas(deltas) => assert_eq!(deltas.len(), count, "{after} to {head}"),
                Kept::Gone => panic!("{after} to {head}: gone"),
            }
        }
    }
}
