//! The messages of OTLP 1.x, field by field, in the order of `opentelemetry-proto`.

use super::super::proto_json::{Field, Kind, Message};

pub(super) static LOGS: Message = Message {
    fields: &[Field::many(1, "resourceLogs", Kind::Message(&RESOURCE_LOGS)).always()],
};

static RESOURCE_LOGS: Message = Message {
    fields: &[
        Field::one(1, "resource", Kind::Message(&RESOURCE)),
        Field::many(2, "scopeLogs", Kind::Message(&SCOPE_LOGS)),
        Field::one(3, "schemaUrl", Kind::Text),
    ],
};

static SCOPE_LOGS: Message = Message {
    fields: &[
        Field::one(1, "scope", Kind::Message(&SCOPE)),
        Field::many(2, "logRecords", Kind::Message(&LOG_RECORD)),
        Field::one(3, "schemaUrl", Kind::Text),
    ],
};

static LOG_RECORD: Message = Message {
    fields: &[
        Field::one(1, "timeUnixNano", Kind::Fixed64),
        Field::one(11, "observedTimeUnixNano", Kind::Fixed64),
        Field::one(2, "severityNumber", Kind::Int32),
        Field::one(3, "severityText", Kind::Text),
        Field::one(5, "body", Kind::Message(&ANY_VALUE)),
        Field::many(6, "attributes", Kind::Message(&KEY_VALUE)),
        Field::one(7, "droppedAttributesCount", Kind::UInt32),
        Field::one(8, "flags", Kind::Fixed32),
        Field::one(9, "traceId", Kind::Hex),
        Field::one(10, "spanId", Kind::Hex),
        Field::one(12, "eventName", Kind::Text),
    ],
};

pub(super) static METRICS: Message = Message {
    fields: &[Field::many(1, "resourceMetrics", Kind::Message(&RESOURCE_METRICS)).always()],
};

static RESOURCE_METRICS: Message = Message {
    fields: &[
        Field::one(1, "resource", Kind::Message(&RESOURCE)),
        Field::many(2, "scopeMetrics", Kind::Message(&SCOPE_METRICS)),
        Field::one(3, "schemaUrl", Kind::Text),
    ],
};

static SCOPE_METRICS: Message = Message {
    fields: &[
        Field::one(1, "scope", Kind::Message(&SCOPE)),
        Field::many(2, "metrics", Kind::Message(&METRIC)),
        Field::one(3, "schemaUrl", Kind::Text),
    ],
};

static METRIC: Message = Message {
    fields: &[
        Field::one(1, "name", Kind::Text),
        Field::one(2, "description", Kind::Text),
        Field::one(3, "unit", Kind::Text),
        Field::one(5, "gauge", Kind::Message(&GAUGE)).one_of(1),
        Field::one(7, "sum", Kind::Message(&SUM)).one_of(1),
        Field::one(9, "histogram", Kind::Message(&HISTOGRAM)).one_of(1),
        Field::one(
            10,
            "exponentialHistogram",
            Kind::Message(&HISTOGRAM_EXPONENTIAL),
        )
        .one_of(1),
        Field::one(11, "summary", Kind::Message(&SUMMARY)).one_of(1),
        Field::many(12, "metadata", Kind::Message(&KEY_VALUE)),
    ],
};

static GAUGE: Message = Message {
    fields: &[Field::many(1, "dataPoints", Kind::Message(&NUMBER_POINT))],
};

static SUM: Message = Message {
    fields: &[
        Field::many(1, "dataPoints", Kind::Message(&NUMBER_POINT)),
        Field::one(2, "aggregationTemporality", Kind::Int32),
        Field::one(3, "isMonotonic", Kind::Bool),
    ],
};

static HISTOGRAM: Message = Message {
    fields: &[
        Field::many(1, "dataPoints", Kind::Message(&HISTOGRAM_POINT)),
        Field::one(2, "aggregationTemporality", Kind::Int32),
    ],
};

static HISTOGRAM_EXPONENTIAL: Message = Message {
    fields: &[
        Field::many(1, "dataPoints", Kind::Message(&EXPONENTIAL_POINT)),
        Field::one(2, "aggregationTemporality", Kind::Int32),
    ],
};

static SUMMARY: Message = Message {
    fields: &[Field::many(1, "dataPoints", Kind::Message(&SUMMARY_POINT))],
};

