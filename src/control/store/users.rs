//! People in the store, and their sessions: only what a password was hashed to, only the digest of a cookie.

use serde_json::json;

use super::{
    Commit, Store, Whose,
    database::{On, Query, Row, query},
    get_some_u64, get_u64,
    room::Kind,
    signed,
};
use crate::{
    control::{
        Error,
        record::{Millis, UserRow},
        scope::Role,
        view,
    },
    model::Digest,
};

/// Sessions of one person at once; the oldest gives way.
const SESSIONS_MAX: i64 = 20;

/// Which people to list.
#[derive(Default)]
pub(crate) struct UserFilter {
    pub(crate) whose: Whose,
    pub(crate) name: Option<String>,
    pub(crate) role: Option<Role>,
}

/// A person to be added.
pub(crate) struct NewUser {
    /// `None` for an operator.
    pub(crate) account: Option<u64>,
    pub(crate) name: String,
    pub(crate) role: Role,
    /// What the password was hashed to.
    pub(crate) password: String,
}

/// From which moments on a session counts.
#[derive(Clone, Copy)]
pub(crate) struct SessionBounds {
    pub(crate) created_after: Millis,
    pub(crate) seen_after: Millis,
}

const SELECT: &str =
    "SELECT id, account_id, name, role, created_by, created_at, updated_at FROM users WHERE id > ";

fn select(after: u64, limit: u32, filter: &UserFilter) -> Query {
    let select = query(SELECT).and("$", [signed(after).into()]);
    let mut select = filter.whose.narrow(select);
    if let Some(name) = &filter.name {
        select = select.and(" AND name = $", [name.into()]);
    }
    if let Some(role) = filter.role {
        select = select.and(" AND role = $", [role.name().into()]);
    }
    select.and(" ORDER BY id LIMIT $", [limit.into()])
}

// === impl Store ===

impl Store {
    /// Those after `after`, by id.
    pub(crate) async fn users(
        &self,
        filter: &UserFilter,
        after: u64,
        limit: u32,
    ) -> Result<Vec<UserRow>, Error> {
        select(after, limit, filter)
            .read_all(&self.lister, read)
            .await
    }

    /// That one.
    pub(crate) async fn user(&self, id: u64) -> Result<UserRow, Error> {
        one(&self.reader, id).await
    }

    /// Who has that name, and what their password was hashed to.
    pub(crate) async fn login(&self, name: &str) -> Result<Option<(u64, String)>, Error> {
        query("SELECT id, password FROM users WHERE name = $1")
            .bind(name)
            .read_optional(&self.reader, |row| {
                Ok((get_u64(row, "id")?, row.get("password")?))
            })
            .await
    }

    /// How many people there ever were.
    pub(crate) async fn user_count(&self) -> Result<u64, Error> {
        super::counter(&self.reader, "user").await
    }
}

async fn one(on: impl Into<On<'_>>, id: u64) -> Result<UserRow, Error> {
    let row = select(id.saturating_sub(1), 1, &UserFilter::default())
        .read_optional(on, read)
        .await?;
    row.filter(|row| row.id == id)
        .ok_or_else(|| Error::NotFound(format!("there is no user {id}")))
}

// === impl Commit ===

impl Commit {
    /// That one, as of this transaction.
    pub(crate) async fn user(&mut self, id: u64) -> Result<UserRow, Error> {
        one(self.connection()?, id).await
    }

    /// How many people there ever were, as of this transaction.
    pub(crate) async fn user_count(&mut self) -> Result<u64, Error> {
        super::counter(self.connection()?, "user").await
    }

