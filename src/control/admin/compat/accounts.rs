//! `/v1/account-management/time-based-accounts`: the sub-accounts that a main account reaches.

use std::collections::BTreeMap;

use axum::{Extension, Json, extract::State, http::StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    super::extract::name,
    guard::Key,
    kept::{AccountBody, Kept, Kind, Utilization, name_of},
    shipping::new_token,
    trouble::Trouble,
    value::Loose,
};
use crate::{
    control::{
        Control,
        plan::Plan,
        record::{AccountRow, Settings},
        store::{AccountEdit, AccountFilter, Commit, NewAccount},
    },
    model::{Secret, Signal},
};

/// Sub-accounts of a list, which has no pages.
pub(super) const LIST_MAX: usize = 1000;
/// Tokens that go with a sub-account: no more than what `/api/v1` takes away without a word of confirmation, since there is
/// no such word here.
const TOKENS_MAX: u32 = 999;
/// What the token is called that a sub-account is made with.
const TOKEN_NAME: &str = "default";

/// A new sub-account, and its first shipping token for logs.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Made {
    account_id: u64,
    account_token: String,
}

/// A sub-account.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct AccountModel {
    account_id: u64,
    account_name: String,
    email: Option<String>,
    is_flexible: bool,
    #[serde(rename = "reservedDailyGB")]
    reserved_daily_gb: Option<f64>,
    #[serde(rename = "maxDailyGB")]
    max_daily_gb: Option<f64>,
    retention_days: Option<u32>,
    searchable: bool,
    accessible: bool,
    doc_size_setting: bool,
    sharing_objects_accounts: Vec<Sharing>,
    utilization_settings: Utilization,
}

/// What a main account reaches.
pub(super) struct Reached {
    /// Its own, and those of all of its sub-accounts.
    names: BTreeMap<u64, String>,
    /// Its sub-accounts of a kind, with what is kept for them.
    pub(super) found: Vec<(AccountRow, Kept)>,
}

/// An account that is named beside it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Sharing {
    account_id: u64,
    account_name: String,
}

/// Lists sub-accounts, but for metrics accounts.
#[utoipa::path(get, path = "/v1/account-management/time-based-accounts",
    responses((status = 200, body = Vec<AccountModel>)))]
pub(super) async fn list(
    State(control): State<Control>,
    Extension(key): Extension<Key>,
) -> Result<Json<Vec<AccountModel>>, Trouble> {
    let Reached { names, found } = sub_accounts(&control, key.account, Kind::TimeBased).await?;
    let models = found
        .into_iter()
        .map(|(row, kept)| model(&row, kept, &names));
    Ok(Json(models.collect()))
}

/// Shows a sub-account.
#[utoipa::path(get, path = "/v1/account-management/time-based-accounts/{id}", params(("id" = u64, Path)),
    responses((status = 200, body = AccountModel)))]
pub(super) async fn show(
    State(control): State<Control>,
    Extension(key): Extension<Key>,
) -> Result<Json<AccountModel>, Trouble> {
    let store = &control.inner.store;
    let row = store.account(key.id).await?;
    let kept = Kept::read(&store.kept(key.id).await?)?;
    let mut names = BTreeMap::new();
    for id in &kept.sharing_objects_accounts {
        let name = name_of(&control, key.account, *id).await?;
        names.extend(name.map(|name| (*id, name)));
    }
    Ok(Json(model(&row, kept, &names)))
}

/// Makes a sub-account with a shipping token for logs.
#[utoipa::path(post, path = "/v1/account-management/time-based-accounts", request_body = AccountBody,
    responses((status = 200, body = Made)))]
pub(super) async fn create(
    State(control): State<Control>,
    Extension(key): Extension<Key>,
    Loose(body): Loose<AccountBody>,
) -> Result<Json<Made>, Trouble> {
    let (row, _, secret) = make(&control, &key, body, Kind::TimeBased, Signal::Logs).await?;
    Ok(Json(Made {
        account_id: row.account.id.0,
        account_token: secret.reveal().to_owned(),
    }))
}

/// Changes a sub-account's name, and what is kept for it.
#[utoipa::path(put, path = "/v1/account-management/time-based-accounts/{id}", params(("id" = u64, Path)),
    request_body = AccountBody, responses((status = 204)))]
pub(super) async fn change(
    State(control): State<Control>,
    Extension(key): Extension<Key>,
    Loose(body): Loose<AccountBody>,
) -> Result<StatusCode, Trouble> {
    changed(&control, &key, body).await?.finish().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes a sub-account; its shipping tokens are revoked.
#[utoipa::path(delete, path = "/v1/account-management/time-based-accounts/{id}", params(("id" = u64, Path)),
    responses((status = 204)))]
