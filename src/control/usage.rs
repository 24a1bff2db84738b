//! Usage as it comes from gateways: one report at a time over all of them, so that a token change waits for one short
//! transaction at most, and pruned on the way.

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    sync::{Mutex, mpsc},
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tonic::Status;
use tracing::{error, warn};

use super::{
    Control, Error,
    feed::{STALL_MAX, encoded},
    record,
    store::{Clocks, Filed, Step},
};
use crate::rpc::feed::{Usage, UsageAcknowledge, from_control::Message};

/// How often old buckets are looked for.
const PRUNE_EVERY: Duration = Duration::from_secs(60);

/// Held while a report is applied, and as long again: usage takes half of the store's writer at most.
#[derive(Default)]
pub(super) struct Desk {
    pruned_at: Mutex<Option<Instant>>,
}

/// Applies what comes in `reports`, and acknowledges it once it is on disk.
pub(super) async fn file_all(
    control: &Control,
    gateway: &str,
    mut reports: mpsc::Receiver<Usage>,
    outbox: &mpsc::Sender<Result<Bytes, Status>>,
) -> Result<Infallible, Status> {
    let mut prune = interval(PRUNE_EVERY);
    prune.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let desk = &control.inner.usage;
    loop {
        tokio::select! {
            Some(report) = reports.recv() => match desk.file(control, gateway, report).await {
                Ok(applied) => {
                    let message = encoded(Message::UsageAcknowledge(applied));
                    // A gateway that doesn't read is cut by whoever sends it deltas.
                    let _ = timeout(STALL_MAX, outbox.send(Ok(message))).await;
                }
                // Not acknowledged, so it comes again.
                Err(error) => error!(%error, gateway, "usage can't be stored"),
            },
            _ = prune.tick() => if let Err(error) = desk.prune(control).await {
                warn!(%error, "old usage can't be deleted");
            },
        }
    }
}

// === impl Desk ===

impl Desk {
    async fn file(
        &self,
        control: &Control,
        gateway: &str,
        usage: Usage,
    ) -> Result<UsageAcknowledge, Error> {
        let clocks = Clocks {
            sent_at: usage.sent_at,
            sent_at_ms: usage.sent_at_ms,
            heard_at: record::now(),
        };
        let (report, left_out) = usage.into_model();
        let applied = UsageAcknowledge {
            epoch: report.epoch,
            sequence: report.sequence,
        };
        if report.epoch == 0 || report.sequence == 0 {
            warn!(
                gateway,
                "a gateway reports usage without a number: it is left out"
            );
            return Ok(applied);
        }
        let held = self.pruned_at.lock().await;
        let began = Instant::now();
        let filed = control.inner.store.file_usage(&report, clocks).await?;
        if let Filed::Applied { unknown } = filed
            && unknown + left_out.tokens > 0
        {
            warn!(
                gateway,
                unknown,
                impossible = left_out.tokens,
                "a gateway reports usage of tokens that there are not, or that can't be: it is left out"
            );
        }
        sleep(began.elapsed()).await;
        drop(held);
        Ok(applied)
    }

    /// Deletes what is past its time, a few rows at a time.
    async fn prune(&self, control: &Control) -> Result<(), Error> {
        let (store, config) = (&control.inner.store, &control.inner.config);
        let due = |at: &Option<Instant>| at.is_none_or(|at| at.elapsed() >= PRUNE_EVERY);
        if !due(&*self.pruned_at.lock().await) {
            return Ok(());
        }
        let before = |keep: Duration| {
            let keep = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
            record::now().saturating_sub(keep)
        };
        for (step, keep) in [
            (Step::Minute, config.keep_usage_minutes),
            (Step::Hour, config.keep_usage_hours),
            (Step::Day, config.keep_usage_days),
        ] {
            loop {
                let mut held = self.pruned_at.lock().await;
                *held = Some(Instant::now());
                let began = Instant::now();
                if !store.prune_usage(step, before(keep)).await? {
                    break;
                }
                sleep(began.elapsed()).await;
            }
        }
        // As long as the longest of what they were counted into: a gateway that was away for so long is a new one.
        store
            .prune_usage_epochs(before(config.keep_usage_days))
            .await?;
        store.prune_answers().await
    }
}
