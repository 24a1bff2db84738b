//! Works that commit together, and what becomes of the others when one of them fails.

use std::time::Duration;

use tokio::task::JoinHandle;

use super::{
    CallerIs, CallerRow, Commit, NewAccount, NewApiToken, NewToken, Store, counter,
    database::query, open,
};
use crate::{
    control::{
        Error,
        plan::Plan,
        publish::Published,
        record::{Settings, Who},
        scope::Scopes,
        terms::{Errand, Standing, Terms},
        tests::stores,
    },
    model::{Digest, Rates, Signal, TokenState},
};

struct Bench {
    folder: tempfile::TempDir,
    store: &'static Store,
}

#[derive(Clone, Copy)]
enum Work {
    /// Makes a token.
    Token,
    /// Makes a token, and is dropped.
    Dropped,
    /// Makes a token after a statement that failed, as if nothing had been said.
    Careless,
    /// Makes a token, and breaks what the commit needs.
    Breaking,
    /// Writes to the audit log alone.
    Reveal,
    /// Makes a token for whoever has the first API token.
    Asked,
    /// Revokes that API token.
    Ending,
}

impl Bench {
    /// A store with an account and a token, at revision 1.
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = &*Box::leak(Box::new(stores::open(folder.path(), 1000).await));
        // So that a busy machine doesn't part those who come together.
        store.stay_open(Duration::from_secs(60)).await;
        let mut commit = store.begin("test").await.expect("begun");
        let account = NewAccount {
            name: "a".to_owned(),
            parent: None,
            plan: Plan::Unlimited,
            accessible: true,
            set: Settings::default(),
        };
        commit.insert_account(account).await.expect("written");
        insert(&mut commit).await;
        commit.finish().await.expect("committed");
        Self { folder, store }
    }

    /// All of them come while another has the writer, which then makes a token, too.
    async fn together(&self, works: &[Work]) -> Vec<Result<Option<Published>, Error>> {
        let mut first = self.store.begin("test").await.expect("begun");
        insert(&mut first).await;
        let mut others = Vec::new();
        for &work in works {
            others.push(come(self.store, work));
            // So that they wait in this order.
            self.store.awaited(others.len()).await;
        }
        let mut outcomes = vec![first.finish().await.map(Some)];
        for other in others {
            outcomes.push(other.await.expect("no panic"));
        }
        outcomes
    }

    async fn tokens(&self) -> usize {
        let page = self.store.token_page(0, 1000).await.expect("read");
        page.len()
    }

    async fn head(&self) -> u64 {
        let head = self.store.head().await.expect("read");
        assert_eq!(self.store.publisher().head(), head);
        head
    }
}

async fn insert(commit: &mut Commit) {
    let new = NewToken {
        account: 1,
        signal: Signal::Logs,
        name: "x".to_owned(),
        expires_at: 0,
    };
    commit.insert_token(new).await.expect("written");
}

/// What whoever has the first API token asks for.
fn asked() -> Errand {
    let caller = CallerRow {
        is: CallerIs::ApiToken {
            id: 1,
            expires_at: 0,
        },
        home: None,
        scopes: Scopes::ALL,
        used_at: 0,
    };
    let standing = Standing {
        caller,
        is_for_stopped: false,
        place: None,
    };
    Errand {
        who: Who::from("api_token/1"),
        terms: Terms {
            standing: Some(standing),
            ..Terms::default()
        },
    }
}

fn come(store: &'static Store, work: Work) -> JoinHandle<Result<Option<Published>, Error>> {
    tokio::spawn(async move {
        let errand = match work {
            Work::Asked => asked(),
            _ => "test".into(),
        };
        let mut commit = store.begin(errand).await?;
        match work {
            Work::Reveal => {
                commit.reveal_token(1).await?;
                return commit.finish_unpublished().await.map(|()| None);
            }
            Work::Ending => {
                commit.revoke_api_token(1).await?;
                return commit.finish_unpublished().await.map(|()| None);
            }
            Work::Token | Work::Asked => insert(&mut commit).await,
            Work::Dropped => {
                insert(&mut commit).await;
                return Err(Error::Conflict("changed its mind".to_owned()));
            }
            Work::Careless => {
                let twice = "INSERT INTO counters (name, value) VALUES ('revision', 0)";
                let failed = query(twice).execute(commit.connection()?).await;
                assert!(failed.is_err());
                if !matches!(
                    commit.connection()?,
                    super::database::Connection::Postgres(_)
                ) {
                    insert(&mut commit).await;
                }
            }
            Work::Breaking => {
                insert(&mut commit).await;
                query("UPDATE counters SET name = 'lost' WHERE name = 'revision'")
                    .execute(commit.connection()?)
                    .await?;
            }
        }
        commit.finish().await.map(Some)
    })
}

