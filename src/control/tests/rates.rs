//! How fast payloads may come: of an account, of a sub-account that draws on its main account's rates, and of a token.

use serde_json::{Value, json};

use super::{
    people::{People, id},
    world::{Follower, Kept},
};
use crate::model::{Account, AccountId, Change, Rate, Rates, Token, TokenState};

fn account(follower: &Follower, id: u64) -> Account {
    match &follower.kept.state[&format!("account/{id}")] {
        Change::Account(account) => account.clone(),
        other => panic!("{other:?}"),
    }
}

fn token(follower: &Follower, id: u64) -> Token {
    match &follower.kept.state[&format!("token/{id}")] {
        Change::Token(token) => token.clone(),
        other => panic!("{other:?}"),
    }
}

const fn rate(per_second: u64, burst: u64) -> Rate {
    Rate { per_second, burst }
}

/// Changes something, and waits until the follower has it.
async fn change(people: &People, follower: &mut Follower, path: &str, body: Value) -> Value {
    let changed = people.operate("PATCH", path, body).await;
    let revision = changed["revision"].as_u64().expect("a revision");
    follower.until(revision).await;
    changed
}

/// What the store would tell a new gateway is what the deltas told this one.
async fn agree(people: &People, follower: &Follower) {
    assert_eq!(follower.kept.state, people.world.state().await);
    let mut late = people.world.follow("late", Kept::default()).await;
    late.until(follower.kept.revision).await;
    assert_eq!(late.kept.state, follower.kept.state);
}

#[tokio::test]
async fn a_sub_account_inherits_each_number_of_a_rate_by_itself() {
    let people = People::new().await;
    let mut follower = people.world.follow("a", Kept::default()).await;
    let main = people.account("acme", "pro").await;
    let sub = people.sub_account("acme-eu", main, true).await;
    let (main_path, sub_path) = (format!("/accounts/{main}"), format!("/accounts/{sub}"));
    let own = json!({"limits": {"requests_burst": 7, "items_per_second": 0}});
    change(&people, &mut follower, &sub_path, own).await;
    let limits = json!({"limits": {"requests_per_second": 100, "requests_burst": 500, "bytes_per_second": 1_000_000_000_000_u64,
        "items_per_second": 30, "items_burst": 40}});
    change(&people, &mut follower, &main_path, limits).await;
    let [of_main, of_sub] = [main, sub].map(|id| account(&follower, id).limits.rates);
    let large = rate(1_000_000_000_000, 0);
    assert_eq!(of_main.0, [rate(100, 500), large, rate(30, 40)]);
    assert_eq!(of_sub.0, [rate(100, 7), large, rate(0, 40)]);
    let shown = people.operate("GET", &sub_path, Value::Null).await;
    for (name, value, is_inherited) in [
        ("requests_per_second", 100, true),
        ("requests_burst", 7, false),
        ("bytes_burst", 0, true),
        ("items_per_second", 0, false),
        ("items_burst", 40, true),
    ] {
        assert_eq!(shown["limits"][name], value, "{name}");
        let inherited = shown["inherited"].as_array().expect("names");
        assert_eq!(inherited.contains(&json!(name)), is_inherited, "{name}");
    }
    let back = json!({"inherit": ["requests_burst", "items_per_second"]});
    change(&people, &mut follower, &sub_path, back).await;
    assert_eq!(account(&follower, sub).limits.rates, of_main);
    agree(&people, &follower).await;
}

#[tokio::test]
async fn sub_accounts_draw_on_their_main_account_when_they_or_it_say_so() {
    let people = People::new().await;
    let mut follower = people.world.follow("a", Kept::default()).await;
    let main = people.account("acme", "pro").await;
    let sub = people.sub_account("acme-eu", main, true).await;
    let (main_path, sub_path) = (format!("/accounts/{main}"), format!("/accounts/{sub}"));
    let draw = |is_on: bool| json!({"limits": {"draw_on_main": is_on}});
    let draws_on = |follower: &Follower, id| account(follower, id).draws_on;
    let shown = change(&people, &mut follower, &sub_path, draw(true)).await;
    assert_eq!(shown["limits"]["draw_on_main"], true);
    assert_eq!(draws_on(&follower, sub), Some(AccountId(main)));

    let shown = change(&people, &mut follower, &main_path, draw(true)).await;
    assert_eq!(shown["limits"]["draw_on_main"], true);
    assert_eq!(draws_on(&follower, main), None, "it means nothing for it");
    change(&people, &mut follower, &sub_path, draw(false)).await;
    assert_eq!(draws_on(&follower, sub), None);
    let back = json!({"inherit": ["draw_on_main"]});
    let shown = change(&people, &mut follower, &sub_path, back.clone()).await;
    assert_eq!(shown["limits"]["draw_on_main"], true);
    assert_eq!(draws_on(&follower, sub), Some(AccountId(main)));
    // One that is made now, in its first words.
    let new = people.sub_account("acme-us", main, true).await;
    follower.until(people.world.control.feed_state().head).await;
    assert_eq!(draws_on(&follower, new), Some(AccountId(main)));
    agree(&people, &follower).await;

    // The sub-accounts are stated anew with the main account's change, and nothing else was said of them.
    change(&people, &mut follower, &main_path, back).await;
    assert_eq!([sub, new].map(|id| draws_on(&follower, id)), [None; 2]);
    let log = "/audit?action=account.change&limit=1000";
    let log = people.operate("GET", log, Value::Null).await;
    let last = log["items"].as_array().and_then(|items| items.last());
    let last = last.expect("a record");
    let on_record = ["old", "new"].map(|side| last[side]["limits"]["draw_on_main"] == true);
    assert_eq!(on_record, [true, false], "{last}");
}

