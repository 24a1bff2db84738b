//! Accounts in the store: what they have set is kept, what holds is computed, so that a main account's change reaches its
//! sub-accounts in the same commit.

mod row;

use std::collections::BTreeSet;

use serde_json::json;

use super::{
    Commit, Store,
    commit::Table,
    database::{On, Query, Value, query},
    get_u64, positive, signed,
    whose::REACHED,
};
use crate::{
    control::{
        Error,
        plan::Plan,
        record::{AccountRow, Settings},
        sayable::none_named,
        view,
    },
    model::{AccountId, Change},
};
pub(super) use row::plan;
use row::{SELECT, read};

/// Which accounts to list.
#[derive(Default)]
pub(crate) struct AccountFilter {
    /// Only that account and the sub-accounts that it reaches.
    pub(crate) home: Option<u64>,
    pub(crate) name: Option<String>,
    /// Only its sub-accounts.
    pub(crate) parent: Option<u64>,
    /// As it holds, the parent's too.
    pub(crate) is_suspended: Option<bool>,
    /// As it holds: a sub-account has its parent's.
    pub(crate) plan: Option<&'static str>,
}

/// An account to be made.
pub(crate) struct NewAccount {
    pub(crate) name: String,
    /// A main account.
    pub(crate) parent: Option<u64>,
    /// Of a main account; a sub-account has its parent's.
    pub(crate) plan: Plan,
    pub(crate) accessible: bool,
    pub(crate) set: Settings,
}

/// What an account is to become.
pub(crate) struct AccountEdit {
    pub(crate) name: String,
    pub(crate) plan: Plan,
    pub(crate) accessible: bool,
    pub(crate) suspended: Option<String>,
    pub(crate) set: Settings,
}

const BY_NAME: &str = "SELECT id FROM accounts WHERE name = $1 AND deleted_at IS NULL";

/// Those after `after`, by id.
fn select(after: u64, limit: u32, filter: &AccountFilter) -> Query {
    let mut select = query(SELECT).and(" AND a.id > $", [signed(after).into()]);
    if let Some(name) = &filter.name {
        select = select.and(" AND a.name = $", [name.into()]);
    }
    if let Some(parent) = filter.parent {
        select = select.and(" AND a.parent_id = $", [signed(parent).into()]);
    }
    if let Some(is_suspended) = filter.is_suspended {
        let holds = " AND (a.suspended OR COALESCE(p.suspended, FALSE)) = $";
        select = select.and(holds, [is_suspended.into()]);
    }
    if let Some(plan) = filter.plan {
        select = select.and(" AND COALESCE(p.plan, a.plan) = $", [plan.into()]);
    }
    if let Some(home) = filter.home {
        let home = || Value::from(signed(home));
        select = select.and(&format!(" AND a.id IN {REACHED}"), [home(), home()]);
    }
    select.and(" ORDER BY a.id LIMIT $", [limit.into()])
}

// === impl Store ===

impl Store {
    /// Those after `after`, by id, `limit` at most.
    pub(crate) async fn accounts(&self, after: u64, limit: u32) -> Result<Vec<AccountRow>, Error> {
        select(after, limit, &AccountFilter::default())
            .read_all(&self.reader, read)
            .await
    }

    /// Of them, those that the filter leaves. May look at every row, so it takes the lists' connections.
    pub(crate) async fn accounts_of(
        &self,
        filter: &AccountFilter,
        after: u64,
        limit: u32,
    ) -> Result<Vec<AccountRow>, Error> {
        select(after, limit, filter)
            .read_all(&self.lister, read)
            .await
    }

    /// That one.
    pub(crate) async fn account(&self, id: u64) -> Result<AccountRow, Error> {
        one(&self.reader, id).await
    }

