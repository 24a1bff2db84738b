//! Chunks kept as they came, but for crumbs: a body sent byte by byte must not cost a pointer a byte.

use bytes::{Bytes, BytesMut};

use crate::model::Chunks;

/// Below this a chunk is copied beside its neighbours; above, the chain's own overhead is noise.
const CRUMB_BYTES: usize = 512;
/// A buffer of crumbs is closed at this size.
const CRUMBS_BYTES: usize = 16 << 10;
/// What a link of the chain costs beside its bytes.
const LINK_BYTES: u64 = 64;

/// What a chunk costs while it is held.
pub(super) const fn cost_bytes(chunk: &Bytes) -> u64 {
    if chunk.len() < CRUMB_BYTES {
        // Copied into a buffer that doubles.
        2 * chunk.len() as u64
    } else {
        chunk.len() as u64 + LINK_BYTES
    }
}

/// The chain while it grows.
#[derive(Debug, Default)]
pub(super) struct Gather {
    chunks: Chunks,
    crumbs: BytesMut,
}

// === impl Gather ===

impl Gather {
    pub(super) fn push(&mut self, chunk: Bytes) {
        let is_crumb = chunk.len() < CRUMB_BYTES;
        // A small body in one piece is no crumb: it stays as it came.
        if is_crumb && !(self.chunks.is_empty() && self.crumbs.is_empty()) {
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
        for length in [1, 600, 3, 5, 4096, 511, 512, 2] {
            let piece = vec![length as u8; length];
            body.extend_from_slice(&piece);
            gather.push(piece.into());
        }
        assert_eq!(gather.finish().to_bytes(), body);
    }
}
