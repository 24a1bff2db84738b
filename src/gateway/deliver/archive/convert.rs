//! Conversion: a payload's bytes become lines, in memory when they are few, else straight into a file of their own.
//!
//! Bulk and JSON pass through in pieces. Protobuf must lie in one piece: a body that is large so is alone with that (see
//! [`super::queue`]).

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
};

use tracing::error;

use super::{
    BUFFERED_BYTES_MAX,
    disk::Disk,
    late,
    queue::{Inbox, Job, Outbox, Record},
    sink::Sink,
};
use crate::{
    model::{Content, Counts, Payload, Rejection},
    wire::{
        Unwritable,
        encoding::{self, Pieces},
        line_type::LineWriter,
        otlp_convert::check_json,
        otlp_lines::{self, JsonLine},
        write_lines,
    },
};

/// Lines may take this many times the inflated body: far above what labels named once and referred to by every series
/// should need, far below the terabytes of one long symbol referred to from everywhere. An estimate, not a measurement.
const GROWTH_MAX: u64 = 64;
/// Lines of one body at most, above the growth by field names alone that a 64 MiB OTLP body allows (some 27 bytes for 2).
const LINES_BYTES_MAX: u64 = 1 << 30;
/// Read at a time of JSON that is checked.
const READ_BYTES: usize = 64 << 10;
/// What protobuf usually grows by as text, at most; more is claimed when it is needed.
const GROWTH_USUAL: u64 = 4;

/// Whether the inflated body must be in memory in one piece.
pub(super) const fn is_whole(content: Content) -> bool {
    match content {
        Content::Lines | Content::OtlpJson => false,
        Content::OtlpProtobuf | Content::RemoteWrite1 | Content::RemoteWrite2 => true,
    }
}

/// Bytes of lines that a payload will hold in memory, by a guess that is seldom too low.
pub(super) fn lines_bytes(payload: &Payload) -> usize {
    let body = payload.inflated_bytes;
    let bytes = match (payload.counts, payload.line_type.as_deref()) {
        (Counts::Lines(lines), Some(line_type)) => {
            // `{"type":"",` beside the type itself.
            let each = line_type.len() as u64 + 11;
            body.saturating_add(lines.good.items.saturating_mul(each))
        }
        _ if is_whole(payload.content) => body.saturating_mul(GROWTH_USUAL).saturating_add(256),
        _ => body,
    };
    // And the last line's end.
    let bytes = usize::try_from(bytes.saturating_add(1)).unwrap_or(usize::MAX);
    bytes.min(BUFFERED_BYTES_MAX)
}

/// Converts until the inbox is closed and empty.
pub(super) fn run(disk: &Disk, inbox: &Inbox, outbox: &Outbox) {
    while let Some((job, turn)) = inbox.pop() {
        let Job {
            key,
            token,
            payload,
            mut claimed,
            is_rehearsal,
            answer,
        } = job;
        if answer.is_late() {
            answer.send(Err(late()));
            continue;
        }
        let deadline = answer.deadline();
        let convert = AssertUnwindSafe(|| {
            let mut sink = Sink::new(disk, key, deadline, &mut claimed, lines_bytes_max(&payload));
            if is_rehearsal {
                sink.keep_nothing();
            }
            lines(&payload, sink)
        });
        let converted = catch_unwind(convert).unwrap_or_else(|_| {
            error!(account.id = %key.account, token.id = %token, "archive conversion panicked");
            Err(Rejection::Internal("archive conversion panicked"))
        });
        drop((payload, turn));
        match converted {
            Ok(Some(lines)) => outbox.push(Record {
                key,
                lines,
                claimed,
                answer,
            }),
            Ok(None) => answer.send(Ok(())),
            Err(rejection) => answer.send(Err(rejection)),
        }
    }
}

fn lines_bytes_max(payload: &Payload) -> u64 {
    let grown = payload.inflated_bytes.saturating_mul(GROWTH_MAX);
    (1 << 20) + grown.min(LINES_BYTES_MAX)
}

