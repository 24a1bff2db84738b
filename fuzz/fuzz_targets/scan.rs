//! What every scanner promises: no panic, and a verdict that doesn't depend on how the body is cut.

use wharfinger::{
    model::{Content, Counts, Limits, Signal},
    wire::Scanner,
};

pub fn limits() -> Limits {
    Limits {
        bulk_line_bytes_max: 64,
        ..Limits::default()
    }
}

/// The counts of the body, the same in one piece and in small ones.
pub fn scan(content: Content, signal: Signal, body: &[u8], piece_bytes: usize) -> Option<Counts> {
    let scan = |piece_bytes: usize| {
        let mut scanner = Scanner::new(content, signal, &limits());
        for piece in body.chunks(piece_bytes) {
            scanner.push(piece).ok()?;
        }
        scanner.finish().ok()
    };
    let whole = scan(usize::MAX);
    assert_eq!(scan(piece_bytes), whole);
    assert_eq!(scan(1), whole);
    whole
}
