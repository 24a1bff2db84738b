//! The audit log: append-only, each record's hash covering the one before it.

use serde_json::Value;

use super::{
    Store, counter,
    database::{Connection, Row, query},
    get_u64, signed,
};
use crate::control::Error;

const PAGE_ROWS: i64 = 1000;
const NOTHING: [u8; 32] = [0; 32];

/// What one action did; `old` and `new` hold no secret.
pub(super) struct Entry {
    pub(super) action: &'static str,
    pub(super) subject: String,
    pub(super) old: Option<Value>,
    pub(super) new: Option<Value>,
}

struct Record<'a> {
    seq: u64,
    revision: u64,
    at: u64,
    texts: [&'a str; 3],
    states: [Option<&'a str>; 2],
}

impl Record<'_> {
    /// Every field with its length before it, so that no two records hash the same bytes.
    fn hash(&self, previous: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(previous);
        for number in [self.seq, self.revision, self.at] {
            hasher.update(&number.to_le_bytes());
        }
        let texts = self.texts.into_iter().map(Some);
        for text in texts.chain(self.states) {
            let length = text.map_or(u64::MAX, |text| text.len() as u64);
            hasher.update(&length.to_le_bytes());
            hasher.update(text.unwrap_or_default().as_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}

/// The hash of the record at `seq`; of the one before the first, nothing.
pub(super) async fn hash(connection: &mut Connection, seq: u64) -> Result<Vec<u8>, Error> {
    let hash: Option<Vec<u8>> = query("SELECT hash FROM audit WHERE seq = $1")
        .bind(signed(seq))
        .fetch_value(connection)
        .await?;
    Ok(hash.unwrap_or_else(|| NOTHING.to_vec()))
}

/// Appends a record at `seq`, which must be the next after the one with the hash `previous`; its own hash.
pub(super) async fn append(
    connection: &mut Connection,
    seq: u64,
    previous: Vec<u8>,
    revision: u64,
    at: u64,
    actor: &str,
    entry: Entry,
) -> Result<Vec<u8>, Error> {
    let old = entry.old.map(|state| state.to_string());
    let new = entry.new.map(|state| state.to_string());
    let record = Record {
        seq,
        revision,
        at,
        texts: [actor, entry.action, &entry.subject],
        states: [old.as_deref(), new.as_deref()],
    };
    let hash = record.hash(&previous).to_vec();
    query(
        "INSERT INTO audit (seq, revision, at, actor, action, subject, old_state, new_state, previous, hash) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(signed(seq))
    .bind(signed(revision))
    .bind(signed(at))
    .bind(actor)
    .bind(entry.action)
    .bind(&entry.subject)
    .bind(&old)
    .bind(&new)
    .bind(previous)
    .bind(hash.clone())
    .execute(connection)
    .await?;
    Ok(hash)
}

impl Store {
    /// Recomputes the whole chain; how many records it has. A cut tail shows by the counter.
    pub(crate) async fn verify_audit(&self) -> Result<u64, Error> {
        let written = counter(&self.reader, "audit").await?;
        let mut previous = NOTHING.to_vec();
        let mut seq = 0;
        while seq < written {
            let rows = query("SELECT * FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2")
                .bind(signed(seq))
                .bind(PAGE_ROWS)
                .fetch_all(&self.reader)
                .await?;
            if rows.is_empty() {
                return Err(Error::AuditBroken { seq: seq + 1 });
            }
            for row in rows {
                seq += 1;
                match verify(&row, seq, &previous)? {
                    Some(hash) => previous = hash,
                    None => return Err(Error::AuditBroken { seq }),
                }
            }
        }
        Ok(seq)
    }
}

fn verify(row: &Row, seq: u64, previous: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    let stored: Vec<u8> = row.get("hash")?;
    let record = Record {
        seq: get_u64(row, "seq")?,
        revision: get_u64(row, "revision")?,
        at: get_u64(row, "at")?,
        texts: [row.get("actor")?, row.get("action")?, row.get("subject")?],
        states: [row.get("old_state")?, row.get("new_state")?],
    };
    let is_intact = record.seq == seq && stored == record.hash(previous);
    Ok(is_intact.then_some(stored))
}
