//! Watches HTTP/2 frame headers as they pass, for what h2 would put up with for ever.

/// What a run of bytes held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Bytes other than the payload of DATA; an empty DATA frame that ends nothing counts.
    pub(super) control_bytes: u64,
    /// Payload of DATA.
    pub(super) data_bytes: u64,
    /// RST_STREAM for another reason than "done, thank you" (NO_ERROR).
    pub(super) resets: u64,
}

/// Follows the frames of one direction from whatever pieces they pass in.
#[derive(Debug)]
pub(super) struct Frames {
    skip: usize,
    header: [u8; HEADER],
    have: usize,
    payload: usize,
    code: [u8; 4],
    code_len: usize,
    block_open: bool,
    whole: u64,
}

/// The client's first bytes.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const HEADER: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

// === impl Frames ===

impl Frames {
    /// What the client sends: the preface, then frames.
    pub(super) fn inbound() -> Self {
        Self {
            skip: PREFACE.len(),
            ..Self::outbound()
        }
    }

    /// What we send: frames.
    pub(super) fn outbound() -> Self {
        Self {
            skip: 0,
            header: [0; HEADER],
            have: 0,
            payload: 0,
            code: [0; 4],
            code_len: 0,
            block_open: false,
            whole: 0,
        }
    }

    /// Looks at bytes that passed.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Seen {
        let mut seen = Seen::default();
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        bytes = &bytes[skipped..];
        while !bytes.is_empty() {
            if self.have < HEADER {
                let taken = (HEADER - self.have).min(bytes.len());
                self.header[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
                self.have += taken;
                bytes = &bytes[taken..];
                if self.have == HEADER {
                    self.begin(&mut seen);
                }
                continue;
            }
            let taken = self.payload.min(bytes.len());
            if self.kind() == DATA {
                seen.data_bytes += taken as u64;
            } else {
                seen.control_bytes += taken as u64;
            }
            if self.kind() == RST_STREAM {
                let room = (4 - self.code_len).min(taken);
                self.code[self.code_len..self.code_len + room].copy_from_slice(&bytes[..room]);
                self.code_len += room;
            }
            self.payload -= taken;
            bytes = &bytes[taken..];
            if self.payload == 0 {
                self.end(&mut seen);
            }
        }
        seen
    }

    /// A control frame or a header block has begun and not ended, or not even a first frame has come.
    pub(super) fn is_waiting(&self) -> bool {
        let in_frame = self.have > 0 && (self.have < HEADER || self.kind() != DATA);
        self.block_open || in_frame || self.whole == 0
    }

    /// Frames that ended so far, a header block as one.
    pub(super) fn whole(&self) -> u64 {
        self.whole
    }

    fn kind(&self) -> u8 {
        self.header[3]
    }

    fn begin(&mut self, seen: &mut Seen) {
        let [high, middle, low, kind, flags, ..] = self.header;
        self.payload = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        self.code_len = 0;
        let is_idle_data = self.payload == 0 && flags & END_STREAM == 0;
        if kind != DATA || is_idle_data {
            seen.control_bytes += HEADER as u64;
        }
        if matches!(kind, HEADERS | CONTINUATION) {
            self.block_open = flags & END_HEADERS == 0;
        }
        if self.payload == 0 {
            self.end(seen);
        }
    }

    fn end(&mut self, seen: &mut Seen) {
        if self.kind() == RST_STREAM && self.code != [0; 4] {
            seen.resets += 1;
        }
        self.whole += u64::from(!self.block_open);
        self.have = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags, 0, 0, 0, 1]);
        bytes.extend(payload);
        bytes
    }

    fn stream() -> (Vec<u8>, Seen) {
        let mut bytes = PREFACE.to_vec();
        bytes.extend(frame(4, 0, &[]));
        bytes.extend(frame(HEADERS, 0, b"abc"));
        bytes.extend(frame(CONTINUATION, END_HEADERS, b"de"));
        bytes.extend(frame(DATA, 0, &[7; 5_000]));
        bytes.extend(frame(DATA, 0, &[]));
        bytes.extend(frame(DATA, END_STREAM, &[]));
        bytes.extend(frame(RST_STREAM, 0, &8u32.to_be_bytes()));
        bytes.extend(frame(RST_STREAM, 0, &0u32.to_be_bytes()));
        let control_bytes = 9 + 12 + 11 + 9 + 13 + 13;
        (
            bytes,
            Seen {
                control_bytes,
                data_bytes: 5_000,
                resets: 1,
            },
        )
    }

    #[test]
    fn frames_are_counted_however_they_are_cut() {
        let (bytes, expected) = stream();
        for piece in [1, 2, 3, 8, 9, 10, 100, bytes.len()] {
            let mut frames = Frames::inbound();
            let mut seen = Seen::default();
            for bytes in bytes.chunks(piece) {
                let part = frames.feed(bytes);
                seen.control_bytes += part.control_bytes;
                seen.data_bytes += part.data_bytes;
                seen.resets += part.resets;
            }
            assert_eq!(seen, expected, "in pieces of {piece}");
            assert!(!frames.is_waiting());
        }
    }

    #[test]
    fn a_header_block_without_an_end_is_waited_for() {
        let mut frames = Frames::inbound();
        frames.feed(PREFACE);
        assert!(frames.is_waiting());
        frames.feed(&frame(4, 0, &[]));
        assert!(!frames.is_waiting());
        frames.feed(&frame(HEADERS, 0, b"abc"));
        assert!(frames.is_waiting());
        frames.feed(&frame(CONTINUATION, END_HEADERS, b"abc"));
        assert!(!frames.is_waiting());
        frames.feed(&frame(DATA, 0, &[0; 90])[..50]);
        assert!(!frames.is_waiting());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_counted_alike_in_one_piece_and_in_two(
            bytes in proptest::collection::vec(0u8..12, 0..300),
            cut in 0usize..300,
        ) {
            let (left, right) = bytes.split_at(cut.min(bytes.len()));
            let mut frames = Frames::outbound();
            let (first, second) = (frames.feed(left), frames.feed(right));
            let mut whole = Frames::outbound();
            let seen = whole.feed(&bytes);
            proptest::prop_assert_eq!(first.control_bytes + second.control_bytes, seen.control_bytes);
            proptest::prop_assert_eq!(first.resets + second.resets, seen.resets);
            proptest::prop_assert_eq!(frames.is_waiting(), whole.is_waiting());
        }
    }
}
