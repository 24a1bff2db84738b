//! Follows an HTTP/1.1 connection's requests through the bytes read, so that the parser behind is handed one at a time:
//! no byte of the next request before this one's answer is on its way, and no head that nobody has looked at.

use super::{
    chunks::{self, Chunks},
    heads::Heads,
};

/// The request that is being read or answered.
#[derive(Debug, Default)]
pub(super) struct Messages {
    heads: Heads,
    stage: Stage,
    /// The parser has understood the head.
    is_begun: bool,
    /// The answer is the parser's to write.
    is_over: bool,
    /// It has been written.
    is_flushed: bool,
    /// A read was put off: the parser must be woken to try again.
    is_wanted: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum Stage {
    #[default]
    Head,
    /// So many bytes of body are to come.
    Length(u64),
    Chunked(Chunks),
    /// What follows is the next request.
    Whole,
    /// Nobody can say where the body ends: nothing more is passed on.
    Broken,
}

// === impl Messages ===

impl Messages {
    /// Looks at bytes that arrived; gives how many of them belong to this request. The rest is the next one's, or nobody's:
    /// none is given of a body that is broken.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> usize {
        let mut passed = 0;
        while passed < bytes.len() {
            let rest = &bytes[passed..];
            match &mut self.stage {
                Stage::Head => {
                    let Some(length) = self.heads.feed(rest) else {
                        return bytes.len();
                    };
                    passed += length;
                    self.stage = self.body();
                }
                Stage::Length(left) => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= taken as u64;
                    passed += taken;
                    if *left == 0 {
                        self.stage = Stage::Whole;
                    }
                }
                Stage::Chunked(chunks) => match chunks.feed(rest) {
                    chunks::Seen::More => return bytes.len(),
                    chunks::Seen::End(length) => {
                        passed += length;
                        self.stage = Stage::Whole;
                    }
                    chunks::Seen::Broken => self.stage = Stage::Broken,
                },
                Stage::Whole | Stage::Broken => return passed,
            }
        }
        passed
    }

    /// What the head says of its body. Nothing follows a flawed one: it is refused, and its connection ends.
    fn body(&self) -> Stage {
        match (self.heads.flaw(), self.heads.is_encoded()) {
            (None, true) => Stage::Chunked(Chunks::default()),
            (None, false) if self.heads.length() > 0 => Stage::Length(self.heads.length()),
            _ => Stage::Whole,
        }
    }

    /// May nothing be read now, since the request before is not answered yet?
    pub(super) fn must_wait(&mut self) -> bool {
        if !matches!(self.stage, Stage::Whole) {
            return false;
        }
        self.is_wanted = !(self.is_over && self.is_flushed);
        if !self.is_wanted {
            *self = Self::default();
        }
        self.is_wanted
    }

    /// Whether the next read was put off, and need be no longer; said once.
    pub(super) fn may_go_on(&mut self) -> bool {
        let may = self.is_wanted && self.is_over && self.is_flushed;
        self.is_wanted &= !may;
        may
    }

    pub(super) fn is_in_head(&self) -> bool {
        matches!(self.stage, Stage::Head)
    }

    /// Whether the parser has understood the head: what it writes is then an answer to it.
    pub(super) fn is_begun(&self) -> bool {
        self.is_begun
    }

    /// Starts again with a head that knocks at the same door, in place of one that can't be read; gives it.
    pub(super) fn replace(&mut self) -> Vec<u8> {
        let head = self.heads.outline().head();
        *self = Self::default();
        head
    }

    /// Whether the latest request has been read to its end.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.stage, Stage::Whole)
    }

    /// The parser has understood a head, with a body of so many bytes (`None`: chunked). Gives what is ambiguous about it.
    pub(super) fn begin(&mut self, length: Option<u64>) -> Option<&'static str> {
        self.is_begun = true;
        if let Some(flaw) = self.heads.flaw() {
            return Some(flaw);
        }
        let ours = (!self.heads.is_encoded()).then(|| self.heads.length());
        (self.is_in_head() || ours != length).then_some("a head or a body whose end is not clear")
    }

    /// The request is over, but for what of its answer is still to be written.
    pub(super) fn end(&mut self) {
        self.is_over = true;
    }

    /// Everything that there was to write has been written.
    pub(super) fn flushed(&mut self) {
        self.is_flushed = self.is_over;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the parser would be handed of the bytes, request by request.
    fn requests(mut bytes: &[u8], piece: usize) -> Vec<Vec<u8>> {
        let mut messages = Messages::default();
        let mut found = vec![Vec::new()];
        while !bytes.is_empty() {
            if messages.must_wait() {
                messages.begin(None);
                messages.end();
                assert!(messages.must_wait() && !messages.may_go_on());
                messages.flushed();
                assert!(messages.may_go_on() && !messages.must_wait());
                found.push(Vec::new());
            }
            let passed = messages.pass(&bytes[..piece.min(bytes.len())]);
            assert!(passed > 0, "a read of nothing would look like the end");
            let (taken, rest) = bytes.split_at(passed);
            found.last_mut().expect("one").extend_from_slice(taken);
            bytes = rest;
        }
        found
    }

    #[test]
    fn requests_come_one_at_a_time_however_they_arrive() {
        let each = [
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd",
            "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\t0 \r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\n\r\n",
        ];
        let all = each.concat();
        for piece in 1..=all.len() {
            let found = requests(all.as_bytes(), piece);
            let found: Vec<_> = found.iter().map(|it| String::from_utf8_lossy(it)).collect();
            assert_eq!(found, each, "in pieces of {piece}");
        }
    }

    #[test]
    fn a_parser_that_ends_a_request_elsewhere_is_not_believed() {
        let begin = |head: &str, length| {
            let mut messages = Messages::default();
            messages.pass(head.as_bytes());
            messages.begin(length)
        };
        let head = "POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n";
        assert_eq!(begin(head, Some(4)), None);
        assert!(begin(head, Some(0)).is_some());
        assert!(begin(head, None).is_some());
        assert!(begin(&head[..head.len() - 1], Some(4)).is_some());
        let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(begin(head, None), None);
        assert!(begin(head, Some(0)).is_some());
    }

    #[test]
    fn nothing_is_passed_on_of_a_body_without_a_clear_end() {
        let mut messages = Messages::default();
        let head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let bytes = [head, &b"0\n\nGET / HTTP/1.1\r\n\r\n"[..]].concat();
        assert_eq!(messages.pass(&bytes), head.len());
        assert_eq!(messages.pass(&bytes[head.len()..]), 0);
        messages.end();
        messages.flushed();
        assert!(!messages.must_wait() && !messages.is_whole());
        assert_eq!(messages.pass(b"GET / HTTP/1.1\r\n\r\n"), 0);
    }
}
