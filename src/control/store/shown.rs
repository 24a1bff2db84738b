//! Texts of tokens that whoever lists them is shown. They are read and opened beside the writer, which only puts them on
//! record, some at a time: nobody's revocation waits behind somebody's list.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Store, Whose,
    database::{Row, query},
    get_u64,
    usage::one_of,
};
use crate::{
    control::{Error, terms::Errand},
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

fn read(row: &Row) -> Result<(u64, Vec<u8>), Error> {
    Ok((get_u64(row, "id")?, row.get("sealed")?))
}

// === impl Store ===

impl Store {
    /// The texts of those tokens, by id, each on record by now. What is revoked, or is none of `account` and of the
    /// sub-accounts that it reaches, is left out: as the records' transaction finds it.
    pub(crate) async fn show(
        &self,
        errand: impl Into<Errand>,
        shown: Shown,
        account: u64,
        ids: &[u64],
    ) -> Result<BTreeMap<u64, Secret>, Error> {
        let mut texts = BTreeMap::new();
        for ids in ids.chunks(ROWS) {
            let select = one_of(query(shown.select()), ids);
            for (id, sealed) in select.read_all(&self.lister, read).await? {
                let text = self.sealer.open_text(&shown.subject(id), &sealed)?;
                texts.insert(id, text);
            }
        }
        let errand = errand.into();
        let mut recorded = BTreeSet::new();
        let ids: Vec<u64> = texts.keys().copied().collect();
        for ids in ids.chunks(RECORDS_MAX) {
            recorded.extend(self.record(&errand, shown, account, ids).await?);
        }
        texts.retain(|id, _| recorded.contains(id));
        Ok(texts)
    }

    /// Puts on record that they are shown; those that may be.
    async fn record(
        &self,
        errand: &Errand,
        shown: Shown,
        account: u64,
        ids: &[u64],
    ) -> Result<Vec<u64>, Error> {
        let reached = Whose {
            home: Some(account),
            account: None,
        };
        let mut commit = self.begin(errand).await?;
        let select = reached.narrow(one_of(query(shown.select()), ids));
        let read = |row: &Row| Ok((get_u64(row, "id")?, get_u64(row, "account_id")?));
        let rows = select.and(" ORDER BY id", []);
        let rows = rows.read_all(commit.connection()?, read).await?;
        for (id, account) in &rows {
            let subject = shown.subject(*id);
            commit.note_of(Some(*account), shown.action(), subject, None, None);
        }
        commit.finish_unpublished().await?;
        Ok(rows.into_iter().map(|(id, _)| id).collect())
    }

    /// The same of one token.
    pub(crate) async fn show_one(
        &self,
        errand: impl Into<Errand>,
        shown: Shown,
        account: u64,
        id: u64,
    ) -> Result<Secret, Error> {
        let mut texts = self.show(errand, shown, account, &[id]).await?;
        texts.remove(&id).ok_or_else(|| {
            let subject = shown.subject(id);
            Error::Conflict(format!(
                "{subject} is revoked; there is nothing left to reveal"
            ))
        })
    }
}
