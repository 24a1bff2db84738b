//! OTLP as JSON lines beside the reference types.

mod random;

use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest},
    common::v1::{AnyValue, KeyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data,
        number_data_point,
    },
};
use proptest::prelude::*;
use prost::Message as _;
use serde::de::DeserializeOwned;

use super::*;
use crate::wire::proto_json::{Message, tests::scrambled};
use random::Random;

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
    let body = b"\r\n{\n\t \"a\":\r\n\"b  \\n\" } \n\n";
    for size in 1..=body.len() {
        let (mut line, mut out) = (JsonLine::default(), Vec::new());
        for piece in body.chunks(size) {
            line.push(piece, &mut out).unwrap();
        }
        line.finish(&mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert_eq!(out, "{   \"a\":  \"b  \\n\" }\n", "pieces of {size}");
    }
}
