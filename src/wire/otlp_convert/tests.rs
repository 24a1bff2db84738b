//! Checked against what prost decodes and against the JSON reader of opentelemetry-proto.

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::any_value,
    metrics::v1::{metric::Data, number_data_point},
};
use proptest::prelude::*;
use prost::Message as _;

use super::*;

fn logs(json: &str) -> ExportLogsServiceRequest {
    let wire = json_to_protobuf(Signal::Logs, json.as_bytes()).unwrap();
    ExportLogsServiceRequest::decode(wire.as_slice()).unwrap()
}

fn record(json: &str) -> opentelemetry_proto::tonic::logs::v1::LogRecord {
    let whole = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{json}]}}]}}]}}"#);
    logs(&whole).resource_logs[0].scope_logs[0].log_records[0].clone()
}

const LOGS: &str = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}},
  {"key":"list","value":{"arrayValue":{"values":[{"intValue":"-7"},{"boolValue":false},{"doubleValue":1.5}]}}},
  {"key":"map","value":{"kvlistValue":{"values":[{"key":"b","value":{"bytesValue":"aGk="}}]}}}],"droppedAttributesCount":1},
  "scopeLogs":[{"scope":{"name":"lib","version":"1"},"logRecords":[{"timeUnixNano":"1544712660300000000",
  "observedTimeUnixNano":"1544712660300000000","severityNumber":10,"severityText":"Information",
  "traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"EEE19B7EC3C1B174","flags":1,
  "body":{"stringValue":"Example \u00e9 log record"},"attributes":[]}],"schemaUrl":"u"}]}]}"#;

const METRICS: &str = r#"{"resourceMetrics":[{"resource":{"attributes":[]},"scopeMetrics":[{"scope":{"name":"lib"},"metrics":[
  {"name":"c","unit":"1","description":"d","sum":{"aggregationTemporality":1,"isMonotonic":true,"dataPoints":[
   {"asDouble":5,"startTimeUnixNano":"1544712660300000000","timeUnixNano":"1544712660300000000","attributes":[]}]}},
  {"name":"h","histogram":{"aggregationTemporality":2,"dataPoints":[{"startTimeUnixNano":"1","timeUnixNano":"2","count":"2",
   "sum":2,"bucketCounts":["1","1"],"explicitBounds":[1],"min":0,"max":2,"attributes":[],"exemplars":[]}]}},
  {"name":"e","exponentialHistogram":{"aggregationTemporality":1,"dataPoints":[{"startTimeUnixNano":"1","timeUnixNano":"2",
   "count":"3","sum":10,"scale":-2,"zeroCount":"1","positive":{"offset":-1,"bucketCounts":["0","2"]},"min":0,"max":5,
   "zeroThreshold":0,"attributes":[],"negative":{"offset":0,"bucketCounts":[]}}]}}]}]}]}"#;

