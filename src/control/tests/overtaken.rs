//! Requests that were let in and wait for the store's writer while their caller loses what let them in.

use std::time::Duration;

use serde_json::{Value, json};

use super::people::{Hand, PASSWORD, People};
use crate::control::{
    scope::Role,
    store::{AccountEdit, Commit},
};

const ALL: [&str; 3] = ["read", "tokens", "accounts"];

/// What a request is answered that is let in before the change is committed, and has its turn after that.
async fn overtaken(
    people: &People,
    hand: &Hand,
    (method, uri, body): (&str, &str, Value),
    change: impl AsyncFnOnce(Commit),
) -> (u16, Value) {
    let store = &people.world.control.inner.store;
    let commit = store.begin("test").await.expect("begun");
    let changing = async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        change(commit).await;
    };
    let (answer, ()) = tokio::join!(people.send(hand, method, uri, &body), changing);
    answer
}

/// Commits the account as `edit` makes it.
async fn edited(mut commit: Commit, account: u64, edit: impl FnOnce(&mut AccountEdit)) {
    let old = commit.account(account).await.expect("there");
    let mut new = AccountEdit::from(&old);
    edit(&mut new);
    commit.update_account(&old, new).await.expect("changed");
    commit.finish().await.expect("committed");
}

#[tokio::test]
async fn nothing_comes_of_what_an_api_token_has_asked_for_that_is_revoked_meanwhile() {
    let people = People::new().await;
    let account = people.account("acme", "unlimited").await;
    let token = people.shipping_token(account, "one").await;
    let user = people.user(Some(account), "anna", "reader").await;
    let new = json!({"account": account, "signal": "logs", "name": "outlives"});
    let person =
        json!({"account": account, "name": "outlives", "role": "admin", "password": PASSWORD});
    let more = json!({"account": account, "name": "outlives", "scopes": ["read"]});
    let import = "/api/v1/tokens/import?account=acme&signal=logs";
    let line = json!({"token": "0123456789abcdef0123", "name": "outlives"});
    for (method, uri, body, status) in [
        ("POST", "/api/v1/users", person, 401),
        (
            "PATCH",
            format!("/api/v1/users/{user}").as_str(),
            json!({"role": "admin"}),
            401,
        ),
        ("POST", "/api/v1/tokens", new, 401),
        ("POST", import, line, 401),
        ("POST", "/api/v1/api-tokens", more, 401),
        (
            "POST",
            format!("/api/v1/tokens/{token}/reveal").as_str(),
            Value::Null,
            401,
        ),
        (
            "POST",
            format!("/api/v1/tokens/{token}/revoke").as_str(),
            Value::Null,
            401,
        ),
        (
            "PATCH",
            format!("/api/v1/accounts/{account}").as_str(),
            json!({"name": "outlives"}),
            401,
        ),
        (
            "POST",
            "/v1/log-shipping/tokens",
            json!({"name": "outlives"}),
            403,
        ),
        (
            "GET",
            format!("/v1/log-shipping/tokens/{token}").as_str(),
            Value::Null,
            403,
        ),
    ] {
        let (id, hand) = people.api_token(Some(account), &ALL).await;
        let call = (method, uri, body);
        let answer = overtaken(&people, &hand, call, async |mut commit: Commit| {
            commit.revoke_api_token(id).await.expect("revoked");
            commit.finish_unpublished().await.expect("committed");
        })
        .await;
        assert_eq!(answer.0, status, "{method} {uri}: {}", answer.1);
    }
    for list in ["/users", "/tokens", "/api-tokens", "/accounts"] {
        let shown = people.operate("GET", list, Value::Null).await;
        assert!(!shown.to_string().contains("outlives"), "{shown}");
    }
    let path = format!("/tokens/{token}");
    assert_eq!(
        people.operate("GET", &path, Value::Null).await["state"],
        "live"
    );
    let path = format!("/users/{user}");
    assert_eq!(
        people.operate("GET", &path, Value::Null).await["role"],
        "reader"
    );
}

