//! Shared tokens from outside: what they show, what they don't, and when they end.

use serde_json::{Value, json};

use super::{
    people::{Hand, People, id},
    stores,
    usage::{report, tell, token},
    world::{Follower, Kept},
};

/// An account with a token of each signal, `one` to `three`, of which 1, 10 and 100 items were shipped.
struct Shop {
    people: People,
    account: u64,
    tokens: Vec<u64>,
    _follower: Follower,
}

impl Shop {
    async fn new() -> Self {
        let people = People::new().await;
        let account = people.account("acme", "pro").await;
        let mut tokens = Vec::new();
        for (signal, name) in [("logs", "one"), ("metrics", "two"), ("traces", "three")] {
            let body = json!({"account": account, "signal": signal, "name": name});
            tokens.push(id(&people.operate("POST", "/tokens", body).await));
        }
        let mut follower = people.world.follow("a", Kept::default()).await;
        let head = people.world.control.feed_state().head;
        follower.until(head).await;
        let used = tokens.iter().zip([1, 10, 100]);
        let used = used.map(|(id, items)| token(*id, items)).collect();
        tell(&mut follower, report(7, 1, used)).await;
        Self {
            people,
            account,
            tokens,
            _follower: follower,
        }
    }

    async fn filter(&self, field: &str, value: &str) -> u64 {
        self.people.shared_filter(self.account, field, value).await
    }

    async fn sees(&self, hand: &Hand) -> (u16, u64) {
        let path = "/shared/usage?step=day";
        let (status, page) = self.people.call(hand, "GET", path, &Value::Null).await;
        let rows = page["items"].as_array().cloned().unwrap_or_default();
        let items = rows.iter().filter_map(|row| row["items"].as_u64());
        (status, items.sum())
    }
}

#[tokio::test]
async fn filters_narrow_what_is_shown_by_and_and_by_or() {
    let shop = Shop::new().await;
    let other = shop.people.account("other", "pro").await;
    let elsewhere = shop.people.shared_token(other, &[]).await.1;
    assert_eq!(shop.sees(&elsewhere).await, (200, 0));
    let logs = shop.filter("signal", "logs").await;
    let metrics = shop.filter("signal", "metrics").await;
    let one = shop.filter("token_name", "one").await;
    let third = shop.filter("token_id", &shop.tokens[2].to_string()).await;
    let unknown = shop.filter("env", "prod").await;
    let wrong = shop.filter("token_id", "three").await;
    let (shared, hand) = shop.people.shared_token(shop.account, &[]).await;
    let path = format!("/shared-tokens/{shared}");
    assert_eq!(shop.sees(&hand).await, (200, 111), "no filter, all of it");
    for (join, filters, items) in [
        ("and", vec![logs], 1),
        ("and", vec![logs, one], 1),
        ("and", vec![logs, metrics], 0),
        ("or", vec![logs, metrics], 11),
        ("or", vec![one, third], 101),
        ("or", vec![third, unknown], 100),
        ("and", vec![third, unknown], 0),
        ("or", vec![unknown], 0),
        ("or", vec![wrong], 0),
        ("or", vec![one, one], 1),
    ] {
        let change = json!({"join": join, "filters": filters});
        shop.people.operate("PATCH", &path, change).await;
        assert_eq!(shop.sees(&hand).await, (200, items), "{join} {filters:?}");
    }
    // What is asked for narrows further, and never widens.
    let narrowed = json!({"join": "and", "filters": [logs]});
    shop.people.operate("PATCH", &path, narrowed).await;
    for (query, rows) in [
        ("signal=metrics", 0),
        ("signal=logs", 1),
        ("group=token", 1),
    ] {
        let path = format!("/shared/usage?step=day&{query}");
        let page = shop.people.ok(&hand, "GET", &path, Value::Null).await;
        assert_eq!(
            page["items"].as_array().map(Vec::len),
            Some(rows),
            "{query}"
        );
    }
    // A name is what a token is called now.
    let renamed = json!({"name": "renamed"});
    let path_of_one = format!("/tokens/{}", shop.tokens[0]);
    shop.people.operate("PATCH", &path_of_one, renamed).await;
    let by_name = json!({"join": "and", "filters": [one]});
    shop.people.operate("PATCH", &path, by_name).await;
    assert_eq!(shop.sees(&hand).await, (200, 0));
}