fn revisions(outcomes: &[Result<Option<Published>, Error>]) -> Vec<Option<u64>> {
    let revision = |outcome: &Result<Option<Published>, Error>| match outcome {
        Ok(Some(published)) => Some(published.revision),
        _ => None,
    };
    outcomes.iter().map(revision).collect()
}

#[tokio::test]
async fn works_that_come_together_share_a_revision_and_a_delta() {
    let bench = Bench::new().await;
    let outcomes = bench.together(&[Work::Token, Work::Token]).await;
    assert_eq!(revisions(&outcomes), [Some(2), Some(2), Some(2)]);
    assert_eq!((bench.tokens().await, bench.head().await), (4, 2));
    let row = bench.store.token(4).await.expect("there");
    assert_eq!(row.revision, 2, "the row is stamped");
    assert_eq!(bench.store.verify_audit(None).await.expect("intact").0, 5);
}

#[tokio::test]
async fn a_work_that_is_dropped_rolls_back_alone() {
    let bench = Bench::new().await;
    let outcomes = bench
        .together(&[Work::Dropped, Work::Token, Work::Dropped])
        .await;
    assert_eq!(revisions(&outcomes), [Some(2), None, Some(2), None]);
    assert_eq!((bench.tokens().await, bench.head().await), (3, 2));
}

#[tokio::test]
async fn who_has_committed_does_not_wait_for_the_next_one() {
    let bench = Bench::new().await;
    // Nobody is left but one who was dropped: the first one's commit must not hang on him.
    let outcomes = tokio::time::timeout(Duration::from_secs(5), bench.together(&[Work::Dropped]));
    let outcomes = outcomes.await.expect("in time");
    assert_eq!(revisions(&outcomes), [Some(2), None]);
}

#[tokio::test]
async fn a_work_behind_a_failed_statement_never_takes_others_with_it() {
    let bench = Bench::new().await;
    let outcomes = bench.together(&[Work::Careless, Work::Token]).await;
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok(), "{outcomes:?}");
    // SQLite forgives the statement; PostgreSQL gives the work up.
    let tokens = 3 + usize::from(outcomes[1].is_ok());
    assert_eq!(bench.tokens().await, tokens);
}

#[tokio::test]
async fn what_ends_a_caller_stops_what_they_ask_for_behind_it_in_the_same_commit() {
    let bench = Bench::new().await;
    let mut commit = bench.store.begin("test").await.expect("begun");
    let new = NewApiToken {
        account: None,
        name: "first".to_owned(),
        scopes: Scopes::ALL,
        expires_at: 0,
    };
    let (row, _) = commit.insert_api_token(new, false).await.expect("written");
    assert_eq!(row.id, 1);
    commit.finish_unpublished().await.expect("committed");
    let outcomes = bench
        .together(&[Work::Asked, Work::Ending, Work::Asked, Work::Token])
        .await;
    assert_eq!(
        revisions(&outcomes),
        [Some(2), Some(2), None, None, Some(2)]
    );
    assert!(matches!(outcomes[2], Ok(None)), "{outcomes:?}");
    assert!(
        matches!(outcomes[3], Err(Error::CallerEnded)),
        "{outcomes:?}"
    );
    assert_eq!((bench.tokens().await, bench.head().await), (4, 2));
}

#[tokio::test]
async fn a_commit_that_fails_fails_for_everybody_and_publishes_nothing() {
    let bench = Bench::new().await;
    let outcomes = bench
        .together(&[Work::Token, Work::Breaking, Work::Reveal])
        .await;
    for outcome in &outcomes {
        assert!(matches!(outcome, Err(Error::Together(_))), "{outcome:?}");
    }
    assert_eq!((bench.tokens().await, bench.head().await), (1, 1));
    assert_eq!(bench.store.verify_audit(None).await.expect("intact").0, 2);
    let after = bench.together(&[Work::Token]).await;
    assert_eq!(revisions(&after), [Some(2), Some(2)]);
}

#[tokio::test]
async fn a_reveal_among_changes_is_in_the_audit_log_before_it_is_answered() {
    let bench = Bench::new().await;
    let outcomes = bench.together(&[Work::Reveal]).await;
    assert!(matches!(outcomes[1], Ok(None)));
    assert_eq!(bench.store.verify_audit(None).await.expect("intact").0, 4);
    let alone = come(bench.store, Work::Reveal).await.expect("no panic");
    assert!(matches!(alone, Ok(None)));
    assert_eq!(bench.store.verify_audit(None).await.expect("intact").0, 5);
    assert_eq!(bench.head().await, 2, "a reveal has no revision");
}

