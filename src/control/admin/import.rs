//! `/tokens/import`: tokens that somebody else has made, a line each. The body is read as it comes and written batch by
//! batch, so that a file of a million takes the memory of one batch.

mod line;
mod lines;
mod once;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use axum::{
    Json,
    extract::{Request, State},
    http::{StatusCode, request::Parts},
    response::{IntoResponse as _, Response},
};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    caller::Permit,
    enforced::{Wait, answer},
    extract::{Query, Reference},
    given::{Giver, WITHHELD},
    guard,
    problem::Problem,
    rule::Place,
};
use crate::control::{
    Control,
    publish::Published,
    record::AccountRow,
    store::{Commit, Imported},
};
use line::{Defaults, Given};
use lines::Lines;
use once::Keyed;

/// Lines of a batch: a delta of some 250 KiB, and the writer is held for a fraction of a second.
const BATCH_LINES: usize = 5_000;
/// Their bytes: lines with many networks are long in a delta, too.
const BATCH_BYTES: usize = 2 << 20;
/// Refused lines that are named.
const REFUSALS_MAX: usize = 1_000;

/// What holds for lines that don't say it, and what to wait for.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ImportQuery {
    account: Option<Reference>,
    signal: Option<String>,
    wait: Option<String>,
    timeout_ms: Option<u64>,
}

/// What has become of the lines.
#[derive(Default, Serialize, ToSchema)]
struct ImportAnswer {
    /// Lines that are not empty.
    lines: u64,
    /// Tokens that are new.
    made: u64,
    /// Tokens that were there already, for the same account and signal: unchanged.
    known: u64,
    refused: u64,
    /// The first thousand of them.
    refusals: Vec<Refusal>,
}

/// A line that made no token.
#[derive(Serialize, ToSchema)]
struct Refusal {
    /// From 1, empty ones counted.
    line: u64,
    reason: String,
}

/// An import under way.
struct Import {
    control: Control,
    permit: Permit,
    defaults: Defaults,
    batch: Vec<(u64, Given)>,
    batch_bytes: usize,
    answer: ImportAnswer,
    published: Option<Published>,
}

/// Takes in tokens, one a line: `{"token", "account", "signal", "name", "description", "sources", "rates", "expires_at",
/// "enabled"}`, of which only the token must be there when the query says account and signal, or the bare token. What is there
/// already is left as it is, so that a file can be sent again; under an `Idempotency-Key` it is answered again, too, unless it
/// broke off.
/// What the plan has no room for is refused, line by line: disabled and expired ones, too, past 1,000 of an account and signal.
/// Nothing that it changes has an ETag: it takes no `If-Match`.
#[utoipa::path(post, path = "/tokens/import", request_body(content = String, content_type = "application/x-ndjson"),
    params(("account" = Option<String>, Query, description = "Of lines that name none"),
    ("signal" = Option<String>, Query, description = "Of lines that name none"),
    ("wait" = Option<String>, Query), ("timeout_ms" = Option<u64>, Query)),
    responses((status = 200, body = ImportAnswer), (status = 400, body = Problem), (status = 409, body = Problem),
    (status = 412, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn tokens(
    State(control): State<Control>,
    Query(query): Query<ImportQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let waiting = Wait::read(query.wait.as_deref(), query.timeout_ms)?;
    let wait = waiting.duration(&control)?;
    let beside = [query.account.as_ref().map(said), query.signal.clone()];
    let defaults = Defaults::new(query.account, query.signal.as_deref())?;
    let (mut parts, body) = request.into_parts();
    let permit = guard::permitted(&parts)?;
    let mut keyed = Keyed::take(&control, &permit, &parts, &beside)?;
    let mut body = body.into_data_stream();
    if let Some(keyed) = &mut keyed
        && let Some(first) = keyed.first().await?
    {
        while let Some(piece) = body.next().await {
            keyed.passes(&piece.map_err(|_| broken_off())?);
        }
        guard::again(&control, &permit, &mut parts).await?;
        return keyed.again(first, &waiting).await;
    }
    let mut import = Import {
        control: control.clone(),
        permit,
        defaults,
        batch: Vec::new(),
        batch_bytes: 0,
        answer: ImportAnswer::default(),
        published: None,
    };
    let mut lines = Lines::default();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|_| broken_off())?;
        if let Some(keyed) = &mut keyed {
            keyed.passes(&piece);
        }
        lines.push(&piece);
        import.take(&mut lines, &mut parts).await?;
    }
    lines.end();
    import.take(&mut lines, &mut parts).await?;
    import.commit(&mut parts).await?;
    let (done, published) = import.done();
    if let Some(keyed) = keyed {
        let permit = guard::again(&control, &guard::permitted(&parts)?, &mut parts).await?;
        keyed.keep(&permit, &done).await?;
    }
    match published {
        Some(published) => answer(&control, published, wait, StatusCode::OK, done).await,
        // Nothing was changed, and nothing is waited for.
        None => Ok(Json(done).into_response()),
    }
}

fn broken_off() -> Problem {
    Problem::invalid("the body ended before its announced end")
}

