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
use proptest::prelude::*;
use prost::Message as _;
use serde::de::DeserializeOwned;

use super::*;
use crate::wire::proto_json::{Message, tests::scrambled};

/// Random messages from one seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn number(&mut self) -> u64 {
        match self.below(4) {
            0 => 0,
            1 => self.below(300),
            2 => u64::MAX,
            _ => self.next(),
        }
    }

    fn double(&mut self) -> f64 {
        match self.below(4) {
            0 => 0.0,
            1 => -0.5,
            2 => f64::MIN_POSITIVE,
            // Few digits: the parser of these tests rounds beyond 15 of them.
            _ => f64::from(self.next() as i16) / 8.0,
        }
    }

    fn text(&mut self) -> String {
        [
            "",
            "a",
            "service.name",
            "\"\\\n\t\u{0}\u{1f}",
            "ü€😀\u{2028}",
        ][self.below(5) as usize]
            .into()
    }

    fn bytes(&mut self, length: u64) -> Vec<u8> {
        (0..if self.below(4) == 0 { 0 } else { length })
            .map(|_| self.next() as u8)
            .collect()
    }

    fn many<T>(&mut self, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(3)).map(|_| make(self)).collect()
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(3) > 0).then(|| make(self))
    }

    fn any(&mut self, depth: u32) -> AnyValue {
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

    fn key_value(&mut self, depth: u32) -> KeyValue {
        KeyValue {
            key: self.text(),
            value: self.maybe(|r| r.any(depth)),
            key_strindex: 0,
        }
    }

    fn attributes(&mut self) -> Vec<KeyValue> {
        self.many(|r| r.key_value(0))
    }

    fn resource(&mut self) -> Resource {
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

    fn scope(&mut self) -> InstrumentationScope {
        InstrumentationScope {
            name: self.text(),
            version: self.text(),
            attributes: self.attributes(),
            dropped_attributes_count: self.number() as u32,
        }
    }

    fn log_record(&mut self) -> LogRecord {
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

    fn span(&mut self) -> Span {
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

    fn exemplar(&mut self) -> Exemplar {
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

    fn number_point(&mut self) -> NumberDataPoint {
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

    fn histogram_point(&mut self) -> HistogramDataPoint {
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

    fn exponential_point(&mut self) -> ExponentialHistogramDataPoint {
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

    fn summary_point(&mut self) -> SummaryDataPoint {
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

    fn metric(&mut self) -> Metric {
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

    fn logs(&mut self) -> ExportLogsServiceRequest {
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

    fn metrics(&mut self) -> ExportMetricsServiceRequest {
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

    fn traces(&mut self) -> ExportTraceServiceRequest {
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

fn line(signal: Signal, body: &[u8]) -> String {
    let mut out = Vec::new();
    write_protobuf(signal, body, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.find('\n'), Some(text.len() - 1), "one line");
    text
}

fn gauge(data_points: Vec<NumberDataPoint>) -> ExportMetricsServiceRequest {
    let metric = Metric {
        data: Some(Data::Gauge(Gauge { data_points })),
        ..Metric::default()
    };
    let scope_metrics = ScopeMetrics {
        metrics: vec![metric],
        ..ScopeMetrics::default()
    };
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            scope_metrics: vec![scope_metrics],
            ..ResourceMetrics::default()
        }],
    }
}

/// Shows where two messages part, not all of both.
fn assert_same<M: PartialEq + std::fmt::Debug>(expected: &M, parsed: &M) {
    if expected != parsed {
        let (expected, parsed) = (format!("{expected:?}"), format!("{parsed:?}"));
        let same = expected
            .bytes()
            .zip(parsed.bytes())
            .take_while(|(a, b)| a == b)
            .count();
        let around = |text: &str| -> String {
            let bytes = &text.as_bytes()[same.saturating_sub(80)..(same + 80).min(text.len())];
            String::from_utf8_lossy(bytes).into_owned()
        };
        panic!(
            "expected {}\nfound    {}",
            around(&expected),
            around(&parsed)
        );
    }
}

/// What we write must parse to what prost decodes, as it was sent and with its fields shuffled and doubled.
fn check<M>(signal: Signal, table: &Message, message: &M, random: &mut Random)
where
    M: prost::Message + Default + PartialEq + DeserializeOwned + std::fmt::Debug,
{
    let body = message.encode_to_vec();
    let parsed: M = serde_json::from_str(&line(signal, &body)).unwrap();
    assert_same(message, &parsed);

    let body = scrambled(table, &body, &mut || random.next());
    let expected = M::decode(&body[..]).unwrap();
    let parsed: M = serde_json::from_str(&line(signal, &body)).unwrap();
    assert_same(&expected, &parsed);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn logs_survive_the_round_trip(seed in any::<u64>()) {
        let mut random = Random(seed);
        let message = random.logs();
        check(Signal::Logs, &tables::LOGS, &message, &mut random);
    }

    #[test]
    fn metrics_survive_the_round_trip(seed in any::<u64>()) {
        let mut random = Random(seed);
        let message = random.metrics();
        check(Signal::Metrics, &tables::METRICS, &message, &mut random);
    }

    #[test]
    fn traces_survive_the_round_trip(seed in any::<u64>()) {
        let mut random = Random(seed);
        let message = random.traces();
        check(Signal::Traces, &tables::TRACES, &message, &mut random);
    }

    #[test]
    fn every_finite_double_is_written_so_that_it_reads_back_to_the_bit(bits in any::<u64>()) {
        let value = f64::from_bits(bits);
        prop_assume!(value.is_finite());
        let point = NumberDataPoint { value: Some(number_data_point::Value::AsDouble(value)), ..Default::default() };
        let line = line(Signal::Metrics, &gauge(vec![point]).encode_to_vec());
        let (_, number) = line.split_once("\"asDouble\":").unwrap();
        let (number, _) = number.split_once('}').unwrap();
        prop_assert_eq!(number.parse::<f64>().unwrap().to_bits(), bits);
    }

    #[test]
    fn damaged_requests_are_written_as_json_or_refused(seed in any::<u64>(), at in any::<u16>(), byte in any::<u8>()) {
        let mut body = Random(seed).metrics().encode_to_vec();
        let length = body.len().max(1);
        if let Some(place) = body.get_mut(usize::from(at) % length) {
            *place = byte;
        }
        let mut out = Vec::new();
        if write_protobuf(Signal::Metrics, &body, &mut out).is_ok() {
            serde_json::from_slice::<serde_json::Value>(&out).unwrap();
        }
    }
}

#[test]
fn a_log_record_reads_as_the_file_format_has_it() {
    let record = LogRecord {
        time_unix_nano: 1_544_712_660_300_000_000,
        severity_number: 10,
        body: Some(AnyValue {
            value: Some(Value::StringValue("Example\nlog".into())),
        }),
        attributes: vec![
            KeyValue {
                key: "count".into(),
                value: Some(AnyValue {
                    value: Some(Value::IntValue(-637)),
                }),
                key_strindex: 0,
            },
            KeyValue {
                key: "raw".into(),
                value: Some(AnyValue {
                    value: Some(Value::BytesValue(vec![0xFB, 0xFF])),
                }),
                key_strindex: 0,
            },
        ],
        trace_id: vec![0x5B; 16],
        ..LogRecord::default()
    };
    let request = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            scope_logs: vec![ScopeLogs {
                log_records: vec![record],
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    };
    assert_eq!(
        line(Signal::Logs, &request.encode_to_vec()),
        concat!(
            r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"1544712660300000000","severityNumber":10,"#,
            r#""body":{"stringValue":"Example\nlog"},"attributes":[{"key":"count","value":{"intValue":"-637"}},"#,
            r#"{"key":"raw","value":{"bytesValue":"+/8="}}],"traceId":"5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b"}]}]}]}"#,
            "\n"
        )
    );
}

#[test]
fn numbers_that_json_lacks_are_text() {
    let point = |value| NumberDataPoint {
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    };
    let values = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0];
    let request = gauge(values.map(point).to_vec());
    let line = line(Signal::Metrics, &request.encode_to_vec());
    let points = r#"[{"asDouble":"NaN"},{"asDouble":"Infinity"},{"asDouble":"-Infinity"},{"asDouble":-0.0}]"#;
    assert!(line.contains(points), "{line}");
}

#[test]
fn an_empty_request_is_a_line_too() {
    assert_eq!(line(Signal::Traces, b""), "{\"resourceSpans\":[]}\n");
}

#[test]
fn json_passes_on_one_line() {
    let mut out = Vec::new();
    write_json(b"\r\n{\n  \"a\":\r\n\"b\\n\"}\n", &mut out).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "{   \"a\":  \"b\\n\"}\n");
}
