//! Usage: what each token's requests come to, counted by workers, kept on disk, told to the control plane exactly once.
//!
//! ```text
//!  worker    Meter     one page of counters, its own; hardly anybody else wants its lock              meter
//!    |  each second the page is swapped for an empty one
//!  collector Pending   sums by minute and token; a minute becomes reports of a few hundred tokens      pending
//!    |  all of it is written down and synced before a report may be sent                              kept
//!  follower  Reports   one report on its way at a time, until it is acknowledged                       collector
//! ```
//!
//! *Why deltas.* A report says what was counted since the last one, not a total: totals would make the control plane
//! remember every token of every gateway to tell the difference. It remembers one row per epoch, which is a process of a gateway, instead.
//!
//! *Why it is exact.* What is counted is in one place at a time: a page, a minute's sum, or a report. A report has its
//! number before it is written down and is written down before it is sent, so that whoever starts again on the same disk
//! sends the same report under the same number, and the control plane knows it. One report on its way at a time: the
//! number of the last one applied says everything there is to know of those before.
//!
//! *What may be lost.* A graceful stop loses nothing. SIGKILL and power cuts lose what was counted since the file was
//! last written: [`Config::usage_every`](super::Config::usage_every) and a second ago at most. Nothing is counted twice.
//!
//! *What it costs.* On a request's way three uncontended locks and three look-ups, no allocation once a page has its size;
//! see `benches/usage.rs`. Memory: a page holds the tokens of one second, the sums one entry per token used since the last
//! acknowledgement and minute, and minutes are merged when that is much: with the control plane away for days, one entry
//! per token. Only tokens that the table knows are counted, so nobody who invents tokens makes it grow.

mod meter;
mod accepted;
mod pending;
mod kept;
mod collector;

pub(super) use accepted::Acceptance;
pub use collector::{Reports, Usage};
pub use meter::Meter;

#[cfg(test)]
mod tests;
