//! Two databases behind one face: a question is the same SQL on both, its arguments written `$1`, `$2`.
//!
//! Not sqlx's `Any`: it knows neither SQLite's BOOLEAN nor numbered arguments in a query that is put together.

use std::borrow::Cow;

use sqlx::{
    AssertSqlSafe, Connection as _, Decode, PgConnection, PgPool, Postgres, Row as _, Sqlite,
    SqliteConnection, SqlitePool, Type, postgres::PgRow, sqlite::SqliteRow,
};

use crate::control::Error;

/// One connection.
pub(super) enum Connection {
    /// To a file.
    Sqlite(SqliteConnection),
    /// To a server.
    Postgres(PgConnection),
}

/// Connections to read by.
#[derive(Clone)]
pub(super) enum Pool {
    /// To a file.
    Sqlite(SqlitePool),
    /// To a server.
    Postgres(PgPool),
}

/// Who is asked.
pub(super) enum On<'a> {
    Connection(&'a mut Connection),
    Pool(&'a Pool),
}

/// A row of either.
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// An argument. Null has a type too: PostgreSQL asks for it.
#[derive(Clone)]
pub(super) enum Value {
    Integer(Option<i64>),
    Boolean(Option<bool>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

/// A question with its arguments.
pub(super) struct Query {
    sql: Cow<'static, str>,
    values: Vec<Value>,
}

/// What a column may be read as.
pub(super) trait Column<'r>:
    Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>
{
}

/// Begins a question. Text that is put together holds our own words alone: whatever comes from outside is an argument.
pub(super) fn query(sql: impl Into<Cow<'static, str>>) -> Query {
    Query {
        sql: sql.into(),
        values: Vec::new(),
    }
}

/// The same method of either database's query.
macro_rules! ask {
    ($query:expr, $on:expr, $method:ident) => {{
        let Query { sql, values } = $query;
        match $on {
            On::Connection(Connection::Sqlite(on)) => {
                let sql = unnumbered(sql, values.len());
                ask!(sql, values).$method(on).await.map(Either::Sqlite)
            }
            On::Pool(Pool::Sqlite(on)) => {
                let sql = unnumbered(sql, values.len());
                ask!(sql, values).$method(on).await.map(Either::Sqlite)
            }
            On::Connection(Connection::Postgres(on)) => {
                ask!(sql, values).$method(on).await.map(Either::Postgres)
            }
            On::Pool(Pool::Postgres(on)) => {
                ask!(sql, values).$method(on).await.map(Either::Postgres)
            }
        }
    }};
    ($sql:ident, $values:ident) => {
        $values.into_iter().fold(
            sqlx::query(AssertSqlSafe($sql)),
            |query, value| match value {
                Value::Integer(value) => query.bind(value),
                Value::Boolean(value) => query.bind(value),
                Value::Text(value) => query.bind(value),
                Value::Bytes(value) => query.bind(value),
            },
        )
    };
}

/// From so many arguments on the numbers are taken out for SQLite.
const NUMBERED_MAX: usize = 32;

/// SQLite takes `$7` for a name, and the driver asks for the name of every argument, each time by a walk along all of them: of
/// thousands that costs more than the insert. Arguments that come in their order, each once, are as well without.
fn unnumbered(sql: Cow<'static, str>, values: usize) -> Cow<'static, str> {
    if values < NUMBERED_MAX {
        return sql;
    }
    let mut text = String::with_capacity(sql.len());
    let mut parts = sql.split('$');
    text.push_str(parts.next().unwrap_or_default());
    let mut count = 0;
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_digit());
        let (number, rest) = part.split_at(end.unwrap_or(part.len()));
        count += 1;
        if number.parse() != Ok(count) {
            return sql;
        }
        text.push('?');
        text.push_str(rest);
    }
    Cow::Owned(text)
}

enum Either<S, P> {
    Sqlite(S),
    Postgres(P),
}

// === impl Query ===

impl Query {
    /// The next argument.
    pub(super) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// More text, and more arguments: those of `text` are written `$`, and numbered here.
    pub(super) fn and(mut self, text: &str, values: impl IntoIterator<Item = Value>) -> Self {
        let mut values = values.into_iter();
        let sql = self.sql.to_mut();
        let mut parts = text.split('$');
        sql.push_str(parts.next().unwrap_or_default());
        for part in parts {
            self.values.extend(values.next());
            sql.push_str(&format!("${}{part}", self.values.len()));
        }
        self
    }

    /// Runs it; how many rows it wrote.
    pub(super) async fn execute(self, on: impl Into<On<'_>>) -> Result<u64, Error> {
        Ok(match ask!(self, on.into(), execute)? {
            Either::Sqlite(done) => done.rows_affected(),
            Either::Postgres(done) => done.rows_affected(),
        })
    }

    /// Every row.
    pub(super) async fn fetch_all(self, on: impl Into<On<'_>>) -> Result<Vec<Row>, Error> {
        Ok(match ask!(self, on.into(), fetch_all)? {
            Either::Sqlite(rows) => rows.into_iter().map(Row::Sqlite).collect(),
            Either::Postgres(rows) => rows.into_iter().map(Row::Postgres).collect(),
        })
    }

    /// The first row, if there is one.
    pub(super) async fn fetch_optional(self, on: impl Into<On<'_>>) -> Result<Option<Row>, Error> {
        Ok(match ask!(self, on.into(), fetch_optional)? {
            Either::Sqlite(row) => row.map(Row::Sqlite),
            Either::Postgres(row) => row.map(Row::Postgres),
        })
    }

    /// Every row, as `read` reads it.
    pub(super) async fn read_all<T>(
        self,
        on: impl Into<On<'_>>,
        read: impl FnMut(&Row) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        self.fetch_all(on).await?.iter().map(read).collect()
    }

    /// The first row, if there is one, as `read` reads it.
    pub(super) async fn read_optional<T>(
        self,
        on: impl Into<On<'_>>,
        read: impl FnOnce(&Row) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        self.fetch_optional(on)
            .await?
            .as_ref()
            .map(read)
            .transpose()
    }

    /// The first column of the first row, if there is one.
    pub(super) async fn fetch_value<T>(self, on: impl Into<On<'_>>) -> Result<Option<T>, Error>
    where
        T: for<'r> Column<'r>,
    {
        let row = self.fetch_optional(on).await?;
        row.map(|row| row.get(0)).transpose()
    }

    /// The first column of the first row, which must be there.
    pub(super) async fn fetch_one<T>(self, on: impl Into<On<'_>>) -> Result<T, Error>
    where
        T: for<'r> Column<'r>,
    {
        let value = self.fetch_value(on).await?;
        value.ok_or_else(|| sqlx::Error::RowNotFound.into())
    }

    #[cfg(test)]
    pub(super) fn sql(&self) -> &str {
        &self.sql
    }
}

// === impl Row ===

impl Row {
    /// A column by its name, or by its place from 0.
    pub(super) fn get<'r, T, I>(&'r self, column: I) -> Result<T, Error>
    where
        T: Column<'r>,
        I: sqlx::ColumnIndex<SqliteRow> + sqlx::ColumnIndex<PgRow>,
    {
        Ok(match self {
            Self::Sqlite(row) => row.try_get(column)?,
            Self::Postgres(row) => row.try_get(column)?,
        })
    }
}

// === impl Connection ===

impl Connection {
    /// Begins a transaction that writes, once it is this process' turn: what others committed before is seen in it.
    pub(super) async fn begin(&mut self, lock: i64) -> Result<(), Error> {
        match self {
            Self::Sqlite(connection) => {
                sqlx::query("BEGIN IMMEDIATE").execute(connection).await?;
            }
            Self::Postgres(connection) => {
                // Each statement must see what was committed while the lock was waited for, whatever is the server's default.
                let begin = format!(
                    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SELECT pg_advisory_xact_lock({lock})"
                );
                sqlx::raw_sql(AssertSqlSafe(begin))
                    .execute(connection)
                    .await?;
            }
        }
        Ok(())
    }

    /// Says goodbye.
    pub(super) async fn close(self) -> Result<(), Error> {
        match self {
            Self::Sqlite(connection) => connection.close().await?,
            Self::Postgres(connection) => connection.close().await?,
        }
        Ok(())
    }
}

// === impl Pool ===

impl Pool {
    /// Waits for those who read.
    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

// === impl Column ===

impl<'r, T> Column<'r> for T where
    T: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>
{
}

// === impl On ===

impl<'a> From<&'a mut Connection> for On<'a> {
    fn from(connection: &'a mut Connection) -> Self {
        Self::Connection(connection)
    }
}

impl<'a> From<&'a Pool> for On<'a> {
    fn from(pool: &'a Pool) -> Self {
        Self::Pool(pool)
    }
}

// === impl Value ===

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(Some(value))
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Integer(Some(value.into()))
    }
}

