//! `/session`: people log in, see who they are, change their password, and log out.

use axum::{
    Extension, Json,
    extract::{FromRequest as _, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Actor, caller::Permit, cookie, extract::SecretBody, origin, problem::Problem, refused,
    throttle::Failing,
};
use crate::{
    control::{
        Control, password,
        record::{self, Who, rfc3339},
        scope::Role,
        store::{CallerIs, CallerRow, SESSION_ABSOLUTE_MS, SESSION_IDLE_MS, SessionBounds},
    },
    model::Secret,
};

/// A name and its password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    name: String,
    password: String,
}

/// The old password and the new one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPassword {
    password: String,
    new_password: String,
}

/// Who somebody is here.
#[derive(Serialize, ToSchema)]
pub(super) struct Session {
    /// `user/3` or `api_token/1`.
    caller: String,
    /// A person's.
    name: Option<String>,
    role: Option<Role>,
    /// Whose they are; null for operators and their tokens.
    account: Option<u64>,
    scopes: Vec<&'static str>,
    /// Goes with every change as `X-CSRF-Token`, when the session's cookie is what proves who asks.
    csrf_token: Option<String>,
    /// When the session ends at the latest; it ends earlier when it is not used.
    ends_at: Option<String>,
}

/// Logs a person in: the answer sets the cookie that stands for them, and says what goes with every change.
#[utoipa::path(post, path = "/session", request_body = Login,
    responses((status = 201, body = Session), (status = 401, body = Problem), (status = 429, body = Problem)))]
pub(super) async fn begin(
    State(control): State<Control>,
    request: Request,
) -> Result<Response, Problem> {
    // A page of another site can send a form, but no JSON without asking first. Before the body: a form is no bad JSON.
    if !is_json(request.headers()) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send name and password as application/json",
        ));
    }
    let address = origin::address(&control, request.headers(), request.extensions());
    let SecretBody(login) = SecretBody::<Login>::from_request(request, &control).await?;
    let who = |name: String| Who {
        name,
        address: address.map(|address| address.to_string()),
    };
    let password = Secret::new(login.password);
    let tries = [Failing::User(&login.name), Failing::Address(address)];
    charge(&control, &tries)?;
    // No database of ours holds a name with one; looked for as the name that nobody has.
    let name = match login.name.contains('\0') {
        true => String::new(),
        false => login.name.clone(),
    };
    let Some((user, hash)) = proven(&control, &name, &password).await? else {
        refused::login(&control, who("nobody".to_owned()), name);
        return Err(wrong_password());
    };
    refund(&control, &tries);
    let who = who(format!("user/{user}"));
    let (row, secret) = log_in(&control, &who, user, &hash).await?;
    let home = row.home.map(|home| home.id);
    let session = Session::new(&row.is, home, row.scopes, Some(&secret));
    let mut answer = (StatusCode::CREATED, Json(session)).into_response();
    set_cookie(&mut answer, &cookie::set(&secret));
    Ok(answer)
}

/// Whether the body says that it is JSON, with or without parameters.
fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .and_then(|kind| kind.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// Begins a session for who has proven to be that person.
async fn log_in(
    control: &Control,
    who: &Who,
    user: u64,
    hash: &str,
) -> Result<(CallerRow, Secret), Problem> {
    let store = &control.inner.store;
    let secret = cookie::mint();
    let digest = store.digest_key().digest(secret.reveal().as_bytes());
    let now = record::now();
    let bounds = SessionBounds {
        created_after: now.saturating_sub(SESSION_ABSOLUTE_MS),
        seen_after: now.saturating_sub(SESSION_IDLE_MS),
    };
    let mut commit = store.begin(who).await?;
    // Once more, inside the transaction: a password that was changed meanwhile opens nothing.
    if !commit.has_password(user, hash).await? {
        return Err(wrong_password());
    }
    commit.insert_session(user, &digest, bounds).await?;
    commit.finish_unpublished().await?;
    let row = store.caller_by_session(&digest).await?;
    row.map(|row| (row, secret)).ok_or_else(wrong_password)
}

/// Shows who the caller is.
#[utoipa::path(get, path = "/session", responses((status = 200, body = Session)))]
pub(super) async fn show(
    Extension(permit): Extension<Permit>,
    headers: HeaderMap,
) -> Json<Session> {
    let caller = &permit.caller;
    let secret = caller.is_person().then(|| cookie::read(&headers)).flatten();
    Json(Session::new(
        caller.is(),
        caller.home(),
        caller.scopes(),
        secret.as_ref(),
    ))
}

/// Changes the caller's own password; all their sessions end, this one too.
#[utoipa::path(patch, path = "/session", request_body = NewPassword,
    responses((status = 204), (status = 401, body = Problem), (status = 429, body = Problem)))]
