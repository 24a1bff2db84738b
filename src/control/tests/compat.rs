//! The compatible routes from outside, as the automation of others calls them.

mod accounts;
mod signals;

use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::people::{Hand, People, id};
use crate::{control::admin::compat_table, operate::server};

const TOKENS: &str = "/v1/log-shipping/tokens";
const SUBS: &str = "/v1/account-management/time-based-accounts";
const METRICS: &str = "/v1/account-management/metrics-accounts";
const SHARED: &str = "/v1/shared-tokens";

/// A main account of a plan, with an API token that may do everything.
struct Shop {
    people: People,
    account: u64,
    hand: Hand,
}

impl Shop {
    async fn new(plan: &str) -> Self {
        let people = People::new().await;
        let account = people.account("acme", plan).await;
        let all = ["read", "tokens", "accounts"];
        let (_, hand) = people.api_token(Some(account), &all).await;
        Self {
            people,
            account,
            hand,
        }
    }

    async fn call(&self, method: &str, uri: &str, body: Value) -> (u16, Value) {
        self.people.send(&self.hand, method, uri, &body).await
    }

    async fn ok(&self, method: &str, uri: &str, body: Value) -> Value {
        let (status, answer) = self.call(method, uri, body).await;
        assert!(
            (200..300).contains(&status),
            "{method} {uri}: {status} {answer}"
        );
        answer
    }

    async fn actions(&self, subject: &str) -> Vec<String> {
        let path = format!("/audit?subject={subject}");
        let log = self.people.operate("GET", &path, Value::Null).await;
        let records = log["items"].as_array().expect("a list").iter();
        records
            .map(|record| record["action"].as_str().expect("text").to_owned())
            .collect()
    }
}

#[tokio::test]
async fn whoever_is_not_an_accounts_api_token_has_insufficient_privileges() {
    let shop = Shop::new("pro").await;
    let people = &shop.people;
    let refused = json!({"code": 403, "message": "Insufficient privileges"});
    let known = shop.ok("GET", "/v2/whoami", Value::Null).await;
    assert_eq!(
        known,
        json!({"accountId": shop.account, "accountName": "acme"})
    );
    let admin = people.person(Some(shop.account), "anna", "admin").await;
    let made_up = Hand::Token(format!("whf_a_{}", "x".repeat(38)));
    for hand in [Hand::Nothing, people.operator(), admin, made_up] {
        let answer = people.send(&hand, "GET", "/v2/whoami", &Value::Null).await;
        assert_eq!(answer, (403, refused.clone()));
    }
    let path = format!("/accounts/{}", shop.account);
    for (change, status) in [
        (json!({"state": "suspended"}), 403),
        (json!({"state": "active"}), 200),
        (json!({"plan": "community"}), 403),
        (
            json!({"plan": "trial", "trial_until": "2020-01-01T00:00:00Z"}),
            403,
        ),
        (json!({"plan": "enterprise"}), 200),
    ] {
        people.operate("PATCH", &path, change.clone()).await;
        let (got, _) = shop.call("GET", "/v2/whoami", Value::Null).await;
        assert_eq!(got, status, "{change}");
    }
}