const TRACES: &str = r#"{"resourceSpans":[{"resource":{"attributes":[]},"scopeSpans":[{"scope":{"name":"lib"},"spans":[
  {"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"EEE19B7EC3C1B174","parentSpanId":"EEE19B7EC3C1B173","name":"s",
  "startTimeUnixNano":"1544712660000000000","endTimeUnixNano":"1544712661000000000","kind":2,"traceState":"a=b","flags":257,
  "attributes":[{"key":"k","value":{"intValue":"9223372036854775807"}}],"status":{"code":2,"message":"no"},
  "events":[{"timeUnixNano":"1","name":"e","attributes":[]}],
  "links":[{"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"EEE19B7EC3C1B174","attributes":[]}]}]}]}]}"#;

#[test]
fn logs_metrics_and_traces_become_what_the_reference_reader_makes_of_them() {
    assert_eq!(logs(LOGS), serde_json::from_str(LOGS).unwrap());
    let wire = json_to_protobuf(Signal::Metrics, METRICS.as_bytes()).unwrap();
    let expected: ExportMetricsServiceRequest = serde_json::from_str(METRICS).unwrap();
    assert_eq!(
        ExportMetricsServiceRequest::decode(wire.as_slice()).unwrap(),
        expected
    );
    let wire = json_to_protobuf(Signal::Traces, TRACES.as_bytes()).unwrap();
    let expected: ExportTraceServiceRequest = serde_json::from_str(TRACES).unwrap();
    assert_eq!(
        ExportTraceServiceRequest::decode(wire.as_slice()).unwrap(),
        expected
    );
}

#[test]
fn spellings_numbers_nulls_and_unknown_members_are_read_as_the_mapping_has_it() {
    let odd = record(
        r#"{"time_unix_nano":12,"severityNumber":"9","flags":1.0,"traceId":"","spanId":null,"new":{"a":[1,{"b":2}]},
           "attributes":[{"key":"a","value":{"intValue":5}},{"key":"n","value":{"doubleValue":"NaN"}},{"key":"e","value":{}},
           {"key":"u","value":{"future":{"x":1},"stringValue":""}}]}"#,
    );
    assert_eq!(
        (odd.time_unix_nano, odd.severity_number, odd.flags),
        (12, 9, 1)
    );
    assert!(odd.trace_id.is_empty() && odd.span_id.is_empty());
    let values: Vec<_> = odd
        .attributes
        .iter()
        .map(|pair| pair.value.as_ref().unwrap().value.clone())
        .collect();
    assert_eq!(values[0], Some(any_value::Value::IntValue(5)));
    assert!(matches!(values[1], Some(any_value::Value::DoubleValue(nan)) if nan.is_nan()));
    assert_eq!(values[2], None);
    assert_eq!(
        values[3],
        Some(any_value::Value::StringValue(String::new()))
    );
}

#[test]
fn a_zero_point_keeps_its_value() {
    let json = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"z","gauge":{"dataPoints":[{"asInt":"0"},{"asDouble":-0.5}]}}]}]}]}"#;
    let wire = json_to_protobuf(Signal::Metrics, json.as_bytes()).unwrap();
    let request = ExportMetricsServiceRequest::decode(wire.as_slice()).unwrap();
    let metric = &request.resource_metrics[0].scope_metrics[0].metrics[0];
    let Some(Data::Gauge(gauge)) = &metric.data else {
        panic!("no gauge: {metric:?}");
    };
    let values: Vec<_> = gauge.data_points.iter().map(|point| point.value).collect();
    assert_eq!(
        values,
        [
            Some(number_data_point::Value::AsInt(0)),
            Some(number_data_point::Value::AsDouble(-0.5))
        ]
    );
}

#[test]
fn lengths_are_right_on_both_sides_of_each_varint_step() {
    for length in [
        0, 1, 118, 119, 120, 121, 122, 123, 124, 125, 126, 127, 128, 16_370, 16_384, 2_097_152,
    ] {
        let text = "x".repeat(length);
        let record = record(&format!(r#"{{"body":{{"stringValue":"{text}"}}}}"#));
        let body = record.body.unwrap().value;
        assert_eq!(body, Some(any_value::Value::StringValue(text)));
    }
}

#[test]
fn values_of_a_wrong_kind_are_refused() {
    for bad in [
        "",
        "[]",
        "{} {}",
        "null",
        r#"{"resourceLogs":{}}"#,
        r#"{"resourceLogs":[null]}"#,
        r#"{"resourceLogs":[1]}"#,
        r#"{"resourceLogs":[{"schemaUrl":7}]}"#,
        r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"traceId":"abc"}]}]}]}"#,
        r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":-1}]}]}]}"#,
        r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":1.5}]}]}]}"#,
        r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"flags":4294967296}]}]}]}"#,
        r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"bytesValue":"!"}}]}]}]}"#,
    ] {
        assert!(
            json_to_protobuf(Signal::Logs, bad.as_bytes()).is_err(),
            "{bad}"
        );
    }
    let mut not_utf8 = br#"{"resourceLogs":[{"schemaUrl":""#.to_vec();
    not_utf8.extend(b"\xFF\"}]}");
    assert!(json_to_protobuf(Signal::Logs, &not_utf8).is_err());
}

#[test]
fn nesting_ends_with_an_error_and_a_body_of_empty_objects_shrinks() {
    let deep = format!(
        r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{}"#,
        r#"{"arrayValue":{"values":["#.repeat(100_000)
    );
    assert!(json_to_protobuf(Signal::Logs, deep.as_bytes()).is_err());
    let many = "{},".repeat(1 << 20);
    let bomb = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{many}{{}}]}}]}}]}}"#);
    let wire = json_to_protobuf(Signal::Logs, bomb.as_bytes()).unwrap();
    assert!(wire.len() < bomb.len());
}

#[test]
fn arrays_of_zeros_do_not_grow_without_bound() {
    let zeros = "0,".repeat(1 << 20);
    let bomb = format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"histogram":{{"dataPoints":[{{"bucketCounts":[{zeros}0]}}]}}}}]}}]}}]}}"#
    );
    assert!(json_to_protobuf(Signal::Metrics, bomb.as_bytes()).is_err());
    let honest = bomb.replace("0,", r#""0","#);
    assert!(json_to_protobuf(Signal::Metrics, honest.as_bytes()).is_ok());
}

