//! Rates: what a request pays from the buckets of its token, of its account, and of the main account that this one draws on.
//!
//! A request is let in where something is in every bucket, and pays for itself. Its bytes are paid as they come and its items
//! when they are counted; a whole body is taken where something is left then but for what it has paid itself. So what passes
//! is what the rates say, an announced body that never comes locks nobody out, and what fails on our side costs nothing.

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use crate::{
    clock,
    gateway::authenticate::Caller,
    model::{Buckets, Measure, Moment, Over, Payer, Rejection, Share},
};

/// What one request has paid so far.
#[derive(Debug)]
pub(super) struct Charge {
    /// Nobody without a rate is among them: most requests hold nothing here.
    payers: [Option<Paying>; 3],
    as_unavailable: bool,
}

/// One of those who pay, and what they have paid by [`Measure::index`].
#[derive(Debug)]
struct Paying {
    payer: Payer,
    buckets: Arc<Buckets>,
    paid: [Share; 3],
}

/// The refusal of a bucket: which, and when something will be in it.
type Empty = (Payer, Measure, Duration);

// === impl Charge ===

impl Charge {
    /// Whether there is something in everything that the caller pays from. Nothing is paid yet.
    pub(super) fn check(caller: &Caller) -> Result<Self, Rejection> {
        let account = &caller.account;
        let charge = Self {
            payers: [
                limited(Payer::Token, caller.buckets.as_ref()),
                limited(Payer::Account, Some(&account.buckets)),
                limited(Payer::MainAccount, account.main_buckets.as_ref()),
            ],
            as_unavailable: account.record.limits.remote_write_throttle_as_unavailable,
        };
        if charge.is_free() {
            return Ok(charge);
        }
        charge.all_have_something(now(), &Measure::ALL)?;
        Ok(charge)
    }

    /// But for what it has paid itself.
    fn all_have_something(&self, now: Moment, measures: &[Measure]) -> Result<(), Rejection> {
        let waits = self.payers.iter().flatten().flat_map(|paying| {
            measures.iter().map(|measure| {
                let share = &paying.paid[measure.index()];
                let wait = paying.buckets.of(*measure).wait(share, now);
                (paying.payer, *measure, wait)
            })
        });
        match waits.max_by_key(|(.., wait)| *wait) {
            Some(longest) if !longest.2.is_zero() => Err(self.refusal(longest)),
            _ => Ok(()),
        }
    }

    /// Pays for the request.
    pub(super) fn enter(&mut self) -> Result<(), Rejection> {
        self.pay(Measure::Requests, 1)
    }

    /// Pays for so many more bytes.
    #[inline]
    pub(super) fn read(&mut self, bytes: u64) {
        if bytes == 0 || self.is_free() {
            return;
        }
        let now = now();
        for Paying { buckets, paid, .. } in self.payers.iter_mut().flatten() {
            let share = &mut paid[Measure::Bytes.index()];
            buckets.of(Measure::Bytes).charge(bytes, share, now);
        }
    }

    /// A whole body is in: it is taken, and its items paid, or it has cost its request alone.
    pub(super) fn settle(&mut self, items: u64) -> Result<(), Rejection> {
        if self.is_free() {
            return Ok(());
        }
        let settled = self
            .all_have_something(now(), &[Measure::Bytes])
            .and_then(|()| self.pay(Measure::Items, items));
        settled.inspect_err(|_| self.give_back_of(&[Measure::Bytes]))
    }

    /// It ended for a reason that is none of the sender's: nothing is paid.
    pub(super) fn give_back(&mut self) {
        self.give_back_of(&Measure::ALL);
    }

    fn give_back_of(&mut self, measures: &[Measure]) {
        if self.is_free() {
            return;
        }
        let now = now();
        for Paying { buckets, paid, .. } in self.payers.iter_mut().filter_map(Option::take) {
            for measure in measures {
                let share = &paid[measure.index()];
                buckets.of(*measure).give_back(share, now);
            }
        }
    }

    fn is_free(&self) -> bool {
        self.payers.iter().all(Option::is_none)
    }

    /// From each payer, or from none; once for each measure.
    fn pay(&mut self, measure: Measure, cost: u64) -> Result<(), Rejection> {
        if cost == 0 || self.is_free() {
            return Ok(());
        }
        let now = now();
        let index = measure.index();
        let mut empty = None;
        for (at, paying) in self.payers.iter_mut().enumerate() {
            let Some(Paying {
                payer,
                buckets,
                paid,
            }) = paying
            else {
                continue;
            };
            if let Err(wait) = buckets.of(measure).pay(cost, &mut paid[index], now) {
                empty = Some((at, (*payer, measure, wait)));
                break;
            }
        }
        let Some((at, empty)) = empty else {
            return Ok(());
        };
        // Only for a moment, but whoever looks between is refused for what is given back here.
        for Paying { buckets, paid, .. } in self.payers[..at].iter_mut().flatten() {
            buckets.of(measure).give_back(&paid[index], now);
            paid[index] = Share::default();
        }
        let longest = self.all_have_something(now, &[measure]).err();
        Err(longest.unwrap_or_else(|| self.refusal(empty)))
    }

    fn refusal(&self, (payer, measure, wait): Empty) -> Rejection {
        Rejection::Throttled {
            over: Over::Rate(payer, measure),
            retry_after: wait,
            as_unavailable: self.as_unavailable,
        }
    }
}

fn limited(payer: Payer, buckets: Option<&Arc<Buckets>>) -> Option<Paying> {
    let buckets = buckets.filter(|buckets| buckets.is_limited())?;
    Some(Paying {
        payer,
        buckets: Arc::clone(buckets),
        paid: Default::default(),
    })
}

fn now() -> Moment {
    Moment(clock::steady_ns())
}