#[tokio::test]
async fn a_token_has_rates_of_its_own_from_its_making_to_its_end() {
    let people = People::new().await;
    let mut follower = people.world.follow("a", Kept::default()).await;
    let of = people.account("acme", "pro").await;
    let plain = people.shipping_token(of, "plain").await;
    let path = format!("/tokens/{plain}");
    let shown = people.operate("GET", &path, Value::Null).await;
    assert_eq!(shown["rates"], json!({}));
    let admin = people.person(Some(of), "anna", "admin").await;
    let body = json!({"account": of, "signal": "logs", "name": "slow",
        "rates": {"requests_per_second": 100, "requests_burst": 200, "bytes_per_second": 5000, "items_burst": null}});
    let made = people.ok(&admin, "POST", "/tokens", body).await;
    let first =
        json!({"requests_per_second": 100, "requests_burst": 200, "bytes_per_second": 5000});
    assert_eq!(made["rates"], first);
    let path = format!("/tokens/{}", id(&made));

    let body =
        json!({"rates": {"requests_burst": null, "bytes_per_second": 0, "items_per_second": 9}});
    let changed = people.ok(&admin, "PATCH", &path, body).await;
    let second = json!({"requests_per_second": 100, "items_per_second": 9});
    assert_eq!(changed["rates"], second);
    let renamed = json!({"name": "still slow"});
    let renamed = change(&people, &mut follower, &path, renamed).await;
    assert_eq!(renamed["rates"], second, "what is not named stays");
    let listed = people.operate("GET", "/tokens?name=still+slow", Value::Null);
    assert_eq!(listed.await["items"][0]["rates"], second);
    let rates = token(&follower, id(&made)).rates;
    assert_eq!(rates.0, [rate(100, 0), rate(0, 0), rate(9, 0)]);

    let rotate = format!("{path}/rotate");
    let rotated = people.ok(&admin, "POST", &rotate, Value::Null).await;
    assert_eq!(rotated["rates"], second);
    let log = "/audit?action=token.change&limit=1000";
    let log = people.operate("GET", log, Value::Null).await;
    let record = &log["items"][0];
    assert_eq!(record["old"]["rates"], first);
    assert_eq!(record["new"]["rates"], second);
    follower.until(people.world.control.feed_state().head).await;
    assert_eq!(token(&follower, id(&rotated)).rates, rates);
    agree(&people, &follower).await;

    // Nothing is paid from a tombstone; people still see what it was.
    let revoke = format!("{path}/revoke?force=true");
    let revoked = people.ok(&admin, "POST", &revoke, Value::Null).await;
    assert_eq!(revoked["rates"], second);
    people.ok(&admin, "DELETE", &path, Value::Null).await;
    follower.until(people.world.control.feed_state().head).await;
    let ended = token(&follower, id(&made));
    assert_eq!(ended.state, TokenState::Revoked);
    assert!(ended.rates == Rates::default());
    agree(&people, &follower).await;
    people.world.control.verify_audit().await.expect("intact");
}

