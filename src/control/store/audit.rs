//! The audit log: append-only, each record's hash covering the one before it.

use serde_json::Value;

use super::{
    Store, Whose,
    database::{Connection, On, Query, Row, Value as Cell, query},
    get_some_u64, get_u64, signed,
};
use crate::control::{
    Error,
    record::{AuditHead, AuditRow, Millis, Who},
};

const PAGE_ROWS: i64 = 1000;
/// Records written by one statement. In powers of two, so that few statements are prepared.
const ROWS_MAX: usize = 32;
/// Of a record that is written.
const COLUMNS: usize = 12;
const NOTHING: [u8; 32] = [0; 32];
/// The last millisecond of the year 9999: no later one can be written as a date.
const LATEST: Millis = 253_402_300_799_999;

/// What one action did; `old` and `new` hold no secret.
pub(super) struct Entry {
    pub(super) account: Option<u64>,
    pub(super) action: &'static str,
    pub(super) subject: String,
    pub(super) old: Option<Value>,
    pub(super) new: Option<Value>,
}

/// Which records to list.
#[derive(Default)]
pub(crate) struct AuditFilter {
    pub(crate) whose: Whose,
    pub(crate) action: Option<String>,
    pub(crate) actor: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) from: Option<Millis>,
    pub(crate) to: Option<Millis>,
}

/// By its counter, and by the records themselves.
struct Extent {
    counted: i64,
    lowest: i64,
    newest: i64,
}

