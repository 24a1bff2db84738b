//! What travels: a payload's bytes as they came, and what was counted in it.

use bytes::Bytes;

use super::{Door, Signal, Tally};

/// A body's bytes as they came off the wire: a chain, never concatenated.
#[derive(Clone, Debug, Default)]
pub struct Chunks {
    chunks: Vec<Bytes>,
    bytes: u64,
}

impl Chunks {
    /// Appends a chunk; an empty one is dropped.
    pub fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.bytes += chunk.len() as u64;
            self.chunks.push(chunk);
        }
    }

    /// Bytes in all.
    pub const fn len(&self) -> u64 {
        self.bytes
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The chunks in order, none of them empty.
    pub fn iter(&self) -> std::slice::Iter<'_, Bytes> {
        self.chunks.iter()
    }

    /// The bytes in one piece: without a copy when there is one chunk.
    pub fn to_bytes(&self) -> Bytes {
        match self.chunks.as_slice() {
            [] => Bytes::new(),
            [one] => one.clone(),
            many => many.concat().into(),
        }
    }
}

impl FromIterator<Bytes> for Chunks {
    fn from_iter<T: IntoIterator<Item = Bytes>>(chunks: T) -> Self {
        let mut chain = Self::default();
        for chunk in chunks {
            chain.push(chunk);
        }
        chain
    }
}

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// RFC 1952, any number of members.
    Gzip,
    /// RFC 8878, any number of frames.
    Zstd,
    /// Snappy's *block* format, as remote write uses it.
    Snappy,
}

impl Encoding {
    /// The name in `Content-Encoding` and `grpc-encoding`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Snappy => "snappy",
        }
    }
}

/// What a body is, once inflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// JSON objects, one a line.
    Lines,
    /// An OTLP `Export{Logs,Metrics,Trace}ServiceRequest` in protobuf; gRPC's five-byte frame is taken off.
    OtlpProtobuf,
    /// The same in JSON.
    OtlpJson,
    /// `prometheus.WriteRequest`.
    RemoteWrite1,
    /// `io.prometheus.write.v2.Request`.
    RemoteWrite2,
}

/// Lines of a bulk body, each in exactly one of the four; bytes include line ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineCounts {
    /// JSON objects: what is delivered.
    pub good: Tally,
    /// Not a JSON object, or not UTF-8.
    pub malformed: Tally,
    /// Past the line ceiling.
    pub oversized: Tally,
    /// Nothing but white space, or an object with no member.
    pub empty: Tally,
}

impl LineCounts {
    /// Everything that is not delivered.
    pub fn bad(&self) -> Tally {
        self.malformed + self.oversized + self.empty
    }
}

/// Pieces of a remote-write body, in the words of its `Written` headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteCounts {
    /// Float samples.
    pub samples: u64,
    /// Native histogram samples.
    pub histograms: u64,
    /// Exemplars.
    pub exemplars: u64,
}

/// What was counted in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// Bulk.
    Lines(LineCounts),
    /// OTLP: log records, data points or spans.
    Records(u64),
    /// Remote write.
    Write(WriteCounts),
}

impl Counts {
    /// Items to deliver.
    pub const fn items(&self) -> u64 {
        match self {
            Self::Lines(lines) => lines.good.items,
            Self::Records(records) => *records,
            Self::Write(write) => write.samples + write.histograms + write.exemplars,
        }
    }
}

/// A checked and counted body with everything a destination needs to know of it.
#[derive(Clone, Debug)]
pub struct Payload {
    /// How it came in.
    pub door: Door,
    /// What it is.
    pub signal: Signal,
    /// What its inflated bytes are.
    pub content: Content,
    /// How its bytes are compressed.
    pub encoding: Encoding,
    /// Its bytes. For bulk these hold good lines only.
    pub chunks: Chunks,
    /// Bytes of `chunks` after inflation.
    pub inflated_bytes: u64,
    /// What is in it.
    pub counts: Counts,
    /// Bulk: the `type` of lines that name none. Never empty, has no white space.
    pub line_type: Option<String>,
}
