//! Every metric, declared once with its help text, then held as a handle.
//!
//! Names follow Prometheus' conventions. No label is unbounded: totals are by signal, door and reason; figures by account are
//! in the books, over the API.

use std::{sync::Arc, time::Duration};

use metrics::{Counter, Gauge, Histogram, Label, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::model::{Door, Loss, Page, Rejection, Signal};

/// Why a connection was closed on its peer: values of the label `reason`.
pub const CUTS: [&str; 10] = [
    "first_byte",
    "handshake",
    "headers",
    "idle",
    "age",
    "write_stall",
    "control_flood",
    "resets",
    "protocol",
    "drain",
];

const OUTCOMES: usize = Rejection::LABELS.len() + OUTCOME_NAMES.len();
/// Of [`Outcome`]s that are no refusal, in their order.
const OUTCOME_NAMES: [&str; 4] = ["delivered", "partial", "client_gone", "answered"];
const SECONDS: [f64; 14] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];

/// How a request ended, as its counter knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it was taken.
    Delivered,
    /// Some of it was refused.
    Partial,
    /// The client hung up before there was an answer.
    ClientGone,
    /// A question was answered: nothing was to be delivered.
    Answered,
    /// By [`Rejection::index`].
    Refused(usize),
}

/// The registry of one process. Its handles are cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
    requests: RequestMetrics,
    books: Arc<[BookMetrics; 3]>,
    gauges: Arc<Gauges>,
}

/// What receipts count with.
#[derive(Clone, Debug)]
pub struct RequestMetrics(Arc<[DoorMetrics; 5]>);

#[derive(Debug)]
struct DoorMetrics {
    outcomes: [Counter; OUTCOMES],
    duration: Histogram,
}

#[derive(Debug)]
struct BookMetrics {
    received: [Counter; 2],
    delivered: [Counter; 2],
    refused: [[Counter; 2]; Rejection::LABELS.len()],
    lost: [[Counter; 2]; Loss::ALL.len()],
    carried: [Counter; 2],
    spooled: [Gauge; 2],
    in_flight: [Gauge; 2],
}

/// What is set when somebody looks.
#[derive(Debug)]
#[allow(missing_docs, reason = "each is documented by its help text below")]
pub struct Gauges {
    pub in_flight_bytes: Gauge,
    pub in_flight_bytes_max: Gauge,
    pub in_flight_requests: Gauge,
    pub connections: Gauge,
    pub connections_accepted: Counter,
    pub connections_refused_total: Counter,
    pub connections_refused_address: Counter,
    pub connections_cut: [Counter; CUTS.len()],
    pub accept_errors: Counter,
    pub directory_tokens: Gauge,
    pub directory_accounts: Gauge,
    pub directory_revision: Gauge,
    pub directory_age: Gauge,
    pub directory_fresh: Gauge,
    pub spool_bytes: Gauge,
    pub spool_records: Gauge,
    pub spool_segments: Gauge,
    pub spool_failing: Gauge,
    pub spool_syncs: Counter,
    pub spool_failures: Counter,
    pub spool_damaged_records: Counter,
    pub spool_difference: [Gauge; 2],
    pub archive_bytes: Gauge,
    pub archive_queued_bytes: Gauge,
    pub archive_syncs: Counter,
    pub archive_failures: Counter,
    pub archive_deleted_files: Counter,
    pub control_head_revision: Gauge,
    pub control_gateways: Gauge,
    pub process_resident_bytes: Gauge,
    pub process_open_fds: Gauge,
    pub process_max_fds: Gauge,
    pub process_start_time: Gauge,
}

/// Declares a metric and holds its handle: the one place where names and help texts stand.
struct Declare<'a>(&'a PrometheusRecorder);

// === impl Declare ===

