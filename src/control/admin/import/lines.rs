//! A stream cut into lines, none longer than a bound.

use bytes::{Buf as _, Bytes, BytesMut};

/// A token with a long description and 64 networks has half of that.
const LINE_BYTES_MAX: usize = 16 << 10;

/// What has come and was not yet taken.
#[derive(Default)]
pub(super) struct Lines {
    bytes: BytesMut,
    /// Looked at, and no line end among them.
    seen: usize,
    number: u64,
    /// The line that has begun is too long: its rest is thrown away.
    is_long: bool,
    has_ended: bool,
}

// === impl Lines ===

impl Lines {
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
    }

    /// Nothing more comes: the last line needs no end.
    pub(super) fn end(&mut self) {
        self.has_ended = true;
    }

    /// The next line that is whole and not empty, with its number from 1; or what is wrong with it.
    pub(super) fn next(&mut self) -> Option<(u64, Result<Bytes, String>)> {
        loop {
            let line = match self.bytes[self.seen..]
                .iter()
                .position(|byte| *byte == b'\n')
            {
                Some(at) => {
                    let line = self.bytes.split_to(self.seen + at);
                    self.bytes.advance(1);
                    line
                }
                None if self.has_ended && (self.is_long || !self.bytes.is_empty()) => {
                    self.bytes.split()
                }
                None => {
                    if self.bytes.len() > LINE_BYTES_MAX {
                        self.is_long = true;
                        self.bytes.clear();
                    }
                    self.seen = self.bytes.len();
                    return None;
                }
            };
            self.seen = 0;
            self.number += 1;
            if std::mem::take(&mut self.is_long) || line.len() > LINE_BYTES_MAX {
                let why = format!("a line has {LINE_BYTES_MAX} bytes at most");
                return Some((self.number, Err(why)));
            }
            if !line.trim_ascii().is_empty() {
                return Some((self.number, Ok(line.freeze())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &[u8], size: usize) -> Vec<(u64, Option<Vec<u8>>)> {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        let mut take = |lines: &mut Lines| {
            while let Some((number, line)) = lines.next() {
                found.push((number, line.ok().map(|line| line.to_vec())));
            }
            assert!(lines.bytes.len() <= LINE_BYTES_MAX);
        };
        for piece in text.chunks(size) {
            lines.push(piece);
            take(&mut lines);
        }
        lines.end();
        take(&mut lines);
        found
    }

    #[test]
    fn lines_are_the_same_however_they_come() {
        let mut text = b"one\r\n\n  \ntwo\n".to_vec();
        text.extend(vec![b'x'; LINE_BYTES_MAX]);
        text.push(b'\n');
        text.extend(vec![b'y'; LINE_BYTES_MAX + 1]);
        text.extend(b"\nlast");
        let expected = vec![
            (1, Some(b"one\r".to_vec())),
            (4, Some(b"two".to_vec())),
            (5, Some(vec![b'x'; LINE_BYTES_MAX])),
            (6, None),
            (7, Some(b"last".to_vec())),
        ];
        for size in [1, 2, 7, 1000, 16 << 10, 1 << 20] {
            assert_eq!(cut(&text, size), expected, "in pieces of {size}");
        }
        assert_eq!(cut(b"", 1), vec![]);
        assert_eq!(cut(b"\n", 1), vec![]);
        assert_eq!(cut(&vec![b'z'; 3 * LINE_BYTES_MAX], 999), vec![(1, None)]);
    }
}
