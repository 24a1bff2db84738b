//! A store moved to another place: every row of every table, its name and its revisions, so that gateways go on as if
//! nothing had happened. The place that it leaves becomes a copy, and one that was never completed is served by nobody.

use std::path::Path;

use super::{
    Place,
    database::{Connection, Row, Value, query},
    meta, open,
    tables::{self, Table, quoted},
};
use crate::control::Error;

/// Rows read and written at once: few, because a row may have a megabyte.
const PAGE_ROWS: usize = 128;
/// Pages in a transaction.
const PAGES_MAX: usize = 64;

/// A foreign key that stands aside while rows come in an order of their own.
struct ForeignKey {
    table: String,
    name: String,
    definition: String,
}

/// Copies what is there into a place that holds no store yet; how many rows each table had. `data` has the master key.
pub(in crate::control) async fn copy(
    data: &Path,
    from: &Place,
    to: &Place,
) -> Result<Vec<(String, u64)>, Error> {
    let mut source = from.connect().await?;
    open::migrate(&mut source, None).await?;
    if meta(&mut source, "digest_key").await?.is_none() {
        return Err(Error::NotFound(format!(
            "there is no store in {}",
            from.name()
        )));
    }
    let lock = open::lock(&mut source).await?;
    open::identity(&mut source, lock, from, data).await?;
    let mut target = to.connect().await?;
    open::migrate(&mut target, None).await?;
    let tables = tables::all(&mut source).await?;
    if tables != tables::all(&mut target).await? {
        return Err(Error::damaged("the two places have different tables"));
    }
    // From here on nobody else writes to what is copied.
    hold(&mut source, lock).await?;
    let foreign_keys = prepare(&mut target, to, &tables).await?;
    let mut counts = Vec::new();
    for table in &tables {
        let count = copy_table(&mut source, &mut target, table).await?;
        counts.push((table.name.clone(), count));
    }
    complete(&mut source, &mut target, to, foreign_keys).await?;
    source.close().await?;
    target.close().await?;
    Ok(counts)
}

async fn hold(source: &mut Connection, lock: i64) -> Result<(), Error> {
    if matches!(source, Connection::Postgres(_)) {
        // It says nothing while the target checks its keys.
        query("SET idle_in_transaction_session_timeout = 0")
            .execute(&mut *source)
            .await?;
    }
    source.begin(lock).await
}

/// Empties the target of what migrations put into it, and marks it as half of a copy.
async fn prepare(
    target: &mut Connection,
    to: &Place,
    tables: &[Table],
) -> Result<Vec<ForeignKey>, Error> {
    if meta(&mut *target, open::COPYING).await?.is_some() {
        return Err(Error::HalfCopied(to.name()));
    }
    if matches!(target, Connection::Sqlite(_)) {
        query("PRAGMA foreign_keys = OFF")
            .execute(&mut *target)
            .await?;
    }
    let lock = open::lock(target).await?;
    target.begin(lock).await?;
    let used: i64 = query(
        "SELECT (SELECT count(*) FROM meta) + (SELECT count(*) FROM counters WHERE value <> 0)",
    )
    .fetch_one(&mut *target)
    .await?;
    if used != 0 {
        return Err(Error::Conflict(format!(
            "{} holds a store already; a copy goes into an empty place only",
            to.name()
        )));
    }
    let foreign_keys = foreign_keys(target).await?;
    for key in &foreign_keys {
        let drop = format!(
            "ALTER TABLE {} DROP CONSTRAINT {}",
            key.table,
            quoted(&key.name)
        );
        query(drop).execute(&mut *target).await?;
    }
    for table in tables {
        query(format!("DELETE FROM {}", quoted(&table.name)))
            .execute(&mut *target)
            .await?;
    }
    query("INSERT INTO meta (name, value) VALUES ($1, $2)")
        .bind(open::COPYING)
        .bind(Vec::new())
        .execute(&mut *target)
        .await?;
    query("COMMIT").execute(target).await?;
    Ok(foreign_keys)
}

async fn foreign_keys(target: &mut Connection) -> Result<Vec<ForeignKey>, Error> {
    if matches!(target, Connection::Sqlite(_)) {
        return Ok(Vec::new());
    }
    let rows = query(
        "SELECT conrelid::regclass::text AS in_table, conname::text AS name, pg_get_constraintdef(oid) AS definition \
         FROM pg_constraint WHERE contype = 'f' AND connamespace = current_schema()::regnamespace ORDER BY conname",
    );
    let key = |row: &Row| {
        Ok(ForeignKey {
            table: row.get("in_table")?,
            name: row.get("name")?,
            definition: row.get("definition")?,
        })
    };
    rows.fetch_all(target).await?.iter().map(key).collect()
}

