//! Versions of rows: how two people who change the same thing are kept from undoing each other's work.

use super::{
    Commit, Store,
    database::{On, query},
    positive, signed,
};
use crate::control::{
    Error,
    terms::{Kind, Object},
};

// === impl Store ===

impl Store {
    /// How often that row was changed, plus one; `None` when it is not there.
    pub(crate) async fn version(&self, object: Object) -> Result<Option<u64>, Error> {
        version(&self.reader, object).await
    }
}

// === impl Commit ===

impl Commit {
    /// Looks whether it is still what its caller has seen of it. Nobody else can change it from here on.
    pub(super) async fn reads_version(&mut self) -> Result<(), Error> {
        let Some(subject) = self.terms().subject.clone() else {
            return Ok(());
        };
        if subject.seen.is_none() {
            return Ok(());
        }
        // What is not there is for the work itself to say.
        let version = version(self.connection()?, subject.object).await?;
        self.stale = version.filter(|version| !subject.admits(*version));
        Ok(())
    }

    /// Refuses to change what was another thing when the work began. Said last: a request that could not be done anyhow is told
    /// why, as if it had stated no version (RFC 9110, 13.2.1).
    pub(super) fn holds_to_terms(&self) -> Result<(), Error> {
        match self.stale {
            Some(version) => Err(Error::Changed { version }),
            None => Ok(()),
        }
    }

    /// Says what the work has made of it.
    pub(super) async fn tells_version(&mut self) -> Result<(), Error> {
        if let Some(subject) = self.terms().subject.clone()
            && let Some(version) = version(self.connection()?, subject.object).await?
        {
            subject.became(version);
        }
        Ok(())
    }
}

async fn version(on: impl Into<On<'_>>, object: Object) -> Result<Option<u64>, Error> {
    let sql = match object.kind {
        Kind::Account => "SELECT version FROM accounts WHERE id = $1 AND deleted_at IS NULL",
        Kind::Destination => "SELECT version FROM destinations WHERE id = $1",
        Kind::Token => "SELECT version FROM shipping_tokens WHERE id = $1 AND deleted_at IS NULL",
        Kind::ApiToken => "SELECT version FROM api_tokens WHERE id = $1",
        Kind::User => "SELECT version FROM users WHERE id = $1",
        Kind::SharedToken => {
            "SELECT version FROM shared_tokens WHERE id = $1 AND deleted_at IS NULL"
        }
        Kind::SharedFilter => "SELECT version FROM shared_filters WHERE id = $1",
    };
    let version: Option<i64> = query(sql).bind(signed(object.id)).fetch_value(on).await?;
    version.map(positive).transpose()
}
