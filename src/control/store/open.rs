//! A store is opened: brought up to date, and asked who it is and whether it still stands where it stood.

use std::{os::unix::fs::MetadataExt, path::Path};

use super::{
    Place, Sealer,
    database::{Connection, query},
    meta,
    renamed::{self, FormerName},
    seal::random,
};
use crate::{
    control::{Error, secret_file},
    model::DigestKey,
};

const DIGEST_KEY_ID: u32 = 1;
/// Row in `meta`: the place that the store takes itself to stand at. A copy stands elsewhere.
const HOME: &str = "home";
/// The home of a backup, wherever it is put back.
const NOWHERE: &[u8] = b"nowhere";
/// Row in `meta`: this is the target of a copy that is not complete.
pub(super) const COPYING: &str = "copying";
/// "whar": the upper half of the lock that control planes on one database share; the lower half is the store's own.
const LOCK_CLASS: i64 = 0x7768_6172;

/// What every store has.
pub(super) struct Identity {
    pub(super) id: String,
    pub(super) former: Vec<FormerName>,
    pub(super) digest_key: DigestKey,
    pub(super) sealer: Sealer,
}

/// Creates or alters tables up to this version's, or to an older one's.
pub(super) async fn migrate(connection: &mut Connection, to: Option<i64>) -> Result<(), Error> {
    match connection {
        Connection::Sqlite(connection) => {
            sqlx::migrate!("src/control/store/migrations/sqlite")
                .run_direct(to, connection, false)
                .await?;
        }
        Connection::Postgres(connection) => {
            sqlx::migrate!("src/control/store/migrations/postgres")
                .run_direct(to, connection, false)
                .await?;
        }
    }
    Ok(())
}

/// The number by which control planes on one database take turns; two stores in one database have two.
pub(super) async fn lock(connection: &mut Connection) -> Result<i64, Error> {
    if matches!(connection, Connection::Sqlite(_)) {
        return Ok(0);
    }
    let table: i64 = query("SELECT 'counters'::regclass::oid::bigint")
        .fetch_one(connection)
        .await?;
    Ok((LOCK_CLASS << 32) | table)
}

/// Who the store is; made on the first call. Under the lock: two control planes may be the first at once.
pub(super) async fn identity(
    connection: &mut Connection,
    lock: i64,
    place: &Place,
    data: &Path,
) -> Result<Identity, Error> {
    connection.begin(lock).await?;
    let identity = match writable(connection).await {
        Ok(()) => identify(connection, place, data).await,
        Err(error) => Err(error),
    };
    let end = if identity.is_ok() {
        "COMMIT"
    } else {
        "ROLLBACK"
    };
    query(end).execute(connection).await?;
    identity
}

/// Whether the master key in `data` is that of the store.
pub(super) async fn check_key(connection: &mut Connection, data: &Path) -> Result<(), Error> {
    let Some(sealed) = meta(connection, "digest_key").await? else {
        return Err(Error::NotFound("there is no store in it".to_owned()));
    };
    let key = Sealer::load(data, true)?.open(&key_row(), &sealed);
    key.map(drop).ok_or(Error::WrongMasterKey)
}

/// One that can only be read is found now, not at the first revocation.
async fn writable(connection: &mut Connection) -> Result<(), Error> {
    query("UPDATE counters SET value = value WHERE name = 'revision'")
        .execute(connection)
        .await
        .map(drop)
}

async fn identify(
    connection: &mut Connection,
    place: &Place,
    data: &Path,
) -> Result<Identity, Error> {
    if meta(&mut *connection, COPYING).await?.is_some() {
        return Err(Error::HalfCopied(place.name()));
    }
    let row = key_row();
    let Some(sealed) = meta(&mut *connection, "digest_key").await? else {
        let sealer = Sealer::load(data, false)?;
        let key = random::<32>();
        let id = new_id();
        write(connection, "digest_key", sealer.seal(&row, &key)).await?;
        write(connection, "store", id.clone().into_bytes()).await?;
        settle(connection, place).await?;
        return Ok(Identity {
            id,
            former: Vec::new(),
            digest_key: DigestKey::new(DIGEST_KEY_ID, key),
            sealer,
        });
    };
    let sealer = Sealer::load(data, true)?;
    let key = sealer.open(&row, &sealed).ok_or(Error::WrongMasterKey)?;
    let key = <[u8; 32]>::try_from(key.as_slice()).map_err(|_| Error::damaged("the digest key"))?;
    Ok(Identity {
        id: same_or_new_id(connection, place).await?,
        former: renamed::former(connection).await?,
        digest_key: DigestKey::new(DIGEST_KEY_ID, key),
        sealer,
    })
}

/// A store that was put back from a backup goes on from an older state, and gateways that know its later one must not
/// take the two for one history: so it gets another name, and they ask for everything.
async fn same_or_new_id(connection: &mut Connection, place: &Place) -> Result<String, Error> {
    let id = meta(&mut *connection, "store").await?.unwrap_or_default();
    let id = String::from_utf8(id).map_err(|_| Error::damaged("the store's id"))?;
    let here = home(connection, place).await?.into_bytes();
    match meta(&mut *connection, HOME).await? {
        Some(kept) if kept == here => return Ok(id),
        Some(_) => {}
        // Written by a version that didn't look.
        None => {
            write(connection, HOME, here).await?;
            return Ok(id);
        }
    }
    let new = new_id();
    tracing::warn!(store = %new, before = %id, "the store is a copy or was restored from a backup: it gets a new name, \
        and every gateway takes a snapshot");
    write(connection, "store", new.clone().into_bytes()).await?;
    write(connection, HOME, here).await?;
    renamed::note(connection, &id, &new).await?;
    Ok(new)
}

/// The store takes this place for its own.
pub(super) async fn settle(connection: &mut Connection, place: &Place) -> Result<(), Error> {
    let home = home(connection, place).await?;
    write(connection, HOME, home.into_bytes()).await
}

/// The store takes no place for its own: whoever opens it opens a copy.
pub(super) async fn unsettle(connection: &mut Connection) -> Result<(), Error> {
    write(connection, HOME, NOWHERE.to_vec()).await
}

/// What a copy can't have in common with the original: the file, or the server, the database and the table.
async fn home(connection: &mut Connection, place: &Place) -> Result<String, Error> {
    match place {
        Place::Sqlite(path) => {
            let file = path
                .metadata()
                .map_err(|source| secret_file::failed("look at", path, source))?;
            // A new file may get the number of the one that it replaces.
            let born = file
                .created()
                .ok()
                .and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
            let born = born.map_or(0, |at| at.as_nanos());
            Ok(format!("file {} of {born}", file.ino()))
        }
        Place::Postgres(_) => {
            query(
                "SELECT 'server ' || (SELECT system_identifier FROM pg_control_system()) || ' database ' || \
                 (SELECT oid FROM pg_database WHERE datname = current_database()) || ' table ' || 'counters'::regclass::oid",
            )
            .fetch_one(connection)
            .await
        }
    }
}

pub(super) async fn write(
    connection: &mut Connection,
    name: &str,
    value: Vec<u8>,
) -> Result<(), Error> {
    query(
        "INSERT INTO meta (name, value) VALUES ($1, $2) \
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )
    .bind(name)
    .bind(value)
    .execute(connection)
    .await?;
    Ok(())
}

fn key_row() -> String {
    format!("digest_key/{DIGEST_KEY_ID}")
}

fn new_id() -> String {
    random::<16>().iter().map(|b| format!("{b:02x}")).collect()
}