    /// Adds one.
    pub(crate) async fn insert_user(&mut self, new: NewUser) -> Result<UserRow, Error> {
        let taken: Option<i64> = query("SELECT id FROM users WHERE name = $1")
            .bind(&new.name)
            .fetch_value(self.connection()?)
            .await?;
        if taken.is_some() {
            return Err(Error::Conflict(format!(
                "there is a user named {:?} already",
                new.name
            )));
        }
        if let Some(account) = new.account {
            self.has_room(Kind::People, account).await?;
        }
        let row = UserRow {
            id: self.next_id("user").await?,
            account: new.account,
            name: new.name,
            role: new.role,
            created_by: self.who().name.clone(),
            created_at: self.now,
            updated_at: self.now,
        };
        query(
            "INSERT INTO users (id, account_id, name, role, password, created_by, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $7)",
        )
        .bind(signed(row.id))
        .bind(row.account.map(signed))
        .bind(&row.name)
        .bind(row.role.name())
        .bind(new.password)
        .bind(&row.created_by)
        .bind(signed(row.created_at))
        .execute(self.connection()?)
        .await?;
        self.tell_user("user.create", None, Some(&row));
        Ok(row)
    }

    /// Another role, another password, or both; every session of theirs ends. Who is the last one to run things goes on.
    pub(crate) async fn update_user(
        &mut self,
        id: u64,
        role: Option<Role>,
        password: Option<String>,
    ) -> Result<UserRow, Error> {
        let old = self.user(id).await?;
        let new = UserRow {
            role: role.unwrap_or(old.role),
            updated_at: self.now,
            ..old.clone()
        };
        if new.role != old.role {
            self.somebody_is_left(&old).await?;
        }
        query("UPDATE users SET role = $1, updated_at = $2, version = version + 1 WHERE id = $3")
            .bind(new.role.name())
            .bind(signed(new.updated_at))
            .bind(signed(id))
            .execute(self.connection()?)
            .await?;
        let has_password = password.is_some();
        if let Some(password) = password {
            query("UPDATE users SET password = $1 WHERE id = $2")
                .bind(password)
                .bind(signed(id))
                .execute(self.connection()?)
                .await?;
        }
        self.end_sessions(id).await?;
        let action = match has_password {
            true => "user.password",
            false => "user.change",
        };
        self.tell_user(action, Some(&old), Some(&new));
        Ok(new)
    }

    /// Removes one, and their sessions; the last one who can run things stays.
    pub(crate) async fn delete_user(&mut self, id: u64) -> Result<(), Error> {
        let old = self.user(id).await?;
        self.somebody_is_left(&old).await?;
        self.end_sessions(id).await?;
        query("DELETE FROM users WHERE id = $1")
            .bind(signed(id))
            .execute(self.connection()?)
            .await?;
        self.tell_user("user.delete", Some(&old), None);
        Ok(())
    }

    /// Removes everybody of an account, and their sessions, each on record by themselves.
    pub(super) async fn delete_users_of(&mut self, account: u64) -> Result<(), Error> {
        let everybody = query(SELECT)
            .and("0 AND account_id = $ ORDER BY id", [signed(account).into()])
            .read_all(self.connection()?, read)
            .await?;
        for delete in [
            "DELETE FROM sessions WHERE user_id IN (SELECT id FROM users WHERE account_id = $1)",
            "DELETE FROM users WHERE account_id = $1",
        ] {
            query(delete)
                .bind(signed(account))
                .execute(self.connection()?)
                .await?;
        }
        for old in &everybody {
            self.tell_user("user.delete", Some(old), None);
        }
        Ok(())
    }

    /// Refuses to do without a person after whom nobody runs their account, or everything. Who runs a main account runs the
    /// sub-accounts that it reaches.
    async fn somebody_is_left(&mut self, but: &UserRow) -> Result<(), Error> {
        let others = query("SELECT id FROM users WHERE id <> $1").bind(signed(but.id));
        let (others, why) = match but.account {
            _ if but.role == Role::Reader => return Ok(()),
            None => (
                others.and(" AND account_id IS NULL", []),
                "is the last operator; add another one first".to_owned(),
            ),
            Some(account) => {
                let row = self.account(account).await?;
                let run_it = [account, row.reached_from().unwrap_or(account)];
                let run_it = run_it.map(|id| signed(id).into());
                (
                    others.and(" AND role = 'admin' AND account_id IN ($, $)", run_it),
                    format!("is the last admin of account {account}; make somebody else one first"),
                )
            }
        };
        let other: Option<i64> = others
            .and(" LIMIT 1", [])
            .fetch_value(self.connection()?)
            .await?;
        let why = || Error::Conflict(format!("{:?} {why}", but.name));
        other.map(drop).ok_or_else(why)
    }

