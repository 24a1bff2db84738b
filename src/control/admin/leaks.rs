//! `/leaks`: a token that was found where it should not be. It stands in the body, never in a URL, and nowhere afterwards.

use axum::{
    Extension, Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{
    Actor,
    caller::Permit,
    enforced::{Ended, Wait, answer_end},
    extract::{Query, SecretBody},
    problem::Problem,
    rule::{Place, forbidden},
    written,
};
use crate::{
    clock,
    control::{
        Control, Error,
        record::{AccountRow, ApiTokenRow, SharedTokenRow, TokenRow, rfc3339, rfc3339_seconds},
        scope::Scope,
        store::{Leaked, LeakedToken, Store},
        view,
    },
    model::{Digest, DigestKey, Secret},
};

/// What was found, and whether to end it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LeakBody {
    /// The token; or its digest.
    token: Option<String>,
    /// 32 hexadecimal digits, as gateways know a token.
    digest: Option<String>,
    /// Refuse it for ever; without a word of who still uses it.
    #[serde(default)]
    revoke: bool,
}

/// What a token is.
#[derive(Serialize, ToSchema)]
struct Leak {
    /// `shipping`, `api` or `shared`.
    kind: &'static str,
    id: u64,
    /// Whose it is; null for an operator's.
    account: Option<u64>,
    account_name: Option<String>,
    /// What a shipping token ships.
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<&'static str>,
    name: String,
    /// `live`, `disabled`, `revoked` or `expired`.
    state: &'static str,
    /// In no list any more; such a token is revoked.
    deleted: bool,
    expires_at: Option<String>,
    /// Null when it never was; up to a minute old.
    last_used_at: Option<String>,
}

/// Says what a token is that was found in the wild, and revokes it when asked. Only what the caller reaches is known; an API
/// token takes the scope `accounts`.
#[utoipa::path(post, path = "/leaks", request_body = LeakBody,
    params(("wait" = Option<String>, Query), ("timeout_ms" = Option<u64>, Query)),
    responses((status = 200, body = Leak), (status = 404, body = Problem)))]
pub(super) async fn report(
    State(control): State<Control>,
    Extension(Actor(actor)): Extension<Actor>,
    Extension(permit): Extension<Permit>,
    Query(wait): Query<Wait>,
    SecretBody(body): SecretBody<LeakBody>,
) -> Result<Response, Problem> {
    let wait = wait.duration(&control)?;
    let is_ended = body.revoke;
    let store = &control.inner.store;
    let Some(digest) = body.digest(store.digest_key())? else {
        return Err(unknown());
    };
    let found = store.leaked(&digest).await?.ok_or_else(unknown)?;
    let place = match found.account() {
        Some(id) => Place::of(NOTHING.to_owned(), &account(store, id).await?),
        None => Place::operators(NOTHING.to_owned()),
    };
    permit.asks(&place)?;
    if matches!(found.token, LeakedToken::Api(_)) && !permit.caller.scopes().has(Scope::Accounts) {
        return Err(forbidden(
            "this is an API token, and that needs the scope accounts",
        ));
    }
    let mut leak = Leak::of(store, &found).await?;
    let id = leak.id;
    let is_shipping = matches!(found.token, LeakedToken::Shipping(_));
    let mut commit = store.begin(&actor).await?;
    commit.names_token();
    if let Some(id) = leak.account {
        // Once more, as of this transaction.
        let row = Error::found(commit.account(id).await)?.ok_or_else(unknown)?;
        permit.asks(&Place::of(NOTHING.to_owned(), &row))?;
    }
    if is_ended {
        let now = clock::wall_seconds();
        leak.state = match found.token {
            LeakedToken::Shipping(_) => commit.revoke_found_token(id).await?.state(now),
            LeakedToken::Api(_) => {
                view::ApiToken::from(&commit.revoke_api_token(id).await?).state()
            }
            LeakedToken::Shared(row) if found.is_deleted => row.state(now),
            LeakedToken::Shared(_) => commit.revoke_shared_token(id).await?.state(now),
        };
    }
    let noted = json!({"account": leak.account, "state": leak.state, "revoke": is_ended});
    commit.note_of(
        leak.account,
        "leak.report",
        leak.subject(),
        None,
        Some(noted),
    );
    if is_ended && is_shipping {
        let published = commit.finish().await?;
        return answer_end(&control, published, wait, Ended::Token(id), leak).await;
    }
    written::done(commit, leak).await.map(Json::into_response)
}