#[tokio::test]
async fn shipping_tokens_are_made_shown_changed_and_deleted_in_the_words_of_others() {
    let shop = Shop::new("pro").await;
    let body = json!({"name": "one", "enabled": "false"});
    let (status, one) = shop.call("POST", TOKENS, body).await;
    assert_eq!(status, 201);
    assert_eq!(
        (&one["name"], &one["enabled"]),
        (&json!("one"), &json!(true))
    );
    assert!(
        one["token"]
            .as_str()
            .is_some_and(|it| it.starts_with("whf_s_"))
    );
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).expect("after it");
    let created = one["createdAt"].as_f64().expect("seconds");
    assert!((created - now.as_secs_f64()).abs() < 60.0, "{created}");
    let path = format!("{TOKENS}/{}", id(&one));
    let shown = shop.ok("GET", &path, Value::Null).await;
    assert_eq!(shown, one);
    let last = shop.call("PUT", &path, json!({"enabled": false})).await;
    assert_eq!(last.0, 409, "the last one stays enabled");
    assert_eq!(shop.call("DELETE", &path, Value::Null).await.0, 409);
    let two = shop.ok("POST", TOKENS, json!({"name": "two"})).await;
    let off = json!({"name": "renamed", "enabled": "false"});
    let changed = shop.ok("PUT", &path, off).await;
    assert_eq!(
        (&changed["name"], &changed["enabled"], &changed["token"]),
        (&json!("renamed"), &json!(false), &one["token"])
    );
    assert!(changed["updatedAt"].as_f64() >= changed["createdAt"].as_f64());
    assert_eq!(changed["createdBy"], changed["updatedBy"]);
    let limits = shop
        .ok("GET", &format!("{TOKENS}/limits"), Value::Null)
        .await;
    assert_eq!(
        limits,
        json!({"maxAllowedTokens": 15, "numOfEnabledTokens": 1})
    );
    let on = shop.ok("PUT", &path, json!({"enabled": true})).await;
    assert_eq!(
        (&on["name"], &on["enabled"]),
        (&json!("renamed"), &json!(true))
    );
    let deleted = shop.ok("DELETE", &path, Value::Null).await;
    assert_eq!(
        (&deleted["id"], &deleted["name"]),
        (&one["id"], &json!("renamed"))
    );
    for method in ["GET", "PUT", "DELETE"] {
        let (status, problem) = shop.call(method, &path, Value::Null).await;
        assert_eq!((status, &problem["code"]), (404, &json!(404)), "{method}");
    }
    let hidden = format!("/tokens/{}", id(&one));
    let (status, _) = shop
        .people
        .call(&shop.people.operator(), "GET", &hidden, &Value::Null)
        .await;
    assert_eq!(status, 404);
    let subject = format!("token/{}", id(&two));
    assert_eq!(shop.actions(&subject).await, ["token.create"]);
    shop.ok("GET", &format!("{TOKENS}/{}", id(&two)), Value::Null)
        .await;
    assert_eq!(
        shop.actions(&subject).await,
        ["token.create", "token.reveal"]
    );
    // Somebody else's change is theirs.
    let our_own = format!("/tokens/{}", id(&two));
    let admin = shop
        .people
        .person(Some(shop.account), "anna", "admin")
        .await;
    shop.people
        .ok(&admin, "PATCH", &our_own, json!({"name": "three"}))
        .await;
    let shown = shop
        .ok("GET", &format!("{TOKENS}/{}", id(&two)), Value::Null)
        .await;
    assert_eq!(
        (&shown["name"], &shown["createdBy"]),
        (&json!("three"), &one["createdBy"])
    );
    assert!(
        shown["updatedBy"]
            .as_str()
            .is_some_and(|by| by.starts_with("user/"))
    );
}

#[tokio::test]
async fn the_sixteenth_enabled_token_of_a_paid_plan_is_one_too_many() {
    let shop = Shop::new("pro").await;
    for number in 1..=15 {
        shop.ok("POST", TOKENS, json!({"name": format!("t{number}")}))
            .await;
    }
    let (status, problem) = shop.call("POST", TOKENS, json!({"name": "t16"})).await;
    assert_eq!((status, &problem["code"]), (409, &json!(409)));
    let metrics = json!({"account": shop.account, "signal": "metrics", "name": "m"});
    shop.people.operate("POST", "/tokens", metrics).await;
    let limits = shop
        .ok("GET", &format!("{TOKENS}/limits"), Value::Null)
        .await;
    assert_eq!(limits["numOfEnabledTokens"], 15, "logs alone are counted");
}

