//! What an account may have in all, whatever its state: in every gateway's memory, in the store, in a list.

use serde_json::{Value, json};

use super::people::{Hand, People, id};
use crate::control::{
    plan::Plan,
    record::Settings,
    scope::{Role, Scopes},
    store::{NewAccount, NewApiToken, NewUser},
};

/// Of an account and signal.
const KEPT: usize = 1_000;
const SUBS: &str = "/v1/account-management/time-based-accounts";
const TOKENS: &str = "/v1/log-shipping/tokens";

async fn import(people: &People, account: u64, signal: &str, lines: &[Value]) -> Value {
    let lines: Vec<_> = lines.iter().map(Value::to_string).collect();
    let path = format!("/tokens/import?account={account}&signal={signal}");
    let request = people.world.request("POST", &path, lines.join("\n"));
    let (status, _, answer) = people.world.raw(request).await;
    assert_eq!(status, 200);
    serde_json::from_slice(&answer).expect("JSON")
}

fn disabled(numbers: std::ops::Range<usize>) -> Vec<Value> {
    numbers
        .map(|n| json!({"token": format!("imported-token-{n:06}"), "enabled": false}))
        .collect()
}

fn expired(n: usize) -> Value {
    json!({"token": format!("imported-token-{n:06}"), "expires_at": "2020-01-01T00:00:00Z"})
}

/// One call of the admin API, which must be refused in those words.
async fn refuses(people: &People, hand: &Hand, path: &str, body: Value, words: &str) {
    says(people.call(hand, "POST", path, &body).await, words);
}

/// The answer, which must be a refusal in those words.
fn says((status, answer): (u16, Value), words: &str) {
    assert_eq!(status, 409, "{answer}");
    let detail = answer["detail"].as_str().or(answer["message"].as_str());
    let detail = detail.expect("text");
    assert!(detail.contains(words), "{detail}");
}

fn shipping(account: u64) -> Value {
    json!({"account": account, "signal": "logs", "name": "one more"})
}

const NO_MORE: &str = "allows 1000 tokens that are not revoked per account and signal";

#[tokio::test]
async fn tokens_that_are_disabled_or_expired_are_bounded_at_every_way_in() {
    let people = People::new().await;
    let operator = people.operator();
    let account = people.account("acme", "pro").await;
    let (_, hand) = people.api_token(Some(account), &["tokens"]).await;
    let live = people.shipping_token(account, "live").await;
    let mut lines = disabled(0..KEPT - 2);
    lines.extend([expired(KEPT), expired(KEPT + 1)]);
    let done = import(&people, account, "logs", &lines).await;
    assert_eq!((&done["made"], &done["refused"]), (&json!(999), &json!(1)));
    let reason = done["refusals"][0]["reason"].as_str().expect("text");
    assert!(reason.contains(NO_MORE), "{reason}");
    // In a batch of its own too, and what is there already is known, and nothing more.
    let done = import(&people, account, "logs", &disabled(KEPT - 3..KEPT - 1)).await;
    assert_eq!((&done["known"], &done["refused"]), (&json!(1), &json!(1)));
    let mut given = shipping(account);
    given["token"] = json!("a-token-from-elsewhere");
    for body in [shipping(account), given] {
        for hand in [&hand, &operator] {
            refuses(&people, hand, "/tokens", body.clone(), NO_MORE).await;
        }
    }
    let rotate = format!("/tokens/{live}/rotate");
    refuses(&people, &hand, &rotate, Value::Null, NO_MORE).await;
    let body = json!({"name": "one more"});
    says(people.send(&hand, "POST", TOKENS, &body).await, NO_MORE);
    // Another signal has room of its own, and so has whoever revokes one.
    let done = import(&people, account, "metrics", &[expired(KEPT + 2)]).await;
    assert_eq!(done["made"], 1, "{done}");
    let path = "/tokens?account=acme&signal=logs&state=disabled&limit=1";
    let listed = people.operate("GET", path, Value::Null).await;
    let revoke = format!("/tokens/{}/revoke", id(&listed["items"][0]));
    people.ok(&hand, "POST", &revoke, Value::Null).await;
    people.ok(&hand, "POST", &rotate, Value::Null).await;
    refuses(&people, &hand, "/tokens", shipping(account), NO_MORE).await;
}

#[tokio::test]
async fn who_has_more_tokens_than_their_new_plan_allows_keeps_and_changes_them() {
    let people = People::new().await;
    let account = people.account("acme", "unlimited").await;
    let done = import(&people, account, "logs", &disabled(0..KEPT + 2)).await;
    assert_eq!(done["made"], KEPT + 2, "an unlimited plan has no bound");
    let path = format!("/accounts/{account}");
    let plan = json!({"plan": "community"});
    people.operate("PATCH", &path, plan).await;
    let path = "/tokens?account=acme&limit=1";
    let listed = people.operate("GET", path, Value::Null).await;
    let token = format!("/tokens/{}", id(&listed["items"][0]));
    people.operate("PATCH", &token, json!({"name": "y"})).await;
    let enable = format!("{token}/enable");
    people.operate("POST", &enable, Value::Null).await;
    people
        .operate("DELETE", &format!("{token}?force=true"), Value::Null)
        .await;
    let operator = people.operator();
    refuses(&people, &operator, "/tokens", shipping(account), NO_MORE).await;
}

