//! How many elements a body may hold: what a receiver behind us must build for each of them costs far more than its bytes.

use super::{Fault, malformed};

/// Granted to every body, however small.
const ELEMENTS_FREE: u64 = 65_536;
/// One more element for each so many bytes seen: an honest one takes more, an empty sub-message two.
const BYTES_PER_ELEMENT: u64 = 8;

/// Counts elements against the bytes seen so far, so that the verdict doesn't depend on how a body is cut.
#[derive(Debug, Default)]
pub(super) struct Budget {
    elements: u64,
}

impl Budget {
    /// One more element, met after `bytes_seen` bytes of the body.
    pub(super) fn spend(&mut self, bytes_seen: u64) -> Result<(), Fault> {
        self.elements += 1;
        if self.elements > ELEMENTS_FREE + bytes_seen / BYTES_PER_ELEMENT {
            return malformed("too many elements");
        }
        Ok(())
    }
}
