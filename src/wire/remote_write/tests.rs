//! The remote write scanner: counts, limits, damaged and random bytes.

use proptest::{collection::vec, prelude::*};
use prost::Message as _;

use super::*;
use crate::wire::{
    cuts::{cut, cuts},
    malformed,
};

// The published messages, as far as a sender fills them.

#[derive(Clone, PartialEq, prost::Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<Series>,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<Metadata>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Series {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    exemplars: Vec<Exemplar>,
    #[prost(message, repeated, tag = "4")]
    histograms: Vec<Histogram>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
    #[prost(int64, tag = "3")]
    start_timestamp: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Exemplar {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(double, tag = "2")]
    value: f64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Metadata {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    metric_family_name: String,
    #[prost(string, tag = "4")]
    help: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Histogram {
    #[prost(uint64, tag = "1")]
    count_int: u64,
    #[prost(double, tag = "3")]
    sum: f64,
    #[prost(sint32, tag = "4")]
    schema: i32,
    #[prost(message, repeated, tag = "8")]
    negative_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "9")]
    negative_deltas: Vec<i64>,
    #[prost(sint64, repeated, packed = "false", tag = "12")]
    positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "13")]
    positive_counts: Vec<f64>,
    #[prost(double, repeated, packed = "false", tag = "16")]
    custom_values: Vec<f64>,
    #[prost(int64, tag = "17")]
    start_timestamp: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct BucketSpan {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Request2 {
    #[prost(string, repeated, tag = "4")]
    symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    timeseries: Vec<Series2>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Series2 {
    #[prost(uint32, repeated, tag = "1")]
    labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    histograms: Vec<Histogram>,
    #[prost(message, repeated, tag = "4")]
    exemplars: Vec<Exemplar2>,
    #[prost(message, optional, tag = "5")]
    metadata: Option<Metadata2>,
    #[prost(int64, tag = "6")]
    created_timestamp: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Exemplar2 {
    #[prost(uint32, repeated, packed = "false", tag = "1")]
    labels_refs: Vec<u32>,
    #[prost(double, tag = "2")]
    value: f64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Metadata2 {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(uint32, tag = "3")]
    help_ref: u32,
    #[prost(uint32, tag = "4")]
    unit_ref: u32,
}

fn scan(mut scan: Scan, pieces: &[&[u8]]) -> Result<WriteCounts, Fault> {
    for piece in pieces {
        scan.push(piece)?;
    }
    scan.finish()
}

fn histograms() -> impl Strategy<Value = Vec<Histogram>> {
    vec(
        (
            any::<u64>(),
            any::<i32>(),
            vec(any::<i64>(), 0..5),
            vec(any::<f64>(), 0..5),
        )
            .prop_map(|(count_int, schema, deltas, counts)| Histogram {
                count_int,
                sum: 1.5,
                schema,
                negative_spans: vec![BucketSpan {
                    offset: schema,
                    length: 3,
                }],
                negative_deltas: deltas.clone(),
                positive_deltas: deltas,
                positive_counts: counts.clone(),
                custom_values: counts,
                start_timestamp: 9,
            }),
        0..3,
    )
}

fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let sample = (any::<f64>(), any::<i64>(), any::<i64>());
    vec(
        sample.prop_map(|(value, timestamp, start_timestamp)| Sample {
            value,
            timestamp,
            start_timestamp,
        }),
        0..4,
    )
}

fn labels() -> impl Strategy<Value = Vec<Label>> {
    vec(("[a-z_]{0,20}", any::<String>()), 0..4).prop_map(|pairs| {
        pairs
            .into_iter()
            .map(|(name, value)| Label { name, value })
            .collect()
    })
}

fn version1() -> impl Strategy<Value = WriteRequest> {
    let exemplar = labels().prop_map(|labels| Exemplar { labels, value: 1.0 });
    let series = (labels(), samples(), vec(exemplar, 0..3), histograms()).prop_map(
        |(labels, samples, exemplars, histograms)| Series {
            labels,
            samples,
            exemplars,
            histograms,
        },
    );
    (vec(series, 0..5), vec(any::<String>(), 0..3)).prop_map(|(timeseries, helps)| WriteRequest {
        timeseries,
        metadata: helps
            .into_iter()
            .map(|help| Metadata {
                kind: 1,
                metric_family_name: "up".to_owned(),
                help,
            })
            .collect(),
    })
}

fn version2() -> impl Strategy<Value = Request2> {
    let refs = || vec(0u32..200, 0..6);
    let exemplars = vec(
        refs().prop_map(|labels_refs| Exemplar2 {
            labels_refs,
            value: 1.0,
        }),
        0..3,
    );
    let metadata =
        proptest::option::of(
            (0u32..200, 0u32..200).prop_map(|(help_ref, unit_ref)| Metadata2 {
                kind: 2,
                help_ref,
                unit_ref,
            }),
        );
    let series = (
        refs(),
        samples(),
        histograms(),
        exemplars,
        metadata,
        any::<i64>(),
    )
        .prop_map(
            |(labels_refs, samples, histograms, exemplars, metadata, created_timestamp)| Series2 {
                labels_refs,
                samples,
                histograms,
                exemplars,
                metadata,
                created_timestamp,
            },
        );
    vec(series, 0..5).prop_map(|timeseries| Request2 {
        symbols: (0..200)
            .map(|at| {
                if at == 0 {
                    String::new()
                } else {
                    format!("s{at}")
                }
            })
            .collect(),
        timeseries,
    })
}

proptest! {
    #[test]
    fn version_1_counts_exactly_however_it_is_cut(request in version1(), at in cuts()) {
        let body = request.encode_to_vec();
        let wanted = WriteCounts {
            samples: request.timeseries.iter().map(|series| series.samples.len() as u64).sum(),
            histograms: request.timeseries.iter().map(|series| series.histograms.len() as u64).sum(),
            exemplars: request.timeseries.iter().map(|series| series.exemplars.len() as u64).sum(),
        };
        prop_assert_eq!(scan(Scan::version1(), &[&body]), Ok(wanted));
        prop_assert_eq!(scan(Scan::version1(), &cut(&body, &at)), Ok(wanted));
    }

    #[test]
    fn version_2_counts_exactly_however_it_is_cut(request in version2(), at in cuts()) {
        let body = request.encode_to_vec();
        let wanted = WriteCounts {
            samples: request.timeseries.iter().map(|series| series.samples.len() as u64).sum(),
            histograms: request.timeseries.iter().map(|series| series.histograms.len() as u64).sum(),
            exemplars: request.timeseries.iter().map(|series| series.exemplars.len() as u64).sum(),
        };
        prop_assert_eq!(scan(Scan::version2(), &[&body]), Ok(wanted));
        prop_assert_eq!(scan(Scan::version2(), &cut(&body, &at)), Ok(wanted));
    }

    #[test]
    fn what_passes_after_a_mutation_also_decodes_to_the_same_counts(
        request in version2(), at in cuts(), place in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut body = request.encode_to_vec();
        let place = place.index(body.len());
        body[place] = byte;
        let verdict = scan(Scan::version2(), &[&body]).ok();
        prop_assert_eq!(scan(Scan::version2(), &cut(&body, &at)).ok(), verdict);
        if let Some(counts) = verdict {
            let decoded = Request2::decode(body.as_slice()).unwrap();
            let samples = decoded.timeseries.iter().map(|series| series.samples.len() as u64).sum::<u64>();
            prop_assert_eq!(counts.samples, samples);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(prop_oneof![any::<u8>(), 0u8..48], 0..200), at in cuts()) {
        for version in [Scan::version1, Scan::version2] {
            prop_assert_eq!(scan(version(), &[&bytes]).ok(), scan(version(), &cut(&bytes, &at)).ok());
        }
    }
}

fn request2(symbols: &[&str], labels_refs: Vec<u32>) -> Vec<u8> {
    Request2 {
        symbols: symbols.iter().map(|symbol| (*symbol).to_owned()).collect(),
        timeseries: vec![Series2 {
            labels_refs,
            samples: vec![Sample::default()],
            ..Series2::default()
        }],
    }
    .encode_to_vec()
}

#[test]
fn references_must_point_into_the_symbols_wherever_those_stand() {
    assert!(scan(Scan::version2(), &[&request2(&["", "a", "b"], vec![1, 2])]).is_ok());
    assert!(scan(Scan::version2(), &[&request2(&["", "a", "b"], vec![1, 3])]).is_err());
    assert!(scan(Scan::version2(), &[&request2(&[], vec![0, 1])]).is_err());
    assert!(scan(Scan::version2(), &[&request2(&["a", "b"], vec![0, 1])]).is_err());
    let series = request2(&[], vec![1, 2]);
    let symbols = request2(&["", "a", "b"], vec![]);
    assert!(scan(Scan::version2(), &[&series, &symbols]).is_ok());
}

#[test]
fn a_version_1_request_is_not_an_empty_version_2_request() {
    let body = WriteRequest {
        timeseries: vec![Series::default()],
        metadata: vec![],
    }
    .encode_to_vec();
    assert_eq!(
        scan(Scan::version2(), &[&body]),
        malformed("the body is another message")
    );
}

#[test]
fn metadata_alone_is_a_good_request_of_no_items() {
    let body = WriteRequest {
        timeseries: vec![],
        metadata: vec![Metadata::default(); 3],
    }
    .encode_to_vec();
    assert_eq!(scan(Scan::version1(), &[&body]), Ok(WriteCounts::default()));
}
