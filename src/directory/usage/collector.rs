//! The thread that gathers what workers have counted, keeps it on disk and hands reports to whoever follows the feed.

use std::{
    collections::HashSet,
    fmt, io,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::{
    sync::{oneshot, watch},
    task, time,
};
use tracing::{error, info};

use super::{
    accepted::{Acceptance, Accepted},
    kept::Kept,
    meter::{Meter, Page},
    pending::Pending,
};
use crate::{
    clock,
    model::{AccountId, TokenId, UsageReport},
};

/// A page holds the tokens of so long, and a token's last use is known to it.
const GATHER_EVERY: Duration = Duration::from_secs(1);

/// Acknowledgements and orders that wait for the thread. One report is on its way at a time, so there are few; what finds
/// no room is an acknowledgement that comes again with the report.
const MESSAGES_MAX: usize = 64;

/// Between two looks at whether everything is told.
const FINISH_POLL: Duration = Duration::from_millis(10);

enum Message {
    Acknowledged {
        epoch: u64,
        sequence: u64,
    },
    /// Gather and write down; says whether everything is acknowledged.
    Flush(oneshot::Sender<bool>),
    Stop,
}

/// What a gateway counts, from its workers to the control plane.
pub struct Usage {
    accepted: Accepted,
    reports: Reports,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// The follower's end: the report to send, and the word that it is applied.
#[derive(Clone)]
pub struct Reports {
    pub(in crate::directory) first: watch::Receiver<Option<Arc<UsageReport>>>,
    told: SyncSender<Message>,
    accepted: Accepted,
}

struct Collector {
    accepted: Accepted,
    receiver: Receiver<Message>,
    first: watch::Sender<Option<Arc<UsageReport>>>,
    pending: Pending,
    kept: Kept,
    every: Duration,
    spare: Page,
    gather_at: Instant,
    written_at: Instant,
    /// What is on disk is not what is pending.
    is_changed: bool,
    /// Reports are on disk, and may be sent.
    is_durable: bool,
    has_failed: bool,
}

// === impl Usage ===

impl Usage {
    /// Takes what an earlier process left in `folder`, and starts the thread that reports `every` so often.
    ///
    /// # Errors
    /// The folder can't be used; no randomness, or no thread, to be had.
    pub fn start(folder: &Path, every: Duration) -> io::Result<Self> {
        let epoch = getrandom::u64().map_err(io::Error::other)?.max(1);
        let mut pending = Pending::new(epoch);
        let kept = Kept::open(folder)?;
        kept.load(&mut pending)?;
        if let Some(report) = pending.first() {
            info!(
                epoch = report.epoch,
                sequence = report.sequence,
                "usage of an earlier start is still to be told"
            );
        }
        let (told, receiver) = mpsc::sync_channel(MESSAGES_MAX);
        let (sender, first) = watch::channel(pending.first().cloned());
        let accepted = Accepted::default();
        for report in pending.each() {
            for (token, usage) in &report.tokens {
                if usage.last_accepted_ms != 0 {
                    accepted.restore(*token, usage.last_accepted_ms);
                }
            }
        }
        let now = Instant::now();
        let collector = Collector {
            accepted: accepted.clone(),
            receiver,
            first: sender,
            is_changed: !pending.is_empty(),
            pending,
            kept,
            every,
            spare: Page::default(),
            gather_at: now,
            written_at: now,
            is_durable: true,
            has_failed: false,
        };
        let thread = thread::Builder::new()
            .name("usage".into())
            .spawn(|| collector.run())?;
        Ok(Self {
            reports: Reports {
                first,
                told,
                accepted: accepted.clone(),
            },
            accepted,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Counters for one more worker.
    pub fn meter(&self) -> Meter {
        let meter = Meter::default();
        self.accepted.add(meter.clone());
        meter
    }

    /// For the follower.
    pub fn reports(&self) -> Reports {
        self.reports.clone()
    }

    /// Writes down what is counted until now; whether everything is acknowledged.
    pub async fn flush(&self) -> bool {
        let (reply, replied) = oneshot::channel();
        let sent = self.reports.told.try_send(Message::Flush(reply));
        sent.is_ok() && replied.await.unwrap_or(false)
    }

    /// Waits until everything is acknowledged, or for so long; whether it is.
    pub async fn finish(&self, within: Duration) -> bool {
        let told = async {
            while !self.flush().await {
                time::sleep(FINISH_POLL).await;
            }
        };
        time::timeout(within, told).await.is_ok()
    }

    /// Writes what is left and ends; it is told after the next start.
    pub async fn close(&self) {
        let told = self.reports.told.clone();
        let thread = self.take_thread();
        let ended = task::spawn_blocking(move || {
            let _ = told.send(Message::Stop);
            thread.is_none_or(|thread| thread.join().is_ok())
        });
        if !ended.await.unwrap_or(false) {
            error!("the thread that gathers usage has died");
        }
    }

    fn take_thread(&self) -> Option<JoinHandle<()>> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        thread.take()
    }
}

// === impl Reports ===

impl Reports {
    /// The control plane has applied that report, now or before.
    pub(in crate::directory) fn acknowledged(&self, epoch: u64, sequence: u64) {
        let _ = self
            .told
            .try_send(Message::Acknowledged { epoch, sequence });
    }
}

impl Reports {
    /// When a token was last accepted by this process, or by an earlier one that could not tell it: milliseconds by
    /// [`clock::steady_ms`].
    pub(in crate::directory) fn accepted(&self, token: TokenId) -> Option<u64> {
        self.accepted.of(token)
    }

    /// Of each of those accounts the token that was accepted last; others may be among them.
    pub(in crate::directory) fn accepted_of(
        &self,
        accounts: &HashSet<AccountId>,
    ) -> Vec<(TokenId, Acceptance)> {
        self.accepted.of_accounts(accounts)
    }

    /// The tokens that were accepted last, of whatever account.
    pub(in crate::directory) fn accepted_latest(&self) -> Vec<(TokenId, Acceptance)> {
        self.accepted.latest()
    }
}

impl fmt::Debug for Reports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reports")
    }
}

// === impl Collector ===

impl Collector {
    fn run(mut self) {
        loop {
            let wait = self.gather_at.saturating_duration_since(Instant::now());
            match self.receiver.recv_timeout(wait) {
                Ok(Message::Acknowledged { epoch, sequence }) => {
                    if let Some(report) = self.pending.acknowledged(epoch, sequence) {
                        self.accepted.told(&report);
                        self.is_changed = true;
                    }
                }
                Ok(Message::Flush(reply)) => {
                    self.gather();
                    self.write();
                    self.publish();
                    let _ = reply.send(self.pending.is_empty());
                }
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if Instant::now() >= self.gather_at {
                self.gather();
            }
            if self.is_changed
                && (self.written_at.elapsed() >= self.every || self.pending.is_behind())
            {
                self.gather();
                self.write();
            }
            self.publish();
        }
        self.gather();
        self.write();
    }

    /// Takes every worker's page.
    fn gather(&mut self) {
        let now = clock::wall().as_secs();
        let (pending, is_changed) = (&mut self.pending, &mut self.is_changed);
        self.accepted.swap(&mut self.spare, |page| {
            *is_changed = true;
            page.drain(now, |token, usage| pending.add(now, token, usage));
        });
        self.pending.coarsen();
        self.gather_at = Instant::now() + GATHER_EVERY.min(self.every);
    }

    /// Everything to disk; a minute becomes reports as soon as there are none before it.
    fn write(&mut self) {
        if self.pending.is_sealable() {
            self.pending.seal();
            self.is_durable = false;
            self.is_changed = true;
        }
        if !self.is_changed {
            return;
        }
        self.written_at = Instant::now();
        match self.kept.write(&self.pending) {
            Ok(()) => {
                self.is_changed = false;
                self.is_durable = true;
                self.has_failed = false;
            }
            Err(error) => {
                if !self.has_failed {
                    error!(%error, "usage can't be kept on disk: it stays in memory, and is not told until it can");
                }
                self.has_failed = true;
            }
        }
    }

    /// A report that is not on disk must not be sent: after a kill its counts would be told under another number.
    fn publish(&self) {
        let first = self.pending.first().filter(|_| self.is_durable).cloned();
        self.first.send_if_modified(|shown| {
            let is_same = match (&*shown, &first) {
                (None, None) => true,
                (Some(shown), Some(first)) => Arc::ptr_eq(shown, first),
                _ => false,
            };
            *shown = first;
            !is_same
        });
    }
}