#[tokio::test]
async fn a_rate_that_cannot_be_is_refused_by_its_name_and_changes_nothing() {
    let people = People::new().await;
    let account = people.account("acme", "pro").await;
    let made = people.shipping_token(account, "one").await;
    let head = people.world.control.feed_state().head;
    let wrong = [
        (
            json!({"bytes_per_second": 1_000_000_000_001_u64}),
            "bytes_per_second may be 1000000000000 at most",
        ),
        (
            json!({"items_burst": u64::MAX}),
            "items_burst may be 1000000000000 at most",
        ),
        (json!({"requests_per_second": -1}), "expected u64"),
        (json!({"requests_per_second": 0.5}), "expected u64"),
        (json!({"requests_per_second": "many"}), "expected u64"),
        (
            json!({"bytes_per_minute": 1}),
            "unknown field `bytes_per_minute`",
        ),
    ];
    let new = json!({"account": account, "signal": "logs", "name": "two"});
    let operator = people.operator();
    for (numbers, why) in wrong {
        for (method, path, field) in [
            ("PATCH", format!("/accounts/{account}"), "limits"),
            ("PATCH", format!("/tokens/{made}"), "rates"),
            ("POST", "/tokens".to_owned(), "rates"),
        ] {
            let mut body = if method == "POST" {
                new.clone()
            } else {
                json!({})
            };
            body[field] = numbers.clone();
            let (status, problem) = people.call(&operator, method, &path, &body).await;
            assert_eq!(status, 400, "{method} {path} {body}: {problem}");
            // Where a secret may stand beside it, what doesn't fit is not repeated.
            let detail = problem["detail"].as_str().expect("text");
            let is_checked = why.contains("at most");
            assert!(
                detail.contains(why) || (method == "POST" && !is_checked),
                "{method} {path} {body}: {problem}"
            );
        }
    }
    assert_eq!(people.world.control.feed_state().head, head);
}

#[tokio::test]
async fn readers_set_no_rates_and_admins_none_of_their_account() {
    let people = People::new().await;
    let account = people.account("acme", "pro").await;
    let other = people.account("other", "pro").await;
    let made = people.shipping_token(account, "one").await;
    let reader = people.person(Some(account), "bert", "reader").await;
    let admin = people.person(Some(account), "anna", "admin").await;
    let stranger = people.person(Some(other), "carl", "admin").await;
    let (token, limits) = (format!("/tokens/{made}"), format!("/accounts/{account}"));
    let slow = json!({"requests_per_second": 1});
    for (hand, path, field, expected) in [
        (&reader, &token, "rates", 403),
        (&stranger, &token, "rates", 404),
        (&reader, &limits, "limits", 403),
        (&admin, &limits, "limits", 403),
        (&admin, &token, "rates", 200),
    ] {
        let (status, answer) = people
            .call(hand, "PATCH", path, &json!({field: slow}))
            .await;
        assert_eq!(status, expected, "{path}: {answer}");
    }
    let seen = people.ok(&reader, "GET", &token, Value::Null).await;
    assert_eq!(seen["rates"], slow);
}

#[tokio::test]
async fn the_document_says_what_a_rate_may_be() {
    let people = People::new().await;
    let document = people.operate("GET", "/openapi.json", Value::Null).await;
    let schemas = &document["components"]["schemas"];
    for schema in ["LimitsSet", "RatesBody"] {
        for field in ["requests_per_second", "bytes_burst", "items_burst"] {
            let field = &schemas[schema]["properties"][field];
            let bounds = [&field["minimum"], &field["maximum"]];
            assert_eq!(bounds, [0_u64, 1_000_000_000_000], "{schema}: {field}");
            let is_nullable = field["type"].as_array().is_some();
            assert!(is_nullable, "{schema}: {field}");
        }
    }
    let inherit = &schemas["AccountChange"]["properties"]["inherit"]["items"]["enum"];
    for name in ["items_per_second", "draw_on_main", "concurrency_max"] {
        let names = inherit.as_array().expect("names");
        assert!(names.contains(&json!(name)), "{name}");
    }
}

#[tokio::test]
async fn a_sub_account_that_its_main_account_makes_draws_on_its_rates() {
    let people = People::new().await;
    let mut follower = people.world.follow("a", Kept::default()).await;
    let main = people.account("acme", "pro").await;
    let limits = json!({"limits": {"requests_per_second": 100}});
    people
        .operate("PATCH", &format!("/accounts/{main}"), limits)
        .await;
    let anna = people.person(Some(main), "anna", "admin").await;
    let (_, of_main) = people.api_token(Some(main), &["read", "accounts"]).await;
    for (name, hand) in [("acme-eu", &anna), ("acme-us", &of_main)] {
        let body = json!({"name": name, "parent": main});
        let made = people.ok(hand, "POST", "/accounts", body).await;
        assert_eq!(made["limits"]["draw_on_main"], true);
        follower
            .until(made["revision"].as_u64().expect("a revision"))
            .await;
        let told = account(&follower, id(&made));
        assert_eq!(told.draws_on, Some(AccountId(main)));
        let path = format!("/accounts/{}", id(&made));
        let loose = json!({"limits": {"draw_on_main": false}});
        let (status, _) = people.call(hand, "PATCH", &path, &loose).await;
        assert_eq!(status, 403, "what was sold is the operators'");
        let own = json!({"limits": {"draw_on_main": false}});
        change(&people, &mut follower, &path, own).await;
        assert_eq!(account(&follower, id(&made)).draws_on, None);
    }
    let made = people.sub_account("acme-asia", main, true).await;
    let shown = people
        .operate("GET", &format!("/accounts/{made}"), Value::Null)
        .await;
    assert_eq!(shown["limits"]["draw_on_main"], false, "as operators say");
}