/// The payload's lines, or nothing when they are already safe in a file of their own (or there are none).
fn lines(payload: &Payload, mut sink: Sink<'_>) -> Result<Option<Vec<u8>>, Rejection> {
    let written = match payload.content {
        Content::Lines => {
            let mut lines = LineWriter::new(payload.line_type.as_deref());
            pieces(payload, |piece| lines.push(piece, &mut sink))
                .and_then(|()| Ok(lines.finish(&mut sink)?))
        }
        Content::OtlpJson => json(payload, &mut sink),
        Content::OtlpProtobuf => whole(payload).and_then(|body| {
            otlp_lines::write_protobuf(payload.signal, &body, &mut sink).map_err(Into::into)
        }),
        Content::RemoteWrite1 => whole(payload)
            .and_then(|body| write_lines::write_1(&body, &mut sink).map_err(Into::into)),
        Content::RemoteWrite2 => whole(payload)
            .and_then(|body| write_lines::write_2(&body, &mut sink).map_err(Into::into)),
    };
    match written {
        Ok(()) => sink.finish(),
        Err(Failure::Unwritable(Unwritable::Malformed(why))) => {
            Err(Rejection::Malformed(why.into()))
        }
        Err(Failure::Unwritable(Unwritable::Output(_))) => Err(sink.refusal()),
        Err(Failure::NotOtlp(why)) => Err(Rejection::Malformed(why.into())),
        Err(Failure::InflatesDifferently) => {
            Err(Rejection::Internal("a checked body inflates differently"))
        }
    }
}

/// Why a body did not become lines.
enum Failure {
    InflatesDifferently,
    /// JSON that has no protobuf form, and where.
    NotOtlp(String),
    Unwritable(Unwritable),
}

impl From<Unwritable> for Failure {
    fn from(unwritable: Unwritable) -> Self {
        Self::Unwritable(unwritable)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Unwritable(error.into())
    }
}

fn whole(payload: &Payload) -> Result<bytes::Bytes, Failure> {
    encoding::inflate(payload.encoding, &payload.chunks, payload.inflated_bytes)
        .map_err(|_| Failure::InflatesDifferently)
}

fn pieces(
    payload: &Payload,
    mut write: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), Failure> {
    let mut pieces = Pieces::new(payload.encoding, &payload.chunks, payload.inflated_bytes);
    while let Some(piece) = pieces
        .next_piece()
        .map_err(|_| Failure::InflatesDifferently)?
    {
        write(piece)?;
    }
    Ok(())
}

/// Checked here, aside from the workers: they have looked at the way to the items only, and a reader of the files would
/// stumble over what is in them.
fn json(payload: &Payload, sink: &mut Sink<'_>) -> Result<(), Failure> {
    let mut copying = Copying {
        pieces: Pieces::new(payload.encoding, &payload.chunks, payload.inflated_bytes),
        line: JsonLine::default(),
        sink,
        failure: None,
    };
    let checked = check_json(
        payload.signal,
        io::BufReader::with_capacity(READ_BYTES, &mut copying),
    );
    let Copying {
        line,
        sink,
        failure,
        ..
    } = copying;
    match (failure, checked) {
        (Some(failure), _) => Err(failure),
        (None, Err(fault)) => Err(Failure::NotOtlp(fault.to_string())),
        (None, Ok(())) => Ok(line.finish(sink)?),
    }
}

/// A body being read, which is written as a line on the way.
struct Copying<'c, 's, 'd> {
    pieces: Pieces<'c>,
    line: JsonLine,
    sink: &'s mut Sink<'d>,
    /// Why reading failed, if it wasn't the text.
    failure: Option<Failure>,
}

impl io::Read for Copying<'_, '_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = match self.pieces.read(into) {
            Ok(read) => read,
            Err(_) => {
                self.failure = Some(Failure::InflatesDifferently);
                return Err(io::ErrorKind::InvalidData.into());
            }
        };
        if let Err(error) = self.line.push(&into[..read], self.sink) {
            let kind = error.kind();
            self.failure = Some(error.into());
            return Err(kind.into());
        }
        Ok(read)
    }
}
