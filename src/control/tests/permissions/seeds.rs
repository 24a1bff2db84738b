//! The cases that matter most, stated by hand: what they say must be so, whatever the page of routes says.

use axum::{body::Body, http::Request};
use serde_json::{Value, json};
use tokio_stream::wrappers::ReceiverStream;
use tower::ServiceExt as _;

use super::super::people::{Hand, People, id};

async fn status(people: &People, hand: &Hand, method: &str, path: &str, body: Value) -> u16 {
    people.call(hand, method, path, &body).await.0
}

#[tokio::test]
async fn only_an_admin_creates_reveals_changes_and_deletes_tokens_and_a_reader_sees_them() {
    let people = People::new().await;
    let account = people.account("acme", "pro").await;
    let token = people.shipping_token(account, "one").await;
    people.shipping_token(account, "two").await;
    let admin = people.person(Some(account), "anna", "admin").await;
    let reader = people.person(Some(account), "bert", "reader").await;
    let body = json!({"account": "acme", "signal": "logs", "name": "three"});
    let path = format!("/tokens/{token}");
    let calls = [
        ("POST", "/tokens".to_owned(), body),
        ("PATCH", path.clone(), json!({"name": "renamed"})),
        ("POST", format!("{path}/reveal"), Value::Null),
        ("POST", format!("{path}/disable"), Value::Null),
        ("POST", format!("{path}/enable"), Value::Null),
        ("POST", format!("{path}/rotate"), Value::Null),
        ("POST", format!("{path}/revoke"), Value::Null),
        ("DELETE", path.clone(), Value::Null),
    ];
    for (method, path, body) in &calls {
        let refused = status(&people, &reader, method, path, body.clone()).await;
        assert_eq!(refused, 403, "a reader: {method} {path}");
    }
    let seen = people.ok(&reader, "GET", &path, Value::Null).await;
    assert_eq!(
        (&seen["name"], &seen["state"]),
        (&json!("one"), &json!("live"))
    );
    let listed = people.ok(&reader, "GET", "/tokens", Value::Null).await;
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(2));
    assert!(!listed.to_string().contains("whf_"));
    for (method, path, body) in calls {
        people.ok(&admin, method, &path, body).await;
    }
}

#[tokio::test]
async fn an_api_token_loses_a_sub_account_in_the_next_request_and_has_it_back_in_the_one_after() {
    let people = People::new().await;
    let main = people.account("acme", "pro").await;
    let sub = people.sub_account("acme-eu", main, true).await;
    let token = people.shipping_token(sub, "one").await;
    let (_, api) = people
        .api_token(Some(main), &["read", "tokens", "accounts"])
        .await;
    let paths = [format!("/accounts/{sub}"), format!("/tokens/{token}")];
    let seen = async |expected: u16, items: usize| {
        for path in &paths {
            assert_eq!(
                status(&people, &api, "GET", path, Value::Null).await,
                expected
            );
        }
        let reveal = format!("/tokens/{token}/reveal");
        assert_eq!(
            status(&people, &api, "POST", &reveal, Value::Null).await,
            expected
        );
        let listed = people.ok(&api, "GET", "/tokens", Value::Null).await;
        assert_eq!(listed["items"].as_array().map(Vec::len), Some(items));
        let listed = people.ok(&api, "GET", "/accounts", Value::Null).await;
        assert_eq!(listed["items"].as_array().map(Vec::len), Some(items + 1));
    };
    let path = format!("/accounts/{sub}");
    for _ in 0..3 {
        seen(200, 1).await;
        let withdrawn = json!({"accessible": false});
        people.operate("PATCH", &path, withdrawn).await;
        seen(404, 0).await;
        let by_name = json!({"account": "acme-eu", "signal": "logs", "name": "n"});
        let (status, problem) = people.call(&api, "POST", "/tokens", &by_name).await;
        assert_eq!(status, 404);
        let unknown = json!({"account": "nowhere", "signal": "logs", "name": "n"});
        let (_, other) = people.call(&api, "POST", "/tokens", &unknown).await;
        let detail = problem["detail"].as_str().expect("text");
        assert_eq!(detail.replace("acme-eu", "nowhere"), other["detail"]);
        let given = json!({"accessible": true});
        people.operate("PATCH", &path, given).await;
    }
}

