//! Texts of tokens that whoever lists them is shown. They are read and opened beside the writer, which only puts them on
//! record, some at a time: nobody's revocation waits behind somebody's list.

use std::collections::BTreeMap;

use super::{
    Store,
    database::{Row, query},
    get_u64,
    usage::one_of,
};
use crate::{
    control::{Error, record::Who},
    model::Secret,
};

/// Records of one work: a millisecond or two of the writer's.
const RECORDS_MAX: usize = 128;
/// Texts asked for in one statement.
const ROWS: usize = 64;

/// Which tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Shipping,
    Shared,
}

// === impl Shown ===

impl Shown {
    fn select(self) -> &'static str {
        match self {
            Self::Shipping => {
                "SELECT id, account_id, sealed FROM shipping_tokens WHERE revoked_at IS NULL AND id IN ("
            }
            Self::Shared => {
                "SELECT id, account_id, sealed FROM shared_tokens WHERE revoked_at IS NULL AND id IN ("
            }
        }
    }

    fn action(self) -> &'static str {
        match self {
            Self::Shipping => "token.reveal",
            Self::Shared => "shared_token.reveal",
        }
    }

    /// As the audit log calls one; its text is sealed for that place.
    fn subject(self, id: u64) -> String {
        match self {
            Self::Shipping => super::tokens::place(id),
            Self::Shared => super::shared::place(id),
        }
    }
}

/// Which token, whose, and its text.
fn read(row: &Row) -> Result<(u64, u64, Vec<u8>), Error> {
    Ok((
        get_u64(row, "id")?,
        get_u64(row, "account_id")?,
        row.get("sealed")?,
    ))
}

// === impl Store ===

impl Store {
    /// The texts of those tokens, by id, each on record by now. What was revoked meanwhile is left out.
    pub(crate) async fn show(
        &self,
        who: &Who,
        shown: Shown,
        ids: &[u64],
    ) -> Result<BTreeMap<u64, Secret>, Error> {
        let mut texts = BTreeMap::new();
        let mut accounts = Vec::new();
        for ids in ids.chunks(ROWS) {
            let select = one_of(query(shown.select()), ids);
            for (id, account, sealed) in select.read_all(&self.lister, read).await? {
                let text = self.sealer.open_text(&shown.subject(id), &sealed)?;
                texts.insert(id, text);
                accounts.push((id, account));
            }
        }
        for accounts in accounts.chunks(RECORDS_MAX) {
            let mut commit = self.begin(who).await?;
            for (id, account) in accounts {
                let subject = shown.subject(*id);
                commit.note_of(Some(*account), shown.action(), subject, None, None);
            }
            commit.finish_unpublished().await?;
        }
        Ok(texts)
    }

    /// The same of one token.
    pub(crate) async fn show_one(&self, who: &Who, shown: Shown, id: u64) -> Result<Secret, Error> {
        let text = self.show(who, shown, &[id]).await?.remove(&id);
        text.ok_or_else(|| {
            let subject = shown.subject(id);
            Error::Conflict(format!(
                "{subject} is revoked; there is nothing left to reveal"
            ))
        })
    }
}
