//! Remote write requests as lines that a person can read and count: one time series a line.
//!
//! ```json
//! {"labels":{"__name__":"up"},"samples":[{"timestamp_ms":1,"value":1.5}],"histograms":[..],"exemplars":[..]}
//! ```
//! `"NaN"`, `"Infinity"` and `"-Infinity"` stand as text, and so does the stale marker, as `"StaleNaN"`.
//! 2.0 adds `"metadata":{"type":..,"help":..,"unit":..}` and `"start_timestamp_ms"` in samples and histograms; senders of its
//! release candidates state it once a series. The metadata of a 1.0 request is one more line, `{"metadata":[..]}`.

use std::io;

use super::proto_json::{Field, Fields, Kind, Message, Symbols, Unwritable, Walker};

const SERIES_1: u32 = 1;
const METADATA_1: u32 = 3;
const SYMBOLS_2: u32 = 4;
const SERIES_2: u32 = 5;

/// Writes an inflated `prometheus.WriteRequest`.
///
/// # Errors
/// The body is not protobuf or holds text that is not UTF-8; or `out` failed.
/// What was written until then must not be kept.
pub fn write_1<W: io::Write>(body: &[u8], out: &mut W) -> Result<(), Unwritable> {
    let mut walker = Walker::new(out, Symbols::default());
    let mut has_metadata = false;
    for found in Fields::new(body) {
        let found = found?;
        match found.number {
            SERIES_1 => {
                walker.message(&TIME_SERIES_1, found.raw.bytes()?)?;
                walker.raw(b"\n")?;
            }
            METADATA_1 => has_metadata = true,
            _ => {}
        }
    }
    if has_metadata {
        walker.message(&METADATA_LINE_1, body)?;
        walker.raw(b"\n")?;
    }
    Ok(())
}

/// Writes an inflated `io.prometheus.write.v2.Request`.
///
/// # Errors
/// As [`write_1`]; and references to symbols that are not there.
pub fn write_2<W: io::Write>(body: &[u8], out: &mut W) -> Result<(), Unwritable> {
    let mut walker = Walker::new(out, Symbols::find(body, SYMBOLS_2)?);
    for found in Fields::new(body) {
        let found = found?;
        if found.number == SERIES_2 {
            walker.message(&TIME_SERIES_2, found.raw.bytes()?)?;
            walker.raw(b"\n")?;
        }
    }
    Ok(())
}

const METRIC_TYPES: &[&str] = &[
    "unknown",
    "counter",
    "gauge",
    "histogram",
    "gaugehistogram",
    "summary",
    "info",
    "stateset",
];
const RESET_HINTS: &[&str] = &["unknown", "yes", "no", "gauge"];

static METADATA_LINE_1: Message = Message {
    fields: &[Field::many(
        METADATA_1,
        "metadata",
        Kind::Message(&METRIC_METADATA_1),
    )],
};

static METRIC_METADATA_1: Message = Message {
    fields: &[
        Field::one(2, "metric", Kind::Text).always(),
        Field::one(1, "type", Kind::Named(METRIC_TYPES)).always(),
        Field::one(4, "help", Kind::Text),
        Field::one(5, "unit", Kind::Text),
    ],
};

static TIME_SERIES_1: Message = Message {
    fields: &[
        Field::many(1, "labels", Kind::Pairs).always(),
        Field::many(2, "samples", Kind::Message(&SAMPLE)),
        Field::many(4, "histograms", Kind::Message(&HISTOGRAM)),
        Field::many(3, "exemplars", Kind::Message(&EXEMPLAR_1)),
    ],
};

static TIME_SERIES_2: Message = Message {
    fields: &[
        Field::many(1, "labels", Kind::SymbolPairs).always(),
        Field::many(2, "samples", Kind::Message(&SAMPLE)),
        Field::many(3, "histograms", Kind::Message(&HISTOGRAM)),
        Field::many(4, "exemplars", Kind::Message(&EXEMPLAR_2)),
        Field::one(5, "metadata", Kind::Message(&METADATA_2)),
        Field::one(6, "start_timestamp_ms", Kind::Millis),
    ],
};

static METADATA_2: Message = Message {
    fields: &[
        Field::one(1, "type", Kind::Named(METRIC_TYPES)).always(),
        Field::one(3, "help", Kind::Symbol),
        Field::one(4, "unit", Kind::Symbol),
    ],
};

static SAMPLE: Message = Message {
    fields: &[
        Field::one(2, "timestamp_ms", Kind::Millis).always(),
        Field::one(1, "value", Kind::Sample).always(),
        Field::one(3, "start_timestamp_ms", Kind::Millis),
    ],
};

static EXEMPLAR_1: Message = Message {
    fields: &[
        Field::many(1, "labels", Kind::Pairs).always(),
        Field::one(3, "timestamp_ms", Kind::Millis).always(),
        Field::one(2, "value", Kind::Sample).always(),
    ],
};

static EXEMPLAR_2: Message = Message {
    fields: &[
        Field::many(1, "labels", Kind::SymbolPairs).always(),
        Field::one(3, "timestamp_ms", Kind::Millis).always(),
        Field::one(2, "value", Kind::Sample).always(),
    ],
};

/// The same in both versions, but for field 17.
static HISTOGRAM: Message = Message {
    fields: &[
        Field::one(15, "timestamp_ms", Kind::Millis).always(),
        Field::one(17, "start_timestamp_ms", Kind::Millis),
        Field::one(1, "count", Kind::Count).one_of(1),
        Field::one(2, "count_float", Kind::Double).one_of(1),
        Field::one(3, "sum", Kind::Sample).always(),
        Field::one(4, "schema", Kind::SInt32).always(),
        Field::one(5, "zero_threshold", Kind::Double),
        Field::one(6, "zero_count", Kind::Count).one_of(2),
        Field::one(7, "zero_count_float", Kind::Double).one_of(2),
        Field::many(8, "negative_spans", Kind::Message(&BUCKET_SPAN)),
        Field::many(9, "negative_deltas", Kind::Delta),
        Field::many(10, "negative_counts", Kind::Double),
        Field::many(11, "positive_spans", Kind::Message(&BUCKET_SPAN)),
        Field::many(12, "positive_deltas", Kind::Delta),
        Field::many(13, "positive_counts", Kind::Double),
        Field::one(14, "reset_hint", Kind::Named(RESET_HINTS)),
        Field::many(16, "custom_values", Kind::Double),
    ],
};

static BUCKET_SPAN: Message = Message {
    fields: &[
        Field::one(1, "offset", Kind::SInt32).always(),
        Field::one(2, "length", Kind::UInt32).always(),
    ],
};

#[cfg(test)]
mod tests;
