//! `/accounts`: main accounts and their sub-accounts.

mod body;

use axum::{Extension, Json, extract::State, http::StatusCode, response::Response};
use serde::Deserialize;
use serde_json::json;

use super::{
    Actor,
    caller::Permit,
    enforced::{ConfirmedWait, Ended, Items, Wait, answer, answer_end, page},
    extract::{Body, Id, Page, Query, Reference, name, one_of},
    problem::Problem,
    rule::forbidden,
};
use crate::{
    control::{
        Control,
        plan::Plan,
        record::Settings,
        store::{AccountEdit, AccountFilter, NewAccount},
        view,
    },
    model::DestinationId,
};
use body::{AccountChange, NewAccountBody};

/// Which accounts, and which page of them.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ListQuery {
    name: Option<String>,
    parent: Option<Reference>,
    state: Option<String>,
    plan: Option<String>,
    after: Option<u64>,
    limit: Option<u32>,
}

/// Lists the accounts that the caller reaches, by id.
#[utoipa::path(get, path = "/accounts", params(("name" = Option<String>, Query, description = "Exactly this name"),
    ("parent" = Option<String>, Query, description = "Only sub-accounts of this main account, by id or name"),
    ("state" = Option<String>, Query), ("plan" = Option<String>, Query),
    ("after" = Option<u64>, Query), ("limit" = Option<u32>, Query)),
    responses((status = 200, body = Items<view::Account>)))]
pub(super) async fn list(
    State(control): State<Control>,
    Extension(permit): Extension<Permit>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Items<view::Account>>, Problem> {
    let (after, limit) = Page::new(query.after, query.limit).bounds()?;
    let store = &control.inner.store;
    let state = one_of("state", &["active", "suspended"], query.state)?;
    let filter = AccountFilter {
        home: permit.home(),
        name: query.name,
        parent: permit.listed(store, query.parent).await?,
        is_suspended: state.map(|state| state == "suspended"),
        plan: one_of("plan", &Plan::NAMES, query.plan)?,
    };
    let rows = store.accounts_of(&filter, after, limit + 1).await?;
    Ok(Json(page(&rows, limit, |item: &view::Account| item.id)))
}

/// Shows an account.
#[utoipa::path(get, path = "/accounts/{id}", params(("id" = u64, Path)),
    responses((status = 200, body = view::Account), (status = 404, body = Problem)))]
pub(super) async fn show(
    State(control): State<Control>,
    Id(id): Id,
) -> Result<Json<view::Account>, Problem> {
    let row = control.inner.store.account(id).await?;
    Ok(Json((&row).into()))
}

/// Makes an account: an operator any, the admins of a main account its sub-accounts. Signals of a main account that have
/// no destination go to destination `archive` where there is one; a sub-account's go where its parent's go. A main account has
/// 5 sub-accounts at most on the plan `community`, 100 on `pro`, 1,000 on `enterprise` and in a trial.
#[utoipa::path(post, path = "/accounts", request_body = NewAccountBody,
    params(("wait" = Option<String>, Query), ("timeout_ms" = Option<u64>, Query)),
    responses((status = 201, body = view::Account), (status = 409, body = Problem)))]
pub(super) async fn create(
    State(control): State<Control>,
    Extension(Actor(actor)): Extension<Actor>,
    Extension(permit): Extension<Permit>,
    Query(wait): Query<Wait>,
    Body(new): Body<NewAccountBody>,
) -> Result<Response, Problem> {
    let wait = wait.duration(&control)?;
    let name = name(new.name)?;
    permit.operators_only("destinations", new.destinations.is_some())?;
    permit.operators_only("limits", new.limits.is_some())?;
    let has_trial = new.trial_until.is_some() || new.trial_seconds.is_some();
    permit.operators_only("the plan", new.plan.is_some() || has_trial)?;
    let mut commit = control.inner.store.begin(&actor).await?;
    let mut set = Settings::default();
    let parent = match new.parent {
        Some(parent) => Some(permit.account(&mut commit, &parent).await?),
        None => {
            permit.operators_make("an account without a parent")?;
            let archive = commit.destination_named("archive").await?;
            set.destinations = [Some(archive.map(DestinationId)); 3];
            None
        }
    };
    // Nobody of its own is in a new one.
    if new.accessible == Some(false) && permit.home().is_some() {
        return Err(body::out_of_reach());
    }
    if parent.is_some() && new.plan.is_some() {
        return Err(body::plan_of_a_sub_account());
    }
    let plan = body::plan(
        new.plan.as_deref(),
        new.trial_until.as_deref(),
        new.trial_seconds,
    )?;
    body::apply(&mut commit, &mut set, new.destinations, new.limits).await?;
    if permit.home().is_some() {
        set.limits.draw_on_main();
    }
    let new = NewAccount {
        name,
        parent,
        plan: plan.unwrap_or(Plan::Community),
        accessible: new.accessible.unwrap_or(true),
        set,
    };
    let row = commit.insert_account(new).await?;
    let view = view::Account::from(&row);
    commit.remember(parent, &view)?;
    let published = commit.finish().await?;
    answer(&control, published, wait, StatusCode::CREATED, view).await
}

