//! Where a store is: a file of SQLite's or a database of PostgreSQL's, as a person writes it and as it is opened.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use sqlx::{
    ConnectOptions, Connection as _, PgConnection, SqliteConnection,
    postgres::{PgConnectOptions, PgPoolOptions, PgSslMode},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::database::{Connection, Pool};
use crate::{
    control::{Error, secret_file},
    model::Secret,
};

const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// For a connection out of a pool: a database that doesn't answer must be noticed while gateways still wait.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// What else a PostgreSQL URL may say. The list is closed, so that no misspelt `sslmode` is passed over.
const PARAMETERS: [&str; 6] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "options[search_path]",
];
/// Of every session. A writer that froze must not hold the lock that all control planes share, and a plan that was made while a
/// table was empty must not outlive its growth: an import of a million tokens would read the whole table for each statement.
const SESSION: [(&str, &str); 4] = [
    ("plan_cache_mode", "force_custom_plan"),
    ("synchronous_commit", "on"),
    ("idle_in_transaction_session_timeout", "10s"),
    ("lock_timeout", "10s"),
];

/// A store's place, found good; see [`Place::new`].
#[derive(Clone)]
pub(crate) enum Place {
    /// A file, made when it is missing.
    Sqlite(PathBuf),
    /// A database on a server, which must exist.
    Postgres(Box<PgConnectOptions>),
}

/// What is wrong with a store's URL, in words that never repeat it: there may be a password in it.
///
/// # Errors
/// It is neither empty nor a URL as [`Place::new`] reads them.
pub(in crate::control) fn check(url: &str) -> Result<(), String> {
    match scheme(url)? {
        None => Ok(()),
        Some(("sqlite", path)) if path.is_empty() || path.contains('?') => {
            Err("names no file: expected \"sqlite:///var/lib/wharfinger/store.sqlite\"".to_owned())
        }
        Some(("sqlite", _)) => Ok(()),
        Some((_, rest)) => {
            let (authority, query) = split(rest);
            if has_password(authority) {
                return Err(
                    "holds a password: everybody who sees the configuration or the process list would know it; \
                     put it into a file and name that"
                        .to_owned(),
                );
            }
            for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
                let name = parameter.split('=').next().unwrap_or_default();
                let name = name.replace("%5B", "[").replace("%5D", "]");
                if !PARAMETERS.contains(&name.as_str()) {
                    return Err(format!(
                        "has an unknown parameter; expected one of {}",
                        PARAMETERS.join(", ")
                    ));
                }
            }
            PgConnectOptions::from_str(url)
                .map(drop)
                .map_err(|_| "is not a URL such as \"postgres://wharfinger@db:5432/wharfinger?sslmode=verify-full\"".to_owned())
        }
    }
}

/// Whether passwords cross the network to it, or its rows, for others to read; `None` when they don't.
pub(in crate::control) fn exposed(url: &str) -> Option<String> {
    let (_, rest) = scheme(url)
        .ok()
        .flatten()
        .filter(|(scheme, _)| *scheme != "sqlite")?;
    let options = PgConnectOptions::from_str(url).ok()?;
    let host = options.get_host();
    let is_local = options.get_socket().is_some()
        || host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|it| it.is_loopback());
    let has_tls = matches!(
        options.get_ssl_mode(),
        PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull
    );
    (!is_local && !has_tls && !rest.is_empty()).then(|| host.to_owned())
}

fn scheme(url: &str) -> Result<Option<(&str, &str)>, String> {
    if url.is_empty() {
        return Ok(None);
    }
    match url.split_once("://") {
        Some((scheme @ ("sqlite" | "postgres" | "postgresql"), rest)) => Ok(Some((scheme, rest))),
        _ => Err(
            "is not a store's URL: expected \"\" for a file in the data folder, \"sqlite:///path\" or \
             \"postgres://user@host:port/database\""
                .to_owned(),
        ),
    }
}

fn split(rest: &str) -> (&str, &str) {
    let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
    (before.split('/').next().unwrap_or_default(), query)
}

