//! The second look at a body with bad lines: only the good ones go on.

use bytes::Bytes;

use super::{Class, Scan};
use crate::{
    model::{Chunks, Encoding, Limits},
    wire::{Fault, encoding::inflate_to},
};

/// Runs of good lines that are passed on as slices; a body with more is copied, since each slice costs some 40 bytes.
const SLICES_MAX: usize = 1024;

/// The good lines of a body in order, not compressed: slices of `chunks` where it came so and has few bad lines, else one new buffer.
///
/// Each keeps its line end; the last one may lack it, as in the body.
pub fn good_lines(chunks: &Chunks, encoding: Encoding, limits: &Limits) -> Result<Chunks, Fault> {
    if encoding == Encoding::Identity
        && let Some(runs) = good_runs(chunks, limits)
    {
        return Ok(slices(chunks, &runs));
    }
    copies(chunks, encoding, limits)
}

/// Where in the body good lines stand, neighbours joined; `None` if in too many places.
fn good_runs(chunks: &Chunks, limits: &Limits) -> Option<Vec<(u64, u64)>> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    let mut scan = Scan::new(limits.bulk_line_bytes_max);
    let (mut base, mut line_start) = (0, 0);
    let mut add = |class, start, end| {
        if class == Class::Good && runs.len() <= SLICES_MAX {
            match runs.last_mut() {
                Some((_, last_end)) if *last_end == start => *last_end = end,
                _ => runs.push((start, end)),
            }
        }
    };
    for chunk in chunks.iter() {
        scan.push_lines(chunk, |class, next| {
            let end = base + next as u64;
            add(class, line_start, end);
            line_start = end;
        });
        base += chunk.len() as u64;
    }
    if let Some(class) = scan.finish_line() {
        add(class, line_start, base);
    }
    (runs.len() <= SLICES_MAX).then_some(runs)
}

fn slices(chunks: &Chunks, runs: &[(u64, u64)]) -> Chunks {
    let mut good = Chunks::default();
    let mut runs = runs.iter();
    let mut run = runs.next();
    let mut base = 0;
    for chunk in chunks.iter() {
        let chunk_end = base + chunk.len() as u64;
        while let Some(&(start, end)) = run
            && start < chunk_end
        {
            let from = start.max(base) - base;
            let to = end.min(chunk_end) - base;
            good.push(chunk.slice(from as usize..to as usize));
            if end > chunk_end {
                break;
            }
            run = runs.next();
        }
        base = chunk_end;
    }
    good
}

fn copies(chunks: &Chunks, encoding: Encoding, limits: &Limits) -> Result<Chunks, Fault> {
    let mut good = Vec::new();
    // Where in `good` the line at hand begins: a bad one is cut off again.
    let mut line_start = 0;
    // What a good line and its end can have at most: of a longer one nothing more need be kept.
    let held_max =
        usize::try_from(limits.bulk_line_bytes_max.saturating_add(2)).unwrap_or(usize::MAX);
    let hold = |good: &mut Vec<u8>, line_start: usize, piece: &[u8]| {
        let room = held_max.saturating_sub(good.len() - line_start);
        good.extend_from_slice(&piece[..piece.len().min(room)]);
    };
    let mut scan = Scan::new(limits.bulk_line_bytes_max);
    inflate_to(encoding, chunks, limits.bulk_body_bytes_max, &mut |piece| {
        let mut taken = 0;
        scan.push_lines(piece, |class, next| {
            hold(&mut good, line_start, &piece[taken..next]);
            taken = next;
            if class == Class::Good {
                line_start = good.len();
            } else {
                good.truncate(line_start);
            }
        });
        hold(&mut good, line_start, &piece[taken..]);
        Ok(())
    })?;
    if scan.finish_line() != Some(Class::Good) {
        good.truncate(line_start);
    }
    // What grew while it was filled would be held as long as the payload.
    good.shrink_to_fit();
    Ok([Bytes::from(good)].into_iter().collect())
}
