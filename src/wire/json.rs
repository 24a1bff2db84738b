//! A JSON checker (RFC 8259) that can stop and go on at any byte, and keeps 128 levels of nesting in 128 bits.

use super::{Fault, malformed, utf8::Utf8};

/// Objects and arrays within each other: the parsers behind us stop near here, or crash further on.
const DEPTH_MAX: u32 = u128::BITS;

/// What is told of a value as it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begins {
    Object,
    Array,
    Null,
    /// A string, a number, `true` or `false`.
    Scalar,
}

/// Watches a document go by. Names come before their value; an array's elements have none.
pub(super) trait Visit {
    /// A piece of a member's name, unescaped. (What `\u` beyond ASCII stands for comes as a byte that no text has.)
    fn name(&mut self, piece: &[u8]);
    /// A value begins, as an array's element or not, about there in the piece.
    fn value(&mut self, begins: Begins, is_element: bool, at: usize) -> Result<(), Fault>;
    /// The innermost object or array has ended.
    fn end(&mut self);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Value,
    ValueOrEnd,
    Name,
    NameOrEnd,
    Colon,
    /// After a value: a comma, an end, or nothing more.
    After,
    Text {
        is_name: bool,
    },
    Escape {
        is_name: bool,
    },
    Hex {
        is_name: bool,
        digits: u8,
        unit: u16,
    },
    Number(Number),
    Literal(&'static [u8]),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    E,
    Sign,
    Exponent,
}

/// The check of one document.
#[derive(Debug)]
pub(super) struct Checker {
    state: State,
    /// One bit a level, the innermost lowest: whether it is an object.
    nesting: u128,
    depth: u32,
    utf8: Utf8,
}

impl Default for Checker {
    fn default() -> Self {
        Self {
            state: State::Value,
            nesting: 0,
            depth: 0,
            utf8: Utf8::default(),
        }
    }
}

impl Checker {
    /// Takes the next piece. After a fault the checker is of no more use.
    pub(super) fn push(&mut self, bytes: &[u8], visit: &mut impl Visit) -> Result<(), Fault> {
        let mut at = 0;
        let mut state = self.state;
        while let Some(&byte) = bytes.get(at) {
            state = match state {
                State::Text { is_name } => self.text(bytes, &mut at, is_name, visit)?,
                State::Value | State::ValueOrEnd => {
                    at += 1;
                    match byte {
                        b'"' => {
                            visit.value(Begins::Scalar, self.is_in_array(), at)?;
                            self.text(bytes, &mut at, false, visit)?
                        }
                        b'0'..=b'9' | b'-' => {
                            visit.value(Begins::Scalar, self.is_in_array(), at)?;
                            number(bytes, &mut at, Number::starting(byte))?
                        }
                        b']' if state == State::ValueOrEnd => self.leave(visit),
                        _ => self.rare_value(byte, at, state, visit)?,
                    }
                }
                State::After => {
                    at += 1;
                    self.after(byte, visit)?
                }
                State::Name | State::NameOrEnd => {
                    at += 1;
                    match byte {
                        b'"' => self.text(bytes, &mut at, true, visit)?,
                        b'}' if state == State::NameOrEnd => self.leave(visit),
                        b' ' | b'\t' | b'\n' | b'\r' => state,
                        _ => return malformed("a member has no name"),
                    }
                }
                State::Colon => {
                    at += 1;
                    match byte {
                        b':' => State::Value,
                        b' ' | b'\t' | b'\n' | b'\r' => state,
                        _ => return malformed("a name is not followed by a colon"),
                    }
                }
                State::Number(part) => number(bytes, &mut at, part)?,
                State::Escape { is_name } => {
                    at += 1;
                    escape(byte, is_name, visit)?
                }
                State::Hex {
                    is_name,
                    digits,
                    unit,
                } => {
                    at += 1;
                    hex(byte, is_name, digits, unit, visit)?
                }
                State::Literal(rest) => {
                    at += 1;
                    match rest.split_first() {
                        Some((wanted, [])) if *wanted == byte => State::After,
                        Some((wanted, rest)) if *wanted == byte => State::Literal(rest),
                        _ => return malformed("a value is not JSON"),
                    }
                }
            };
        }
        self.state = state;
        Ok(())
    }