#[tokio::test]
async fn a_lapsed_trials_api_token_stops_and_a_plan_brings_it_back() {
    let people = People::new().await;
    let account = people.account("acme", "pro").await;
    let sub = people.sub_account("acme-eu", account, true).await;
    let tokens = [
        people.api_token(Some(account), &["read"]).await.1,
        people.api_token(Some(sub), &["read"]).await.1,
    ];
    let path = format!("/accounts/{account}");
    let all = async |plan: Value, expected: u16| {
        people.operate("PATCH", &path, plan).await;
        for token in &tokens {
            let got = status(&people, token, "GET", "/accounts", Value::Null).await;
            assert_eq!(got, expected);
            let got = status(&people, token, "GET", "/session", Value::Null).await;
            assert_eq!(got, expected);
        }
    };
    all(
        json!({"plan": "trial", "trial_until": "2100-01-01T00:00:00Z"}),
        200,
    )
    .await;
    all(
        json!({"plan": "trial", "trial_until": "2021-01-01T00:00:00Z"}),
        403,
    )
    .await;
    let body = json!({"account": account, "name": "more", "scopes": ["read"]});
    let admin = people.person(Some(account), "anna", "admin").await;
    let refused = status(&people, &admin, "POST", "/api-tokens", body).await;
    assert_eq!(refused, 409, "a plan without API tokens makes none");
    all(json!({"plan": "community"}), 403).await;
    all(json!({"plan": "enterprise"}), 200).await;
    all(json!({"state": "suspended"}), 403).await;
    all(json!({"state": "active"}), 200).await;
}

#[tokio::test]
async fn who_is_stopped_is_told_the_same_of_every_id_whether_there_is_one_or_not() {
    let people = People::new().await;
    let account = people.account("acme", "pro").await;
    let (_, api) = people
        .api_token(Some(account), &["read", "tokens", "accounts"])
        .await;
    let person = people.person(Some(account), "anna", "admin").await;
    let other = people.account("other", "pro").await;
    let token = people.shipping_token(other, "one").await;
    let (api_token, _) = people.api_token(Some(other), &["read"]).await;
    let (shared_token, _) = people.shared_token(other, &[]).await;
    let filter = people.shared_filter(other, "signal", "logs").await;
    let user = people.user(Some(other), "bert", "admin").await;
    let of_others = [
        ("accounts", other),
        ("tokens", token),
        ("api-tokens", api_token),
        ("shared-tokens", shared_token),
        ("shared-filters", filter),
        ("users", user),
    ];
    let path = format!("/accounts/{account}");
    let lapsed = json!({"plan": "trial", "trial_until": "2021-01-01T00:00:00Z"});
    let suspended = json!({"state": "suspended"});
    for (change, hands) in [(lapsed, vec![&api]), (suspended, vec![&api, &person])] {
        people.operate("PATCH", &path, change).await;
        for hand in hands {
            for (kind, id) in of_others {
                for id in [id, 999_999] {
                    for method in ["GET", "DELETE"] {
                        if (method, kind) == ("DELETE", "api-tokens") {
                            continue;
                        }
                        let path = format!("/{kind}/{id}");
                        let got = status(&people, hand, method, &path, Value::Null).await;
                        assert_eq!(got, 403, "{method} {path}");
                    }
                }
            }
        }
    }
    // What was refused to whom stands in the log of their account.
    let log = format!("/audit?account={account}&action=refused");
    let log = people.operate("GET", &log, Value::Null).await;
    assert_eq!(log["items"].as_array().map(Vec::is_empty), Some(false));
}

#[tokio::test]
async fn a_revoked_or_expired_api_token_is_nobodys_in_the_next_request() {
    let people = People::new().await;
    let account = people.account("acme", "pro").await;
    let (revoked, token) = people.api_token(Some(account), &["read"]).await;
    let get = async |hand: &Hand| status(&people, hand, "GET", "/tokens", Value::Null).await;
    assert_eq!(get(&token).await, 200);
    let path = format!("/api-tokens/{revoked}/revoke");
    people.operate("POST", &path, Value::Null).await;
    assert_eq!(get(&token).await, 401);
    let at = std::time::SystemTime::now() + std::time::Duration::from_secs(2);
    let at = humantime::format_rfc3339_seconds(at).to_string();
    let body = json!({"account": account, "name": "n", "scopes": ["read"], "expires_at": at});
    let made = people.operate("POST", "/api-tokens", body).await;
    let token = Hand::Token(made["token"].as_str().expect("text").to_owned());
    assert_eq!(get(&token).await, 200);
    tokio::time::sleep(std::time::Duration::from_millis(2100)).await;
    assert_eq!(get(&token).await, 401);
    let path = format!("/api-tokens/{}", id(&made));
    let record = people.operate("GET", &path, Value::Null).await;
    assert_eq!(record["state"], "expired");
    assert!(record["last_used_at"].is_string());
    assert!(record.get("token").is_none());
}