impl Declare<'_> {
    fn counter(&self, name: &'static str, help: &'static str, labels: Vec<Label>) -> Counter {
        self.0.describe_counter(name.into(), None, help.into());
        self.0
            .register_counter(&metrics::Key::from_parts(name, labels), &METADATA)
    }

    fn gauge(&self, name: &'static str, help: &'static str, labels: Vec<Label>) -> Gauge {
        self.0.describe_gauge(name.into(), None, help.into());
        self.0
            .register_gauge(&metrics::Key::from_parts(name, labels), &METADATA)
    }

    fn histogram(&self, name: &'static str, help: &'static str, labels: Vec<Label>) -> Histogram {
        self.0
            .describe_histogram(name.into(), Some(Unit::Seconds), help.into());
        self.0
            .register_histogram(&metrics::Key::from_parts(name, labels), &METADATA)
    }
}

static METADATA: Metadata<'static> =
    Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

// === impl Metrics ===

impl Metrics {
    /// A registry of its own: several may live in one process.
    ///
    /// # Errors
    /// Never with these buckets; the exporter's builder can say no to empty ones.
    pub fn new() -> Result<Self, metrics_exporter_prometheus::BuildError> {
        let recorder = PrometheusBuilder::new()
            .set_buckets(&SECONDS)?
            .build_recorder();
        let declare = Declare(&recorder);
        let requests = RequestMetrics::declare(&declare);
        let books = Signal::ALL.map(|signal| BookMetrics::declare(&declare, signal));
        let gauges = Gauges::declare(&declare);
        declare
            .gauge(
                "wharfinger_build_info",
                "Always 1; its label says which version this is.",
                vec![Label::new("version", env!("CARGO_PKG_VERSION"))],
            )
            .set(1.0);
        Ok(Self {
            handle: recorder.handle(),
            requests,
            books: Arc::new(books),
            gauges: Arc::new(gauges),
        })
    }

    /// What receipts count with.
    pub fn requests(&self) -> RequestMetrics {
        self.requests.clone()
    }

    /// What is set just before a page is rendered.
    pub fn gauges(&self) -> &Gauges {
        &self.gauges
    }

    /// States a signal's books, summed over all accounts.
    pub fn state_books(&self, signal: Signal, page: &Page) {
        self.books[signal.index()].state(page);
    }

    /// The page that `/metrics` serves.
    pub fn render(&self) -> String {
        self.handle.run_upkeep();
        self.handle.render()
    }

    /// Histograms keep raw samples until somebody looks; without a scraper somebody else must, every few seconds.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

// === impl RequestMetrics ===

impl RequestMetrics {
    fn declare(declare: &Declare<'_>) -> Self {
        let door = |name: &'static str| DoorMetrics {
            outcomes: std::array::from_fn(|index| {
                let ended = OUTCOME_NAMES.get(index).copied();
                let outcome =
                    ended.unwrap_or_else(|| Rejection::LABELS[index - OUTCOME_NAMES.len()]);
                declare.counter(
                    "wharfinger_requests_total",
                    "Requests by door and how they ended; a refusal's outcome is its reason.",
                    vec![Label::new("door", name), Label::new("outcome", outcome)],
                )
            }),
            duration: declare.histogram(
                "wharfinger_request_duration_seconds",
                "From the end of a request's head to its answer.",
                vec![Label::new("door", name)],
            ),
        };
        let [a, b, c, d] = Door::ALL.map(|known| door(known.name()));
        Self(Arc::new([a, b, c, d, door("none")]))
    }

    /// A request has ended.
    pub fn ended(&self, door: Option<Door>, outcome: Outcome, after: Duration) {
        let metrics = &self.0[door.map_or(Door::ALL.len(), Door::index)];
        let index = match outcome {
            Outcome::Delivered => 0,
            Outcome::Partial => 1,
            Outcome::ClientGone => 2,
            Outcome::Answered => 3,
            Outcome::Refused(reason) => reason + OUTCOME_NAMES.len(),
        };
        metrics.outcomes[index].increment(1);
        metrics.duration.record(after.as_secs_f64());
    }
}

// === impl BookMetrics ===