struct Record<'a> {
    seq: u64,
    revision: u64,
    at: u64,
    texts: [&'a str; 3],
    states: [Option<&'a str>; 2],
    address: Option<&'a str>,
    account: Option<u64>,
}

// === impl Record ===

impl Record<'_> {
    /// Every field with its length before it, so that no two records hash the same bytes.
    fn hash(&self, previous: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(previous);
        for number in [self.seq, self.revision, self.at] {
            hasher.update(&number.to_le_bytes());
        }
        let mut add = |text: Option<&str>| {
            let length = text.map_or(u64::MAX, |text| text.len() as u64);
            hasher.update(&length.to_le_bytes());
            hasher.update(text.unwrap_or_default().as_bytes());
        };
        let texts = self.texts.into_iter().map(Some);
        texts.chain(self.states).for_each(&mut add);
        // Records of the first schema end here, and so does whatever has neither.
        if self.address.is_some() || self.account.is_some() {
            add(self.address);
            hasher.update(&self.account.unwrap_or(0).to_le_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}

/// The account that a record concerns: it is the subject, or stands in its state.
pub(super) fn account_of(subject: &str, old: Option<&Value>, new: Option<&Value>) -> Option<u64> {
    match subject.strip_prefix("account/") {
        Some(id) => id.parse().ok(),
        None => [new, old]
            .into_iter()
            .flatten()
            .find_map(|state| state["account"].as_u64()),
    }
}

/// The hash of the record at `seq`.
pub(super) async fn hash_at(on: impl Into<On<'_>>, seq: u64) -> Result<Option<Vec<u8>>, Error> {
    query("SELECT hash FROM audit WHERE seq = $1")
        .bind(signed(seq))
        .fetch_value(on)
        .await
}

/// The last record; none in a log that is empty.
pub(super) async fn newest(on: impl Into<On<'_>>) -> Result<Option<AuditHead>, Error> {
    let head = |row: &Row| {
        let hash: Vec<u8> = row.get("hash")?;
        let seq = get_u64(row, "seq")?;
        let hash = hash.try_into().map_err(|_| Error::AuditBroken { seq })?;
        Ok(AuditHead { seq, hash })
    };
    query("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")
        .read_optional(on, head)
        .await
}

/// Appends what each of them did, and when, after the record at `seq`, which is the last one.
pub(super) async fn append(
    connection: &mut Connection,
    mut seq: u64,
    revision: u64,
    works: Vec<(Who, Millis, Vec<Entry>)>,
) -> Result<(), Error> {
    // Of the one before the first, nothing.
    let before = hash_at(&mut *connection, seq).await?;
    let mut previous = before.unwrap_or_else(|| NOTHING.to_vec());
    let mut rows = Vec::new();
    for (who, at, entries) in works {
        for entry in entries {
            seq += 1;
            let (row, hash) = row([seq, revision, at], &who, entry, previous);
            rows.push(row);
            previous = hash;
            if rows.len() == ROWS_MAX {
                insert(std::mem::take(&mut rows))
                    .execute(&mut *connection)
                    .await?;
            }
        }
    }
    while let Some(power) = rows.len().checked_ilog2() {
        let rest = rows.split_off(1 << power);
        insert(rows).execute(&mut *connection).await?;
        rows = rest;
    }
    Ok(())
}

/// A record as it is written, and its hash.
fn row(
    [seq, revision, at]: [u64; 3],
    who: &Who,
    entry: Entry,
    previous: Vec<u8>,
) -> ([Cell; COLUMNS], Vec<u8>) {
    let old = entry.old.map(|state| state.to_string());
    let new = entry.new.map(|state| state.to_string());
    let record = Record {
        seq,
        revision,
        at,
        texts: [&who.name, entry.action, &entry.subject],
        states: [old.as_deref(), new.as_deref()],
        address: who.address.as_deref(),
        account: entry.account,
    };
    let hash = record.hash(&previous).to_vec();
    let row = [
        signed(seq).into(),
        signed(revision).into(),
        signed(at).into(),
        (&who.name).into(),
        entry.action.into(),
        entry.subject.into(),
        (&old).into(),
        (&new).into(),
        previous.into(),
        hash.clone().into(),
        (&who.address).into(),
        entry.account.map(signed).into(),
    ];
    (row, hash)
}

fn insert(rows: Vec<[Cell; COLUMNS]>) -> Query {
    let mut insert = query(
        "INSERT INTO audit (seq, revision, at, actor, action, subject, old_state, new_state, previous, hash, \
         address, account_id) VALUES ",
    );
    for (at, row) in rows.into_iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        let places = ["$"; COLUMNS].join(", ");
        insert = insert.and(&format!("{comma}({places})"), row);
    }
    insert
}

fn select(after: u64, limit: u32, filter: &AuditFilter) -> Query {
    let select = query("SELECT * FROM audit WHERE seq > ").and("$", [signed(after).into()]);
    narrow(select, filter).and(" ORDER BY seq LIMIT $", [limit.into()])
}

/// Only records of that kind.
pub(super) fn narrow(select: Query, filter: &AuditFilter) -> Query {
    let mut select = filter.whose.narrow(select);
    for (condition, text) in [
        (" AND action = $", &filter.action),
        (" AND actor = $", &filter.actor),
        (" AND subject = $", &filter.subject),
    ] {
        if let Some(text) = text {
            select = select.and(condition, [text.into()]);
        }
    }
    for (condition, at) in [(" AND at >= $", filter.from), (" AND at < $", filter.to)] {
        if let Some(at) = at {
            select = select.and(condition, [signed(at).into()]);
        }
    }
    select
}

// === impl Store ===

impl Store {
    /// Records after `after`, in order, `limit` at most.
    pub(crate) async fn audit(
        &self,
        after: u64,
        limit: u32,
        filter: &AuditFilter,
    ) -> Result<Vec<AuditRow>, Error> {
        select(after, limit, filter)
            .read_all(&self.lister, read)
            .await
    }

    /// Recomputes the whole chain; how many records it has, and the last one's hash. A cut tail shows by the counter, and
    /// where both are cut, by a record that somebody has kept: its number and its hash.
    pub(crate) async fn verify_audit(
        &self,
        kept: Option<&AuditHead>,
    ) -> Result<(u64, Vec<u8>), Error> {
        let extent = extent(&self.lister).await?;
        if extent.lowest < 1 {
            return Err(Error::AuditBroken { seq: 0 });
        }
        let kept_seq = kept.map_or(0, |kept| signed(kept.seq));
        // By whichever goes furthest: each of them can be set back without the others.
        let written = extent.counted.max(extent.newest).max(kept_seq);
        let mut previous = NOTHING.to_vec();
        let mut seq = 0;
        while signed(seq) < written {
            let rows = query("SELECT * FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2")
                .bind(signed(seq))
                .bind(PAGE_ROWS)
                .fetch_all(&self.lister)
                .await?;
            if rows.is_empty() {
                return Err(Error::AuditBroken { seq: seq + 1 });
            }
            for row in rows {
                seq += 1;
                // What can't be read is nothing that we wrote.
                match verify(&row, seq, &previous) {
                    Ok(Some(hash)) if is_kept(kept, seq, &hash) => previous = hash,
                    _ => return Err(Error::AuditBroken { seq }),
                }
            }
        }
        if extent.counted == extent.newest {
            return Ok((seq, previous));
        }
        // The first that nobody counted.
        let counted = u64::try_from(extent.counted).unwrap_or(0);
        Err(Error::AuditBroken { seq: counted + 1 })
    }
}

/// How far the log goes at one moment.
async fn extent(on: impl Into<On<'_>>) -> Result<Extent, Error> {
    let extent = |row: &Row| {
        // What is no number stands behind every record, and is found there.
        let of = |column, none| row.get(column).unwrap_or(Some(i64::MAX)).unwrap_or(none);
        Ok(Extent {
            counted: of("counted", 0),
            lowest: of("lowest", 1),
            newest: of("newest", 0),
        })
    };
    // In one statement: records are written meanwhile.
    query(
        "SELECT (SELECT value FROM counters WHERE name = 'audit') AS counted, \
         (SELECT min(seq) FROM audit) AS lowest, (SELECT max(seq) FROM audit) AS newest",
    )
    .read_optional(on, extent)
    .await?
    .ok_or_else(|| Error::damaged("no counters"))
}

/// Whether the record is still the one of that number that somebody has kept.
fn is_kept(kept: Option<&AuditHead>, seq: u64, hash: &[u8]) -> bool {
    kept.is_none_or(|kept| kept.seq != seq || kept.hash == hash)
}

fn verify(row: &Row, seq: u64, previous: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    let stored: Vec<u8> = row.get("hash")?;
    let link: Vec<u8> = row.get("previous")?;
    let record = Record {
        seq: get_u64(row, "seq")?,
        revision: get_u64(row, "revision")?,
        at: get_u64(row, "at")?,
        texts: [row.get("actor")?, row.get("action")?, row.get("subject")?],
        states: [row.get("old_state")?, row.get("new_state")?],
        address: row.get("address")?,
        account: get_some_u64(row, "account_id")?,
    };
    let is_intact = record.seq == seq && link == previous && stored == record.hash(previous);
    Ok(is_intact.then_some(stored))
}

/// The record, or which one it is that nobody can read any more.
pub(super) fn read(row: &Row) -> Result<AuditRow, Error> {
    fields(row)
        .ok()
        .filter(|row| row.at <= LATEST)
        .ok_or_else(|| Error::AuditBroken {
            seq: get_u64(row, "seq").unwrap_or(0),
        })
}

fn fields(row: &Row) -> Result<AuditRow, Error> {
    Ok(AuditRow {
        seq: get_u64(row, "seq")?,
        revision: get_u64(row, "revision")?,
        at: get_u64(row, "at")?,
        who: Who {
            name: row.get("actor")?,
            address: row.get("address")?,
        },
        action: row.get("action")?,
        subject: row.get("subject")?,
        account: get_some_u64(row, "account_id")?,
        old: row.get("old_state")?,
        new: row.get("new_state")?,
        hash: Some(row.get("hash")?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_the_first_schema_hashes_as_it_did() {
        let mut record = Record {
            seq: 7,
            revision: 3,
            at: 1_700_000_000_000,
            texts: ["api_token/1", "token.create", "token/9"],
            states: [None, Some("{}")],
            address: None,
            account: None,
        };
        let mut bytes = vec![9; 32];
        for number in [7_u64, 3, 1_700_000_000_000] {
            bytes.extend(number.to_le_bytes());
        }
        for text in ["api_token/1", "token.create", "token/9"] {
            bytes.extend((text.len() as u64).to_le_bytes());
            bytes.extend(text.as_bytes());
        }
        bytes.extend(u64::MAX.to_le_bytes());
        bytes.extend(2_u64.to_le_bytes());
        bytes.extend(b"{}");
        let first = *blake3::hash(&bytes).as_bytes();
        assert_eq!(record.hash(&[9; 32]), first);
        record.account = Some(0);
        let with_account = record.hash(&[9; 32]);
        record.address = Some("");
        let with_both = record.hash(&[9; 32]);
        assert!(first != with_account && with_account != with_both);
    }
}
