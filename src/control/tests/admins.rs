//! Somebody is left who runs an account, whoever asks for what.

use serde_json::{Value, json};

use super::people::{Hand, People};

/// Everybody who may have an admin deleted or made a reader is told the same, and nothing is changed.
async fn stays(people: &People, hands: &[&Hand], user: u64, account: u64) {
    let path = format!("/users/{user}");
    let before = people.operate("GET", &path, Value::Null).await;
    for hand in hands {
        for (method, body) in [
            ("DELETE", Value::Null),
            ("PATCH", json!({"role": "reader"})),
        ] {
            let (status, refusal) = people.call(hand, method, &path, &body).await;
            assert_eq!(status, 409, "{method}: {refusal}");
            let detail = refusal["detail"].as_str().expect("text");
            let why =
                format!("is the last admin of account {account}; make somebody else one first");
            assert!(detail.ends_with(&why), "{detail}");
        }
    }
    assert_eq!(people.operate("GET", &path, Value::Null).await, before);
}

#[tokio::test]
async fn the_last_admin_of_an_account_goes_when_there_is_another_one() {
    let people = People::new().await;
    let account = people.account("acme", "pro").await;
    // Neither readers nor another account's admins run it, and a token is nobody who logs in.
    let reader = people.user(Some(account), "carl", "reader").await;
    let other = people.account("other", "pro").await;
    people.user(Some(other), "of others", "admin").await;
    let (_, token) = people
        .api_token(Some(account), &["read", "tokens", "accounts"])
        .await;
    let user = people.user(Some(account), "anna", "admin").await;
    let anna = people.log_in("anna").await;
    stays(&people, &[&anna, &token, &people.operator()], user, account).await;
    people.ok(&anna, "GET", "/session", Value::Null).await;

    let path = format!("/users/{user}");
    let same = json!({"role": "admin"});
    people.operate("PATCH", &path, same).await;
    let password = json!({"password": "another one, long enough"});
    people.operate("PATCH", &path, password).await;
    let path = format!("/users/{reader}");
    people
        .operate("PATCH", &path, json!({"role": "admin"}))
        .await;
    let carl = people.log_in("carl").await;
    let path = format!("/users/{user}");
    people
        .ok(&carl, "PATCH", &path, json!({"role": "reader"}))
        .await;
    people.ok(&carl, "DELETE", &path, Value::Null).await;
    stays(&people, &[&carl], reader, account).await;
    // With the account everybody goes.
    let path = format!("/accounts/{account}");
    people.operate("DELETE", &path, Value::Null).await;
    let path = format!("/users/{reader}");
    let (status, _) = people
        .call(&people.operator(), "GET", &path, &Value::Null)
        .await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn of_two_admins_who_are_deleted_at_the_same_moment_one_stays() {
    let people = People::new().await;
    let account = people.account("acme", "pro").await;
    for round in 0..5 {
        let mut calls = Vec::new();
        for name in ["anna", "bert"] {
            let user = people
                .user(Some(account), &format!("{name} {round}"), "admin")
                .await;
            calls.push(format!("/users/{user}"));
        }
        // Who is left of the round before.
        let list = format!("/users?account={account}");
        let list = people.operate("GET", &list, Value::Null).await;
        for user in list["items"].as_array().expect("items") {
            let path = format!("/users/{}", user["id"]);
            if !calls.contains(&path) {
                people.operate("DELETE", &path, Value::Null).await;
            }
        }
        let operator = people.operator();
        let [one, other] =
            [&calls[0], &calls[1]].map(|path| people.call(&operator, "DELETE", path, &Value::Null));
        let (one, other) = tokio::join!(one, other);
        let mut statuses = [one.0, other.0];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "{} {}", one.1, other.1);
    }
}

#[tokio::test]
async fn a_sub_account_has_the_admins_of_its_main_account_as_long_as_that_one_reaches_it() {
    let people = People::new().await;
    let main = people.account("acme", "pro").await;
    let reached = people.sub_account("acme-eu", main, true).await;
    let hidden = people.sub_account("acme-board", main, false).await;
    let of_reached = people.user(Some(reached), "anna", "admin").await;
    let of_hidden = people.user(Some(hidden), "bert", "admin").await;
    let operator = people.operator();
    // Nobody runs the main account but operators.
    stays(&people, &[&operator], of_reached, reached).await;
    let of_main = people.user(Some(main), "carl", "admin").await;
    let carl = people.log_in("carl").await;
    stays(&people, &[&carl, &operator], of_main, main).await;
    stays(&people, &[&operator], of_hidden, hidden).await;
    let path = format!("/users/{of_reached}");
    people.ok(&carl, "DELETE", &path, Value::Null).await;

    // A sub-account that is deleted takes its last admin with it, by compatible routes, too.
    let body = json!({"accessible": true});
    people
        .operate("PATCH", &format!("/accounts/{hidden}"), body)
        .await;
    let (_, token) = people
        .api_token(Some(main), &["read", "tokens", "accounts"])
        .await;
    let uri = format!("/v1/account-management/time-based-accounts/{hidden}");
    let (status, answer) = people.send(&token, "DELETE", &uri, &Value::Null).await;
    assert!((200..300).contains(&status), "{status} {answer}");
    let path = format!("/users/{of_hidden}");
    let (status, _) = people.call(&operator, "GET", &path, &Value::Null).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn a_sub_account_is_withdrawn_by_its_main_account_only_when_somebody_of_its_own_runs_it() {
    let people = People::new().await;
    let main = people.account("acme", "pro").await;
    let sub = people.sub_account("acme-eu", main, true).await;
    let anna = people.person(Some(main), "anna", "admin").await;
    let all = ["read", "tokens", "accounts"];
    let (_, of_main) = people.api_token(Some(main), &all).await;
    let (_, of_sub) = people.api_token(Some(sub), &all).await;
    people.user(Some(sub), "bert", "reader").await;
    let path = format!("/accounts/{sub}");
    let withdrawn = json!({"accessible": false});
    let why = "a sub-account that has no admin of its own stays accessible to its main account; make an admin in it first";
    for hand in [&anna, &of_main, &of_sub] {
        let (status, refusal) = people.call(hand, "PATCH", &path, &withdrawn).await;
        assert_eq!((status, &refusal["detail"]), (409, &json!(why)));
    }
    for hand in [&anna, &of_main] {
        let body = json!({"name": "acme-board", "parent": main, "accessible": false});
        let (status, refusal) = people.call(hand, "POST", "/accounts", &body).await;
        assert_eq!((status, &refusal["detail"]), (409, &json!(why)));
    }
    let shown = people.ok(&anna, "GET", &path, Value::Null).await;
    assert_eq!(shown["accessible"], true);
    let body = json!({"name": "acme-us", "parent": main, "accessible": true});
    people.ok(&anna, "POST", "/accounts", body).await;
    people
        .ok(&anna, "PATCH", &path, json!({"accessible": true}))
        .await;

    // Operators reach it in any case.
    people.sub_account("acme-board", main, false).await;
    people.operate("PATCH", &path, withdrawn.clone()).await;
    // Nothing is withdrawn by saying once more that it is.
    people.ok(&of_sub, "PATCH", &path, withdrawn.clone()).await;
    people
        .operate("PATCH", &path, json!({"accessible": true}))
        .await;

    let user = people.user(Some(sub), "carl", "admin").await;
    people.ok(&anna, "PATCH", &path, withdrawn).await;
    stays(&people, &[&of_sub, &people.operator()], user, sub).await;
}