impl From<Option<i64>> for Value {
    fn from(value: Option<i64>) -> Self {
        Self::Integer(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Boolean(Some(value))
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

impl From<&String> for Value {
    fn from(value: &String) -> Self {
        Self::Text(Some(value.clone()))
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(Some(value))
    }
}

impl From<&Option<String>> for Value {
    fn from(value: &Option<String>) -> Self {
        Self::Text(value.clone())
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_out_where_they_say_nothing() {
        let row = |from: usize| format!("(${}, ${})", from, from + 1);
        let rows: Vec<_> = (1..=NUMBERED_MAX).step_by(2).map(row).collect();
        let sql = format!("INSERT INTO t VALUES {}", rows.join(", "));
        let bare = sql
            .replace(|c: char| c.is_ascii_digit(), "")
            .replace('$', "?");
        assert_eq!(unnumbered(sql.clone().into(), NUMBERED_MAX), bare);
        // Few are left as they are, and so are those that come twice or in another order.
        assert_eq!(unnumbered(sql.clone().into(), NUMBERED_MAX - 1), sql);
        for kept in [format!("{sql} ($1)"), sql.replace("($1, $2)", "($2, $1)")] {
            assert_eq!(unnumbered(kept.clone().into(), NUMBERED_MAX), kept);
        }
    }
}
