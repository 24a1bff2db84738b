//! `/tokens`: shipping tokens, their life and its end.

use axum::{Extension, Json, extract::State, http::StatusCode, response::Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{
    Actor,
    caller::Permit,
    enforced::{Ended, ForcedWait, Items, Wait, answer, answer_end, page},
    extract::{
        Body, EXPIRES, Id, NoBody, Page, Query, Reference, SecretBody, description, end, name,
        nullable, one_of, seconds, sources,
    },
    given::{self, Giver},
    problem::Problem,
    rates::{RatesBody, rates},
    usage::{UsedToken, used, used_one},
    written,
};
use crate::{
    clock,
    control::{
        Control,
        record::{TokenRow, rfc3339_seconds},
        store::{Details, Filter, NewToken, OVERLAP_SECONDS_MAX},
        view,
    },
    model::{Signal, TokenState},
};

/// How long the old token goes on beside the new one, when the caller doesn't say.
const OVERLAP_SECONDS: u32 = 86_400;

/// A token to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenBody {
    account: Reference,
    /// `logs`, `metrics` or `traces`.
    signal: String,
    /// Need not be unique.
    name: String,
    /// For people.
    description: Option<String>,
    /// RFC 3339; null or nothing for never.
    expires_at: Option<String>,
    /// The same in seconds from now, in its place.
    expires_in_seconds: Option<u32>,
    /// Networks that it may be used from, as CIDR, 64 at most; none for anywhere.
    sources: Option<Vec<String>>,
    /// How fast its payloads may come, beside its account's rates.
    rates: Option<RatesBody>,
    /// A token that somebody else has made, 16 to 128 of `[A-Za-z0-9_-]`; without one, it is made here. One of Wharfinger's own
    /// form is taken from operators alone, unless it is a token of the caller's already (409).
    token: Option<String>,
}

/// What to change of a token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenChange {
    name: Option<String>,
    description: Option<String>,
    /// Networks that it may be used from from now on; none for anywhere.
    sources: Option<Vec<String>>,
    /// Rates from now on; those that are not named stay.
    rates: Option<RatesBody>,
    /// RFC 3339; null for never.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    expires_at: Option<Option<String>>,
}

/// How to replace a token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rotation {
    /// How long the old token goes on; 86,400 unless said otherwise.
    overlap_seconds: Option<u32>,
}

/// A new token's record, and the token itself.
#[derive(Serialize, ToSchema)]
struct MadeToken {
    #[serde(flatten)]
    record: view::Token,
    /// Shown here; later only by `reveal`.
    token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    replaces: Option<Replaced>,
}

/// The token that a new one stands in for.
#[derive(Serialize, ToSchema)]
struct Replaced {
    id: u64,
    expires_at: Option<String>,
}

/// A token's text.
#[derive(Serialize, ToSchema)]
pub(super) struct RevealedToken {
    id: u64,
    token: String,
}

/// Which tokens, and which page of them.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ListQuery {
    account: Option<Reference>,
    signal: Option<String>,
    name: Option<String>,
    state: Option<String>,
    after: Option<u64>,
    limit: Option<u32>,
}

/// Lists tokens by id; deleted ones are hidden.
#[utoipa::path(get, path = "/tokens", params(("account" = Option<String>, Query), ("signal" = Option<String>, Query),
    ("name" = Option<String>, Query, description = "Exactly this name"), ("state" = Option<String>, Query), ("after" = Option<u64>, Query), ("limit" = Option<u32>, Query)),
    responses((status = 200, body = Items<UsedToken>)))]
pub(super) async fn list(
    State(control): State<Control>,
    Extension(permit): Extension<Permit>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Items<UsedToken>>, Problem> {
    let (after, limit) = Page::new(query.after, query.limit).bounds()?;
    let store = &control.inner.store;
    let states = ["live", "disabled", "revoked", "expired"];
    let filter = Filter {
        account: permit.listed(store, query.account).await?,
        signal: query.signal.as_deref().map(signal).transpose()?,
        name: query.name,
        state: one_of("state", &states, query.state)?,
        home: permit.home(),
    };
    let rows = store.tokens(after, limit + 1, &filter).await?;
    let items = used(&control, &rows).await?;
    Ok(Json(page(items, limit, UsedToken::id)))
}

/// Shows a token's record.
#[utoipa::path(get, path = "/tokens/{id}", params(("id" = u64, Path)),
    responses((status = 200, body = UsedToken), (status = 404, body = Problem)))]
