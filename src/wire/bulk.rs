//! Log bulk: one JSON object a line, each line put in exactly one of four classes.

mod sieve;

pub use sieve::good_lines;

use super::{
    Fault,
    json::{Begins, Checker, Visit},
};
use crate::model::{LineCounts, Tally};

/// Where a line belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Good,
    Malformed,
    Oversized,
    Empty,
}

/// A scan of a bulk body.
#[derive(Debug)]
pub struct Scan {
    line_bytes_max: u64,
    /// Bytes of the line at hand so far.
    line_bytes: u64,
    ends_in_cr: bool,
    is_blank: bool,
    is_malformed: bool,
    checker: Checker,
    shape: Shape,
    counts: LineCounts,
}

impl Scan {
    /// A scan that takes lines of up to `line_bytes_max` bytes, line ends not counted.
    pub fn new(line_bytes_max: u64) -> Self {
        Self {
            line_bytes_max,
            line_bytes: 0,
            ends_in_cr: false,
            is_blank: true,
            is_malformed: false,
            checker: Checker::default(),
            shape: Shape::default(),
            counts: LineCounts::default(),
        }
    }

    /// Takes the next piece. No body is at fault as a whole.
    pub fn push(&mut self, bytes: &[u8]) {
        self.push_lines(bytes, |_, _| ());
    }

    /// The body has ended: its lines. Their bytes add up to the body's.
    pub fn finish(mut self) -> LineCounts {
        self.finish_line();
        self.counts
    }

    /// As [`Scan::push`], and says of each line that ends in the piece its class and where in the piece the next one starts.
    fn push_lines(&mut self, bytes: &[u8], mut line: impl FnMut(Class, usize)) {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            self.content(&bytes[start..end]);
            start = end + 1;
            let class = self.end_line(1);
            line(class, start);
        }
        self.content(&bytes[start..]);
    }

    /// Ends the last line, if there is one without a line end.
    fn finish_line(&mut self) -> Option<Class> {
        // A CR is half a line end only with its LF.
        self.ends_in_cr = false;
        (self.line_bytes > 0).then(|| self.end_line(0))
    }

    #[inline]
    fn content(&mut self, piece: &[u8]) {
        let Some(last) = piece.last() else {
            return;
        };
        self.ends_in_cr = *last == b'\r';
        // One more than the ceiling: the CR of a line end may stand there. What lies beyond is not looked at.
        let room = self
            .line_bytes_max
            .saturating_add(1)
            .saturating_sub(self.line_bytes);
        self.line_bytes += piece.len() as u64;
        let piece = match usize::try_from(room) {
            Ok(room) if room < piece.len() => &piece[..room],
            _ => piece,
        };
        if self.is_malformed {
            return;
        }
        if self.is_blank {
            self.is_blank = piece
                .iter()
                .all(|byte| matches!(byte, b' ' | b'\t' | b'\r'));
        }
        self.is_malformed = self.checker.push(piece, &mut self.shape).is_err();
    }

    #[inline]
    fn end_line(&mut self, line_end_bytes: u64) -> Class {
        let class = if self.line_bytes - u64::from(self.ends_in_cr) > self.line_bytes_max {
            Class::Oversized
        } else if self.is_blank {
            Class::Empty
        } else if self.is_malformed || !self.checker.is_whole() {
            Class::Malformed
        } else if self.shape.values > 1 {
            Class::Good
        } else {
            Class::Empty
        };
        let tally = Tally::new(1, self.line_bytes + line_end_bytes);
        *match class {
            Class::Good => &mut self.counts.good,
            Class::Malformed => &mut self.counts.malformed,
            Class::Oversized => &mut self.counts.oversized,
            Class::Empty => &mut self.counts.empty,
        } += tally;
        self.line_bytes = 0;
        self.ends_in_cr = false;
        self.is_blank = true;
        self.is_malformed = false;
        self.checker = Checker::default();
        self.shape = Shape::default();
        class
    }
}

/// What tells an object with members from everything else.
#[derive(Debug, Default)]
struct Shape {
    values: u64,
}

impl Visit for Shape {
    #[inline]
    fn name(&mut self, _: &[u8]) {}

    #[inline]
    fn value(&mut self, begins: Begins, _: bool, _: usize) -> Result<(), Fault> {
        self.values += 1;
        if self.values == 1 && begins != Begins::Object {
            return super::malformed("a line is not a JSON object");
        }
        Ok(())
    }

    #[inline]
    fn end(&mut self) {}
}

#[cfg(test)]
mod tests;
