//! The OTLP scanner beside prost: same verdicts, same counts.

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram,
        HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary,
        SummaryDataPoint, exponential_histogram_data_point::Buckets, metric::Data,
        number_data_point, summary_data_point::ValueAtQuantile,
    },
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span},
};
use proptest::{collection::vec, prelude::*};
use prost::Message as _;

use super::*;
use crate::wire::{
    Content, Limits, Scanner,
    cuts::{cut, cuts},
};

fn scan(signal: Signal, pieces: &[&[u8]]) -> Option<u64> {
    let mut scan = Scan::new(signal);
    for piece in pieces {
        scan.push(piece).ok()?;
    }
    scan.finish().ok()
}

fn scan_json(signal: Signal, pieces: &[&[u8]]) -> Option<u64> {
    let mut scanner = Scanner::new(Content::OtlpJson, signal, &Limits::default());
    for piece in pieces {
        scanner.push(piece).ok()?;
    }
    scanner.finish().ok().map(|counts| counts.items())
}

fn values() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        any::<String>().prop_map(Value::StringValue),
        any::<bool>().prop_map(Value::BoolValue),
        any::<i64>().prop_map(Value::IntValue),
        (-1e9..1e9).prop_map(Value::DoubleValue),
        vec(any::<u8>(), 0..9).prop_map(Value::BytesValue),
    ]
    .prop_map(|value| AnyValue { value: Some(value) });
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(|values| Value::ArrayValue(ArrayValue { values })),
            vec(("[a-z]{0,5}", inner), 0..3).prop_map(|pairs| {
                Value::KvlistValue(KeyValueList {
                    values: pairs
                        .into_iter()
                        .map(|(key, value)| pair(key, value))
                        .collect(),
                })
            }),
        ]
        .prop_map(|value| AnyValue { value: Some(value) })
    })
}

fn pair(key: String, value: AnyValue) -> KeyValue {
    KeyValue {
        key,
        value: Some(value),
        ..KeyValue::default()
    }
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    vec(("[a-z.]{0,20}", values()), 0..3).prop_map(|pairs| {
        pairs
            .into_iter()
            .map(|(key, value)| pair(key, value))
            .collect()
    })
}

fn resource(attributes: Vec<KeyValue>) -> Option<Resource> {
    Some(Resource {
        attributes,
        ..Resource::default()
    })
}

fn logs() -> impl Strategy<Value = (ExportLogsServiceRequest, u64)> {
    let record = (any::<u64>(), values(), attributes(), vec(any::<u8>(), 16)).prop_map(
        |(time_unix_nano, body, attributes, trace_id)| LogRecord {
            time_unix_nano,
            severity_number: 9,
            severity_text: "INFO".to_owned(),
            body: Some(body),
            attributes,
            dropped_attributes_count: 3,
            flags: 1,
            trace_id,
            ..LogRecord::default()
        },
    );
    (attributes(), vec(vec(record, 0..4), 0..4)).prop_map(|(attributes, scopes)| {
        let records = scopes.iter().map(Vec::len).sum::<usize>() as u64;
        let request = ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs {
                resource: resource(attributes),
                scope_logs: scopes
                    .into_iter()
                    .map(|log_records| ScopeLogs {
                        log_records,
                        schema_url: "https://example.com".to_owned(),
                        ..ScopeLogs::default()
                    })
                    .collect(),
                ..ResourceLogs::default()
            }],
        };
        (request, records)
    })
}

