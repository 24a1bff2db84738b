//! Lists: every one of the page comes in pages, narrowed by what is asked for, and takes no junk.

use serde_json::{Value, json};

use super::{
    people::{Hand, People},
    world::Kept,
};
use crate::control::admin::table;

/// What is no list, though nothing in its path says which one is shown.
const SINGLE: [&str; 5] = [
    "/openapi.json",
    "/compat/openapi.json",
    "/session",
    "/audit/verify",
    "/shared/usage",
];

fn lists() -> Vec<&'static str> {
    let rules = table().into_iter().map(|route| route.rule);
    let paths = rules
        .filter(|rule| rule.method == "get")
        .map(|rule| rule.path);
    let is_list = |path: &&str| !path.contains('{') && !SINGLE.contains(path);
    paths.filter(is_list).collect()
}

/// Two accounts, one with a sub-account, with somebody and something in each; two gateways.
async fn populated() -> People {
    let people = People::new().await;
    let acme = people.account("acme", "pro").await;
    let sub = people.sub_account("acme-eu", acme, true).await;
    let other = people.account("other", "unlimited").await;
    for (account, name) in [(acme, "anna"), (sub, "ben"), (other, "carl")] {
        people.user(Some(account), name, "reader").await;
        people.shipping_token(account, name).await;
        people.api_token(Some(account), &["read"]).await;
        let filter = people.shared_filter(account, "signal", "logs").await;
        people.shared_token(account, &[filter]).await;
    }
    let body = json!({"state": "suspended", "reason": "unpaid"});
    people
        .operate("PATCH", &format!("/accounts/{acme}"), body)
        .await;
    people
        .operate("POST", "/api-tokens/2/revoke", Value::Null)
        .await;
    let body = json!({"name": "mimir", "kind": "otlp_http", "endpoints": ["https://m:443/otlp"]});
    people.operate("POST", "/destinations", body).await;
    for name in ["b", "a"] {
        let mut follower = people.world.follow(name, Kept::default()).await;
        follower.until(1).await;
    }
    people
}

async fn items(people: &People, path: &str) -> (Vec<Value>, Value) {
    let mut list = people.operate("GET", path, Value::Null).await;
    let mut items = list["items"]
        .as_array_mut()
        .map(std::mem::take)
        .expect("items");
    for item in items.iter_mut().filter_map(Value::as_object_mut) {
        // Time goes by between two pages.
        item.retain(|name, _| {
            ![
                "last_used_at",
                "last_seen_at",
                "last_acknowledged_ms",
                "connected",
                "connected_since",
            ]
            .contains(&name.as_str())
        });
    }
    (items, list["next"].clone())
}

#[tokio::test]
async fn every_list_of_the_page_comes_in_pages_without_a_gap() {
    let people = populated().await;
    let lists = lists();
    assert!(lists.len() >= 7, "{lists:?}");
    for path in lists {
        let (all, end) = items(&people, &format!("{path}?limit=1000")).await;
        assert!(all.len() >= 2, "{path} has too little to page");
        assert_eq!(end, Value::Null, "{path}");
        let mut found = Vec::new();
        let mut after = String::new();
        loop {
            let (page, next) = items(&people, &format!("{path}?limit=1{after}")).await;
            assert!(page.len() <= 1, "{path}");
            found.extend(page);
            after = match next {
                Value::Null => break,
                Value::String(next) => format!("&after={next}"),
                next => format!("&after={next}"),
            };
            assert!(found.len() < 100, "{path} has no end");
        }
        // Reading is on no record, so the audit log stands still, too.
        assert_eq!(found, all, "{path}");
    }
}

#[tokio::test]
async fn every_list_of_the_page_refuses_junk() {
    let people = populated().await;
    let operator = Hand::Token(super::world::text(
        &people.world.folder.path().join("admin-token"),
    ));
    for path in lists() {
        let junk = [
            "limit=0",
            "limit=1001",
            "limit=-1",
            "limit=x",
            "limit=",
            "limit=1&limit=2",
            "what=1",
            "name[]=x",
        ];
        let numbers = ["after=-1", "after=x", "after=18446744073709551616"];
        let is_by_number = path != "/gateways";
        for query in junk.iter().chain(numbers.iter().filter(|_| is_by_number)) {
            let path = format!("{path}?{query}");
            let (status, problem) = people.call(&operator, "GET", &path, &Value::Null).await;
            assert_eq!(status, 400, "{path}");
            assert!(
                problem["detail"]
                    .as_str()
                    .is_some_and(|detail| detail.len() > 8),
                "{path}"
            );
        }
    }
    for path in [
        "/accounts?state=gone",
        "/accounts?plan=gold",
        "/accounts?parent=",
        "/tokens?signal=x",
        "/tokens?state=x",
        "/api-tokens?state=disabled",
        "/users?role=king",
        "/destinations?kind=tape",
        "/gateways?connected=maybe",
        "/audit?from=yesterday",
        "/accounts/1/usage?after=x",
    ] {
        let (status, problem) = people.call(&operator, "GET", path, &Value::Null).await;
        assert!([400, 404].contains(&status), "{path}: {status} {problem}");
    }
}

#[tokio::test]
async fn lists_are_narrowed_by_what_is_asked_for() {
    let people = populated().await;
    for (path, count) in [
        ("/accounts", 4),
        ("/accounts?name=acme", 1),
        ("/accounts?name=acm", 0),
        ("/accounts?parent=acme", 1),
        ("/accounts?parent=2", 1),
        // The sub-account is suspended with its main account, and has its plan.
        ("/accounts?state=suspended", 2),
        ("/accounts?state=active", 2),
        ("/accounts?plan=pro", 2),
        (
            "/accounts?plan=pro&name=acme-eu&state=suspended&parent=2",
            1,
        ),
        ("/accounts?plan=community", 0),
        ("/users", 4),
        ("/users?account=acme", 1),
        ("/users?account=3", 1),
        ("/users?name=carl", 1),
        ("/users?role=reader", 3),
        ("/users?role=operator", 1),
        ("/users?role=reader&account=other&name=anna", 0),
        ("/api-tokens", 4),
        ("/api-tokens?account=acme-eu", 1),
        ("/api-tokens?state=revoked", 1),
        ("/api-tokens?state=live", 3),
        ("/api-tokens?state=expired", 0),
        ("/api-tokens?name=first", 1),
        ("/api-tokens?name=test&state=live&account=4", 1),
        ("/destinations", 2),
        ("/destinations?name=mimir", 1),
        ("/destinations?kind=archive", 1),
        ("/destinations?kind=http", 0),
        ("/tokens?account=acme", 1),
        ("/tokens?account=acme-eu&name=ben&state=live&signal=logs", 1),
        ("/gateways?after=a", 1),
        ("/gateways?after=b", 0),
    ] {
        let (found, _) = items(&people, path).await;
        assert_eq!(found.len(), count, "{path}");
    }
    // What others may not see they can't ask for either.
    let (_, hand) = people.api_token(Some(4), &["read", "accounts"]).await;
    for path in [
        "/users?account=2",
        "/api-tokens?account=2",
        "/accounts?parent=2",
    ] {
        let list = people.ok(&hand, "GET", path, Value::Null).await;
        assert_eq!(list["items"], json!([]), "{path}");
    }
    for path in [
        "/users?account=acme",
        "/api-tokens?account=acme",
        "/accounts?parent=acme",
    ] {
        assert_eq!(
            people.call(&hand, "GET", path, &Value::Null).await.0,
            404,
            "{path}"
        );
    }
}