static NUMBER_POINT: Message = Message {
    fields: &[
        Field::many(7, "attributes", Kind::Message(&KEY_VALUE)),
        Field::one(2, "startTimeUnixNano", Kind::Fixed64),
        Field::one(3, "timeUnixNano", Kind::Fixed64),
        Field::one(4, "asDouble", Kind::Double).one_of(1),
        Field::one(6, "asInt", Kind::SFixed64).one_of(1),
        Field::many(5, "exemplars", Kind::Message(&EXEMPLAR)),
        Field::one(8, "flags", Kind::UInt32),
    ],
};

static HISTOGRAM_POINT: Message = Message {
    fields: &[
        Field::many(9, "attributes", Kind::Message(&KEY_VALUE)),
        Field::one(2, "startTimeUnixNano", Kind::Fixed64),
        Field::one(3, "timeUnixNano", Kind::Fixed64),
        Field::one(4, "count", Kind::Fixed64),
        Field::one(5, "sum", Kind::Double),
        Field::many(6, "bucketCounts", Kind::Fixed64),
        Field::many(7, "explicitBounds", Kind::Double),
        Field::many(8, "exemplars", Kind::Message(&EXEMPLAR)),
        Field::one(10, "flags", Kind::UInt32),
        Field::one(11, "min", Kind::Double),
        Field::one(12, "max", Kind::Double),
    ],
};

static EXPONENTIAL_POINT: Message = Message {
    fields: &[
        Field::many(1, "attributes", Kind::Message(&KEY_VALUE)),
        Field::one(2, "startTimeUnixNano", Kind::Fixed64),
        Field::one(3, "timeUnixNano", Kind::Fixed64),
        Field::one(4, "count", Kind::Fixed64),
        Field::one(5, "sum", Kind::Double),
        Field::one(6, "scale", Kind::SInt32),
        Field::one(7, "zeroCount", Kind::Fixed64),
        Field::one(8, "positive", Kind::Message(&BUCKETS)),
        Field::one(9, "negative", Kind::Message(&BUCKETS)),
        Field::one(10, "flags", Kind::UInt32),
        Field::many(11, "exemplars", Kind::Message(&EXEMPLAR)),
        Field::one(12, "min", Kind::Double),
        Field::one(13, "max", Kind::Double),
        Field::one(14, "zeroThreshold", Kind::Double),
    ],
};

static BUCKETS: Message = Message {
    fields: &[
        Field::one(1, "offset", Kind::SInt32),
        Field::many(2, "bucketCounts", Kind::UInt64),
    ],
};

static SUMMARY_POINT: Message = Message {
    fields: &[
        Field::many(7, "attributes", Kind::Message(&KEY_VALUE)),
        Field::one(2, "startTimeUnixNano", Kind::Fixed64),
        Field::one(3, "timeUnixNano", Kind::Fixed64),
        Field::one(4, "count", Kind::Fixed64),
        Field::one(5, "sum", Kind::Double),
        Field::many(6, "quantileValues", Kind::Message(&QUANTILE)),
        Field::one(8, "flags", Kind::UInt32),
    ],
};

static QUANTILE: Message = Message {
    fields: &[
        Field::one(1, "quantile", Kind::Double),
        Field::one(2, "value", Kind::Double),
    ],
};

static EXEMPLAR: Message = Message {
    fields: &[
        Field::many(7, "filteredAttributes", Kind::Message(&KEY_VALUE)),
        Field::one(2, "timeUnixNano", Kind::Fixed64),
        Field::one(3, "asDouble", Kind::Double).one_of(1),
        Field::one(6, "asInt", Kind::SFixed64).one_of(1),
        Field::one(4, "spanId", Kind::Hex),
        Field::one(5, "traceId", Kind::Hex),
    ],
};

pub(super) static TRACES: Message = Message {
    fields: &[Field::many(1, "resourceSpans", Kind::Message(&RESOURCE_SPANS)).always()],
};

static RESOURCE_SPANS: Message = Message {
    fields: &[
        Field::one(1, "resource", Kind::Message(&RESOURCE)),
        Field::many(2, "scopeSpans", Kind::Message(&SCOPE_SPANS)),
        Field::one(3, "schemaUrl", Kind::Text),
    ],
};

static SCOPE_SPANS: Message = Message {
    fields: &[
        Field::one(1, "scope", Kind::Message(&SCOPE)),
        Field::many(2, "spans", Kind::Message(&SPAN)),
        Field::one(3, "schemaUrl", Kind::Text),
    ],
};