proptest! {
    #[test]
    fn any_text_is_taken_or_refused(text in "[\\[\\]{}:,\"a-z0-9. ]{0,80}") {
        let _ = json_to_protobuf(Signal::Logs, text.as_bytes());
    }

    #[test]
    fn what_the_reference_writes_is_read_back(
        times in proptest::collection::vec((any::<u64>(), any::<i64>(), any::<String>(), any::<i32>()), 0..5)
    ) {
        use opentelemetry_proto::tonic::{common::v1::{AnyValue, KeyValue}, logs::v1::{LogRecord, ResourceLogs, ScopeLogs}};
        let pair = |value| KeyValue { key: "k".into(), value: Some(AnyValue { value: Some(value) }), ..Default::default() };
        let log_records = times.into_iter().map(|(time, number, text, double)| LogRecord {
            time_unix_nano: time,
            attributes: vec![
                pair(any_value::Value::IntValue(number)),
                pair(any_value::Value::StringValue(text)),
                pair(any_value::Value::DoubleValue(f64::from(double) / 8.0)),
            ],
            trace_id: time.to_be_bytes().repeat(2),
            ..Default::default()
        }).collect();
        let request = ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs {
                scope_logs: vec![ScopeLogs { log_records, ..Default::default() }],
                ..Default::default()
            }],
        };
        prop_assert_eq!(logs(&serde_json::to_string(&request).unwrap()), request);
    }
}

/// Reads a byte at a time, as the worst of sources does.
struct Dripping<'a>(&'a [u8]);

impl std::io::Read for Dripping<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = self.0.len().min(into.len()).min(1);
        into[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}

#[test]
fn the_check_says_what_the_conversion_says() {
    let with = |record: &str| {
        format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{record}]}}]}}]}}"#)
    };
    let (mut good, mut bad) = (0, 0);
    let mut check = |signal: Signal, json: &str| {
        let converted = json_to_protobuf(signal, json.as_bytes()).map(drop);
        let checked = check_json(signal, Dripping(json.as_bytes()));
        match (&converted, &checked) {
            (Ok(()), Ok(())) => good += 1,
            (Err(one), Err(other)) => {
                bad += 1;
                assert!(other.to_string().contains(" at line "), "{other}");
                let reason = |fault: &Fault| {
                    fault
                        .to_string()
                        .split(" at line")
                        .next()
                        .map(str::to_owned)
                };
                assert_eq!(reason(one), reason(other), "{json}");
            }
            _ => panic!("{json}: {converted:?}, but {checked:?}"),
        }
    };
    check(Signal::Logs, LOGS);
    check(Signal::Metrics, METRICS);
    check(Signal::Traces, TRACES);
    for record in [
        r#"{}"#,
        r#"{"timeUnixNano":null,"body":null,"attributes":null}"#,
        r#"{"time_unix_nano":12,"severityNumber":"9","flags":1.0,"traceId":"","new":{"a":[1,{"b":2}]}}"#,
        r#"{"attributes":[{"key":"u","value":{"future":{"x":1},"stringValue":""}}]}"#,
        r#"{"timeUnixNano":{"a":[1]},"body":"x"}"#,
        r#"{"body":"x"}"#,
        r#"{"body":[]}"#,
        r#"{"timeUnixNano":"x"}"#,
        r#"{"timeUnixNano":-1}"#,
        r#"{"timeUnixNano":1.5}"#,
        r#"{"severityText":1}"#,
        r#"{"severityText":{}}"#,
        r#"{"traceId":"5B8EFFF798038103D269B633813FC60C"}"#,
        r#"{"traceId":"xy"}"#,
        r#"{"traceId":"abc"}"#,
        r#"{"attributes":{}}"#,
        r#"{"attributes":[null]}"#,
        r#"{"attributes":[{"key":"b","value":{"bytesValue":"%"}}]}"#,
        r#"{"attributes":[{"key":"b","value":{"bytesValue":"aGk"}}]}"#,
        r#"{"attributes":[{"key":"b","value":{"boolValue":1}}]}"#,
        r#"{"attributes":[{"key":"b","value":{"doubleValue":"NaN"}}]}"#,
        r#"{"flags":4294967296}"#,
        r#"{"flags":4294967295} "#,
    ] {
        check(Signal::Logs, &with(record));
    }
    for text in [
        "",
        "[]",
        "{}x",
        "{\"resourceLogs\":",
        "{\"resourceLogs\":{}}",
    ] {
        check(Signal::Logs, text);
    }
    assert!(good >= 9 && bad >= 18, "{good} good, {bad} bad");
}