    /// That account and its sub-accounts, those that are gone too.
    pub(crate) async fn family(&self, id: u64) -> Result<BTreeSet<u64>, Error> {
        query("SELECT id FROM accounts WHERE id = $1 OR parent_id = $1")
            .bind(signed(id))
            .fetch_all(&self.reader)
            .await?
            .iter()
            .map(|row| get_u64(row, "id"))
            .collect()
    }

    /// The id behind a name.
    pub(crate) async fn account_named(&self, name: &str) -> Result<u64, Error> {
        let id = query(BY_NAME).bind(name).fetch_value(&self.reader).await?;
        named(id, name)
    }
}

fn named(id: Option<i64>, name: &str) -> Result<u64, Error> {
    id.map_or_else(|| Err(none_named("account", name)), positive)
}

async fn one(on: impl Into<On<'_>>, id: u64) -> Result<AccountRow, Error> {
    let row = select(id.saturating_sub(1), 1, &AccountFilter::default())
        .read_optional(on, read)
        .await?;
    row.filter(|row| row.account.id.0 == id)
        .ok_or_else(|| Error::NotFound(format!("there is no account {id}")))
}

// === impl Commit ===

impl Commit {
    /// That one, as of this transaction.
    pub(crate) async fn account(&mut self, id: u64) -> Result<AccountRow, Error> {
        one(self.connection()?, id).await
    }

