//! What was refused is in the audit log of whoever was refused, a bounded number of times each: whoever is refused chooses
//! how often they ask. It is written off the answer's path, so that no clock tells what there is elsewhere.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use serde_json::json;
use tokio_util::task::TaskTracker;

use super::{
    caller::Caller,
    rule::{Place, Rule},
};
use crate::control::{Control, Error, record::Who};

/// Records of refusals in a row, and how often another one is allowed: a day of attempts makes some 1,500.
const BURST: f64 = 100.0;
const SECONDS_PER_RECORD: f64 = 60.0;
/// Whose refusals are counted at a time, and records that are being written.
const ASKING_MAX: usize = 4096;
const WRITING_MAX: usize = 256;

/// How many more may be written, of whom; and those that are being written.
pub(in crate::control) struct Refusals {
    left: Mutex<HashMap<Asking, Left>>,
    writing: TaskTracker,
}

/// Who is refused. `None` is the operators, and whoever has no account.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Asking {
    /// The callers whose account that is.
    Home(Option<u64>),
    /// Those who don't get in as its people: they use up nothing of what its own callers have.
    LoggingIn(Option<u64>),
    /// Those who don't get in under names that nobody has: anybody can make up as many as they like.
    Unknown,
}

#[derive(Clone, Copy)]
struct Left {
    records: f64,
    at: Instant,
    /// Refusals since the last record that have none of their own.
    unrecorded: u64,
}

/// A record to be written.
struct Record {
    who: Who,
    action: &'static str,
    subject: String,
    /// In whose log it stands.
    account: Option<u64>,
}

/// Records that somebody was refused what changes or reveals something: where it was about, if that is within their reach,
/// and with their own account otherwise.
pub(super) fn record(control: &Control, caller: &Caller, rule: &Rule, place: Option<&Place>) {
    if rule.method == "get" {
        return;
    }
    let name = place.map_or(rule.path, |place| &place.name);
    // What is not there looks like what is another account's, here as in the answer.
    let within = place
        .and_then(|place| place.account)
        .filter(|account| caller.reaches(Some(*account)));
    let record = Record {
        who: caller.who(),
        action: "refused",
        subject: format!("{} {} of {name}", rule.method, rule.path),
        account: within.map_or(caller.home(), |account| Some(account.id)),
    };
    begin(control, Asking::Home(caller.home()), record);
}

/// Records what somebody of that account was refused.
pub(super) fn note(
    control: &Control,
    who: Who,
    action: &'static str,
    subject: String,
    home: Option<u64>,
) {
    let record = Record {
        who,
        action,
        subject,
        account: home,
    };
    begin(control, Asking::Home(home), record);
}

/// Records that somebody did not get in under that name. What was given as a name may be a password: one that nobody has is
/// not written down, and whether somebody has it is looked up off the answer's path, too.
pub(super) fn login(control: &Control, who: Who, name: String) {
    if control.inner.refusals.is_busy() {
        tracing::warn!("a refused login is not in the audit log: too many come at once");
        return;
    }
    let writing = control.clone();
    control.inner.refusals.writing.spawn(async move {
        let written = async {
            let store = &writing.inner.store;
            let user = match store.login(&name).await? {
                Some((id, _)) => Error::found(store.user(id).await)?,
                None => None,
            };
            let account = user.as_ref().and_then(|user| user.account);
            let (subject, asking) = match user {
                Some(user) => (format!("user/{}", user.id), Asking::LoggingIn(account)),
                None => ("user/?".to_owned(), Asking::Unknown),
            };
            let Some(unrecorded) = writing.inner.refusals.take(asking) else {
                return Ok(());
            };
            let record = Record {
                who,
                action: "session.refused",
                subject,
                account,
            };
            write(&writing, record, unrecorded).await
        };
        warn(written.await);
    });
}

/// Begins to write the record, if there is one left to write.
fn begin(control: &Control, asking: Asking, record: Record) {
    let refusals = &control.inner.refusals;
    let Some(unrecorded) = refusals.take(asking) else {
        return;
    };
    let writing = control.clone();
    refusals
        .writing
        .spawn(async move { warn(write(&writing, record, unrecorded).await) });
}

