//! Usage on its way over one connection: the same report until it is acknowledged, then the next.

use std::time::Duration;

use futures_util::Stream;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    clock,
    directory::usage::Reports,
    model::usage::REPORT_TOKENS_MAX,
    rpc::feed::{FromGateway, Usage, UsageAcknowledge, from_gateway::Message},
};

/// A report that nobody has acknowledged for so long is sent again.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

/// One connection's part in telling usage.
pub(super) struct Reporting {
    /// `None`: nothing is told over this connection.
    reports: Option<Reports>,
    outbox: mpsc::Sender<FromGateway>,
    /// When a report that was sent is sent again.
    again_at: Option<Instant>,
}

// === impl Reporting ===

impl Reporting {
    /// With what it will send. It sends nothing before it was welcomed.
    pub(super) fn new(reports: Option<Reports>) -> (Self, impl Stream<Item = FromGateway>) {
        let (outbox, messages) = mpsc::channel(1);
        let reporting = Self {
            reports,
            outbox,
            again_at: None,
        };
        (reporting, ReceiverStream::new(messages))
    }

    /// The control plane takes so many tokens in a report. One that takes fewer than ours have, or none, is told nothing:
    /// what is counted waits for another.
    pub(super) fn welcomed(&mut self, tokens_max: u32) {
        if (tokens_max as usize) < REPORT_TOKENS_MAX {
            self.reports = None;
        }
        if let Some(reports) = &mut self.reports {
            // What waits is to be sent over this connection, whatever was seen over the last one.
            reports.first.mark_changed();
        }
    }

    /// Until there is a report to send.
    pub(super) async fn due(&mut self) {
        let Some(reports) = &mut self.reports else {
            return std::future::pending().await;
        };
        let again = async {
            match self.again_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = reports.first.changed() => if changed.is_err() {
                // Nobody counts any more.
                self.reports = None;
            },
            () = again => {}
        }
    }

    /// Sends the report that is next.
    pub(super) fn send(&mut self) {
        self.again_at = None;
        let Some(reports) = &mut self.reports else {
            return;
        };
        let Some(report) = reports.first.borrow_and_update().clone() else {
            return;
        };
        let mut usage = Usage::of(&report, clock::wall().as_secs());
        usage.sent_at_ms = clock::steady_ms();
        let message = FromGateway {
            message: Some(Message::Usage(usage)),
        };
        // One that finds no room goes later: a connection that takes nothing is not to be pressed.
        let _ = self.outbox.try_send(message);
        self.again_at = Some(Instant::now() + AGAIN_AFTER);
    }

    /// The control plane has it.
    pub(super) fn acknowledged(&mut self, applied: &UsageAcknowledge) {
        if let Some(reports) = &self.reports {
            reports.acknowledged(applied.epoch, applied.sequence);
        }
    }
}
