//! The end of every changing call: the revision, and on request the proof that it is enforced.

use std::time::Duration;

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::warn;
use utoipa::ToSchema;

use super::problem::Problem;
use crate::control::{
    Control, Error,
    publish::{Published, enforcement},
    record::{Millis, rfc3339},
    store::Store,
};

const WAIT_MS_MAX: u64 = 60_000;

/// Whether to answer only when every gateway enforces the change.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Wait {
    wait: Option<For>,
    timeout_ms: Option<u64>,
}

/// The same, for what is refused unless it is meant.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ForcedWait {
    force: bool,
    wait: Option<For>,
    timeout_ms: Option<u64>,
}

/// The same, for what may be held because it takes many live tokens away.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ConfirmedWait {
    confirm: Option<String>,
    wait: Option<For>,
    timeout_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum For {
    Enforced,
}

// === impl Wait ===

impl Wait {
    /// From a query that knows more fields.
    pub(super) fn read(wait: Option<&str>, timeout_ms: Option<u64>) -> Result<Self, Problem> {
        let wait = match wait {
            None => None,
            Some("enforced") => Some(For::Enforced),
            Some(_) => return Err(Problem::invalid("wait is enforced")),
        };
        Ok(Self { wait, timeout_ms })
    }

    /// Before anything is changed: a bad query must not come after a good commit.
    pub(super) fn duration(&self, control: &Control) -> Result<Option<Duration>, Problem> {
        let longest = Duration::from_millis(WAIT_MS_MAX);
        let wait = match self.timeout_ms {
            None => control.inner.config.enforced_wait.min(longest),
            Some(millis) if millis <= WAIT_MS_MAX => Duration::from_millis(millis),
            Some(_) => {
                return Err(Problem::invalid(format!(
                    "timeout_ms may be {WAIT_MS_MAX} at most"
                )));
            }
        };
        Ok(self.wait.as_ref().map(|For::Enforced| wait))
    }
}

// === impl ForcedWait ===

impl ForcedWait {
    /// Whether it is meant, and what to wait for.
    pub(super) fn parts(self) -> (bool, Wait) {
        let Self {
            force,
            wait,
            timeout_ms,
        } = self;
        (force, Wait { wait, timeout_ms })
    }
}

impl From<Wait> for ForcedWait {
    fn from(Wait { wait, timeout_ms }: Wait) -> Self {
        Self {
            force: false,
            wait,
            timeout_ms,
        }
    }
}

// === impl ConfirmedWait ===

impl ConfirmedWait {
    /// How many tokens are meant to end, and what to wait for.
    pub(super) fn parts(self) -> Result<(u64, Wait), Problem> {
        let Self {
            confirm,
            wait,
            timeout_ms,
        } = self;
        let confirmed = match confirm {
            None => 0,
            Some(text) => text
                .strip_prefix("dropped-")
                .filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|number| number.parse().ok())
                .ok_or_else(|| {
                    Problem::invalid(
                        "confirm is dropped- with the number of tokens that a refusal has stated",
                    )
                })?,
        };
        Ok((confirmed, Wait { wait, timeout_ms }))
    }
}

/// The object with its revision; with its enforcement when that is waited for, 202 when the time was too short.
pub(super) async fn answer(
    control: &Control,
    published: Published,
    wait: Option<Duration>,
    status: StatusCode,
    object: impl Serialize,
) -> Result<Response, Problem> {
    let mut object = json!(object);
    object["revision"] = json!(published.revision);
    let Some(wait) = wait else {
        return Ok((status, axum::Json(object)).into_response());
    };
    let enforcement = enforcement(&control.inner.store, published, wait).await;
    let status = if enforcement.laggards.is_empty() {
        status
    } else {
        StatusCode::ACCEPTED
    };
    object["enforcement"] = json!(enforcement);
    Ok((status, axum::Json(object)).into_response())
}

/// What a change has ended.
#[derive(Clone, Copy)]
pub(super) enum Ended {
    Token(u64),
    /// All tokens of an account, and of its sub-accounts.
    Account(u64),
}

/// The same of what ends tokens: the proof says when one of them was last accepted; null if nothing is known of that. It lacks
/// the field if the store can't be asked: what was changed was changed.
pub(super) async fn answer_end(
    control: &Control,
    published: Published,
    wait: Option<Duration>,
    ended: Ended,
    object: impl Serialize,
) -> Result<Response, Problem> {
    let mut object = json!(object);
    object["revision"] = json!(published.revision);
    let Some(wait) = wait else {
        return Ok((StatusCode::OK, axum::Json(object)).into_response());
    };
    let store = &control.inner.store;
    let enforcement = enforcement(store, published, wait).await;
    // After all have acknowledged: what they accepted before is said by then, here or with the usage of an earlier time.
    let last = ended.last_accepted(store).await;
    let status = if enforcement.laggards.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    object["enforcement"] = json!(enforcement);
    match last {
        Ok(last) => object["enforcement"]["last_accepted_at"] = json!(last.map(rfc3339)),
        Err(error) => warn!(%error, "a proof that can't say when it was last accepted"),
    }
    Ok((status, axum::Json(object)).into_response())
}

// === impl Ended ===

impl Ended {
    async fn last_accepted(self, store: &Store) -> Result<Option<Millis>, Error> {
        let gateways = &store.publisher().gateways;
        match self {
            Self::Token(id) => {
                let said = gateways.accepted(id);
                let told = store.token_uses(&[id]).await?;
                let told = told.get(&id).map(|used| used.last_accepted_at);
                Ok(said.max(told.filter(|at| *at != 0)))
            }
            Self::Account(id) => {
                let family = store.family(id).await?;
                let said = gateways.accepted_of(&family);
                let mut last = said.last.max(store.last_accepted_in(id).await?);
                // Only what would make a difference.
                let mut others = said.others;
                others.retain(|(_, at)| Some(*at) > last);
                let ids: Vec<_> = others.iter().map(|(token, _)| *token).collect();
                let owners = store.owners(&ids).await?;
                let is_theirs = |token: &u64| {
                    let owner = owners.get(token);
                    owner.is_some_and(|(account, _)| family.contains(account))
                };
                for (token, at) in &others {
                    if is_theirs(token) {
                        last = last.max(Some(*at));
                    }
                }
                Ok(last)
            }
        }
    }
}

/// A page of a list.
#[derive(Serialize, ToSchema)]
pub(super) struct Items<T> {
    items: Vec<T>,
    /// What to pass as `after` for the next page; null on the last one.
    next: Option<u64>,
}

/// A page of at most `limit` out of one row more than that, as rows are shown.
pub(super) fn page<T>(
    rows: impl IntoIterator<Item: Into<T>>,
    limit: u32,
    id: impl Fn(&T) -> u64,
) -> Items<T> {
    let mut items: Vec<T> = rows.into_iter().map(Into::into).collect();
    let next = cut(&mut items, limit, id);
    Items { items, next }
}

/// Takes away what is more than a page; what the next one begins after, if there was more.
pub(super) fn cut<T, Key>(rows: &mut Vec<T>, limit: u32, key: impl Fn(&T) -> Key) -> Option<Key> {
    let has_more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    rows.last().filter(|_| has_more).map(key)
}
