//! What is refused stands in the log of whoever was refused, and tells nobody what others have.

use serde_json::{Value, json};

use super::{
    people::{Hand, People},
    world::World,
};
use crate::control::Config;

/// The records of that action that a caller sees.
async fn log(people: &People, hand: &Hand, action: &str) -> Vec<Value> {
    let path = format!("/audit?action={action}&limit=1000");
    let list = people.ok(hand, "GET", &path, Value::Null).await;
    list["items"].as_array().expect("items").clone()
}

async fn refused(people: &People, hand: &Hand, method: &str, path: &str) -> u16 {
    people.call(hand, method, path, &Value::Null).await.0
}

#[tokio::test]
async fn whoever_asks_for_what_is_anothers_writes_into_their_own_log_and_silences_nobody() {
    let people = People::new().await;
    let acme = people.account("acme", "pro").await;
    let beta = people.account("beta", "pro").await;
    let token = people.shipping_token(beta, "one").await;
    let anna = people.person(Some(acme), "anna", "admin").await;
    let bert = people.person(Some(beta), "bert", "admin").await;
    let carl = people.person(Some(beta), "carl", "reader").await;
    let path = format!("/tokens/{token}/reveal");
    for _ in 0..105 {
        assert_eq!(refused(&people, &anna, "POST", &path).await, 404);
    }
    assert_eq!(refused(&people, &carl, "POST", &path).await, 403);
    let seen = log(&people, &anna, "refused").await;
    assert_eq!(seen.len(), 100);
    for record in &seen {
        assert_eq!(record["account"], acme);
    }
    let seen = log(&people, &bert, "refused").await;
    let who: Vec<_> = seen
        .iter()
        .map(|it| (&it["actor"], &it["account"]))
        .collect();
    assert_eq!(who, [(&json!("user/4"), &json!(beta))]);
}

#[tokio::test]
async fn what_is_not_there_is_on_record_as_what_is_anothers() {
    let people = People::new().await;
    let acme = people.account("acme", "pro").await;
    let other = people.account("other", "pro").await;
    let anna = people.person(Some(acme), "anna", "admin").await;
    let token = people.shipping_token(other, "one").await;
    let (api_token, _) = people.api_token(Some(other), &["read"]).await;
    let (shared_token, _) = people.shared_token(other, &[]).await;
    let filter = people.shared_filter(other, "signal", "logs").await;
    let user = people.user(Some(other), "bert", "admin").await;
    let mut expected = Vec::new();
    for (path, what, id) in [
        ("accounts", "account", other),
        ("tokens", "token", token),
        ("shared-tokens", "shared token", shared_token),
        ("shared-filters", "shared filter", filter),
        ("users", "user", user),
    ] {
        for id in [id, 999_999] {
            let path = format!("/{path}/{id}");
            assert_eq!(
                refused(&people, &anna, "DELETE", &path).await,
                404,
                "{path}"
            );
            expected.push(format!("of {what} {id}"));
        }
    }
    for id in [api_token, 999_999] {
        let path = format!("/api-tokens/{id}/revoke");
        assert_eq!(refused(&people, &anna, "POST", &path).await, 404, "{path}");
        expected.push(format!("of API token {id}"));
    }
    let seen = log(&people, &anna, "refused").await;
    assert_eq!(seen.len(), expected.len());
    for (record, expected) in seen.iter().zip(&expected) {
        let subject = record["subject"].as_str().expect("text");
        assert!(
            subject.ends_with(expected.as_str()),
            "{subject}: {expected}"
        );
        assert_eq!(
            (&record["account"], &record["actor"]),
            (&json!(acme), &json!("user/2"))
        );
    }
}

#[tokio::test]
async fn an_accounts_admin_sees_what_its_reader_was_refused_and_who_of_it_came_and_went() {
    let people = People::new().await;
    let acme = people.account("acme", "pro").await;
    let anna = people.person(Some(acme), "anna", "admin").await;
    let bert = people.person(Some(acme), "bert", "reader").await;
    let body = json!({"account": acme, "signal": "logs", "name": "n"});
    let (status, _) = people.call(&bert, "POST", "/tokens", &body).await;
    assert_eq!(status, 403);
    people.ok(&bert, "DELETE", "/session", Value::Null).await;
    for name in ["bert", "nobody of that name"] {
        let wrong = json!({"name": name, "password": "a wrong password"});
        let call = people
            .call(&Hand::Nothing, "POST", "/session", &wrong)
            .await;
        assert_eq!(call.0, 401);
    }
    for (action, subjects) in [
        ("refused", &["post /tokens of /tokens"][..]),
        ("session.begin", &["user/2", "user/3"]),
        ("session.end", &["user/3"]),
        ("session.refused", &["user/3"]),
    ] {
        let seen = log(&people, &anna, action).await;
        let seen: Vec<_> = seen.iter().map(|it| it["subject"].clone()).collect();
        assert_eq!(seen, subjects, "{action}");
    }
    let all = log(&people, &people.operator(), "session.refused").await;
    let unknown = all.last().expect("a record");
    assert_eq!(
        (&unknown["subject"], &unknown["account"]),
        (&json!("user/?"), &Value::Null)
    );
}

