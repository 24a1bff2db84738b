//! A store that was restored or copied gets another name: that goes on record, and the names before are kept, because gateways
//! come back with records that they were told under those.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{audit, counter, database::Connection, group::skip, meta, open};
use crate::control::{Error, record, view::hexadecimal};

/// Row in `meta`: the names that the store had, the latest first.
const FORMER: &str = "former";
/// Older ones are forgotten.
const FORMER_MAX: usize = 8;
/// What tells of it in the audit log.
const RENAMED: &str = "store.renamed";

/// A name that the store had.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct FormerName {
    pub(super) store: String,
    /// The last record under it: what the original wrote after that, this store never had, or has lost.
    pub(super) seq: u64,
}

/// Names that the store had.
pub(super) async fn former(connection: &mut Connection) -> Result<Vec<FormerName>, Error> {
    let Some(kept) = meta(connection, FORMER).await? else {
        return Ok(Vec::new());
    };
    serde_json::from_slice(&kept).map_err(|_| Error::damaged("the store's former names"))
}

/// Puts it on record, in the caller's transaction, and keeps the name that was.
pub(super) async fn note(
    connection: &mut Connection,
    before: &str,
    after: &str,
) -> Result<(), Error> {
    let last = audit::newest(&mut *connection).await?;
    let mut names = former(connection).await?;
    names.insert(
        0,
        FormerName {
            store: before.to_owned(),
            seq: last.as_ref().map_or(0, |last| last.seq),
        },
    );
    names.truncate(FORMER_MAX);
    let kept = serde_json::to_vec(&names).map_err(|_| Error::damaged("the store's names"))?;
    open::write(connection, FORMER, kept).await?;
    let old = json!({
        "store": before,
        "seq": last.as_ref().map(|last| last.seq),
        "hash": last.as_ref().map(|last| hexadecimal(&last.hash)),
    });
    let entry = audit::Entry {
        account: None,
        action: RENAMED,
        subject: format!("store/{after}"),
        old: Some(old),
        new: Some(json!({"store": after})),
    };
    let revision = counter(&mut *connection, "revision").await?;
    let seq = skip(connection, "audit", 1).await?;
    let works = vec![("start".into(), record::now(), vec![entry])];
    audit::append(connection, seq - 1, revision, works).await
}
