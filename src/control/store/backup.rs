//! A backup of a store in a file, taken while it is served, and put back while it is not.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use sqlx::{
    ConnectOptions, Connection as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use super::{
    Place,
    database::{Connection, query},
    open,
};
use crate::control::{Error, lock::true_path, secret_file};

/// Writes the store as it is at this moment into a new file, readable by us alone, synced.
pub(in crate::control) async fn backup(place: &Place, file: &Path) -> Result<(), Error> {
    let path = stored(place)?;
    place.is_there()?;
    // SQLite takes an empty file, and would make one that others can read.
    create(file)?;
    let written = write(path, file).await;
    if written.is_err() {
        let _ = fs::remove_file(file);
    }
    written
}

/// Puts a backup in the store's place. The caller holds the data folder's lock; its master key must be the backup's.
pub(in crate::control) async fn restore(
    data: &Path,
    place: &Place,
    file: &Path,
) -> Result<(), Error> {
    // A link stays one, and what it leads to is replaced.
    let path = &true_path(stored(place)?)?;
    let beside = beside(path, ".restored");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(secret_file::failed("replace", &beside, error));
        }
        _ => {}
    }
    let from = File::open(file).map_err(|source| secret_file::failed("open", file, source))?;
    let mut to = create(&beside)?;
    io::copy(&mut &from, &mut to)
        .map_err(|source| secret_file::failed("write", &beside, source))?;
    drop(to);
    let mut connection = plain(&beside).await?;
    let is_whole: String = query("PRAGMA quick_check")
        .fetch_one(&mut connection)
        .await?;
    if is_whole != "ok" {
        return Err(Error::damaged(format!("{}: {is_whole}", file.display())));
    }
    open::check_key(&mut connection, data).await?;
    open::unsettle(&mut connection).await?;
    connection.close().await?;
    sync(&beside)?;
    // Before the file changes: the log of another state must never be found beside it.
    for suffix in ["-wal", "-shm"] {
        let log = self::beside(path, suffix);
        match fs::remove_file(&log) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(secret_file::failed("remove", &log, error));
            }
            _ => {}
        }
    }
    fs::rename(&beside, path)
        .map_err(|source| secret_file::failed("put in place", path, source))?;
    sync(path)
}

async fn write(path: &Path, file: &Path) -> Result<(), Error> {
    let Some(name) = file.to_str() else {
        return Err(Error::Invalid(
            "a backup's path must be UTF-8; choose another".to_owned(),
        ));
    };
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .disable_statement_logging();
    let mut store = Connection::Sqlite(SqliteConnection::connect_with(&options).await?);
    query("VACUUM INTO $1")
        .bind(name)
        .execute(&mut store)
        .await?;
    store.close().await?;
    let mut copy = plain(file).await?;
    open::unsettle(&mut copy).await?;
    copy.close().await?;
    sync(file)
}

fn stored(place: &Place) -> Result<&PathBuf, Error> {
    match place {
        Place::Sqlite(path) => Ok(path),
        Place::Postgres(_) => Err(Error::BadStore(
            "the store is on PostgreSQL: use pg_dump and pg_restore, and keep a copy of the master key".to_owned(),
        )),
    }
}

/// In one file, without a log beside it.
async fn plain(path: &Path) -> Result<Connection, Error> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Delete)
        .synchronous(SqliteSynchronous::Full)
        .disable_statement_logging();
    Ok(Connection::Sqlite(
        SqliteConnection::connect_with(&options).await?,
    ))
}

fn create(path: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|source| secret_file::failed("create", path, source))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn sync(path: &Path) -> Result<(), Error> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    for it in [path, folder] {
        File::open(it)
            .and_then(|file| file.sync_all())
            .map_err(|source| secret_file::failed("sync", it, source))?;
    }
    Ok(())
}
