//! What is safe enough to answer: the destination's yes, the spool's, or whichever comes, as the destination's `ack` says.

use std::{cell::RefCell, collections::HashMap, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use super::{
    spool::{Origin, Refusal, Spool},
    upstream::{Patience, Upstreams},
};
use crate::{
    clock,
    gateway::admit::Permit,
    model::{
        AccountId, Ack, Content, Counts, Delivery, Destination, DestinationId, Payload, Rejection,
        Signal,
    },
};

/// How long before a destination is asked again, each time; jittered.
const RETRY_AFTER: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(400)];
/// What a destination takes nothing of is spooled without asking for so long: doubled with each refusal up to the second.
const HOLD: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(30)];
/// Lines that are held; past it those that are over are forgotten, and no more are remembered.
const HELD_MAX: usize = 65_536;

/// A destination with a spool before it.
pub(super) struct Kept<'d> {
    pub(super) spool: &'d Spool,
    pub(super) upstreams: &'d Upstreams,
    pub(super) holds: &'d Holds,
    pub(super) destination: &'d Arc<Destination>,
    pub(super) account: AccountId,
}

/// Which account's signals a destination takes nothing of for now, though it answers: one worker's.
#[derive(Default)]
pub(super) struct Holds(RefCell<HashMap<Line, Hold>>);

type Line = (DestinationId, AccountId, Signal);

#[derive(Clone, Copy)]
struct Hold {
    until: Instant,
    refusals: u32,
}

// === impl Kept ===

impl Kept<'_> {
    /// Returns when the payload is safe.
    ///
    /// # Errors
    /// As [`Upstreams::send`]; where the spool did not take it either, it says that too.
    pub(super) async fn send(
        &self,
        permit: &mut Permit,
        payload: &Payload,
    ) -> Result<Delivery, Rejection> {
        let end = Instant::now() + self.destination.request_timeout;
        let ack = ack(self.destination, payload);
        if ack != Ack::Destination {
            // What it can never take would wait there for nothing.
            self.upstreams.check(self.destination, payload)?;
        }
        match ack {
            Ack::Destination => self.deliver(end, permit, payload).await,
            Ack::Spool => match self.keep(permit, payload).await {
                Ok(()) => Ok(spooled(payload)),
                Err(refusal) => Err(unavailable(refusal)),
            },
            Ack::Spill => self.spill(end, permit, payload).await,
        }
    }

    /// A destination that fails and was well a moment ago is asked again: what only restarts is back soon, and no sender need know.
    async fn deliver(
        &self,
        end: Instant,
        permit: &mut Permit,
        payload: &Payload,
    ) -> Result<Delivery, Rejection> {
        let patience = Patience::until(end);
        let was_down = self.upstreams.is_resting(self.destination);
        let mut sent = self.try_within(patience, permit, payload).await;
        if was_down || !self.may_retry(&sent) {
            return sent;
        }
        let Some(_place) = self.upstreams.retry(self.destination) else {
            return sent;
        };
        for wait in RETRY_AFTER {
            if Instant::now() + wait >= end {
                break;
            }
            sleep(clock::jittered(wait)).await;
            sent = self.try_within(patience, permit, payload).await;
            if !self.may_retry(&sent) {
                break;
            }
        }
        sent
    }

    /// It could not be reached, or says that it is down, and asks for no longer wait.
    fn may_retry(&self, sent: &Result<Delivery, Rejection>) -> bool {
        let is_down = matches!(
            sent,
            Err(Rejection::DestinationUnavailable {
                retry_after: None,
                ..
            })
        );
        is_down && self.upstreams.is_resting(self.destination)
    }

    async fn try_within(
        &self,
        patience: Patience,
        permit: &mut Permit,
        payload: &Payload,
    ) -> Result<Delivery, Rejection> {
        let caller = (self.account, permit.caller.token);
        let mut claimed = 0;
        let mut claim = |bytes| {
            permit.claim(bytes)?;
            claimed += bytes;
            Ok(())
        };
        let sent = self
            .upstreams
            .send_within(patience, self.destination, caller, payload, &mut claim)
            .await;
        // What it became on its way is gone.
        permit.release(claimed);
        sent
    }

    /// A destination that is known to be down is not tried, unless the spool takes nothing; one that is slow is not waited for as
    /// long as its sender may wait.
    async fn spill(
        &self,
        end: Instant,
        permit: &mut Permit,
        payload: &Payload,
    ) -> Result<Delivery, Rejection> {
        let line = (self.destination.id, self.account, payload.signal);
        if self.must_wait(line) {
            let Err(refusal) = self.keep(permit, payload).await else {
                return Ok(spooled(payload));
            };
            // The spool has let go of what pays for the body.
            permit.claim(payload.chunks.len())?;
            let sent = self.deliver(end, permit, payload).await;
            return sent.map_err(|rejection| and(rejection, refusal));
        }
        let patience = Patience {
            end,
            cut: Some(Instant::now() + self.spool.config().spill_after),
        };
        let sent = self.try_within(patience, permit, payload).await;
        let Err(rejection @ Rejection::DestinationUnavailable { retry_after, .. }) = sent else {
            self.holds.over(line);
            return sent;
        };
        self.holds.refused(line, retry_after, Instant::now());
        match self.keep(permit, payload).await {
            Ok(()) => Ok(spooled(payload)),
            Err(refusal) => Err(and(rejection, refusal)),
        }
    }

    /// Whether there is no sense in asking the destination now. Samples must not overtake those that are spooled: their receivers
    /// would refuse those.
    fn must_wait(&self, line: Line) -> bool {
        self.upstreams.is_resting(self.destination)
            || self.holds.holds(line, Instant::now())
            || (line.2 == Signal::Metrics && self.spool.has(line.1, line.2, line.0))
    }

    async fn keep(&self, permit: &mut Permit, payload: &Payload) -> Result<(), Refusal> {
        let origin = Origin {
            account: self.account,
            token: permit.caller.token,
            digest: permit.caller.digest(),
            destination: self.destination.id,
            accepted_ms: clock::steady_ms(),
        };
        self.spool.append(origin, payload, permit.lend()).await
    }
}

