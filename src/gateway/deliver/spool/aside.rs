//! What is set aside for a person to look at: damaged bytes as they were found, and payloads that nobody takes.

use std::{
    io::{self, IoSlice},
    sync::atomic::{AtomicU64, Ordering},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use prost::Message;
use serde_json::{Value, json};
use tracing::warn;

use super::{
    disk::Disk,
    head::{Head, Record},
    name::{Kind, Name},
};
use crate::model::Chunks;

/// Folders within the spool's.
pub(super) const DAMAGED: &str = "damaged";
pub(super) const REFUSED: &str = "refused";

/// Read and written at a time.
const STEP_BYTES: u64 = 256 << 10;

/// Both folders, up to so many bytes each.
pub(super) struct Asides {
    bytes_max: u64,
    damaged_bytes: AtomicU64,
    refused_bytes: AtomicU64,
}

// === impl Asides ===

impl Asides {
    /// Counts what is there.
    ///
    /// # Errors
    /// The folders can't be listed.
    pub(super) fn open<D: Disk>(disk: &D, bytes_max: u64) -> io::Result<Self> {
        let bytes = |folder| -> io::Result<AtomicU64> {
            let files = disk.list(folder)?;
            Ok(AtomicU64::new(files.iter().map(|(_, bytes)| bytes).sum()))
        };
        Ok(Self {
            bytes_max,
            damaged_bytes: bytes(DAMAGED)?,
            refused_bytes: bytes(REFUSED)?,
        })
    }

    /// Copies damaged bytes, unless there is no room or they are there already.
    pub(super) fn damaged<D: Disk>(&self, disk: &D, name: Name, at: u64, bytes: u64) {
        if !self.claim(&self.damaged_bytes, bytes) {
            return;
        }
        let copied = (|| {
            let made = disk.create(&format!("{DAMAGED}/{name}-{at}.bytes"))?;
            let file = disk.open(&name.file(Kind::Segment))?;
            let mut step = vec![0; STEP_BYTES.min(bytes) as usize];
            let mut next = at;
            while next < at + bytes {
                let wanted = STEP_BYTES.min(at + bytes - next) as usize;
                let read = disk.read(&file, next, &mut step[..wanted])?;
                if read == 0 {
                    break;
                }
                disk.append(&made, &mut [IoSlice::new(&step[..read])])?;
                next += read as u64;
            }
            Ok::<(), io::Error>(())
        })();
        complain(copied);
    }

    /// Keeps a payload that nobody takes, and beside it what it is and why: `.json` and `.body`.
    pub(super) fn refused<D: Disk>(
        &self,
        disk: &D,
        name: Name,
        at: u32,
        record: &Record,
        reason: &str,
    ) {
        let Record { origin, payload } = record;
        let about = json!({
            "account": origin.account.0,
            "token_id": origin.token.0,
            "destination": origin.destination.0,
            "accepted_ms": origin.accepted_ms,
            "signal": payload.signal.name(),
            "door": payload.door.name(),
            "content": format!("{:?}", payload.content),
            "encoding": payload.encoding.name(),
            "line_type": payload.line_type,
            "reason": reason,
            // All that is known of it, for whoever takes it up again.
            "head": STANDARD.encode(Head::new(origin, payload).encode_to_vec()),
        })
        .to_string();
        let bytes = on_disk(payload.chunks.len()) + on_disk(about.len() as u64);
        if !self.claim(&self.refused_bytes, bytes) {
            return;
        }
        let kept = (|| {
            let made = disk.create(&format!("{REFUSED}/{name}-{at}.body"))?;
            let chunks = payload.chunks.iter();
            let mut chunks: Vec<IoSlice<'_>> = chunks.map(|chunk| IoSlice::new(chunk)).collect();
            disk.append(&made, &mut chunks)?;
            let made = disk.create(&format!("{REFUSED}/{name}-{at}.json"))?;
            disk.append(&made, &mut [IoSlice::new(about.as_bytes())])
        })();
        complain(kept);
    }

    fn claim(&self, used: &AtomicU64, bytes: u64) -> bool {
        let more =
            |used: u64| Some(used.saturating_add(bytes)).filter(|used| *used <= self.bytes_max);
        used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }
}

/// Payloads that nobody took, by their names without an ending.
pub(super) fn list_refused<D: Disk>(disk: &D) -> io::Result<Vec<String>> {
    let files = disk.list(REFUSED)?.into_iter();
    let names = files.filter_map(|(name, _)| Some(name.strip_suffix(".json")?.to_owned()));
    Ok(names.collect())
}

/// One of them; none when it isn't whole, or a later version wrote it.
pub(super) fn read_refused<D: Disk>(disk: &D, name: &str) -> io::Result<Option<(Head, Chunks)>> {
    let read = |ending: &str| {
        let file = disk.open(&format!("{REFUSED}/{name}{ending}"))?;
        let mut bytes = vec![0; usize::try_from(disk.bytes(&file)?).unwrap_or(usize::MAX)];
        let read = disk.read(&file, 0, &mut bytes)?;
        bytes.truncate(read);
        Ok::<_, io::Error>(bytes)
    };
    let about: Option<Value> = serde_json::from_slice(&read(".json")?).ok();
    let head = about.and_then(|about| STANDARD.decode(about["head"].as_str()?).ok());
    let head = head.and_then(|head| Head::decode(head.as_slice()).ok());
    let Some(head) = head else {
        return Ok(None);
    };
    let body = Chunks::from_iter([Bytes::from(read(".body")?)]);
    Ok(Some((head, body)))
}

/// It is taken up again.
pub(super) fn remove_refused<D: Disk>(disk: &D, name: &str) -> io::Result<()> {
    disk.remove(&format!("{REFUSED}/{name}.json"))?;
    disk.remove(&format!("{REFUSED}/{name}.body"))
}

/// A small file takes a block, and a name.
fn on_disk(bytes: u64) -> u64 {
    const BLOCK_BYTES: u64 = 4096;
    bytes.max(1).next_multiple_of(BLOCK_BYTES)
}

fn complain(kept: io::Result<()>) {
    match kept {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            warn!(%error, "what was set aside of the spool could not be kept");
        }
        _ => {}
    }
}