pub(super) async fn show(
    State(control): State<Control>,
    Id(id): Id,
) -> Result<Json<UsedToken>, Problem> {
    let row = control.inner.store.token(id).await?;
    Ok(Json(used_one(&control, &row).await?))
}

/// Makes a token, or takes in one that is given; the answer carries it as `token`. Of an account and signal the plan bounds how
/// many are enabled, and how many are not revoked, whatever else they are: 1,000, but for the plan `unlimited`.
#[utoipa::path(post, path = "/tokens", request_body = TokenBody,
    params(("wait" = Option<String>, Query), ("timeout_ms" = Option<u64>, Query)),
    responses((status = 201, body = MadeToken), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn create(
    State(control): State<Control>,
    Extension(Actor(actor)): Extension<Actor>,
    Extension(permit): Extension<Permit>,
    Query(wait): Query<Wait>,
    SecretBody(new): SecretBody<TokenBody>,
) -> Result<Response, Problem> {
    let wait = wait.duration(&control)?;
    let signal = signal(&new.signal)?;
    let name = name(new.name)?;
    let expires_at = end(EXPIRES, new.expires_at.as_deref(), new.expires_in_seconds)?;
    if expires_at.is_some_and(|at| at <= clock::wall_seconds()) {
        return Err(Problem::invalid("expires_at lies in the past"));
    }
    let details = Details {
        description: description(new.description.unwrap_or_default())?,
        sources: sources(&new.sources.unwrap_or_default())?,
        rates: rates(new.rates)?,
        token: new.token.map(given::token).transpose()?,
    };
    let giver = Giver::of(&control, &permit, details.token.is_some()).await?;
    let mut commit = control.inner.store.begin(&actor).await?;
    let account = permit.account(&mut commit, &new.account).await?;
    let new = NewToken {
        account,
        signal,
        name,
        expires_at: expires_at.unwrap_or(0),
    };
    if let Some(token) = &details.token {
        commit = giver.may_take_in(&control, commit, &new, token).await?;
    }
    let (row, secret) = commit.insert_detailed(new, details).await?;
    let made = MadeToken {
        record: (&row).into(),
        token: secret.reveal().to_owned(),
        replaces: None,
    };
    commit.remember(Some(account), &made)?;
    let published = commit.finish().await?;
    answer(&control, published, wait, StatusCode::CREATED, made).await
}

/// Changes a token's name, description, expiry, sources or rates. An earlier expiry that has passed, or comes within ten minutes, ends
/// it: refused, unless forced, where disabling it would be; and so are sources that shut out who was seen with a rotated token,
/// or with the last enabled one, within ten minutes. A later expiry lets a rotated token's overlap last longer, up
/// to 30 days after the rotation; past that, or with none, it is one of its own again, and counts against the plan.
#[utoipa::path(patch, path = "/tokens/{id}", request_body = TokenChange,
    params(("id" = u64, Path), ("force" = Option<bool>, Query), ("wait" = Option<String>, Query), ("timeout_ms" = Option<u64>, Query)),
    responses((status = 200, body = view::Token), (status = 409, body = Problem)))]
pub(super) async fn change(
    State(control): State<Control>,
    Extension(actor): Extension<Actor>,
    id: Id,
    Query(query): Query<ForcedWait>,
    Body(change): Body<TokenChange>,
) -> Result<Response, Problem> {
    let name = change.name.map(name).transpose()?;
    let description = change.description.map(description).transpose()?;
    let sources = change.sources.as_deref().map(sources).transpose()?;
    let rates = change.rates.map(RatesBody::checked).transpose()?;
    let expires_at = match change.expires_at {
        None => None,
        Some(None) => Some(0),
        Some(Some(text)) => Some(seconds(&text)?),
    };
    update(&control, &actor, id, query, "token.change", |row| {
        row.name = name.unwrap_or(std::mem::take(&mut row.name));
        row.description = description.unwrap_or(std::mem::take(&mut row.description));
        row.token.sources = sources.unwrap_or(std::mem::take(&mut row.token.sources));
        if let Some(rates) = rates {
            rates.apply(&mut row.token.rates);
        }
        row.token.expires_at = expires_at.unwrap_or(row.token.expires_at);
    })
    .await
}

/// Lets a disabled token in again.
#[utoipa::path(post, path = "/tokens/{id}/enable",
    params(("id" = u64, Path), ("wait" = Option<String>, Query), ("timeout_ms" = Option<u64>, Query)),
    responses((status = 200, body = view::Token), (status = 409, body = Problem)))]
