//! What tables a database has, as far as copying them needs to know.

use super::database::{Connection, Row, Value, query};
use crate::control::Error;

/// A table with a primary key.
#[derive(PartialEq, Eq)]
pub(super) struct Table {
    pub(super) name: String,
    /// By name, so that two databases can be compared.
    pub(super) columns: Vec<Column>,
}

/// One of its columns.
#[derive(PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    kind: Kind,
    /// Its place in the primary key from 1; 0 outside of it.
    pub(super) key: i64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Integer,
    Boolean,
    Text,
    Bytes,
}

const SQLITE_TABLES: &str = "SELECT name FROM sqlite_master WHERE type = 'table' \
     AND name NOT LIKE 'sqlite_%' AND name <> '_sqlx_migrations' ORDER BY name";
const SQLITE_COLUMNS: &str =
    "SELECT name, type AS kind, pk AS key FROM pragma_table_info($1) ORDER BY name";
const POSTGRES_TABLES: &str = "SELECT tablename::text AS name FROM pg_tables \
     WHERE schemaname = current_schema() AND tablename <> '_sqlx_migrations' ORDER BY tablename";
const POSTGRES_COLUMNS: &str = "SELECT a.attname::text AS name, format_type(a.atttypid, a.atttypmod) AS kind, \
     coalesce(array_position(i.indkey::int2[], a.attnum), -1)::bigint + 1 AS key \
     FROM pg_attribute a LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary \
     WHERE a.attrelid = quote_ident($1)::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attname";

/// Every table of ours, by name.
pub(super) async fn all(connection: &mut Connection) -> Result<Vec<Table>, Error> {
    let (tables, columns) = match connection {
        Connection::Sqlite(_) => (SQLITE_TABLES, SQLITE_COLUMNS),
        Connection::Postgres(_) => (POSTGRES_TABLES, POSTGRES_COLUMNS),
    };
    let mut all = Vec::new();
    for row in query(tables).fetch_all(&mut *connection).await? {
        let name: String = row.get("name")?;
        let rows = query(columns)
            .bind(&name)
            .fetch_all(&mut *connection)
            .await?;
        let columns = rows.iter().map(|row| column(&name, row));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        if columns.iter().all(|column| column.key == 0) {
            return Err(Error::damaged(format!("table {name} has no primary key")));
        }
        all.push(Table { name, columns });
    }
    all.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(all)
}

fn column(table: &str, row: &Row) -> Result<Column, Error> {
    let name: String = row.get("name")?;
    let kind: String = row.get("kind")?;
    let kind = match kind.to_ascii_lowercase().as_str() {
        "bigint" => Kind::Integer,
        "boolean" => Kind::Boolean,
        "text" => Kind::Text,
        "blob" | "bytea" => Kind::Bytes,
        _ => {
            return Err(Error::damaged(format!(
                "column {name} of table {table} is of kind {kind}, which nobody can copy"
            )));
        }
    };
    Ok(Column {
        name,
        kind,
        key: row.get("key")?,
    })
}

// === impl Table ===

impl Table {
    /// Names with commas between them.
    pub(super) fn names(&self) -> String {
        let names: Vec<_> = self.columns.iter().map(|it| quoted(&it.name)).collect();
        names.join(", ")
    }

    /// Columns of the primary key in its order, as places in `columns`.
    pub(super) fn key(&self) -> Vec<usize> {
        let mut key: Vec<_> = (0..self.columns.len())
            .filter(|at| self.columns[*at].key > 0)
            .collect();
        key.sort_by_key(|at| self.columns[*at].key);
        key
    }

    /// A row of a question that asked for [`Table::names`].
    pub(super) fn read(&self, row: &Row) -> Result<Vec<Value>, Error> {
        let value = |(at, column): (usize, &Column)| {
            Ok(match column.kind {
                Kind::Integer => Value::Integer(row.get(at)?),
                Kind::Boolean => Value::Boolean(row.get(at)?),
                Kind::Text => Value::Text(row.get(at)?),
                Kind::Bytes => Value::Bytes(row.get(at)?),
            })
        };
        self.columns.iter().enumerate().map(value).collect()
    }
}

pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
