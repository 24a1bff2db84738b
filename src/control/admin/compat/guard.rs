//! Before every compatible handler: whose API token it is, and whether it may. All of it is read from the store now.

use axum::{
    extract::{FromRequestParts as _, Request, State},
    http::{StatusCode, request::Parts},
    middleware::Next,
    response::Response,
};

use super::{
    super::{
        caller::{Caller, identify},
        extract::{Id, buffered},
        refused,
    },
    kept::{Kept, Kind},
    routes::{Of, Rule},
    trouble::Trouble,
};
use crate::{
    control::{
        Control, Error,
        record::{AccountRow, Who},
        scope::{Scope, Scopes},
        store::CallerIs,
        terms::Errand,
    },
    model::{Signal, TokenState},
};

/// An admitted request.
#[derive(Clone, Debug)]
pub(super) struct Key {
    /// For the audit log.
    pub(super) who: Who,
    /// What is asked for, to be done while the API token may.
    pub(super) errand: Errand,
    /// The API token's account.
    pub(super) account: u64,
    /// What the path names, within reach; 0 where it names nothing.
    pub(super) id: u64,
    /// What the API token may do, and until when in seconds since 1970, 0 for ever: it gives no more.
    pub(super) scopes: Scopes,
    pub(super) expires_at: u32,
}

/// Lets the request through to its handler, with its [`Key`].
pub(super) async fn admit(
    State((control, rule)): State<(Control, Rule)>,
    request: Request,
    next: Next,
) -> Result<Response, Trouble> {
    let (mut parts, body) = request.into_parts();
    let mut body = body;
    let mut key = self::key(&control, rule, &mut parts).await?;
    if rule.method != "get" {
        // A body may take its time: whoever was let in by the head may have been revoked since.
        body = buffered(body).await?.into();
        key = self::key(&control, rule, &mut parts).await?;
    }
    let who = key.who.clone();
    let home = key.account;
    parts.extensions.insert(key);
    let answer = next.run(Request::from_parts(parts, body)).await;
    // What the body named the handler has looked at.
    let is_refused = match answer.status() {
        StatusCode::FORBIDDEN => true,
        StatusCode::NOT_FOUND => matches!(rule.of, Of::Own | Of::Main),
        _ => false,
    };
    if is_refused {
        note(&control, rule, who, Some(home));
    }
    Ok(answer)
}

async fn key(control: &Control, rule: Rule, parts: &mut Parts) -> Result<Key, Trouble> {
    // A session's cookie opens none of these: nothing here asks for its CSRF token.
    if !parts.headers.contains_key("x-api-token") {
        return Err(Trouble::privileges());
    }
    let caller = identify(control, parts).await?;
    let Some((account, expires_at)) = allowed(control, &caller, rule).await? else {
        note(control, rule, caller.who(), caller.home());
        return Err(Trouble::privileges());
    };
    let id = subject(control, rule, &caller, account, parts).await?;
    let is_account = matches!(rule.of, Of::TimeBased | Of::Metrics);
    let place = is_account.then(|| (format!("account {id}"), id));
    Ok(Key {
        who: caller.who(),
        errand: caller.errand(false, place),
        account,
        id,
        scopes: caller.scopes(),
        expires_at,
    })
}

/// The account of an API token that may, and the token's end. Operators' tokens stand for no account.
async fn allowed(
    control: &Control,
    caller: &Caller,
    rule: Rule,
) -> Result<Option<(u64, u32)>, Trouble> {
    let (None, Some(account), CallerIs::ApiToken { expires_at, .. }) =
        (caller.stopped(), caller.home(), caller.is())
    else {
        return Ok(None);
    };
    let scopes = caller.scopes();
    if !rule.scopes.iter().all(|scope| scopes.has(*scope)) {
        return Ok(None);
    }
    let needs_main = matches!(rule.of, Of::Main | Of::TimeBased | Of::Metrics);
    if needs_main && control.inner.store.account(account).await?.parent.is_some() {
        return Ok(None);
    }
    Ok(Some((account, *expires_at)))
}

/// The id in the path, when what it names is within reach; what isn't is not there.
async fn subject(
    control: &Control,
    rule: Rule,
    caller: &Caller,
    account: u64,
    parts: &mut Parts,
) -> Result<u64, Trouble> {
    let of = rule.of;
    if matches!(of, Of::Own | Of::Main) {
        return Ok(0);
    }
    let Id(id) = Id::from_request_parts(parts, control).await?;
    let store = &control.inner.store;
    let is_there = match of {
        Of::Own | Of::Main => true,
        Of::Token => Error::found(store.token(id).await)?.is_some_and(|row| {
            row.token.account.0 == account
                && row.token.signal == Signal::Logs
                && row.token.state != TokenState::Revoked
        }),
        Of::SharedToken => Error::found(store.shared_token(id).await)?
            .is_some_and(|row| row.account == account && row.revoked_at.is_none()),
        Of::SharedFilter => {
            Error::found(store.shared_filter(id).await)?.is_some_and(|row| row.account == account)
        }
        Of::TimeBased | Of::Metrics => match Error::found(store.account(id).await)? {
            Some(row) if is_reached(&row, account) => {
                let kept = Kept::read(&store.kept(id).await?)?;
                (kept.kind == Kind::Metrics) == (of == Of::Metrics)
            }
            _ => false,
        },
    };
    if is_there {
        return Ok(id);
    }
    note(control, rule, caller.who(), caller.home());
    match of {
        Of::SharedToken => Err(Trouble::not_shared("token", id, account)),
        Of::SharedFilter => Err(Trouble::not_shared("filter", id, account)),
        Of::Token => Err(Error::NotFound(format!("there is no log shipping token {id}")).into()),
        _ => Err(Error::NotFound(format!("there is no account {id}")).into()),
    }
}

/// Records that somebody was refused what changes something, or shows a token.
fn note(control: &Control, rule: Rule, who: Who, home: Option<u64>) {
    if rule.method != "get" || rule.scopes.contains(&Scope::Tokens) {
        let subject = format!("{} {}", rule.method, rule.path);
        refused::note(control, who, "refused", subject, home);
    }
}

/// Whether it is a sub-account of that main account, which reaches it.
pub(super) fn is_reached(row: &AccountRow, main: u64) -> bool {
    row.reached_from() == Some(main)
}
