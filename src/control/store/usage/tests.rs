//! Sums, counts that were never counted, and what is forgotten in time.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    control::{
        plan::Plan,
        record::Settings,
        store::{NewAccount, NewToken},
        tests::stores,
    },
    model::{Signal, Tally, TokenId, usage::Sender},
};

const NOW: Millis = 1_800_000_000_000;
const TOKENS: u64 = 6;

/// Two accounts with three tokens each, of every signal.
async fn stocked(folder: &std::path::Path) -> Store {
    let store = stores::open(folder, 100).await;
    let mut commit = store.begin("test").await.expect("begins");
    for name in ["a", "b"] {
        let account = NewAccount {
            name: name.into(),
            parent: None,
            plan: Plan::Unlimited,
            accessible: true,
            set: Settings::default(),
        };
        let account = commit.insert_account(account).await.expect("inserts");
        for signal in Signal::ALL {
            let new = NewToken {
                account: account.account.id.0,
                signal,
                name: "t".into(),
                expires_at: 0,
            };
            commit.insert_token(new).await.expect("inserts");
        }
    }
    commit.finish().await.expect("commits");
    store
}

fn usage(items: u64) -> TokenUsage {
    TokenUsage {
        requests: 1,
        received: Tally::new(items, items * 7),
        delivered: Tally::new(items / 2, items),
        last_used_at: NOW / 1000,
        last_accepted_ms: 0,
        refused: vec![((items % 28) as u8, items % 5)],
        senders: Vec::new(),
    }
}

fn report(sequence: u64, age_seconds: u64, tokens: &[(u64, u64)]) -> UsageReport {
    let mut report = UsageReport {
        epoch: u64::MAX,
        sequence,
        at: NOW / 1000 - age_seconds,
        ..UsageReport::default()
    };
    for (token, items) in tokens {
        let entry = report.tokens.entry(TokenId(*token)).or_default();
        entry.merge(usage(*items));
    }
    report
}

fn clocks() -> Clocks {
    Clocks {
        sent_at: NOW / 1000,
        sent_at_ms: NOW,
        heard_at: NOW,
    }
}

async fn file(store: &Store, report: &UsageReport) -> Filed {
    let filed = store.file_usage(report, clocks()).await;
    filed.expect("stored")
}

fn all(account: u64, step: Step, group: Group) -> Select {
    Select {
        account,
        step,
        from: 0,
        to: 2 * NOW,
        signal: None,
        token: None,
        group,
        sight: None,
        after: None,
        limit: u32::MAX,
    }
}

async fn series(store: &Store, select: &Select) -> Vec<Series> {
    store.usage(select).await.expect("read")
}

/// Sums over time, by whatever they are told apart by.
fn summed(rows: &[Series]) -> BTreeMap<u64, ([u64; 5], BTreeMap<String, u64>)> {
    let mut sums = BTreeMap::<_, ([u64; 5], BTreeMap<String, u64>)>::new();
    for row in rows {
        let (counts, refused) = sums.entry(row.at.key).or_default();
        let new = [
            row.requests,
            row.items,
            row.bytes,
            row.delivered_items,
            row.delivered_bytes,
        ];
        for (sum, new) in counts.iter_mut().zip(new) {
            *sum += new;
        }
        for (reason, requests) in &row.refused {
            *refused.entry(reason.clone()).or_default() += requests;
        }
    }
    sums
}

fn filed_and_summed(reports: Vec<(u64, Vec<(u64, u64)>)>) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        let store = stocked(folder.path()).await;
        let mut items = 0;
        for (index, (age, tokens)) in reports.iter().enumerate() {
            let report = report(index as u64 + 1, *age, tokens);
            prop_assert_eq!(file(&store, &report).await, Filed::Applied { unknown: 0 });
            // However often it comes.
            prop_assert_eq!(file(&store, &report).await, Filed::Before);
            items += tokens.iter().map(|(_, items)| items).sum::<u64>();
        }
        let mut found = 0;
        for account in [1, 2] {
            for group in [Group::None, Group::Signal, Group::Token] {
                let minutes = summed(&series(&store, &all(account, Step::Minute, group)).await);
                for step in [Step::Hour, Step::Day] {
                    let longer = series(&store, &all(account, step, group)).await;
                    prop_assert!(longer.iter().all(|row| row.at.start % step.millis() == 0));
                    prop_assert_eq!(&summed(&longer), &minutes);
                }
                if group == Group::None {
                    found += minutes.values().map(|(counts, _)| counts[1]).sum::<u64>();
                }
            }
        }
        prop_assert_eq!(found, items);
        Ok(())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn minutes_hours_and_days_sum_up_to_the_same(
        reports in prop::collection::vec(
            (0u64..3_000_000, prop::collection::vec((1..=TOKENS, 0u64..1_000_000), 0..12)), 1..12)
    ) {
        filed_and_summed(reports)?;
    }
}

