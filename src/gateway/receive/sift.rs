//! A whole body's bad lines are taken out: the last step before it is a batch.
//!
//! A step of its own, since it runs to its end like the delivery: the client may go, what it has sent in full is settled.

use super::{Batch, rejection_of};
use crate::{
    gateway::admit::Permit,
    model::{Counts, Encoding, LineCounts, Payload, Rejection},
    wire::bulk,
};

/// Bodies with bad lines are looked at once more, aside from the worker above this size.
const ASIDE_BYTES: u64 = 256 << 10;

/// A body that is in, checked and counted; bad lines may still be among the good.
#[derive(Debug)]
#[must_use = "what it holds is lost when it is dropped"]
pub struct Whole {
    permit: Permit,
    payload: Payload,
}

// === impl Whole ===

impl Whole {
    pub(super) const fn new(permit: Permit, payload: Payload) -> Self {
        Self { permit, payload }
    }

    /// What may be delivered of it.
    ///
    /// # Errors
    /// There is not one good line, or no room for the second look; it stands in the books as refused for that.
    pub async fn sift(mut self) -> Result<Batch, Rejection> {
        let payload = match self.payload.counts {
            Counts::Lines(lines) if lines.bad().items > 0 => {
                without_bad_lines(&mut self.permit, self.payload, lines).await
            }
            _ => Ok(self.payload),
        };
        match payload {
            Ok(payload) => Ok(Batch {
                permit: self.permit,
                payload,
            }),
            Err(rejection) => {
                self.permit.refused(&rejection);
                Err(rejection)
            }
        }
    }
}

/// Bad lines are refused here; what is left is sent as slices of what came.
async fn without_bad_lines(
    permit: &mut Permit,
    payload: Payload,
    lines: LineCounts,
) -> Result<Payload, Rejection> {
    if lines.good.items == 0 {
        return Err(Rejection::NoGoodLine(lines));
    }
    let limits = permit.caller.account.record.limits.clone();
    let line_bytes_max = limits.bulk_line_bytes_max;
    // The copy, and the one line of it that is not yet known to be good.
    permit.claim(lines.good.bytes + line_bytes_max.min(payload.inflated_bytes))?;
    let (body, encoding) = (payload.chunks.clone(), payload.encoding);
    let good_lines = move || bulk::good_lines(&body, encoding, &limits);
    let chunks = if payload.inflated_bytes > ASIDE_BYTES {
        // A second look at a large body would hold up every neighbour on this worker.
        let looked = tokio::task::spawn_blocking(good_lines).await;
        looked.map_err(|_| Rejection::Internal("the second look at a body failed"))?
    } else {
        good_lines()
    };
    let chunks = chunks.map_err(rejection_of)?;
    permit.refused_part(
        &Rejection::TooLarge {
            bytes_max: line_bytes_max,
        },
        lines.oversized,
    );
    permit.refused_part(&Rejection::NoGoodLine(lines), lines.malformed + lines.empty);
    Ok(Payload {
        inflated_bytes: chunks.len(),
        chunks,
        encoding: Encoding::Identity,
        ..payload
    })
}
