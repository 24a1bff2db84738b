//! Rates: what a request pays from the buckets of its token, of its account, and of the main account that this one draws on.
//!
//! A request is paid before its body, and only where something is in every bucket, but for the bytes that are arriving with
//! others; its bytes and items are paid once they are in and counted. So what passes is what the rates say, an announced
//! body that never comes locks nobody out, and what fails on our side costs nothing.

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use crate::{
    clock,
    gateway::authenticate::Caller,
    model::{Buckets, Measure, Moment, Over, Payer, Rejection, Tally},
};

/// What one request has paid so far. Dropping it before [`Charge::settle`] pays for the bytes that were read.
#[derive(Debug)]
pub(super) struct Charge {
    /// Nobody without a rate is among them: most requests hold nothing here.
    payers: [Option<(Payer, Arc<Buckets>)>; 3],
    arriving_bytes: u64,
    /// A request, and what [`Charge::settle`] paid.
    paid: [u64; 3],
    as_unavailable: bool,
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
            arriving_bytes: 0,
            paid: [0; 3],
            as_unavailable: account.record.limits.remote_write_throttle_as_unavailable,
        };
        if charge.is_free() {
            return Ok(charge);
        }
        let now = now();
        let waits = charge.payers().flat_map(|(payer, buckets)| {
            Measure::ALL.map(|measure| (*payer, measure, buckets.of(measure).wait(now)))
        });
        match waits.max_by_key(|(.., wait)| *wait) {
            Some(longest) if !longest.2.is_zero() => Err(charge.refusal(longest)),
            _ => Ok(charge),
        }
    }

    /// Pays for the request.
    pub(super) fn enter(&mut self) -> Result<(), Rejection> {
        self.pay(Measure::Requests, 1)
    }

    /// So many more bytes are read.
    #[inline]
    pub(super) fn read(&mut self, bytes: u64) {
        if self.is_free() {
            return;
        }
        self.arriving_bytes += bytes;
        for (_, buckets) in self.payers() {
            buckets.of(Measure::Bytes).arriving(bytes);
        }
    }

    /// Pays for a whole body. One that finds nothing to pay from has cost its request.
    pub(super) fn settle(&mut self, read: Tally) -> Result<(), Rejection> {
        if self.is_free() {
            return Ok(());
        }
        self.have_arrived();
        let paid = self.pay(Measure::Bytes, read.bytes);
        let paid = paid.and_then(|()| {
            self.pay(Measure::Items, read.items).inspect_err(|_| {
                let now = now();
                for (_, buckets) in self.payers() {
                    buckets.of(Measure::Bytes).give_back(read.bytes, now);
                }
            })
        });
        paid.inspect_err(|_| self.payers = [const { None }; 3])
    }

    /// It ended for a reason that is none of the sender's: nothing is paid.
    pub(super) fn give_back(&mut self) {
        if self.is_free() {
            return;
        }
        self.have_arrived();
        let now = now();
        for (_, buckets) in self.payers.iter_mut().filter_map(Option::take) {
            for measure in Measure::ALL {
                let paid = self.paid[measure.index()];
                buckets.of(measure).give_back(paid, now);
            }
        }
    }

    fn is_free(&self) -> bool {
        self.payers.iter().all(Option::is_none)
    }

    fn payers(&self) -> impl Iterator<Item = &(Payer, Arc<Buckets>)> {
        self.payers.iter().flatten()
    }

    /// From each payer, or from none.
    fn pay(&mut self, measure: Measure, cost: u64) -> Result<(), Rejection> {
        if cost == 0 || self.is_free() {
            return Ok(());
        }
        let now = now();
        let mut empty = None;
        for (at, (payer, buckets)) in self.payers().enumerate() {
            if let Err(wait) = buckets.of(measure).pay(cost, now) {
                empty = Some((at, (*payer, measure, wait)));
                break;
            }
        }
        let Some((at, empty)) = empty else {
            self.paid[measure.index()] = cost;
            return Ok(());
        };
        for (_, buckets) in self.payers().take(at) {
            buckets.of(measure).give_back(cost, now);
        }
        Err(self.refusal(empty))
    }

    fn refusal(&self, (payer, measure, wait): Empty) -> Rejection {
        Rejection::Throttled {
            over: Over::Rate(payer, measure),
            retry_after: wait,
            as_unavailable: self.as_unavailable,
        }
    }

    /// What was read is on its way no more: how much that was.
    fn have_arrived(&mut self) -> u64 {
        let bytes = std::mem::take(&mut self.arriving_bytes);
        for (_, buckets) in self.payers() {
            buckets.of(Measure::Bytes).arrived(bytes);
        }
        bytes
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        // A body that failed by itself has cost what was read of it.
        let bytes = self.have_arrived();
        if bytes > 0 {
            let now = now();
            for (_, buckets) in self.payers() {
                buckets.of(Measure::Bytes).charge(bytes, now);
            }
        }
    }
}

fn limited(payer: Payer, buckets: Option<&Arc<Buckets>>) -> Option<(Payer, Arc<Buckets>)> {
    let buckets = buckets.filter(|buckets| buckets.is_limited())?;
    Some((payer, Arc::clone(buckets)))
}

fn now() -> Moment {
    Moment(clock::steady_ns())
}