pub(super) async fn enable(
    State(control): State<Control>,
    Extension(actor): Extension<Actor>,
    id: Id,
    Query(wait): Query<Wait>,
    _: NoBody,
) -> Result<Response, Problem> {
    let live = |row: &mut TokenRow| row.token.state = TokenState::Live;
    let query = ForcedWait::from(wait);
    update(&control, &actor, id, query, "token.enable", live).await
}

/// Refuses a token until it is enabled again. The last enabled one of a signal only with `force`, and so one that was
/// rotated while somebody ships with it.
#[utoipa::path(post, path = "/tokens/{id}/disable",
    params(("id" = u64, Path), ("force" = Option<bool>, Query), ("wait" = Option<String>, Query), ("timeout_ms" = Option<u64>, Query)),
    responses((status = 200, body = view::Token), (status = 409, body = Problem)))]
pub(super) async fn disable(
    State(control): State<Control>,
    Extension(Actor(actor)): Extension<Actor>,
    Id(id): Id,
    Query(query): Query<ForcedWait>,
    _: NoBody,
) -> Result<Response, Problem> {
    let (is_forced, wait) = query.parts();
    let wait = wait.duration(&control)?;
    let mut commit = control.inner.store.begin(&actor).await?;
    commit.names_token();
    let old = commit.token(id).await?;
    if !is_forced {
        commit.not_the_last(&old).await?;
        commit.nobody_sends(&old).await?;
    }
    let mut new = old.clone();
    new.token.state = TokenState::Disabled;
    let row = commit.update_token("token.disable", &old, new).await?;
    let published = commit.finish().await?;
    let view = view::Token::from(&row);
    answer_end(&control, published, wait, Ended::Token(id), view).await
}

/// Refuses a token for ever. Revoking a revoked one again is no error. One that was rotated only with `force` while somebody
/// ships with it.
#[utoipa::path(post, path = "/tokens/{id}/revoke",
    params(("id" = u64, Path), ("force" = Option<bool>, Query), ("wait" = Option<String>, Query), ("timeout_ms" = Option<u64>, Query)),
    responses((status = 200, body = view::Token), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn revoke(
    State(control): State<Control>,
    Extension(Actor(actor)): Extension<Actor>,
    Id(id): Id,
    Query(query): Query<ForcedWait>,
    _: NoBody,
) -> Result<Response, Problem> {
    let (is_forced, wait) = query.parts();
    let wait = wait.duration(&control)?;
    let mut commit = control.inner.store.begin(&actor).await?;
    commit.names_token();
    if !is_forced {
        let old = commit.token(id).await?;
        commit.nobody_sends(&old).await?;
    }
    let row = commit.revoke_token(id).await?;
    let published = commit.finish().await?;
    let view = view::Token::from(&row);
    answer_end(&control, published, wait, Ended::Token(id), view).await
}

/// Makes a new token in an old one's place; the old one goes on for a while, and is not rotated again meanwhile. While somebody
/// ships with it, that is ten minutes at least.
#[utoipa::path(post, path = "/tokens/{id}/rotate", request_body = Rotation,
    params(("id" = u64, Path), ("wait" = Option<String>, Query), ("timeout_ms" = Option<u64>, Query)),
    responses((status = 201, body = MadeToken), (status = 409, body = Problem)))]