static SPAN: Message = Message {
    fields: &[
        Field::one(1, "traceId", Kind::Hex),
        Field::one(2, "spanId", Kind::Hex),
        Field::one(3, "traceState", Kind::Text),
        Field::one(4, "parentSpanId", Kind::Hex),
        Field::one(16, "flags", Kind::Fixed32),
        Field::one(5, "name", Kind::Text),
        Field::one(6, "kind", Kind::Int32),
        Field::one(7, "startTimeUnixNano", Kind::Fixed64),
        Field::one(8, "endTimeUnixNano", Kind::Fixed64),
        Field::many(9, "attributes", Kind::Message(&KEY_VALUE)),
        Field::one(10, "droppedAttributesCount", Kind::UInt32),
        Field::many(11, "events", Kind::Message(&EVENT)),
        Field::one(12, "droppedEventsCount", Kind::UInt32),
        Field::many(13, "links", Kind::Message(&LINK)),
        Field::one(14, "droppedLinksCount", Kind::UInt32),
        Field::one(15, "status", Kind::Message(&STATUS)),
    ],
};

static EVENT: Message = Message {
    fields: &[
        Field::one(1, "timeUnixNano", Kind::Fixed64),
        Field::one(2, "name", Kind::Text),
        Field::many(3, "attributes", Kind::Message(&KEY_VALUE)),
        Field::one(4, "droppedAttributesCount", Kind::UInt32),
    ],
};

static LINK: Message = Message {
    fields: &[
        Field::one(1, "traceId", Kind::Hex),
        Field::one(2, "spanId", Kind::Hex),
        Field::one(3, "traceState", Kind::Text),
        Field::many(4, "attributes", Kind::Message(&KEY_VALUE)),
        Field::one(5, "droppedAttributesCount", Kind::UInt32),
        Field::one(6, "flags", Kind::Fixed32),
    ],
};

static STATUS: Message = Message {
    fields: &[
        Field::one(2, "message", Kind::Text),
        Field::one(3, "code", Kind::Int32),
    ],
};

static RESOURCE: Message = Message {
    fields: &[
        Field::many(1, "attributes", Kind::Message(&KEY_VALUE)),
        Field::one(2, "droppedAttributesCount", Kind::UInt32),
        Field::many(3, "entityRefs", Kind::Message(&ENTITY_REF)),
    ],
};

static ENTITY_REF: Message = Message {
    fields: &[
        Field::one(1, "schemaUrl", Kind::Text).always(),
        Field::one(2, "type", Kind::Text).always(),
        Field::many(3, "idKeys", Kind::Text).always(),
        Field::many(4, "descriptionKeys", Kind::Text).always(),
    ],
};

static SCOPE: Message = Message {
    fields: &[
        Field::one(1, "name", Kind::Text),
        Field::one(2, "version", Kind::Text),
        Field::many(3, "attributes", Kind::Message(&KEY_VALUE)),
        Field::one(4, "droppedAttributesCount", Kind::UInt32),
    ],
};

static KEY_VALUE: Message = Message {
    fields: &[
        Field::one(1, "key", Kind::Text).always(),
        Field::one(2, "value", Kind::Message(&ANY_VALUE)),
        Field::one(3, "keyStrindex", Kind::Int32),
    ],
};

static ANY_VALUE: Message = Message {
    fields: &[
        Field::one(1, "stringValue", Kind::Text).one_of(1),
        Field::one(2, "boolValue", Kind::Bool).one_of(1),
        Field::one(3, "intValue", Kind::Int64).one_of(1),
        Field::one(4, "doubleValue", Kind::Double).one_of(1),
        Field::one(5, "arrayValue", Kind::Message(&ARRAY)).one_of(1),
        Field::one(6, "kvlistValue", Kind::Message(&KEY_VALUES)).one_of(1),
        Field::one(7, "bytesValue", Kind::Base64).one_of(1),
        Field::one(8, "stringValueStrindex", Kind::Int32).one_of(1),
    ],
};

static ARRAY: Message = Message {
    fields: &[Field::many(1, "values", Kind::Message(&ANY_VALUE)).always()],
};

static KEY_VALUES: Message = Message {
    fields: &[Field::many(1, "values", Kind::Message(&KEY_VALUE)).always()],
};