#[tokio::test]
async fn old_reports_strangers_tokens_and_absurd_sums_change_nothing_they_should_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = stocked(folder.path()).await;
    let head = store.head().await.expect("read");
    assert_eq!(
        file(&store, &report(5, 0, &[(1, 10)])).await,
        Filed::Applied { unknown: 0 }
    );
    for sequence in [5, 4, 1] {
        let late = report(sequence, 0, &[(1, 1_000)]);
        assert_eq!(file(&store, &late).await, Filed::Before, "{sequence}");
    }
    // Other epochs count for themselves.
    for epoch in [3, 4] {
        let mut other = report(1, 0, &[(1, 1)]);
        other.epoch = epoch;
        assert_eq!(file(&store, &other).await, Filed::Applied { unknown: 0 });
    }
    let strangers = report(6, 0, &[(1, 1), (999, 7), (u64::MAX, 7)]);
    assert_eq!(
        file(&store, &strangers).await,
        Filed::Applied { unknown: 2 }
    );
    let rows = series(&store, &all(1, Step::Day, Group::None)).await;
    assert_eq!((rows.len(), rows[0].items), (1, 13));
    // Sums stop where JSON's numbers do.
    let most = (1u64 << 53) - 1;
    for sequence in 7..10 {
        let mut absurd = report(sequence, 0, &[(1, 0)]);
        absurd.tokens.entry(TokenId(1)).or_default().received = Tally::new(u64::MAX, most - 1);
        assert_eq!(file(&store, &absurd).await, Filed::Applied { unknown: 0 });
    }
    let rows = series(&store, &all(1, Step::Hour, Group::Token)).await;
    assert_eq!((rows[0].items, rows[0].bytes), (most, most));
    assert_eq!(
        store.head().await.expect("read"),
        head,
        "usage takes no revision"
    );
}

#[tokio::test]
async fn a_series_comes_in_pages_filtered_and_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = stocked(folder.path()).await;
    for (index, age) in [30, 90, 150, 4_000, 90_000].into_iter().enumerate() {
        let tokens: Vec<_> = (1..=TOKENS).map(|token| (token, token * 10 + 1)).collect();
        file(&store, &report(index as u64 + 1, age, &tokens)).await;
    }
    let whole = series(&store, &all(1, Step::Minute, Group::Token)).await;
    assert_eq!(whole.len(), 15);
    let mut paged = Vec::new();
    let mut select = Select {
        limit: 4,
        ..all(1, Step::Minute, Group::Token)
    };
    loop {
        let page = series(&store, &select).await;
        assert!(page.len() <= 4);
        let Some(last) = page.last() else { break };
        select.after = Some(last.at);
        paged.extend(page);
    }
    assert_eq!(paged, whole);
    let logs = Select {
        signal: Some(Signal::Logs),
        ..all(1, Step::Day, Group::None)
    };
    let logs = series(&store, &logs).await;
    assert_eq!(logs.iter().map(|row| row.items).sum::<u64>(), 55);
    let third = Select {
        token: Some(3),
        from: NOW - 1_000_000,
        ..all(1, Step::Minute, Group::Signal)
    };
    let third = series(&store, &third).await;
    assert_eq!(third.len(), 3);
    assert!(
        third
            .iter()
            .all(|row| row.signal == Some(Signal::Traces) && row.items == 31)
    );
    assert!(
        series(
            &store,
            &Select {
                token: Some(4),
                ..all(1, Step::Day, Group::None)
            }
        )
        .await
        .is_empty()
    );
    let refused: u64 = whole.iter().flat_map(|row| row.refused.values()).sum();
    assert_eq!(refused, 15, "one for each");
}