pub(super) async fn rotate(
    State(control): State<Control>,
    Extension(Actor(actor)): Extension<Actor>,
    Id(id): Id,
    Query(wait): Query<Wait>,
    Body(rotation): Body<Rotation>,
) -> Result<Response, Problem> {
    let wait = wait.duration(&control)?;
    let mut commit = control.inner.store.begin(&actor).await?;
    commit.names_token();
    let old = commit.token(id).await?;
    let now = clock::wall_seconds();
    match old.state(now) {
        "live" => {}
        state => {
            return Err(Problem::new(
                StatusCode::CONFLICT,
                format!("token {id} is {state}; only a live token can be rotated"),
            ));
        }
    }
    if let Some(successor) = old.replaced_by {
        // A retry whose first answer was lost must not get a token that ends with the overlap.
        return Err(Problem::new(
            StatusCode::CONFLICT,
            format!(
                "token {id} was rotated before: token {successor} replaces it, and reveal shows it; \
                 to rotate {id} once more, make it one of its own again first, by an expires_at of null"
            ),
        ));
    }
    let overlap_seconds = rotation.overlap_seconds.unwrap_or(OVERLAP_SECONDS);
    if overlap_seconds > OVERLAP_SECONDS_MAX {
        return Err(Problem::invalid(format!(
            "overlap_seconds may be {OVERLAP_SECONDS_MAX} at most"
        )));
    }
    commit.has_room_for_overlap(&old).await?;
    let until = now.saturating_add(overlap_seconds);
    let new = NewToken {
        account: old.token.account.0,
        signal: old.token.signal,
        name: old.name.clone(),
        // A token that was to end does not become one that never ends.
        expires_at: old.token.expires_at,
    };
    let details = Details {
        description: old.description.clone(),
        // Nor one that is good from everywhere.
        sources: old.token.sources.clone(),
        // Nor one that is faster.
        rates: old.token.rates,
        token: None,
    };
    let (row, secret) = commit.insert_detailed(new, details).await?;
    let mut ending = old.clone();
    ending.replaced_by = Some(row.token.id.0);
    ending.token.expires_at = match old.token.expires_at {
        0 => until,
        before => before.min(until),
    };
    commit.leaves_time(&old, &ending, now).await?;
    let ending = commit.update_token("token.rotate", &old, ending).await?;
    let made = MadeToken {
        record: (&row).into(),
        token: secret.reveal().to_owned(),
        replaces: Some(Replaced {
            id,
            expires_at: rfc3339_seconds(ending.token.expires_at),
        }),
    };
    commit.remember(Some(old.token.account.0), &made)?;
    let published = commit.finish().await?;
    answer(&control, published, wait, StatusCode::CREATED, made).await
}

/// Shows the token itself; the audit log remembers it.
#[utoipa::path(post, path = "/tokens/{id}/reveal", params(("id" = u64, Path)),
    responses((status = 200, body = RevealedToken), (status = 409, body = Problem)))]
pub(super) async fn reveal(
    State(control): State<Control>,
    Extension(Actor(actor)): Extension<Actor>,
    Id(id): Id,
    _: NoBody,
) -> Result<Json<RevealedToken>, Problem> {
    let mut commit = control.inner.store.begin(&actor).await?;
    let secret = commit.reveal_token(id).await?;
    let token = secret.reveal().to_owned();
    written::done(commit, RevealedToken { id, token }).await
}

/// Refuses a token for ever, as revoking does, and hides it; gateways go on refusing it as a revoked one. The last enabled one
/// of a signal only with `force`, and so one that was rotated while somebody ships with it.
#[utoipa::path(delete, path = "/tokens/{id}",
    params(("id" = u64, Path), ("force" = Option<bool>, Query), ("wait" = Option<String>, Query), ("timeout_ms" = Option<u64>, Query)),
    responses((status = 200), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn delete(
    State(control): State<Control>,
    Extension(Actor(actor)): Extension<Actor>,
    Id(id): Id,
    Query(query): Query<ForcedWait>,
) -> Result<Response, Problem> {
    let (is_forced, wait) = query.parts();
    let wait = wait.duration(&control)?;
    let mut commit = control.inner.store.begin(&actor).await?;
    commit.names_token();
    commit.delete_token(id, is_forced).await?;
    let published = commit.finish().await?;
    let ended = Ended::Token(id);
    answer_end(&control, published, wait, ended, json!({"id": id})).await
}

async fn update(
    control: &Control,
    actor: &Actor,
    Id(id): Id,
    query: ForcedWait,
    action: &'static str,
    edit: impl FnOnce(&mut TokenRow),
) -> Result<Response, Problem> {
    let (is_forced, wait) = query.parts();
    let wait = wait.duration(control)?;
    let mut commit = control.inner.store.begin(&actor.0).await?;
    commit.names_token();
    let old = commit.token(id).await?;
    let mut new = old.clone();
    edit(&mut new);
    // An expiry that is as good as now ends it as disabling does.
    let now = clock::wall_seconds();
    if !is_forced && old.is_cut_short(&new, now) {
        commit.not_the_last(&old).await?;
        commit.nobody_sends(&old).await?;
    }
    if !is_forced {
        commit.shuts_nobody_out(&old, &new).await?;
    }
    let action = match commit.reopens(&old, &mut new).await? {
        true => "token.reopen",
        false => action,
    };
    let row = commit.update_token(action, &old, new).await?;
    let published = commit.finish().await?;
    let view = view::Token::from(&row);
    if row.state(now) == "live" {
        answer(control, published, wait, StatusCode::OK, view).await
    } else {
        answer_end(control, published, wait, Ended::Token(id), view).await
    }
}

pub(super) fn signal(text: &str) -> Result<Signal, Problem> {
    Signal::parse(text).ok_or_else(|| Problem::invalid("signal is logs, metrics or traces"))
}
