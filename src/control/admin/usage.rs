//! `/accounts/{id}/usage`, `/shared/usage`, `/tokens/{id}/senders`: what was shipped, and by whom.

use std::{collections::BTreeMap, fmt::Write as _};

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    enforced::cut,
    extract::{Id, Query, seconds},
    problem::Problem,
    visitor::Visitor,
};
use crate::{
    control::{
        Control,
        record::{self, Millis, TokenRow, rfc3339},
        sight::Sight,
        store::{Cursor, Group, SeenSender, Select, Series, Step, TokenUse},
        view,
    },
    model::Signal,
};

/// Buckets between `from` and `to`, and rows of a page.
const BUCKETS_MAX: u64 = 1500;
const ROWS_MAX: u32 = 1500;

/// Which usage.
#[derive(Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct UsageQuery {
    /// RFC 3339; an hour, a day or thirty days before `to` unless said otherwise, by step
    from: Option<String>,
    /// RFC 3339; now unless said otherwise
    to: Option<String>,
    /// `minute`, `hour` (unless said otherwise) or `day`; 1,500 of them at most
    #[param(value_type = Option<String>)]
    step: Option<StepName>,
    #[param(value_type = Option<String>)]
    signal: Option<SignalName>,
    token: Option<u64>,
    /// `none` (unless said otherwise), `signal` or `token`
    #[param(value_type = Option<String>)]
    group: Option<GroupName>,
    after: Option<String>,
    limit: Option<u32>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StepName {
    Minute,
    Hour,
    Day,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SignalName {
    Logs,
    Metrics,
    Traces,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum GroupName {
    None,
    Signal,
    Token,
}

/// Buckets in the order of time, then of signals or tokens.
#[derive(Serialize, ToSchema)]
pub(super) struct Page {
    items: Vec<Bucket>,
    /// What to pass as `after` for the next page; null on the last one.
    next: Option<String>,
}

/// What was shipped in one bucket; one in which nothing happened is left out.
#[derive(Serialize, ToSchema)]
struct Bucket {
    /// RFC 3339, UTC.
    start: String,
    /// With `group=signal` and `group=token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<&'static str>,
    /// With `group=token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<u64>,
    /// Requests that presented a token of the account, refused ones too.
    requests: u64,
    /// Lines, log records, spans, data points, samples, histograms and exemplars read.
    items: u64,
    /// Bytes read, after inflation.
    bytes: u64,
    /// Of the items, those that the destination took.
    delivered_items: u64,
    delivered_bytes: u64,
    /// Refused requests by reason.
    refused: BTreeMap<String, u64>,
}

/// A token's record, and when it was last used.
#[derive(Serialize, ToSchema)]
pub(super) struct UsedToken {
    #[serde(flatten)]
    record: view::Token,
    /// Null when it never was; up to a minute old.
    last_used_at: Option<String>,
    /// The last five that shipped with it, the latest first; where a single token is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    senders: Option<Vec<SenderView>>,
}

/// Who ships with a token.
#[derive(Serialize, ToSchema)]
struct SenderView {
    /// Its `User-Agent`, cut; may be empty.
    agent: String,
    /// Where its connections come from: a proxy's, behind one.
    address: String,
    last_used_at: String,
}

/// The last five senders of a token, the latest first.
#[derive(Serialize, ToSchema)]
pub(super) struct Senders {
    items: Vec<SenderView>,
}

/// Shows an account's usage in buckets; as CSV with `Accept: text/csv`.
#[utoipa::path(get, path = "/accounts/{id}/usage", params(("id" = u64, Path), UsageQuery),
    responses((status = 200, content((Page = "application/json"), (String = "text/csv"))),
    (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn account(
    State(control): State<Control>,
    Id(id): Id,
    Query(query): Query<UsageQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    control.inner.store.account(id).await?;
    series(&control, id, None, query, &headers).await
}

/// Shows the usage of the shared token's account, as far as the token's filters match; otherwise as an account's usage is
/// shown to its people. Filters are joined by AND or OR; a filter on a field that usage doesn't have matches nothing.
#[utoipa::path(get, path = "/shared/usage", params(UsageQuery),
    responses((status = 200, content((Page = "application/json"), (String = "text/csv"))),
    (status = 400, body = Problem), (status = 401, body = Problem)))]
pub(super) async fn shared(
    State(control): State<Control>,
    Extension(visitor): Extension<Visitor>,
    Query(query): Query<UsageQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Visitor { account, sight } = visitor;
    series(&control, account, Some(sight), query, &headers).await
}

/// A page of an account's usage, as far as it may be seen.
async fn series(
    control: &Control,
    account: u64,
    sight: Option<Sight>,
    query: UsageQuery,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let limit = query.limit.unwrap_or(ROWS_MAX);
    if !(1..=ROWS_MAX).contains(&limit) {
        return Err(Problem::invalid(format!(
            "limit must lie between 1 and {ROWS_MAX}"
        )));
    }
    let mut select = query.select(account, record::now())?;
    select.sight = sight;
    // One row more tells whether there is a next page.
    select.limit = limit + 1;
    let mut rows = control.inner.store.usage(&select).await?;
    let next = cut(&mut rows, limit, |row| cursor_text(row.at));
    Ok(if wants_csv(headers) {
        csv(&rows, next)
    } else {
        let items = rows.into_iter().map(Bucket::from).collect();
        Json(Page { items, next }).into_response()
    })
}

/// Shows who shipped with a token last.
#[utoipa::path(get, path = "/tokens/{id}/senders", params(("id" = u64, Path)),
    responses((status = 200, body = Senders), (status = 404, body = Problem)))]