#[tokio::test]
async fn what_is_past_its_time_goes_a_few_rows_at_a_time_and_the_rest_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = stocked(folder.path()).await;
    let tokens: Vec<_> = (1..=TOKENS).map(|token| (token, 5)).collect();
    for index in 0..400 {
        file(&store, &report(index + 1, index * 60, &tokens)).await;
    }
    let before = series(&store, &all(1, Step::Hour, Group::Token)).await;
    let mut rounds = 0;
    while store
        .prune_usage(Step::Minute, NOW - 60_000 * 10)
        .await
        .expect("prunes")
    {
        rounds += 1;
    }
    assert_eq!(rounds, 6, "2,334 rows of each table, 1,000 a transaction");
    let minutes = series(&store, &all(1, Step::Minute, Group::None)).await;
    assert_eq!(minutes.len(), 11);
    assert_eq!(
        series(&store, &all(1, Step::Hour, Group::Token)).await,
        before
    );
    store.prune_usage_epochs(0).await.expect("prunes");
    assert_eq!(file(&store, &report(1, 0, &tokens)).await, Filed::Before);
    store
        .prune_usage_epochs(u64::MAX / 2)
        .await
        .expect("prunes");
    assert_eq!(
        file(&store, &report(1, 0, &tokens)).await,
        Filed::Applied { unknown: 0 }
    );
}

#[tokio::test]
async fn a_token_remembers_its_last_use_and_its_last_five_senders_by_our_clock() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = stocked(folder.path()).await;
    let sender = |n: u8, last_used_at| Sender {
        agent: format!("agent/{n}"),
        address: [10, 0, 0, n].into(),
        last_used_at,
    };
    // A gateway whose clock is a day ahead.
    let theirs = NOW / 1000 + 86_400;
    let clocks = Clocks {
        sent_at: theirs,
        sent_at_ms: theirs * 1000 + 7,
        heard_at: NOW,
    };
    for (sequence, senders) in [(1, 0..4), (2, 2..7)] {
        let mut report = report(sequence, 0, &[(1, 1)]);
        let usage = report.tokens.entry(TokenId(1)).or_default();
        usage.last_used_at = theirs - 100 + 10 * sequence;
        // The later report knows of an earlier acceptance.
        usage.last_accepted_ms = theirs * 1000 - 1_000 * sequence;
        for n in senders {
            usage.seen(sender(n, theirs - 100 + 10 * sequence + u64::from(n)));
        }
        let filed = store.file_usage(&report, clocks).await;
        assert_eq!(filed.expect("stored"), Filed::Applied { unknown: 0 });
    }
    let uses = store.token_uses(&[1, 2]).await.expect("read");
    assert_eq!(uses.keys().copied().collect::<Vec<_>>(), [1]);
    let used = &uses[&1];
    assert_eq!(used.last_used_at, NOW - 80_000);
    assert_eq!(used.last_accepted_at, NOW - 1_007);
    let seen: Vec<_> = used
        .senders
        .iter()
        .map(|it| (it.agent.as_str(), NOW - it.last_used_at))
        .collect();
    assert_eq!(
        seen,
        [
            ("agent/6", 74_000),
            ("agent/5", 75_000),
            ("agent/4", 76_000),
            ("agent/3", 77_000),
            ("agent/2", 78_000)
        ]
    );
}

#[tokio::test]
async fn reports_that_were_applied_under_names_of_gateways_are_known_by_their_epoch() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = stores::place(folder.path()).await;
    let mut connection = place.connect().await.expect("opens");
    let to = Some(18);
    let made = crate::control::store::open::migrate(&mut connection, to).await;
    made.expect("made");
    for (gateway, sequence) in [("before", 4), ("after", 7)] {
        query("INSERT INTO usage_reports (gateway, epoch, sequence, at) VALUES ($1, $2, $3, 1)")
            .bind(gateway)
            .bind(format!("{:016x}", u64::MAX))
            .bind(signed(sequence))
            .execute(&mut connection)
            .await
            .expect("written");
    }
    connection.close().await.expect("closed");
    let store = stocked(folder.path()).await;
    let before = report(7, 0, &[(1, 10)]);
    assert_eq!(file(&store, &before).await, Filed::Before);
    let next = report(8, 0, &[(1, 10)]);
    assert_eq!(file(&store, &next).await, Filed::Applied { unknown: 0 });
}
