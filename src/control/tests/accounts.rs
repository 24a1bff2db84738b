//! Main accounts and sub-accounts, plans, and what gateways are told of them.

use serde_json::{Value, json};

use super::{
    people::{Hand, People, id},
    world::{Follower, Kept, text},
};
use crate::model::{Account, AccountState, Change, DestinationId, Signal};

async fn refused(people: &People, method: &str, path: &str, body: Value) -> u16 {
    let operator = Hand::Token(text(&people.world.folder.path().join("admin-token")));
    people.call(&operator, method, path, &body).await.0
}

fn known(follower: &Follower, id: u64) -> Account {
    match &follower.kept.state[&format!("account/{id}")] {
        Change::Account(account) => account.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_a_main_account_changes_its_sub_accounts_have_in_the_same_revision() {
    let people = People::new().await;
    let mut follower = people.world.follow("a", Kept::default()).await;
    let main = people.account("acme", "pro").await;
    let sub = people.sub_account("acme-eu", main, true).await;
    let body = json!({"name": "elsewhere", "kind": "http", "endpoints": ["http://127.0.0.1:1"]});
    let elsewhere = id(&people.operate("POST", "/destinations", body).await);
    let own = json!({"limits": {"concurrency_max": 7}, "destinations": {"traces": null}});
    let shown = people
        .operate("PATCH", &format!("/accounts/{sub}"), own)
        .await;
    assert_eq!(shown["plan"], "pro");
    assert!(
        shown["inherited"].as_array().is_some_and(
            |names| names.contains(&json!("logs")) && !names.contains(&json!("traces"))
        )
    );

    let change = json!({"destinations": {"logs": elsewhere, "traces": elsewhere},
        "limits": {"concurrency_max": 3, "bulk_line_bytes_max": 1000}, "state": "suspended", "reason": "unpaid"});
    let changed = people
        .operate("PATCH", &format!("/accounts/{main}"), change)
        .await;
    let revision = changed["revision"].as_u64().expect("a revision");
    let deltas = follower.deltas;
    follower.until(revision).await;
    assert!(follower.deltas > deltas && follower.snapshots == 1);
    let (at_main, at_sub) = (known(&follower, main), known(&follower, sub));
    assert_eq!(at_main.state, AccountState::Suspended);
    assert_eq!(at_sub.state, AccountState::Suspended);
    assert_eq!(
        at_sub.destination(Signal::Logs),
        Some(DestinationId(elsewhere))
    );
    assert_eq!(at_sub.destination(Signal::Traces), None);
    assert_eq!(
        (
            at_sub.limits.concurrency_max,
            at_main.limits.concurrency_max
        ),
        (7, 3)
    );
    assert_eq!(at_sub.limits.bulk_line_bytes_max, 1000);
    let shown = people
        .operate("GET", &format!("/accounts/{sub}"), Value::Null)
        .await;
    assert_eq!(
        (&shown["state"], &shown["revision"]),
        (&json!("suspended"), &json!(revision))
    );
    // What the store would tell a new gateway is what the deltas told this one.
    assert_eq!(follower.kept.state, people.world.state().await);

    let change = json!({"state": "active"});
    people
        .operate("PATCH", &format!("/accounts/{main}"), change)
        .await;
    let change = json!({"inherit": ["traces", "concurrency_max"]});
    let changed = people
        .operate("PATCH", &format!("/accounts/{sub}"), change)
        .await;
    follower
        .until(changed["revision"].as_u64().expect("a revision"))
        .await;
    let at_sub = known(&follower, sub);
    assert_eq!(at_sub.state, AccountState::Active);
    assert_eq!(at_sub.limits.concurrency_max, 3);
    assert_eq!(
        at_sub.destination(Signal::Traces),
        Some(DestinationId(elsewhere))
    );
    let mut late = people.world.follow("late", Kept::default()).await;
    late.until(follower.kept.revision).await;
    assert_eq!(late.kept.state, follower.kept.state);
}

#[tokio::test]
async fn accounts_stand_in_two_floors_and_none_is_deleted_with_another_on_it() {
    let people = People::new().await;
    let main = people.account("acme", "community").await;
    let sub = people.sub_account("acme-eu", main, true).await;
    for (body, status) in [
        (json!({"name": "x", "parent": sub}), 409),
        (json!({"name": "x", "parent": 999}), 404),
        (json!({"name": "x", "parent": "nowhere"}), 404),
        (json!({"name": "x", "parent": main, "plan": "pro"}), 409),
        (json!({"name": "x", "plan": "gold"}), 400),
        (json!({"name": "x", "plan": "trial"}), 400),
        (
            json!({"name": "x", "plan": "pro", "trial_until": "2100-01-01T00:00:00Z"}),
            400,
        ),
        (json!({"name": "acme-eu"}), 409),
    ] {
        assert_eq!(
            refused(&people, "POST", "/accounts", body.clone()).await,
            status,
            "{body}"
        );
    }
    let path = format!("/accounts/{main}");
    for (body, status) in [
        (json!({"accessible": false}), 409),
        (json!({"reason": "why"}), 409),
        (
            json!({"state": "suspended", "reason": "x".repeat(501)}),
            400,
        ),
        (json!({"inherit": ["logs"]}), 409),
        (json!({"inherit": ["nothing"]}), 400),
    ] {
        assert_eq!(
            refused(&people, "PATCH", &path, body.clone()).await,
            status,
            "{body}"
        );
    }
    let plan = json!({"plan": "pro"});
    assert_eq!(
        refused(&people, "PATCH", &format!("/accounts/{sub}"), plan).await,
        409
    );
    assert_eq!(refused(&people, "DELETE", &path, Value::Null).await, 409);
    people.user(Some(sub), "anna", "admin").await;
    let anna = people.log_in("anna").await;
    people
        .operate("DELETE", &format!("/accounts/{sub}"), Value::Null)
        .await;
    let (status, _) = people.call(&anna, "GET", "/session", &Value::Null).await;
    assert_eq!(status, 401, "who belonged to it is nobody");
    people.operate("DELETE", &path, Value::Null).await;
}

#[tokio::test]
async fn a_plan_bounds_what_is_enabled_and_what_is_there_already_goes_on() {
    let people = People::new().await;
    let account = people.account("acme", "community").await;
    let token = json!({"account": account, "signal": "logs", "name": "n"});
    let first = id(&people.operate("POST", "/tokens", token.clone()).await);
    assert_eq!(
        refused(&people, "POST", "/tokens", token.clone()).await,
        409
    );
    // Another signal counts by itself, and a rotation adds nothing.
    let traces = json!({"account": account, "signal": "traces", "name": "n"});
    people.operate("POST", "/tokens", traces).await;
    let path = format!("/tokens/{first}");
    let second = id(&people
        .operate("POST", &format!("{path}/rotate"), Value::Null)
        .await);

    let plan = json!({"plan": "trial", "trial_until": "2100-01-01T00:00:00Z"});
    people
        .operate("PATCH", &format!("/accounts/{account}"), plan)
        .await;
    for _ in 0..14 {
        people.operate("POST", "/tokens", token.clone()).await;
    }
    assert_eq!(
        refused(&people, "POST", "/tokens", token.clone()).await,
        409
    );
    let ended = json!({"plan": "trial", "trial_until": "2021-01-01T00:00:00Z"});
    people
        .operate("PATCH", &format!("/accounts/{account}"), ended)
        .await;
    let live = people
        .operate(
            "GET",
            "/tokens?account=acme&signal=logs&state=live",
            Value::Null,
        )
        .await;
    assert_eq!(
        live["items"].as_array().map(Vec::len),
        Some(16),
        "15, and the rotated one on its way out"
    );
    people
        .operate("POST", &format!("/tokens/{first}/revoke"), Value::Null)
        .await;
    let path = format!("/tokens/{second}");
    people
        .operate("POST", &format!("{path}/rotate"), Value::Null)
        .await;
    let one = live["items"][5]["id"].as_u64().expect("an id");
    people
        .operate("POST", &format!("/tokens/{one}/disable"), Value::Null)
        .await;
    let path = format!("/tokens/{one}/enable");
    assert_eq!(refused(&people, "POST", &path, Value::Null).await, 409);
}

#[tokio::test]
async fn the_last_enabled_token_of_a_signal_is_disabled_only_by_force_and_revoked_in_one_step() {
    let people = People::new().await;
    let account = people.account("acme", "pro").await;
    let token = people.shipping_token(account, "one").await;
    let path = format!("/tokens/{token}/disable");
    assert_eq!(refused(&people, "POST", &path, Value::Null).await, 409);
    let forced = format!("{path}?force=true");
    let disabled = people.operate("POST", &forced, Value::Null).await;
    assert_eq!(disabled["state"], "disabled");
    let other = people.shipping_token(account, "two").await;
    people
        .operate("POST", &format!("/tokens/{token}/enable"), Value::Null)
        .await;
    people.operate("POST", &path, Value::Null).await;
    people
        .operate("POST", &format!("/tokens/{other}/revoke"), Value::Null)
        .await;
}

#[tokio::test]
async fn what_ends_with_an_account_is_on_record_each_once_and_by_itself() {
    let people = People::new().await;
    let account = people.account("acme", "pro").await;
    let (revoked, first) = people.api_token(Some(account), &["read"]).await;
    let (live, second) = people.api_token(Some(account), &["tokens"]).await;
    let (shared, third) = people.shared_token(account, &[]).await;
    let (shared_before, fourth) = people.shared_token(account, &[]).await;
    let user = people.user(Some(account), "anna", "admin").await;
    let of_others = people.api_token(None, &["read"]).await.1;
    for path in [
        format!("/api-tokens/{revoked}/revoke"),
        format!("/shared-tokens/{shared_before}/revoke"),
    ] {
        people.operate("POST", &path, Value::Null).await;
    }
    let log = format!("/audit?account={account}&limit=1000");
    let before = people.operate("GET", &log, Value::Null).await;
    let before = before["items"].as_array().expect("items").len();
    let path = format!("/accounts/{account}");
    people.operate("DELETE", &path, Value::Null).await;

    let log = people.operate("GET", &log, Value::Null).await;
    let ends = &log["items"].as_array().expect("items")[before..];
    let said: Vec<_> = ends
        .iter()
        .map(|end| format!("{} {}", end["action"], end["subject"]).replace('"', ""))
        .collect();
    assert_eq!(
        said,
        [
            format!("api_token.revoke api_token/{live}"),
            format!("shared_token.revoke shared_token/{shared}"),
            format!("user.delete user/{user}"),
            format!("account.delete account/{account}"),
        ]
    );
    for end in ends {
        assert_eq!(end["revision"], ends[0]["revision"], "one commit");
    }
    for (end, states) in ends.iter().zip([["live", "revoked"]; 2]) {
        let state = ["old", "new"].map(|side| &end[side]["state"]);
        assert_eq!(state, states, "{end}");
    }
    let log = log.to_string();
    for hand in [first, second, third, fourth] {
        let Hand::Token(token) = hand else {
            panic!("a token");
        };
        assert!(!log.contains(&token), "no secret");
    }
    people.ok(&of_others, "GET", "/accounts", Value::Null).await;
    people.world.control.verify_audit().await.expect("intact");
}
