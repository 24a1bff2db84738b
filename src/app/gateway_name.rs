//! What the control plane calls this gateway: must differ from every other's, and be the same after a restart.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use crate::config::{Config, Unusable};

/// A host's name is cut there, so that the whole stays within the 64 bytes of `gateway.name`.
const HOST_BYTES_MAX: usize = 57;

const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The configured name, else the one kept in the gateway's folder, made there at the first start.
///
/// # Errors
/// No randomness, or a folder that can't be written.
pub(super) fn find(config: &Config, folder: &Path) -> Result<String, Unusable> {
    if !config.gateway.name.is_empty() {
        return Ok(config.gateway.name.clone());
    }
    kept(&folder.join("name"), || {
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        with_suffix(host.trim())
    })
}

/// What tells this data folder from any other, kept in it.
///
/// # Errors
/// As [`find`].
pub(super) fn instance(folder: &Path) -> Result<String, Unusable> {
    kept(&folder.join("instance"), || {
        let random = getrandom::u64().map_err(std::io::Error::other)?;
        Ok(format!("{random:016x}"))
    })
}

/// The word in that file, made when there is none. One that is no name, whatever happened to it, is made anew.
fn kept(path: &Path, make: impl FnOnce() -> std::io::Result<String>) -> Result<String, Unusable> {
    if let Ok(kept) = fs::read_to_string(path)
        && is_name(kept.trim())
    {
        return Ok(kept.trim().to_owned());
    }
    make().and_then(|name| keep(path, name)).map_err(|error| {
        Unusable(format!(
            "cannot keep the gateway's name in {}: {error}",
            path.display()
        ))
    })
}

fn keep(path: &Path, name: String) -> std::io::Result<String> {
    let half = path.with_extension("tmp");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&half)?;
    // What a crash left there may have another mode.
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    writeln!(file, "{name}")?;
    file.sync_all()?;
    fs::rename(&half, path)?;
    Ok(name)
}

fn with_suffix(host: &str) -> std::io::Result<String> {
    let mut random = [0; 6];
    getrandom::fill(&mut random).map_err(std::io::Error::other)?;
    let mut name: String = host.chars().filter(|it| is_letter(*it)).collect();
    name.truncate(HOST_BYTES_MAX);
    if name.is_empty() {
        name.push_str("gateway");
    }
    name.push('-');
    name.extend(random.map(|byte| char::from(LETTERS[usize::from(byte % 32)])));
    Ok(name)
}

fn is_letter(it: char) -> bool {
    it.is_ascii_alphanumeric() || "-_.".contains(it)
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.chars().all(is_letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_gateways_of_one_host_differ_and_each_keeps_its_name() {
        let (one, other) = (tempfile::tempdir(), tempfile::tempdir());
        let (one, other) = (one.expect("a folder"), other.expect("a folder"));
        let mut config = Config::default();
        let name = find(&config, one.path()).expect("made");
        assert!(is_name(&name), "{name}");
        assert_eq!(find(&config, one.path()).expect("kept"), name);
        let kept = fs::metadata(one.path().join("name")).expect("there");
        assert_eq!(kept.permissions().mode() & 0o777, 0o600);
        assert_ne!(find(&config, other.path()).expect("made"), name);
        config.gateway.name = "mine".into();
        assert_eq!(find(&config, one.path()).expect("configured"), "mine");
    }

    #[test]
    fn a_kept_name_that_is_none_is_made_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        for bad in [&b""[..], b"two words\n", &[0xff; 9], &[b'a'; 65]] {
            fs::write(folder.path().join("name"), bad).expect("written");
            let name = find(&Config::default(), folder.path()).expect("made");
            assert!(is_name(&name), "{name}");
        }
    }

    #[test]
    fn a_host_of_any_name_gives_a_gateway_a_valid_one() {
        for host in ["", "h\u{f6}st name", &"x".repeat(64)] {
            let name = with_suffix(host).expect("random");
            assert!(is_name(&name), "{name}");
        }
        assert!(with_suffix("").expect("random").starts_with("gateway-"));
    }
}
