//! Changes that would take many live tokens away at once.

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
        json!({"dropped": 1000, "live": 1003, "confirm": "dropped-1000"})
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
