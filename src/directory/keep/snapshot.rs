//! `table.snapshot`: a whole state at one revision. Any damage refuses it whole.
//!
//! Magic with format version; a head with lineage, freshness, the writing version and the sealed key; changes, several to a
//! record; an end with counts and the checksum of all before it. It appears under its name only when it is on disk.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use prost::Message;
use tracing::error;
use zeroize::Zeroizing;

use super::{
    record::{self, Kind, Next, Records, create_private, sync_folder},
    seal::Seal,
};
use crate::{
    directory::state::{Collected, Frozen},
    model::{Change, DigestKey, Position, Revision},
    rpc::feed,
};

const MAGIC: &[u8; 8] = b"WHFTABL1";
const NAME: &str = "table.snapshot";

/// Changes to a record: enough that framing costs nothing, few enough that a record stays in cache.
const CHANGES_PER_RECORD: usize = 256;

/// What a snapshot file holds.
pub(super) struct Snapshot {
    pub(super) collected: Collected,
    pub(super) lineage: u64,
    pub(super) position: Position,
    /// Seconds since 1970; 0 = never.
    pub(super) fresh_at: u64,
    /// Written by this very version, so that nothing a newer one enforces is missing from it.
    pub(super) same_version: bool,
    pub(super) bytes: u64,
}

/// Why there is no snapshot to load.
pub(super) enum Missing {
    /// There is none.
    None,
    /// There is one, and it can't be believed.
    Refused(&'static str),
}

/// Where the snapshot stands.
pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join(NAME)
}

/// Writes a snapshot beside the one there is, then puts it in its place. Returns its bytes.
///
/// # Errors
/// The disk's. The snapshot from before stands as it was.
pub(super) fn write(folder: &Path, frozen: &Frozen, seal: &Seal, fresh_at: u64) -> io::Result<u64> {
    let half = folder.join("table.snapshot.tmp");
    let written = write_file(create_private(&half)?, frozen, seal, fresh_at);
    match written.and_then(|bytes| fs::rename(&half, path(folder)).map(|()| bytes)) {
        Ok(bytes) => {
            sync_folder(folder)?;
            Ok(bytes)
        }
        Err(error) => {
            // Space may be what is missing.
            let _ = fs::remove_file(&half);
            Err(error)
        }
    }
}

struct Out {
    file: File,
    buffer: Vec<u8>,
    sum: u32,
    bytes: u64,
    records: u64,
}

impl Out {
    fn put(&mut self, kind: Kind, bytes: &[u8]) -> io::Result<()> {
        self.records += 1;
        record::put(&mut self.buffer, kind, bytes)?;
        if self.buffer.len() >= 1 << 20 {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sum = crc32c::crc32c_append(self.sum, &self.buffer);
        self.bytes += self.buffer.len() as u64;
        self.file.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

fn write_file(file: File, frozen: &Frozen, seal: &Seal, fresh_at: u64) -> io::Result<u64> {
    let mut out = Out {
        file,
        buffer: MAGIC.to_vec(),
        sum: 0,
        bytes: 0,
        records: 0,
    };
    let about = frozen.lineage.to_le_bytes();
    let welcome = feed::Welcome {
        store: frozen.store.clone(),
        digest_key_id: frozen.key.id,
        digest_key: frozen.key.bytes().to_vec(),
        head: frozen.position.revision.0,
        history: frozen.position.history,
        heartbeat_ms: 0,
        ..feed::Welcome::default()
    };
    let secret = Zeroizing::new(welcome.encode_to_vec());
    let version = env!("CARGO_PKG_VERSION").as_bytes();
    let mut head = Vec::new();
    head.extend_from_slice(&about);
    head.extend_from_slice(&fresh_at.to_le_bytes());
    head.extend_from_slice(&frozen.tokens().to_le_bytes());
    head.push(version.len() as u8);
    head.extend_from_slice(version);
    head.extend_from_slice(&seal.seal(&secret, &about)?);
    out.put(Kind::Head, &head)?;
    let mut chunk = feed::SnapshotChunk::default();
    for change in frozen.destinations() {
        chunk.changes = vec![(&change).into()];
        let secret = Zeroizing::new(chunk.encode_to_vec());
        out.put(Kind::Sealed, &seal.seal(&secret, &about)?)?;
    }
    chunk.changes.clear();
    let mut bytes = Vec::new();
    let mut tokens = 0u64;
    let mut rows = frozen.accounts_and_tokens().peekable();
    while let Some(row) = rows.next() {
        tokens += u64::from(matches!(row, Change::Token(_)));
        chunk.changes.push((&row).into());
        if chunk.changes.len() == CHANGES_PER_RECORD || rows.peek().is_none() {
            bytes.clear();
            chunk.encode(&mut bytes).map_err(io::Error::other)?;
            out.put(Kind::Plain, &bytes)?;
            chunk.changes.clear();
        }
    }
    out.flush()?;
    let mut end = Vec::new();
    end.extend_from_slice(&out.records.to_le_bytes());
    end.extend_from_slice(&tokens.to_le_bytes());
    end.extend_from_slice(&out.sum.to_le_bytes());
    out.put(Kind::End, &end)?;
    out.flush()?;
    out.file.sync_all()?;
    Ok(out.bytes)
}

/// Reads the snapshot, whole or not at all.
///
/// # Errors
/// There is none, or it can't be read or believed.
pub(super) fn read(folder: &Path, seal: &Seal) -> Result<Snapshot, Missing> {
    match read_file(&path(folder), seal) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Missing::None),
        Err(error) => {
            error!(%error, "the kept table");
            Err(Missing::Refused("it can't be read"))
        }
        Ok(read) => read.map_err(Missing::Refused),
    }
}

fn read_file(path: &Path, seal: &Seal) -> io::Result<Result<Snapshot, &'static str>> {
    let Some(mut records) = Records::open(path, MAGIC)? else {
        return Ok(Err("it is not of this format"));
    };
    let bytes = fs::metadata(path)?.len();
    let head = match records.next()? {
        Next::Record(Kind::Head, head) => read_head(head, seal, bytes),
        _ => Err("its head is damaged"),
    };
    let mut snapshot = match head {
        Ok(snapshot) => snapshot,
        Err(why) => return Ok(Err(why)),
    };
    let refused = read_rows(&mut records, &mut snapshot, seal)?;
    Ok(match refused {
        Some(why) => Err(why),
        None => Ok(snapshot),
    })
}

