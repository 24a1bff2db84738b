//! Remote write as JSON lines: what was sent is what can be read.

use prost::Message as _;
use serde_json::{Value, json};

use super::*;

/// The messages of both versions, as far as the tests send them.
mod sent {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Request1 {
        #[prost(message, repeated, tag = "1")]
        pub(super) timeseries: Vec<Series1>,
        #[prost(message, repeated, tag = "3")]
        pub(super) metadata: Vec<Metadata1>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Series1 {
        #[prost(message, repeated, tag = "1")]
        pub(super) labels: Vec<Label>,
        #[prost(message, repeated, tag = "2")]
        pub(super) samples: Vec<Sample>,
        #[prost(message, repeated, tag = "3")]
        pub(super) exemplars: Vec<Exemplar1>,
        #[prost(message, repeated, tag = "4")]
        pub(super) histograms: Vec<Histogram>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Label {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(string, tag = "2")]
        pub(super) value: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Sample {
        #[prost(double, tag = "1")]
        pub(super) value: f64,
        #[prost(int64, tag = "2")]
        pub(super) timestamp: i64,
        #[prost(int64, tag = "3")]
        pub(super) start_timestamp: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Exemplar1 {
        #[prost(message, repeated, tag = "1")]
        pub(super) labels: Vec<Label>,
        #[prost(double, tag = "2")]
        pub(super) value: f64,
        #[prost(int64, tag = "3")]
        pub(super) timestamp: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Metadata1 {
        #[prost(int32, tag = "1")]
        pub(super) kind: i32,
        #[prost(string, tag = "2")]
        pub(super) metric: String,
        #[prost(string, tag = "4")]
        pub(super) help: String,
        #[prost(string, tag = "5")]
        pub(super) unit: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Histogram {
        #[prost(uint64, optional, tag = "1")]
        pub(super) count: Option<u64>,
        #[prost(double, tag = "3")]
        pub(super) sum: f64,
        #[prost(sint32, tag = "4")]
        pub(super) schema: i32,
        #[prost(double, tag = "5")]
        pub(super) zero_threshold: f64,
        #[prost(double, optional, tag = "7")]
        pub(super) zero_count_float: Option<f64>,
        #[prost(message, repeated, tag = "8")]
        pub(super) negative_spans: Vec<Span>,
        #[prost(sint64, repeated, tag = "9")]
        pub(super) negative_deltas: Vec<i64>,
        #[prost(sint64, repeated, packed = "false", tag = "12")]
        pub(super) positive_deltas: Vec<i64>,
        #[prost(double, repeated, tag = "13")]
        pub(super) positive_counts: Vec<f64>,
        #[prost(int32, tag = "14")]
        pub(super) reset_hint: i32,
        #[prost(int64, tag = "15")]
        pub(super) timestamp: i64,
        #[prost(double, repeated, tag = "16")]
        pub(super) custom_values: Vec<f64>,
        #[prost(int64, tag = "17")]
        pub(super) start_timestamp: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Span {
        #[prost(sint32, tag = "1")]
        pub(super) offset: i32,
        #[prost(uint32, tag = "2")]
        pub(super) length: u32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Request2 {
        #[prost(string, repeated, tag = "4")]
        pub(super) symbols: Vec<String>,
        #[prost(message, repeated, tag = "5")]
        pub(super) timeseries: Vec<Series2>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Series2 {
        #[prost(uint32, repeated, tag = "1")]
        pub(super) labels: Vec<u32>,
        #[prost(message, repeated, tag = "2")]
        pub(super) samples: Vec<Sample>,
        #[prost(message, repeated, tag = "3")]
        pub(super) histograms: Vec<Histogram>,
        #[prost(message, repeated, tag = "4")]
        pub(super) exemplars: Vec<Exemplar2>,
        #[prost(message, optional, tag = "5")]
        pub(super) metadata: Option<Metadata2>,
        #[prost(int64, tag = "6")]
        pub(super) created_timestamp: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Exemplar2 {
        #[prost(uint32, repeated, tag = "1")]
        pub(super) labels: Vec<u32>,
        #[prost(double, tag = "2")]
        pub(super) value: f64,
        #[prost(int64, tag = "3")]
        pub(super) timestamp: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Metadata2 {
        #[prost(int32, tag = "1")]
        pub(super) kind: i32,
        #[prost(uint32, tag = "3")]
        pub(super) help: u32,
        #[prost(uint32, tag = "4")]
        pub(super) unit: u32,
    }
}
use sent::*;

fn label(name: &str, value: &str) -> Label {
    Label {
        name: name.into(),
        value: value.into(),
    }
}

fn sample(value: f64, timestamp: i64) -> Sample {
    Sample {
        value,
        timestamp,
        start_timestamp: 0,
    }
}

fn symbols(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn lines(out: &[u8]) -> Vec<Value> {
    out.split_inclusive(|byte| *byte == b'\n')
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

fn written_1(request: &Request1) -> Vec<Value> {
    let mut out = Vec::new();
    write_1(&request.encode_to_vec(), &mut out).unwrap();
    lines(&out)
}

fn written_2(request: &Request2) -> Result<Vec<Value>, String> {
    let mut out = Vec::new();
    write_2(&request.encode_to_vec(), &mut out).map_err(|error| error.to_string())?;
    Ok(lines(&out))
}

#[test]
fn a_series_is_a_line_with_labels_samples_and_exemplars() {
    let up = Series1 {
        labels: vec![label("__name__", "up"), label("job", "a\"b")],
        samples: vec![sample(1.5, 1), sample(0.0, 2)],
        exemplars: vec![Exemplar1 {
            labels: vec![label("trace_id", "x")],
            value: 2.0,
            timestamp: 3,
        }],
        histograms: vec![],
    };
    let bare = Series1 {
        samples: vec![sample(0.0, -5)],
        ..Series1::default()
    };
    let request = Request1 {
        timeseries: vec![up, bare],
        metadata: vec![],
    };
    assert_eq!(
        written_1(&request),
        [
            json!({"labels": {"__name__": "up", "job": "a\"b"},
                "samples": [{"timestamp_ms": 1, "value": 1.5}, {"timestamp_ms": 2, "value": 0.0}],
                "exemplars": [{"labels": {"trace_id": "x"}, "timestamp_ms": 3, "value": 2.0}]}),
            json!({"labels": {}, "samples": [{"timestamp_ms": -5, "value": 0.0}]}),
        ]
    );
}

#[test]
fn the_stale_marker_stays_apart_from_a_measured_nan() {
    let stale = f64::from_bits(0x7FF0_0000_0000_0002);
    let values = [
        stale,
        f64::from_bits(0x7FF8_0000_0000_0001),
        f64::INFINITY,
        f64::NEG_INFINITY,
    ];
    let samples = values.into_iter().map(|value| sample(value, 1)).collect();
    let request = Request1 {
        timeseries: vec![Series1 {
            samples,
            ..Series1::default()
        }],
        metadata: vec![],
    };
    let line = &written_1(&request)[0];
    let texts: Vec<_> = line["samples"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["value"].as_str().unwrap())
        .collect();
    assert_eq!(texts, ["StaleNaN", "NaN", "Infinity", "-Infinity"]);
}

#[test]
fn metadata_of_the_first_version_is_a_line_of_its_own() {
    let metadata = vec![
        Metadata1 {
            kind: 1,
            metric: "requests_total".into(),
            help: "All.".into(),
            unit: String::new(),
        },
        Metadata1 {
            kind: 99,
            metric: "odd".into(),
            help: String::new(),
            unit: "s".into(),
        },
    ];
    let request = Request1 {
        timeseries: vec![],
        metadata,
    };
    assert_eq!(
        written_1(&request),
        [json!({"metadata": [
            {"metric": "requests_total", "type": "counter", "help": "All."},
            {"metric": "odd", "type": 99, "unit": "s"},
        ]})]
    );
}

#[test]
fn a_native_histogram_is_written_whole() {
    let histogram = Histogram {
        count: Some(0),
        sum: 18.4,
        schema: -4,
        zero_threshold: 0.5,
        zero_count_float: Some(2.0),
        negative_spans: vec![Span {
            offset: -3,
            length: 2,
        }],
        negative_deltas: vec![1, -1],
        positive_deltas: vec![i64::MIN, 5],
        positive_counts: vec![1.0, 0.25],
        reset_hint: 3,
        timestamp: 7,
        custom_values: vec![0.1],
        start_timestamp: 6,
    };
    let series = Series1 {
        histograms: vec![histogram],
        ..Series1::default()
    };
    assert_eq!(
        written_1(&Request1 {
            timeseries: vec![series],
            metadata: vec![]
        }),
        [json!({"labels": {}, "histograms": [{
            "timestamp_ms": 7, "start_timestamp_ms": 6, "count": 0, "sum": 18.4, "schema": -4, "zero_threshold": 0.5,
            "zero_count_float": 2.0, "negative_spans": [{"offset": -3, "length": 2}], "negative_deltas": [1, -1],
            "positive_deltas": [i64::MIN, 5], "positive_counts": [1.0, 0.25], "reset_hint": "gauge", "custom_values": [0.1],
        }]})]
    );
}

#[test]
fn the_second_version_resolves_its_symbols_and_says_more() {
    let series = Series2 {
        labels: vec![1, 2, 3, 2],
        samples: vec![Sample {
            value: 1.0,
            timestamp: 10,
            start_timestamp: 4,
        }],
        histograms: vec![],
        exemplars: vec![Exemplar2 {
            labels: vec![3, 4],
            value: 0.5,
            timestamp: 9,
        }],
        metadata: Some(Metadata2 {
            kind: 2,
            help: 4,
            unit: 0,
        }),
        created_timestamp: 3,
    };
    let request = Request2 {
        symbols: symbols(&["", "__name__", "up", "job", "Help."]),
        timeseries: vec![series],
    };
    let expected = json!({"labels": {"__name__": "up", "job": "up"},
        "samples": [{"timestamp_ms": 10, "value": 1.0, "start_timestamp_ms": 4}],
        "exemplars": [{"labels": {"job": "Help."}, "timestamp_ms": 9, "value": 0.5}],
        "metadata": {"type": "gauge", "help": "Help."}, "start_timestamp_ms": 3});
    assert_eq!(
        written_2(&request).unwrap(),
        std::slice::from_ref(&expected)
    );

    // Symbols may also come after the series that refer to them.
    let [symbols, series] = [
        Request2 {
            timeseries: vec![],
            ..request.clone()
        },
        Request2 {
            symbols: vec![],
            ..request
        },
    ]
    .map(|part| part.encode_to_vec());
    let mut out = Vec::new();
    write_2(&[series, symbols].concat(), &mut out).unwrap();
    assert_eq!(lines(&out), [expected]);
}

#[test]
fn references_that_lead_nowhere_are_refused() {
    let with = |labels: Vec<u32>| {
        let series = Series2 {
            labels,
            ..Series2::default()
        };
        written_2(&Request2 {
            symbols: symbols(&["", "a"]),
            timeseries: vec![series],
        })
    };
    assert!(with(vec![1, 0]).is_ok());
    assert_eq!(
        with(vec![1, 2]),
        Err("a reference to a symbol that is not there".into())
    );
    assert_eq!(
        with(vec![1, u32::MAX]),
        Err("a reference to a symbol that is not there".into())
    );
    assert_eq!(
        with(vec![1, 0, 1]),
        Err("a label name without a value".into())
    );
}

#[test]
fn a_flood_of_symbols_is_refused() {
    let body = [0x22, 0].repeat(1 << 20);
    let refused = write_2(&body, &mut io::sink());
    assert_eq!(refused.unwrap_err().to_string(), "too many symbols");
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..128), at in 0usize..128) {
        let request = Request2 {
            symbols: symbols(&["", "a", "b"]),
            timeseries: vec![Series2 { labels: vec![1, 2], samples: vec![sample(1.0, 1)], ..Series2::default() }],
        };
        let sent = request.encode_to_vec();
        bytes.splice(at.min(bytes.len()).., sent);
        for write in [write_1::<Vec<u8>>, write_2::<Vec<u8>>] {
            let mut out = Vec::new();
            if write(&bytes, &mut out).is_ok() {
                lines(&out);
            }
        }
    }
}