fn traces() -> impl Strategy<Value = (ExportTraceServiceRequest, u64)> {
    let span = (any::<u64>(), any::<String>(), attributes(), attributes()).prop_map(
        |(time, name, attributes, others)| Span {
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            trace_state: "a=b".to_owned(),
            name,
            kind: 2,
            start_time_unix_nano: time,
            attributes,
            events: vec![span::Event {
                time_unix_nano: time,
                name: "event".to_owned(),
                attributes: others.clone(),
                dropped_attributes_count: 1,
            }],
            links: vec![span::Link {
                attributes: others,
                flags: 256,
                ..span::Link::default()
            }],
            status: Some(Status {
                message: "bad".to_owned(),
                code: 2,
            }),
            flags: 257,
            ..Span::default()
        },
    );
    (attributes(), vec(span, 0..6)).prop_map(|(attributes, spans)| {
        let count = spans.len() as u64;
        let request = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: resource(attributes),
                scope_spans: vec![ScopeSpans {
                    spans,
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }],
        };
        (request, count)
    })
}

fn metrics() -> impl Strategy<Value = (ExportMetricsServiceRequest, u64)> {
    let data = (0usize..5, 0usize..4, attributes()).prop_map(|(kind, count, attributes)| {
        let data = match kind {
            0 | 1 => {
                let data_points = vec![
                    NumberDataPoint {
                        attributes,
                        time_unix_nano: 7,
                        exemplars: vec![Exemplar {
                            span_id: vec![1; 8],
                            ..Exemplar::default()
                        }],
                        value: Some(number_data_point::Value::AsInt(-3)),
                        ..NumberDataPoint::default()
                    };
                    count
                ];
                if kind == 0 {
                    Data::Gauge(Gauge { data_points })
                } else {
                    Data::Sum(Sum {
                        data_points,
                        aggregation_temporality: 2,
                        is_monotonic: true,
                    })
                }
            }
            2 => Data::Histogram(Histogram {
                data_points: vec![
                    HistogramDataPoint {
                        attributes,
                        bucket_counts: vec![1, 2, 3],
                        explicit_bounds: vec![0.5, 1.5],
                        min: Some(0.1),
                        ..HistogramDataPoint::default()
                    };
                    count
                ],
                aggregation_temporality: 1,
            }),
            3 => Data::ExponentialHistogram(ExponentialHistogram {
                data_points: vec![
                    ExponentialHistogramDataPoint {
                        attributes,
                        scale: -4,
                        positive: Some(Buckets {
                            offset: -9,
                            bucket_counts: vec![0, 300, u64::MAX],
                        }),
                        ..ExponentialHistogramDataPoint::default()
                    };
                    count
                ],
                aggregation_temporality: 1,
            }),
            _ => Data::Summary(Summary {
                data_points: vec![
                    SummaryDataPoint {
                        attributes,
                        quantile_values: vec![ValueAtQuantile {
                            quantile: 0.99,
                            value: 1.0,
                        }],
                        ..SummaryDataPoint::default()
                    };
                    count
                ],
            }),
        };
        (data, count as u64)
    });
    (attributes(), vec(data, 0..6)).prop_map(|(attributes, data)| {
        let points = data.iter().map(|(_, count)| count).sum();
        let metrics = data
            .into_iter()
            .map(|(data, _)| Metric {
                name: "m".to_owned(),
                unit: "1".to_owned(),
                data: Some(data),
                metadata: attributes.clone(),
                ..Metric::default()
            })
            .collect();
        let request = ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: resource(attributes),
                scope_metrics: vec![ScopeMetrics {
                    metrics,
                    ..ScopeMetrics::default()
                }],
                ..ResourceMetrics::default()
            }],
        };
        (request, points)
    })
}

fn requests() -> impl Strategy<Value = (Signal, Vec<u8>, Vec<u8>, u64)> {
    fn bodies(
        signal: Signal,
        request: &(impl prost::Message + serde::Serialize),
        items: u64,
    ) -> (Signal, Vec<u8>, Vec<u8>, u64) {
        let json = serde_json::to_vec(request).unwrap();
        (signal, request.encode_to_vec(), json, items)
    }
    prop_oneof![
        logs().prop_map(|(request, items)| bodies(Signal::Logs, &request, items)),
        traces().prop_map(|(request, items)| bodies(Signal::Traces, &request, items)),
        metrics().prop_map(|(request, items)| bodies(Signal::Metrics, &request, items)),
    ]
}

