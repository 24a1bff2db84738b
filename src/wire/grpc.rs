//! gRPC's framing for unary calls: the five-byte prefix, the codes, and the encoding of `grpc-message`.

use bytes::{Buf, Bytes};

/// Bytes before each message: a compression flag and a big-endian length.
pub const PREFIX_BYTES: usize = 5;

/// What a prefix says of the message that follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Whether the message is compressed as `grpc-encoding` names it.
    pub compressed: bool,
    /// Bytes of the message as sent.
    pub length: u32,
}

/// What is wrong with the framing of a unary message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The first byte is neither 0 nor 1.
    #[error("invalid compression flag {0} in the gRPC frame")]
    BadFlag(u8),
    /// The body ended before any byte of a frame.
    #[error("no message in the gRPC request")]
    NoMessage,
    /// The body ended inside the prefix or the message.
    #[error("gRPC message cut off")]
    CutOff,
    /// Bytes follow the one message of a unary call.
    #[error("more than one message in a unary gRPC call")]
    SecondMessage,
}

/// Takes the prefix off one message while it arrives in pieces, without copying it.
#[derive(Debug, Default)]
pub struct Unframe {
    prefix: [u8; PREFIX_BYTES],
    prefix_bytes: usize,
    frame: Option<Frame>,
    left_bytes: usize,
}