#[tokio::test]
async fn a_commit_whose_caller_has_gone_is_published_all_the_same() {
    let bench = Bench::new().await;
    let mut commit = bench.store.begin("test").await.expect("begun");
    insert(&mut commit).await;
    let mut head = bench.store.publisher().subscribe();
    let finishing = tokio::time::timeout(Duration::ZERO, commit.finish());
    drop(finishing.await);
    let seen = tokio::time::timeout(Duration::from_secs(5), head.wait_for(|head| *head == 2));
    seen.await.expect("in time").expect("open");
    assert_eq!(bench.tokens().await, 2);
}

#[tokio::test]
async fn a_store_that_closes_commits_what_is_open() {
    let bench = Bench::new().await;
    let mut first = bench.store.begin("test").await.expect("begun");
    insert(&mut first).await;
    let others: Vec<_> = (0..3).map(|_| come(bench.store, Work::Token)).collect();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let (finished, closed) = tokio::join!(first.finish(), bench.store.close());
    closed.expect("closed");
    let mut done = u64::from(finished.is_ok());
    for other in others {
        done += u64::from(other.await.expect("no panic").is_ok());
    }
    let mut connection = stores::place(bench.folder.path())
        .await
        .connect()
        .await
        .expect("opens");
    let made = counter(&mut connection, "token").await.expect("read");
    assert_eq!(
        made,
        1 + done,
        "what was answered is there, and nothing else"
    );
}

#[tokio::test]
async fn a_database_that_has_gone_back_is_not_written_to() {
    let bench = Bench::new().await;
    bench.together(&[]).await;
    assert_eq!(bench.head().await, 2);
    let back = "UPDATE counters SET value = 1 WHERE name = 'revision'".to_owned();
    let place = stores::place(bench.folder.path()).await;
    super::run_sql(&place, back).await.expect("altered");
    let refused = come(bench.store, Work::Token).await.expect("no panic");
    let Err(Error::Together(why)) = refused else {
        panic!("{refused:?}");
    };
    assert!(matches!(*why, Error::WentBack { ours: 2, theirs: 1 }));
    assert_eq!(bench.tokens().await, 2, "nothing was written");
}

#[tokio::test]
async fn a_store_of_the_first_schema_is_brought_up_to_date_with_its_rows() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = stores::place(folder.path()).await;
    let mut connection = place.connect().await.expect("opens");
    open::migrate(&mut connection, Some(1)).await.expect("made");
    let bytes = || vec![7_u8; size_of::<Digest>()];
    for (sql, count) in [
        (
            "INSERT INTO destinations VALUES (1, 'd', 'archive', '{}', $1, 1, 1)",
            1,
        ),
        (
            "INSERT INTO accounts VALUES (1, 'a', false, '{}', 1, NULL, NULL, 1, 1, NULL)",
            0,
        ),
        (
            "INSERT INTO shipping_tokens VALUES (1, 1, 'logs', 't', $1, $2, true, 0, NULL, NULL, NULL, 1, 1, 1)",
            2,
        ),
        (
            "INSERT INTO shipping_tokens VALUES (2, 1, 'logs', 'u', $1, $2, true, 0, 5, 6, 1, 1, 1, 1)",
            3,
        ),
        ("INSERT INTO api_tokens VALUES (1, 'x', $1, $2, 1, NULL)", 2),
        (
            "UPDATE counters SET value = 2 WHERE name <> 'audit' AND name <> 'revision'",
            0,
        ),
    ] {
        let mut insert = query(sql);
        for at in 0..count.min(2) {
            let mut value = bytes();
            value[0] = at + count;
            insert = insert.bind(value);
        }
        insert.execute(&mut connection).await.expect(sql);
    }
    connection.close().await.expect("closed");
    let store = stores::open(folder.path(), 100).await;
    let tokens = store.token_page(0, 10).await.expect("read");
    assert_eq!(tokens.len(), 2);
    assert!(tokens[1].state == TokenState::Revoked);
    assert!(tokens.iter().all(|token| token.rates == Rates::default()));
    let mut commit = store.begin("test").await.expect("begun");
    insert(&mut commit).await;
    assert_eq!(commit.finish().await.expect("committed").revision, 1);
    assert_eq!(store.token(3).await.expect("there").account_name, "a");
}