impl BookMetrics {
    fn declare(declare: &Declare<'_>, signal: Signal) -> Self {
        let labels = || vec![Label::new("signal", signal.name())];
        let pair = |items, items_help, bytes, bytes_help, labels: Vec<Label>| {
            [
                declare.counter(items, items_help, labels.clone()),
                declare.counter(bytes, bytes_help, labels),
            ]
        };
        Self {
            received: pair(
                "wharfinger_items_received_total",
                "Items read: lines, log records, spans, data points, samples, histograms, exemplars.",
                "wharfinger_body_received_bytes_total",
                "Bytes of bodies read, after inflation.",
                labels(),
            ),
            delivered: pair(
                "wharfinger_items_delivered_total",
                "Items that their destination has taken.",
                "wharfinger_body_delivered_bytes_total",
                "Bytes of bodies that their destination has taken.",
                labels(),
            ),
            refused: std::array::from_fn(|reason| {
                let mut labels = labels();
                labels.push(Label::new("reason", Rejection::LABELS[reason]));
                pair(
                    "wharfinger_items_refused_total",
                    "Items read and refused, and the sender told.",
                    "wharfinger_body_refused_bytes_total",
                    "Bytes of bodies read and refused, and the sender told.",
                    labels,
                )
            }),
            lost: Loss::ALL.map(|loss| {
                let mut labels = labels();
                labels.push(Label::new("reason", loss.label()));
                pair(
                    "wharfinger_items_lost_total",
                    "Items that nobody took and nobody will: their request died in the gateway, or they were spooled and are over.",
                    "wharfinger_body_lost_bytes_total",
                    "Bytes of bodies that nobody took and nobody will.",
                    labels,
                )
            }),
            carried: pair(
                "wharfinger_items_carried_total",
                "Items that an earlier process received and that were found in the spool at the start.",
                "wharfinger_body_carried_bytes_total",
                "Bytes of bodies that an earlier process received and that were found in the spool at the start.",
                labels(),
            ),
            spooled: [
                declare.gauge(
                    "wharfinger_items_spooled",
                    "Items that are safe in the spool and not yet taken by their destination.",
                    labels(),
                ),
                declare.gauge(
                    "wharfinger_body_spooled_bytes",
                    "Bytes of bodies, after inflation, that are safe in the spool.",
                    labels(),
                ),
            ],
            in_flight: [
                declare.gauge(
                    "wharfinger_items_in_flight",
                    "Items read and not yet delivered, spooled, refused or lost.",
                    labels(),
                ),
                declare.gauge(
                    "wharfinger_body_in_flight_bytes",
                    "Bytes of bodies read and not yet delivered, spooled, refused or lost.",
                    labels(),
                ),
            ],
        }
    }

    fn state(&self, page: &Page) {
        let set = |[items, bytes]: &[Counter; 2], tally: crate::model::Tally| {
            items.absolute(tally.items);
            bytes.absolute(tally.bytes);
        };
        set(&self.received, page.received);
        set(&self.delivered, page.delivered);
        set(&self.carried, page.carried);
        for (counters, tally) in self.lost.iter().zip(page.lost) {
            set(counters, tally);
        }
        for (counters, tally) in self.refused.iter().zip(page.refused) {
            set(counters, tally);
        }
        for (gauges, tally) in [
            (&self.in_flight, page.in_flight()),
            (&self.spooled, page.spooled),
        ] {
            gauges[0].set(tally.items as f64);
            gauges[1].set(tally.bytes as f64);
        }
    }
}

// === impl Gauges ===