#[tokio::test]
async fn a_shared_token_ends_in_the_next_request_by_each_of_its_ends() {
    let shop = Shop::new().await;
    let people = &shop.people;
    let account = shop.account;
    let sub = people.sub_account("acme-eu", account, true).await;
    let (revoked, hand) = people.shared_token(account, &[]).await;
    assert_eq!(shop.sees(&hand).await.0, 200);
    let path = format!("/shared-tokens/{revoked}");
    let operator = people.operator();
    let try_it = async |method: &str, path: &str, body: Value| {
        people.call(&operator, method, path, &body).await.0
    };
    let deleted = try_it("DELETE", &path, Value::Null).await;
    assert_eq!(deleted, 409, "revoked first, then deleted");
    people
        .operate("POST", &format!("{path}/revoke"), Value::Null)
        .await;
    assert_eq!(shop.sees(&hand).await.0, 401);
    let reveal = format!("{path}/reveal");
    assert_eq!(try_it("POST", &reveal, Value::Null).await, 409);
    assert_eq!(try_it("PATCH", &path, json!({"name": "n"})).await, 409);
    people.operate("DELETE", &path, Value::Null).await;
    assert_eq!(try_it("GET", &path, Value::Null).await, 404);

    let at = std::time::SystemTime::now() + std::time::Duration::from_secs(2);
    let at = humantime::format_rfc3339_seconds(at).to_string();
    let body = json!({"account": account, "name": "n", "filters": [], "expires_at": at});
    let made = people.operate("POST", "/shared-tokens", body).await;
    let brief = Hand::Token(made["token"].as_str().expect("text").to_owned());
    assert_eq!(shop.sees(&brief).await.0, 200);
    tokio::time::sleep(std::time::Duration::from_millis(2100)).await;
    assert_eq!(shop.sees(&brief).await.0, 401);
    let record = people
        .operate("GET", &format!("/shared-tokens/{}", id(&made)), Value::Null)
        .await;
    assert_eq!(record["state"], "expired");
    assert!(record["last_used_at"].is_string());

    let (_, of_main) = people.shared_token(account, &[]).await;
    let (_, of_sub) = people.shared_token(sub, &[]).await;
    let main = format!("/accounts/{account}");
    for (state, status) in [("suspended", 403), ("active", 200)] {
        people
            .operate("PATCH", &main, json!({"state": state}))
            .await;
        assert_eq!(shop.sees(&of_main).await.0, status);
        assert_eq!(shop.sees(&of_sub).await.0, status, "with its main account");
    }
    people
        .operate("DELETE", &format!("/accounts/{sub}"), Value::Null)
        .await;
    assert_eq!(shop.sees(&of_sub).await.0, 401);
}

#[tokio::test]
async fn an_expiry_is_seven_days_unless_said_otherwise_and_none_only_when_asked_for() {
    let people = People::new().await;
    let account = people.account("acme", "community").await;
    let make = async |more: Value| {
        let mut body = json!({"account": account, "name": "n", "filters": []});
        if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
            body.extend(more.clone());
        }
        people
            .call(&people.operator(), "POST", "/shared-tokens", &body)
            .await
    };
    let (status, made) = make(json!({})).await;
    assert_eq!(status, 201);
    let at = humantime::parse_rfc3339(made["expires_at"].as_str().expect("a time"));
    let life = at
        .expect("RFC 3339")
        .duration_since(std::time::SystemTime::now());
    let days = life.expect("ahead").as_secs_f64() / 86_400.0;
    assert!((6.9..7.1).contains(&days), "{days}");
    assert_eq!(made["join"], "and");
    let (_, endless) = make(json!({"expires_at": null})).await;
    assert!(endless["expires_at"].is_null() && endless["state"] == "live");
    for wrong in [
        json!({"expires_at": "2020-01-01T00:00:00Z"}),
        json!({"expires_at": "tomorrow"}),
        json!({"join": "xor"}),
        json!({"filters": [0]}),
        json!({"filters": "all"}),
        json!({"filters": (1..=33).collect::<Vec<u64>>()}),
        json!({"name": ""}),
        json!({"more": 1}),
    ] {
        assert_eq!(make(wrong.clone()).await.0, 400, "{wrong}");
    }
    let nothing_said = json!({"account": account, "name": "n"});
    let operator = people.operator();
    let made = people.call(&operator, "POST", "/shared-tokens", &nothing_said);
    assert_eq!(made.await.0, 400, "that all is shown must be said");
}

