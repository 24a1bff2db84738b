//! `/v1/log-shipping/tokens`: the account's shipping tokens for logs that are not revoked.

use axum::{Extension, Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    super::extract::name,
    guard::Key,
    trouble::Trouble,
    value::{Loose, boolean, seconds},
};
use crate::{
    clock,
    control::{
        Control,
        record::TokenRow,
        store::{Hands, NewToken, Shown, Sort, TokenPage},
    },
    model::{Secret, Signal, TokenState},
};

/// What a plan without a bound says, in a field that callers read into 32 bits.
const UNBOUNDED: u64 = i32::MAX as u64;
const PAGE_SIZE: u32 = 25;
const PAGE_SIZE_MAX: u32 = 1000;
const PAGE_NUMBER_MAX: u32 = 1_000_000;
const SORTS_MAX: usize = 4;

/// What a token is called, and whether it is enabled; a new one is, whatever is said.
#[derive(Deserialize, ToSchema)]
pub(super) struct TokenBody {
    name: Option<String>,
    #[serde(default, deserialize_with = "boolean")]
    enabled: Option<bool>,
}

/// A shipping token, and what it is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct TokenModel {
    name: String,
    id: u64,
    token: String,
    /// Seconds since 1970.
    updated_at: f64,
    updated_by: String,
    /// Seconds since 1970.
    created_at: f64,
    created_by: String,
    enabled: bool,
}

/// How many the plan allows, and how many are enabled.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Limits {
    max_allowed_tokens: u64,
    num_of_enabled_tokens: u64,
}

/// Which tokens.
#[derive(Default, Deserialize, ToSchema)]
pub(super) struct Search {
    filter: Option<SearchFilter>,
    sort: Option<Vec<SearchSort>>,
    pagination: Option<Pagination>,
}

/// Without `enabled`, both.
#[derive(Default, Deserialize, ToSchema)]
struct SearchFilter {
    #[serde(default, deserialize_with = "boolean")]
    enabled: Option<bool>,
}

/// By `createdAt`, `updatedAt` or `name`.
#[derive(Default, Deserialize, ToSchema)]
struct SearchSort {
    field: String,
    #[serde(default, deserialize_with = "boolean")]
    descending: Option<bool>,
}

/// Page 1 is the first; 25 to a page unless said otherwise, 1,000 at most.
#[derive(Clone, Copy, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Pagination {
    page_number: Option<u32>,
    page_size: Option<u32>,
}

/// A page of tokens, and how many there are.
#[derive(Serialize, ToSchema)]
pub(super) struct Found {
    total: u64,
    results: Vec<TokenModel>,
    pagination: Pagination,
}

/// Makes a shipping token for logs.
#[utoipa::path(post, path = "/v1/log-shipping/tokens", request_body = TokenBody,
    responses((status = 201, body = TokenModel)))]
pub(super) async fn create(
    State(control): State<Control>,
    Extension(key): Extension<Key>,
    Loose(new): Loose<TokenBody>,
) -> Result<(StatusCode, Json<TokenModel>), Trouble> {
    let name = name(new.name.unwrap_or_default())?;
    let mut commit = control.inner.store.begin(&key.errand).await?;
    let new = new_token(key.account, Signal::Logs, name);
    let (row, secret) = commit.insert_token(new).await?;
    commit.finish().await?;
    let hands = Hands::of(&key.who);
    Ok((StatusCode::CREATED, Json(model(row, &secret, hands))))
}

/// Shows a token; the audit log remembers that it was revealed.
#[utoipa::path(get, path = "/v1/log-shipping/tokens/{id}", params(("id" = u64, Path)),
    responses((status = 200, body = TokenModel)))]
pub(super) async fn show(
    State(control): State<Control>,
    Extension(key): Extension<Key>,
) -> Result<Json<TokenModel>, Trouble> {
    let store = &control.inner.store;
    let row = store.token(key.id).await?;
    let hands = hands(&control, key.id).await?;
    let secret = store
        .show_one(&key.errand, Shown::Shipping, key.account, key.id)
        .await?;
    Ok(Json(model(row, &secret, hands)))
}

/// Changes a token's name, and whether it is enabled. The last enabled one stays so, and one that was rotated while somebody
/// ships with it.
#[utoipa::path(put, path = "/v1/log-shipping/tokens/{id}", params(("id" = u64, Path)), request_body = TokenBody,
    responses((status = 200, body = TokenModel)))]
pub(super) async fn change(
    State(control): State<Control>,
    Extension(key): Extension<Key>,
    Loose(change): Loose<TokenBody>,
) -> Result<Json<TokenModel>, Trouble> {
    let new_name = change.name.map(name).transpose()?;
    let mut commit = control.inner.store.begin(&key.errand).await?;
    let old = commit.token(key.id).await?;
    let mut new = old.clone();
    new.name = new_name.unwrap_or(new.name);
    let mut action = "token.change";
    match (change.enabled, old.token.state) {
        (Some(false), TokenState::Live) => {
            commit.not_the_last(&old).await?;
            commit.nobody_sends(&old).await?;
            new.token.state = TokenState::Disabled;
            action = "token.disable";
        }
        (Some(true), TokenState::Disabled) => {
            new.token.state = TokenState::Live;
            action = "token.enable";
        }
        _ => {}
    }
    commit.names_token();
    let row = commit.update_token(action, &old, new).await?;
    let secret = commit.reveal_token(key.id).await?;
    commit.finish().await?;
    let hands = hands(&control, key.id).await?;
    Ok(Json(model(row, &secret, hands)))
}

