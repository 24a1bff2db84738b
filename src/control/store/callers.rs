//! Who a token or a session stands for, as the store has it at this moment: nothing of it is remembered.

use super::{
    Commit, Store,
    accounts::plan,
    database::{On, Row, Value, query},
    get_some_u64, get_u64, signed,
};
use crate::{
    clock,
    control::{
        Error,
        plan::Plan,
        record::{self, Millis},
        scope::{Role, Scopes},
        terms::Standing,
    },
    model::Digest,
};

/// How long a session lasts, whatever happens in it, and how long without a request.
pub(crate) const SESSION_ABSOLUTE_MS: Millis = 12 * 3_600_000;
pub(crate) const SESSION_IDLE_MS: Millis = 3_600_000;

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
        by_token(&self.reader, "digest", digest.0.to_vec().into()).await
    }

    /// Whose session has that digest; ended ones too.
    pub(crate) async fn caller_by_session(
        &self,
        digest: &Digest,
    ) -> Result<Option<CallerRow>, Error> {
        by_session(&self.reader, digest).await
    }

    /// Writes down that it was used now.
    pub(crate) async fn touch(&self, caller: &CallerIs) -> Result<(), Error> {
        let mut commit = self.begin("use").await?;
        commit.touch(caller).await?;
        commit.finish_unpublished().await
    }
}

/// Whose API token has that value in that column; expired ones too.
async fn by_token(
    on: impl Into<On<'_>>,
    column: &'static str,
    value: Value,
) -> Result<Option<CallerRow>, Error> {
    let sql = format!(
        "SELECT t.id, t.scopes, t.expires_at, t.last_used_at, {HOME} FROM api_tokens t \
         LEFT JOIN accounts a ON a.id = t.account_id LEFT JOIN accounts p ON p.id = a.parent_id \
         WHERE t.{column} = $1 AND t.revoked_at IS NULL AND a.deleted_at IS NULL"
    );
    let row = query(sql).bind(value).fetch_optional(on).await?;
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
async fn by_session(on: impl Into<On<'_>>, digest: &Digest) -> Result<Option<CallerRow>, Error> {
    let sql = format!(
        "SELECT u.id, u.name, u.role, s.created_at, s.seen_at, {HOME} FROM sessions s \
         JOIN users u ON u.id = s.user_id \
         LEFT JOIN accounts a ON a.id = u.account_id LEFT JOIN accounts p ON p.id = a.parent_id \
         WHERE s.digest = $1 AND a.deleted_at IS NULL"
    );
    let row = query(sql)
        .bind(digest.0.to_vec())
        .fetch_optional(on)
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
    /// Refuses to work for who may not ask for it any more. They were let in a while ago: since then they have waited for the
    /// writer, perhaps for a password's hash before it, and nobody can be revoked from here to the commit.
    pub(super) async fn still_stands(&mut self) -> Result<(), Error> {
        let Some(Standing {
            caller,
            is_for_stopped,
            place,
        }) = self.terms().standing.clone()
        else {
            return Ok(());
        };
        let found = match &caller.is {
            CallerIs::ApiToken { id, .. } => {
                by_token(self.connection()?, "id", signed(*id).into()).await?
            }
            CallerIs::User { session, .. } => by_session(self.connection()?, session).await?,
        };
        let found = found
            .filter(|row| row.is == caller.is && !row.is_over(record::now()))
            .ok_or(Error::CallerEnded)?;
        if let Some(why) = found.stopped()
            && !is_for_stopped
        {
            return Err(Error::CallerStopped(why));
        }
        match (found.home, place) {
            (Some(home), Some((name, account))) if account != home.id => {
                let row = Error::found(self.account(account).await)?;
                match row.and_then(|row| row.reached_from()) == Some(home.id) {
                    true => Ok(()),
                    false => Err(Error::NotFound(format!("there is no {name}"))),
                }
            }
            _ => Ok(()),
        }
    }

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

// === impl CallerRow ===

impl CallerRow {
    /// Whether the token or the session is past its end.
    pub(crate) fn is_over(&self, now: Millis) -> bool {
        match self.is {
            CallerIs::ApiToken { expires_at, .. } => {
                expires_at != 0 && Millis::from(expires_at) * 1000 <= now
            }
            CallerIs::User { since, .. } => {
                since.saturating_add(SESSION_ABSOLUTE_MS) <= now
                    || self.used_at.saturating_add(SESSION_IDLE_MS) <= now
            }
        }
    }

    /// Why nothing is for them at the moment.
    pub(crate) fn stopped(&self) -> Option<String> {
        let home = self.home.as_ref()?;
        if let Some(reason) = &home.suspended {
            let colon = if reason.is_empty() { "" } else { ": " };
            return Some(format!("account {} is suspended{colon}{reason}", home.id));
        }
        let plan = home.plan;
        let is_token = matches!(self.is, CallerIs::ApiToken { .. });
        (is_token && !plan.has_api_tokens(clock::wall_seconds())).then(|| {
            format!(
                "plan {} of account {} has no API tokens{}",
                plan.name(),
                home.id,
                if plan.trial_until().is_some() {
                    " any more"
                } else {
                    ""
                }
            )
        })
    }
}