// === impl Holds ===

impl Holds {
    fn holds(&self, line: Line, now: Instant) -> bool {
        let holds = self.0.borrow();
        holds.get(&line).is_some_and(|hold| now < hold.until)
    }

    fn refused(&self, line: Line, retry_after: Option<Duration>, now: Instant) {
        let mut holds = self.0.borrow_mut();
        if holds.len() >= HELD_MAX && !holds.contains_key(&line) {
            holds.retain(|_, hold| now < hold.until);
            if holds.len() >= HELD_MAX {
                return;
            }
        }
        let hold = holds.entry(line).or_insert(Hold {
            until: now,
            refusals: 0,
        });
        // Those that went together are refused together, and count once.
        if now >= hold.until {
            let wait = HOLD[0] * 2u32.saturating_pow(hold.refusals.min(10));
            hold.until = now + clock::jittered(wait.min(HOLD[1]));
            hold.refusals = hold.refusals.saturating_add(1);
        }
        hold.until = hold.until.max(now + retry_after.unwrap_or_default());
    }

    fn over(&self, line: Line) {
        self.0.borrow_mut().remove(&line);
    }
}

fn spooled(payload: &Payload) -> Delivery {
    Delivery {
        lines: match payload.counts {
            Counts::Lines(lines) => Some(lines),
            Counts::Records(_) | Counts::Write(_) => None,
        },
        is_spooled: true,
        ..Delivery::default()
    }
}

/// Only its receiver can say what was written of a remote write 2.0: without its word the sender would take it for nothing.
fn ack(destination: &Destination, payload: &Payload) -> Ack {
    match payload.content {
        Content::RemoteWrite2 => Ack::Destination,
        _ => destination.ack_for(payload.signal),
    }
}

fn unavailable(refusal: Refusal) -> Rejection {
    Rejection::DestinationUnavailable {
        retry_after: None,
        why: refusal.why().into(),
    }
}

/// What the destination said, and the spool.
fn and(rejection: Rejection, refusal: Refusal) -> Rejection {
    match rejection {
        Rejection::DestinationUnavailable { retry_after, why } => {
            Rejection::DestinationUnavailable {
                retry_after,
                why: format!("{why}, and {}", refusal.why()).into(),
            }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_held_as_long_as_its_destination_asks_and_longer_each_time() {
        let (holds, mut now) = (Holds::default(), Instant::now());
        let line = (DestinationId(1), AccountId(2), Signal::Logs);
        let other = (DestinationId(1), AccountId(3), Signal::Logs);
        holds.refused(line, Some(Duration::from_secs(60)), now);
        assert!(holds.holds(line, now + Duration::from_secs(59)));
        assert!(!holds.holds(line, now + Duration::from_secs(60)));
        assert!(!holds.holds(other, now));
        let mut longest = Duration::ZERO;
        for _ in 0..12 {
            now += Duration::from_secs(100);
            (0..5).for_each(|_| holds.refused(line, None, now));
            let hold = holds.0.borrow()[&line].until - now;
            assert!(hold >= HOLD[0] / 2 && hold <= HOLD[1], "{hold:?}");
            longest = longest.max(hold);
        }
        assert!(longest >= HOLD[1] / 2, "{longest:?}");
        holds.over(line);
        assert!(!holds.holds(line, now));
    }
}