proptest! {
    #[test]
    fn honest_requests_count_exactly_however_they_are_cut(
        (signal, protobuf, json, items) in requests(), at in cuts(),
    ) {
        prop_assert_eq!(scan(signal, &[&protobuf]), Some(items));
        prop_assert_eq!(scan(signal, &cut(&protobuf, &at)), Some(items));
        prop_assert_eq!(scan_json(signal, &[&json]), Some(items), "{}", String::from_utf8_lossy(&json));
        prop_assert_eq!(scan_json(signal, &cut(&json, &at)), Some(items));
    }

    #[test]
    fn what_passes_after_a_mutation_also_decodes_and_to_the_same_count(
        (request, _) in logs(), at in cuts(), place in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut body = request.encode_to_vec();
        prop_assume!(!body.is_empty());
        let place = place.index(body.len());
        body[place] = byte;
        let verdict = scan(Signal::Logs, &[&body]);
        prop_assert_eq!(scan(Signal::Logs, &cut(&body, &at)), verdict);
        if let Some(items) = verdict {
            let decoded = ExportLogsServiceRequest::decode(body.as_slice());
            prop_assert!(decoded.is_ok(), "{:?}", decoded);
            let records: usize = decoded.unwrap().resource_logs.iter()
                .flat_map(|resource| &resource.scope_logs)
                .map(|scope| scope.log_records.len())
                .sum();
            prop_assert_eq!(items, records as u64);
        }
    }

    #[test]
    fn a_request_cut_short_never_counts_more_than_the_whole(
        (signal, protobuf, json, items) in requests(), end in any::<prop::sample::Index>(),
    ) {
        // A cut between two fields of the outermost message leaves a smaller request that is good.
        let counted = scan(signal, &[&protobuf[..end.index(protobuf.len() + 1)]]);
        prop_assert!(counted.is_none_or(|counted| counted <= items));
        prop_assert_eq!(scan_json(signal, &[&json[..end.index(json.len())]]), None);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(prop_oneof![any::<u8>(), 0u8..24], 0..200), at in cuts()) {
        for signal in Signal::ALL {
            prop_assert_eq!(scan(signal, &[&bytes]), scan(signal, &cut(&bytes, &at)));
            prop_assert_eq!(scan_json(signal, &[&bytes]), scan_json(signal, &cut(&bytes, &at)));
        }
    }
}

#[test]
fn unknown_fields_are_skipped_and_an_empty_request_is_good() {
    assert_eq!(scan(Signal::Logs, &[b""]), Some(0));
    // Field 99 as a varint, fixed64, bytes and fixed32; field 2^29 - 1 as a varint.
    let unknown = b"\x98\x06\x01\x99\x06\0\0\0\0\0\0\0\0\x9A\x06\x02\xFF\xFF\x9D\x06\0\0\0\0\xF8\xFF\xFF\xFF\x0F\x01";
    assert_eq!(scan(Signal::Logs, &[unknown]), Some(0));
    let one = b"\x0A\x04\x12\x02\x12\x00";
    assert_eq!(scan(Signal::Logs, &[unknown, one, unknown]), Some(1));
}

#[test]
fn an_element_for_every_eight_bytes_is_taken_beyond_the_free_ones() {
    // Records of 8 bytes: a time of 5 varint bytes in an unknown field.
    let record = b"\x12\x06\x20\xFF\xFF\xFF\xFF\x0F";
    let records = record.repeat(1_000_000);
    let mut body = Vec::new();
    for (number, length) in [(1, records.len() + 5), (2, records.len())] {
        body.push(number << 3 | 2);
        prost::encoding::encode_varint(length as u64, &mut body);
    }
    body.extend(records);
    assert_eq!(scan(Signal::Logs, &[&body]), Some(1_000_000));
}
