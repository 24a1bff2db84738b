//! Inflation by streaming, under an absolute ceiling, in steps between which the caller may yield and pay.

mod gzip;
mod snappy;
mod zstd;

use bytes::Bytes;

use super::{Fault, Scanner, malformed};
use crate::model::{Chunks, Counts, Encoding};

/// Input taken and output made in one step: well under a millisecond of scanning.
const STEP_BYTES: usize = 256 << 10;
/// What the start of another member or frame costs beside its bytes, in the same coin: floods of empty ones must pause too.
const RESTART_BYTES: usize = 4 << 10;

/// How far a step came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All input is taken: feed the next chunk, or finish.
    Drained,
    /// There is more to do with this chunk. A good moment to let others run.
    Paused,
    /// The decoder is about to allocate: what [`Inflate::memory_bytes`] says has grown. The next step goes ahead.
    Charge,
}

/// Where inflated pieces go.
type Out<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), Fault>;

/// Inflates a body as it arrives and scans what comes out. Holds none of the body, but for snappy its whole output.
#[derive(Debug)]
pub struct Inflate {
    decoder: Decoder,
    input: Bytes,
    sink: Sink,
}

impl Inflate {
    /// For a body in that encoding, which may inflate to `inflated_bytes_max`.
    pub fn new(encoding: Encoding, inflated_bytes_max: u64, scanner: Scanner) -> Self {
        Self {
            decoder: Decoder::new(encoding, inflated_bytes_max),
            input: Bytes::new(),
            sink: Sink {
                scanner,
                bytes: 0,
                bytes_max: inflated_bytes_max,
            },
        }
    }

    /// Hands over the next chunk; steps must follow until it is drained.
    pub fn feed(&mut self, chunk: Bytes) {
        debug_assert!(self.input.is_empty(), "the last chunk is not drained");
        self.input = chunk;
    }

    /// Inflates and scans some 256 KiB at most.
    pub fn step(&mut self) -> Result<Progress, Fault> {
        let mut rest = self.input.as_ref();
        let progress = self
            .decoder
            .step(&mut rest, &mut |piece| self.sink.take(piece))?;
        let taken = self.input.len() - rest.len();
        if taken == self.input.len() {
            self.input = Bytes::new();
        } else {
            self.input = self.input.slice(taken..);
        }
        Ok(progress)
    }

    /// Feeds a chunk and steps until it is drained, paying no heed to time and memory.
    pub fn push(&mut self, chunk: Bytes) -> Result<(), Fault> {
        self.feed(chunk);
        while self.step()? != Progress::Drained {}
        Ok(())
    }

    /// Bytes inflated so far.
    pub const fn inflated_bytes(&self) -> u64 {
        self.sink.bytes
    }

    /// What the decoder holds beside the chunk, or will hold from the next step on.
    pub const fn memory_bytes(&self) -> u64 {
        self.decoder.memory_bytes()
    }

    /// The body has ended: what was in it, and its inflated size. A stream cut in the middle is malformed.
    pub fn finish(self) -> Result<(Counts, u64), Fault> {
        debug_assert!(self.input.is_empty(), "the last chunk is not drained");
        self.decoder.finish()?;
        Ok((self.sink.scanner.finish()?, self.sink.bytes))
    }
}

/// Inflates a whole body once more, piece by piece.
pub fn inflate_to(
    encoding: Encoding,
    chunks: &Chunks,
    inflated_bytes_max: u64,
    out: &mut dyn FnMut(&[u8]) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut decoder = Decoder::new(encoding, inflated_bytes_max);
    let mut bytes = 0;
    for chunk in chunks.iter() {
        let mut rest = chunk.as_ref();
        while decoder.step(&mut rest, &mut |piece| {
            meter(&mut bytes, piece, inflated_bytes_max)?;
            out(piece)
        })? != Progress::Drained
        {}
    }
    decoder.finish()
}

