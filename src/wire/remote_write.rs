//! Prometheus remote write, 1.0 and 2.0: counts samples, histograms and exemplars, and checks all of the request.

use super::{
    Fault,
    protobuf::{self, Kind, Message},
};
use crate::model::WriteCounts;

/// A scan of one inflated write request. Metadata is not an item: a request of nothing else counts zero.
#[derive(Debug)]
pub struct Scan(protobuf::Scan);

impl Scan {
    /// A scan of a `prometheus.WriteRequest`.
    pub fn version1() -> Self {
        Self(protobuf::Scan::new(&WRITE_REQUEST))
    }

    /// A scan of an `io.prometheus.write.v2.Request`.
    pub fn version2() -> Self {
        Self(protobuf::Scan::new(&REQUEST2))
    }

    /// Takes the next piece.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.0.push(bytes)
    }

    /// The body has ended: its pieces.
    pub fn finish(self) -> Result<WriteCounts, Fault> {
        let [samples, histograms, exemplars] = self.0.finish()?;
        Ok(WriteCounts {
            samples,
            histograms,
            exemplars,
        })
    }
}

// The tables follow prompb/types.proto, prompb/remote.proto and io/prometheus/write/v2/types.proto.

use Kind::{
    Fixed64, Fixed64s, Item, Message as Sub, References, Refused, Symbol, Text, Varint as Integer,
    Varints as Integers,
};

const SAMPLES: usize = 0;
const HISTOGRAMS: usize = 1;
const EXEMPLARS: usize = 2;

static WRITE_REQUEST: Message = Message::new(&[(1, Sub(&TIME_SERIES)), (3, Sub(&METADATA))]);
static TIME_SERIES: Message = Message::new(&[
    (1, Sub(&LABEL)),
    (2, Item(&SAMPLE, SAMPLES)),
    (3, Item(&EXEMPLAR, EXEMPLARS)),
    (4, Item(&HISTOGRAM, HISTOGRAMS)),
]);
static LABEL: Message = Message::new(&[(1, Text), (2, Text)]);
static EXEMPLAR: Message = Message::new(&[(1, Sub(&LABEL)), (2, Fixed64), (3, Integer)]);
static METADATA: Message = Message::new(&[(1, Integer), (2, Text), (4, Text), (5, Text)]);

// 1.0 has two fields, 2.0 release candidates and releases differ in where a start timestamp stands: both are taken.
static SAMPLE: Message = Message::new(&[(1, Fixed64), (2, Integer), (3, Integer)]);
static HISTOGRAM: Message = Message::new(&[
    (1, Integer),
    (2, Fixed64),
    (3, Fixed64),
    (4, Integer),
    (5, Fixed64),
    (6, Integer),
    (7, Fixed64),
    (8, Sub(&BUCKET_SPAN)),
    (9, Integers),
    (10, Fixed64s),
    (11, Sub(&BUCKET_SPAN)),
    (12, Integers),
    (13, Fixed64s),
    (14, Integer),
    (15, Integer),
    (16, Fixed64s),
    (17, Integer),
]);
static BUCKET_SPAN: Message = Message::new(&[(1, Integer), (2, Integer)]);

// 1 to 3 are reserved so that a 1.0 request, which has nothing else, shows itself instead of counting as empty.
static REQUEST2: Message = Message::new(&[
    (1, Refused),
    (2, Refused),
    (3, Refused),
    (4, Symbol),
    (5, Sub(&TIME_SERIES2)),
]);
static TIME_SERIES2: Message = Message::new(&[
    (1, References),
    (2, Item(&SAMPLE, SAMPLES)),
    (3, Item(&HISTOGRAM, HISTOGRAMS)),
    (4, Item(&EXEMPLAR2, EXEMPLARS)),
    (5, Sub(&METADATA2)),
    (6, Integer),
]);
static EXEMPLAR2: Message = Message::new(&[(1, References), (2, Fixed64), (3, Integer)]);
static METADATA2: Message = Message::new(&[(1, Integer), (3, References), (4, References)]);

#[cfg(test)]
mod tests;
