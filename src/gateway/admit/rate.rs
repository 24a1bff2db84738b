//! Rates: what a request pays from the buckets of its token, of its account, and of the main account that this one draws on.
//!
//! Paid is a request and its announced bytes before the body, the rest once the body is in and counted. What is refused here pays
//! nothing, so that what passes is what the rates say; a body that fails by itself has cost its bytes.

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
    paid: Paid,
    read_bytes: u64,
    as_unavailable: bool,
}

/// Taken from each payer.
#[derive(Clone, Copy, Debug, Default)]
struct Paid([u64; 3]);

/// The refusal of a bucket: which, and when something will be in it.
type Empty = (Payer, Measure, Duration);

// === impl Charge ===

impl Charge {
    /// Pays for the request and the bytes that it announces, if nothing that it pays from is empty.
    pub(super) fn enter(caller: &Caller, announced_bytes: Option<u64>) -> Result<Self, Rejection> {
        let account = &caller.account;
        let mut charge = Self {
            payers: [
                limited(Payer::Token, caller.buckets.as_ref()),
                limited(Payer::Account, Some(&account.buckets)),
                limited(Payer::MainAccount, account.main_buckets.as_ref()),
            ],
            paid: Paid::default(),
            read_bytes: 0,
            as_unavailable: account.record.limits.remote_write_throttle_as_unavailable,
        };
        if charge.is_free() {
            return Ok(charge);
        }
        let now = Moment(clock::steady_ns());
        charge.all_have_something(now)?;
        charge.pay(Measure::Requests, 1, now)?;
        charge.pay(Measure::Bytes, announced_bytes.unwrap_or(0), now)?;
        Ok(charge)
    }

    /// So many more bytes are read.
    #[inline]
    pub(super) fn read(&mut self, bytes: u64) {
        self.read_bytes += bytes;
    }

    /// Pays for a whole body what is not paid yet.
    pub(super) fn settle(&mut self, read: Tally) -> Result<(), Rejection> {
        if self.is_free() {
            return Ok(());
        }
        let now = Moment(clock::steady_ns());
        self.read_bytes = read.bytes;
        self.pay(
            Measure::Bytes,
            read.bytes.saturating_sub(self.paid.of(Measure::Bytes)),
            now,
        )?;
        self.pay(Measure::Items, read.items, now)
    }

    /// Takes it all back, as if the request had never come.
    pub(super) fn give_back(mut self) {
        self.take_back();
    }

    fn is_free(&self) -> bool {
        self.payers.iter().all(Option::is_none)
    }

    fn payers(&self) -> impl Iterator<Item = &(Payer, Arc<Buckets>)> {
        self.payers.iter().flatten()
    }

    /// A body that its size doesn't tell of is read only while there is something to pay it from.
    fn all_have_something(&mut self, now: Moment) -> Result<(), Rejection> {
        let waits = self.payers().flat_map(|(payer, buckets)| {
            Measure::ALL.map(|measure| (*payer, measure, buckets.of(measure).wait(0, now)))
        });
        match waits.max_by_key(|(.., wait)| *wait) {
            Some(longest) if !longest.2.is_zero() => Err(self.refuse(longest)),
            _ => Ok(()),
        }
    }

    /// From each payer, or from none.
    fn pay(&mut self, measure: Measure, cost: u64, now: Moment) -> Result<(), Rejection> {
        if cost == 0 {
            return Ok(());
        }
        let paid = self.paid.of(measure);
        let mut empty = None;
        for (at, (payer, buckets)) in self.payers().enumerate() {
            if let Err(wait) = buckets.of(measure).pay(cost, paid, now) {
                empty = Some((at, (*payer, measure, wait)));
                break;
            }
        }
        let Some((at, empty)) = empty else {
            self.paid.0[measure.index()] += cost;
            return Ok(());
        };
        for (_, buckets) in self.payers().take(at) {
            buckets.of(measure).give_back(cost);
        }
        Err(self.refuse(empty))
    }

    fn refuse(&mut self, (payer, measure, wait): Empty) -> Rejection {
        self.take_back();
        Rejection::Throttled {
            over: Over::Rate(payer, measure),
            retry_after: wait,
            as_unavailable: self.as_unavailable,
        }
    }

    /// Nobody is left to pay.
    fn take_back(&mut self) {
        for (_, buckets) in self.payers.iter_mut().filter_map(Option::take) {
            for measure in Measure::ALL {
                buckets.of(measure).give_back(self.paid.of(measure));
            }
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let paid = self.paid.of(Measure::Bytes);
        if self.is_free() || self.read_bytes == paid {
            return;
        }
        let now = Moment(clock::steady_ns());
        for (_, buckets) in self.payers() {
            let bucket = buckets.of(Measure::Bytes);
            bucket.give_back(paid.saturating_sub(self.read_bytes));
            bucket.charge(self.read_bytes.saturating_sub(paid), now);
        }
    }
}

fn limited(payer: Payer, buckets: Option<&Arc<Buckets>>) -> Option<(Payer, Arc<Buckets>)> {
    let buckets = buckets.filter(|buckets| buckets.is_limited())?;
    Some((payer, Arc::clone(buckets)))
}

// === impl Paid ===

impl Paid {
    const fn of(&self, measure: Measure) -> u64 {
        self.0[measure.index()]
    }
}
