//! Bulk: what a destination's answer says of the lines that it was sent.

use crate::model::{Counts, Delivery, LineCounts, Payload, Rejection, Tally};

/// Bulk: how its lines ended. A destination that tells how many it took has taken those, if its counters add up to what it
/// was sent; else all of a refused body's lines count as malformed.
pub(super) fn with_lines(
    mut answer: Result<Delivery, Rejection>,
    payload: &Payload,
) -> Result<Delivery, Rejection> {
    let Counts::Lines(counted) = payload.counts else {
        return answer;
    };
    match &mut answer {
        Ok(delivery) => delivery.lines = Some(counted),
        Err(Rejection::DestinationRefused { lines, message, .. }) => {
            if let Some((refused_items, lines)) = lines.and_then(|told| taken(counted, told)) {
                return Ok(Delivery {
                    refused_items,
                    message: Some(std::mem::take(message)).filter(|message| !message.is_empty()),
                    lines: Some(lines),
                    ..Delivery::default()
                });
            }
            *lines = Some(LineCounts {
                good: Default::default(),
                malformed: counted.malformed + counted.good,
                ..counted
            });
        }
        Err(_) => {}
    }
    answer
}

/// Of lines that were sent: how many the destination refused, and the counters of all, if it tells of each and took some.
/// It counts no bytes: they are shared out by lines.
fn taken(counted: LineCounts, told: LineCounts) -> Option<(u64, LineCounts)> {
    let (sent, took) = (counted.good, told.good.items);
    let parts = [told.malformed, told.oversized, told.empty].map(|part| part.items);
    let refused = parts.into_iter().try_fold(0u64, u64::checked_add)?;
    if took == 0 || took.checked_add(refused) != Some(sent.items) {
        return None;
    }
    let bytes_of = |items: u64| {
        let share = u128::from(sent.bytes) * u128::from(items) / u128::from(sent.items);
        u64::try_from(share).unwrap_or(sent.bytes)
    };
    let [malformed, oversized, empty] = parts.map(|items| Tally::new(items, bytes_of(items)));
    let bad = malformed + oversized + empty;
    let lines = LineCounts {
        good: Tally::new(took, sent.bytes - bad.bytes),
        malformed: counted.malformed + malformed,
        oversized: counted.oversized + oversized,
        empty: counted.empty + empty,
    };
    Some((refused, lines))
}