pub(super) async fn delete(
    State(control): State<Control>,
    Extension(key): Extension<Key>,
) -> Result<StatusCode, Trouble> {
    let mut commit = control.inner.store.begin(&key.errand).await?;
    remove(&mut commit, key.id).await?;
    commit.finish().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A new sub-account with one shipping token.
pub(super) async fn make(
    control: &Control,
    key: &Key,
    mut body: AccountBody,
    kind: Kind,
    signal: Signal,
) -> Result<(AccountRow, Kept, Secret), Trouble> {
    let name = name(body.account_name.take().unwrap_or_default())?;
    body.names_only_reached(control, key.account).await?;
    let mut kept = Kept {
        kind,
        ..Kept::default()
    };
    kept.set(body)?;
    let mut set = Settings::default();
    set.limits.draw_on_main();
    let mut commit = control.inner.store.begin(&key.errand).await?;
    let new = NewAccount {
        name,
        parent: Some(key.account),
        // A sub-account has its main account's.
        plan: Plan::Community,
        accessible: true,
        set,
    };
    let row = commit.insert_account(new).await?;
    let id = row.account.id.0;
    commit.keep(id, None, kept.json()).await?;
    let token = new_token(id, signal, TOKEN_NAME.to_owned());
    let (_, secret) = commit.insert_token(token).await?;
    commit.finish().await?;
    Ok((row, kept, secret))
}

/// The commit, with the sub-account as the body says.
pub(super) async fn changed(
    control: &Control,
    key: &Key,
    mut body: AccountBody,
) -> Result<Commit, Trouble> {
    // Before the writer is held: names are looked up one by one.
    body.names_only_reached(control, key.account).await?;
    let mut commit = control.inner.store.begin(&key.errand).await?;
    let old = commit.account(key.id).await?;
    let before = Kept::read(&commit.kept(key.id).await?)?;
    let mut kept = before.clone();
    let mut edit = AccountEdit::from(&old);
    // Callers leave out, or leave empty, what is to stay.
    if let Some(text) = body.account_name.take().filter(|text| !text.is_empty()) {
        edit.name = name(text)?;
    }
    kept.set(body)?;
    commit.update_account(&old, edit).await?;
    commit
        .keep(key.id, Some(before.json()), kept.json())
        .await?;
    Ok(commit)
}

/// Ends a sub-account and all that is its own.
pub(super) async fn remove(commit: &mut Commit, id: u64) -> Result<(), Trouble> {
    commit.revoke_tokens_of(id, TOKENS_MAX).await?;
    Ok(commit.delete_account(id).await?)
}

/// A main account's sub-accounts of that kind.
pub(super) async fn sub_accounts(
    control: &Control,
    main: u64,
    kind: Kind,
) -> Result<Reached, Trouble> {
    let store = &control.inner.store;
    let limit = u32::try_from(LIST_MAX)
        .unwrap_or(u32::MAX)
        .saturating_add(1);
    let mut kept_of = store.kept_of(main, limit).await?;
    if kept_of.len() > LIST_MAX {
        return Err(Trouble::new(
            StatusCode::CONFLICT,
            format!(
                "account {main} has more than {LIST_MAX} sub-accounts; GET /api/v1/accounts lists them in pages"
            ),
        ));
    }
    let (mut names, mut found) = (BTreeMap::new(), Vec::new());
    let reached = AccountFilter {
        home: Some(main),
        ..AccountFilter::default()
    };
    for row in store.accounts_of(&reached, 0, limit).await? {
        names.insert(row.account.id.0, row.account.name.clone());
        let Some(text) = kept_of.remove(&row.account.id.0) else {
            continue;
        };
        let kept = Kept::read(&text)?;
        if kept.kind == kind {
            found.push((row, kept));
        }
    }
    Ok(Reached { names, found })
}

fn model(row: &AccountRow, kept: Kept, names: &BTreeMap<u64, String>) -> AccountModel {
    // One that is reached no more has no name here.
    let sharing = kept.sharing_objects_accounts.into_iter().filter_map(|id| {
        Some(Sharing {
            account_id: id,
            account_name: names.get(&id)?.clone(),
        })
    });
    AccountModel {
        account_id: row.account.id.0,
        account_name: row.account.name.clone(),
        email: kept.email,
        is_flexible: kept.is_flexible,
        reserved_daily_gb: kept.reserved_daily_gb,
        max_daily_gb: kept.max_daily_gb,
        retention_days: kept.retention_days,
        searchable: kept.searchable,
        accessible: kept.accessible,
        doc_size_setting: kept.doc_size_setting,
        sharing_objects_accounts: sharing.collect(),
        utilization_settings: kept.utilization_settings,
    }
}
