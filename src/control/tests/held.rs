//! Changes that would take many live tokens away at once.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    people::{Hand, People},
    world::text,
};
use crate::{control::store::NewToken, model::Signal};

async fn tokens(people: &People, account: u64, count: u32) {
    let store = &people.world.control.inner.store;
    let mut commit = store.begin("test").await.expect("begun");
    for _ in 0..count {
        let new = NewToken {
            account,
            signal: Signal::Logs,
            name: "x".into(),
            expires_at: 0,
        };
        commit.insert_token(new).await.expect("written");
    }
    commit.finish().await.expect("committed");
}

async fn suspend(people: &People, account: u64, query: &str) -> (u16, Value) {
    let operator = Hand::Token(text(&people.world.folder.path().join("admin-token")));
    let path = format!("/accounts/{account}{query}");
    let body = json!({"state": "suspended"});
    people.call(&operator, "PATCH", &path, &body).await
}

#[tokio::test]
async fn a_suspension_that_ends_a_thousand_tokens_has_no_revision_until_it_is_confirmed() {
    let people = People::new().await;
    let main = people.account("acme", "unlimited").await;
    let sub = people.sub_account("acme-eu", main, true).await;
    tokens(&people, main, 600).await;
    tokens(&people, sub, 400).await;
    let head = people.world.control.feed_state().head;

    // The sub-account's alone are too few.
    let (status, held) = suspend(&people, main, "").await;
    assert_eq!(status, 409, "{held}");
    // Three are the first account's.
    assert_eq!(
        held["held"],
        json!({"dropped": 1000, "lately": 0, "live": 1003, "confirm": "dropped-1000"})
    );
    assert!(held["detail"].as_str().is_some_and(|detail| {
        detail.contains("1000 of 1003") && detail.contains("confirm=dropped-1000")
    }));
    for (query, expected) in [
        ("?confirm=dropped-999", 409),
        ("?confirm=1000", 400),
        ("?confirm=dropped-", 400),
        ("?confirm=dropped-%2B1000", 400),
    ] {
        assert_eq!(suspend(&people, main, query).await.0, expected, "{query}");
    }
    assert_eq!(people.world.control.feed_state().head, head);

    // It has grown since it was looked at.
    tokens(&people, sub, 1).await;
    let (status, held) = suspend(&people, main, "?confirm=dropped-1000").await;
    assert_eq!((status, &held["held"]["dropped"]), (409, &json!(1001)));
    let (status, _) = suspend(&people, main, "?confirm=dropped-1001").await;
    assert_eq!(status, 200);
    // What is suspended already is not taken away again.
    assert_eq!(suspend(&people, main, "").await.0, 200);
}

#[tokio::test]
async fn what_is_dead_already_is_neither_dropped_nor_left() {
    let people = People::new().await;
    let account = people.account("acme", "unlimited").await;
    tokens(&people, account, 1000).await;
    let one = people.shipping_token(account, "one").await;
    people
        .operate("POST", &format!("/tokens/{one}/disable"), Value::Null)
        .await;
    let two = people.shipping_token(account, "two").await;
    people
        .operate("POST", &format!("/tokens/{two}/revoke"), Value::Null)
        .await;
    let (status, held) = suspend(&people, account, "").await;
    assert_eq!(status, 409);
    assert_eq!(held["held"]["dropped"], 1000);
    assert_eq!(held["held"]["live"], 1003);
    // One fewer than a thousand.
    let live = people.world.live_tokens().await;
    let last = live.last().expect("a token");
    people
        .operate("POST", &format!("/tokens/{last}/revoke"), Value::Null)
        .await;
    assert_eq!(suspend(&people, account, "").await.0, 200);
}

#[tokio::test]
async fn suspensions_that_come_together_are_weighed_together() {
    let people = People::new().await;
    // So that a busy machine doesn't part those who come together.
    let store = &people.world.control.inner.store;
    store.stay_open(Duration::from_secs(60)).await;
    let mut accounts = Vec::new();
    for at in 0..4 {
        let account = people.account(&format!("account {at}"), "unlimited").await;
        tokens(&people, account, 400).await;
        accounts.push(account);
    }
    let first = store.begin("test").await.expect("begun");
    let all = [0, 1, 2, 3].map(|at| suspend(&people, accounts[at], ""));
    let [a, b, c, d] = all;
    let together = async {
        store.awaited(4).await;
        drop(first);
    };
    let (a, b, c, d, ()) = tokio::join!(a, b, c, d, together);
    let (done, held): (Vec<_>, Vec<_>) = [a, b, c, d]
        .into_iter()
        .partition(|(status, _)| *status == 200);
    assert_eq!(done.len(), 2, "{done:?} {held:?}");
    assert_eq!(
        done[0].1["revision"], done[1].1["revision"],
        "they commit together"
    );
    for (status, refusal) in held {
        assert_eq!(status, 409, "{refusal}");
        assert_eq!(
            refusal["held"],
            json!({"dropped": 400, "lately": 800, "live": 803, "confirm": "dropped-400"})
        );
        let detail = refusal["detail"].as_str().expect("text");
        let why = "this would take 400 of 803 live shipping tokens away at once, after 800 within the last minute";
        assert!(detail.starts_with(why), "{detail}");
    }
    let mut suspended = 0;
    for account in accounts {
        let path = format!("/accounts/{account}");
        let shown = people.operate("GET", &path, Value::Null).await;
        suspended += u32::from(shown["state"] == "suspended");
    }
    assert_eq!(suspended, 2);
}

