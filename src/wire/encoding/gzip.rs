//! Gzip (RFC 1952): its framing around raw deflate, any number of members.
//!
//! The framing is ours because one decompressor serves all members: a body of empty members must not buy an allocation each.

use flate2::{Decompress, FlushDecompress, Status};

use super::{Out, Progress, RESTART_BYTES, STEP_BYTES, paused_unless};
use crate::wire::{Fault, malformed};

const OUT_BYTES: usize = 32 << 10;
/// zlib's state and window, rounded up, and our output buffer.
const MEMORY_BYTES: u64 = (64 << 10) + OUT_BYTES as u64;

const HAS_HEADER_CRC: u8 = 1 << 1;
const HAS_EXTRA: u8 = 1 << 2;
const HAS_NAME: u8 = 1 << 3;
const HAS_COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The fixed ten bytes, so many of them seen.
    Fixed(u8),
    /// The length of the extra field.
    ExtraLength(u8, u16),
    Extra(u16),
    Name,
    Comment,
    HeaderCrc(u8),
    Deflate,
    /// CRC-32 and size, so many bytes of them seen.
    Trailer(u8),
}

/// The decompressor and its output buffer: the part that costs memory.
#[derive(Debug)]
struct Engine {
    inflate: Decompress,
    out: Box<[u8]>,
}

#[derive(Debug)]
pub(super) struct Decoder {
    state: State,
    flags: u8,
    trailer: [u8; 8],
    crc: crc32fast::Hasher,
    size: u32,
    engine: Option<Engine>,
    has_announced: bool,
    /// The last output filled its buffer: there may be more without more input.
    is_full: bool,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            state: State::Fixed(0),
            flags: 0,
            trailer: [0; 8],
            crc: crc32fast::Hasher::new(),
            size: 0,
            engine: None,
            has_announced: false,
            is_full: false,
        }
    }
}

impl Decoder {
    pub(super) fn step(&mut self, input: &mut &[u8], out: Out<'_>) -> Result<Progress, Fault> {
        if !self.has_announced {
            self.has_announced = true;
            return Ok(Progress::Charge);
        }
        let mut work = 0;
        while work < STEP_BYTES {
            if self.state == State::Deflate {
                if input.is_empty() && !self.is_full {
                    break;
                }
                work += self.inflate(input, out)?;
            } else {
                let Some((byte, rest)) = input.split_first() else {
                    break;
                };
                *input = rest;
                work += 1;
                if self.state == State::Fixed(0) {
                    work += RESTART_BYTES;
                }
                self.state = self.framing(*byte)?;
            }
        }
        Ok(paused_unless(input.is_empty() && !self.is_full))
    }

    pub(super) const fn is_pending(&self) -> bool {
        self.is_full
    }

    pub(super) const fn memory_bytes(&self) -> u64 {
        if self.has_announced { MEMORY_BYTES } else { 0 }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.state == State::Fixed(0)
    }

    /// One byte of header or trailer.
    fn framing(&mut self, byte: u8) -> Result<State, Fault> {
        Ok(match self.state {
            State::Fixed(at) => {
                let is_good = match at {
                    0 => byte == 0x1F,
                    1 => byte == 0x8B,
                    2 => byte == 8,
                    3 => byte & RESERVED == 0,
                    _ => true,
                };
                if !is_good {
                    return malformed("the body is not gzip");
                }
                if at == 3 {
                    self.flags = byte;
                }
                if at < 9 {
                    State::Fixed(at + 1)
                } else {
                    self.after_fixed()
                }
            }
            State::ExtraLength(0, _) => State::ExtraLength(1, u16::from(byte)),
            State::ExtraLength(_, low) => match low | u16::from(byte) << 8 {
                0 => self.after_extra(),
                length => State::Extra(length),
            },
            State::Extra(1) => self.after_extra(),
            State::Extra(left) => State::Extra(left - 1),
            State::Name if byte == 0 => self.after_name(),
            State::Comment if byte == 0 => self.after_comment(),
            State::HeaderCrc(0) => State::HeaderCrc(1),
            State::HeaderCrc(_) => State::Deflate,
            State::Trailer(at) => {
                self.trailer[usize::from(at)] = byte;
                if at < 7 {
                    State::Trailer(at + 1)
                } else {
                    self.end_member()?
                }
            }
            unchanged @ (State::Name | State::Comment | State::Deflate) => unchanged,
        })
    }

    const fn after_fixed(&self) -> State {
        if self.flags & HAS_EXTRA != 0 {
            State::ExtraLength(0, 0)
        } else {
            self.after_extra()
        }
    }

    const fn after_extra(&self) -> State {
        if self.flags & HAS_NAME != 0 {
            State::Name
        } else {
            self.after_name()
        }
    }

    const fn after_name(&self) -> State {
        if self.flags & HAS_COMMENT != 0 {
            State::Comment
        } else {
            self.after_comment()
        }
    }

    const fn after_comment(&self) -> State {
        if self.flags & HAS_HEADER_CRC != 0 {
            State::HeaderCrc(0)
        } else {
            State::Deflate
        }
    }

    fn inflate(&mut self, input: &mut &[u8], out: Out<'_>) -> Result<usize, Fault> {
        let engine = self.engine.get_or_insert_with(|| Engine {
            inflate: Decompress::new(false),
            out: vec![0; OUT_BYTES].into(),
        });
        let (in_before, out_before) = (engine.inflate.total_in(), engine.inflate.total_out());
        let Ok(status) = engine
            .inflate
            .decompress(input, &mut engine.out, FlushDecompress::None)
        else {
            return malformed("the body is not deflate");
        };
        let taken = (engine.inflate.total_in() - in_before) as usize;
        let made = (engine.inflate.total_out() - out_before) as usize;
        *input = &input[taken..];
        let piece = &engine.out[..made];
        self.crc.update(piece);
        self.size = self.size.wrapping_add(made as u32);
        self.is_full = made == OUT_BYTES;
        if status == Status::StreamEnd {
            self.is_full = false;
            self.state = State::Trailer(0);
        } else if taken == 0 && made == 0 && !input.is_empty() {
            return malformed("the body is not deflate");
        }
        if made > 0 {
            out(piece)?;
        }
        Ok(taken + made)
    }

    fn end_member(&mut self) -> Result<State, Fault> {
        let crc = std::mem::take(&mut self.crc).finalize();
        let size = std::mem::take(&mut self.size);
        let mut wanted = [0; 8];
        wanted[..4].copy_from_slice(&crc.to_le_bytes());
        wanted[4..].copy_from_slice(&size.to_le_bytes());
        if self.trailer != wanted {
            return malformed("a gzip checksum is wrong");
        }
        if let Some(engine) = &mut self.engine {
            engine.inflate.reset(false);
        }
        Ok(State::Fixed(0))
    }
}