#[tokio::test]
async fn nobody_gives_more_than_they_have() {
    let people = People::new().await;
    let account = people.account("acme", "pro").await;
    let (_, narrow) = people.api_token(Some(account), &["accounts"]).await;
    let body = |scopes: Value| json!({"account": account, "name": "n", "scopes": scopes});
    let make =
        async |hand: &Hand, body: Value| status(&people, hand, "POST", "/api-tokens", body).await;
    assert_eq!(make(&narrow, body(json!(["accounts"]))).await, 201);
    assert_eq!(make(&narrow, body(json!(["tokens"]))).await, 403);
    assert_eq!(make(&narrow, body(json!([]))).await, 400);
    let person = json!({"account": account, "name": "anna", "role": "admin", "password": "a password of anna's"});
    let made = status(&people, &narrow, "POST", "/users", person).await;
    assert_eq!(made, 403);
    // An admin of a main account is none of the operators', nor of what operators set.
    let admin = people.person(Some(account), "bert", "admin").await;
    for field in [
        json!({"plan": "unlimited"}),
        json!({"state": "active"}),
        json!({"limits": {"concurrency_max": 0}}),
        json!({"destinations": {"logs": 1}}),
    ] {
        let path = format!("/accounts/{account}");
        let refused = status(&people, &admin, "PATCH", &path, field.clone()).await;
        assert_eq!(refused, 403, "{field}");
    }
    let path = format!("/accounts/{account}");
    let deleted = status(&people, &admin, "DELETE", &path, Value::Null).await;
    assert_eq!(deleted, 403);
}

/// What a request to `uri` is answered whose API token is revoked before its body is whole.
async fn revoked_meanwhile(people: &People, uri: &str, made: (u64, Hand), body: Value) -> u16 {
    let (id, Hand::Token(token)) = made else {
        panic!("a token");
    };
    let (send, pieces) = tokio::sync::mpsc::channel::<Result<Vec<u8>, std::io::Error>>(4);
    let request = Request::post(uri)
        .header("x-api-token", token)
        .body(Body::from_stream(ReceiverStream::new(pieces)))
        .expect("a request");
    let answer = tokio::spawn(people.router.clone().oneshot(request));
    let body = body.to_string();
    let (first, last) = body.as_bytes().split_at(body.len() - 1);
    send.send(Ok(first.to_vec())).await.expect("read");
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    let revoke = format!("/api-tokens/{id}/revoke");
    people.operate("POST", &revoke, Value::Null).await;
    send.send(Ok(last.to_vec())).await.expect("read");
    drop(send);
    let answer = answer.await.expect("no panic").expect("answers");
    answer.status().as_u16()
}

#[tokio::test]
async fn who_is_revoked_while_the_body_is_held_back_changes_nothing() {
    let people = People::new().await;
    let all = ["read", "tokens", "accounts"];
    let made = people.api_token(None, &all).await;
    let body = json!({"name": "outlives", "scopes": ["read"]});
    let status = revoked_meanwhile(&people, "/api/v1/api-tokens", made, body).await;
    assert_eq!(status, 401);
    let list = people.operate("GET", "/api-tokens", Value::Null).await;
    assert!(!list.to_string().contains("outlives"), "{list}");
    let account = people.account("acme", "pro").await;
    let made = people.api_token(Some(account), &all).await;
    let body = json!({"name": "outlives"});
    let status = revoked_meanwhile(&people, "/v1/log-shipping/tokens", made, body).await;
    assert_eq!(status, 403);
    let list = people.operate("GET", "/tokens", Value::Null).await;
    assert!(!list.to_string().contains("outlives"), "{list}");
}