fn has_password(authority: &str) -> bool {
    authority
        .rsplit_once('@')
        .is_some_and(|(user, _)| user.contains(':'))
}

// === impl Place ===

impl Place {
    /// `""` is `<data>/control/store.sqlite`; else `sqlite:///path` or `postgres://user@host:port/database`, the
    /// password in a file that nobody else can read.
    pub(crate) fn new(url: &str, password: Option<&Path>, data: &Path) -> Result<Self, Error> {
        check(url).map_err(|why| Error::BadStore(format!("the store's URL {why}")))?;
        match scheme(url).map_err(Error::BadStore)? {
            None => Ok(Self::Sqlite(data.join("control/store.sqlite"))),
            Some(("sqlite", path)) => Ok(Self::Sqlite(PathBuf::from(path))),
            Some(_) => {
                let mut options = PgConnectOptions::from_str(url)?
                    .application_name("wharfinger")
                    .options(SESSION)
                    .disable_statement_logging();
                if let Some(path) = password {
                    options = options.password(read_password(path)?.reveal());
                }
                Ok(Self::Postgres(Box::new(options)))
            }
        }
    }

    /// For people: no user, no password.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Sqlite(path) => path.display().to_string(),
            Self::Postgres(options) => format!(
                "database {} on {}:{}",
                options
                    .get_database()
                    .unwrap_or_else(|| options.get_username()),
                options.get_host(),
                options.get_port()
            ),
        }
    }

    /// Refuses a file that is missing, and makes nothing; what a database holds, only a connection can tell.
    pub(in crate::control) fn is_there(&self) -> Result<(), Error> {
        match self {
            Self::Sqlite(path) if !path.exists() => Err(Error::NotFound(format!(
                "there is no store {}",
                self.name()
            ))),
            _ => Ok(()),
        }
    }

    /// A connection that writes.
    pub(super) async fn connect(&self) -> Result<Connection, Error> {
        Ok(match self {
            Self::Sqlite(path) => {
                if let Some(folder) = path.parent() {
                    secret_file::make_folder(folder)?;
                }
                // Before SQLite does: the files beside it get this one's mode.
                secret_file::make_private(path)?;
                let options = sqlite(path)
                    .create_if_missing(true)
                    // Digests are random: with SQLite's own 2 MB, a store of a million tokens reads and writes a page each.
                    .pragma("cache_size", "-65536")
                    // And a page that many commits change is copied back once for all of them.
                    .pragma("wal_autocheckpoint", "8192");
                Connection::Sqlite(SqliteConnection::connect_with(&options).await?)
            }
            Self::Postgres(options) => {
                Connection::Postgres(PgConnection::connect_with(options).await?)
            }
        })
    }

    /// Connections that only read, each opened when it is first needed.
    pub(super) fn pool(&self, size: u32) -> Pool {
        match self {
            Self::Sqlite(path) => Pool::Sqlite(
                SqlitePoolOptions::new()
                    .max_connections(size)
                    .connect_lazy_with(sqlite(path).read_only(true)),
            ),
            Self::Postgres(options) => Pool::Postgres(
                PgPoolOptions::new()
                    .max_connections(size)
                    .acquire_timeout(ACQUIRE_TIMEOUT)
                    .connect_lazy_with(
                        (**options)
                            .clone()
                            .options([("default_transaction_read_only", "on")]),
                    ),
            ),
        }
    }

    /// Whether other processes may write to it.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }
}

fn sqlite(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging()
}

fn read_password(path: &Path) -> Result<Secret, Error> {
    let Some(password) = secret_file::read(path)? else {
        let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
        return Err(secret_file::failed(
            "read the store's password",
            path,
            missing,
        ));
    };
    let metadata =
        fs::metadata(path).map_err(|source| secret_file::failed("look at", path, source))?;
    if metadata.permissions().mode() & 0o007 != 0 {
        return Err(Error::BadStore(format!(
            "others can read the store's password in {}: chmod 600 it",
            path.display()
        )));
    }
    Ok(password)
}

