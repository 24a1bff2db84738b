//! What is done to a store beside serving it: moved to another database, backed up, put back.

use std::path::Path;

use super::{
    Config, Error,
    lock::Lock,
    secret_file,
    store::{self, Place},
};

/// A store on a command line.
pub struct Named<'a> {
    /// As in [`Config::store`].
    pub url: &'a str,
    /// As in [`Config::store_password_file`].
    pub password_file: Option<&'a Path>,
}

/// Copies a store into a place that holds none, under the master key in `data`; how many rows each table had. The one
/// that was copied is a copy itself from then on.
///
/// # Errors
/// The data folder or one of the two is in use, one of them can't be reached, the target is not empty, the master key is another.
pub async fn copy(
    data: &Path,
    from: Named<'_>,
    to: Named<'_>,
) -> Result<Vec<(String, u64)>, Error> {
    let place = |named: Named<'_>| Place::new(named.url, named.password_file, data);
    let (from, to) = (place(from)?, place(to)?);
    // Before folders and locks are made where somebody has mistyped a path.
    from.is_there()?;
    secret_file::make_folder(data)?;
    let lock = Lock::take(data, &[&from, &to])?;
    let counts = store::copy(data, &from, &to).await;
    drop(lock);
    counts
}

/// Writes the store into a new file, also while it is served.
///
/// # Errors
/// It is on PostgreSQL, one of the files can't be used, or a store is served from the new one.
pub async fn backup(config: &Config, data: &Path, file: &Path) -> Result<(), Error> {
    let lock = Lock::take_former(file)?;
    let written = store::backup(&config.place(data)?, file).await;
    drop(lock);
    written
}

/// Puts a backup in the store's place.
///
/// # Errors
/// The data folder or the store is in use, the store is on PostgreSQL, the backup is damaged or of another master key.
pub async fn restore(config: &Config, data: &Path, file: &Path) -> Result<(), Error> {
    secret_file::make_folder(data)?;
    let place = config.place(data)?;
    let lock = Lock::take(data, &[&place])?;
    let restored = store::restore(data, &place, file).await;
    drop(lock);
    restored
}
