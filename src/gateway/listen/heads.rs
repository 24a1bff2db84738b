//! Watches HTTP/1.1 heads as they are read: when one begins, and what the parser behind would hide from us.
//!
//! hyper merges repeated lengths, drops a length beside `Transfer-Encoding` and takes bare line feeds, each of which
//! another reader on the way may have understood differently.

use super::outline::Outline;

/// Follows one head at a time, from whatever pieces it arrives in.
#[derive(Debug, Default)]
pub(super) struct Heads {
    state: State,
    name: [u8; NAME_MAX],
    name_len: usize,
    last: u8,
    lengths: u8,
    encodings: u8,
    is_bare: bool,
    length: Length,
    outline: Outline,
    keeping: Keeping,
}

/// What the line being read is kept as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Keeping {
    #[default]
    Line,
    Kind,
    Nothing,
}

/// The value of the first Content-Length.
#[derive(Clone, Copy, Debug, Default)]
struct Length {
    bytes: u64,
    is_read: bool,
    is_over: bool,
    is_bad: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Nothing of the next head has come, or only line ends.
    #[default]
    Before,
    /// Inside a line's name.
    Name,
    /// Inside the value of Content-Length.
    Length,
    /// Past what matters of a line.
    Rest,
    /// The empty line has been seen; what follows is body.
    After,
}

const NAME_MAX: usize = 18;
const LENGTH: &[u8] = b"content-length:";
const ENCODING: &[u8] = b"transfer-encoding:";
const KIND: &[u8] = b"content-type:";

// === impl Heads ===

