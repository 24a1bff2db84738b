//! The store: SQLite or PostgreSQL, one writer at a time, every commit with its revision, its delta and its audit records.

mod database;
mod place;
mod seal;
mod open;
mod renamed;
mod herald;
mod group;
mod writer;
mod commit;
mod destinations;
mod accounts;
mod tokens;
mod import;
mod rotation;
mod gateways;
mod bounds;
mod room;
mod held;
mod versions;
mod answers;
mod whose;
mod api_tokens;
mod shared;
mod foreign;
mod shown;
mod users;
mod callers;
mod leaked;
mod changes;
mod usage;
mod audit;
mod witness;
mod first;
mod tables;
mod copy;
mod backup;
#[cfg(test)]
mod tests;

use std::{
    path::Path,
    sync::{Arc, Mutex as Lock, PoisonError},
};

use tokio::sync::Mutex;
use tokio_util::task::AbortOnDropHandle;

pub(super) use accounts::{AccountEdit, AccountFilter, NewAccount};
pub(super) use answers::Answer;
pub(super) use api_tokens::{ApiTokenFilter, NewApiToken};
pub(super) use audit::AuditFilter;
pub(super) use backup::{backup, restore};
pub(super) use callers::{CallerIs, CallerRow, SESSION_ABSOLUTE_MS, SESSION_IDLE_MS};
pub(super) use changes::Kept;
pub(super) use commit::Commit;
pub(super) use copy::copy;
pub(super) use destinations::DestinationFilter;
pub(super) use first::FirstThings;
pub(super) use foreign::{Hands, Sort, TokenPage};
pub(super) use gateways::Claim;
pub(super) use import::{GivenToken, Imported};
pub(super) use leaked::{Leaked, LeakedToken};
pub(super) use place::{Place, check, exposed};
#[cfg(test)]
pub(super) use place::{contents, run_sql};
pub(super) use rotation::OVERLAP_SECONDS_MAX;
pub(super) use seal::{Sealer, fill, random};
pub(super) use shared::{NewSharedFilter, NewSharedToken, VisitorRow};
pub(super) use shown::Shown;
pub(super) use tokens::{Details, Filter, NewToken};
pub(super) use usage::{Clocks, Cursor, Filed, Group, SeenSender, Select, Series, Step, TokenUse};
pub(super) use users::{NewUser, SessionBounds, UserFilter};
pub(super) use whose::Whose;
pub(super) use witness::{Keeper, Sought};

use database::{On, Pool, Row, query};
use herald::Herald;
use renamed::FormerName;
use writer::Writer;

use super::{Error, publish::Publisher};
use crate::model::{Digest, DigestKey, Signal};

/// Readers at once; with SQLite each is a thread.
const READERS_MAX: u32 = 4;
/// Lists at once. A filter may visit every row, also after its caller has gone: neither the feed must wait for that, nor who
/// revokes a token, and is looked up by a reader.
const LISTERS_MAX: u32 = 2;

/// Cheap to share; all writes go through one connection.
pub(super) struct Store {
    reader: Pool,
    lister: Pool,
    writer: Arc<Mutex<Writer>>,
    sealer: Arc<Sealer>,
    digest_key: DigestKey,
    id: String,
    /// Names that it had before, the latest first.
    former: Vec<FormerName>,
    publisher: Arc<Publisher>,
    herald: Arc<Herald>,
    disputes: witness::Disputes,
    /// Of tasks that follow other control planes on the same database.
    followers: Lock<Vec<AbortOnDropHandle<()>>>,
}

// === impl Store ===

impl Store {
    /// Opens the store, made on the first call; its master key is in `data`. The caller holds that folder's lock.
    pub(super) async fn open(data: &Path, place: Place, keep_changes: u64) -> Result<Self, Error> {
        let mut connection = place.connect().await?;
        open::migrate(&mut connection, None).await?;
        let lock = open::lock(&mut connection).await?;
        let identity = open::identity(&mut connection, lock, &place, data).await?;
        let head = counter(&mut connection, "revision").await?;
        let (reader, lister) = (place.pool(READERS_MAX), place.pool(LISTERS_MAX));
        let sealer = Arc::new(identity.sealer);
        let publisher = Arc::new(Publisher::new(head, place.is_shared()));
        let herald = Arc::new(Herald::new(
            reader.clone(),
            sealer.clone(),
            publisher.clone(),
            place.is_shared(),
        ));
        let channel = format!("wharfinger_{}", identity.id);
        let followers = match place.pool(1) {
            Pool::Postgres(pool) => {
                let watch = gateways::watch(reader.clone(), publisher.clone());
                let others = herald::follow_others(herald.clone(), pool, channel.clone());
                others.into_iter().chain([watch]).collect()
            }
            Pool::Sqlite(_) => Vec::new(),
        };
        let terms = group::Terms {
            sealer: sealer.clone(),
            publisher: publisher.clone(),
            keep_changes,
            open_max: group::OPEN_MAX,
            channel: place.is_shared().then_some(channel),
        };
        let writer = Writer::new(connection, place, lock, herald.clone(), terms);
        Ok(Self {
            reader,
            lister,
            writer: Arc::new(Mutex::new(writer)),
            sealer,
            digest_key: identity.digest_key,
            id: identity.id,
            former: identity.former,
            publisher,
            herald,
            disputes: witness::Disputes::default(),
            followers: Lock::new(followers),
        })
    }