#[tokio::test]
async fn what_a_handler_refuses_is_on_record_too() {
    let people = People::new().await;
    let acme = people.account("acme", "pro").await;
    let beta = people.account("beta", "pro").await;
    let anna = people.person(Some(acme), "anna", "admin").await;
    let token = |account| json!({"account": account, "signal": "logs", "name": "n"});
    let person = json!({"name": "eve", "password": "a long enough one", "role": "operator"});
    for (path, body, status) in [
        ("/tokens", token(beta), 404),
        ("/users", person, 403),
        (
            "/leaks",
            json!({"token": "a token of nobody that we know"}),
            404,
        ),
        ("/tokens", token(acme), 201),
    ] {
        let (said, answer) = people.call(&anna, "POST", path, &body).await;
        assert_eq!(said, status, "{path} {answer}");
    }
    let seen = log(&people, &anna, "refused").await;
    let subjects: Vec<_> = seen.iter().map(|it| it["subject"].clone()).collect();
    let expected = [
        "post /tokens of /tokens",
        "post /users of /users",
        "post /leaks of /leaks",
    ];
    assert_eq!(subjects, expected);
    // An operator who mistypes a name was refused nothing.
    let (status, _) = people
        .call(&people.operator(), "POST", "/tokens", &token(999))
        .await;
    assert_eq!(status, 404);
    assert_eq!(log(&people, &people.operator(), "refused").await.len(), 3);
}

#[tokio::test]
async fn a_nul_is_a_clear_error_wherever_it_stands_and_in_a_login_is_nobodys_name() {
    let people = People::new().await;
    let hand = people.operator();
    for path in [
        "/tokens?name=a%00b",
        "/audit?actor=%00",
        "/accounts?name=%00",
    ] {
        let (status, said) = people.call(&hand, "GET", path, &Value::Null).await;
        assert_eq!(
            (status, &said["detail"]),
            (400, &json!("a text has a NUL in it")),
            "{path}"
        );
    }
    let wrong = json!({"name": "operator\0", "password": "a wrong password"});
    let (status, _) = people
        .call(&Hand::Nothing, "POST", "/session", &wrong)
        .await;
    assert_eq!(status, 401);
    assert_eq!(log(&people, &hand, "session.refused").await.len(), 1);
}

#[tokio::test]
async fn who_fails_to_log_in_uses_up_no_record_of_the_accounts_own_callers() {
    let people = People::new().await;
    let acme = people.account("acme", "pro").await;
    let anna = people.person(Some(acme), "anna", "admin").await;
    for id in 0..100 {
        let path = format!("/tokens/{}", 1000 + id);
        assert_eq!(refused(&people, &anna, "DELETE", &path).await, 404);
    }
    let wrong = json!({"name": "anna", "password": "a wrong password"});
    let (status, _) = people
        .call(&Hand::Nothing, "POST", "/session", &wrong)
        .await;
    assert_eq!(status, 401);
    assert_eq!(log(&people, &anna, "refused").await.len(), 100);
    assert_eq!(log(&people, &anna, "session.refused").await.len(), 1);
}

#[tokio::test]
async fn what_was_refused_just_before_the_end_is_on_record_after_it() {
    let people = People::new().await;
    let acme = people.account("acme", "pro").await;
    let anna = people.person(Some(acme), "anna", "admin").await;
    assert_eq!(refused(&people, &anna, "DELETE", "/tokens/999").await, 404);
    people.world.control.clone().close().await;
    let world = World::within(Config::default(), people.world.folder).await;
    let list = world.ok("GET", "/audit?action=refused", Value::Null).await;
    assert_eq!(list["items"][0]["account"], acme);
}

#[tokio::test]
async fn what_compatible_routes_refuse_is_on_record_and_what_they_would_have_shown_too() {
    let people = People::new().await;
    let acme = people.account("acme", "pro").await;
    let beta = people.account("beta", "pro").await;
    let token = people.shipping_token(beta, "one").await;
    let (_, all) = people
        .api_token(Some(acme), &["read", "tokens", "accounts"])
        .await;
    let (_, reads) = people.api_token(Some(acme), &["read"]).await;
    let shown = format!("/v1/log-shipping/tokens/{token}");
    let made = json!({"accountId": beta, "name": "n"});
    for (hand, method, uri, body, status) in [
        (&all, "GET", shown.as_str(), &Value::Null, 404),
        (&reads, "GET", "/v1/shared-tokens", &Value::Null, 403),
        (&all, "POST", "/v1/api-tokens/sub-account", &made, 404),
        (
            &reads,
            "GET",
            "/v1/account-management/time-based-accounts/999",
            &Value::Null,
            404,
        ),
    ] {
        let (said, answer) = people.send(hand, method, uri, body).await;
        assert_eq!(said, status, "{method} {uri} {answer}");
    }
    let anna = people.person(Some(acme), "anna", "admin").await;
    let seen = log(&people, &anna, "refused").await;
    let subjects: Vec<_> = seen.iter().map(|it| it["subject"].clone()).collect();
    let expected = [
        "get /v1/log-shipping/tokens/{id}",
        "get /v1/shared-tokens",
        "post /v1/api-tokens/sub-account",
    ];
    assert_eq!(subjects, expected);
}