/// What is not there, and what the caller may not know of.
const NOTHING: &str = "such token";

fn unknown() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is no {NOTHING}"))
}

/// Whose it is. With an account that was deleted, all that was its own is gone.
async fn account(store: &Store, id: u64) -> Result<AccountRow, Problem> {
    Error::found(store.account(id).await)?.ok_or_else(unknown)
}

// === impl LeakBody ===

impl LeakBody {
    /// `None` for what can't be a token at all.
    fn digest(self, key: &DigestKey) -> Result<Option<Digest>, Problem> {
        match (self.token, self.digest) {
            (Some(token), None) => {
                let token = Secret::new(token);
                let is_one = token.is_well_formed_token();
                Ok(is_one.then(|| key.digest(token.reveal().as_bytes())))
            }
            (None, Some(digest)) => read(&digest)
                .map(Some)
                .ok_or_else(|| Problem::invalid("digest has 32 hexadecimal digits")),
            _ => Err(Problem::invalid("give token, or digest, and not both")),
        }
    }
}

fn read(hex: &str) -> Option<Digest> {
    let is_hex = hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = is_hex.then(|| u128::from_str_radix(hex, 16).ok())??;
    Some(Digest(number.to_be_bytes()))
}

// === impl Leak ===

impl Leak {
    /// With what its own row doesn't tell.
    async fn of(store: &Store, found: &Leaked) -> Result<Self, Problem> {
        let mut leak = match &found.token {
            LeakedToken::Shipping(row) => Self::from(row),
            LeakedToken::Api(row) => Self::from(row),
            LeakedToken::Shared(row) => Self::from(row),
        };
        leak.deleted = found.is_deleted;
        if let LeakedToken::Shipping(_) = found.token {
            let used = store.token_uses(&[leak.id]).await?;
            leak.last_used_at = used.values().next().map(|used| rfc3339(used.last_used_at));
        } else if let Some(id) = leak.account {
            leak.account_name = Some(account(store, id).await?.account.name);
        }
        Ok(leak)
    }

    fn subject(&self) -> String {
        match self.kind {
            "api" => format!("api_token/{}", self.id),
            "shared" => format!("shared_token/{}", self.id),
            _ => format!("token/{}", self.id),
        }
    }
}

impl From<&TokenRow> for Leak {
    fn from(row: &TokenRow) -> Self {
        Self {
            kind: "shipping",
            id: row.token.id.0,
            account: Some(row.token.account.0),
            account_name: Some(row.account_name.clone()),
            signal: Some(row.token.signal.name()),
            name: row.name.clone(),
            state: row.state(clock::wall_seconds()),
            deleted: false,
            expires_at: rfc3339_seconds(row.token.expires_at),
            last_used_at: None,
        }
    }
}

impl From<&SharedTokenRow> for Leak {
    fn from(row: &SharedTokenRow) -> Self {
        Self {
            kind: "shared",
            id: row.id,
            account: Some(row.account),
            account_name: None,
            signal: None,
            name: row.name.clone(),
            state: row.state(clock::wall_seconds()),
            deleted: false,
            expires_at: rfc3339_seconds(row.expires_at),
            last_used_at: row.last_used_at.map(rfc3339),
        }
    }
}

impl From<&ApiTokenRow> for Leak {
    fn from(row: &ApiTokenRow) -> Self {
        Self {
            kind: "api",
            id: row.id,
            account: row.account,
            account_name: None,
            signal: None,
            name: row.name.clone(),
            state: view::ApiToken::from(row).state(),
            deleted: false,
            expires_at: rfc3339_seconds(row.expires_at),
            last_used_at: row.last_used_at.map(rfc3339),
        }
    }
}
