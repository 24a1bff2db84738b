//! What was refused is in the audit log too, a bounded number of times: whoever is refused chooses how often they ask.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use serde_json::json;

use super::{
    caller::Caller,
    rule::{Place, Rule},
};
use crate::control::{Control, record::Who};

/// Records of refusals in a row, and how often another one is allowed: a day of attempts makes some 1,500.
const BURST: f64 = 100.0;
const SECONDS_PER_RECORD: f64 = 60.0;

/// How many more may be written.
pub(in crate::control) struct Allowance(Mutex<Left>);

struct Left {
    records: f64,
    at: Instant,
    /// Refusals since the last record that have none of their own.
    unrecorded: u64,
}

/// Records that somebody was refused what changes or reveals something.
pub(super) async fn record(control: &Control, caller: &Caller, rule: &Rule, place: Option<&Place>) {
    if rule.method == "get" {
        return;
    }
    let name = place.map_or(rule.path, |place| &place.name);
    let account = place.and_then(|place| place.account.map(|account| account.id));
    let subject = format!("{} {} of {name}", rule.method, rule.path);
    note(
        control,
        caller.who(),
        "refused",
        subject,
        // Of who is stopped nobody has looked what it was about.
        account.or_else(|| caller.stopped().and(caller.home())),
    )
    .await;
}

/// Writes the record, if there is one left to write.
pub(super) async fn note(
    control: &Control,
    who: Who,
    action: &'static str,
    subject: String,
    account: Option<u64>,
) {
    let Some(unrecorded) = control.inner.refusals.take() else {
        return;
    };
    let more = (unrecorded != 0).then(|| json!({"unrecorded_before": unrecorded}));
    let written = async {
        let mut commit = control.inner.store.begin(&who).await?;
        commit.note_of(account, action, subject, None, more);
        commit.finish_unpublished().await
    };
    if let Err(error) = written.await {
        tracing::warn!(%error, "a refusal is not in the audit log");
    }
}

// === impl Allowance ===

impl Allowance {
    pub(in crate::control) fn new() -> Self {
        Self(Mutex::new(Left {
            records: BURST,
            at: Instant::now(),
            unrecorded: 0,
        }))
    }

    /// One record, with how many refusals before it had none; `None` when they are used up.
    fn take(&self) -> Option<u64> {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let gained = now.duration_since(left.at).as_secs_f64() / SECONDS_PER_RECORD;
        left.records = (left.records + gained).min(BURST);
        left.at = now;
        if left.records < 1.0 {
            left.unrecorded += 1;
            return None;
        }
        left.records -= 1.0;
        Some(std::mem::take(&mut left.unrecorded))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_leaves_a_bounded_number_of_records_and_a_count() {
        let allowance = Allowance::new();
        let written = (0..10_000).filter(|_| allowance.take().is_some()).count();
        assert_eq!(written, 100);
        allowance.0.lock().expect("whole").records = 1.0;
        assert_eq!(allowance.take(), Some(9_900));
    }
}