#[tokio::test]
async fn a_search_filters_sorts_and_pages_and_past_the_end_is_an_empty_page() {
    let shop = Shop::new("enterprise").await;
    for name in ["b", "a", "c"] {
        shop.ok("POST", TOKENS, json!({"name": name})).await;
    }
    let off = shop.ok("POST", TOKENS, json!({"name": "d"})).await;
    let path = format!("{TOKENS}/{}", id(&off));
    shop.ok("PUT", &path, json!({"enabled": false})).await;
    let search = async |body: Value| shop.call("POST", &format!("{TOKENS}/search"), body).await;
    let names = async |body: Value| -> (u64, String) {
        let (status, found) = search(body).await;
        assert_eq!(status, 200, "{found}");
        let results = found["results"].as_array().expect("a list").iter();
        let names = results.map(|it| it["name"].as_str().expect("text"));
        (found["total"].as_u64().expect("a number"), names.collect())
    };
    let pages = |number: u32, size: u32| json!({"pageNumber": number, "pageSize": size});
    for (body, total, expected) in [
        (json!({}), 4, "bacd"),
        (json!({"filter": {"enabled": true}}), 3, "bac"),
        (json!({"filter": {"enabled": "false"}, "sort": []}), 1, "d"),
        (
            json!({"sort": [{"field": "createdAt", "descending": true}]}),
            4,
            "dcab",
        ),
        (
            json!({"sort": [{"field": "NAME", "descending": "false"}], "pagination": pages(1, 3)}),
            4,
            "abc",
        ),
        (
            json!({"sort": [{"field": "name"}], "pagination": pages(2, 3)}),
            4,
            "d",
        ),
        (json!({"pagination": pages(9, 1000)}), 4, ""),
    ] {
        assert_eq!(
            names(body.clone()).await,
            (total, expected.to_owned()),
            "{body}"
        );
    }
    let (_, found) = search(json!({"pagination": pages(2, 3)})).await;
    assert_eq!(found["pagination"], pages(2, 3));
    let (_, found) = search(json!({})).await;
    assert_eq!(found["pagination"], pages(1, 25));
    for wrong in [
        json!({"pagination": pages(1, 0)}),
        json!({"pagination": pages(1, 1001)}),
        json!({"pagination": pages(0, 5)}),
        json!({"pagination": {"pageNumber": -1}}),
        json!({"sort": [{"field": "token"}]}),
        json!({"filter": {"enabled": "maybe"}}),
    ] {
        assert_eq!(search(wrong.clone()).await.0, 400, "{wrong}");
    }
}