    /// Which store this is, among all there are.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The last record that it wrote under that name; none if it was never called that.
    pub(super) fn last_record_as(&self, name: &str) -> Option<u64> {
        let former = self.former.iter().find(|former| former.store == name)?;
        Some(former.seq)
    }

    pub(super) fn digest_key(&self) -> &DigestKey {
        &self.digest_key
    }

    pub(super) fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// The newest revision in the database; the publisher has it a moment later.
    pub(super) async fn head(&self) -> Result<u64, Error> {
        counter(&self.reader, "revision").await
    }

    /// Publishes what other control planes have committed until this call.
    pub(super) async fn catch_up(&self) -> Result<(), Error> {
        self.herald.catch_up().await
    }

    /// Whether other control planes may write to it, and have gateways of their own.
    pub(super) fn is_shared(&self) -> bool {
        self.publisher.gateways.is_shared()
    }

    /// Whether the publisher knows of all commits but those of this moment.
    pub(super) fn is_current(&self) -> bool {
        self.herald.is_current()
    }

    /// Returns once so many are waiting for the writer, so that no busy machine parts those who come together.
    #[cfg(test)]
    pub(super) async fn awaited(&self, works: usize) {
        // Whoever waits for it or has it holds a reference; so does the store.
        let holders = works + 2;
        while Arc::strong_count(&self.writer) < holders {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    /// How long those who come together are waited for; with zero, each change is a commit of its own.
    #[cfg(test)]
    pub(super) async fn stay_open(&self, open_max: std::time::Duration) {
        self.writer.lock().await.stay_open(open_max);
    }

    /// Waits for the commit under way, then lets go of the files.
    pub(super) async fn close(&self) -> Result<(), Error> {
        let followers = std::mem::take(
            &mut *self
                .followers
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        drop(followers);
        let mut writer = self.writer.lock().await;
        writer.end().await;
        self.lister.close().await;
        self.reader.close().await;
        // Last: SQLite's last connection moves what stands beside the file into it, and a reader can't.
        writer.close().await
    }
}

async fn meta(on: impl Into<On<'_>>, name: &str) -> Result<Option<Vec<u8>>, Error> {
    query("SELECT value FROM meta WHERE name = $1")
        .bind(name)
        .fetch_value(on)
        .await
}

async fn counter(on: impl Into<On<'_>>, name: &str) -> Result<u64, Error> {
    let value = query("SELECT value FROM counters WHERE name = $1")
        .bind(name)
        .fetch_one(on)
        .await?;
    positive(value)
}

/// Numbers are unsigned here and signed in the database.
fn positive(value: i64) -> Result<u64, Error> {
    u64::try_from(value).map_err(|_| Error::damaged("a negative number"))
}

/// As the database takes it; what is past its range is past every row, too.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn get_u64(row: &Row, column: &str) -> Result<u64, Error> {
    positive(row.get(column)?)
}

/// The same where there may be nothing.
fn get_some_u64(row: &Row, column: &str) -> Result<Option<u64>, Error> {
    let value: Option<i64> = row.get(column)?;
    value.map(positive).transpose()
}

/// Whether a row is of what somebody deleted.
fn is_hidden(row: &Row) -> Result<bool, Error> {
    let deleted_at: Option<i64> = row.get("deleted_at")?;
    Ok(deleted_at.is_some())
}

/// When a row's token ends: seconds since 1970, 0 = never.
fn expiry_of(row: &Row) -> Result<u32, Error> {
    u32::try_from(get_u64(row, "expires_at")?).map_err(|_| Error::damaged("an expiry past 2106"))
}

fn digest_of(bytes: &[u8]) -> Result<Digest, Error> {
    bytes
        .try_into()
        .map(Digest)
        .map_err(|_| Error::damaged("a digest of another length"))
}

fn signal_of(name: &str) -> Result<Signal, Error> {
    Signal::parse(name).ok_or_else(|| Error::damaged(format!("signal {name:?}")))
}