async fn write(control: &Control, record: Record, unrecorded: u64) -> Result<(), Error> {
    let more = (unrecorded != 0).then(|| json!({"unrecorded_before": unrecorded}));
    let mut commit = control.inner.store.begin(&record.who).await?;
    commit.note_of(record.account, record.action, record.subject, None, more);
    commit.finish_unpublished().await
}

fn warn(written: Result<(), Error>) {
    if let Err(error) = written {
        tracing::warn!(%error, "a refusal is not in the audit log");
    }
}

// === impl Refusals ===

impl Refusals {
    pub(in crate::control) fn new() -> Self {
        let writing = TaskTracker::new();
        // Whoever waits for it waits until nothing is being written; more may begin at any time.
        writing.close();
        Self {
            left: Mutex::default(),
            writing,
        }
    }

    /// Waits until what was begun is written.
    pub(in crate::control) async fn written(&self) {
        self.writing.wait().await;
    }

    fn is_busy(&self) -> bool {
        self.writing.len() >= WRITING_MAX
    }

    /// One record of theirs, with how many refusals before it had none; `None` when they are used up.
    fn take(&self, asking: Asking) -> Option<u64> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if left.len() >= ASKING_MAX && !left.contains_key(&asking) {
            make_room(&mut left, now);
        }
        let left = left.entry(asking).or_insert(Left {
            records: BURST,
            at: now,
            unrecorded: 0,
        });
        left.records = left.gained(now);
        left.at = now;
        if left.records < 1.0 || self.is_busy() {
            left.unrecorded += 1;
            return None;
        }
        left.records -= 1.0;
        Some(std::mem::take(&mut left.unrecorded))
    }
}

/// Forgets those who have all their records again, or else the one who has not asked for the longest.
fn make_room(left: &mut HashMap<Asking, Left>, now: Instant) {
    left.retain(|_, one| one.unrecorded != 0 || one.gained(now) < BURST);
    if left.len() < ASKING_MAX {
        return;
    }
    let oldest = left.iter().min_by_key(|(_, one)| one.at);
    if let Some(oldest) = oldest.map(|(asking, _)| *asking) {
        left.remove(&oldest);
    }
}

// === impl Left ===

impl Left {
    fn gained(&self, now: Instant) -> f64 {
        let gained = now.duration_since(self.at).as_secs_f64() / SECONDS_PER_RECORD;
        (self.records + gained).min(BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Config;

    #[test]
    fn a_flood_of_refusals_leaves_a_bounded_number_of_records_and_a_count() {
        let refusals = Refusals::new();
        let flood = Asking::Home(Some(1));
        let written = (0..10_000).filter(|_| refusals.take(flood).is_some());
        assert_eq!(written.count(), 100);
        assert_eq!(refusals.take(Asking::Home(Some(2))), Some(0), "another's");
        assert_eq!(refusals.take(Asking::LoggingIn(Some(1))), Some(0));
        let mut left = refusals.left.lock().expect("whole");
        left.get_mut(&flood).expect("counted").records = 1.0;
        drop(left);
        assert_eq!(refusals.take(flood), Some(9_900));
    }

    #[test]
    fn however_many_are_refused_a_bounded_number_is_counted() {
        let refusals = Refusals::new();
        for home in 0..3 * ASKING_MAX as u64 {
            assert_eq!(refusals.take(Asking::Home(Some(home))), Some(0));
        }
        assert_eq!(refusals.left.lock().expect("whole").len(), ASKING_MAX);
    }

    #[tokio::test]
    async fn names_that_nobody_has_use_up_no_record_of_the_operators() {
        let folder = tempfile::tempdir().expect("a folder");
        let control = Control::open(&Config::default(), folder.path()).await;
        let control = control.expect("opens");
        let refusals = &control.inner.refusals;
        for _ in 0..=BURST as usize {
            login(&control, "nobody".into(), "nobody of that name".to_owned());
            refusals.written().await;
        }
        assert_eq!(refusals.take(Asking::LoggingIn(None)), Some(0));
        assert_eq!(refusals.take(Asking::Unknown), None);
        control.close().await;
    }
}
