//! Deltas into the table that serves, and what of them goes to disk. CPU work: no I/O, nothing to wait for.

use prost::Message;

use super::{
    Lost,
    collect::position,
    ended::{self, Ended},
};
use crate::{
    directory::{Directory, keep::Delta, usage::Reports},
    rpc::feed::{self, change::Change as Kind},
};

/// Applies them together, and notes when tokens that they end were last accepted; they are kept next.
pub(super) fn apply(
    directory: &Directory,
    usage: Option<&Reports>,
    over: &Ended,
    deltas: Vec<feed::Delta>,
) -> Result<Vec<Delta>, Lost> {
    let Some(reached) = deltas.last().map(position) else {
        return Ok(Vec::new());
    };
    let mut for_disk = Vec::with_capacity(deltas.len());
    let mut changes = Vec::with_capacity(deltas.iter().map(|delta| delta.changes.len()).sum());
    let mut ended = Vec::new();
    for delta in deltas {
        for_disk.push(Delta {
            position: position(&delta),
            bytes: delta.encode_to_vec(),
            secret: delta
                .changes
                .iter()
                .any(|change| matches!(change.change, Some(Kind::Destination(_)))),
        });
        for change in delta.changes {
            let Some(change) = change.into_model()? else {
                continue;
            };
            ended.extend(ended::by(&change).map(|token| (delta.revision, token)));
            changes.push(change);
        }
    }
    directory.apply(reached, changes);
    if let Some(usage) = usage.filter(|_| !ended.is_empty()) {
        // After they are applied: nothing passes from here on.
        over.add(
            ended
                .into_iter()
                .filter_map(|(revision, token)| Some((revision, token, usage.accepted(token)?))),
        );
    }
    Ok(for_disk)
}