#[tokio::test]
async fn a_sub_account_that_is_withdrawn_meanwhile_is_not_there() {
    let people = People::new().await;
    let main = people.account("acme", "unlimited").await;
    let (_, hand) = people.api_token(Some(main), &ALL).await;
    for (at, method, uri, body) in [
        (0, "POST", "/api/v1/tokens/{token}/reveal", Value::Null),
        (1, "PATCH", "/api/v1/tokens/{token}", json!({"name": "x"})),
        (2, "PATCH", "/api/v1/accounts/{sub}", json!({"name": "x"})),
        (
            3,
            "PUT",
            "/v1/account-management/time-based-accounts/{sub}",
            json!({"accountName": "x"}),
        ),
    ] {
        let sub = people.sub_account(&format!("eu-{at}"), main, true).await;
        let token = people.shipping_token(sub, "one").await;
        let uri = uri
            .replace("{sub}", &sub.to_string())
            .replace("{token}", &token.to_string());
        let call = (method, uri.as_str(), body);
        let (status, answer) = overtaken(&people, &hand, call, async |commit| {
            edited(commit, sub, |edit| edit.accessible = false).await;
        })
        .await;
        assert_eq!(status, 404, "{method} {uri}: {answer}");
    }
}

#[tokio::test]
async fn who_is_demoted_or_suspended_meanwhile_changes_nothing_and_may_still_log_out() {
    let people = People::new().await;
    let account = people.account("acme", "unlimited").await;
    let new = json!({"account": account, "signal": "logs", "name": "n"});
    let user = people.user(Some(account), "anna", "admin").await;
    let anna = people.log_in("anna").await;
    let bert = people.person(Some(account), "bert", "admin").await;
    let call = ("POST", "/api/v1/tokens", new.clone());
    let (status, answer) = overtaken(&people, &anna, call, async |mut commit: Commit| {
        let demoted = commit.update_user(user, Some(Role::Reader), None).await;
        demoted.expect("changed");
        commit.finish_unpublished().await.expect("committed");
    })
    .await;
    assert_eq!(status, 401, "{answer}");

    let suspend = async |commit| {
        let why = Some("unpaid".to_owned());
        edited(commit, account, |edit| edit.suspended = why).await;
    };
    let call = ("POST", "/api/v1/tokens", new);
    let (status, answer) = overtaken(&people, &bert, call, &suspend).await;
    assert_eq!(status, 403, "{answer}");
    let path = format!("/accounts/{account}");
    let active = json!({"state": "active"});
    people.operate("PATCH", &path, active).await;
    let call = ("DELETE", "/api/v1/session", Value::Null);
    let (status, answer) = overtaken(&people, &bert, call, &suspend).await;
    assert_eq!(status, 204, "{answer}");
    let path = format!("/tokens?account={account}");
    let tokens = people.operate("GET", &path, Value::Null).await;
    assert_eq!(tokens["items"], json!([]));
}

#[tokio::test]
async fn who_logs_out_ahead_of_what_they_have_asked_for_is_nobody_by_then() {
    let people = People::new().await;
    let account = people.account("acme", "unlimited").await;
    let carl = people.person(Some(account), "carl", "admin").await;
    let new = json!({"account": account, "signal": "logs", "name": "n"});
    let store = &people.world.control.inner.store;
    let writer = store.begin("test").await.expect("begun");
    let later = async |millis| tokio::time::sleep(Duration::from_millis(millis)).await;
    let (ended, (status, answer), ()) = tokio::join!(
        people.send(&carl, "DELETE", "/api/v1/session", &Value::Null),
        async {
            later(150).await;
            people.send(&carl, "POST", "/api/v1/tokens", &new).await
        },
        async {
            later(400).await;
            drop(writer);
        },
    );
    assert_eq!((ended.0, status), (204, 401), "{answer}");
}
