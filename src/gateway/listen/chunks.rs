//! Follows a chunked body to its end, a little more strictly than the parser behind: a body that it can't follow is passed on no further.

/// Where in a chunked body the last byte was.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chunks {
    state: State,
    size: u64,
    digits: u8,
}

/// What a run of bytes brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// All of it is body.
    More,
    /// The body ends after so many of them.
    End(usize),
    /// The grammar is broken: nobody can say where this body ends.
    Broken,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    SizeSpace,
    Extension,
    SizeFeed,
    Data,
    DataReturn,
    DataFeed,
    /// After the last chunk: a trailer, or the empty line.
    Line,
    Trailer,
    TrailerFeed,
    EndFeed,
    End,
}

/// 2^64 - 1 in hexadecimal.
const DIGITS_MAX: u8 = 16;

// === impl Chunks ===

impl Chunks {
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Seen {
        let mut at = 0;
        while at < bytes.len() {
            if self.state == State::Data {
                let left = usize::try_from(self.size).unwrap_or(usize::MAX);
                let taken = left.min(bytes.len() - at);
                self.size -= taken as u64;
                at += taken;
                if self.size == 0 {
                    self.state = State::DataReturn;
                }
                continue;
            }
            let Some(next) = self.step(bytes[at]) else {
                return Seen::Broken;
            };
            self.state = next;
            at += 1;
            if next == State::End {
                return Seen::End(at);
            }
        }
        Seen::More
    }

    fn step(&mut self, byte: u8) -> Option<State> {
        let next = match (self.state, byte) {
            (State::Size | State::SizeSpace, b'\r') if self.digits > 0 => State::SizeFeed,
            (State::Size | State::SizeSpace, b';') if self.digits > 0 => State::Extension,
            (State::Size | State::SizeSpace, b' ' | b'\t') if self.digits > 0 => State::SizeSpace,
            (State::Size, digit) => {
                let digit = char::from(digit).to_digit(16)?;
                if self.digits == DIGITS_MAX {
                    return None;
                }
                self.digits += 1;
                self.size = self.size << 4 | u64::from(digit);
                State::Size
            }
            (State::Extension, b'\r') => State::SizeFeed,
            (State::Extension | State::Trailer, b'\n') => return None,
            (State::Extension, _) => State::Extension,
            (State::SizeFeed, b'\n') => {
                self.digits = 0;
                if self.size == 0 {
                    State::Line
                } else {
                    State::Data
                }
            }
            (State::DataReturn, b'\r') => State::DataFeed,
            (State::DataFeed, b'\n') => State::Size,
            (State::Line, b'\r') => State::EndFeed,
            (State::Line, b'\n') => return None,
            (State::Trailer, b'\r') => State::TrailerFeed,
            (State::Line | State::Trailer, _) => State::Trailer,
            (State::TrailerFeed, b'\n') => State::Line,
            (State::EndFeed, b'\n') => State::End,
            _ => return None,
        };
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(bytes: &[u8], piece: usize) -> Seen {
        let mut chunks = Chunks::default();
        let mut before = 0;
        for bytes in bytes.chunks(piece) {
            match chunks.feed(bytes) {
                Seen::More => before += bytes.len(),
                Seen::End(at) => return Seen::End(before + at),
                Seen::Broken => return Seen::Broken,
            }
        }
        Seen::More
    }

    #[test]
    fn the_end_is_found_however_the_body_is_cut() {
        let long = format!("c8;name=\"a\"\r\n{}\r\n0\r\nT: v\r\n\r\n", "x".repeat(200));
        for body in [
            "0\r\n\r\n",
            "2 \t\r\nab\r\n0 ;x\r\n\r\n",
            "4\r\nabcd\r\n00\r\n\r\n",
            "2\r\n\r\n\r\n0\r\n\r\n",
            &long,
        ] {
            let bytes = format!("{body}POST / HTTP/1.1\r\n\r\n");
            for piece in 1..=bytes.len() {
                let seen = follow(bytes.as_bytes(), piece);
                assert_eq!(seen, Seen::End(body.len()), "{body:?} in pieces of {piece}");
            }
            assert_eq!(follow(&body.as_bytes()[..body.len() - 1], 7), Seen::More);
        }
    }

    #[test]
    fn what_two_readers_could_end_differently_is_broken() {
        for body in [
            "0\n\n",
            "0\r\n\n",
            "0\r\nT: v\n\r\n",
            "0 0\r\n\r\n",
            " 0\r\n\r\n",
            "0x0\r\n\r\n",
            "+0\r\n\r\n",
            "\r\n0\r\n\r\n",
            ";a\r\n\r\n",
            "1\r\nxy\r\n",
            "1\r\nx\n0\r\n\r\n",
            "0;a\nb\r\n\r\n",
            "10000000000000000\r\n\r\n",
        ] {
            for piece in 1..=body.len() {
                assert_eq!(follow(body.as_bytes(), piece), Seen::Broken, "{body:?}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_end_alike_in_one_piece_and_in_many(
            text in "[0-3a;\r\n]{0,60}",
            piece in 1usize..60,
        ) {
            proptest::prop_assert_eq!(
                follow(text.as_bytes(), piece),
                follow(text.as_bytes(), text.len().max(1))
            );
        }
    }
}
