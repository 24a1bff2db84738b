//! Before every handler: who calls, what it is about, and whether they may. All of it is read from the store now.

use axum::{
    extract::{FromRequestParts as _, Request, State},
    http::{StatusCode, request::Parts},
    middleware::Next,
    response::Response,
};

use super::{
    Actor,
    caller::{Permit, identify},
    etag,
    extract::{Id, buffered},
    idempotency::{self, Asked},
    problem::Problem,
    refused,
    rule::{Concerns, Needs, Place, Rule, forbidden, may, stopped},
    visitor,
};
use crate::control::{Control, Error};

/// Lets the request through to its handler, with its [`Permit`] and with its [`Actor`], who holds to the terms that the
/// headers state.
pub(super) async fn admit(
    State((control, rule)): State<(Control, Rule)>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    // No text of ours has one, and databases don't agree on what to do with it.
    let target = parts.uri.path_and_query();
    if target.is_some_and(|target| target.as_str().contains("%00")) {
        return Err(Problem::invalid("a text has a NUL in it"));
    }
    if rule.method == "get" {
        if rule.needs == Needs::Shared {
            let visitor = visitor::identify(&control, &parts).await?;
            parts.extensions.insert(visitor);
        } else if rule.needs != Needs::Open {
            let permit = self::permit(&control, rule, &mut parts).await?;
            parts.extensions.insert(Actor(permit.errand()));
            parts.extensions.insert(permit);
        }
        let version = etag::version(&control, &rule, &mut parts).await?;
        let asked = parts.headers.clone();
        let answer = next.run(Request::from_parts(parts, body)).await;
        return etag::shown(version, &asked, answer).await;
    }
    if rule.needs == Needs::Open {
        return Ok(next.run(Request::from_parts(parts, body)).await);
    }
    let permit = self::permit(&control, rule, &mut parts).await?;
    if rule.concerns == Concerns::Lines {
        // For what it refuses: there is nothing that such a call changes under a version.
        etag::subject(&control, &rule, &mut parts).await?;
        // It reads its body as it comes, and asks again before each batch.
        parts.extensions.insert(Actor(permit.errand()));
        parts.extensions.insert(permit);
        return Ok(next.run(Request::from_parts(parts, body)).await);
    }
    // A body may take its time: whoever was let in by the head may have been revoked since.
    let body = buffered(body).await?;
    let permit = self::permit(&control, rule, &mut parts).await?;
    let subject = etag::subject(&control, &rule, &mut parts).await?;
    let once = match idempotency::asked(&control, &rule, &permit, &mut parts, &body).await? {
        Asked::Freely => None,
        Asked::First(once) => Some(once),
        Asked::Again(answer) => return Ok(answer),
    };
    let mut errand = permit.errand();
    errand.terms.subject = subject.clone();
    errand.terms.once = once;
    parts.extensions.insert(Actor(errand));
    parts.extensions.insert(permit.clone());
    let answer = next.run(Request::from_parts(parts, body.into())).await;
    // What the body named the handler has looked at.
    let is_refused = match answer.status() {
        StatusCode::FORBIDDEN => true,
        StatusCode::NOT_FOUND => rule.concerns == Concerns::Stated && !permit.caller.is_operator(),
        _ => false,
    };
    if is_refused {
        refused::record(&control, &permit.caller, &rule, None);
    }
    Ok(match subject {
        Some(subject) => etag::changed(&rule, &subject, answer),
        None => answer,
    })
}

/// Refuses a query where there is nothing to say in one: a misspelled parameter must not be passed over.
pub(super) async fn no_query(request: Request, next: Next) -> Result<Response, Problem> {
    match request.uri().query() {
        None | Some("") => Ok(next.run(request).await),
        Some(_) => Err(Problem::invalid("this call takes no query")),
    }
}

/// What the request was let in with.
pub(super) fn permitted(parts: &Parts) -> Result<Permit, Problem> {
    let permit = parts.extensions.get::<Permit>().cloned();
    permit.ok_or_else(|| forbidden("nobody has let this request in"))
}

/// Lets the same request go on: all of it is asked for once more.
pub(super) async fn again(
    control: &Control,
    permit: &Permit,
    parts: &mut Parts,
) -> Result<Permit, Problem> {
    self::permit(control, permit.rule(), parts).await
}

async fn permit(control: &Control, rule: Rule, parts: &mut Parts) -> Result<Permit, Problem> {
    let caller = identify(control, parts).await?;
    // Operators reach everything: their handlers find out whether it exists. Who is stopped must not find it out.
    let place = match caller.is_operator() || stopped(&caller, &rule).is_some() {
        true => None,
        false => place(control, rule, parts).await?,
    };
    if let Err(problem) = may(&caller, &rule, place.as_ref()) {
        refused::record(control, &caller, &rule, place.as_ref());
        return Err(problem);
    }
    Ok(Permit::new(caller, rule, place))
}

/// What the path names, and whose it is.
async fn place(control: &Control, rule: Rule, parts: &mut Parts) -> Result<Option<Place>, Problem> {
    let store = &control.inner.store;
    let account = match rule.concerns {
        Concerns::Nothing | Concerns::Listed | Concerns::Stated | Concerns::Lines => {
            return Ok(None);
        }
        Concerns::Account
        | Concerns::Token
        | Concerns::ApiToken
        | Concerns::SharedToken
        | Concerns::SharedFilter
        | Concerns::User => {
            let Id(id) = Id::from_request_parts(parts, control).await?;
            match rule.concerns {
                Concerns::Account => (format!("account {id}"), Some(id)),
                Concerns::Token => {
                    let row = Error::found(store.token(id).await)?;
                    (format!("token {id}"), row.map(|row| row.token.account.0))
                }
                Concerns::SharedToken => {
                    let row = Error::found(store.shared_token(id).await)?;
                    (format!("shared token {id}"), row.map(|row| row.account))
                }
                Concerns::SharedFilter => {
                    let row = Error::found(store.shared_filter(id).await)?;
                    (format!("shared filter {id}"), row.map(|row| row.account))
                }
                Concerns::User => {
                    let row = Error::found(store.user(id).await)?;
                    (format!("user {id}"), row.and_then(|row| row.account))
                }
                _ => {
                    let row = Error::found(store.api_token(id).await)?;
                    (format!("API token {id}"), row.and_then(|row| row.account))
                }
            }
        }
    };
    let (name, id) = account;
    // What is not there is looked up like what is another account's, and no more within reach: it takes as long to say so.
    let row = Error::found(store.account(id.unwrap_or(0)).await)?;
    Ok(Some(match row {
        Some(row) => Place::of(name, &row),
        // The operators' own, or the account is gone, and what was its own with it.
        None => Place::operators(name),
    }))
}
