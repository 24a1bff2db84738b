//! UTF-8 checked across pieces: a character may be cut anywhere.

/// The check's state between two pieces: how many bytes the character still owes, and what the next one may be.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Utf8 {
    owed: u8,
    low: u8,
    high: u8,
}

impl Utf8 {
    /// Whether no character is half seen.
    pub(super) const fn is_whole(self) -> bool {
        self.owed == 0
    }

    /// Takes one byte; false if it can't stand here.
    pub(super) const fn step(&mut self, byte: u8) -> bool {
        if self.owed > 0 {
            let fits = self.low <= byte && byte <= self.high;
            self.owed -= 1;
            (self.low, self.high) = (0x80, 0xBF);
            return fits;
        }
        // Unicode 3.9, table 3-7: well-formed byte sequences.
        (self.owed, self.low, self.high) = match byte {
            0x00..=0x7F => return true,
            0xC2..=0xDF => (1, 0x80, 0xBF),
            0xE0 => (2, 0xA0, 0xBF),
            0xED => (2, 0x80, 0x9F),
            0xE1..=0xEF => (2, 0x80, 0xBF),
            0xF0 => (3, 0x90, 0xBF),
            0xF1..=0xF3 => (3, 0x80, 0xBF),
            0xF4 => (3, 0x80, 0x8F),
            _ => return false,
        };
        true
    }

    /// Takes a piece; false if it can't follow what came before.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> bool {
        while self.owed > 0 {
            let Some((first, rest)) = bytes.split_first() else {
                return true;
            };
            if !self.step(*first) {
                return false;
            }
            bytes = rest;
        }
        let Err(fault) = std::str::from_utf8(bytes) else {
            return true;
        };
        fault.error_len().is_none()
            && bytes[fault.valid_up_to()..]
                .iter()
                .all(|byte| self.step(*byte))
    }
}

/// Whether a whole text is UTF-8. Most are short and ASCII: those take a few words.
#[inline]
pub(super) fn is_utf8(text: &[u8]) -> bool {
    const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
    let is_ascii = if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        // The last word overlaps the one before it: no tail of single bytes.
        let mut seen = u64::from_le_bytes(*first) | u64::from_le_bytes(*last);
        if text.len() > 16 {
            let (words, _) = text.as_chunks::<8>();
            for word in words {
                seen |= u64::from_le_bytes(*word);
            }
        }
        seen & HIGH_BITS == 0
    } else {
        text.iter().fold(0, |seen, byte| seen | byte) < 0x80
    };
    is_ascii || std::str::from_utf8(text).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_cut_gives_the_standard_library_s_verdict(
            bytes in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..40),
                any::<String>().prop_map(String::into_bytes),
                (any::<String>(), any::<u8>(), any::<prop::sample::Index>()).prop_map(|(text, byte, at)| {
                    let mut bytes = text.into_bytes();
                    if !bytes.is_empty() {
                        let at = at.index(bytes.len());
                        bytes[at] = byte;
                    }
                    bytes
                }),
            ],
            at in any::<prop::sample::Index>(),
        ) {
            let wanted = std::str::from_utf8(&bytes).is_ok();
            let (head, tail) = bytes.split_at(at.index(bytes.len() + 1));
            let mut utf8 = Utf8::default();
            prop_assert_eq!(utf8.push(head) && utf8.push(tail) && utf8.is_whole(), wanted);
            let mut utf8 = Utf8::default();
            prop_assert_eq!(bytes.iter().all(|byte| utf8.step(*byte)) && utf8.is_whole(), wanted);
            prop_assert_eq!(is_utf8(&bytes), wanted);
        }
    }
}
