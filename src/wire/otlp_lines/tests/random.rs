//! Random OTLP requests.

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{
        AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList,
        any_value::Value,
    },
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram,
        HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary,
        SummaryDataPoint, exemplar, exponential_histogram_data_point::Buckets, metric::Data,
        number_data_point, summary_data_point::ValueAtQuantile,
    },
    resource::v1::Resource,
    trace::v1::{
        ResourceSpans, ScopeSpans, Span, Status,
        span::{Event, Link},
    },
};

/// Random messages from one seed.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(super) fn number(&mut self) -> u64 {
        match self.below(4) {
            0 => 0,
            1 => self.below(300),
            2 => u64::MAX,
            _ => self.next(),
        }
    }

    pub(super) fn double(&mut self) -> f64 {
        match self.below(4) {
            0 => 0.0,
            1 => -0.5,
            2 => f64::MIN_POSITIVE,
            // Few digits: the parser of these tests rounds beyond 15 of them.
            _ => f64::from(self.next() as i16) / 8.0,
        }
    }

    pub(super) fn text(&mut self) -> String {
        [
            "",
            "a",
            "service.name",
            "\"\\\n\t\u{0}\u{1f}",
            "ü€😀\u{2028}",
        ][self.below(5) as usize]
            .into()
    }

    pub(super) fn bytes(&mut self, length: u64) -> Vec<u8> {
        (0..if self.below(4) == 0 { 0 } else { length })
            .map(|_| self.next() as u8)
            .collect()
    }

    pub(super) fn many<T>(&mut self, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(3)).map(|_| make(self)).collect()
    }

    pub(super) fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(3) > 0).then(|| make(self))
    }

    pub(super) fn any(&mut self, depth: u32) -> AnyValue {
        let kinds = if depth > 3 { 6 } else { 8 };
        let value = match self.below(kinds) {
            0 => None,
            1 => Some(Value::StringValue(self.text())),
            2 => Some(Value::BoolValue(self.below(2) == 0)),
            3 => Some(Value::IntValue(self.number() as i64)),
            4 => Some(Value::DoubleValue(self.double())),
            5 => Some(Value::BytesValue(self.bytes(7))),
            6 => Some(Value::ArrayValue(ArrayValue {
                values: self.many(|r| r.any(depth + 1)),
            })),
            _ => Some(Value::KvlistValue(KeyValueList {
                values: self.many(|r| r.key_value(depth + 1)),
            })),
        };
        AnyValue { value }
    }

    pub(super) fn key_value(&mut self, depth: u32) -> KeyValue {
        KeyValue {
            key: self.text(),
            value: self.maybe(|r| r.any(depth)),
            key_strindex: 0,
        }
    }

    pub(super) fn attributes(&mut self) -> Vec<KeyValue> {
        self.many(|r| r.key_value(0))
    }

    pub(super) fn resource(&mut self) -> Resource {
        Resource {
            attributes: self.attributes(),
            dropped_attributes_count: self.number() as u32,
            entity_refs: self.many(|r| EntityRef {
                schema_url: r.text(),
                r#type: r.text(),
                id_keys: r.many(Self::text),
                description_keys: r.many(Self::text),
            }),
        }
    }

    pub(super) fn scope(&mut self) -> InstrumentationScope {
        InstrumentationScope {
            name: self.text(),
            version: self.text(),
            attributes: self.attributes(),
            dropped_attributes_count: self.number() as u32,
        }
    }

    pub(super) fn log_record(&mut self) -> LogRecord {
        LogRecord {
            time_unix_nano: self.number(),
            observed_time_unix_nano: self.number(),
            severity_number: self.below(25) as i32,
            severity_text: self.text(),
            body: self.maybe(|r| r.any(0)),
            attributes: self.attributes(),
            dropped_attributes_count: self.number() as u32,
            flags: self.number() as u32,
            trace_id: self.bytes(16),
            span_id: self.bytes(8),
            event_name: self.text(),
        }
    }

    pub(super) fn span(&mut self) -> Span {
        Span {
            trace_id: self.bytes(16),
            span_id: self.bytes(8),
            trace_state: self.text(),
            parent_span_id: self.bytes(8),
            flags: self.number() as u32,
            name: self.text(),
            kind: self.below(6) as i32,
            start_time_unix_nano: self.number(),
            end_time_unix_nano: self.number(),
            attributes: self.attributes(),
            dropped_attributes_count: self.number() as u32,
            events: self.many(|r| Event {
                time_unix_nano: r.number(),
                name: r.text(),
                attributes: r.attributes(),
                dropped_attributes_count: r.number() as u32,
            }),
            dropped_events_count: self.number() as u32,
            links: self.many(|r| Link {
                trace_id: r.bytes(16),
                span_id: r.bytes(8),
                trace_state: r.text(),
                attributes: r.attributes(),
                dropped_attributes_count: r.number() as u32,
                flags: r.number() as u32,
            }),
            dropped_links_count: self.number() as u32,
            status: self.maybe(|r| Status {
                message: r.text(),
                code: r.below(3) as i32,
            }),
        }
    }

    pub(super) fn exemplar(&mut self) -> Exemplar {
        Exemplar {
            filtered_attributes: self.attributes(),
            time_unix_nano: self.number(),
            span_id: self.bytes(8),
            trace_id: self.bytes(16),
            value: Some(match self.below(2) {
                0 => exemplar::Value::AsDouble(self.double()),
                _ => exemplar::Value::AsInt(self.number() as i64),
            }),
        }
    }

    pub(super) fn number_point(&mut self) -> NumberDataPoint {
        NumberDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: self.number(),
            time_unix_nano: self.number(),
            exemplars: self.many(Self::exemplar),
            flags: self.below(2) as u32,
            value: self.maybe(|r| match r.below(2) {
                0 => number_data_point::Value::AsDouble(r.double()),
                _ => number_data_point::Value::AsInt(r.number() as i64),
            }),
        }
    }

    pub(super) fn histogram_point(&mut self) -> HistogramDataPoint {
        HistogramDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: self.number(),
            time_unix_nano: self.number(),
            count: self.number(),
            sum: self.maybe(Self::double),
            bucket_counts: self.many(Self::number),
            explicit_bounds: self.many(Self::double),
            exemplars: self.many(Self::exemplar),
            flags: self.below(2) as u32,
            min: self.maybe(Self::double),
            max: self.maybe(Self::double),
        }
    }

    pub(super) fn exponential_point(&mut self) -> ExponentialHistogramDataPoint {
        let buckets = |r: &mut Self| Buckets {
            offset: r.number() as i32,
            bucket_counts: r.many(Self::number),
        };
        ExponentialHistogramDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: self.number(),
            time_unix_nano: self.number(),
            count: self.number(),
            sum: self.maybe(Self::double),
            scale: self.number() as i32,
            zero_count: self.number(),
            positive: self.maybe(buckets),
            negative: self.maybe(buckets),
            flags: self.below(2) as u32,
            exemplars: self.many(Self::exemplar),
            min: self.maybe(Self::double),
            max: self.maybe(Self::double),
            zero_threshold: self.double(),
        }
    }

    pub(super) fn summary_point(&mut self) -> SummaryDataPoint {
        SummaryDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: self.number(),
            time_unix_nano: self.number(),
            count: self.number(),
            sum: self.double(),
            quantile_values: self.many(|r| ValueAtQuantile {
                quantile: r.double(),
                value: r.double(),
            }),
            flags: self.below(2) as u32,
        }
    }

    pub(super) fn metric(&mut self) -> Metric {
        let aggregation_temporality = self.below(3) as i32;
        Metric {
            name: self.text(),
            description: self.text(),
            unit: self.text(),
            metadata: self.attributes(),
            data: self.maybe(|r| match r.below(5) {
                0 => Data::Gauge(Gauge {
                    data_points: r.many(Self::number_point),
                }),
                1 => Data::Sum(Sum {
                    data_points: r.many(Self::number_point),
                    aggregation_temporality,
                    is_monotonic: r.below(2) == 0,
                }),
                2 => Data::Histogram(Histogram {
                    data_points: r.many(Self::histogram_point),
                    aggregation_temporality,
                }),
                3 => Data::ExponentialHistogram(ExponentialHistogram {
                    data_points: r.many(Self::exponential_point),
                    aggregation_temporality,
                }),
                _ => Data::Summary(Summary {
                    data_points: r.many(Self::summary_point),
                }),
            }),
        }
    }

    pub(super) fn logs(&mut self) -> ExportLogsServiceRequest {
        let scope_logs = |r: &mut Self| ScopeLogs {
            scope: r.maybe(Self::scope),
            log_records: r.many(Self::log_record),
            schema_url: r.text(),
        };
        ExportLogsServiceRequest {
            resource_logs: self.many(|r| ResourceLogs {
                resource: r.maybe(Self::resource),
                scope_logs: r.many(scope_logs),
                schema_url: r.text(),
            }),
        }
    }

    pub(super) fn metrics(&mut self) -> ExportMetricsServiceRequest {
        let scope_metrics = |r: &mut Self| ScopeMetrics {
            scope: r.maybe(Self::scope),
            metrics: r.many(Self::metric),
            schema_url: r.text(),
        };
        ExportMetricsServiceRequest {
            resource_metrics: self.many(|r| ResourceMetrics {
                resource: r.maybe(Self::resource),
                scope_metrics: r.many(scope_metrics),
                schema_url: r.text(),
            }),
        }
    }

    pub(super) fn traces(&mut self) -> ExportTraceServiceRequest {
        let scope_spans = |r: &mut Self| ScopeSpans {
            scope: r.maybe(Self::scope),
            spans: r.many(Self::span),
            schema_url: r.text(),
        };
        ExportTraceServiceRequest {
            resource_spans: self.many(|r| ResourceSpans {
                resource: r.maybe(Self::resource),
                scope_spans: r.many(scope_spans),
                schema_url: r.text(),
            }),
        }
    }
}
