//! The store: SQLite on disk, one writer at a time, every commit with its revision, its delta and its audit records.

mod database;
mod seal;
mod commit;
mod destinations;
mod accounts;
mod tokens;
mod changes;
mod usage;
mod audit;
mod first;

use std::{path::Path, sync::Arc, time::Duration};

use sqlx::{
    ConnectOptions, Connection as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::Mutex;

pub(super) use changes::Kept;
pub(super) use commit::Commit;
pub(super) use first::FirstThings;
pub(super) use seal::{Sealer, random};
pub(super) use tokens::{Filter, NewToken};
pub(super) use usage::{Clocks, Cursor, Filed, Group, SeenSender, Select, Series, Step, TokenUse};

use database::{Connection, On, Pool, Row, query};

use super::{Error, publish::Publisher};
use crate::model::{Digest, DigestKey, Signal};

/// Readers at once; each is a thread.
const READERS_MAX: u32 = 4;
/// Lists of tokens at once. A filter may visit every row, also after its caller has gone: the feed must not wait for that.
const LISTERS_MAX: u32 = 2;
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const DIGEST_KEY_ID: u32 = 1;

/// Cheap to share; all writes go through one connection.
pub(super) struct Store {
    reader: Pool,
    lister: Pool,
    writer: Arc<Mutex<Writer>>,
    sealer: Arc<Sealer>,
    digest_key: DigestKey,
    id: String,
    publisher: Arc<Publisher>,
    keep_changes: u64,
}

struct Writer {
    /// `None` once the store is closed.
    connection: Option<Connection>,
    /// Set while a transaction is open; a commit that was dropped half-way leaves it set.
    is_open: bool,
}

// === impl Store ===

impl Store {
    /// Opens `<data>/control/store.sqlite`, made on the first call. The caller holds the data folder's lock.
    pub(super) async fn open(data: &Path, keep_changes: u64) -> Result<Self, Error> {
        let folder = data.join("control");
        super::secret_file::make_folder(&folder)?;
        let path = folder.join("store.sqlite");
        let sealer = Sealer::load(data, path.exists())?;
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging();
        let mut connection = SqliteConnection::connect_with(&options).await?;
        sqlx::migrate!("src/control/store/migrations/sqlite")
            .run_direct(None, &mut connection, false)
            .await?;
        let mut connection = Connection::Sqlite(connection);
        let (id, digest_key) = identity(&mut connection, &sealer).await?;
        let head = counter(&mut connection, "revision").await?;
        let options = options.create_if_missing(false).read_only(true);
        let pool = |size| SqlitePoolOptions::new().max_connections(size);
        let reader = Pool::Sqlite(pool(READERS_MAX).connect_with(options.clone()).await?);
        let lister = Pool::Sqlite(pool(LISTERS_MAX).connect_lazy_with(options));
        Ok(Self {
            reader,
            lister,
            writer: Arc::new(Mutex::new(Writer {
                connection: Some(connection),
                is_open: false,
            })),
            sealer: Arc::new(sealer),
            digest_key,
            id,
            publisher: Arc::new(Publisher::new(head)),
            keep_changes,
        })
    }

    /// Which store this is, among all there are.
    pub(super) fn id(&self) -> &str {
        &self.id
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

    /// Waits for the commit under way, then lets go of the files.
    pub(super) async fn close(&self) -> Result<(), Error> {
        self.lister.close().await;
        self.reader.close().await;
        let connection = self.writer.lock().await.connection.take();
        if let Some(connection) = connection {
            connection.close().await?;
        }
        Ok(())
    }
}

/// The store's id and the key of its digests, made on the first call.
async fn identity(
    connection: &mut Connection,
    sealer: &Sealer,
) -> Result<(String, DigestKey), Error> {
    let row = format!("digest_key/{DIGEST_KEY_ID}");
    if let Some(sealed) = meta(&mut *connection, "digest_key").await? {
        let key = sealer.open(&row, &sealed).ok_or(Error::WrongMasterKey)?;
        let key =
            <[u8; 32]>::try_from(key.as_slice()).map_err(|_| Error::damaged("the digest key"))?;
        let id = meta(&mut *connection, "store").await?.unwrap_or_default();
        let id = String::from_utf8(id).map_err(|_| Error::damaged("the store's id"))?;
        return Ok((id, DigestKey::new(DIGEST_KEY_ID, key)));
    }
    let id: String = random::<16>().iter().map(|b| format!("{b:02x}")).collect();
    let key = random::<32>();
    // One statement: both are there, or neither.
    query("INSERT INTO meta (name, value) VALUES ('digest_key', $1), ('store', $2)")
        .bind(sealer.seal(&row, &key))
        .bind(id.clone().into_bytes())
        .execute(connection)
        .await?;
    Ok((id, DigestKey::new(DIGEST_KEY_ID, key)))
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

fn digest_of(bytes: &[u8]) -> Result<Digest, Error> {
    bytes
        .try_into()
        .map(Digest)
        .map_err(|_| Error::damaged("a digest of another length"))
}

fn signal_of(name: &str) -> Result<Signal, Error> {
    Signal::parse(name).ok_or_else(|| Error::damaged(format!("signal {name:?}")))
}