pub(super) async fn senders(
    State(control): State<Control>,
    Id(id): Id,
) -> Result<Json<Senders>, Problem> {
    let store = &control.inner.store;
    store.token(id).await?;
    let used = store.token_uses(&[id]).await?.remove(&id);
    Ok(Json(Senders {
        items: senders_of(used),
    }))
}

/// Records of tokens with their last use.
pub(super) async fn used(control: &Control, rows: &[TokenRow]) -> Result<Vec<UsedToken>, Problem> {
    let ids: Vec<_> = rows.iter().map(|row| row.token.id.0).collect();
    let uses = control.inner.store.token_uses(&ids).await?;
    let last_used_at = |id| {
        uses.get(&id)
            .map(|used: &TokenUse| rfc3339(used.last_used_at))
    };
    let tokens = rows.iter().map(|row| UsedToken {
        record: row.into(),
        last_used_at: last_used_at(row.token.id.0),
        senders: None,
    });
    Ok(tokens.collect())
}

/// A token's record with its last use and its senders.
pub(super) async fn used_one(control: &Control, row: &TokenRow) -> Result<UsedToken, Problem> {
    let id = row.token.id.0;
    let used = control.inner.store.token_uses(&[id]).await?.remove(&id);
    Ok(UsedToken {
        record: row.into(),
        last_used_at: used.as_ref().map(|used| rfc3339(used.last_used_at)),
        senders: Some(senders_of(used)),
    })
}

fn senders_of(used: Option<TokenUse>) -> Vec<SenderView> {
    let senders = used.unwrap_or_default().senders;
    senders.into_iter().map(SenderView::from).collect()
}

// === impl UsedToken ===

impl UsedToken {
    pub(super) fn id(&self) -> u64 {
        self.record.id
    }
}

// === impl UsageQuery ===

