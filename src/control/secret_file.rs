//! Files for us alone, mode 0600 when they are made. One that holds a secret is whole or absent, never half-written.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use zeroize::Zeroizing;

use super::Error;
use crate::model::Secret;

/// Longer than any key or token; a file past it is not ours.
const BYTES_MAX: u64 = 4096;

/// Makes the folder and its parents, readable by us alone, unless it is there.
pub(super) fn make_folder(path: &Path) -> Result<(), Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| failed("create folder", path, source))
}

/// Opens a file to be written, as it is; one that is made may be read by us alone.
pub(super) fn open(path: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|source| failed("open", path, source))
}

/// Makes an empty file unless it is there; either way only we may read it afterwards, and we can write it.
pub(super) fn make_private(path: &Path) -> Result<(), Error> {
    let file = open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))
        .map_err(|source| failed("protect", path, source))
}

/// The secret in the file without white space around it; `None` when there is no file.
pub(super) fn read(path: &Path) -> Result<Option<Secret>, Error> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed("open", path, source)),
    };
    let mut text = Zeroizing::new(String::new());
    file.take(BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|source| failed("read", path, source))?;
    Ok(Some(Secret::new(text.trim().to_owned())))
}

/// Writes the file beside its place, fsyncs it, and renames it into place.
pub(super) fn write(path: &Path, secret: &Secret) -> Result<(), Error> {
    let beside = path.with_extension("new");
    // What a crash left there may have another mode.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("replace", &beside, error));
        }
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .map_err(|source| failed("create", &beside, source))?;
    file.write_all(secret.reveal().as_bytes())
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.sync_all())
        .map_err(|source| failed("write", &beside, source))?;
    fs::rename(&beside, path).map_err(|source| failed("put in place", path, source))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| failed("sync folder", folder, source))
}

/// Writes the file unless it already holds this secret; its mode is 0600 afterwards either way.
pub(super) fn keep(path: &Path, secret: &Secret) -> Result<(), Error> {
    if read(path)?.as_ref() != Some(secret) {
        return write(path, secret);
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        .map_err(|source| failed("protect", path, source))
}

pub(super) fn failed(what: &'static str, path: &Path, source: io::Error) -> Error {
    Error::File {
        what,
        path: path.to_owned(),
        source,
    }
}
