//! Who a token or a session stands for, as the store has it at this moment: nothing of it is remembered.

use super::{
    Commit, Store,
    accounts::plan,
    database::{Row, query},
    get_some_u64, get_u64, signed,
};
use crate::{
    control::{
        Error,
        plan::Plan,
        record::Millis,
        scope::{Role, Scopes},
    },
    model::Digest,
};

/// Somebody who may ask.
#[derive(Clone, Debug)]
pub(crate) struct CallerRow {
    pub(crate) is: CallerIs,
    /// `None` for operators and their tokens.
    pub(crate) home: Option<HomeRow>,
    pub(crate) scopes: Scopes,
    /// When that was last written down.
    pub(crate) used_at: Millis,
}

/// What stands behind a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallerIs {
    ApiToken {
        id: u64,
        /// Seconds since 1970, 0 = never.
        expires_at: u32,
    },
    User {
        id: u64,
        name: String,
        role: Role,
        session: Digest,
        since: Millis,
    },
}

/// The account somebody belongs to.
#[derive(Clone, Debug)]
pub(crate) struct HomeRow {
    pub(crate) id: u64,
    pub(crate) plan: Plan,
    /// Why it is suspended, itself or with its main account.
    pub(crate) suspended: Option<String>,
}

/// The account behind a row, where `a` is that account and `p` its main account.
pub(super) const HOME: &str = "a.id AS home, a.suspended, a.suspended_reason, p.suspended AS main_suspended, \
     COALESCE(p.plan, a.plan) AS plan, \
     CASE WHEN p.id IS NULL THEN a.trial_until ELSE p.trial_until END AS trial_until";

// === impl Store ===

impl Store {
    /// Whose API token has that digest; expired ones too.
    pub(crate) async fn caller_by_token(
        &self,
        digest: &Digest,
    ) -> Result<Option<CallerRow>, Error> {
        let sql = format!(
            "SELECT t.id, t.scopes, t.expires_at, t.last_used_at, {HOME} FROM api_tokens t \
             LEFT JOIN accounts a ON a.id = t.account_id LEFT JOIN accounts p ON p.id = a.parent_id \
             WHERE t.digest = $1 AND t.revoked_at IS NULL AND a.deleted_at IS NULL"
        );
        let row = query(sql)
            .bind(digest.0.to_vec())
            .fetch_optional(&self.reader)
            .await?;
        row.map(|row| {
            Ok(CallerRow {
                is: CallerIs::ApiToken {
                    id: get_u64(&row, "id")?,
                    expires_at: row.get::<i64, _>("expires_at")?.try_into().unwrap_or(1),
                },
                home: home(&row)?,
                scopes: Scopes::parse(row.get("scopes")?)
                    .ok_or_else(|| Error::damaged("scopes that there are not"))?,
                used_at: get_some_u64(&row, "last_used_at")?.unwrap_or(0),
            })
        })
        .transpose()
    }

    /// Whose session has that digest; ended ones too.
    pub(crate) async fn caller_by_session(
        &self,
        digest: &Digest,
    ) -> Result<Option<CallerRow>, Error> {
        let sql = format!(
            "SELECT u.id, u.name, u.role, s.created_at, s.seen_at, {HOME} FROM sessions s \
             JOIN users u ON u.id = s.user_id \
             LEFT JOIN accounts a ON a.id = u.account_id LEFT JOIN accounts p ON p.id = a.parent_id \
             WHERE s.digest = $1 AND a.deleted_at IS NULL"
        );
        let row = query(sql)
            .bind(digest.0.to_vec())
            .fetch_optional(&self.reader)
            .await?;
        row.map(|row| {
            let role = Role::parse(row.get("role")?)
                .ok_or_else(|| Error::damaged("a role that there is not"))?;
            Ok(CallerRow {
                is: CallerIs::User {
                    id: get_u64(&row, "id")?,
                    name: row.get("name")?,
                    role,
                    session: *digest,
                    since: get_u64(&row, "created_at")?,
                },
                home: home(&row)?,
                scopes: role.scopes(),
                used_at: get_u64(&row, "seen_at")?,
            })
        })
        .transpose()
    }

    /// Writes down that it was used now.
    pub(crate) async fn touch(&self, caller: &CallerIs) -> Result<(), Error> {
        let mut commit = self.begin("use").await?;
        commit.touch(caller).await?;
        commit.finish_unpublished().await
    }
}

pub(super) fn home(row: &Row) -> Result<Option<HomeRow>, Error> {
    let Some(id) = get_some_u64(row, "home")? else {
        return Ok(None);
    };
    let reason: Option<String> = row.get("suspended_reason")?;
    let main_suspended: Option<bool> = row.get("main_suspended")?;
    let suspended = if row.get("suspended")? {
        Some(reason.unwrap_or_default())
    } else {
        (main_suspended == Some(true)).then(|| "its main account is suspended".to_owned())
    };
    Ok(Some(HomeRow {
        id,
        plan: plan(row, "plan", "trial_until")?,
        suspended,
    }))
}

// === impl Commit ===

impl Commit {
    async fn touch(&mut self, caller: &CallerIs) -> Result<(), Error> {
        let now = signed(self.now);
        let update = match caller {
            CallerIs::ApiToken { id, .. } => {
                query("UPDATE api_tokens SET last_used_at = $1 WHERE id = $2")
                    .bind(now)
                    .bind(signed(*id))
            }
            CallerIs::User { session, .. } => {
                query("UPDATE sessions SET seen_at = $1 WHERE digest = $2")
                    .bind(now)
                    .bind(session.0.to_vec())
            }
        };
        update.execute(self.connection()?).await?;
        Ok(())
    }
}

// === impl CallerIs ===

impl CallerIs {
    /// For the audit log.
    pub(crate) fn subject(&self) -> String {
        match self {
            Self::ApiToken { id, .. } => format!("api_token/{id}"),
            Self::User { id, .. } => format!("user/{id}"),
        }
    }
}