/// Changes an account. Its name and who reaches it are its admins'; the rest is the operators'. What a main account
/// changes, its sub-accounts have at once where they have not set it themselves. The receipt of a suspension says when any
/// token of the account and of its sub-accounts was last accepted. A suspension that would end more than a tenth
/// of all live shipping tokens, and a thousand at least, is held until it is confirmed. What others have ended within the last
/// minute without a confirmation is weighed with it. Who is no operator withdraws only a sub-account that has an admin of its own.
#[utoipa::path(patch, path = "/accounts/{id}", request_body = AccountChange,
    params(("id" = u64, Path), ("confirm" = Option<String>, Query, description = "`dropped-N`: so many live tokens are meant to end"),
    ("wait" = Option<String>, Query), ("timeout_ms" = Option<u64>, Query)),
    responses((status = 200, body = view::Account), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn change(
    State(control): State<Control>,
    Extension(Actor(actor)): Extension<Actor>,
    Extension(permit): Extension<Permit>,
    Id(id): Id,
    Query(query): Query<ConfirmedWait>,
    Body(change): Body<AccountChange>,
) -> Result<Response, Problem> {
    let (confirmed, wait) = query.parts()?;
    let wait = wait.duration(&control)?;
    change.check(&permit)?;
    let plan = body::plan(
        change.plan.as_deref(),
        change.trial_until.as_deref(),
        change.trial_seconds,
    )?;
    // Also of one that is suspended already: who asks again wants the proof.
    let is_suspension = change.state.as_deref() == Some("suspended");
    let mut commit = control.inner.store.begin(&actor).await?;
    commit.confirm(confirmed);
    let old = commit.account(id).await?;
    let mut edit = AccountEdit::from(&old);
    if let Some(text) = change.name {
        edit.name = name(text)?;
    }
    if let Some(plan) = plan {
        if old.parent.is_some() {
            return Err(body::plan_of_a_sub_account());
        }
        edit.plan = plan;
    }
    if let Some(accessible) = change.accessible {
        if old.parent.is_none() {
            return Err(Problem::new(
                StatusCode::CONFLICT,
                "accessible is for sub-accounts: nobody stands over a main account",
            ));
        }
        let is_withdrawn = old.accessible && !accessible;
        if is_withdrawn && permit.home().is_some() && !commit.has_own_admin(id).await? {
            return Err(body::out_of_reach());
        }
        edit.accessible = accessible;
    }
    body::suspend(&mut edit, change.state.as_deref(), change.reason)?;
    if let Some(inherit) = change.inherit {
        body::inherit(&mut edit.set, old.parent.is_some(), &inherit)?;
    }
    body::apply(
        &mut commit,
        &mut edit.set,
        change.destinations,
        change.limits,
    )
    .await?;
    let row = commit.update_account(&old, edit).await?;
    let published = commit.finish().await?;
    let view = view::Account::from(&row);
    match is_suspension {
        true => answer_end(&control, published, wait, Ended::Account(id), view).await,
        false => answer(&control, published, wait, StatusCode::OK, view).await,
    }
}

/// Removes an account without sub-accounts all of whose tokens are revoked; its people and its API tokens go with it.
#[utoipa::path(delete, path = "/accounts/{id}",
    params(("id" = u64, Path), ("wait" = Option<String>, Query), ("timeout_ms" = Option<u64>, Query)),
    responses((status = 200), (status = 409, body = Problem)))]
pub(super) async fn delete(
    State(control): State<Control>,
    Extension(Actor(actor)): Extension<Actor>,
    Extension(permit): Extension<Permit>,
    Id(id): Id,
    Query(wait): Query<Wait>,
) -> Result<Response, Problem> {
    let wait = wait.duration(&control)?;
    if permit.home() == Some(id) {
        return Err(forbidden(
            "an account is deleted by who stands over it, not by its own people",
        ));
    }
    let mut commit = control.inner.store.begin(&actor).await?;
    commit.delete_account(id).await?;
    let published = commit.finish().await?;
    answer(&control, published, wait, StatusCode::OK, json!({"id": id})).await
}
