//! Whoever reads holds up nobody who changes something: not the writer while it lists, and no longer than for a few records
//! where it shows tokens.

use std::{cell::Cell, time::Duration};

use serde_json::{Value, json};

use super::people::{Hand, People, id};
use crate::{
    control::{
        admin::{compat_table, table},
        store::{AccountEdit, NewToken},
    },
    model::Signal,
};

const SEARCH: &str = "/v1/log-shipping/tokens/search";
const TRAIL: &str = "/v1/audit-trail";

/// What shows tokens: nobody sees one before it is on record.
const SHOWING: [&str; 6] = [
    "/v1/log-shipping/tokens/search",
    "/v1/log-shipping/tokens/{id}",
    "/v1/account-management/metrics-accounts",
    "/v1/account-management/metrics-accounts/{id}",
    "/v1/shared-tokens",
    "/v1/shared-tokens/{id}",
];

/// One of each kind of thing.
struct Things {
    people: People,
    account: u64,
    hand: Hand,
    guest: Hand,
    ids: Vec<(&'static str, u64)>,
}

impl Things {
    async fn new() -> Self {
        let people = People::new().await;
        let account = people.account("acme", "unlimited").await;
        let all = ["read", "tokens", "accounts"];
        let (api_token, hand) = people.api_token(Some(account), &all).await;
        let (shared_token, guest) = people.shared_token(account, &[]).await;
        let make = async |path: &str, body: Value| {
            let (status, made) = people.send(&hand, "POST", path, &body).await;
            assert!((200..300).contains(&status), "{path}: {made}");
            made["accountId"].as_u64().unwrap_or_else(|| id(&made))
        };
        let sub = "/v1/account-management/time-based-accounts";
        let metrics = "/v1/account-management/metrics-accounts";
        let ids = vec![
            (
                "/v1/shared-tokens/filters",
                people.shared_filter(account, "signal", "logs").await,
            ),
            ("/v1/shared-tokens", shared_token),
            (
                "/v1/log-shipping/tokens",
                people.shipping_token(account, "one").await,
            ),
            (sub, make(sub, json!({"accountName": "acme-eu"})).await),
            (
                metrics,
                make(metrics, json!({"accountName": "acme-m"})).await,
            ),
            ("/accounts", account),
            ("/tokens", people.shipping_token(account, "two").await),
            ("/api-tokens", api_token),
            ("/shared-tokens", shared_token),
            (
                "/shared-filters",
                people.shared_filter(account, "signal", "traces").await,
            ),
            ("/users", people.user(Some(account), "anna", "admin").await),
            ("/destinations", 1),
        ];
        Self {
            people,
            account,
            hand,
            guest,
            ids,
        }
    }

    /// The path with an id that there is.
    fn filled(&self, path: &str) -> String {
        let of = path.split("/{id}").next().unwrap_or_default();
        let found = self.ids.iter().find(|(prefix, _)| *prefix == of);
        found.map_or_else(
            || path.to_owned(),
            |(_, id)| path.replace("{id}", &id.to_string()),
        )
    }