/// As many as an account may have, in one commit.
async fn fill(people: &People, account: u64) {
    let mut commit = people.world.begin().await;
    for n in 0..500 {
        let user = NewUser {
            account: Some(account),
            name: format!("person-{account}-{n}"),
            role: Role::Reader,
            password: "none".to_owned(),
        };
        commit.insert_user(user).await.expect("written");
        let token = NewApiToken {
            account: Some(account),
            name: "x".to_owned(),
            scopes: Scopes::ALL,
            expires_at: 0,
        };
        commit
            .insert_api_token(token, false)
            .await
            .expect("written");
    }
    commit.finish().await.expect("committed");
}

fn person(account: Option<u64>) -> Value {
    let role = if account.is_some() {
        "reader"
    } else {
        "operator"
    };
    json!({"account": account, "name": "one-more", "role": role, "password": "correct horse battery"})
}

fn api_token(account: Option<u64>) -> Value {
    json!({"account": account, "name": "one more", "scopes": ["read"]})
}

#[tokio::test]
async fn an_account_has_five_hundred_people_and_api_tokens_whatever_its_plan() {
    let people = People::new().await;
    let operator = people.operator();
    let main = people.account("acme", "unlimited").await;
    let sub = people.sub_account("acme-eu", main, true).await;
    let all = ["read", "tokens", "accounts"];
    let (_, hand) = people.api_token(Some(main), &all).await;
    fill(&people, sub).await;
    for hand in [&hand, &operator] {
        refuses(&people, hand, "/users", person(Some(sub)), "has 500 people").await;
        refuses(
            &people,
            hand,
            "/api-tokens",
            api_token(Some(sub)),
            "has 500 API tokens",
        )
        .await;
    }
    let body = json!({"name": "x", "accountId": sub});
    let answer = people.send(&hand, "POST", "/v1/api-tokens/sub-account", &body);
    says(answer.await, "has 500 API tokens");
    // Each account has its own, operators have no bound, and whoever ends one makes room.
    people
        .ok(&hand, "POST", "/api-tokens", api_token(Some(main)))
        .await;
    people.operate("POST", "/users", person(None)).await;
    people.operate("POST", "/api-tokens", api_token(None)).await;
    let list = format!("/api-tokens?account={sub}&limit=1");
    let listed = people.operate("GET", &list, Value::Null).await;
    let revoke = format!("/api-tokens/{}/revoke", id(&listed["items"][0]));
    people.ok(&hand, "POST", &revoke, Value::Null).await;
    people
        .ok(&hand, "POST", "/api-tokens", api_token(Some(sub)))
        .await;
}

/// So many of them, in one commit; withdrawn ones count.
async fn sub_accounts(people: &People, parent: u64, count: usize) {
    let mut commit = people.world.begin().await;
    for n in 0..count {
        let new = NewAccount {
            name: format!("sub-{parent}-{n}"),
            parent: Some(parent),
            plan: Plan::Community,
            accessible: n % 2 == 0,
            set: Settings::default(),
        };
        commit.insert_account(new).await.expect("written");
    }
    commit.finish().await.expect("committed");
}

fn below(parent: u64) -> Value {
    json!({"name": "one more", "parent": parent})
}

#[tokio::test]
async fn a_plan_bounds_the_sub_accounts_of_its_main_account() {
    let people = People::new().await;
    let operator = people.operator();
    for (plan, most) in [("community", 5), ("pro", 100)] {
        let main = people.account(plan, plan).await;
        sub_accounts(&people, main, most).await;
        let admin = people.person(Some(main), plan, "admin").await;
        let words = format!("plan {plan} allows {most} sub-accounts");
        for hand in [&admin, &operator] {
            refuses(&people, hand, "/accounts", below(main), &words).await;
        }
        if plan == "pro" {
            let (_, hand) = people.api_token(Some(main), &["accounts", "tokens"]).await;
            let body = json!({"accountName": "one more"});
            says(people.send(&hand, "POST", SUBS, &body).await, &words);
        }
        let path = format!("/accounts?parent={main}&limit=1");
        let listed = people.operate("GET", &path, Value::Null).await;
        let path = format!("/accounts/{}", id(&listed["items"][0]));
        people.operate("DELETE", &path, Value::Null).await;
        let made = people.ok(&admin, "POST", "/accounts", below(main)).await;
        people
            .operate("DELETE", &format!("/accounts/{}", id(&made)), Value::Null)
            .await;
    }
    let main = people.account("free", "unlimited").await;
    sub_accounts(&people, main, 101).await;
    people.operate("POST", "/accounts", below(main)).await;
}