impl UsageQuery {
    fn select(&self, account: u64, now: Millis) -> Result<Select, Problem> {
        let (step, buckets) = match self.step {
            Some(StepName::Minute) => (Step::Minute, 60),
            None | Some(StepName::Hour) => (Step::Hour, 24),
            Some(StepName::Day) => (Step::Day, 30),
        };
        let millis = |text: &String| seconds(text).map(|at| u64::from(at) * 1000);
        let to = self.to.as_ref().map(millis).transpose()?.unwrap_or(now);
        let from = match &self.from {
            Some(from) => millis(from)?,
            None => to.saturating_sub(buckets * step.millis()),
        };
        if from >= to {
            return Err(Problem::invalid("from must lie before to"));
        }
        // The bucket that `from` lies in is shown whole.
        let from = step.start(from);
        if (to - from).div_ceil(step.millis()) > BUCKETS_MAX {
            return Err(Problem::invalid(format!(
                "there are more than {BUCKETS_MAX} buckets between from and to; \
                 ask for less time, or for a longer step"
            )));
        }
        Ok(Select {
            account,
            step,
            from,
            to,
            signal: self.signal.map(|signal| match signal {
                SignalName::Logs => Signal::Logs,
                SignalName::Metrics => Signal::Metrics,
                SignalName::Traces => Signal::Traces,
            }),
            token: self.token,
            group: match self.group {
                None | Some(GroupName::None) => Group::None,
                Some(GroupName::Signal) => Group::Signal,
                Some(GroupName::Token) => Group::Token,
            },
            sight: None,
            after: self.after.as_deref().map(cursor_of).transpose()?,
            limit: ROWS_MAX,
        })
    }
}

fn cursor_text(at: Cursor) -> String {
    format!("{}.{}", at.start, at.key)
}

fn cursor_of(text: &str) -> Result<Cursor, Problem> {
    let numbers = text.split_once('.');
    let read = numbers.and_then(|(start, key)| {
        Some(Cursor {
            start: start.parse().ok()?,
            key: key.parse().ok()?,
        })
    });
    read.ok_or_else(|| Problem::invalid("after must be the next of a page before"))
}

/// The first of the two that is named and not ruled out; JSON when none is.
fn wants_csv(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter();
    accepted
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter(|range| !is_ruled_out(range))
        .filter_map(|range| range.split(';').next())
        .map(|kind| kind.trim().to_ascii_lowercase())
        .find(|kind| matches!(kind.as_str(), "text/csv" | "application/json"))
        .as_deref()
        == Some("text/csv")
}

/// Whether its weight is 0: `q=0`, `q=0.000`.
fn is_ruled_out(range: &str) -> bool {
    range.split(';').skip(1).any(|parameter| {
        let weight = parameter
            .split_once('=')
            .filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
        weight.is_some_and(|(_, weight)| weight.trim().parse() == Ok(0.0_f32))
    })
}

/// Every cell is a number, a time, or one of our own words: none needs quotes.
fn csv(rows: &[Series], next: Option<String>) -> Response {
    let mut text = String::from(
        "start,signal,token,requests,items,bytes,delivered_items,delivered_bytes,refused,refused_by_reason\r\n",
    );
    for row in rows {
        let signal = row.signal.map_or("", Signal::name);
        let token = row.token.map(|token| token.to_string()).unwrap_or_default();
        let refused: u64 = row
            .refused
            .values()
            .fold(0, |sum, it| sum.saturating_add(*it));
        let reasons: Vec<_> = row
            .refused
            .iter()
            .map(|(reason, requests)| format!("{reason}={requests}"))
            .collect();
        let _ = write!(
            text,
            "{},{signal},{token},{},{},{},{},{},{refused},{}\r\n",
            rfc3339(row.at.start),
            row.requests,
            row.items,
            row.bytes,
            row.delivered_items,
            row.delivered_bytes,
            reasons.join(" "),
        );
    }
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/csv; charset=utf-8; header=present"),
    );
    // CSV has no place for it.
    if let Some(next) = next.and_then(|next| HeaderValue::try_from(next).ok()) {
        headers.insert("x-next", next);
    }
    response
}

// === impl Bucket ===

impl From<Series> for Bucket {
    fn from(row: Series) -> Self {
        Self {
            start: rfc3339(row.at.start),
            signal: row.signal.map(Signal::name),
            token: row.token,
            requests: row.requests,
            items: row.items,
            bytes: row.bytes,
            delivered_items: row.delivered_items,
            delivered_bytes: row.delivered_bytes,
            refused: row.refused,
        }
    }
}

// === impl SenderView ===

impl From<SeenSender> for SenderView {
    fn from(sender: SeenSender) -> Self {
        Self {
            agent: sender.agent,
            address: sender.address.to_string(),
            last_used_at: rfc3339(sender.last_used_at),
        }
    }
}
