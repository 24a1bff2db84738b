//! Tokens that were found in the wild after somebody deleted them.

use serde_json::{Value, json};

use super::people::{Hand, People, id};
use crate::model::TokenKind;

fn text(hand: &Hand) -> &str {
    let Hand::Token(text) = hand else {
        panic!("a token");
    };
    text
}

#[tokio::test]
async fn a_deleted_token_is_told_to_those_who_reach_its_account_and_is_proven_dead_again() {
    let people = People::new().await;
    let main = people.account("acme", "unlimited").await;
    let other = people.account("other", "unlimited").await;
    let (_, ours) = people.api_token(Some(main), &["tokens"]).await;
    let (_, stranger) = people.api_token(Some(other), &["tokens"]).await;
    let body = json!({"account": main, "signal": "traces", "name": "web"});
    let made = people.operate("POST", "/tokens", body).await;
    let found = json!({"token": made["token"]});
    let live = people.ok(&ours, "POST", "/leaks", found.clone()).await;
    assert_eq!(
        [&live["state"], &live["deleted"]],
        [&json!("live"), &json!(false)]
    );
    let path = format!("/tokens/{}", id(&made));
    let forced = format!("{path}?force=true");
    people.operate("DELETE", &forced, Value::Null).await;

    for hand in [&ours, &people.operator()] {
        let leak = people.ok(hand, "POST", "/leaks", found.clone()).await;
        assert_eq!(
            leak,
            json!({
                "kind": "shipping", "id": id(&made), "account": main, "account_name": "acme", "signal": "traces",
                "name": "web", "state": "revoked", "deleted": true, "expires_at": null, "last_used_at": null,
            })
        );
    }
    let never = TokenKind::Shipping.mint(|bytes| bytes.fill(7));
    for revoke in [false, true] {
        let body = json!({"token": made["token"], "revoke": revoke});
        let answer = people.call(&stranger, "POST", "/leaks", &body).await;
        let body = json!({"token": never.reveal(), "revoke": revoke});
        let nothing = people.call(&stranger, "POST", "/leaks", &body).await;
        assert_eq!((answer.0, &answer), (404, &nothing));
    }

    let body = json!({"token": made["token"], "revoke": true});
    let gone = people.ok(&ours, "POST", "/leaks?wait=enforced", body).await;
    assert_eq!(
        [&gone["state"], &gone["deleted"]],
        [&json!("revoked"), &json!(true)]
    );
    assert_eq!(gone["enforcement"]["revision"], gone["revision"], "{gone}");
    assert_eq!(people.call(&ours, "GET", &path, &Value::Null).await.0, 404);
    let list = format!("/tokens?account={main}");
    let list = people.operate("GET", &list, Value::Null).await;
    assert_eq!(list["items"], json!([]), "it stays hidden");
    let audit = "/audit?action=leak.report";
    let audit = people.operate("GET", audit, Value::Null).await;
    let subject = json!(format!("token/{}", id(&made)));
    let records = audit["items"].as_array().expect("a list");
    assert_eq!(records.len(), 4);
    assert!(records.iter().all(|record| record["subject"] == subject));
}

#[tokio::test]
async fn a_deleted_shared_token_is_told_like_any_other() {
    let people = People::new().await;
    let main = people.account("acme", "pro").await;
    let other = people.account("other", "pro").await;
    let (_, ours) = people.api_token(Some(main), &["tokens"]).await;
    let (_, stranger) = people.api_token(Some(other), &["tokens"]).await;
    let (shared, hand) = people.shared_token(main, &[]).await;
    let path = format!("/shared-tokens/{shared}");
    let revoke = format!("{path}/revoke");
    people.operate("POST", &revoke, Value::Null).await;
    people.operate("DELETE", &path, Value::Null).await;
    for revoke in [false, true] {
        let body = json!({"token": text(&hand), "revoke": revoke});
        let answer = people.call(&stranger, "POST", "/leaks", &body).await;
        assert_eq!(answer.0, 404);
        let leak = people.ok(&ours, "POST", "/leaks", body).await;
        assert_eq!(
            [&leak["kind"], &leak["id"], &leak["state"], &leak["deleted"]],
            [
                &json!("shared"),
                &json!(shared),
                &json!("revoked"),
                &json!(true)
            ]
        );
    }
}