impl Gauges {
    #[rustfmt::skip]
    fn declare(declare: &Declare<'_>) -> Self {
        let gauge = |name, help| declare.gauge(name, help, Vec::new());
        let counter = |name, help| declare.counter(name, help, Vec::new());
        let refused = |scope| declare.counter(
            "wharfinger_connections_refused_total",
            "Connections closed at once, by the ceiling they were over.",
            vec![Label::new("ceiling", scope)],
        );
        Self {
            in_flight_bytes: gauge("wharfinger_memory_in_flight_bytes", "Body bytes held in memory now."),
            in_flight_bytes_max: gauge("wharfinger_memory_in_flight_max_bytes", "Ceiling on body bytes held in memory."),
            in_flight_requests: gauge("wharfinger_requests_in_flight", "Requests admitted and not yet answered."),
            connections: gauge("wharfinger_connections", "Connections open now."),
            connections_accepted: counter("wharfinger_connections_accepted_total", "Connections accepted."),
            connections_refused_total: refused("all"),
            connections_refused_address: refused("address"),
            connections_cut: CUTS.map(|reason| declare.counter(
                "wharfinger_connections_cut_total",
                "Connections closed on their peer, by the limit they were over or the rule they broke.",
                vec![Label::new("reason", reason)],
            )),
            accept_errors: counter("wharfinger_accept_errors_total", "Failed accepts: descriptors exhausted, connections gone before they were taken."),
            directory_tokens: gauge("wharfinger_directory_tokens", "Tokens in memory, tombstones included."),
            directory_accounts: gauge("wharfinger_directory_accounts", "Accounts in memory."),
            directory_revision: gauge("wharfinger_directory_revision", "The revision that this gateway enforces."),
            directory_age: gauge("wharfinger_directory_age_seconds", "Since the directory was last known to be current; -1 while it never was."),
            directory_fresh: gauge("wharfinger_directory_fresh", "1 while the directory is current, so that an unknown token is known not to exist."),
            spool_bytes: gauge("wharfinger_spool_bytes", "Bytes of the spool's files, and of what waits to be written."),
            spool_records: gauge("wharfinger_spool_records", "Bodies that are safe in the spool and not yet taken by their destination."),
            spool_segments: gauge("wharfinger_spool_segments", "Files of records in the spool."),
            spool_failing: gauge("wharfinger_spool_failing", "1 while the spool's disk fails and nothing is taken into it."),
            spool_syncs: counter("wharfinger_spool_syncs_total", "Syncs of spooled records."),
            spool_failures: counter("wharfinger_spool_failures_total", "Writes and syncs that failed; nothing of theirs was acknowledged."),
            spool_damaged_records: counter("wharfinger_spool_damaged_records_total", "Damaged pieces found in the spool and set aside."),
            spool_difference: [
                gauge("wharfinger_books_spool_difference_items", "Items that the books count as spooled and the spool doesn't, or the other way round. 0 but for a moment."),
                gauge("wharfinger_books_spool_difference_bytes", "The same in bytes of bodies. 0 but for a moment."),
            ],
            archive_bytes: gauge("wharfinger_archive_bytes", "Bytes of archive files on disk."),
            archive_queued_bytes: gauge("wharfinger_archive_queued_bytes", "Bytes of bodies that wait for the archive."),
            archive_syncs: counter("wharfinger_archive_syncs_total", "Files synced to disk."),
            archive_failures: counter("wharfinger_archive_failures_total", "Writes, syncs and file creations that failed; nothing of theirs was acknowledged."),
            archive_deleted_files: counter("wharfinger_archive_deleted_files_total", "Files deleted because their retention was over."),
            control_head_revision: gauge("wharfinger_control_head_revision", "The newest revision of the store; 0 without a control plane in this process."),
            control_gateways: gauge("wharfinger_control_gateways", "Gateways connected to this control plane."),
            process_resident_bytes: gauge("process_resident_memory_bytes", "Resident memory size in bytes."),
            process_open_fds: gauge("process_open_fds", "Number of open file descriptors."),
            process_max_fds: gauge("process_max_fds", "Maximum number of open file descriptors."),
            process_start_time: gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_help_and_a_name_by_prometheus_conventions() {
        let metrics = Metrics::new().expect("good buckets");
        let page = metrics.render();
        let mut kinds = 0;
        for line in page.lines() {
            let Some((name, kind)) = line
                .strip_prefix("# TYPE ")
                .and_then(|rest| rest.split_once(' '))
            else {
                continue;
            };
            kinds += 1;
            assert!(
                page.contains(&format!("# HELP {name} ")),
                "{name} has no help"
            );
            assert_eq!(
                name.ends_with("_total"),
                kind == "counter",
                "{name} is a {kind}"
            );
            let is_ours = name.starts_with("wharfinger_");
            assert!(is_ours || name.starts_with("process_"), "{name}");
        }
        assert!(kinds > 35, "only {kinds} metrics:\n{page}");
        for reason in CUTS {
            let line = format!("wharfinger_connections_cut_total{{reason=\"{reason}\"}} 0");
            assert!(page.contains(&line), "{line}");
        }
    }
}
