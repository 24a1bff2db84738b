//! `/users`: the people of accounts, and operators.

use axum::{Extension, Json, extract::State, http::StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    Actor,
    caller::Permit,
    enforced::{Items, page},
    extract::{Id, Page, Query, Reference, SecretBody, name},
    problem::Problem,
    written,
};
use crate::{
    control::{
        Control, password,
        scope::Role,
        store::{NewUser, UserFilter},
        view,
    },
    model::Secret,
};

/// A person to be added.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewUserBody {
    /// Whose they are; an operator has none.
    account: Option<Reference>,
    /// Unique among all people.
    name: String,
    role: Role,
    /// 12 to 256 characters.
    password: String,
}

/// What to change of a person; all their sessions end.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UserChange {
    /// `admin` or `reader`; an operator stays one.
    role: Option<Role>,
    password: Option<String>,
}

/// Which people, and which page of them.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ListQuery {
    account: Option<Reference>,
    name: Option<String>,
    role: Option<Role>,
    after: Option<u64>,
    limit: Option<u32>,
}

/// Lists people by id.
#[utoipa::path(get, path = "/users", params(("account" = Option<String>, Query, description = "By id or name"),
    ("name" = Option<String>, Query, description = "Exactly this name"), ("role" = Option<Role>, Query),
    ("after" = Option<u64>, Query), ("limit" = Option<u32>, Query)),
    responses((status = 200, body = Items<view::User>)))]
pub(super) async fn list(
    State(control): State<Control>,
    Extension(permit): Extension<Permit>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Items<view::User>>, Problem> {
    let (after, limit) = Page::new(query.after, query.limit).bounds()?;
    let store = &control.inner.store;
    let filter = UserFilter {
        whose: permit.whose(store, query.account).await?,
        name: query.name,
        role: query.role,
    };
    let rows = store.users(&filter, after, limit + 1).await?;
    Ok(Json(page(&rows, limit, |item: &view::User| item.id)))
}

/// Shows a person.
#[utoipa::path(get, path = "/users/{id}", params(("id" = u64, Path)),
    responses((status = 200, body = view::User), (status = 404, body = Problem)))]
pub(super) async fn show(
    State(control): State<Control>,
    Id(id): Id,
) -> Result<Json<view::User>, Problem> {
    let row = control.inner.store.user(id).await?;
    Ok(Json((&row).into()))
}

/// Adds a person. An account has 500 at most.
#[utoipa::path(post, path = "/users", request_body = NewUserBody,
    responses((status = 201, body = view::User), (status = 409, body = Problem)))]
pub(super) async fn create(
    State(control): State<Control>,
    Extension(Actor(actor)): Extension<Actor>,
    Extension(permit): Extension<Permit>,
    SecretBody(new): SecretBody<NewUserBody>,
) -> Result<(StatusCode, Json<view::User>), Problem> {
    let name = name(new.name)?;
    let password = Secret::new(new.password);
    password::check(&password).map_err(Problem::invalid)?;
    if (new.role == Role::Operator) != new.account.is_none() {
        return Err(Problem::invalid(
            "an operator has no account; admins and readers have one",
        ));
    }
    permit.gives(new.role.scopes(), 0)?;
    if new.account.is_none() {
        permit.operators_make("an operator")?;
    }
    let password = control.inner.passwords.hash(password).await?;
    let mut commit = control.inner.store.begin(&actor).await?;
    let account = match &new.account {
        Some(account) => Some(permit.account(&mut commit, account).await?),
        None => None,
    };
    let new = NewUser {
        account,
        name,
        role: new.role,
        password,
    };
    let row = commit.insert_user(new).await?;
    written::made(commit, account, (&row).into()).await
}

/// Changes a person's role or password; all their sessions end. An account's last admin stays one.
#[utoipa::path(patch, path = "/users/{id}", request_body = UserChange, params(("id" = u64, Path)),
    responses((status = 200, body = view::User), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn change(
    State(control): State<Control>,
    Extension(Actor(actor)): Extension<Actor>,
    Extension(permit): Extension<Permit>,
    Id(id): Id,
    SecretBody(change): SecretBody<UserChange>,
) -> Result<Json<view::User>, Problem> {
    let password = match change.password.map(Secret::new) {
        Some(password) => {
            password::check(&password).map_err(Problem::invalid)?;
            Some(control.inner.passwords.hash(password).await?)
        }
        None => None,
    };
    let mut commit = control.inner.store.begin(&actor).await?;
    let old = commit.user(id).await?;
    let role = change.role.unwrap_or(old.role);
    if (role == Role::Operator) != (old.role == Role::Operator) {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "an operator stays one, and nobody else becomes one",
        ));
    }
    // Who sets a password can be that person.
    permit.gives(role.scopes(), 0)?;
    let row = commit.update_user(id, change.role, password).await?;
    written::done(commit, (&row).into()).await
}

/// Removes a person; all their sessions end. The last operator and an account's last admin stay.
#[utoipa::path(delete, path = "/users/{id}", params(("id" = u64, Path)),
    responses((status = 200), (status = 409, body = Problem)))]
pub(super) async fn delete(
    State(control): State<Control>,
    Extension(Actor(actor)): Extension<Actor>,
    Id(id): Id,
) -> Result<Json<Value>, Problem> {
    let mut commit = control.inner.store.begin(&actor).await?;
    commit.delete_user(id).await?;
    written::done(commit, json!({"id": id})).await
}
