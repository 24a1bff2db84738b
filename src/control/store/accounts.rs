//! Accounts in the store.

use serde_json::json;

use super::{
    Commit, Store,
    commit::Table,
    database::{Row, query},
    get_u64, positive, signed,
};
use crate::{
    control::{Error, record::AccountRow, view},
    model::{Account, AccountId, AccountState, Change, DestinationId},
};

const SELECT: &str = "SELECT id, name, suspended, limits, logs_destination, metrics_destination, \
     traces_destination, created_at, revision \
     FROM accounts WHERE id > $1 AND deleted_at IS NULL ORDER BY id LIMIT $2";

// === impl Store ===

impl Store {
    /// Those after `after`, by id, `limit` at most.
    pub(crate) async fn accounts(&self, after: u64, limit: u32) -> Result<Vec<AccountRow>, Error> {
        query(SELECT)
            .bind(signed(after))
            .bind(limit)
            .fetch_all(&self.reader)
            .await?
            .iter()
            .map(read)
            .collect()
    }

    /// That one.
    pub(crate) async fn account(&self, id: u64) -> Result<AccountRow, Error> {
        let rows = match id.checked_sub(1) {
            Some(after) => self.accounts(after, 1).await?,
            None => Vec::new(),
        };
        one(rows, id)
    }

    /// The id behind a name.
    pub(crate) async fn account_named(&self, name: &str) -> Result<u64, Error> {
        let id = query(BY_NAME).bind(name).fetch_value(&self.reader).await?;
        named(id, name)
    }
}

const BY_NAME: &str = "SELECT id FROM accounts WHERE name = $1 AND deleted_at IS NULL";

fn named(id: Option<i64>, name: &str) -> Result<u64, Error> {
    id.map_or_else(
        || {
            Err(Error::NotFound(format!(
                "there is no account named {name:?}"
            )))
        },
        positive,
    )
}

fn one(rows: Vec<AccountRow>, id: u64) -> Result<AccountRow, Error> {
    rows.into_iter()
        .find(|row| row.account.id.0 == id)
        .ok_or_else(|| Error::NotFound(format!("there is no account {id}")))
}

// === impl Commit ===

impl Commit {
    /// That one, as of this transaction.
    pub(crate) async fn account(&mut self, id: u64) -> Result<AccountRow, Error> {
        let rows = query(SELECT)
            .bind(signed(id.saturating_sub(1)))
            .bind(1_i64)
            .fetch_all(self.connection()?)
            .await?;
        let rows: Result<Vec<_>, _> = rows.iter().map(read).collect();
        one(rows?, id)
    }

    /// The id behind a name.
    pub(crate) async fn account_named(&mut self, name: &str) -> Result<u64, Error> {
        let id = query(BY_NAME)
            .bind(name)
            .fetch_value(self.connection()?)
            .await?;
        named(id, name)
    }

    /// Adds one; its id is given here.
    pub(crate) async fn insert_account(
        &mut self,
        mut account: Account,
    ) -> Result<AccountRow, Error> {
        self.account_name_is_free(&account).await?;
        account.id = AccountId(self.next_id("account").await?);
        let row = AccountRow {
            account,
            created_at: self.now,
            revision: 0,
        };
        query(
            "INSERT INTO accounts (name, suspended, limits, logs_destination, \
             metrics_destination, traces_destination, id, created_at, revision) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0)",
        )
        .bind(&row.account.name)
        .bind(row.account.state == AccountState::Suspended)
        .bind(limits_text(&row.account))
        .bind(destination(&row.account, 0))
        .bind(destination(&row.account, 1))
        .bind(destination(&row.account, 2))
        .bind(signed(row.account.id.0))
        .bind(signed(row.created_at))
        .execute(self.connection()?)
        .await?;
        self.tell_account("account.create", None, &row);
        Ok(row)
    }

