//! Nobody makes of what they have something that is more.

use serde_json::{Value, json};

use super::people::{Hand, PASSWORD, People, id};

#[tokio::test]
async fn a_token_that_may_not_all_that_an_admin_may_sets_no_admins_password() {
    let people = People::new().await;
    let account = people.account("acme", "pro").await;
    let anna = people.user(Some(account), "anna", "admin").await;
    let carl = people.user(Some(account), "carl", "reader").await;
    let (_, accounts) = people.api_token(Some(account), &["read", "accounts"]).await;
    let password = json!({"password": "known to whoever asks"});
    for (user, change) in [
        (anna, password.clone()),
        // Neither does it make an admin of somebody whose password it knows.
        (
            carl,
            json!({"role": "admin", "password": "known to whoever asks"}),
        ),
        (carl, json!({"role": "admin"})),
    ] {
        let path = format!("/users/{user}");
        let (status, refusal) = people.call(&accounts, "PATCH", &path, &change).await;
        assert_eq!(status, 403, "{change}: {refusal}");
    }
    // What was set before opens their sessions still.
    people.log_in("anna").await;
    people.log_in("carl").await;
    // A reader has no more than the token.
    let path = format!("/users/{carl}");
    people.ok(&accounts, "PATCH", &path, password.clone()).await;
    let (_, all) = people
        .api_token(Some(account), &["read", "tokens", "accounts"])
        .await;
    let path = format!("/users/{anna}");
    people.ok(&all, "PATCH", &path, password).await;
}

#[tokio::test]
async fn an_api_token_that_ends_makes_nothing_that_ends_later_or_never() {
    let people = People::new().await;
    let account = people.account("acme", "pro").await;
    let all = ["read", "tokens", "accounts"];
    let end = "2100-01-01T00:00:00Z";
    let body = json!({"account": account, "name": "ends", "scopes": all, "expires_at": end});
    let made = people.operate("POST", "/api-tokens", body).await;
    let hand = Hand::Token(made["token"].as_str().expect("a token").to_owned());
    for (until, expected) in [
        (Value::Null, 403),
        (json!("2100-01-01T00:00:01Z"), 403),
        (json!(end), 201),
        (json!("2099-12-31T00:00:00Z"), 201),
    ] {
        let body = json!({"account": account, "name": "x", "scopes": all, "expires_at": until});
        let (status, answer) = people.call(&hand, "POST", "/api-tokens", &body).await;
        assert_eq!(status, expected, "{until}: {answer}");
    }
    // People have no end: neither is one made, nor does one get a password that the token's holder knows.
    let user = people.user(Some(account), "anna", "admin").await;
    let body = json!({"account": account, "name": "bert", "role": "reader", "password": PASSWORD});
    for (method, path, body) in [
        ("POST", "/users".to_owned(), body),
        (
            "PATCH",
            format!("/users/{user}"),
            json!({"password": PASSWORD}),
        ),
    ] {
        let (status, answer) = people.call(&hand, method, &path, &body).await;
        assert_eq!(status, 403, "{method}: {answer}");
    }
}

#[tokio::test]
async fn an_admin_sets_of_a_new_sub_account_nothing_that_is_the_operators() {
    let people = People::new().await;
    let main = people.account("acme", "pro").await;
    let admin = people.person(Some(main), "anna", "admin").await;
    for (field, value, what) in [
        ("limits", json!({"concurrency_max": 1000}), "limits"),
        ("limits", json!({}), "limits"),
        ("destinations", json!({"logs": "archive"}), "destinations"),
        ("plan", json!("unlimited"), "the plan"),
        ("trial_seconds", json!(60), "the plan"),
    ] {
        let mut body = json!({"name": "acme-eu", "parent": main});
        body[field] = value;
        let (status, refusal) = people.call(&admin, "POST", "/accounts", &body).await;
        assert_eq!(status, 403, "{body}: {refusal}");
        assert_eq!(
            refusal["detail"],
            format!("only an operator sets {what}"),
            "{body}"
        );
    }
    let body = json!({"name": "acme-eu", "parent": main});
    people.ok(&admin, "POST", "/accounts", body).await;
}

#[tokio::test]
async fn a_rotated_tokens_successor_ends_when_it_was_to_end_and_is_good_from_the_same_networks() {
    let people = People::new().await;
    let account = people.account("acme", "pro").await;
    let sources = json!(["192.0.2.0/24", "2001:db8::/32"]);
    let end = "2100-01-01T00:00:00Z";
    let body = json!({"account": account, "signal": "logs", "name": "x", "sources": sources, "expires_at": end});
    let old = id(&people.operate("POST", "/tokens", body).await);
    let path = format!("/tokens/{old}/rotate");
    let new = id(&people.operate("POST", &path, Value::Null).await);
    let path = format!("/tokens/{new}");
    let shown = people.operate("GET", &path, Value::Null).await;
    assert_eq!(shown["sources"], sources);
    assert_eq!(shown["expires_at"], end);
    // What gateways are told of it is the same.
    let store = &people.world.control.inner.store;
    let row = store.token(new).await.expect("read");
    assert_eq!(row.token.expires_at, 4_102_444_800);
    assert!(row.token.sources.allow([192, 0, 2, 7].into()));
    assert!(!row.token.sources.allow([198, 51, 100, 7].into()));
}
