//! What the first start made, remembered so that no later start makes it again, whatever has become of it.

use serde::{Deserialize, Serialize};

use super::{Commit, Store, database::query, meta};
use crate::{control::Error, model::Signal};

const NAME: &str = "first_start";

/// Ids of what the first start made.
pub(crate) struct FirstThings {
    pub(crate) account: String,
    pub(crate) account_id: u64,
    pub(crate) tokens: Vec<(Signal, u64)>,
    pub(crate) api_token: u64,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    account: String,
    account_id: u64,
    tokens: [u64; 3],
    api_token: u64,
}

impl Store {
    /// `None` before the first start.
    pub(crate) async fn first_things(&self) -> Result<Option<FirstThings>, Error> {
        let Some(text) = meta(&self.reader, NAME).await? else {
            return Ok(None);
        };
        let kept: Kept = serde_json::from_slice(&text).map_err(|_| Error::damaged(NAME))?;
        Ok(Some(FirstThings {
            account: kept.account,
            account_id: kept.account_id,
            tokens: Signal::ALL.into_iter().zip(kept.tokens).collect(),
            api_token: kept.api_token,
        }))
    }
}

impl Commit {
    /// As of this transaction.
    pub(crate) async fn has_first_things(&mut self) -> Result<bool, Error> {
        Ok(meta(self.connection()?, NAME).await?.is_some())
    }

    /// In the same transaction as the things themselves: a crash leaves all or nothing.
    pub(crate) async fn keep_first_things(&mut self, first: &FirstThings) -> Result<(), Error> {
        let mut tokens = [0; 3];
        for (signal, id) in &first.tokens {
            tokens[signal.index()] = *id;
        }
        let kept = Kept {
            account: first.account.clone(),
            account_id: first.account_id,
            tokens,
            api_token: first.api_token,
        };
        let text = serde_json::to_vec(&kept).map_err(|_| Error::damaged(NAME))?;
        query("INSERT INTO meta (name, value) VALUES ($1, $2)")
            .bind(NAME)
            .bind(text)
            .execute(self.connection()?)
            .await?;
        Ok(())
    }
}