    /// Those with one of the values in that column of ours.
    pub(super) async fn accounts_in(
        &mut self,
        column: &'static str,
        values: &[Value],
    ) -> Result<Vec<AccountRow>, Error> {
        let mut select = query(SELECT).and(&format!(" AND a.{column} IN ("), []);
        for (at, value) in values.iter().enumerate() {
            select = select.and(if at == 0 { "$" } else { ", $" }, [value.clone()]);
        }
        select.and(")", []).read_all(self.connection()?, read).await
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
    pub(crate) async fn insert_account(&mut self, new: NewAccount) -> Result<AccountRow, Error> {
        self.account_name_is_free(&new.name, 0).await?;
        if let Some(parent) = new.parent {
            let main = self.account(parent).await?;
            if main.parent.is_some() {
                return Err(Error::Conflict(format!(
                    "account {parent} is a sub-account; only a main account has sub-accounts"
                )));
            }
            self.has_room_below(&main).await?;
        }
        let id = self.next_id("account").await?;
        query(
            "INSERT INTO accounts (id, name, suspended, limits, parent_id, created_at, revision) \
             VALUES ($1, $2, $3, '{}', $4, $5, 0)",
        )
        .bind(signed(id))
        .bind(&new.name)
        .bind(false)
        .bind(new.parent.map(signed))
        .bind(signed(self.now))
        .execute(self.connection()?)
        .await?;
        let edit = AccountEdit {
            name: new.name,
            plan: new.plan,
            accessible: new.accessible,
            suspended: None,
            set: new.set,
        };
        self.write_account(id, &edit).await?;
        let row = self.account(id).await?;
        self.tell_account("account.create", None, &row);
        Ok(row)
    }

    /// Makes of `old` what `edit` says, and of its sub-accounts what follows from it.
    pub(crate) async fn update_account(
        &mut self,
        old: &AccountRow,
        edit: AccountEdit,
    ) -> Result<AccountRow, Error> {
        let id = old.account.id.0;
        self.account_name_is_free(&edit.name, id).await?;
        let before = self.sub_accounts(id).await?;
        self.write_account(id, &edit).await?;
        let row = self.account(id).await?;
        self.tell_account("account.change", Some(old), &row);
        let after = self.sub_accounts(id).await?;
        let was: Vec<_> = std::iter::once(old).chain(&before).collect();
        let is: Vec<_> = std::iter::once(&row).chain(&after).collect();
        self.drop_suspended(&was, &is).await?;
        for (before, after) in before.into_iter().zip(after) {
            if before.account != after.account {
                self.stamp(Table::Accounts, after.account.id.0);
                self.change(Change::Account(after.account));
            }
        }
        Ok(row)
    }

    /// Removes it, unless it has sub-accounts, or tokens that are not revoked. Its tokens stay as hidden tombstones; its
    /// people, its API tokens and its shared tokens end with it.
    pub(crate) async fn delete_account(&mut self, id: u64) -> Result<(), Error> {
        let row = self.account(id).await?;
        let name = &row.account.name;
        let tokens: i64 = query(
            "SELECT count(*) FROM shipping_tokens WHERE account_id = $1 AND revoked_at IS NULL",
        )
        .bind(signed(id))
        .fetch_one(self.connection()?)
        .await?;
        if tokens != 0 {
            return Err(Error::Conflict(format!(
                "account {name:?} has {tokens} tokens that are not revoked; revoke them first"
            )));
        }
        let accounts = self.sub_accounts(id).await?.len();
        if accounts != 0 {
            return Err(Error::Conflict(format!(
                "account {name:?} has {accounts} sub-accounts; delete them first"
            )));
        }
        let now = signed(self.now);
        for end in [
            "UPDATE accounts SET deleted_at = $1, logs_destination = NULL, \
             metrics_destination = NULL, traces_destination = NULL WHERE id = $2",
            "UPDATE shipping_tokens SET deleted_at = $1 WHERE account_id = $2 AND deleted_at IS NULL",
        ] {
            query(end)
                .bind(now)
                .bind(signed(id))
                .execute(self.connection()?)
                .await?;
        }
        self.revoke_api_tokens_of(id).await?;
        self.revoke_shared_tokens_of(id).await?;
        self.delete_users_of(id).await?;
        self.change(Change::AccountRemoved(AccountId(id)));
        self.stamp(Table::Accounts, id);
        let old = json!(view::Account::from(&row));
        self.note("account.delete", format!("account/{id}"), Some(old), None);
        Ok(())
    }

    async fn sub_accounts(&mut self, id: u64) -> Result<Vec<AccountRow>, Error> {
        query(SELECT)
            .and(" AND a.parent_id = $ ORDER BY a.id", [signed(id).into()])
            .read_all(self.connection()?, read)
            .await
    }

    async fn write_account(&mut self, id: u64, edit: &AccountEdit) -> Result<(), Error> {
        let to = edit.set.destinations;
        query(
            "UPDATE accounts SET name = $1, suspended = $2, suspended_reason = $3, accessible = $4, \
             plan = $5, trial_until = $6, limits = $7, logs_destination = $8, logs_inherited = $9, \
             metrics_destination = $10, metrics_inherited = $11, traces_destination = $12, \
             traces_inherited = $13, version = version + 1 WHERE id = $14",
        )
        .bind(&edit.name)
        .bind(edit.suspended.is_some())
        .bind(&edit.suspended)
        .bind(edit.accessible)
        .bind(edit.plan.name())
        .bind(edit.plan.trial_until().map(i64::from))
        .bind(json!(edit.set.limits).to_string())
        .bind(to[0].flatten().map(|to| signed(to.0)))
        .bind(to[0].is_none())
        .bind(to[1].flatten().map(|to| signed(to.0)))
        .bind(to[1].is_none())
        .bind(to[2].flatten().map(|to| signed(to.0)))
        .bind(to[2].is_none())
        .bind(signed(id))
        .execute(self.connection()?)
        .await?;
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

    async fn account_name_is_free(&mut self, name: &str, but_for: u64) -> Result<(), Error> {
        match Error::found(self.account_named(name).await)? {
            Some(id) if id != but_for => Err(Error::Conflict(format!(
                "there is an account named {name:?} already"
            ))),
            _ => Ok(()),
        }
    }
}

// === impl AccountEdit ===

impl From<&AccountRow> for AccountEdit {
    fn from(row: &AccountRow) -> Self {
        Self {
            name: row.account.name.clone(),
            plan: row.plan,
            accessible: row.accessible,
            suspended: row.suspended.clone(),
            set: row.set.clone(),
        }
    }
}