/// A whole body inflated in one piece, without a copy where it isn't compressed. `bytes` is what it was counted to inflate to.
///
/// # Errors
/// It inflates to another size, or not at all.
pub fn inflate(encoding: Encoding, chunks: &Chunks, bytes: u64) -> Result<Bytes, Fault> {
    if encoding == Encoding::Identity {
        return Ok(chunks.to_bytes());
    }
    let mut again = Again::new(encoding, chunks, bytes);
    while again.step()? != Progress::Drained {}
    again.finish()
}

/// Inflates a checked body once more into one piece, in steps as [`Inflate`] does.
#[derive(Debug)]
pub struct Again<'c> {
    decoder: Decoder,
    input: &'c [u8],
    chunks: std::slice::Iter<'c, Bytes>,
    whole: Vec<u8>,
    bytes: u64,
}

impl<'c> Again<'c> {
    /// For a body that was counted to inflate to `bytes`: so much is allocated here.
    pub fn new(encoding: Encoding, chunks: &'c Chunks, bytes: u64) -> Self {
        Self {
            decoder: Decoder::new(encoding, bytes),
            input: &[],
            chunks: chunks.iter(),
            whole: Vec::with_capacity(usize::try_from(bytes).unwrap_or(0)),
            bytes,
        }
    }

    /// Inflates some 256 KiB at most.
    pub fn step(&mut self) -> Result<Progress, Fault> {
        let (whole, bytes_max) = (&mut self.whole, self.bytes);
        let mut taken = 0;
        while taken < STEP_BYTES {
            let (left, made) = (self.input.len(), whole.len());
            let progress = self.decoder.step(&mut self.input, &mut |piece| {
                if (whole.len() + piece.len()) as u64 > bytes_max {
                    return Err(Fault::TooLarge { bytes_max });
                }
                whole.extend_from_slice(piece);
                Ok(())
            })?;
            if progress != Progress::Drained {
                return Ok(progress);
            }
            taken += left + whole.len() - made;
            match self.chunks.next() {
                Some(chunk) => self.input = chunk,
                None => return Ok(Progress::Drained),
            }
        }
        Ok(Progress::Paused)
    }

    /// What the decoder holds beside the body, or will hold from the next step on.
    pub const fn memory_bytes(&self) -> u64 {
        self.decoder.memory_bytes()
    }

    /// The body in one piece, once it is drained.
    ///
    /// # Errors
    /// It has inflated to another size.
    pub fn finish(self) -> Result<Bytes, Fault> {
        self.decoder.finish()?;
        if self.whole.len() as u64 != self.bytes {
            return malformed("the body inflates to another size than before");
        }
        Ok(self.whole.into())
    }
}

/// A checked body once more, a piece at a time. Holds one piece, and what its decoder does.
#[derive(Debug)]
pub struct Pieces<'c> {
    decoder: Decoder,
    input: &'c [u8],
    chunks: std::slice::Iter<'c, Bytes>,
    piece: Vec<u8>,
    /// So much of the piece is read.
    read: usize,
    bytes: u64,
    bytes_max: u64,
}

impl<'c> Pieces<'c> {
    /// Of a body that was counted to inflate to `bytes`.
    pub fn new(encoding: Encoding, chunks: &'c Chunks, bytes: u64) -> Self {
        Self {
            decoder: Decoder::new(encoding, bytes),
            input: &[],
            chunks: chunks.iter(),
            piece: Vec::new(),
            read: 0,
            bytes: 0,
            bytes_max: bytes,
        }
    }

    /// Reads some of the body, as [`std::io::Read`] does; nothing at the end.
    ///
    /// # Errors
    /// As [`Pieces::next_piece`], which must not be called meanwhile.
    pub fn read(&mut self, into: &mut [u8]) -> Result<usize, Fault> {
        if self.read == self.piece.len() {
            self.read = 0;
            if self.next_piece()?.is_none() {
                return Ok(0);
            }
        }
        let rest = &self.piece[self.read..];
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        self.read += count;
        Ok(count)
    }

