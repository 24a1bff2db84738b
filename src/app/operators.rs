//! The operators' port: `/metrics`, `/live`, `/ready`, `/version`, and the books.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    control::Control,
    directory::{Account, Directory},
    gateway::{
        admit::Memory,
        deliver::{
            archive::Archive,
            spool::{Listed, Spool},
        },
        listen::Gate,
    },
    model::{AccountId, Books, Loss, Page, Rejection, Signal, Tally},
    operate::{metrics::Metrics, process},
};

/// Everything the operators' pages are read from.
pub(super) struct Operators {
    pub(super) metrics: Metrics,
    pub(super) control: Option<Control>,
    pub(super) gateway: Option<GatewayParts>,
    pub(super) is_draining: AtomicBool,
    /// How many pages of metrics were begun, and the last one.
    pub(super) pages_begun: AtomicU64,
    pub(super) last_page: tokio::sync::Mutex<MetricsPage>,
}

/// A page of `/metrics`; numbers begin at 1.
#[derive(Default)]
pub(super) struct MetricsPage {
    number: u64,
    text: Bytes,
}

/// The gateway's side, where there is one.
pub(super) struct GatewayParts {
    pub(super) directory: Arc<Directory>,
    pub(super) memory: Arc<Memory>,
    pub(super) gate: Arc<Gate>,
    pub(super) archive: Archive,
    pub(super) spool: Spool,
    pub(super) fallen: CancellationToken,
}

type Answer = Response<Full<Bytes>>;

// === impl Operators ===

impl Operators {
    /// Answers one request.
    pub(super) async fn answer<B>(&self, request: Request<B>) -> Answer {
        let (request, _) = request.into_parts();
        if request.method != Method::GET && request.method != Method::HEAD {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "This page takes GET\n");
            answer
                .headers_mut()
                .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        let path = request.uri.path();
        match path {
            "/metrics" => self.metrics().await,
            "/live" => text(StatusCode::OK, "live\n"),
            "/ready" => self.ready(),
            "/version" => json_answer(
                StatusCode::OK,
                &json!({"name": "wharfinger", "version": env!("CARGO_PKG_VERSION")}),
            ),
            "/books" => self.books(),
            _ => match path.strip_prefix("/books/") {
                Some(account) => self.books_of(account),
                None => text(
                    StatusCode::NOT_FOUND,
                    "Pages: /metrics /live /ready /version /books /books/{account}\n",
                ),
            },
        }
    }

