//! Deltas into the table that serves, and what of them goes to disk. CPU work: no I/O, nothing to wait for.

use std::collections::HashSet;

use prost::Message;

use super::{
    Lost,
    collect::position,
    ended::{self, End, Ended},
};
use crate::{
    directory::{
        Directory,
        keep::Delta,
        usage::{Acceptance, Reports},
    },
    model::TokenId,
    rpc::feed::{self, change::Change as Kind},
};

/// Whether they may end a whole account: that is a look at everything accepted lately.
pub(super) fn looks_far(deltas: &[feed::Delta]) -> bool {
    let mut changes = deltas.iter().flat_map(|delta| &delta.changes);
    changes
        .any(|change| matches!(&change.change, Some(Kind::Account(account)) if account.suspended))
}

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
            ended.extend(ended::by(&change).map(|end| (delta.revision, end)));
            changes.push(change);
        }
    }
    directory.apply(reached, changes);
    if let Some(usage) = usage.filter(|_| !ended.is_empty()) {
        // After they are applied: nothing passes from here on.
        over.add(accepted(usage, ended));
    }
    Ok(for_disk)
}

/// When what has ended was last accepted, with the revisions that ended it. Suspended accounts are looked for together: of
/// them it is not known which tokens there are.
fn accepted(usage: &Reports, ended: Vec<(u64, End)>) -> Vec<(u64, TokenId, Acceptance)> {
    let mut accepted = Vec::new();
    let mut accounts = HashSet::new();
    let mut first = None;
    for (revision, end) in ended {
        match end {
            End::Token(token, account) => accepted.extend(usage.accepted(token).map(|at_ms| {
                let account = account.0;
                (revision, token, Acceptance { at_ms, account })
            })),
            End::Account(account) => {
                accounts.insert(account);
                first.get_or_insert(revision);
            }
        }
    }
    if let Some(revision) = first {
        let of_accounts = usage.accepted_of(&accounts).into_iter();
        // The first one's: whoever waits for a later one has heard of it by then.
        accepted.extend(of_accounts.map(|(token, last)| (revision, token, last)));
        accepted.sort_by_key(|(revision, ..)| *revision);
    }
    accepted
}
