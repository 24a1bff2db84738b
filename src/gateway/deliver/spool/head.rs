//! What is kept beside a body: whose it is, where it goes, and what was counted in it.
//!
//! Protobuf, so that a later version's records can be read by an earlier one that doesn't know their newest field.

use prost::Message;

use crate::model::{
    AccountId, Chunks, Content, Counts, DestinationId, Digest, Door, Encoding, LineCounts, Payload,
    Signal, Tally, TokenId, WriteCounts,
};

/// Whose a payload is, and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The account that it was accepted for.
    pub account: AccountId,
    /// The token that opened the door.
    pub token: TokenId,
    /// By which the directory says what has become of it since.
    pub digest: Digest,
    /// The destination that was the signal's then.
    pub destination: DestinationId,
    /// When it was accepted, in milliseconds since 1970.
    pub accepted_ms: u64,
}

/// A payload with everything that was known of it.
#[derive(Clone, Debug)]
pub struct Record {
    /// Whose it is.
    pub origin: Origin,
    /// As it was accepted.
    pub payload: Payload,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Head {
    #[prost(uint64, tag = "1")]
    account: u64,
    #[prost(uint64, tag = "2")]
    token: u64,
    #[prost(uint64, tag = "3")]
    destination: u64,
    #[prost(uint64, tag = "4")]
    pub(super) accepted_ms: u64,
    #[prost(uint32, tag = "5")]
    signal: u32,
    #[prost(uint32, tag = "6")]
    door: u32,
    #[prost(uint32, tag = "7")]
    content: u32,
    #[prost(uint32, tag = "8")]
    encoding: u32,
    #[prost(uint64, tag = "9")]
    inflated_bytes: u64,
    /// OTLP: one number. Remote write: samples, histograms, exemplars. Bulk: items and bytes of good, malformed, oversized and
    /// empty lines.
    #[prost(uint64, repeated, tag = "10")]
    counts: Vec<u64>,
    #[prost(string, optional, tag = "11")]
    line_type: Option<String>,
    #[prost(bytes = "vec", tag = "12")]
    digest: Vec<u8>,
}

const CONTENTS: [Content; 5] = [
    Content::Lines,
    Content::OtlpProtobuf,
    Content::OtlpJson,
    Content::RemoteWrite1,
    Content::RemoteWrite2,
];
const ENCODINGS: [Encoding; 4] = [
    Encoding::Identity,
    Encoding::Gzip,
    Encoding::Zstd,
    Encoding::Snappy,
];

// === impl Head ===

impl Head {
    /// Of a payload that comes from there.
    pub(super) fn new(origin: &Origin, payload: &Payload) -> Self {
        Self {
            account: origin.account.0,
            token: origin.token.0,
            destination: origin.destination.0,
            accepted_ms: origin.accepted_ms,
            signal: payload.signal.index() as u32,
            door: payload.door.index() as u32,
            content: place(&CONTENTS, &payload.content),
            encoding: place(&ENCODINGS, &payload.encoding),
            inflated_bytes: payload.inflated_bytes,
            counts: numbers(&payload.counts),
            line_type: payload.line_type.clone(),
            digest: origin.digest.0.to_vec(),
        }
    }

    /// Whose it is.
    pub(super) fn origin(&self) -> Origin {
        Origin {
            account: AccountId(self.account),
            token: TokenId(self.token),
            // What is none belongs to no token that is known.
            digest: Digest(self.digest.as_slice().try_into().unwrap_or_default()),
            destination: DestinationId(self.destination),
            accepted_ms: self.accepted_ms,
        }
    }

    /// What it is; none when a later version wrote it.
    pub(super) fn signal(&self) -> Option<Signal> {
        Signal::ALL.get(self.signal as usize).copied()
    }

    /// What the books count.
    pub(super) fn tally(&self) -> Option<Tally> {
        Some(Tally::new(self.counts()?.items(), self.inflated_bytes))
    }

    fn counts(&self) -> Option<Counts> {
        Some(match *self.counts.as_slice() {
            [records] => Counts::Records(records),
            [samples, histograms, exemplars] => Counts::Write(WriteCounts {
                samples,
                histograms,
                exemplars,
            }),
            [a, b, c, d, e, f, g, h] => Counts::Lines(LineCounts {
                good: Tally::new(a, b),
                malformed: Tally::new(c, d),
                oversized: Tally::new(e, f),
                empty: Tally::new(g, h),
            }),
            _ => return None,
        })
    }

    /// The payload with that body; none when a later version wrote it.
    pub(super) fn payload(self, chunks: Chunks) -> Option<Payload> {
        Some(Payload {
            door: *Door::ALL.get(self.door as usize)?,
            signal: self.signal()?,
            content: *CONTENTS.get(self.content as usize)?,
            encoding: *ENCODINGS.get(self.encoding as usize)?,
            chunks,
            inflated_bytes: self.inflated_bytes,
            counts: self.counts()?,
            line_type: self.line_type,
        })
    }
}

fn place<T: PartialEq>(all: &[T], one: &T) -> u32 {
    let place = all.iter().position(|other| other == one);
    // Every one is in its list; what were not would be refused when it is read.
    place.map_or(u32::MAX, |place| place as u32)
}

fn numbers(counts: &Counts) -> Vec<u64> {
    match counts {
        Counts::Records(records) => vec![*records],
        Counts::Write(write) => vec![write.samples, write.histograms, write.exemplars],
        Counts::Lines(lines) => [lines.good, lines.malformed, lines.oversized, lines.empty]
            .iter()
            .flat_map(|tally| [tally.items, tally.bytes])
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_payload_is_read_back_as_it_was() {
        let counts = [
            Counts::Records(7),
            Counts::Write(WriteCounts {
                samples: 1,
                histograms: 2,
                exemplars: 3,
            }),
            Counts::Lines(LineCounts {
                good: Tally::new(1, 2),
                malformed: Tally::new(3, 4),
                oversized: Tally::new(5, 6),
                empty: Tally::new(7, 8),
            }),
        ];
        let origin = Origin {
            account: AccountId(1),
            token: TokenId(2),
            digest: Digest([5; 16]),
            destination: DestinationId(3),
            accepted_ms: 4,
        };
        let mut seen = 0;
        for door in Door::ALL {
            for content in CONTENTS {
                for encoding in ENCODINGS {
                    for counts in counts {
                        let payload = Payload {
                            door,
                            signal: Signal::ALL[seen % 3],
                            content,
                            encoding,
                            chunks: Chunks::default(),
                            inflated_bytes: 99,
                            counts,
                            line_type: seen.is_multiple_of(2).then(|| "nginx".to_owned()),
                        };
                        let bytes = Head::new(&origin, &payload).encode_to_vec();
                        let head = Head::decode(bytes.as_slice()).expect("whole");
                        assert_eq!(head.origin(), origin);
                        assert_eq!(head.tally(), Some(Tally::new(counts.items(), 99)));
                        let back = head.payload(Chunks::default()).expect("known");
                        assert_eq!(format!("{back:?}"), format!("{payload:?}"));
                        seen += 1;
                    }
                }
            }
        }
        assert_eq!(seen, 4 * 5 * 4 * 3);
    }
}
