//! The fields of OTLP's export requests, as far as a JSON form needs them.

/// A message: its fields by their protobuf names.
pub(super) struct Message(pub(super) &'static [Field]);

/// Name, number, and what its value is.
pub(super) struct Field(pub(super) &'static str, pub(super) u32, pub(super) Kind);

/// What stands in a field, or in each element of an array.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    One(&'static Message),
    /// An array of messages.
    Many(&'static Message),
    Text,
    /// An array of strings.
    Texts,
    /// Bytes that JSON writes in hexadecimal: trace and span ids.
    Hex,
    Base64,
    Scalar(Scalar),
    /// An array of numbers, packed.
    Packed(Scalar),
}

/// How a number or boolean is written.
#[derive(Clone, Copy)]
pub(super) enum Scalar {
    Bool,
    Double,
    Fixed32,
    Fixed64,
    /// Signed, in eight bytes.
    Sfixed64,
    /// Signed, as a varint of its two's complement; enumerations too.
    Int64,
    /// Zigzag.
    Sint32,
    Uint32,
    Uint64,
}

use Kind::{Base64, Hex, Many, One, Packed, Text, Texts};

const BOOL: Kind = Kind::Scalar(Scalar::Bool);
const DOUBLE: Kind = Kind::Scalar(Scalar::Double);
const ENUM: Kind = Kind::Scalar(Scalar::Int64);
const FIXED32: Kind = Kind::Scalar(Scalar::Fixed32);
const FIXED64: Kind = Kind::Scalar(Scalar::Fixed64);
const SFIXED64: Kind = Kind::Scalar(Scalar::Sfixed64);
const SINT32: Kind = Kind::Scalar(Scalar::Sint32);
const UINT32: Kind = Kind::Scalar(Scalar::Uint32);

pub(super) static LOGS: Message = Message(&[Field("resource_logs", 1, Many(&RESOURCE_LOGS))]);
pub(super) static METRICS: Message =
    Message(&[Field("resource_metrics", 1, Many(&RESOURCE_METRICS))]);
pub(super) static TRACES: Message = Message(&[Field("resource_spans", 1, Many(&RESOURCE_SPANS))]);

static RESOURCE_LOGS: Message = Message(&[
    Field("resource", 1, One(&RESOURCE)),
    Field("scope_logs", 2, Many(&SCOPE_LOGS)),
    Field("schema_url", 3, Text),
]);

static SCOPE_LOGS: Message = Message(&[
    Field("scope", 1, One(&SCOPE)),
    Field("log_records", 2, Many(&LOG_RECORD)),
    Field("schema_url", 3, Text),
]);

static LOG_RECORD: Message = Message(&[
    Field("time_unix_nano", 1, FIXED64),
    Field("observed_time_unix_nano", 11, FIXED64),
    Field("severity_number", 2, ENUM),
    Field("severity_text", 3, Text),
    Field("body", 5, One(&ANY_VALUE)),
    Field("attributes", 6, Many(&KEY_VALUE)),
    Field("dropped_attributes_count", 7, UINT32),
    Field("flags", 8, FIXED32),
    Field("trace_id", 9, Hex),
    Field("span_id", 10, Hex),
    Field("event_name", 12, Text),
]);

static RESOURCE: Message = Message(&[
    Field("attributes", 1, Many(&KEY_VALUE)),
    Field("dropped_attributes_count", 2, UINT32),
    Field("entity_refs", 3, Many(&ENTITY_REF)),
]);

static ENTITY_REF: Message = Message(&[
    Field("schema_url", 1, Text),
    Field("type", 2, Text),
    Field("id_keys", 3, Texts),
    Field("description_keys", 4, Texts),
]);

static SCOPE: Message = Message(&[
    Field("name", 1, Text),
    Field("version", 2, Text),
    Field("attributes", 3, Many(&KEY_VALUE)),
    Field("dropped_attributes_count", 4, UINT32),
]);

static KEY_VALUE: Message = Message(&[Field("key", 1, Text), Field("value", 2, One(&ANY_VALUE))]);

static ANY_VALUE: Message = Message(&[
    Field("string_value", 1, Text),
    Field("bool_value", 2, BOOL),
    Field("int_value", 3, Kind::Scalar(Scalar::Int64)),
    Field("double_value", 4, DOUBLE),
    Field("array_value", 5, One(&ARRAY_VALUE)),
    Field("kvlist_value", 6, One(&KEY_VALUE_LIST)),
    Field("bytes_value", 7, Base64),
]);

static ARRAY_VALUE: Message = Message(&[Field("values", 1, Many(&ANY_VALUE))]);
static KEY_VALUE_LIST: Message = Message(&[Field("values", 1, Many(&KEY_VALUE))]);

static RESOURCE_SPANS: Message = Message(&[
    Field("resource", 1, One(&RESOURCE)),
    Field("scope_spans", 2, Many(&SCOPE_SPANS)),
    Field("schema_url", 3, Text),
]);

static SCOPE_SPANS: Message = Message(&[
    Field("scope", 1, One(&SCOPE)),
    Field("spans", 2, Many(&SPAN)),
    Field("schema_url", 3, Text),
]);

static SPAN: Message = Message(&[
    Field("trace_id", 1, Hex),
    Field("span_id", 2, Hex),
    Field("trace_state", 3, Text),
    Field("parent_span_id", 4, Hex),
    Field("flags", 16, FIXED32),
    Field("name", 5, Text),
    Field("kind", 6, ENUM),
    Field("start_time_unix_nano", 7, FIXED64),
    Field("end_time_unix_nano", 8, FIXED64),
    Field("attributes", 9, Many(&KEY_VALUE)),
    Field("dropped_attributes_count", 10, UINT32),
    Field("events", 11, Many(&EVENT)),
    Field("dropped_events_count", 12, UINT32),
    Field("links", 13, Many(&LINK)),
    Field("dropped_links_count", 14, UINT32),
    Field("status", 15, One(&STATUS)),
]);

static EVENT: Message = Message(&[
    Field("time_unix_nano", 1, FIXED64),
    Field("name", 2, Text),
    Field("attributes", 3, Many(&KEY_VALUE)),
    Field("dropped_attributes_count", 4, UINT32),
]);

static LINK: Message = Message(&[
    Field("trace_id", 1, Hex),
    Field("span_id", 2, Hex),
    Field("trace_state", 3, Text),
    Field("attributes", 4, Many(&KEY_VALUE)),
    Field("dropped_attributes_count", 5, UINT32),
    Field("flags", 6, FIXED32),
]);

static STATUS: Message = Message(&[Field("message", 2, Text), Field("code", 3, ENUM)]);

static RESOURCE_METRICS: Message = Message(&[
    Field("resource", 1, One(&RESOURCE)),
    Field("scope_metrics", 2, Many(&SCOPE_METRICS)),
    Field("schema_url", 3, Text),
]);

static SCOPE_METRICS: Message = Message(&[
    Field("scope", 1, One(&SCOPE)),
    Field("metrics", 2, Many(&METRIC)),
    Field("schema_url", 3, Text),
]);

static METRIC: Message = Message(&[
    Field("name", 1, Text),
    Field("description", 2, Text),
    Field("unit", 3, Text),
    Field("gauge", 5, One(&GAUGE)),
    Field("sum", 7, One(&SUM)),
    Field("histogram", 9, One(&HISTOGRAM)),
    Field("exponential_histogram", 10, One(&EXPONENTIAL_HISTOGRAM)),
    Field("summary", 11, One(&SUMMARY)),
    Field("metadata", 12, Many(&KEY_VALUE)),
]);

static GAUGE: Message = Message(&[Field("data_points", 1, Many(&NUMBER_POINT))]);

static SUM: Message = Message(&[
    Field("data_points", 1, Many(&NUMBER_POINT)),
    Field("aggregation_temporality", 2, ENUM),
    Field("is_monotonic", 3, BOOL),
]);

static HISTOGRAM: Message = Message(&[
    Field("data_points", 1, Many(&HISTOGRAM_POINT)),
    Field("aggregation_temporality", 2, ENUM),
]);

static EXPONENTIAL_HISTOGRAM: Message = Message(&[
    Field("data_points", 1, Many(&EXPONENTIAL_POINT)),
    Field("aggregation_temporality", 2, ENUM),
]);

static SUMMARY: Message = Message(&[Field("data_points", 1, Many(&SUMMARY_POINT))]);

static NUMBER_POINT: Message = Message(&[
    Field("attributes", 7, Many(&KEY_VALUE)),
    Field("start_time_unix_nano", 2, FIXED64),
    Field("time_unix_nano", 3, FIXED64),
    Field("as_double", 4, DOUBLE),
    Field("as_int", 6, SFIXED64),
    Field("exemplars", 5, Many(&EXEMPLAR)),
    Field("flags", 8, UINT32),
]);

static HISTOGRAM_POINT: Message = Message(&[
    Field("attributes", 9, Many(&KEY_VALUE)),
    Field("start_time_unix_nano", 2, FIXED64),
    Field("time_unix_nano", 3, FIXED64),
    Field("count", 4, FIXED64),
    Field("sum", 5, DOUBLE),
    Field("bucket_counts", 6, Packed(Scalar::Fixed64)),
    Field("explicit_bounds", 7, Packed(Scalar::Double)),
    Field("exemplars", 8, Many(&EXEMPLAR)),
    Field("flags", 10, UINT32),
    Field("min", 11, DOUBLE),
    Field("max", 12, DOUBLE),
]);

static EXPONENTIAL_POINT: Message = Message(&[
    Field("attributes", 1, Many(&KEY_VALUE)),
    Field("start_time_unix_nano", 2, FIXED64),
    Field("time_unix_nano", 3, FIXED64),
    Field("count", 4, FIXED64),
    Field("sum", 5, DOUBLE),
    Field("scale", 6, SINT32),
    Field("zero_count", 7, FIXED64),
    Field("positive", 8, One(&BUCKETS)),
    Field("negative", 9, One(&BUCKETS)),
    Field("flags", 10, UINT32),
    Field("exemplars", 11, Many(&EXEMPLAR)),
    Field("min", 12, DOUBLE),
    Field("max", 13, DOUBLE),
    Field("zero_threshold", 14, DOUBLE),
]);

static BUCKETS: Message = Message(&[
    Field("offset", 1, SINT32),
    Field("bucket_counts", 2, Packed(Scalar::Uint64)),
]);

static SUMMARY_POINT: Message = Message(&[
    Field("attributes", 7, Many(&KEY_VALUE)),
    Field("start_time_unix_nano", 2, FIXED64),
    Field("time_unix_nano", 3, FIXED64),
    Field("count", 4, FIXED64),
    Field("sum", 5, DOUBLE),
    Field("quantile_values", 6, Many(&QUANTILE)),
    Field("flags", 8, UINT32),
]);

static QUANTILE: Message = Message(&[Field("quantile", 1, DOUBLE), Field("value", 2, DOUBLE)]);

static EXEMPLAR: Message = Message(&[
    Field("filtered_attributes", 7, Many(&KEY_VALUE)),
    Field("time_unix_nano", 2, FIXED64),
    Field("as_double", 3, DOUBLE),
    Field("as_int", 6, SFIXED64),
    Field("span_id", 4, Hex),
    Field("trace_id", 5, Hex),
]);
