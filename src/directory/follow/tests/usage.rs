//! Usage beside the deltas: told to whoever takes it, the same report until it is acknowledged.

use super::*;
use crate::{
    directory::Usage,
    model::{Tally, TokenId, usage::REPORT_TOKENS_MAX},
    rpc::feed::{self, UsageAcknowledge},
};

impl Connection {
    async fn welcome_with_usage(&self, usage_tokens_max: u32) {
        self.tell(Told::Welcome(Welcome {
            store: "a".into(),
            digest_key_id: key().id,
            digest_key: key().bytes().to_vec(),
            heartbeat_ms: 1_000,
            usage_tokens_max,
            ..Welcome::default()
        }))
        .await;
    }

    /// The next report; acknowledgements of revisions are passed over.
    async fn report(&mut self) -> feed::Usage {
        loop {
            let next = time::timeout(Duration::from_secs(10), self.said.next()).await;
            let said = next
                .expect("a report in time")
                .expect("open")
                .expect("whole");
            if let Some(Said::Usage(usage)) = said.message {
                return usage;
            }
        }
    }

    async fn is_told_nothing(&mut self) {
        let told = time::timeout(Duration::from_millis(200), self.report()).await;
        assert!(told.is_err(), "{told:?}");
    }

    async fn take(&mut self) -> feed::Usage {
        let report = self.report().await;
        let applied = UsageAcknowledge {
            epoch: report.epoch,
            sequence: report.sequence,
        };
        self.tell(Told::UsageAcknowledge(applied)).await;
        report
    }
}

fn items(report: &feed::Usage) -> u64 {
    report.tokens.iter().map(|token| token.items).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_is_told_again_on_every_connection_until_it_is_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder");
    let every = Duration::from_millis(10);
    let usage = Usage::start(&folder.path().join("usage"), every).expect("starts");
    let mut world = World::start_with(
        &folder.path().join("directory"),
        Config::default(),
        Some(usage.reports()),
    );
    let meter = usage.meter();
    meter.settled(TokenId(1), Tally::new(3, 30), Tally::new(3, 30));
    let mut connection = world.accept().await;
    connection
        .welcome_with_usage(REPORT_TOKENS_MAX as u32)
        .await;
    let first = connection.report().await;
    assert_eq!((first.sequence, items(&first)), (1, 3));
    meter.settled(TokenId(2), Tally::new(4, 40), Tally::new(4, 40));
    connection.is_told_nothing().await;
    drop(connection);

    let mut connection = world.accept().await;
    connection.welcome_with_usage(1_000).await;
    let again = connection.take().await;
    let unsent = |report: &feed::Usage| feed::Usage {
        sent_at: 0,
        sent_at_ms: 0,
        ..report.clone()
    };
    assert_eq!(unsent(&again), unsent(&first));
    let next = connection.take().await;
    assert_eq!(
        (next.epoch, next.sequence, items(&next)),
        (first.epoch, 2, 4)
    );
    assert!(usage.finish(Duration::from_secs(10)).await);
    connection.is_told_nothing().await;
    world.stop().await;
    usage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_that_does_not_take_usage_is_told_none_and_it_waits_for_another() {
    let folder = tempfile::tempdir().expect("a folder");
    let every = Duration::from_millis(5);
    let usage = Usage::start(&folder.path().join("usage"), every).expect("starts");
    let mut world = World::start_with(
        &folder.path().join("directory"),
        Config::default(),
        Some(usage.reports()),
    );
    let meter = usage.meter();
    for tokens_max in [0, REPORT_TOKENS_MAX as u32 - 1] {
        let mut connection = world.accept().await;
        connection.welcome_with_usage(tokens_max).await;
        for _ in 0..20 {
            meter.settled(TokenId(1), Tally::new(1, 10), Tally::default());
            usage.flush().await;
        }
        connection.is_told_nothing().await;
        drop(connection);
    }
    let kept = std::fs::metadata(folder.path().join("usage/usage.pending")).expect("kept");
    assert!(kept.len() < 1_000, "{} bytes of one token", kept.len());
    let mut connection = world.accept().await;
    connection
        .welcome_with_usage(REPORT_TOKENS_MAX as u32)
        .await;
    let mut told = 0;
    while told < 40 {
        told += items(&connection.take().await);
    }
    assert_eq!(told, 40);
    assert!(usage.finish(Duration::from_secs(10)).await);
    world.stop().await;
    usage.close().await;
}