#[tokio::test]
async fn suspensions_in_a_row_are_weighed_together_but_for_those_that_were_confirmed() {
    let people = People::new().await;
    let mut accounts = Vec::new();
    for at in 0..4 {
        let account = people.account(&format!("account {at}"), "unlimited").await;
        tokens(&people, account, 500).await;
        accounts.push(account);
    }
    let last = people.account("one token", "unlimited").await;
    tokens(&people, last, 1).await;
    assert_eq!(
        suspend(&people, accounts[0], "?confirm=dropped-500")
            .await
            .0,
        200
    );
    assert_eq!(suspend(&people, accounts[1], "").await.0, 200);
    let (status, held) = suspend(&people, accounts[2], "").await;
    assert_eq!(status, 409, "{held}");
    assert_eq!(held["held"]["lately"], 500);
    let confirmed = suspend(&people, accounts[2], "?confirm=dropped-500").await;
    assert_eq!(confirmed.0, 200);
    // Below a thousand, and what is held doesn't count.
    assert_eq!(suspend(&people, last, "").await.0, 200);
    let (status, held) = suspend(&people, accounts[3], "").await;
    assert_eq!((status, &held["held"]["lately"]), (409, &json!(501)));
}

#[tokio::test]
async fn a_token_that_a_call_names_ends_whatever_has_ended_before_and_is_not_held_against_others() {
    let people = People::new().await;
    let account = people.account("acme", "unlimited").await;
    let other = people.account("other", "unlimited").await;
    tokens(&people, account, 999).await;
    tokens(&people, other, 10).await;
    for at in 0..20 {
        let token = people.shipping_token(other, &format!("token {at}")).await;
        let path = format!("/tokens/{token}/revoke");
        people.operate("POST", &path, Value::Null).await;
    }
    assert_eq!(suspend(&people, account, "").await.0, 200);
    let (status, held) = suspend(&people, other, "").await;
    assert_eq!(status, 409, "{held}");
    assert_eq!(held["held"]["lately"], 999);
    // No revocation waits for what others do.
    let live = people.world.live_tokens().await;
    let last = live.last().expect("a token");
    let path = format!("/tokens/{last}/revoke");
    people.operate("POST", &path, Value::Null).await;
}

#[tokio::test]
async fn deletions_of_accounts_with_a_token_each_are_weighed_together() {
    let people = People::new().await;
    let main = people.account("acme", "unlimited").await;
    let other = people.account("other", "unlimited").await;
    tokens(&people, other, 998).await;
    let (_, key) = people
        .api_token(Some(main), &["read", "tokens", "accounts"])
        .await;
    let uri = "/v1/account-management/time-based-accounts";
    let mut subs = Vec::new();
    for at in 0..2 {
        let body = json!({"accountName": format!("sub {at}"), "email": "a@example.org"});
        let (status, made) = people.send(&key, "POST", uri, &body).await;
        assert_eq!(status, 200, "{made}");
        subs.push(format!("{uri}/{}", made["accountId"]));
    }
    assert_eq!(suspend(&people, other, "").await.0, 200);
    // 999 by now.
    let (status, said) = people.send(&key, "DELETE", &subs[0], &Value::Null).await;
    assert_eq!(status, 204, "{said}");
    let (status, held) = people.send(&key, "DELETE", &subs[1], &Value::Null).await;
    assert_eq!(status, 409, "{held}");
    let message = held["message"].as_str().expect("text");
    assert!(message.contains("would end 1 live"), "{message}");
}

#[tokio::test]
async fn a_compatible_deletion_that_is_held_says_what_can_be_done_and_not_how_many_others_have() {
    let people = People::new().await;
    let main = people.account("acme", "unlimited").await;
    let mut subs = Vec::new();
    for at in 0..2 {
        let (_, key) = people
            .api_token(Some(main), &["read", "tokens", "accounts"])
            .await;
        let body = json!({"accountName": format!("sub {at}"), "email": "a@example.org"});
        let uri = "/v1/account-management/time-based-accounts";
        let (status, made) = people.send(&key, "POST", uri, &body).await;
        assert_eq!(status, 200, "{made}");
        let sub = made["accountId"].as_u64().expect("an id");
        tokens(&people, sub, 500).await;
        subs.push((format!("{uri}/{sub}"), key));
    }
    let [(first, key), (second, _)] = &subs[..] else {
        panic!("two");
    };
    assert_eq!(people.send(key, "DELETE", first, &Value::Null).await.0, 204);
    let (status, refusal) = people.send(key, "DELETE", second, &Value::Null).await;
    assert_eq!(status, 409, "{refusal}");
    let message = refusal["message"].as_str().expect("text");
    assert!(message.contains("501 live shipping tokens"), "{message}");
    assert!(message.contains("one by one"), "{message}");
    assert!(!message.contains("504"), "{message}");
    assert_eq!(people.world.live_tokens().await.len(), 504);
}