fn read_head(head: &[u8], seal: &Seal, bytes: u64) -> Result<Snapshot, &'static str> {
    const SHORT: &str = "its head is too short";
    let (about, head) = head.split_first_chunk::<8>().ok_or(SHORT)?;
    let (fresh_at, head) = head.split_first_chunk::<8>().ok_or(SHORT)?;
    let (tokens, head) = head.split_first_chunk::<8>().ok_or(SHORT)?;
    let (version_bytes, head) = head.split_first().ok_or(SHORT)?;
    let (version, sealed) = head
        .split_at_checked(usize::from(*version_bytes))
        .ok_or(SHORT)?;
    let secret = seal
        .open_sealed(sealed, about)
        .ok_or("it was sealed with another key")?;
    let welcome = feed::Welcome::decode(&secret[..]).map_err(|_| "its head is damaged")?;
    let key = Zeroizing::new(welcome.digest_key);
    let key = <[u8; 32]>::try_from(&key[..]).map_err(|_| "its digest key is too short")?;
    let lineage = u64::from_le_bytes(*about);
    // A token takes more bytes in the file than one: no more room than that is made beforehand.
    let tokens = u64::from_le_bytes(*tokens).min(bytes);
    Ok(Snapshot {
        collected: Collected::new(
            &welcome.store,
            DigestKey::new(welcome.digest_key_id, key),
            tokens,
        )
        .kept(lineage),
        lineage,
        position: Position {
            revision: Revision(welcome.head),
            history: welcome.history,
        },
        fresh_at: u64::from_le_bytes(*fresh_at),
        same_version: version == env!("CARGO_PKG_VERSION").as_bytes(),
        bytes,
    })
}

fn read_rows(
    records: &mut Records,
    snapshot: &mut Snapshot,
    seal: &Seal,
) -> io::Result<Option<&'static str>> {
    let about = snapshot.lineage.to_le_bytes();
    let mut count = 1u64;
    loop {
        let sum = records.sum();
        let chunk = match records.next()? {
            Next::Record(Kind::Plain, bytes) => feed::SnapshotChunk::decode(bytes).ok(),
            Next::Record(Kind::Sealed, bytes) => seal
                .open_sealed(bytes, &about)
                .and_then(|opened| feed::SnapshotChunk::decode(&opened[..]).ok()),
            Next::Record(Kind::End, end) => {
                let mut whole = Vec::new();
                whole.extend_from_slice(&count.to_le_bytes());
                whole.extend_from_slice(&snapshot.collected.tokens().to_le_bytes());
                whole.extend_from_slice(&sum.to_le_bytes());
                let whole = end == whole;
                return Ok(match records.next()? {
                    Next::End if whole => None,
                    Next::End => Some("its counts don't agree"),
                    _ => Some("something follows its end"),
                });
            }
            Next::Record(..) | Next::Torn(_) => return Ok(Some("a record is damaged")),
            Next::End => return Ok(Some("its end is missing")),
        };
        let Some(chunk) = chunk else {
            return Ok(Some("a record can't be read"));
        };
        count += 1;
        for change in chunk.changes {
            match change.into_model() {
                Ok(Some(change)) => snapshot.collected.push(change),
                _ => return Ok(Some("a row can't be read")),
            }
        }
    }
}