    /// Whether one whole object or array, and nothing but white space after it, has been seen.
    pub(super) fn is_whole(&self) -> bool {
        self.depth == 0 && self.state == State::After
    }

    const fn is_in_array(&self) -> bool {
        self.depth > 0 && self.nesting & 1 == 0
    }

    fn rare_value(
        &mut self,
        byte: u8,
        at: usize,
        state: State,
        visit: &mut impl Visit,
    ) -> Result<State, Fault> {
        let (begins, next) = match byte {
            b' ' | b'\t' | b'\n' | b'\r' => return Ok(state),
            b'{' => (Begins::Object, State::NameOrEnd),
            b'[' => (Begins::Array, State::ValueOrEnd),
            b't' => (Begins::Scalar, State::Literal(b"rue")),
            b'f' => (Begins::Scalar, State::Literal(b"alse")),
            b'n' => (Begins::Null, State::Literal(b"ull")),
            _ => return malformed("a value is not JSON"),
        };
        visit.value(begins, self.is_in_array(), at)?;
        if matches!(begins, Begins::Object | Begins::Array) {
            if self.depth == DEPTH_MAX {
                return malformed("JSON is nested too deeply");
            }
            self.depth += 1;
            self.nesting = self.nesting << 1 | u128::from(begins == Begins::Object);
        }
        Ok(next)
    }

    fn leave(&mut self, visit: &mut impl Visit) -> State {
        self.depth -= 1;
        self.nesting >>= 1;
        visit.end();
        State::After
    }

    #[inline]
    fn after(&mut self, byte: u8, visit: &mut impl Visit) -> Result<State, Fault> {
        let is_object = self.nesting & 1 == 1;
        Ok(match byte {
            b',' if self.depth > 0 && is_object => State::Name,
            b',' if self.depth > 0 => State::Value,
            b'}' if self.depth > 0 && is_object => self.leave(visit),
            b']' if self.depth > 0 && !is_object => self.leave(visit),
            b' ' | b'\t' | b'\n' | b'\r' => State::After,
            _ => return malformed("a value is followed by something else than a comma or an end"),
        })
    }

    /// A string from inside it: to its end, to an escape, or to the end of the piece.
    #[inline]
    fn text(
        &mut self,
        bytes: &[u8],
        at: &mut usize,
        is_name: bool,
        visit: &mut impl Visit,
    ) -> Result<State, Fault> {
        let start = *at;
        loop {
            if self.utf8.is_whole() {
                *at += plain(&bytes[*at..]);
            }
            let Some(&byte) = bytes.get(*at) else {
                if is_name {
                    visit.name(&bytes[start..]);
                }
                return Ok(State::Text { is_name });
            };
            if byte >= 0x80 || !self.utf8.is_whole() {
                self.foreign(bytes, at)?;
                continue;
            }
            if is_name {
                visit.name(&bytes[start..*at]);
            }
            *at += 1;
            return match byte {
                b'"' if is_name => Ok(State::Colon),
                b'"' => Ok(State::After),
                b'\\' => Ok(State::Escape { is_name }),
                _ => malformed("a string holds a control character"),
            };
        }
    }

