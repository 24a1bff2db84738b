//! Chunks kept as they came, but for crumbs: a body sent byte by byte must not cost a pointer a byte.

use bytes::{Bytes, BytesMut};

use crate::model::Chunks;

/// Below this a chunk is copied beside its neighbours: it would hold on to a whole read buffer of its connection.
const CRUMB_BYTES: usize = 4 << 10;
/// A buffer of crumbs is closed at this size.
const CRUMBS_BYTES: usize = 16 << 10;
/// A connection's read buffer: what a chunk holds on to at least, and in steps of which it grows.
const READ_BUFFER_BYTES: u64 = 8 << 10;

/// The chain while it grows.
#[derive(Debug, Default)]
pub(super) struct Gather {
    chunks: Chunks,
    crumbs: BytesMut,
}

// === impl Gather ===

impl Gather {
    /// What a chunk will cost while it is held: to be claimed before it is pushed.
    pub(super) fn cost_bytes(&self, chunk: &Bytes) -> u64 {
        let bytes = chunk.len() as u64;
        if self.is_crumb(chunk) {
            // Copied into a buffer that doubles.
            2 * bytes
        } else {
            bytes.next_multiple_of(READ_BUFFER_BYTES)
        }
    }

    /// A small body in one piece is no crumb: it stays as it came.
    fn is_crumb(&self, chunk: &Bytes) -> bool {
        let is_first = self.chunks.is_empty() && self.crumbs.is_empty();
        chunk.len() < CRUMB_BYTES && !is_first
    }

    pub(super) fn push(&mut self, chunk: Bytes) {
        if self.is_crumb(&chunk) {
            self.crumbs.extend_from_slice(&chunk);
            if self.crumbs.len() >= CRUMBS_BYTES {
                self.sweep();
            }
            return;
        }
        self.sweep();
        self.chunks.push(chunk);
    }

    fn sweep(&mut self) {
        if !self.crumbs.is_empty() {
            self.chunks.push(self.crumbs.split().freeze());
        }
    }

    pub(super) fn finish(mut self) -> Chunks {
        self.sweep();
        self.chunks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_sent_byte_by_byte_is_a_few_links() {
        let mut gather = Gather::default();
        let body: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
        for byte in &body {
            gather.push(Bytes::copy_from_slice(&[*byte]));
        }
        let chunks = gather.finish();
        assert!(chunks.iter().count() <= 8, "{}", chunks.iter().count());
        assert_eq!(chunks.to_bytes(), body);
    }

    #[test]
    fn order_is_kept_across_crumbs_and_pieces() {
        let mut gather = Gather::default();
        let mut body = Vec::new();
        for length in [1, 600, 3, 5, 8192, 4095, 4096, 2] {
            let piece = vec![length as u8; length];
            body.extend_from_slice(&piece);
            gather.push(piece.into());
        }
        assert_eq!(gather.finish().to_bytes(), body);
    }
}