async fn copy_table(
    source: &mut Connection,
    target: &mut Connection,
    table: &Table,
) -> Result<u64, Error> {
    let (name, names) = (quoted(&table.name), table.names());
    let key = table.key();
    let key_names: Vec<_> = key
        .iter()
        .map(|at| quoted(&table.columns[*at].name))
        .collect();
    let key_names = key_names.join(", ");
    let places = vec!["$"; key.len()].join(", ");
    let mut last: Option<Vec<Value>> = None;
    let (mut count, mut pages) = (0, 0);
    begin(target).await?;
    loop {
        let mut page = query(format!("SELECT {names} FROM {name}"));
        if let Some(last) = last {
            page = page.and(&format!(" WHERE ({key_names}) > ({places})"), last);
        }
        page = page.and(&format!(" ORDER BY {key_names} LIMIT {PAGE_ROWS}"), []);
        let rows = page.fetch_all(&mut *source).await?;
        let rows = rows.iter().map(|row| table.read(row));
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        let Some(newest) = rows.last() else {
            break;
        };
        last = Some(key.iter().map(|at| newest[*at].clone()).collect());
        count += rows.len() as u64;
        insert(
            target,
            &format!("INSERT INTO {name} ({names}) VALUES "),
            rows,
        )
        .await?;
        pages += 1;
        if pages % PAGES_MAX == 0 {
            query("COMMIT").execute(&mut *target).await?;
            begin(target).await?;
        }
    }
    query("COMMIT").execute(&mut *target).await?;
    let copied: i64 = query(format!("SELECT count(*) FROM {name}"))
        .fetch_one(&mut *target)
        .await?;
    // The mark stands among the target's own rows until the end.
    let expected = count + u64::from(table.name == "meta");
    if super::positive(copied)? != expected {
        return Err(Error::damaged(format!(
            "table {} has {count} rows, and {copied} arrived",
            table.name
        )));
    }
    Ok(count)
}

async fn begin(target: &mut Connection) -> Result<(), Error> {
    query("BEGIN").execute(target).await.map(drop)
}

/// In powers of two, so that few statements are prepared.
async fn insert(
    target: &mut Connection,
    statement: &str,
    mut rows: Vec<Vec<Value>>,
) -> Result<(), Error> {
    while !rows.is_empty() {
        let size = 1_usize << rows.len().ilog2();
        let mut insert = query(statement.to_owned());
        for (at, row) in rows.drain(..size).enumerate() {
            let places = vec!["$"; row.len()].join(", ");
            let comma = if at == 0 { "" } else { ", " };
            insert = insert.and(&format!("{comma}({places})"), row);
        }
        insert.execute(&mut *target).await?;
    }
    Ok(())
}

/// The keys hold again, the source gives up its home, the target takes its own: in this order, so that there are never
/// two stores of one name.
async fn complete(
    source: &mut Connection,
    target: &mut Connection,
    to: &Place,
    foreign_keys: Vec<ForeignKey>,
) -> Result<(), Error> {
    let lock = open::lock(target).await?;
    if matches!(target, Connection::Postgres(_)) {
        query("SET lock_timeout = 0").execute(&mut *target).await?;
    }
    target.begin(lock).await?;
    for key in foreign_keys {
        let (table, name) = (key.table, quoted(&key.name));
        let add = format!(
            "ALTER TABLE {table} ADD CONSTRAINT {name} {}",
            key.definition
        );
        query(add).execute(&mut *target).await?;
    }
    if matches!(target, Connection::Sqlite(_)) {
        let torn = query("PRAGMA foreign_key_check").fetch_all(&mut *target);
        if !torn.await?.is_empty() {
            return Err(Error::damaged("a row refers to one that is not there"));
        }
    }
    open::unsettle(source).await?;
    query("COMMIT").execute(source).await?;
    open::settle(target, to).await?;
    query("DELETE FROM meta WHERE name = $1")
        .bind(open::COPYING)
        .execute(&mut *target)
        .await?;
    query("COMMIT").execute(target).await.map(drop)
}