    /// Characters beyond ASCII, up to the next one within it.
    fn foreign(&mut self, bytes: &[u8], at: &mut usize) -> Result<(), Fault> {
        while let Some(&byte) = bytes.get(*at) {
            if byte < 0x80 && self.utf8.is_whole() {
                break;
            }
            if !self.utf8.step(byte) {
                return malformed("a string is not UTF-8");
            }
            *at += 1;
        }
        Ok(())
    }
}

/// How many bytes from the start are ASCII that a string may hold as it is.
#[inline]
fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 0xFF;
    let mut at = 0;
    while let Some(word) = bytes[at..].first_chunk() {
        let word = u64::from_le_bytes(*word);
        // The top bit of a byte gets set where a subtraction borrows: equal to zero, or below a space.
        // A borrow reaches only bytes above the lowest one found, which alone is used.
        let quote = word ^ (ONES * b'"' as u64);
        let escape = word ^ (ONES * b'\\' as u64);
        let found = (quote.wrapping_sub(ONES) & !quote
            | escape.wrapping_sub(ONES) & !escape
            | word.wrapping_sub(ONES * b' ' as u64) & !word
            | word)
            & (ONES * 0x80);
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let is_plain = |byte: &u8| !matches!(*byte, b'"' | b'\\') && (b' '..0x80).contains(byte);
    at + bytes[at..].iter().take_while(|byte| is_plain(byte)).count()
}

impl Number {
    const fn starting(byte: u8) -> Self {
        match byte {
            b'-' => Self::Minus,
            b'0' => Self::Zero,
            _ => Self::Integer,
        }
    }

    const fn next(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Minus, b'0') => Some(Self::Zero),
            (Self::Minus, b'1'..=b'9') | (Self::Integer, b'0'..=b'9') => Some(Self::Integer),
            (Self::Zero | Self::Integer, b'.') => Some(Self::Point),
            (Self::Point | Self::Fraction, b'0'..=b'9') => Some(Self::Fraction),
            (Self::Zero | Self::Integer | Self::Fraction, b'e' | b'E') => Some(Self::E),
            (Self::E, b'+' | b'-') => Some(Self::Sign),
            (Self::E | Self::Sign | Self::Exponent, b'0'..=b'9') => Some(Self::Exponent),
            _ => None,
        }
    }

    const fn is_whole(self) -> bool {
        matches!(
            self,
            Self::Zero | Self::Integer | Self::Fraction | Self::Exponent
        )
    }
}

/// A number to its end or to the end of the piece.
#[inline]
fn number(bytes: &[u8], at: &mut usize, mut part: Number) -> Result<State, Fault> {
    loop {
        if matches!(part, Number::Integer | Number::Fraction | Number::Exponent) {
            while bytes.get(*at).is_some_and(u8::is_ascii_digit) {
                *at += 1;
            }
        }
        let Some(byte) = bytes.get(*at) else {
            return Ok(State::Number(part));
        };
        match part.next(*byte) {
            Some(next) => part = next,
            None if part.is_whole() => return Ok(State::After),
            None => return malformed("a number is not JSON"),
        }
        *at += 1;
    }
}

fn escape(byte: u8, is_name: bool, visit: &mut impl Visit) -> Result<State, Fault> {
    let character = match byte {
        b'"' | b'\\' | b'/' => byte,
        b'b' => 0x08,
        b'f' => 0x0C,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'u' => {
            return Ok(State::Hex {
                is_name,
                digits: 0,
                unit: 0,
            });
        }
        _ => return malformed("an escape is not JSON"),
    };
    if is_name {
        visit.name(&[character]);
    }
    Ok(State::Text { is_name })
}

fn hex(
    byte: u8,
    is_name: bool,
    digits: u8,
    unit: u16,
    visit: &mut impl Visit,
) -> Result<State, Fault> {
    let Some(digit) = char::from(byte).to_digit(16) else {
        return malformed("an escape is not JSON");
    };
    let unit = unit << 4 | digit as u16;
    if digits < 3 {
        return Ok(State::Hex {
            is_name,
            digits: digits + 1,
            unit,
        });
    }
    if is_name {
        visit.name(&[u8::try_from(unit).ok().filter(u8::is_ascii).unwrap_or(0xFF)]);
    }
    Ok(State::Text { is_name })
}

#[cfg(test)]
mod tests;