/// The canonical codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are the specification's")]
pub enum Code {
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

/// Reads a prefix.
pub const fn parse_prefix(prefix: &[u8; PREFIX_BYTES]) -> Result<Frame, Fault> {
    let [flag, a, b, c, d] = *prefix;
    if flag > 1 {
        return Err(Fault::BadFlag(flag));
    }
    Ok(Frame {
        compressed: flag == 1,
        length: u32::from_be_bytes([a, b, c, d]),
    })
}

/// Writes a prefix.
pub const fn prefix(compressed: bool, length: u32) -> [u8; PREFIX_BYTES] {
    let [a, b, c, d] = length.to_be_bytes();
    [compressed as u8, a, b, c, d]
}

/// `grpc-message` as it goes on the wire: `%XX` for `%` and for all but printable ASCII.
pub fn percent_encode(message: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(message.len());
    for byte in message.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    out
}

/// The message behind a `grpc-message`. Never fails: what is no escape stays, bad UTF-8 is replaced.
pub fn percent_decode(encoded: &[u8]) -> String {
    let mut out = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte == b'%'
            && let [high, low, after @ ..] = tail
            && let (Some(high), Some(low)) = (hex_digit(*high), hex_digit(*low))
        {
            out.push(high << 4 | low);
            rest = after;
        } else {
            out.push(*byte);
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

const fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

// === impl Unframe ===

impl Unframe {
    /// Takes the next piece of the body and returns the part of it that belongs to the message, which may be empty.
    ///
    /// Nothing is allocated for an announced length: a lying prefix costs its five bytes.
    pub fn push(&mut self, mut piece: Bytes) -> Result<Bytes, Fault> {
        if self.frame.is_none() {
            let taken = piece.len().min(PREFIX_BYTES - self.prefix_bytes);
            self.prefix[self.prefix_bytes..self.prefix_bytes + taken]
                .copy_from_slice(&piece[..taken]);
            self.prefix_bytes += taken;
            piece.advance(taken);
            if self.prefix_bytes < PREFIX_BYTES {
                return Ok(Bytes::new());
            }
            let frame = parse_prefix(&self.prefix)?;
            self.left_bytes = frame.length as usize;
            self.frame = Some(frame);
        }
        if piece.len() > self.left_bytes {
            return Err(Fault::SecondMessage);
        }
        self.left_bytes -= piece.len();
        Ok(piece)
    }

    /// What the prefix said, as soon as it is in: the place to refuse a length before its bytes arrive.
    pub const fn frame(&self) -> Option<Frame> {
        self.frame
    }

    /// The body has ended: exactly one whole message must have passed.
    pub const fn finish(&self) -> Result<Frame, Fault> {
        match self.frame {
            Some(frame) if self.left_bytes == 0 => Ok(frame),
            None if self.prefix_bytes == 0 => Err(Fault::NoMessage),
            _ => Err(Fault::CutOff),
        }
    }
}

// === impl Code ===

impl Code {
    /// Every code, in the order of its number.
    pub const ALL: [Self; 17] = [
        Self::Ok,
        Self::Cancelled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// The code of a `grpc-status` value; what is no known code is [`Code::Unknown`], as the specification asks.
    pub fn parse(value: &[u8]) -> Self {
        Self::ALL
            .into_iter()
            .find(|code| code.as_str().as_bytes() == value)
            .unwrap_or(Self::Unknown)
    }

    /// What an HTTP status stands for where a peer (or something between) answered without `grpc-status`.
    pub const fn from_http_status(status: u16) -> Self {
        match status {
            400 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502 | 503 | 504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }

    /// The number in `grpc-status`.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The number in `grpc-status`, as text.
    pub const fn as_str(self) -> &'static str {
        const TEXT: [&str; 17] = [
            "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15",
            "16",
        ];
        TEXT[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(message: &[u8]) -> Vec<u8> {
        let mut wire = prefix(true, u32::try_from(message.len()).unwrap()).to_vec();
        wire.extend_from_slice(message);
        wire
    }

    proptest! {
        #[test]
        fn a_message_survives_any_cutting_of_its_frame(
            message in proptest::collection::vec(any::<u8>(), 0..200),
            sizes in proptest::collection::vec(0usize..40, 1..20),
        ) {
            let mut rest = Bytes::from(framed(&message));
            let mut unframe = Unframe::default();
            let mut got = Vec::new();
            for size in sizes.into_iter().chain([usize::MAX]) {
                let piece = rest.split_to(size.min(rest.len()));
                got.extend_from_slice(&unframe.push(piece).unwrap());
            }
            prop_assert_eq!(&got, &message);
            let length = u32::try_from(message.len()).unwrap();
            prop_assert_eq!(unframe.finish().unwrap(), Frame { compressed: true, length });
        }

        #[test]
        fn percent_encoding_is_a_header_value_and_comes_back(message in any::<String>()) {
            let encoded = percent_encode(&message);
            prop_assert!(http::HeaderValue::from_str(&encoded).is_ok());
            prop_assert_eq!(percent_decode(encoded.as_bytes()), message);
        }

        #[test]
        fn percent_decoding_takes_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            percent_decode(&bytes);
        }
    }

    #[test]
    fn pieces_are_slices_of_what_came() {
        let wire = Bytes::from(framed(b"payload"));
        let piece = Unframe::default().push(wire.clone()).unwrap();
        assert_eq!(piece.as_ptr(), wire[PREFIX_BYTES..].as_ptr());
    }

    #[test]
    fn a_body_without_a_message_is_told_from_one_that_is_cut_off() {
        assert_eq!(Unframe::default().finish(), Err(Fault::NoMessage));
        for length in 1..framed(b"four").len() {
            let mut unframe = Unframe::default();
            let piece = Bytes::copy_from_slice(&framed(b"four")[..length]);
            unframe.push(piece).unwrap();
            assert_eq!(unframe.finish(), Err(Fault::CutOff), "{length} bytes");
        }
    }

    #[test]
    fn a_second_message_is_refused_in_the_same_piece_and_in_a_later_one() {
        let mut twice = framed(b"one");
        twice.extend(framed(b"two"));
        assert_eq!(
            Unframe::default().push(twice.into()),
            Err(Fault::SecondMessage)
        );
        let mut unframe = Unframe::default();
        unframe.push(framed(b"").into()).unwrap();
        assert_eq!(
            unframe.push(Bytes::from_static(&[0])),
            Err(Fault::SecondMessage)
        );
    }

    #[test]
    fn a_lying_length_is_cut_off_and_known_before_its_bytes() {
        let mut unframe = Unframe::default();
        unframe
            .push(Bytes::copy_from_slice(&prefix(false, u32::MAX)))
            .unwrap();
        assert_eq!(unframe.frame().unwrap().length, u32::MAX);
        assert_eq!(unframe.finish(), Err(Fault::CutOff));
    }

    #[test]
    fn flags_other_than_zero_and_one_are_refused() {
        for flag in 2..=u8::MAX {
            assert_eq!(parse_prefix(&[flag, 0, 0, 0, 0]), Err(Fault::BadFlag(flag)));
        }
    }

    #[test]
    fn codes_and_their_text_go_both_ways() {
        for (number, code) in Code::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(code.number()), number);
            assert_eq!(code.as_str(), number.to_string());
            assert_eq!(Code::parse(code.as_str().as_bytes()), code);
        }
        for odd in ["", "17", "-1", "00", "1 ", "256"] {
            assert_eq!(Code::parse(odd.as_bytes()), Code::Unknown, "{odd:?}");
        }
    }

    #[test]
    fn broken_escapes_stay_as_they_are() {
        assert_eq!(percent_decode(b"100% %4 %zz %41"), "100% %4 %zz A");
        assert_eq!(percent_encode("a%\n\u{e9}"), "a%25%0A%C3%A9");
    }
}
