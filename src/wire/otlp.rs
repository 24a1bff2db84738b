//! OTLP in protobuf: counts the log records, spans or data points of an export request, and checks all of it.

use super::{
    Fault,
    protobuf::{self, Kind, Message},
};
use crate::model::Signal;

/// A scan of one `Export{Logs,Metrics,Trace}ServiceRequest`.
#[derive(Debug)]
pub struct Scan(protobuf::Scan);

impl Scan {
    /// A scan of that signal's request.
    pub fn new(signal: Signal) -> Self {
        Self(protobuf::Scan::new(match signal {
            Signal::Logs => &LOGS_REQUEST,
            Signal::Metrics => &METRICS_REQUEST,
            Signal::Traces => &TRACE_REQUEST,
        }))
    }

    /// Takes the next piece.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.0.push(bytes)
    }

    /// The body has ended: its log records, data points or spans.
    pub fn finish(self) -> Result<u64, Fault> {
        self.0.finish().map(|[records, ..]| records)
    }
}

// The tables follow opentelemetry-proto 1.x; the names are its own.

use Kind::{
    Bytes, Fixed32, Fixed64, Fixed64s, Item, Message as Sub, Text, Varint as Integer,
    Varints as Integers,
};

const RECORDS: usize = 0;

static ANY_VALUE: Message = Message::new(&[
    (1, Text),
    (2, Integer),
    (3, Integer),
    (4, Fixed64),
    (5, Sub(&ARRAY_VALUE)),
    (6, Sub(&KEY_VALUE_LIST)),
    (7, Bytes),
    (8, Integer),
]);
static ARRAY_VALUE: Message = Message::new(&[(1, Sub(&ANY_VALUE))]);
static KEY_VALUE_LIST: Message = Message::new(&[(1, Sub(&KEY_VALUE))]);
static KEY_VALUE: Message = Message::new(&[(1, Text), (2, Sub(&ANY_VALUE)), (3, Integer)]);
static INSTRUMENTATION_SCOPE: Message =
    Message::new(&[(1, Text), (2, Text), (3, Sub(&KEY_VALUE)), (4, Integer)]);
static ENTITY_REF: Message = Message::new(&[(1, Text), (2, Text), (3, Text), (4, Text)]);
static RESOURCE: Message =
    Message::new(&[(1, Sub(&KEY_VALUE)), (2, Integer), (3, Sub(&ENTITY_REF))]);

static LOGS_REQUEST: Message = Message::new(&[(1, Sub(&RESOURCE_LOGS))]);
static RESOURCE_LOGS: Message =
    Message::new(&[(1, Sub(&RESOURCE)), (2, Sub(&SCOPE_LOGS)), (3, Text)]);
static SCOPE_LOGS: Message = Message::new(&[
    (1, Sub(&INSTRUMENTATION_SCOPE)),
    (2, Item(&LOG_RECORD, RECORDS)),
    (3, Text),
]);
static LOG_RECORD: Message = Message::new(&[
    (1, Fixed64),
    (2, Integer),
    (3, Text),
    (5, Sub(&ANY_VALUE)),
    (6, Sub(&KEY_VALUE)),
    (7, Integer),
    (8, Fixed32),
    (9, Bytes),
    (10, Bytes),
    (11, Fixed64),
    (12, Text),
]);

static TRACE_REQUEST: Message = Message::new(&[(1, Sub(&RESOURCE_SPANS))]);
static RESOURCE_SPANS: Message =
    Message::new(&[(1, Sub(&RESOURCE)), (2, Sub(&SCOPE_SPANS)), (3, Text)]);
static SCOPE_SPANS: Message = Message::new(&[
    (1, Sub(&INSTRUMENTATION_SCOPE)),
    (2, Item(&SPAN, RECORDS)),
    (3, Text),
]);
static SPAN: Message = Message::new(&[
    (1, Bytes),
    (2, Bytes),
    (3, Text),
    (4, Bytes),
    (5, Text),
    (6, Integer),
    (7, Fixed64),
    (8, Fixed64),
    (9, Sub(&KEY_VALUE)),
    (10, Integer),
    (11, Sub(&SPAN_EVENT)),
    (12, Integer),
    (13, Sub(&SPAN_LINK)),
    (14, Integer),
    (15, Sub(&SPAN_STATUS)),
    (16, Fixed32),
]);
static SPAN_EVENT: Message =
    Message::new(&[(1, Fixed64), (2, Text), (3, Sub(&KEY_VALUE)), (4, Integer)]);