/// For tests: anything, behind the store's back.
#[cfg(test)]
pub(in crate::control) async fn run_sql(place: &Place, sql: String) -> Result<u64, Error> {
    let mut connection = place.connect().await?;
    let done = super::query(sql).execute(&mut connection).await?;
    connection.close().await?;
    Ok(done)
}

/// For tests: every row of every table as text; `None` where the store is a file that can be read.
#[cfg(test)]
pub(in crate::control) async fn contents(place: &Place) -> Result<Option<Vec<String>>, Error> {
    if !place.is_shared() {
        return Ok(None);
    }
    let mut connection = place.connect().await?;
    let tables = super::query(
        "SELECT tablename::text AS name FROM pg_tables WHERE schemaname = current_schema()",
    );
    let mut rows = Vec::new();
    for table in tables.fetch_all(&mut connection).await? {
        let table: String = table.get("name")?;
        let all = super::query(format!("SELECT t::text FROM {table} t"));
        for row in all.fetch_all(&mut connection).await? {
            rows.push(row.get(0)?);
        }
    }
    Ok(Some(rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_never_holds_a_password() {
        for good in [
            "",
            "sqlite:///var/lib/w/store.sqlite",
            "sqlite://relative.sqlite",
            "postgres://w@db/w",
            "postgresql://w@db:5433/w?sslmode=verify-full&sslrootcert=/ca.pem",
            "postgres://w@localhost/w?host=/run/postgresql",
            "postgres://w@[::1]:5432/w?options[search_path]=w",
            "postgres://w@db/w?options%5Bsearch_path%5D=w",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, word) in [
            ("store.sqlite", "is not a store's URL"),
            ("mysql://a/b", "is not a store's URL"),
            ("sqlite://", "names no file"),
            ("postgres://w:hunter2@db/w", "holds a password"),
            ("postgres://w:@db/w", "holds a password"),
            ("postgres://w@db/w?password=hunter2", "unknown parameter"),
            ("postgres://w@db/w?sslmod=require", "unknown parameter"),
            ("postgres://w@db/w?sslmode=hunter2", "is not a URL"),
            ("postgres://w@db:hunter2/w", "is not a URL"),
        ] {
            let why = check(bad).expect_err(bad);
            assert!(why.contains(word), "{bad}: {why}");
            assert!(!why.contains("hunter2"), "{why}");
        }
    }

    #[test]
    fn only_a_far_store_without_sure_tls_is_exposed() {
        for (url, is_exposed) in [
            ("", false),
            ("sqlite:///x", false),
            ("postgres://w@localhost/w", false),
            ("postgres://w@127.0.0.1/w", false),
            ("postgres://w@db/w?host=/run/postgresql", false),
            ("postgres://w@db/w?sslmode=verify-full", false),
            ("postgres://w@db/w?sslmode=prefer", true),
            ("postgres://w@db/w", true),
        ] {
            assert_eq!(exposed(url).is_some(), is_exposed, "{url}");
        }
    }

    #[test]
    fn every_session_waits_for_no_frozen_writer_and_keeps_no_plan() {
        let place = Place::new("postgres://w@db/w", None, Path::new("data")).expect("a place");
        let Place::Postgres(options) = place else {
            panic!("a database");
        };
        let set = options.get_options().unwrap_or_default();
        for setting in [
            "plan_cache_mode=force_custom_plan",
            "synchronous_commit=on",
            "idle_in_transaction_session_timeout=10s",
            "lock_timeout=10s",
        ] {
            assert!(set.contains(setting), "{setting} in {set}");
        }
    }

    #[test]
    fn a_password_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("password");
        fs::write(&path, "p\n").expect("written");
        let place = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
            Place::new("postgres://w@db/w", Some(&path), folder.path())
        };
        assert!(place(0o600).is_ok());
        assert!(place(0o640).is_ok());
        assert!(matches!(place(0o644), Err(Error::BadStore(_))));
        fs::remove_file(&path).expect("removed");
        let missing = Place::new("postgres://w@db/w", Some(&path), folder.path());
        assert!(matches!(missing, Err(Error::File { .. })));
    }
}
