//! Zstandard (RFC 8878), any number of frames, with the window each asks for known before it is allocated.

use zstd::{
    stream::raw::{Decoder as Engine, Operation},
    zstd_safe::DParameter,
};

use super::{Out, Progress, RESTART_BYTES, STEP_BYTES, paused_unless};
use crate::wire::{Fault, malformed};

const WINDOW_LOG_MAX: u32 = 23;
const OUT_BYTES: usize = 64 << 10;
/// The context (tables, literals), one input block, the output's margin of a block, and our output buffer.
const MEMORY_BYTES: u64 = (512 << 10) + OUT_BYTES as u64;

const MAGIC: u32 = 0xFD2F_B528;
/// The low four bits of a skippable frame's magic number are free.
const SKIPPABLE_MAGIC: u32 = 0x184D_2A50;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The frame's header, so many bytes of it seen.
    Header(usize),
    /// The whole header is kept and the memory announced.
    Announced(usize),
    Skip(u32),
    Frame,
}

pub(super) struct Decoder {
    state: State,
    /// 4 magic, 1 descriptor, 1 window, 4 dictionary, 8 content size.
    header: [u8; 18],
    memory_bytes: u64,
    engine: Option<(Engine<'static>, Box<[u8]>)>,
    /// The last output filled its buffer: there may be more without more input.
    is_full: bool,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder")
            .field("state", &self.state)
            .field("memory_bytes", &self.memory_bytes)
            .finish_non_exhaustive()
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            state: State::Header(0),
            header: [0; 18],
            memory_bytes: 0,
            engine: None,
            is_full: false,
        }
    }
}

impl Decoder {
    pub(super) fn step(&mut self, input: &mut &[u8], out: Out<'_>) -> Result<Progress, Fault> {
        let mut work = 0;
        while work < STEP_BYTES {
            match self.state {
                State::Header(seen) => {
                    let Some((byte, rest)) = input.split_first() else {
                        break;
                    };
                    *input = rest;
                    work += 1;
                    if self.header(seen, *byte)? {
                        return Ok(Progress::Charge);
                    }
                }
                State::Announced(length) => {
                    let header = self.header;
                    work += RESTART_BYTES + self.inflate(&mut &header[..length], out)?;
                    if self.state == (State::Announced(length)) {
                        self.state = State::Frame;
                    }
                }
                State::Skip(left) => {
                    let taken = input.len().min(left as usize);
                    *input = &input[taken..];
                    work += taken;
                    let left = left - taken as u32;
                    if left == 0 {
                        work += RESTART_BYTES;
                        self.state = State::Header(0);
                    } else {
                        self.state = State::Skip(left);
                        break;
                    }
                }
                State::Frame => {
                    if input.is_empty() && !self.is_full {
                        break;
                    }
                    work += self.inflate(input, out)?;
                }
            }
        }
        Ok(paused_unless(input.is_empty() && !self.is_pending()))
    }

    pub(super) const fn is_pending(&self) -> bool {
        self.is_full || matches!(self.state, State::Announced(_))
    }

    pub(super) const fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    pub(super) fn is_whole(&self) -> bool {
        self.state == State::Header(0)
    }

    /// One byte of a frame's header; says whether more memory is needed than was announced so far.
    fn header(&mut self, seen: usize, byte: u8) -> Result<bool, Fault> {
        self.header[seen] = byte;
        let seen = seen + 1;
        self.state = State::Header(seen);
        if seen < 4 {
            return Ok(false);
        }
        let magic = u32::from_le_bytes(self.word(0));
        if magic & !0xF == SKIPPABLE_MAGIC {
            if seen == 8 {
                self.state = match u32::from_le_bytes(self.word(4)) {
                    0 => State::Header(0),
                    length => State::Skip(length),
                };
            }
            return Ok(false);
        }
        if magic != MAGIC {
            return malformed("the body is not zstd");
        }
        if seen < 5 {
            return Ok(false);
        }
        let descriptor = self.header[4];
        let is_single_segment = descriptor & 0x20 != 0;
        let window_bytes = usize::from(!is_single_segment);
        let dictionary_bytes = [0, 1, 2, 4][usize::from(descriptor & 3)];
        let size_bytes = match descriptor >> 6 {
            0 => usize::from(is_single_segment),
            flag => 1 << flag,
        };
        let size_at = 5 + window_bytes + dictionary_bytes;
        if seen < size_at + size_bytes {
            return Ok(false);
        }
        let window = if is_single_segment {
            let mut size = [0; 8];
            size[..size_bytes].copy_from_slice(&self.header[size_at..size_at + size_bytes]);
            // A two-byte size counts from 256.
            u64::from_le_bytes(size) + if size_bytes == 2 { 256 } else { 0 }
        } else {
            let (exponent, mantissa) = (self.header[5] >> 3, self.header[5] & 7);
            let base = 1 << (10 + exponent);
            base + base / 8 * u64::from(mantissa)
        };
        if window > 1 << WINDOW_LOG_MAX {
            return malformed("a zstd frame asks for a window above 8 MiB");
        }
        self.state = State::Announced(seen);
        let needed = MEMORY_BYTES + window;
        let grows = needed > self.memory_bytes;
        self.memory_bytes = self.memory_bytes.max(needed);
        Ok(grows)
    }

    fn word(&self, at: usize) -> [u8; 4] {
        std::array::from_fn(|offset| self.header[at + offset])
    }

    fn inflate(&mut self, input: &mut &[u8], out: Out<'_>) -> Result<usize, Fault> {
        let (engine, buffer) = match &mut self.engine {
            Some(engine) => engine,
            none => none.insert(engine()?),
        };
        let Ok(status) = engine.run_on_buffers(input, buffer) else {
            return malformed("the body is not zstd");
        };
        *input = &input[status.bytes_read..];
        self.is_full = status.bytes_written == buffer.len();
        if status.remaining == 0 {
            self.is_full = false;
            self.state = State::Header(0);
        } else if status.bytes_read == 0 && status.bytes_written == 0 && !input.is_empty() {
            return malformed("the body is not zstd");
        }
        if status.bytes_written > 0 {
            out(&buffer[..status.bytes_written])?;
        }
        Ok(status.bytes_read + status.bytes_written)
    }
}

fn engine() -> Result<(Engine<'static>, Box<[u8]>), Fault> {
    let engine = Engine::new().and_then(|mut engine| {
        engine.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX))?;
        Ok(engine)
    });
    match engine {
        Ok(engine) => Ok((engine, vec![0; OUT_BYTES].into())),
        Err(_) => malformed("zstd has no memory"),
    }
}