#[tokio::test]
async fn shared_tokens_and_filters_are_one_with_our_own() {
    let shop = Shop::new("pro").await;
    let filters = format!("{SHARED}/filters");
    let body = json!({"field": "signal", "value": "logs", "description": "ours"});
    let filter = shop.ok("POST", &filters, body).await;
    let path_of_filter = format!("{filters}/{}", id(&filter));
    assert_eq!(shop.ok("GET", &path_of_filter, Value::Null).await, filter);
    assert_eq!(shop.ok("GET", &filters, Value::Null).await, json!([filter]));
    let wrong = json!({"field": "a b", "value": "c"});
    assert_eq!(shop.call("POST", &filters, wrong).await.0, 400);
    let body = json!({"tokenName": "guests", "filters": [filter["id"]], "filtersOperator": "OR"});
    let made = shop.ok("POST", SHARED, body).await;
    assert_eq!(
        (&made["name"], &made["filtersOperator"]),
        (&json!("guests"), &json!("OR"))
    );
    assert!(made["expirationDate"].as_u64().is_some() && made["lastUsed"].is_null());
    let hand = Hand::Token(made["token"].as_str().expect("a token").to_owned());
    shop.people
        .ok(&hand, "GET", "/shared/usage", Value::Null)
        .await;
    let path = format!("{SHARED}/{}", id(&made));
    assert_eq!(
        shop.ok("GET", &path, Value::Null).await["token"],
        made["token"]
    );
    assert_eq!(
        shop.call("DELETE", &path_of_filter, Value::Null).await.0,
        409
    );
    let change = json!({"filters": [], "filtersOperator": "AND", "expirationDate": null});
    let changed = shop.ok("PUT", &path, change).await;
    assert_eq!(
        (
            &changed["filters"],
            &changed["filtersOperator"],
            &changed["expirationDate"]
        ),
        (&json!([]), &json!("AND"), &json!(null))
    );
    let list = shop.ok("GET", SHARED, Value::Null).await;
    assert_eq!(list[0]["name"], "guests");
    for wrong in [
        json!({"tokenName": "n"}),
        json!({"tokenName": "n", "filters": [999]}),
        json!({"tokenName": "n", "filters": [], "filtersOperator": "XOR"}),
        json!({"tokenName": "n", "filters": [], "expirationDate": 5}),
    ] {
        assert_eq!(
            shop.call("POST", SHARED, wrong.clone()).await.0,
            400,
            "{wrong}"
        );
    }
    let change = json!({"filters": [999]});
    assert_eq!(shop.call("PUT", &path, change).await.0, 400);
    assert_eq!(
        shop.call("DELETE", &path, Value::Null).await,
        (204, Value::Null)
    );
    let missing = format!(
        "token with id {} not found for account {}",
        id(&made),
        shop.account
    );
    for method in ["GET", "PUT", "DELETE"] {
        let answer = shop.call(method, &path, Value::Null).await;
        assert_eq!(answer, (400, json!({"message": missing})), "{method}");
    }
    assert_eq!(
        shop.ok("DELETE", &path_of_filter, Value::Null).await,
        filter
    );
    assert_eq!(shop.call("GET", &path_of_filter, Value::Null).await.0, 400);
    let (status, _) = shop
        .people
        .call(&hand, "GET", "/shared/usage", &Value::Null)
        .await;
    assert_eq!(status, 401);
}

#[tokio::test]
async fn the_audit_trail_tells_who_changed_what_from_where() {
    let shop = Shop::new("pro").await;
    let one = shop.ok("POST", TOKENS, json!({"name": "one"})).await;
    let path = format!("{TOKENS}/{}", id(&one));
    shop.ok("PUT", &path, json!({"name": "two"})).await;
    let trail = async |body: Value| shop.call("POST", "/v1/audit-trail", body).await;
    let (status, told) = trail(json!({"auditEventType": "token.change"})).await;
    assert_eq!(
        (status, &told["total"], &told["from"]),
        (200, &json!(1), &json!(0))
    );
    let entry = &told["results"][0];
    assert_eq!(entry["auditEventUser"]["fullName"], one["createdBy"]);
    assert_eq!(entry["subject"], format!("token/{}", id(&one)));
    assert!(
        entry["date"]
            .as_u64()
            .is_some_and(|at| at > 1_700_000_000_000)
    );
    let fields = entry["extraDataList"].as_array().expect("a list");
    let name = json!({"fieldName": "name", "oldValue": "one", "newValue": "two"});
    assert!(fields.contains(&name), "{fields:?}");
    assert!(!told.to_string().contains("whf_"));
    let (_, all) = trail(json!({"size": 500})).await;
    let total = all["total"].as_u64().expect("a number");
    assert!(total > 2);
    let first = all["results"][0].clone();
    let (_, rest) = trail(json!({"from": 1, "size": 500})).await;
    assert_eq!(
        rest["results"].as_array().map(Vec::len),
        Some(total as usize - 1)
    );
    let (_, turned) = trail(json!({"size": 500, "sortDescending": false})).await;
    assert_eq!(
        turned["results"].as_array().and_then(|it| it.last()),
        Some(&first)
    );
    let (_, past) = trail(json!({"from": total, "size": 1})).await;
    assert_eq!(
        (&past["results"], &past["total"]),
        (&json!([]), &json!(total))
    );
    let (_, none) = trail(json!({"toDate": 1_600_000_000_000_u64})).await;
    assert_eq!(none["total"], 0);
    for wrong in [
        json!({"size": 501}),
        json!({"size": 0}),
        json!({"from": 1_000_001}),
    ] {
        assert_eq!(trail(wrong.clone()).await.0, 400, "{wrong}");
    }
    // Another account's records are nobody's here.
    let other = shop.people.account("other", "pro").await;
    shop.people.shipping_token(other, "theirs").await;
    let (_, same) = trail(json!({"size": 500})).await;
    assert_eq!(same["total"], total);
}

