//! `audit.head`: the newest record of the control plane's audit log that we were told, for whoever cuts that log.
//!
//! One line, `STORE SEQ HASH`, which `wharfinger audit verify --head SEQ:HASH` takes. Never synced: it outlives the process
//! for certain, and what a power cut leaves of it is older, or nothing.

use std::{fs, io, io::Write as _, path::Path};

use super::record;
use crate::rpc::feed::AuditHead;

const NAME: &str = "audit.head";

/// A longer file is none of ours.
const BYTES_MAX: u64 = 1024;

/// What was kept; what can't be read is nothing.
pub(super) fn read(folder: &Path) -> Option<AuditHead> {
    let path = folder.join(NAME);
    let is_ours = fs::metadata(&path).is_ok_and(|found| found.len() <= BYTES_MAX);
    let line = is_ours.then(|| fs::read_to_string(&path).ok()).flatten()?;
    let mut words = line.strip_suffix('\n')?.split(' ');
    let (store, seq, hash) = (words.next()?, words.next()?, words.next()?);
    let hash = blake3::Hash::from_hex(hash).ok()?;
    let head = AuditHead {
        store: store.to_owned(),
        seq: seq.parse().ok()?,
        hash: hash.as_bytes().to_vec(),
    };
    (words.next().is_none() && is_whole(&head)).then_some(head)
}

/// Keeps it in the place of the one before.
///
/// # Errors
/// The disk's own.
pub(super) fn write(folder: &Path, head: &AuditHead) -> io::Result<()> {
    let hash = blake3::Hash::from_slice(&head.hash).map_err(io::Error::other)?;
    let beside = folder.join("audit.head.new");
    let mut file = record::create_private(&beside)?;
    writeln!(file, "{} {} {hash}", head.store, head.seq)?;
    drop(file);
    fs::rename(beside, folder.join(NAME))
}

/// Whether it can be kept, and read again.
pub(in crate::directory) fn is_whole(head: &AuditHead) -> bool {
    let is_word = |text: &str| {
        !text.is_empty() && text.len() <= 128 && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    is_word(&head.store) && head.seq != 0 && head.hash.len() == blake3::OUT_LEN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_what_is_damaged_is_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(read(folder.path()), None);
        let head = AuditHead {
            store: "a-store".to_owned(),
            seq: 812,
            hash: vec![7; 32],
        };
        write(folder.path(), &head).expect("written");
        assert_eq!(read(folder.path()), Some(head.clone()));
        let later = AuditHead { seq: 813, ..head };
        write(folder.path(), &later).expect("written");
        assert_eq!(read(folder.path()), Some(later));
        let path = folder.path().join(NAME);
        let whole = fs::read(&path).expect("there");
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).expect("written");
            assert_eq!(read(folder.path()), None, "cut at {cut}");
        }
        for damaged in ["a 0 00", "a b c d\n", "\u{e9} 1 2\n"] {
            fs::write(&path, damaged).expect("written");
            assert_eq!(read(folder.path()), None, "{damaged:?}");
        }
        fs::write(&path, vec![b'a'; 2000]).expect("written");
        assert_eq!(read(folder.path()), None);
    }
}