    /// The next piece, some 256 KiB at most and never empty; none at the end.
    ///
    /// # Errors
    /// It inflates to another size, or not at all.
    pub fn next_piece(&mut self) -> Result<Option<&[u8]>, Fault> {
        self.piece.clear();
        loop {
            let (bytes, bytes_max, piece) = (&mut self.bytes, self.bytes_max, &mut self.piece);
            let progress = self.decoder.step(&mut self.input, &mut |made| {
                meter(bytes, made, bytes_max)?;
                piece.extend_from_slice(made);
                Ok(())
            })?;
            if !self.piece.is_empty() {
                return Ok(Some(&self.piece));
            }
            if progress == Progress::Drained {
                match self.chunks.next() {
                    Some(chunk) => self.input = chunk,
                    None => break,
                }
            }
        }
        self.decoder.finish()?;
        if self.bytes != self.bytes_max {
            return malformed("the body inflates to another size than before");
        }
        Ok(None)
    }
}

#[derive(Debug)]
struct Sink {
    scanner: Scanner,
    bytes: u64,
    bytes_max: u64,
}

impl Sink {
    fn take(&mut self, piece: &[u8]) -> Result<(), Fault> {
        meter(&mut self.bytes, piece, self.bytes_max)?;
        self.scanner.push(piece)
    }
}

fn meter(bytes: &mut u64, piece: &[u8], bytes_max: u64) -> Result<(), Fault> {
    *bytes += piece.len() as u64;
    if *bytes > bytes_max {
        return Err(Fault::TooLarge { bytes_max });
    }
    Ok(())
}

#[derive(Debug)]
enum Decoder {
    Identity,
    Gzip(gzip::Decoder),
    Zstd(zstd::Decoder),
    Snappy(snappy::Decoder),
}

impl Decoder {
    fn new(encoding: Encoding, inflated_bytes_max: u64) -> Self {
        match encoding {
            Encoding::Identity => Self::Identity,
            Encoding::Gzip => Self::Gzip(gzip::Decoder::default()),
            Encoding::Zstd => Self::Zstd(zstd::Decoder::default()),
            Encoding::Snappy => Self::Snappy(snappy::Decoder::new(inflated_bytes_max)),
        }
    }

    fn step(&mut self, input: &mut &[u8], out: Out<'_>) -> Result<Progress, Fault> {
        if input.is_empty() && !self.is_pending() {
            return Ok(Progress::Drained);
        }
        match self {
            Self::Identity => {
                let (piece, rest) = input.split_at(input.len().min(STEP_BYTES));
                *input = rest;
                out(piece)?;
                Ok(paused_unless(rest.is_empty()))
            }
            Self::Gzip(decoder) => decoder.step(input, out),
            Self::Zstd(decoder) => decoder.step(input, out),
            Self::Snappy(decoder) => decoder.step(input, out),
        }
    }

    /// Whether there is work to do without more input.
    const fn is_pending(&self) -> bool {
        match self {
            Self::Identity | Self::Snappy(_) => false,
            Self::Gzip(decoder) => decoder.is_pending(),
            Self::Zstd(decoder) => decoder.is_pending(),
        }
    }

    const fn memory_bytes(&self) -> u64 {
        match self {
            Self::Identity => 0,
            Self::Gzip(decoder) => decoder.memory_bytes(),
            Self::Zstd(decoder) => decoder.memory_bytes(),
            Self::Snappy(decoder) => decoder.memory_bytes(),
        }
    }

    fn finish(&self) -> Result<(), Fault> {
        let is_whole = match self {
            Self::Identity => true,
            Self::Gzip(decoder) => decoder.is_whole(),
            Self::Zstd(decoder) => decoder.is_whole(),
            Self::Snappy(decoder) => decoder.is_whole(),
        };
        if is_whole {
            Ok(())
        } else {
            malformed("the compressed body is cut off")
        }
    }
}

const fn paused_unless(is_drained: bool) -> Progress {
    if is_drained {
        Progress::Drained
    } else {
        Progress::Paused
    }
}

#[cfg(test)]
mod tests;