/// Revokes a token for ever, and hides it. The last enabled one stays, and one that was rotated while somebody ships with it.
#[utoipa::path(delete, path = "/v1/log-shipping/tokens/{id}", params(("id" = u64, Path)),
    responses((status = 200, body = TokenModel)))]
pub(super) async fn delete(
    State(control): State<Control>,
    Extension(key): Extension<Key>,
) -> Result<Json<TokenModel>, Trouble> {
    let hands = hands(&control, key.id).await?;
    let mut commit = control.inner.store.begin(&key.errand).await?;
    let row = commit.token(key.id).await?;
    let secret = commit.reveal_token(key.id).await?;
    commit.names_token();
    commit.delete_token(key.id, false).await?;
    commit.finish().await?;
    Ok(Json(model(row, &secret, hands)))
}

/// Says how many tokens for logs may be enabled, and how many are.
#[utoipa::path(get, path = "/v1/log-shipping/tokens/limits", responses((status = 200, body = Limits)))]
pub(super) async fn limits(
    State(control): State<Control>,
    Extension(key): Extension<Key>,
) -> Result<Json<Limits>, Trouble> {
    let store = &control.inner.store;
    let plan = store.account(key.account).await?.plan;
    let most = plan.tokens_max(clock::wall_seconds()).unwrap_or(UNBOUNDED);
    Ok(Json(Limits {
        max_allowed_tokens: most,
        num_of_enabled_tokens: store.enabled_tokens(key.account, Signal::Logs).await?,
    }))
}

/// Lists tokens a page at a time, sorted as asked for; the audit log remembers each that was revealed.
#[utoipa::path(post, path = "/v1/log-shipping/tokens/search", request_body = Search,
    responses((status = 200, body = Found)))]
pub(super) async fn search(
    State(control): State<Control>,
    Extension(key): Extension<Key>,
    Loose(search): Loose<Search>,
) -> Result<Json<Found>, Trouble> {
    let (number, size) = search.pagination.unwrap_or_default().bounds()?;
    let page = TokenPage {
        account: key.account,
        signal: Signal::Logs,
        enabled: search.filter.and_then(|filter| filter.enabled),
        sort: sorts(&search.sort.unwrap_or_default())?,
        offset: u64::from(number - 1) * u64::from(size),
        limit: size,
    };
    let store = &control.inner.store;
    let (total, rows) = store.token_search(&page).await?;
    let ids: Vec<_> = rows.iter().map(|row| row.token.id.0).collect();
    let mut hands = store.token_hands(&ids).await?;
    let texts = store
        .show(&key.errand, Shown::Shipping, key.account, &ids)
        .await?;
    // What was revoked since it was found is left out.
    let results = rows.into_iter().filter_map(|row| {
        let id = row.token.id.0;
        let hands = hands.remove(&id).unwrap_or_default();
        Some(model(row, texts.get(&id)?, hands))
    });
    Ok(Json(Found {
        total,
        results: results.collect(),
        pagination: Pagination {
            page_number: Some(number),
            page_size: Some(size),
        },
    }))
}

/// Whose hands were on that token.
async fn hands(control: &Control, id: u64) -> Result<Hands, Trouble> {
    let mut hands = control.inner.store.token_hands(&[id]).await?;
    Ok(hands.remove(&id).unwrap_or_default())
}

/// A token that never ends, to be made.
pub(super) fn new_token(account: u64, signal: Signal, name: String) -> NewToken {
    NewToken {
        account,
        signal,
        name,
        expires_at: 0,
    }
}

fn model(row: TokenRow, secret: &Secret, hands: Hands) -> TokenModel {
    TokenModel {
        enabled: row.state(clock::wall_seconds()) == "live",
        id: row.token.id.0,
        token: secret.reveal().to_owned(),
        updated_at: seconds(row.updated_at),
        updated_by: hands.updated_by,
        created_at: seconds(row.created_at),
        created_by: hands.created_by,
        name: row.name,
    }
}

fn sorts(sorts: &[SearchSort]) -> Result<Vec<(Sort, bool)>, Trouble> {
    if sorts.len() > SORTS_MAX {
        return Err(Trouble::invalid(format!(
            "sort has {SORTS_MAX} fields at most"
        )));
    }
    let read = sorts.iter().map(|sort| {
        let by = match sort.field.as_str() {
            "createdAt" | "CREATED_AT" => Sort::CreatedAt,
            "updatedAt" | "UPDATED_AT" => Sort::UpdatedAt,
            "name" | "NAME" => Sort::Name,
            _ => {
                return Err(Trouble::invalid(
                    "a field to sort by is createdAt, updatedAt or name",
                ));
            }
        };
        Ok((by, sort.descending.unwrap_or(false)))
    });
    read.collect()
}

// === impl Pagination ===

impl Pagination {
    /// Which page, and how many to one.
    fn bounds(self) -> Result<(u32, u32), Trouble> {
        let (number, size) = (
            self.page_number.unwrap_or(1),
            self.page_size.unwrap_or(PAGE_SIZE),
        );
        if !(1..=PAGE_SIZE_MAX).contains(&size) {
            return Err(Trouble::invalid(format!(
                "pageSize must lie between 1 and {PAGE_SIZE_MAX}"
            )));
        }
        if !(1..=PAGE_NUMBER_MAX).contains(&number) {
            return Err(Trouble::invalid(format!(
                "pageNumber must lie between 1 and {PAGE_NUMBER_MAX}"
            )));
        }
        Ok((number, size))
    }
}