    /// Whether somebody of the account itself runs it.
    pub(crate) async fn has_own_admin(&mut self, account: u64) -> Result<bool, Error> {
        let admin: Option<i64> =
            query("SELECT id FROM users WHERE role = 'admin' AND account_id = $1 LIMIT 1")
                .bind(signed(account))
                .fetch_value(self.connection()?)
                .await?;
        Ok(admin.is_some())
    }

    /// Whether it is still so that this person's password is what it was hashed to.
    pub(crate) async fn has_password(&mut self, id: u64, hash: &str) -> Result<bool, Error> {
        let current: Option<String> = query("SELECT password FROM users WHERE id = $1")
            .bind(signed(id))
            .fetch_value(self.connection()?)
            .await?;
        Ok(current.as_deref() == Some(hash))
    }

    /// Begins a session. Those past their bounds go, everybody's, and the person's oldest where there are too many.
    pub(crate) async fn insert_session(
        &mut self,
        user: u64,
        digest: &Digest,
        bounds: SessionBounds,
    ) -> Result<(), Error> {
        query("DELETE FROM sessions WHERE created_at <= $1 OR seen_at <= $2")
            .bind(signed(bounds.created_after))
            .bind(signed(bounds.seen_after))
            .execute(self.connection()?)
            .await?;
        query(
            "DELETE FROM sessions WHERE user_id = $1 AND digest NOT IN \
             (SELECT digest FROM sessions WHERE user_id = $1 ORDER BY created_at DESC LIMIT $2)",
        )
        .bind(signed(user))
        .bind(SESSIONS_MAX - 1)
        .execute(self.connection()?)
        .await?;
        let (now, address) = (signed(self.now), self.who().address.clone());
        query("INSERT INTO sessions (digest, user_id, address, created_at, seen_at) VALUES ($1, $2, $3, $4, $4)")
            .bind(digest.0.to_vec())
            .bind(signed(user))
            .bind(&address)
            .bind(now)
            .execute(self.connection()?)
            .await?;
        self.note_session("session.begin", user).await?;
        Ok(())
    }

    /// Ends one session.
    pub(crate) async fn end_session(&mut self, user: u64, digest: &Digest) -> Result<(), Error> {
        query("DELETE FROM sessions WHERE digest = $1")
            .bind(digest.0.to_vec())
            .execute(self.connection()?)
            .await?;
        self.note_session("session.end", user).await?;
        Ok(())
    }

    /// In the log of the person's account.
    async fn note_session(&mut self, action: &'static str, user: u64) -> Result<(), Error> {
        let account = self.user(user).await?.account;
        self.note_of(account, action, format!("user/{user}"), None, None);
        Ok(())
    }

    async fn end_sessions(&mut self, user: u64) -> Result<(), Error> {
        query("DELETE FROM sessions WHERE user_id = $1")
            .bind(signed(user))
            .execute(self.connection()?)
            .await?;
        Ok(())
    }

    fn tell_user(&mut self, action: &'static str, old: Option<&UserRow>, new: Option<&UserRow>) {
        let id = old.or(new).map_or(0, |row| row.id);
        let [old, new] = [old, new].map(|row| row.map(|row| json!(view::User::from(row))));
        self.note(action, format!("user/{id}"), old, new);
    }
}

fn read(row: &Row) -> Result<UserRow, Error> {
    Ok(UserRow {
        id: get_u64(row, "id")?,
        account: get_some_u64(row, "account_id")?,
        name: row.get("name")?,
        role: Role::parse(row.get("role")?)
            .ok_or_else(|| Error::damaged("a role that there is not"))?,
        created_by: row.get("created_by")?,
        created_at: get_u64(row, "created_at")?,
        updated_at: get_u64(row, "updated_at")?,
    })
}