#[tokio::test]
async fn filters_are_words_and_of_the_tokens_account_and_stay_while_they_are_gone_by() {
    let people = People::new().await;
    let account = people.account("acme", "pro").await;
    let other = people.account("other", "pro").await;
    let operator = people.operator();
    for (field, value) in [("", "a"), ("a", ""), ("a b", "c"), ("a", "b=c"), ("ä", "b")] {
        let body = json!({"account": account, "field": field, "value": value});
        let (status, _) = people
            .call(&operator, "POST", "/shared-filters", &body)
            .await;
        assert_eq!(status, 400, "{field:?} = {value:?}");
    }
    let filter = people.shared_filter(account, "signal", "logs").await;
    let path = format!("/shared-filters/{filter}");
    let described = json!({"description": "our logs"});
    let changed = people.operate("PATCH", &path, described).await;
    assert_eq!(changed["description"], "our logs");
    let widened = json!({"value": "metrics", "description": ""});
    let (status, _) = people.call(&operator, "PATCH", &path, &widened).await;
    assert_eq!(status, 400, "what it matches stays");
    let stolen = json!({"account": other, "name": "n", "filters": [filter]});
    let (status, problem) = people
        .call(&operator, "POST", "/shared-tokens", &stolen)
        .await;
    let unknown = json!({"account": other, "name": "n", "filters": [999]});
    let (_, same) = people
        .call(&operator, "POST", "/shared-tokens", &unknown)
        .await;
    assert_eq!(status, 404);
    let detail = problem["detail"].as_str().expect("text");
    assert_eq!(detail.replace(&filter.to_string(), "999"), same["detail"]);
    let (token, _) = people.shared_token(account, &[filter]).await;
    let change = json!({"filters": [filter, 999]});
    let path_of_token = format!("/shared-tokens/{token}");
    let changed = people.call(&operator, "PATCH", &path_of_token, &change);
    assert_eq!(changed.await.0, 404);
    let (status, _) = people.call(&operator, "DELETE", &path, &Value::Null).await;
    assert_eq!(status, 409, "a token goes by it");
    let revoke = format!("/shared-tokens/{token}/revoke");
    people.operate("POST", &revoke, Value::Null).await;
    people.operate("DELETE", &path, Value::Null).await;
    let (status, _) = people.call(&operator, "GET", &path, &Value::Null).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn a_reveal_is_audited_and_the_token_lies_nowhere_in_the_open() {
    let people = People::new().await;
    let account = people.account("acme", "pro").await;
    let (token, Hand::Token(text)) = people.shared_token(account, &[]).await else {
        panic!("a token");
    };
    assert!(text.starts_with("whf_r_"));
    let path = format!("/shared-tokens/{token}/reveal");
    let revealed = people.operate("POST", &path, Value::Null).await;
    assert_eq!(revealed["token"], text);
    let subject = format!("/audit?subject=shared_token/{token}");
    let log = people.operate("GET", &subject, Value::Null).await;
    let actions: Vec<_> = log["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|record| (record["action"].clone(), record["account"].clone()))
        .collect();
    let of_account = |action: &str| (json!(action), json!(account));
    assert_eq!(
        actions,
        [
            of_account("shared_token.create"),
            of_account("shared_token.reveal")
        ]
    );
    assert!(!log.to_string().contains(&text));
    let list = people.operate("GET", "/shared-tokens", Value::Null).await;
    assert!(!list.to_string().contains("whf_"));
    for file in stores::bytes(people.world.folder.path()).await {
        let found = file.windows(text.len()).any(|part| part == text.as_bytes());
        assert!(!found, "the token lies in the store");
    }
    people.world.control.verify_audit().await.expect("intact");
}
