//! Conversion: a payload's bytes become lines, in memory when they are few, else straight into a file of their own.

use std::{
    fs::File,
    io::{self, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
};

use tracing::{error, warn};

use super::{
    BUFFERED_BYTES_MAX,
    disk::Disk,
    files::Key,
    queue::{Inbox, Job, Outbox, Record},
};
use crate::{
    model::{Content, Payload, Rejection},
    wire::{Unwritable, encoding, line_type, otlp_lines, write_lines},
};

/// Lines may take this many times the inflated body: far above what labels named once and referred to by every series
/// should need, far below the terabytes of one long symbol referred to from everywhere. An estimate, not a measurement.
const GROWTH_MAX: u64 = 64;
/// Lines of one body at most, above the growth by field names alone that a 64 MiB OTLP body allows (some 27 bytes for 2).
const LINES_BYTES_MAX: u64 = 1 << 30;
/// Takes a converter's output; what grows past the buffer goes to a file of its own.
struct Sink<'a> {
    disk: &'a Disk,
    key: Key,
    buffer: Vec<u8>,
    own_file: Option<OwnFile<'a>>,
    bytes: u64,
    bytes_max: u64,
    /// Why writing failed.
    refusal: Option<Rejection>,
}

/// A file for one body alone; deleted when dropped before it was kept.
struct OwnFile<'a> {
    disk: &'a Disk,
    file: File,
    path: PathBuf,
    bytes: u64,
    is_kept: bool,
}

/// Converts until the inbox is closed and empty.
pub(super) fn run(disk: &Disk, inbox: &Inbox, outbox: &Outbox) {
    while let Some((job, turn)) = inbox.pop() {
        let Job {
            key,
            token,
            payload,
            answer,
        } = job;
        let convert = AssertUnwindSafe(|| lines(disk, key, &payload));
        let converted = catch_unwind(convert).unwrap_or_else(|_| {
            error!(account.id = %key.account, token.id = %token, "archive conversion panicked");
            Err(Rejection::Internal("archive conversion panicked"))
        });
        drop((payload, turn));
        match converted {
            Ok(Some(lines)) => outbox.push(Record { key, lines, answer }),
            Ok(None) => drop(answer.send(Ok(()))),
            Err(rejection) => {
                if let Rejection::Malformed(why) = &rejection {
                    warn!(account.id = %key.account, token.id = %token, %why, "a checked body can't be written as lines");
                }
                drop(answer.send(Err(rejection)));
            }
        }
    }
}

/// The payload's lines, or nothing when they are already safe in a file of their own (or there are none).
fn lines(disk: &Disk, key: Key, payload: &Payload) -> Result<Option<Vec<u8>>, Rejection> {
    let body = encoding::inflate(payload.encoding, &payload.chunks, payload.inflated_bytes)
        .map_err(|_| Rejection::Internal("a checked body inflates differently"))?;
    let mut sink = Sink {
        disk,
        key,
        buffer: Vec::with_capacity(body.len().saturating_mul(2).min(BUFFERED_BYTES_MAX)),
        own_file: None,
        bytes: 0,
        bytes_max: (1 << 20) + (body.len() as u64 * GROWTH_MAX).min(LINES_BYTES_MAX),
        refusal: None,
    };
    let line_type = payload.line_type.as_deref();
    let written = match payload.content {
        Content::Lines => line_type::write_lines(&body, line_type, &mut sink).map_err(Into::into),
        Content::OtlpJson => otlp_lines::write_json(&body, &mut sink).map_err(Into::into),
        Content::OtlpProtobuf => otlp_lines::write_protobuf(payload.signal, &body, &mut sink),
        Content::RemoteWrite1 => write_lines::write_1(&body, &mut sink),
        Content::RemoteWrite2 => write_lines::write_2(&body, &mut sink),
    };
    match written {
        Ok(()) => sink.finish(),
        Err(Unwritable::Malformed(why)) => Err(Rejection::Malformed(why.into())),
        Err(Unwritable::Output(_)) => Err(sink
            .refusal
            .take()
            .unwrap_or(Rejection::Internal("archive conversion failed"))),
    }
}

// === impl Sink ===

impl<'a> Sink<'a> {
    fn finish(mut self) -> Result<Option<Vec<u8>>, Rejection> {
        if self.own_file.is_some() {
            let kept = self.spill().and_then(|()| match self.own_file.take() {
                Some(file) => self.keep(file),
                None => Ok(()),
            });
            return match kept {
                Ok(()) => Ok(None),
                Err(_) => Err(self
                    .refusal
                    .unwrap_or(Rejection::Internal("archive conversion failed"))),
            };
        }
        Ok((!self.buffer.is_empty()).then_some(self.buffer))
    }

    fn keep(&mut self, mut file: OwnFile<'a>) -> io::Result<()> {
        if let Err(error) = self.disk.sync(&file.file) {
            self.refusal = Some(self.disk.failed(&file.path, &error));
            return Err(error);
        }
        file.is_kept = true;
        Ok(())
    }

    /// Moves the buffer into the body's own file.
    fn spill(&mut self) -> io::Result<()> {
        let bytes = self.buffer.len() as u64;
        if let Err(rejection) = self.disk.check_room(bytes) {
            self.refusal = Some(rejection);
            return Err(io::ErrorKind::StorageFull.into());
        }
        let disk = self.disk;
        let own_file = match self.own_file.take() {
            Some(file) => Ok(file),
            None => disk.create(self.key).map(|(file, path)| OwnFile {
                disk,
                file,
                path,
                bytes: 0,
                is_kept: false,
            }),
        };
        let written = own_file.and_then(|mut own| {
            disk.append(&own.file, &self.buffer)?;
            own.bytes += bytes;
            Ok(own)
        });
        self.buffer.clear();
        match written {
            Ok(own) => {
                self.own_file = Some(own);
                Ok(())
            }
            Err(error) => {
                let place = PathBuf::from(self.key.account.to_string());
                self.refusal = Some(disk.failed(&place, &error));
                Err(error)
            }
        }
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        if self.bytes > self.bytes_max {
            self.refusal = Some(Rejection::TooLarge {
                bytes_max: self.bytes_max,
            });
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() > BUFFERED_BYTES_MAX {
            self.spill()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// === impl OwnFile ===

impl Drop for OwnFile<'_> {
    fn drop(&mut self) {
        if !self.is_kept {
            drop(self.disk.remove(&self.path, self.bytes));
        }
    }
}