/// One that is named by its digits is by its id, in a query too.
fn said(reference: &Reference) -> String {
    match reference {
        Reference::Id(id) => id.to_string(),
        Reference::Name(name) => name.clone(),
    }
}

// === impl Import ===

impl Import {
    /// Every whole line that has come.
    async fn take(&mut self, lines: &mut Lines, parts: &mut Parts) -> Result<(), Problem> {
        while let Some((number, line)) = lines.next() {
            self.answer.lines += 1;
            match line.and_then(|line| Ok((line.len(), self.defaults.read(&line)?))) {
                Err(reason) => self.refuse(number, reason),
                Ok((bytes, given)) => {
                    self.batch.push((number, given));
                    self.batch_bytes += bytes;
                }
            }
            if self.batch.len() >= BATCH_LINES || self.batch_bytes >= BATCH_BYTES {
                self.commit(parts).await?;
            }
        }
        Ok(())
    }

    /// What is answered, and the last of its commits.
    fn done(mut self) -> (Value, Option<Published>) {
        self.answer.refusals.sort_by_key(|refusal| refusal.line);
        let mut done = json!(self.answer);
        if let Some(published) = &self.published {
            done["revision"] = json!(published.revision);
        }
        (done, self.published)
    }

    fn refuse(&mut self, line: u64, reason: String) {
        self.answer.refused += 1;
        if self.answer.refusals.len() < REFUSALS_MAX {
            self.answer.refusals.push(Refusal { line, reason });
        }
    }

    /// Writes the batch in a commit of its own. Who sends is asked for again: they may be nobody by now.
    async fn commit(&mut self, parts: &mut Parts) -> Result<(), Problem> {
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        if batch.is_empty() {
            return Ok(());
        }
        self.permit = guard::again(&self.control, &self.permit, parts).await?;
        let giver = Giver::of(&self.control, &self.permit, true).await?;
        let errand = self.permit.errand();
        let mut commit = self.control.inner.store.begin(errand).await?;
        let accounts = accounts(&mut commit, &self.permit, &batch).await?;
        let mut numbers = Vec::with_capacity(batch.len());
        let mut tokens = Vec::with_capacity(batch.len());
        for (number, given) in batch {
            match accounts.get(&given.account) {
                Some(Ok(account)) => {
                    numbers.push(number);
                    tokens.push((account, given.token));
                }
                Some(Err(reason)) => self.refuse(number, reason.clone()),
                None => self.refuse(number, missing(&given.account)),
            }
        }
        let (mut made, mut withheld) = (0, 0);
        let outcomes = commit.import_tokens(&tokens, giver.home()).await?;
        for (number, outcome) in numbers.into_iter().zip(outcomes) {
            match outcome {
                Imported::Made => made += 1,
                Imported::Known => self.answer.known += 1,
                Imported::Refused(reason) => self.refuse(number, reason),
                Imported::Withheld => {
                    withheld += 1;
                    self.refuse(number, WITHHELD.to_owned());
                }
            }
        }
        // Before anything of the batch is made, or told.
        let is_told = giver.withheld(&self.control, withheld);
        if made > 0 && is_told.is_ok() {
            self.published = Some(commit.finish().await?);
            self.answer.made += made;
        } else {
            drop(commit);
        }
        if withheld > 0 {
            giver.note(&self.control);
        }
        is_told
    }
}

/// The accounts that a batch names, or why the caller can't put a token there; none is left out that there is.
async fn accounts(
    commit: &mut Commit,
    permit: &Permit,
    batch: &[(u64, Given)],
) -> Result<HashMap<Reference, Result<AccountRow, String>>, Problem> {
    let (mut ids, mut names) = (BTreeSet::new(), BTreeSet::new());
    for (_, given) in batch {
        match &given.account {
            Reference::Id(id) => ids.insert(*id),
            Reference::Name(name) => names.insert(name.as_str()),
        };
    }
    let ids: Vec<_> = ids.into_iter().collect();
    let names: Vec<_> = names.into_iter().collect();
    let rows = commit.accounts_at(&ids, &names).await?;
    let rows: BTreeMap<_, _> = rows.into_iter().map(|row| (row.account.id, row)).collect();
    let mut accounts = HashMap::new();
    for row in rows.into_values() {
        let id = row.account.id.0;
        let name = row.account.name.clone();
        let asked = [
            ids.binary_search(&id)
                .is_ok()
                .then(|| (Reference::Id(id), format!("account {id}"))),
            names
                .binary_search(&name.as_str())
                .is_ok()
                .then(|| (Reference::Name(name.clone()), OF_THAT_NAME.to_owned())),
        ];
        for (reference, called) in asked.into_iter().flatten() {
            let asked = permit.asks(&Place::of(called, &row));
            let account = asked.map(|()| row.clone());
            accounts.insert(reference, account.map_err(|no| no.detail().to_owned()));
        }
    }
    Ok(accounts)
}

/// Refusals don't repeat what a line says.
const OF_THAT_NAME: &str = "account of that name";

/// As one that the caller may not see.
fn missing(account: &Reference) -> String {
    match account {
        Reference::Id(id) => format!("there is no account {id}"),
        Reference::Name(_) => format!("there is no {OF_THAT_NAME}"),
    }
}