    /// Every call that only reads: its path on the page, and what it takes.
    fn reading(&self) -> Vec<(&'static str, &'static str, String, Hand)> {
        let ours = table().into_iter().map(|route| route.rule);
        let ours = ours.filter(|rule| rule.method == "get").map(|rule| {
            let hand = match rule.path {
                "/shared/usage" => self.guest.clone(),
                _ => self.people.operator(),
            };
            let uri = format!("/api/v1{}", self.filled(rule.path));
            ("GET", rule.path, uri, hand)
        });
        let theirs = compat_table().into_iter().map(|route| route.rule);
        let theirs = theirs
            .filter(|rule| rule.method == "get")
            .map(|rule| ("GET", rule.path, self.filled(rule.path), self.hand.clone()));
        let posts = [SEARCH, TRAIL].map(|path| ("POST", path, path.to_owned(), self.hand.clone()));
        ours.chain(theirs).chain(posts).collect()
    }
}

#[tokio::test]
async fn whatever_reads_answers_while_somebody_writes_and_a_token_is_shown_after_its_record() {
    let things = Things::new().await;
    let people = &things.people;
    let store = &people.world.control.inner.store;
    let held = store.begin("somebody").await.expect("begun");
    let mut waiting = Vec::new();
    for (method, path, uri, hand) in things.reading() {
        let call = people.send(&hand, method, &uri, &Value::Null);
        if SHOWING.contains(&path) {
            let early = tokio::time::timeout(Duration::from_millis(100), call).await;
            assert!(early.is_err(), "{path} shows a token without its record");
            waiting.push((method, uri, hand));
            continue;
        }
        let answer = tokio::time::timeout(Duration::from_secs(20), call).await;
        let (status, said) = answer.unwrap_or_else(|_| panic!("{uri} waits for the writer"));
        assert_eq!(status, 200, "{uri}: {said}");
    }
    assert_eq!(waiting.len(), SHOWING.len());
    drop(held);
    for (method, uri, hand) in waiting {
        let (status, said) = people.send(&hand, method, &uri, &Value::Null).await;
        assert_eq!(status, 200, "{uri}: {said}");
        assert!(said.to_string().contains("whf_"), "{uri} shows none");
    }
}

#[tokio::test]
async fn a_revocation_goes_before_the_rest_of_a_long_list() {
    const TOKENS: usize = 1_000;
    let things = Things::new().await;
    let people = &things.people;
    let mut commit = people.world.begin().await;
    for _ in 2..TOKENS {
        let new = NewToken {
            account: things.account,
            signal: Signal::Logs,
            name: "many".to_owned(),
            expires_at: 0,
        };
        commit.insert_token(new).await.expect("written");
    }
    commit.finish().await.expect("committed");
    let other = people.account("other", "unlimited").await;
    let token = people.shipping_token(other, "theirs").await;
    let revoke = format!("/tokens/{token}/revoke");
    let newest = people.world.control.verify_audit().await.expect("intact");
    let is_listed = Cell::new(false);
    let list = async {
        let body = json!({"pagination": {"pageSize": 1000}});
        let (status, found) = people.send(&things.hand, "POST", SEARCH, &body).await;
        is_listed.set(true);
        assert_eq!(status, 200, "{found}");
        let results = found["results"].as_array().expect("a list").clone();
        assert_eq!(results.len(), TOKENS);
        results
    };
    let revocations = async {
        while !is_listed.get() {
            people.operate("POST", &revoke, Value::Null).await;
        }
    };
    let (results, ()) = tokio::join!(list, revocations);
    for shown in &results {
        let text = shown["token"].as_str().expect("text");
        assert!(text.starts_with("whf_s_"));
    }
    // Every token that was shown has its record, in an unbroken chain.
    people.world.control.verify_audit().await.expect("intact");
    let path = format!("/audit?limit=1000&after={newest}&action=token.reveal");
    let records = people.operate("GET", &path, Value::Null).await;
    let reveals: Vec<_> = records["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|record| record["seq"].as_u64().expect("a number"))
        .collect();
    assert_eq!(reveals.len(), TOKENS);
    let between = reveals.windows(2).filter(|pair| pair[1] != pair[0] + 1);
    assert_ne!(between.count(), 0, "the list held the writer throughout");
}

#[tokio::test]
async fn what_is_revoked_or_withdrawn_before_its_record_is_not_shown() {
    let things = Things::new().await;
    let people = &things.people;
    let store = &people.world.control.inner.store;
    let token = things.filled("/v1/log-shipping/tokens/{id}");
    let token: u64 = token
        .rsplit('/')
        .next()
        .and_then(|id| id.parse().ok())
        .expect("an id");
    let mut revoking = store.begin("somebody").await.expect("begun");
    revoking.revoke_token(token).await.expect("written");
    let list = async {
        let (status, found) = people
            .send(&things.hand, "POST", SEARCH, &Value::Null)
            .await;
        assert_eq!(status, 200, "{found}");
        found
    };
    let ending = async {
        // By then it is read, and waits for its records' turn.
        tokio::time::sleep(Duration::from_millis(300)).await;
        revoking.finish().await.expect("committed");
    };
    let (found, ()) = tokio::join!(list, ending);
    let shown = found["results"].as_array().expect("a list");
    assert!(
        shown.iter().all(|it| it["id"] != token) && !shown.is_empty(),
        "{found}"
    );
    let path = format!("/audit?action=token.reveal&subject=token/{token}");
    let records = people.operate("GET", &path, Value::Null).await;
    assert_eq!(records["items"], json!([]));

    let metrics = "/v1/account-management/metrics-accounts";
    let sub = things.filled(&format!("{metrics}/{{id}}"));
    let sub: u64 = sub
        .rsplit('/')
        .next()
        .and_then(|id| id.parse().ok())
        .expect("an id");
    let mut withdrawing = store.begin("somebody").await.expect("begun");
    let old = withdrawing.account(sub).await.expect("there");
    let mut edit = AccountEdit::from(&old);
    edit.accessible = false;
    withdrawing
        .update_account(&old, edit)
        .await
        .expect("written");
    let list = people.send(&things.hand, "GET", metrics, &Value::Null);
    let ending = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        withdrawing.finish().await.expect("committed");
    };
    let ((status, found), ()) = tokio::join!(list, ending);
    assert_eq!(status, 200, "{found}");
    let text = found[0]["token"].as_str();
    assert!(text.is_none_or(str::is_empty), "{found}");
    let path = format!("/audit?action=token.reveal&account={sub}");
    let records = people.operate("GET", &path, Value::Null).await;
    assert_eq!(records["items"], json!([]));
}
