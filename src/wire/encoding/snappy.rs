//! Snappy's block format, resumable: the usual decoders want the whole body in one piece and hold the thread until it is done.
//!
//! Copies may reach back to the first byte, so the whole output is held; its declared size is checked and announced first.

use super::{Out, Progress, STEP_BYTES, paused_unless};
use crate::wire::{Fault, malformed};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The varint that declares the output's size: bits so far, and how many.
    Size(u64, u32),
    Tag,
    /// A literal's length in so many more bytes: value so far, bits so far.
    LiteralLength {
        left: u8,
        length: u32,
        bits: u32,
    },
    Literal {
        left: u64,
    },
    /// A copy's offset in so many more bytes: value so far, bits so far.
    Copy {
        length: u8,
        left: u8,
        offset: u32,
        bits: u32,
    },
}

#[derive(Debug)]
pub(super) struct Decoder {
    state: State,
    bytes_max: u64,
    declared: u64,
    output: Vec<u8>,
}

impl Decoder {
    pub(super) const fn new(inflated_bytes_max: u64) -> Self {
        Self {
            state: State::Size(0, 0),
            bytes_max: inflated_bytes_max,
            declared: 0,
            output: Vec::new(),
        }
    }

    pub(super) fn step(&mut self, input: &mut &[u8], out: Out<'_>) -> Result<Progress, Fault> {
        while let State::Size(size, bits) = self.state {
            let Some((byte, rest)) = input.split_first() else {
                return Ok(Progress::Drained);
            };
            *input = rest;
            if self.size(size, bits, *byte)? && self.declared > 0 {
                return Ok(Progress::Charge);
            }
        }
        if self.output.capacity() == 0 {
            // At most the ceiling, which fits: bodies of that size are held in memory.
            self.output.reserve_exact(self.declared as usize);
        }
        let before = self.output.len();
        let mut work = 0;
        while !input.is_empty() && work < STEP_BYTES {
            let (left, made) = (input.len(), self.output.len());
            self.element(input, STEP_BYTES)?;
            work += left - input.len() + self.output.len() - made;
        }
        if self.output.len() > before {
            out(&self.output[before..])?;
        }
        Ok(paused_unless(input.is_empty()))
    }

    pub(super) const fn memory_bytes(&self) -> u64 {
        self.declared
    }

    pub(super) fn is_whole(&self) -> bool {
        match self.state {
            // No body at all.
            State::Size(_, bits) => bits == 0,
            State::Tag => self.output.len() as u64 == self.declared,
            _ => false,
        }
    }

    /// One byte of the declared size; says whether it was the last.
    fn size(&mut self, size: u64, bits: u32, byte: u8) -> Result<bool, Fault> {
        let size = size | u64::from(byte & 0x7F) << bits;
        if size > u64::from(u32::MAX) || (bits == 28 && byte >= 0x80) {
            return malformed("the body is not snappy");
        }
        if byte >= 0x80 {
            self.state = State::Size(size, bits + 7);
            return Ok(false);
        }
        if size > self.bytes_max {
            return Err(Fault::TooLarge {
                bytes_max: self.bytes_max,
            });
        }
        self.declared = size;
        self.state = State::Tag;
        Ok(true)
    }

    /// A tag, or the next part of what it began. `input` is not empty.
    #[inline]
    fn element(&mut self, input: &mut &[u8], literal_max: usize) -> Result<(), Fault> {
        if let State::Literal { left } = self.state {
            let here = input.len().min(literal_max).min(left as usize);
            let (literal, rest) = input.split_at(here);
            *input = rest;
            self.output.extend_from_slice(literal);
            self.state = match left - here as u64 {
                0 => State::Tag,
                left => State::Literal { left },
            };
            return Ok(());
        }
        let (byte, rest) = (input[0], &input[1..]);
        *input = rest;
        match self.state {
            State::Tag => self.tag(byte),
            State::LiteralLength { left, length, bits } => {
                let length = length | u32::from(byte) << bits;
                if left > 1 {
                    self.state = State::LiteralLength {
                        left: left - 1,
                        length,
                        bits: bits + 8,
                    };
                    return Ok(());
                }
                self.literal(u64::from(length) + 1)
            }
            State::Copy {
                length,
                left,
                offset,
                bits,
            } => {
                let offset = offset | u32::from(byte) << bits;
                if left > 1 {
                    self.state = State::Copy {
                        length,
                        left: left - 1,
                        offset,
                        bits: bits + 8,
                    };
                    return Ok(());
                }
                self.copy(usize::from(length), offset as usize)
            }
            State::Size(..) | State::Literal { .. } => Ok(()),
        }
    }

    #[inline]
    fn tag(&mut self, tag: u8) -> Result<(), Fault> {
        let upper = tag >> 2;
        self.state = match tag & 3 {
            0 if upper < 60 => return self.literal(u64::from(upper) + 1),
            0 => State::LiteralLength {
                left: upper - 59,
                length: 0,
                bits: 0,
            },
            1 => State::Copy {
                length: 4 + (upper & 7),
                left: 1,
                // The tag's top bits lie above the byte that follows: as if they had come after it.
                offset: u32::from(tag >> 5) << 8,
                bits: 0,
            },
            kind => State::Copy {
                length: upper + 1,
                left: if kind == 2 { 2 } else { 4 },
                offset: 0,
                bits: 0,
            },
        };
        Ok(())
    }

    fn room(&self) -> u64 {
        self.declared - self.output.len() as u64
    }

    fn literal(&mut self, length: u64) -> Result<(), Fault> {
        if length > self.room() {
            return malformed("the body is longer than its snappy header says");
        }
        self.state = State::Literal { left: length };
        Ok(())
    }

    #[inline]
    fn copy(&mut self, length: usize, offset: usize) -> Result<(), Fault> {
        let end = self.output.len();
        if offset == 0 || offset > end {
            return malformed("a snappy copy reaches before the start");
        }
        if length as u64 > self.room() {
            return malformed("the body is longer than its snappy header says");
        }
        let start = end - offset;
        let mut left = length;
        while left > 0 {
            // What a copy has just made may be its own source.
            let here = left.min(self.output.len() - start);
            self.output.extend_from_within(start..start + here);
            left -= here;
        }
        self.state = State::Tag;
        Ok(())
    }
}
