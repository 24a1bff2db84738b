//! How records lie in a segment: a header, then frames, each with a checksum that holds in this segment only.
//!
//! ```text
//! header  "WHFSPOOL" | version u16 | generation u16 | first u32 | number u32 | id u64 | CRC-32C of that u32
//! frame   id u64 | content bytes u32 | head bytes u16 | kind u16 | CRC-32C u32 | head | body
//! ```
//!
//! All little-endian. A frame's checksum is over everything in it. Each begins with the segment's id, 64 random bits that no
//! sender knows: what follows a damaged frame is found again by looking for it, and neither a stale block of an older file
//! nor a body that was made to look like records can pass.

use super::name::Name;
use crate::model::Chunks;

/// Bytes before the first frame.
pub(super) const HEADER_BYTES: usize = 32;
/// Bytes of a frame before its head.
pub(super) const FRAME_BYTES: usize = 20;
/// What a frame begins with.
pub(super) const MARK_BYTES: usize = 8;

const MAGIC: &[u8; 8] = b"WHFSPOOL";
const VERSION: u16 = 1;
/// The one kind so far: a payload with its head.
const PAYLOAD: u16 = 1;
/// What the checksum covers of the frame itself.
const SUMMED: usize = FRAME_BYTES - 4;

/// A frame that may begin here, by its own word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) content_bytes: u32,
    pub(super) head_bytes: u16,
    sum: u32,
    seed: u32,
}

/// Which segments a segment stands for: all from `first` to its own number, of earlier generations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: u32,
    pub(super) generation: u16,
}

/// The first bytes of a segment.
pub(super) fn header(name: Name, span: Span) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8..10].copy_from_slice(&VERSION.to_le_bytes());
    header[10..12].copy_from_slice(&span.generation.to_le_bytes());
    header[12..16].copy_from_slice(&span.first.to_le_bytes());
    header[16..20].copy_from_slice(&name.number.to_le_bytes());
    header[20..28].copy_from_slice(&name.id.to_le_bytes());
    let sum = crc32c::crc32c(&header[..28]);
    header[28..].copy_from_slice(&sum.to_le_bytes());
    header
}

/// What a segment stands for. By its name it stands for itself, and that must do where its header is damaged.
pub(super) fn span(found: &[u8], name: Name) -> Span {
    let alone = Span {
        first: name.number,
        generation: 0,
    };
    let Some([_, _, _, _, _, _, _, _, _, _, g, h, a, b, c, d]) = found.first_chunk() else {
        return alone;
    };
    let said = Span {
        first: u32::from_le_bytes([*a, *b, *c, *d]),
        generation: u16::from_le_bytes([*g, *h]),
    };
    match found.get(..HEADER_BYTES) {
        Some(found) if found == header(name, said) => said,
        _ => alone,
    }
}

/// The frame of a record; none when it is too large for one.
pub(super) fn frame(id: u64, head: &[u8], body: &Chunks) -> Option<[u8; FRAME_BYTES]> {
    let content_bytes = u32::try_from(head.len() as u64 + body.len()).ok()?;
    let head_bytes = u16::try_from(head.len()).ok()?;
    let mut frame = [0; FRAME_BYTES];
    frame[..8].copy_from_slice(&id.to_le_bytes());
    frame[8..12].copy_from_slice(&content_bytes.to_le_bytes());
    frame[12..14].copy_from_slice(&head_bytes.to_le_bytes());
    frame[14..16].copy_from_slice(&PAYLOAD.to_le_bytes());
    let mut sum = crc32c::crc32c_append(crc32c::crc32c(&frame[..SUMMED]), head);
    for chunk in body.iter() {
        sum = crc32c::crc32c_append(sum, chunk);
    }
    frame[SUMMED..].copy_from_slice(&sum.to_le_bytes());
    Some(frame)
}

// === impl Frame ===

impl Frame {
    /// What those bytes say, if they can begin a frame of that segment.
    pub(super) fn parse(found: &[u8], id: u64) -> Option<Self> {
        let found: &[u8; FRAME_BYTES] = found.first_chunk()?;
        let [m @ .., a, b, c, d, e, f, kind, kind_, s, t, u, v] = *found;
        let frame = Self {
            content_bytes: u32::from_le_bytes([a, b, c, d]),
            head_bytes: u16::from_le_bytes([e, f]),
            sum: u32::from_le_bytes([s, t, u, v]),
            seed: crc32c::crc32c(&found[..SUMMED]),
        };
        let is_ours = m == id.to_le_bytes() && u16::from_le_bytes([kind, kind_]) == PAYLOAD;
        let has_room = u32::from(frame.head_bytes) <= frame.content_bytes;
        (is_ours && has_room).then_some(frame)
    }

    /// Bytes of the whole record.
    pub(super) fn bytes(&self) -> u64 {
        FRAME_BYTES as u64 + u64::from(self.content_bytes)
    }

    /// Where the checksum of the content starts from.
    pub(super) const fn seed(&self) -> u32 {
        self.seed
    }

    /// Whether a checksum that was begun with the seed and went over the whole content is right.
    pub(super) const fn is_sum(&self, sum: u32) -> bool {
        self.sum == sum
    }
}
