//! `Idempotency-Key`: whoever asks again whether something was made gets the first answer, and no second one is made.

use axum::{
    Json,
    extract::FromRequestParts as _,
    http::{HeaderMap, HeaderValue, StatusCode, request::Parts},
    response::{IntoResponse, Response},
};

use super::{
    caller::Permit,
    enforced::{Wait, answer},
    extract::Query,
    problem::Problem,
    rule::{Place, Rule, forbidden},
};
use crate::{
    control::{
        Control, Error,
        store::{Answer, Store},
        terms::Once,
    },
    model::{Digest, TokenState},
};

const HEADER: &str = "idempotency-key";
/// Said of an answer that was given before.
const REPLAYED: &str = "idempotent-replayed";
const KEY_BYTES_MAX: usize = 255;

/// Whether something was asked before.
pub(super) enum Asked {
    /// Nobody says that it may not be done twice.
    Freely,
    /// Under a key that is new.
    First(Once),
    /// Under a key that has its answer.
    Again(Response),
}

/// What the request's key says, if it makes something and has one. Whoever asks was let in already, and whose account the
/// first answer is about is looked at again: what they reach no more, they don't get to read.
pub(super) async fn asked(
    control: &Control,
    rule: &Rule,
    permit: &Permit,
    parts: &mut Parts,
    body: &[u8],
) -> Result<Asked, Problem> {
    if !rule.makes() {
        return Ok(Asked::Freely);
    }
    let Some(key) = digest(control, permit, &parts.headers)? else {
        return Ok(Asked::Freely);
    };
    let store = &control.inner.store;
    let mut request = hasher(parts);
    request.update(body);
    let once = Once {
        key,
        request: *request.finalize().as_bytes(),
    };
    match store.answer(&once.key).await? {
        None => Ok(Asked::First(once)),
        Some(first) if first.request == once.request => Ok(Asked::Again(
            again(control, rule, permit, parts, first).await?,
        )),
        Some(_) => Err(of_another()),
    }
}

/// By what the answer to the request's key is found; `None` when it has no key.
pub(super) fn digest(
    control: &Control,
    permit: &Permit,
    headers: &HeaderMap,
) -> Result<Option<Digest>, Problem> {
    let Some(key) = key(headers).transpose()? else {
        return Ok(None);
    };
    let caller = permit.caller.who().name;
    // No token has a NUL, so this is no token's digest.
    let text = format!("answer\0{caller}\0{key}");
    let digest_key = control.inner.store.digest_key();
    Ok(Some(digest_key.digest(text.as_bytes())))
}

/// Said of a key that was used for something else.
pub(super) fn of_another() -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "this Idempotency-Key stands for another request of the last 24 hours; take a new key for a new request",
    )
}

/// An answer that was given before.
pub(super) fn replayed(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

/// `None` when there is none.
fn key(headers: &HeaderMap) -> Option<Result<String, Problem>> {
    let mut values = headers.get_all(HEADER).iter();
    let value = values.next()?;
    let key = value.to_str().ok().filter(|key| {
        (1..=KEY_BYTES_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
    });
    Some(match (key, values.next()) {
        (Some(key), None) => Ok(key.to_owned()),
        _ => Err(Problem::invalid(format!(
            "Idempotency-Key stands there once, with 1 to {KEY_BYTES_MAX} visible ASCII characters"
        ))),
    })
}

/// For a hash of method, path and the body that follows. What is waited for may differ from one time to the next.
pub(super) fn hasher(parts: &Parts) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new();
    for part in [parts.method.as_str(), parts.uri.path()] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher
}

async fn again(
    control: &Control,
    rule: &Rule,
    permit: &Permit,
    parts: &mut Parts,
    first: Answer,
) -> Result<Response, Problem> {
    let store = &control.inner.store;
    match first.account {
        Some(id) => permit.asks(&Place::account(&store.account(id).await?))?,
        None if permit.home().is_some() => return Err(forbidden("only an operator may do that")),
        None => {}
    }
    let mut wait = None;
    if first.revision.is_some() {
        let Query(query) = Query::<Wait>::from_request_parts(parts, control).await?;
        wait = query.duration(control)?;
    }
    if first.object["token"].is_string() {
        reveal(store, rule, permit, &first).await?;
    }
    let response = match first.revision {
        Some(revision) => {
            let published = store.publisher().published(revision);
            answer(control, published, wait, StatusCode::CREATED, first.object).await?
        }
        None => (StatusCode::CREATED, Json(first.object)).into_response(),
    };
    Ok(replayed(response))
}

/// A token that is shown once more is one that is revealed: the record first, and nothing is left to reveal of one that has
/// been revoked since.
async fn reveal(
    store: &Store,
    rule: &Rule,
    permit: &Permit,
    first: &Answer,
) -> Result<(), Problem> {
    let id = first.object["id"].as_u64().unwrap_or(0);
    let mut commit = store.begin(permit.errand()).await?;
    if let Some(account) = first.account {
        // Once more, as of this transaction.
        permit.asks(&Place::account(&commit.account(account).await?))?;
    }
    let (kind, is_there) = match rule.path {
        "/api-tokens" => {
            let row = Error::found(commit.api_token(id).await)?;
            let is_there = row.is_some_and(|row| row.revoked_at.is_none());
            ("api_token", is_there)
        }
        "/shared-tokens" => {
            let row = Error::found(commit.shared_token(id).await)?;
            let is_there = row.is_some_and(|row| row.revoked_at.is_none());
            ("shared_token", is_there)
        }
        _ => {
            let row = Error::found(commit.token(id).await)?;
            let is_there = row.is_some_and(|row| row.token.state != TokenState::Revoked);
            ("token", is_there)
        }
    };
    let subject = format!("{kind}/{id}");
    if !is_there {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            format!(
                "{subject} was made under this Idempotency-Key and is revoked by now, so it is not shown again; \
                 take a new key to make another one"
            ),
        ));
    }
    commit.note_of(first.account, "answer.again", subject, None, None);
    commit.finish_unpublished().await?;
    Ok(())
}