/// One request over a socket of its own; the answer as it came.
async fn over_a_socket(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("read");
    answer
}

#[tokio::test]
async fn over_a_socket_the_answers_are_json_and_the_audit_trail_knows_the_address() {
    let shop = Shop::new("pro").await;
    let Hand::Token(token) = &shop.hand else {
        panic!("a token");
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    let service = TowerToHyperService::new(shop.people.router.clone());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = server::serve_service(listener, service, async { drop(stopped.await) });
    let served = tokio::spawn(served);
    let request = |line: &str, token: &str, body: &str| {
        format!(
            "{line} HTTP/1.1\r\nhost: a\r\nconnection: close\r\nX-API-TOKEN: {token}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let bad = request("GET /v2/whoami", "a-bad-one-of-some-length", "");
    let refused = over_a_socket(address, &bad).await;
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    assert!(refused.contains("content-type: application/json\r\n"));
    assert!(refused.ends_with(r#"{"code":403,"message":"Insufficient privileges"}"#));
    let post = request(&format!("POST {TOKENS}"), token, r#"{"name":"one"}"#);
    let made = over_a_socket(address, &post).await;
    assert!(made.starts_with("HTTP/1.1 201 "), "{made}");
    let put = request(&format!("PUT {TOKENS}/1"), token, "{");
    let problem = over_a_socket(address, &put).await;
    assert!(
        problem.starts_with("HTTP/1.1 404 "),
        "not of this account: {problem}"
    );
    let large = request(&format!("POST {TOKENS}"), token, &" ".repeat((1 << 20) + 1));
    let problem = over_a_socket(address, &large).await;
    assert!(problem.starts_with("HTTP/1.1 413 "), "{problem}");
    let query = json!({"auditEventType": "token.create"});
    let told = shop.ok("POST", "/v1/audit-trail", query).await;
    assert_eq!(told["results"][0]["ip"], "127.0.0.1");
    drop(stop);
    served.await.expect("no panic");
}

#[tokio::test]
async fn the_description_names_every_compatible_route_its_scopes_and_its_errors() {
    let shop = Shop::new("pro").await;
    let path = "/compat/openapi.json";
    let document = shop
        .people
        .ok(&Hand::Nothing, "GET", path, Value::Null)
        .await;
    for route in compat_table() {
        let operation = &document["paths"][route.rule.path][route.rule.method];
        let said = operation["description"].as_str().expect("a sentence");
        for scope in route.rule.scopes {
            assert!(
                said.contains(&format!("scope `{}`", scope.name())),
                "{said}"
            );
        }
        let problem = &operation["responses"]["default"]["content"]["application/json"];
        let schema = problem["schema"]["$ref"].as_str().expect("a schema");
        let schema = schema.trim_start_matches('#');
        assert!(document.pointer(schema).is_some(), "{schema}");
    }
}

#[tokio::test]
async fn fields_in_a_row_without_their_names_are_no_body() {
    let shop = Shop::new("pro").await;
    for row in [
        json!(["arrname", true]),
        json!(["arrname"]),
        json!([]),
        json!("x"),
    ] {
        for uri in [TOKENS, SUBS, SHARED, "/v1/audit-trail"] {
            let (status, said) = shop.call("POST", uri, row.clone()).await;
            assert_eq!(status, 400, "{uri} {row}: {said}");
        }
    }
}
