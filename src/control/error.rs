//! What can go wrong in the control plane, in words for the person who must act on it.

use std::{io, path::PathBuf, sync::Arc};

use sqlx::sqlite::SqliteError;

/// Why a call of the control plane failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder of ours can't be used.
    #[error("cannot {what} {}: {source}", path.display())]
    File {
        /// What was tried, as a verb.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has the data folder.
    #[error("the data folder {} is in use by another wharfinger process", .0.display())]
    Locked(PathBuf),
    /// Another process has the store's file, perhaps with another data folder.
    #[error(
        "the store {} is in use by another wharfinger process, which holds {}.lock: a store on SQLite has one control plane, \
         whatever its data folder",
        .0.display(), .0.display()
    )]
    StoreLocked(PathBuf),
    /// The store was sealed with another master key.
    #[error("the master key is not the one that this store was sealed with")]
    WrongMasterKey,
    /// There is a store, and no key to it.
    #[error("the store exists, but its master key {} does not; restore that file or set WHARFINGER_MASTER_KEY", .0.display())]
    MissingMasterKey(PathBuf),
    /// A key of ours is not what it must be.
    #[error("{0}")]
    BadKey(String),
    /// The store's place is not what it must be.
    #[error("{0}")]
    BadStore(String),
    /// Nobody may serve from a copy that was never completed.
    #[error(
        "{0} is a copy that was never completed: empty it and run `wharfinger store copy` again"
    )]
    HalfCopied(String),
    /// The database has lost what was published from it.
    #[error(
        "the store is at revision {theirs}, and {ours} was published from it already: it was put back to an older state, \
         or its server lost commits; restart every control plane, and every gateway takes a snapshot"
    )]
    WentBack {
        /// What gateways have seen.
        ours: u64,
        /// What the database has.
        theirs: u64,
    },
    /// The commit that several changes shared failed for all of them.
    #[error("{0}")]
    Together(Arc<Error>),
    /// A certificate of ours, or its key, is not what it must be.
    #[error("{0}")]
    BadCertificate(String),
    /// The database failed.
    #[error("the store failed: {0}")]
    Store(sqlx::Error),
    /// The database's tables could not be brought up to date.
    #[error("the store cannot be brought up to date: {0}")]
    Migrate(sqlx::migrate::MigrateError),
    /// A record reads as something we never wrote.
    #[error("the store holds a damaged record: {0}")]
    Damaged(String),
    /// The audit log is not what was written.
    #[error("the audit log is broken: record {seq} is altered or missing")]
    AuditBroken {
        /// The first record that doesn't fit, from 1.
        seq: u64,
    },
    /// The feed's server failed.
    #[error("the feed's server failed: {0}")]
    Feed(#[from] tonic::transport::Error),
    /// No such record.
    #[error("{0}")]
    NotFound(String),
    /// The record's state, or another record, stands against it.
    #[error("{0}")]
    Conflict(String),
    /// Who asks is nobody any more.
    #[error("the token or the session that asked for this has ended meanwhile")]
    CallerEnded,
    /// Nothing is for who asks at the moment.
    #[error("{0}")]
    CallerStopped(String),
    /// It is not any more what the caller has seen of it.
    #[error("it was changed meanwhile: read it again, and change what it is now")]
    Changed {
        /// Of which version it is.
        version: u64,
    },
    /// It would take many live tokens away, by itself or with what others have taken away within the last minute, and the caller
    /// has not said that so many are meant.
    #[error(
        "this would take {dropped} of {live} live shipping tokens away at once{}, and is held; if that is meant, ask again \
         with confirm=dropped-{dropped}", beside(*.lately)
    )]
    Held {
        /// Live tokens that it would end.
        dropped: u64,
        /// Live tokens that others have ended within the last minute, without a confirmation.
        lately: u64,
        /// Live tokens that there are.
        live: u64,
    },
    /// The caller asks for what can't be.
    #[error("{0}")]
    Invalid(String),
    /// The control plane is going down.
    #[error("the control plane is going down")]
    Closed,
}

/// What a held change was weighed with.
fn beside(lately: u64) -> String {
    match lately {
        0 => String::new(),
        lately => format!(", after {lately} within the last minute"),
    }
}

// The cause stands in the sentence, so it is no source: whoever prints the chain would say it twice.
impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error)
    }
}

impl From<sqlx::migrate::MigrateError> for Error {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        match error {
            sqlx::migrate::MigrateError::Execute(error) => Self::Store(error),
            other => Self::Migrate(other),
        }
    }
}

impl Error {
    /// Whether the store's file is what it is until somebody does something about it; trying again is of no use.
    pub fn is_unusable_store(&self) -> bool {
        match self {
            Self::Migrate(_) | Self::Damaged(_) => true,
            Self::Store(sqlx::Error::Database(error)) => {
                let is_file = error.try_downcast_ref::<SqliteError>().is_some();
                let code = error.code().and_then(|code| code.parse::<u32>().ok());
                // SQLITE_PERM, READONLY, CORRUPT, CANTOPEN, NOTADB; the rest of a code says how.
                is_file && code.is_some_and(|code| [3, 8, 11, 14, 26].contains(&(code & 0xff)))
            }
            _ => false,
        }
    }

    /// Whether it goes away when somebody changes the configuration or a file, and not before.
    pub fn is_operators(&self) -> bool {
        matches!(
            self,
            Self::Locked(_)
                | Self::StoreLocked(_)
                | Self::WrongMasterKey
                | Self::MissingMasterKey(_)
                | Self::BadKey(_)
                | Self::BadStore(_)
                | Self::HalfCopied(_)
                | Self::BadCertificate(_)
                | Self::File { .. }
        )
    }

    /// What was looked for, if it is there.
    pub(super) fn found<T>(sought: Result<T, Self>) -> Result<Option<T>, Self> {
        match sought {
            Err(Self::NotFound(_)) => Ok(None),
            sought => sought.map(Some),
        }
    }

    pub(super) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(what.into())
    }
}
