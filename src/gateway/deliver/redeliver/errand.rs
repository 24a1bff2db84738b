//! One spooled record on its way: as its account, its token and its destination stand by now.

use std::{rc::Rc, sync::Arc, time::Duration};

use tokio::time::Instant;
use tracing::warn;

use super::{BUSY_REST, Round, course::Course};
use crate::{
    gateway::{
        admit::Held,
        deliver::spool::{Lease, Origin, Record, Revoked},
    },
    model::{
        Ack, Delivery, Destination, DestinationKind, Loss, Payload, Rejection, Tally, TokenState,
    },
};

/// Where there is no destination to be had, and where it is ours to mend: nothing changes by itself, and soon.
const LONG_REST: Duration = Duration::from_secs(10);

/// A record that is to be delivered.
pub(super) struct Errand {
    round: Rc<Round>,
    lease: Lease,
    record: Record,
    destination: Arc<Destination>,
    /// Pays for it.
    held: Held,
    /// Declared last: it is over when all else is.
    way: Way,
}

/// A record's place on its destination's course, until it is dropped.
struct Way {
    round: Rc<Round>,
    course: Rc<Course>,
    bytes: u64,
}

/// What has become of a record.
enum End {
    /// Taken, but for so many items.
    Delivered(u64),
    /// Refused for good: why.
    Refused(String),
    /// Not now.
    Later {
        retry_after: Option<Duration>,
        rejection: Rejection,
    },
}

// === impl Errand ===

impl Errand {
    /// The record read; none when it is over already, or comes again later.
    ///
    /// It goes where its account's signal goes now: where it went then may be gone, or not the account's any more.
    pub(super) fn begin(round: &Rc<Round>, lease: Lease) -> Option<Self> {
        let (lease, record) = lease.read()?;
        let origin = record.origin;
        let entry = round.directory.find(&origin.digest);
        let Some(entry) = entry else {
            warn!(account.id = %origin.account, token = origin.token.0, "a spooled payload waits: its token is not known here");
            lease.retry(LONG_REST);
            return None;
        };
        if entry.state == TokenState::Revoked && round.spool.config().revoked == Revoked::Drop {
            lease.lose(Loss::Dropped);
            return None;
        }
        let account = entry.account.filter(|it| it.record.id == origin.account);
        let destination = account.as_ref().and_then(|account| {
            let now = account.record.destination(lease.signal());
            round
                .directory
                .destination(now.unwrap_or(origin.destination))
        });
        let (Some(account), Some(destination)) = (account, destination) else {
            warn!(account.id = %origin.account, destination.id = %origin.destination, "a spooled payload waits: it has no destination");
            lease.retry(LONG_REST);
            return None;
        };
        let mut held = round.memory.hold(&account);
        let course = round.course(destination.id);
        let is_elsewhere = destination.id != origin.destination;
        let is_closed = is_elsewhere && !course.is_open(round.spool.config(), Instant::now());
        // Live traffic comes first.
        if is_closed || held.grow(lease.bytes()).is_err() {
            lease.retry(BUSY_REST);
            return None;
        }
        Some(Self {
            way: Way::begin(round, &course, lease.bytes()),
            round: Rc::clone(round),
            lease,
            record,
            destination,
            held,
        })
    }

    /// What it takes on disk.
    pub(super) const fn bytes(&self) -> u64 {
        self.lease.bytes()
    }

    /// When its sender was answered.
    pub(super) fn ack(&self) -> Ack {
        self.destination.ack_for(self.lease.signal())
    }

    pub(super) async fn run(self) {
        let Self {
            round,
            lease,
            record: Record { origin, payload },
            destination,
            mut held,
            way,
        } = self;
        let sent = if destination.kind == DestinationKind::Archive {
            let archive = &round.archive;
            archive
                .store(origin.account, origin.token, &payload, held)
                .await
        } else {
            let caller = (origin.account, origin.token);
            let mut claim = |bytes| held.grow(bytes);
            let upstreams = &round.upstreams;
            upstreams
                .send(&destination, caller, &payload, &mut claim)
                .await
        };
        let course = &way.course;
        let line = (origin.account, payload.signal);
        match end(sent) {
            End::Delivered(refused_items) => {
                course.succeeded(line);
                round.delivered(&origin, &payload, refused_items);
                if refused_items > 0 {
                    warn!(account.id = %origin.account, destination = %destination.name, refused_items, "a destination refused a part of a spooled payload");
                }
                lease.done();
            }
            End::Refused(why) => {
                course.succeeded(line);
                lease.set_aside(&why);
            }
            End::Later {
                retry_after,
                rejection,
            } => {
                let at = Instant::now();
                if course.may_complain(at) {
                    warn!(
                        account.id = %origin.account,
                        signal = %payload.signal,
                        destination = %destination.name,
                        reason = rejection.label(),
                        detail = ?rejection,
                        "a spooled payload was not taken, trying again"
                    );
                }
                let is_down = round.upstreams.is_resting(&destination);
                let is_ours = matches!(rejection, Rejection::DestinationMisconfigured(_));
                let rest = match (is_down, is_ours) {
                    (true, _) => {
                        course.failed(retry_after, at);
                        Duration::ZERO
                    }
                    (false, true) => LONG_REST,
                    (false, false) => course.refused(line, retry_after),
                };
                lease.retry(rest);
            }
        }
        drop(way);
        round.go_on(origin.destination);
    }
}

// === impl Way ===

impl Way {
    fn begin(round: &Rc<Round>, course: &Rc<Course>, bytes: u64) -> Self {
        course.begin(bytes);
        round.bytes_out.set(round.bytes_out.get() + bytes);
        Self {
            round: Rc::clone(round),
            course: Rc::clone(course),
            bytes,
        }
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        let out = &self.round.bytes_out;
        out.set(out.get() - self.bytes);
        self.course.end(self.bytes);
        if self.round.is_short.get() {
            self.round.has_room.notify_one();
        }
    }
}

// === impl Round ===

impl Round {
    fn delivered(&self, origin: &Origin, payload: &Payload, refused_items: u64) {
        let books = self.directory.books_of(origin.account);
        let all = Tally::new(payload.counts.items(), payload.inflated_bytes);
        let refused = all.part(refused_items);
        books.unspooled(payload.signal, all);
        if refused.items > 0 {
            books.lost(payload.signal, Loss::Refused, refused);
        }
        books.delivered(payload.signal, all - refused);
    }
}

fn end(sent: Result<Delivery, Rejection>) -> End {
    match sent {
        Ok(delivery) => End::Delivered(delivery.refused_items),
        Err(Rejection::DestinationRefused {
            status, message, ..
        }) => End::Refused(format!("{status} {message}")),
        Err(Rejection::Malformed(why)) => End::Refused(why.into_owned()),
        Err(rejection @ (Rejection::DestinationLacksVersion | Rejection::TooLarge { .. })) => {
            End::Refused(rejection.label().to_owned())
        }
        Err(rejection) => End::Later {
            retry_after: match &rejection {
                Rejection::DestinationUnavailable { retry_after, .. } => *retry_after,
                _ => None,
            },
            rejection,
        },
    }
}