impl Heads {
    /// Looks at bytes that arrived; gives where the head ends, if it ends among them.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Option<usize> {
        let was_open = self.state != State::After;
        let rest = self.follow(bytes);
        let is_over = was_open && self.state == State::After;
        is_over.then(|| bytes.len() - rest.len())
    }

    fn follow<'b>(&mut self, mut bytes: &'b [u8]) -> &'b [u8] {
        if self.state == State::Before {
            let blank = bytes
                .iter()
                .take_while(|byte| matches!(byte, b'\r' | b'\n'));
            bytes = &bytes[blank.count()..];
            if bytes.is_empty() {
                return bytes;
            }
            // The request line has no name worth keeping.
            self.state = State::Rest;
        }
        while !bytes.is_empty() && self.state != State::After {
            match self.state {
                State::Name => bytes = self.feed_name(bytes),
                State::Length => bytes = self.feed_length(bytes),
                _ => bytes = self.feed_rest(bytes),
            }
        }
        bytes
    }

    /// The bytes of body that the head announces; 0 where it announces none, or none that can be read.
    pub(super) fn length(&self) -> u64 {
        self.length.bytes
    }

    /// Whether the body's end is told by its encoding.
    pub(super) fn is_encoded(&self) -> bool {
        self.encodings > 0
    }

    /// What has been kept of it.
    pub(super) fn outline(&self) -> &Outline {
        &self.outline
    }

    /// What makes the head ambiguous, if anything.
    pub(super) fn flaw(&self) -> Option<&'static str> {
        if self.lengths > 0 && self.encodings > 0 {
            Some("both Content-Length and Transfer-Encoding")
        } else if self.lengths > 1 {
            Some("more than one Content-Length")
        } else if self.encodings > 1 {
            Some("more than one Transfer-Encoding")
        } else if self.lengths > 0 && (self.length.is_bad || !self.length.is_read) {
            Some("a Content-Length that is no number")
        } else if self.is_bare {
            Some("a line that ends without a carriage return")
        } else {
            None
        }
    }

    fn feed_name<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let byte = bytes[0];
        if byte == b'\n' {
            let is_empty = match self.name_len {
                0 => {
                    self.is_bare = true;
                    true
                }
                1 => self.name[0] == b'\r',
                _ => false,
            };
            if is_empty {
                self.state = State::After;
                return &bytes[1..];
            }
            self.is_bare |= self.last != b'\r';
            self.name_len = 0;
            return &bytes[1..];
        }
        self.last = byte;
        self.name[self.name_len] = byte.to_ascii_lowercase();
        self.name_len += 1;
        let name = &self.name[..self.name_len];
        if byte == b':' {
            self.lengths = self.lengths.saturating_add(u8::from(name == LENGTH));
            self.encodings = self.encodings.saturating_add(u8::from(name == ENCODING));
        }
        if byte == b':' && name == LENGTH && self.lengths == 1 {
            self.state = State::Length;
        } else if byte == b':' || self.name_len == NAME_MAX {
            if name == KIND {
                self.keeping = Keeping::Kind;
            }
            self.state = State::Rest;
        }
        &bytes[1..]
    }

    fn feed_length<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let length = &mut self.length;
        let byte = bytes[0];
        match byte {
            // The rest of the line may do without it.
            b'\n' => return self.feed_rest(bytes),
            b'0'..=b'9' => {
                let more = length.bytes.checked_mul(10);
                let more = more.and_then(|bytes| bytes.checked_add(u64::from(byte - b'0')));
                length.is_bad |= length.is_over || more.is_none();
                length.bytes = more.unwrap_or(0);
                length.is_read = true;
            }
            b' ' | b'\t' | b'\r' => length.is_over = length.is_read,
            _ => length.is_bad = true,
        }
        self.last = byte;
        &bytes[1..]
    }

    fn feed_rest<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let end = memchr::memchr(b'\n', bytes);
        let line = &bytes[..end.unwrap_or(bytes.len())];
        match self.keeping {
            Keeping::Line => self.outline.line(line),
            Keeping::Kind => self.outline.kind(line),
            Keeping::Nothing => {}
        }
        let Some(at) = end else {
            self.last = bytes[bytes.len() - 1];
            return &[];
        };
        let before = if at > 0 { bytes[at - 1] } else { self.last };
        self.is_bare |= before != b'\r';
        self.keeping = Keeping::Nothing;
        self.state = State::Name;
        self.name_len = 0;
        self.last = b'\n';
        &bytes[at + 1..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASES: [(&str, Option<&str>); 13] = [
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
            None,
        ),
        (
            "\r\n\r\nPOST / HTTP/1.1\r\nhost: a\r\ncontent-LENGTH: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            Some("both Content-Length and Transfer-Encoding"),
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
            Some("both Content-Length and Transfer-Encoding"),
        ),
        (
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            Some("more than one Content-Length"),
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n",
            Some("more than one Transfer-Encoding"),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\nContent-Length: 1\r\n\r\n",
            Some("a line that ends without a carriage return"),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\n\n",
            Some("a line that ends without a carriage return"),
        ),
        (
            "POST / HTTP/1.1\r\nContent-Length: 90\r\n\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            None,
        ),
        (
            "POST / HTTP/1.1\r\nX-Content-Length: 1\r\nContent-Length: 1\r\nA:\r\n\r\n",
            None,
        ),
        ("POST / HTTP/1.1\r\nContent-Length:\t 12 \r\n\r\n", None),
        (
            "POST / HTTP/1.1\r\nContent-Length: 1 2\r\n\r\n",
            Some("a Content-Length that is no number"),
        ),
        (
            "POST / HTTP/1.1\r\nContent-Length:\r\n\r\n",
            Some("a Content-Length that is no number"),
        ),
        (
            "POST / HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n",
            Some("a Content-Length that is no number"),
        ),
    ];

    #[test]
    fn flaws_are_seen_however_the_head_is_cut() {
        for (head, expected) in CASES {
            for piece in 1..=head.len() {
                let mut heads = Heads::default();
                for bytes in head.as_bytes().chunks(piece) {
                    heads.feed(bytes);
                }
                assert_eq!(heads.flaw(), expected, "{head:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn the_announced_length_is_read_however_the_head_is_cut() {
        let head = "POST / HTTP/1.1\r\nContent-Length: 1234567890 \r\nX: 9\r\n\r\n";
        for piece in 1..=head.len() {
            let mut heads = Heads::default();
            for bytes in head.as_bytes().chunks(piece) {
                heads.feed(bytes);
            }
            assert_eq!(heads.length(), 1_234_567_890, "in pieces of {piece}");
        }
    }

    #[test]
    fn the_end_of_a_head_is_told_once() {
        let mut heads = Heads::default();
        assert_eq!(heads.feed(b"\r\nGET / HTTP/1.1\r\n\r"), None);
        assert_eq!(heads.feed(b"\nbody\r\n\r\n"), Some(1));
        assert_eq!(heads.feed(b"more\r\n\r\n"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(0u8.., 0..400), cut in 0usize..400) {
            let mut heads = Heads::default();
            let (left, right) = bytes.split_at(cut.min(bytes.len()));
            heads.feed(left);
            heads.feed(right);
            let mut whole = Heads::default();
            whole.feed(&bytes);
            proptest::prop_assert_eq!(heads.flaw(), whole.flaw());
        }
    }
}