    /// Replaces what `old` was.
    pub(crate) async fn update_account(
        &mut self,
        old: &AccountRow,
        account: Account,
    ) -> Result<AccountRow, Error> {
        self.account_name_is_free(&account).await?;
        let row = AccountRow {
            account,
            ..old.clone()
        };
        query("UPDATE accounts SET name = $1, suspended = $2, limits = $3, \
             logs_destination = $4, metrics_destination = $5, traces_destination = $6 WHERE id = $7")
            .bind(&row.account.name)
            .bind(row.account.state == AccountState::Suspended)
            .bind(limits_text(&row.account))
            .bind(destination(&row.account, 0))
            .bind(destination(&row.account, 1))
            .bind(destination(&row.account, 2))
            .bind(signed(row.account.id.0))
            .execute(self.connection()?)
            .await?;
        self.tell_account("account.change", Some(old), &row);
        Ok(row)
    }

    /// Removes it, unless it has tokens that are not revoked. Its tokens stay as hidden tombstones.
    pub(crate) async fn delete_account(&mut self, id: u64) -> Result<(), Error> {
        let row = self.account(id).await?;
        let tokens: i64 = query(
            "SELECT count(*) FROM shipping_tokens WHERE account_id = $1 AND revoked_at IS NULL",
        )
        .bind(signed(id))
        .fetch_one(self.connection()?)
        .await?;
        if tokens != 0 {
            return Err(Error::Conflict(format!(
                "account {:?} has {tokens} tokens that are not revoked; revoke them first",
                row.account.name
            )));
        }
        let now = signed(self.now);
        query(
            "UPDATE accounts SET deleted_at = $1, logs_destination = NULL, \
             metrics_destination = NULL, traces_destination = NULL WHERE id = $2",
        )
        .bind(now)
        .bind(signed(id))
        .execute(self.connection()?)
        .await?;
        query(
            "UPDATE shipping_tokens SET deleted_at = $1 WHERE account_id = $2 AND deleted_at IS NULL",
        )
        .bind(now)
        .bind(signed(id))
        .execute(self.connection()?)
        .await?;
        self.change(Change::AccountRemoved(AccountId(id)));
        self.stamp(Table::Accounts, id);
        let old = json!(view::Account::from(&row));
        self.note("account.delete", format!("account/{id}"), Some(old), None);
        Ok(())
    }

    fn tell_account(&mut self, action: &'static str, old: Option<&AccountRow>, new: &AccountRow) {
        let id = new.account.id.0;
        self.change(Change::Account(new.account.clone()));
        self.stamp(Table::Accounts, id);
        let old = old.map(|old| json!(view::Account::from(old)));
        let new = json!(view::Account::from(new));
        self.note(action, format!("account/{id}"), old, Some(new));
    }

    async fn account_name_is_free(&mut self, account: &Account) -> Result<(), Error> {
        match self.account_named(&account.name).await {
            Err(Error::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
            Ok(id) if id == account.id.0 => Ok(()),
            Ok(id) => Err(Error::Conflict(format!(
                "there is an account named {:?} already (id {id})",
                account.name
            ))),
        }
    }
}

fn destination(account: &Account, index: usize) -> Option<i64> {
    account.destinations[index].map(|DestinationId(id)| signed(id))
}

fn limits_text(account: &Account) -> String {
    json!(view::AccountLimits::from(&account.limits)).to_string()
}

fn read(row: &Row) -> Result<AccountRow, Error> {
    let id = get_u64(row, "id")?;
    let destination = |column| -> Result<Option<DestinationId>, Error> {
        let id: Option<i64> = row.get(column)?;
        Ok(id.map(positive).transpose()?.map(DestinationId))
    };
    let limits: view::AccountLimits = serde_json::from_str(row.get("limits")?)
        .map_err(|_| Error::damaged(format!("limits of account {id}")))?;
    Ok(AccountRow {
        account: Account {
            id: AccountId(id),
            name: row.get("name")?,
            state: if row.get("suspended")? {
                AccountState::Suspended
            } else {
                AccountState::Active
            },
            limits: limits.into(),
            destinations: [
                destination("logs_destination")?,
                destination("metrics_destination")?,
                destination("traces_destination")?,
            ],
        },
        created_at: get_u64(row, "created_at")?,
        revision: get_u64(row, "revision")?,
    })
}