    /// One page is rendered at a time, and serves all who asked before it was begun: anybody may ask, over and over.
    async fn metrics(&self) -> Answer {
        let asked = self.pages_begun.load(Ordering::Acquire);
        let mut last = self.last_page.lock().await;
        if last.number <= asked {
            last.number = self.pages_begun.fetch_add(1, Ordering::AcqRel) + 1;
            last.text = self.render().into();
        }
        let mut answer = Response::new(Full::from(last.text.clone()));
        answer.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
        );
        answer
    }

    fn render(&self) -> String {
        self.state_gateway();
        if let Some(control) = &self.control {
            let gauges = self.metrics.gauges();
            let feed = control.feed_state();
            gauges.control_head_revision.set(feed.head as f64);
            let connected = feed
                .gateways
                .iter()
                .filter(|one| one.connected_since.is_some());
            gauges.control_gateways.set(connected.count() as f64);
        }
        self.state_process();
        self.metrics.render()
    }

    fn state_gateway(&self) {
        let Some(parts) = &self.gateway else { return };
        let gauges = self.metrics.gauges();
        let directory = &parts.directory;
        gauges.in_flight_bytes.set(parts.memory.bytes() as f64);
        gauges
            .in_flight_bytes_max
            .set(parts.memory.bytes_max() as f64);
        gauges
            .in_flight_requests
            .set(parts.memory.requests() as f64);
        gauges.connections.set(parts.gate.open() as f64);
        gauges.connections_accepted.absolute(parts.gate.accepted());
        let (refused_total, refused_address) = parts.gate.refused();
        gauges.connections_refused_total.absolute(refused_total);
        gauges.connections_refused_address.absolute(refused_address);
        gauges.directory_tokens.set(directory.tokens() as f64);
        gauges.directory_revision.set(directory.revision().0 as f64);
        let age = directory.age().map_or(-1.0, |age| age.as_secs_f64());
        gauges.directory_age.set(age);
        let fresh = if directory.is_fresh() { 1.0 } else { 0.0 };
        gauges.directory_fresh.set(fresh);
        for (counter, cuts) in gauges.connections_cut.iter().zip(parts.gate.cuts()) {
            counter.absolute(cuts);
        }
        gauges.accept_errors.absolute(parts.gate.accept_errors());
        let archive = parts.archive.usage();
        gauges.archive_bytes.set(archive.disk_bytes as f64);
        gauges.archive_queued_bytes.set(archive.queued_bytes as f64);
        gauges.archive_syncs.absolute(archive.syncs);
        gauges.archive_failures.absolute(archive.failures);
        gauges.archive_deleted_files.absolute(archive.deleted_files);
        self.state_spool(&parts.spool);
        gauges
            .directory_accounts
            .set(directory.accounts().len() as f64);
        // Also of accounts that are gone: a total never goes down.
        let books = directory.all_books();
        for signal in Signal::ALL {
            let mut sum = Page::default();
            for (_, books) in &books {
                sum.add(&books.page(signal));
            }
            self.metrics.state_books(signal, &sum);
        }
        let difference = difference(&books, &parts.spool.amounts());
        gauges.spool_difference[0].set(difference.items as f64);
        gauges.spool_difference[1].set(difference.bytes as f64);
    }

    fn state_spool(&self, spool: &Spool) {
        let (gauges, usage) = (self.metrics.gauges(), spool.usage());
        gauges.spool_bytes.set(usage.disk_bytes as f64);
        gauges.spool_records.set(usage.left.records as f64);
        gauges.spool_segments.set(usage.segments as f64);
        gauges
            .spool_failing
            .set(if usage.is_failing { 1.0 } else { 0.0 });
        gauges.spool_syncs.absolute(usage.syncs);
        gauges.spool_failures.absolute(usage.failures);
        gauges.spool_damaged_records.absolute(usage.damaged_records);
    }

    fn state_process(&self) {
        let (gauges, process) = (self.metrics.gauges(), process::read());
        for (gauge, value) in [
            (
                &gauges.process_resident_bytes,
                process.resident_bytes.map(|it| it as f64),
            ),
            (
                &gauges.process_open_fds,
                process.open_fds.map(|it| it as f64),
            ),
            (&gauges.process_max_fds, process.max_fds.map(|it| it as f64)),
            (&gauges.process_start_time, process.start_time_seconds),
        ] {
            // No limit, or no /proc: no figure is truer than a wrong one.
            gauge.set(value.unwrap_or(f64::NAN));
        }
    }

    /// Ready means: bound, and a token table once loaded that can be believed. It depends on neither control plane nor
    /// destination.
    fn ready(&self) -> Answer {
        let mut reasons = Vec::new();
        if self.is_draining.load(Ordering::Acquire) {
            reasons.push("draining");
        }
        let mut warnings = Vec::new();
        if let Some(parts) = &self.gateway {
            if parts.spool.usage().is_failing {
                warnings.push(
                    "the spool's disk fails: what a destination doesn't take is answered 503",
                );
            }
            if parts.fallen.is_cancelled() {
                reasons.push("a worker has died, and the process ends");
            }
            if !parts.directory.is_loaded() {
                reasons.push("no token table has been loaded yet");
            }
            if parts.directory.is_stale() {
                reasons.push("the token table is older than directory.stale_after");
            } else if !parts.directory.is_fresh() {
                warnings.push("the token table is not fresh: unknown tokens are answered 503");
            }
            if parts.directory.is_doubtful() {
                // Nothing is let in, so nothing should be sent here.
                reasons.push(
                    "the kept token table was damaged: every token is answered 503 until the feed has been caught up with",
                );
            }
        }
        let status = if reasons.is_empty() {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        json_answer(
            status,
            &json!({"ready": reasons.is_empty(), "reasons": reasons, "warnings": warnings}),
        )
    }

    fn books(&self) -> Answer {
        let accounts = self
            .gateway
            .as_ref()
            .map(|parts| parts.directory.accounts())
            .unwrap_or_default();
        let items: Vec<Value> = accounts
            .iter()
            .map(|account| account_books(account))
            .collect();
        json_answer(StatusCode::OK, &json!({ "items": items }))
    }

    fn books_of(&self, account: &str) -> Answer {
        let found = account.parse().ok().and_then(|id| {
            let directory = &self.gateway.as_ref()?.directory;
            let id = AccountId(id);
            let accounts = directory.accounts();
            accounts.into_iter().find(|account| account.record.id == id)
        });
        match found {
            Some(account) => json_answer(StatusCode::OK, &account_books(&account)),
            None => text(
                StatusCode::NOT_FOUND,
                "This gateway knows no such account\n",
            ),
        }
    }
}

/// What the books count as spooled and the spool doesn't, or the other way round.
fn difference(books: &[(AccountId, Arc<Books>)], spooled: &[Listed]) -> Tally {
    let mut left: HashMap<(AccountId, usize), Tally> = HashMap::new();
    for ((account, signal, _), amount) in spooled {
        *left.entry((*account, signal.index())).or_default() += amount.tally;
    }
    let mut difference = Tally::default();
    for (account, books) in books {
        for signal in Signal::ALL {
            let there = left.remove(&(*account, signal.index())).unwrap_or_default();
            let said = books.page(signal).spooled;
            difference += Tally::new(
                said.items.abs_diff(there.items),
                said.bytes.abs_diff(there.bytes),
            );
        }
    }
    left.values().fold(difference, |sum, there| sum + *there)
}

fn account_books(account: &Account) -> Value {
    let mut signals = Map::new();
    for signal in Signal::ALL {
        let page = account.books.page(signal);
        let refused: Map<String, Value> = Rejection::LABELS
            .iter()
            .zip(page.refused)
            .filter(|(_, tally)| *tally != Tally::default())
            .map(|(label, refused)| ((*label).to_owned(), tally(refused)))
            .collect();
        let lost: Map<String, Value> = Loss::ALL
            .iter()
            .zip(page.lost)
            .filter(|(_, tally)| *tally != Tally::default())
            .map(|(loss, lost)| (loss.label().to_owned(), tally(lost)))
            .collect();
        signals.insert(
            signal.name().to_owned(),
            json!({
                "received": tally(page.received),
                "delivered": tally(page.delivered),
                "refused": refused,
                "spooled": tally(page.spooled),
                "carried": tally(page.carried),
                "lost": tally(page.lost_in_all()),
                "lost_because": lost,
                "in_flight": tally(page.in_flight()),
            }),
        );
    }
    json!({"account": account.record.id.0, "name": account.record.name, "signals": signals})
}

fn tally(tally: Tally) -> Value {
    json!({"items": tally.items, "bytes": tally.bytes})
}

fn text(status: StatusCode, body: &'static str) -> Answer {
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    answer
}

fn json_answer(status: StatusCode, body: &Value) -> Answer {
    let mut answer = Response::new(Full::from(format!("{body}\n")));
    *answer.status_mut() = status;
    answer.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    answer
}