pub(super) async fn change(
    State(control): State<Control>,
    Extension(Actor(actor)): Extension<Actor>,
    Extension(permit): Extension<Permit>,
    parts: Parts,
    SecretBody(change): SecretBody<NewPassword>,
) -> Result<Response, Problem> {
    let CallerIs::User { id, name, .. } = permit.caller.is() else {
        return Err(no_session());
    };
    let (old, new) = (
        Secret::new(change.password),
        Secret::new(change.new_password),
    );
    password::check(&new).map_err(Problem::invalid)?;
    let tries = [
        Failing::User(name),
        Failing::Address(origin::address(&control, &parts.headers, &parts.extensions)),
    ];
    charge(&control, &tries)?;
    let proven = proven(&control, name, &old).await?;
    let Some((_, old_hash)) = proven.filter(|(found, _)| found == id) else {
        refused::note(
            &control,
            actor.who,
            "user.password.refused",
            format!("user/{id}"),
            permit.home(),
        );
        return Err(wrong_password());
    };
    refund(&control, &tries);
    let hash = control.inner.passwords.hash(new).await?;
    let mut commit = control.inner.store.begin(&actor).await?;
    // Once more, inside the transaction: a password that was reset meanwhile isn't the caller's to change.
    if !commit.has_password(*id, &old_hash).await? {
        return Err(wrong_password());
    }
    commit.update_user(*id, None, Some(hash)).await?;
    commit.finish_unpublished().await?;
    let mut answer = StatusCode::NO_CONTENT.into_response();
    set_cookie(&mut answer, &cookie::unset());
    Ok(answer)
}

/// Logs out.
#[utoipa::path(delete, path = "/session", responses((status = 204)))]
pub(super) async fn end(
    State(control): State<Control>,
    Extension(Actor(actor)): Extension<Actor>,
    Extension(permit): Extension<Permit>,
) -> Result<Response, Problem> {
    let CallerIs::User { id, session, .. } = permit.caller.is() else {
        return Err(no_session());
    };
    let mut commit = control.inner.store.begin(&actor).await?;
    commit.end_session(*id, session).await?;
    commit.finish_unpublished().await?;
    let mut answer = StatusCode::NO_CONTENT.into_response();
    set_cookie(&mut answer, &cookie::unset());
    Ok(answer)
}

fn charge(control: &Control, tries: &[Failing<'_>]) -> Result<(), Problem> {
    for (at, failing) in tries.iter().enumerate() {
        if let Err(wait) = control.inner.throttle.charge(*failing) {
            // What was not tried did not fail.
            refund(control, &tries[..at]);
            return Err(Problem::too_many(wait));
        }
    }
    Ok(())
}

fn refund(control: &Control, tries: &[Failing<'_>]) {
    for failing in tries {
        control.inner.throttle.refund(*failing);
    }
}

/// Whose name and password these are, and what it was hashed to. An unknown name costs what a known one costs.
async fn proven(
    control: &Control,
    name: &str,
    password: &Secret,
) -> Result<Option<(u64, String)>, Problem> {
    let login = control.inner.store.login(name).await?;
    let hash = login.as_ref().map(|(_, hash)| hash.clone());
    let is_right = control
        .inner
        .passwords
        .verify(password.clone(), hash)
        .await?;
    Ok(login.filter(|_| is_right))
}

fn wrong_password() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "there is no user of that name with that password",
    )
}

fn no_session() -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "an API token has no session; that is for people",
    )
}

fn set_cookie(answer: &mut Response, text: &str) {
    if let Ok(mut value) = HeaderValue::from_str(text) {
        value.set_sensitive(true);
        answer.headers_mut().insert(header::SET_COOKIE, value);
    }
}

// === impl Session ===

impl Session {
    fn new(
        is: &CallerIs,
        account: Option<u64>,
        scopes: crate::control::scope::Scopes,
        secret: Option<&Secret>,
    ) -> Self {
        let (name, role, ends_at) = match is {
            CallerIs::ApiToken { .. } => (None, None, None),
            CallerIs::User {
                name, role, since, ..
            } => {
                let ends_at = since.saturating_add(SESSION_ABSOLUTE_MS);
                (Some(name.clone()), Some(*role), Some(rfc3339(ends_at)))
            }
        };
        Self {
            caller: is.subject(),
            name,
            role,
            account,
            scopes: scopes.names(),
            csrf_token: secret.map(cookie::csrf),
            ends_at,
        }
    }
}