static SPAN_LINK: Message = Message::new(&[
    (1, Bytes),
    (2, Bytes),
    (3, Text),
    (4, Sub(&KEY_VALUE)),
    (5, Integer),
    (6, Fixed32),
]);
static SPAN_STATUS: Message = Message::new(&[(2, Text), (3, Integer)]);

static METRICS_REQUEST: Message = Message::new(&[(1, Sub(&RESOURCE_METRICS))]);
static RESOURCE_METRICS: Message =
    Message::new(&[(1, Sub(&RESOURCE)), (2, Sub(&SCOPE_METRICS)), (3, Text)]);
static SCOPE_METRICS: Message = Message::new(&[
    (1, Sub(&INSTRUMENTATION_SCOPE)),
    (2, Sub(&METRIC)),
    (3, Text),
]);
static METRIC: Message = Message::new(&[
    (1, Text),
    (2, Text),
    (3, Text),
    (5, Sub(&GAUGE)),
    (7, Sub(&SUM)),
    (9, Sub(&HISTOGRAM)),
    (10, Sub(&EXPONENTIAL_HISTOGRAM)),
    (11, Sub(&SUMMARY)),
    (12, Sub(&KEY_VALUE)),
]);
static GAUGE: Message = Message::new(&[(1, Item(&NUMBER_DATA_POINT, RECORDS))]);
static SUM: Message = Message::new(&[
    (1, Item(&NUMBER_DATA_POINT, RECORDS)),
    (2, Integer),
    (3, Integer),
]);
static HISTOGRAM: Message =
    Message::new(&[(1, Item(&HISTOGRAM_DATA_POINT, RECORDS)), (2, Integer)]);
static EXPONENTIAL_HISTOGRAM: Message = Message::new(&[
    (1, Item(&EXPONENTIAL_HISTOGRAM_DATA_POINT, RECORDS)),
    (2, Integer),
]);
static SUMMARY: Message = Message::new(&[(1, Item(&SUMMARY_DATA_POINT, RECORDS))]);
static NUMBER_DATA_POINT: Message = Message::new(&[
    (2, Fixed64),
    (3, Fixed64),
    (4, Fixed64),
    (5, Sub(&EXEMPLAR)),
    (6, Fixed64),
    (7, Sub(&KEY_VALUE)),
    (8, Integer),
]);
static HISTOGRAM_DATA_POINT: Message = Message::new(&[
    (2, Fixed64),
    (3, Fixed64),
    (4, Fixed64),
    (5, Fixed64),
    (6, Fixed64s),
    (7, Fixed64s),
    (8, Sub(&EXEMPLAR)),
    (9, Sub(&KEY_VALUE)),
    (10, Integer),
    (11, Fixed64),
    (12, Fixed64),
]);
static EXPONENTIAL_HISTOGRAM_DATA_POINT: Message = Message::new(&[
    (1, Sub(&KEY_VALUE)),
    (2, Fixed64),
    (3, Fixed64),
    (4, Fixed64),
    (5, Fixed64),
    (6, Integer),
    (7, Fixed64),
    (8, Sub(&BUCKETS)),
    (9, Sub(&BUCKETS)),
    (10, Integer),
    (11, Sub(&EXEMPLAR)),
    (12, Fixed64),
    (13, Fixed64),
    (14, Fixed64),
]);
static BUCKETS: Message = Message::new(&[(1, Integer), (2, Integers)]);
static SUMMARY_DATA_POINT: Message = Message::new(&[
    (2, Fixed64),
    (3, Fixed64),
    (4, Fixed64),
    (5, Fixed64),
    (6, Sub(&VALUE_AT_QUANTILE)),
    (7, Sub(&KEY_VALUE)),
    (8, Integer),
]);
static VALUE_AT_QUANTILE: Message = Message::new(&[(1, Fixed64), (2, Fixed64)]);
static EXEMPLAR: Message = Message::new(&[
    (2, Fixed64),
    (3, Fixed64),
    (4, Bytes),
    (5, Bytes),
    (6, Fixed64),
    (7, Sub(&KEY_VALUE)),
]);

#[cfg(test)]
mod tests;
