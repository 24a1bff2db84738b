//! Tells a torn tail, which nobody was told was kept, from damage in front of good records, which were.
//!
//! It only ever raises doubt: a record's checksum has no key, so what follows damage is never believed, and what lies
//! in it may have been put there by whoever chose an account's name.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use prost::Message;

use super::{
    record::{self, Kind},
    seal::Seal,
    writer::QUEUE_BYTES_MAX,
};
use crate::{model::Revision, rpc::feed};

/// A tail that is longer than twice what may wait for one sync was synced in part.
const TAIL_BYTES_MAX: u64 = 2 * QUEUE_BYTES_MAX as u64;

/// So many bytes are summed in search of a good record; whoever needs more doubts.
const SUMMED_BYTES_MAX: u64 = 1 << 30;

/// Whether a good record that goes on past `reached` starts anywhere after that offset.
///
/// # Errors
/// The disk's own.
pub(super) fn precedes_good_records(
    path: &Path,
    offset: u64,
    about: &[u8; 8],
    seal: &Seal,
    reached: Revision,
) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let left = file.metadata()?.len().saturating_sub(offset);
    if left > TAIL_BYTES_MAX {
        return Ok(true);
    }
    file.seek(SeekFrom::Start(offset))?;
    let mut tail = Vec::new();
    file.take(TAIL_BYTES_MAX).read_to_end(&mut tail)?;
    let mut summed = 0;
    for at in 1..tail.len() {
        let Some(length) = record::length_at(&tail[at..]) else {
            continue;
        };
        summed += length as u64;
        if summed > SUMMED_BYTES_MAX {
            return Ok(true);
        }
        let is_later = match record::whole_at(&tail[at..]) {
            // Written when the table was fresh, after what came before it had been synced.
            Some((Kind::Fresh, bytes)) => bytes.len() == 8,
            Some((Kind::Plain, bytes)) => revision(bytes).is_some_and(|it| it > reached),
            Some((Kind::Sealed, bytes)) => seal
                .open_sealed(bytes, about)
                .and_then(|opened| revision(&opened))
                .is_some_and(|it| it > reached),
            Some((Kind::Head | Kind::End, _)) | None => false,
        };
        if is_later {
            return Ok(true);
        }
    }
    Ok(false)
}

fn revision(bytes: &[u8]) -> Option<Revision> {
    Some(Revision(feed::Delta::decode(bytes).ok()?.revision))
}
