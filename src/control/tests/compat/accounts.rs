//! Sub-accounts, metrics accounts and their API tokens, by the compatible routes.

use axum::http::Request;
use serde_json::{Value, json};

use super::{
    super::people::{Hand, id},
    METRICS, SUBS, Shop,
};

#[tokio::test]
async fn sub_accounts_come_and_go_with_their_tokens_and_what_is_kept_is_given_back() {
    let shop = Shop::new("pro").await;
    let body = json!({
        "email": "a@acme.example", "accountName": "acme-eu", "maxDailyGB": 1.5, "retentionDays": 5,
        "searchable": "true", "accessible": false, "docSizeSetting": "", "isFlexible": "false",
        "sharingObjectsAccounts": [shop.account], "another": {"field": 1},
        "utilizationSettings": {"frequencyMinutes": 5, "utilizationEnabled": "true"},
    });
    let made = shop.ok("POST", SUBS, body).await;
    let sub = made["accountId"].as_u64().expect("an id");
    let token = made["accountToken"].as_str().expect("a token").to_owned();
    assert!(token.starts_with("whf_s_"));
    let path = format!("{SUBS}/{sub}");
    let shown = shop.ok("GET", &path, Value::Null).await;
    assert_eq!(
        shown,
        json!({
            "accountId": sub, "accountName": "acme-eu", "email": "a@acme.example", "maxDailyGB": 1.5,
            "reservedDailyGB": null, "retentionDays": 5, "searchable": true, "accessible": false,
            "docSizeSetting": false, "isFlexible": false,
            "sharingObjectsAccounts": [{"accountId": shop.account, "accountName": "acme"}],
            "utilizationSettings": {"frequencyMinutes": 5, "utilizationEnabled": true},
        })
    );
    assert_eq!(shop.ok("GET", SUBS, Value::Null).await, json!([shown]));
    let change =
        json!({"accountName": "acme-us", "retentionDays": 9, "sharingObjectsAccounts": []});
    assert_eq!(shop.call("PUT", &path, change).await, (204, Value::Null));
    let changed = shop.ok("GET", &path, Value::Null).await;
    assert_eq!(
        (
            &changed["accountName"],
            &changed["retentionDays"],
            &changed["maxDailyGB"]
        ),
        (&json!("acme-us"), &json!(9), &json!(1.5))
    );
    assert_eq!(changed["sharingObjectsAccounts"], json!([]));
    let actions = shop.actions(&format!("account/{sub}")).await;
    let expected = [
        "account.create",
        "account.keep",
        "account.change",
        "account.keep",
    ];
    assert_eq!(actions, expected);
    let other = shop.people.account("other", "pro").await;
    for wrong in [
        json!({"accountName": "acme"}),
        json!({"maxDailyGB": -1}),
        json!({"retentionDays": "many"}),
        json!({"email": "a\nb"}),
        json!({"sharingObjectsAccounts": [other]}),
        json!({"sharingObjectsAccounts": (1..=101).collect::<Vec<u64>>()}),
    ] {
        let (status, _) = shop.call("PUT", &path, wrong.clone()).await;
        assert!([400, 409].contains(&status), "{wrong}: {status}");
    }
    let shipping = shop.people.operate("GET", "/tokens", Value::Null).await;
    let of_sub = |list: &Value| -> Vec<Value> {
        let items = list["items"].as_array().expect("a list").iter();
        items.filter(|it| it["account"] == sub).cloned().collect()
    };
    assert_eq!(of_sub(&shipping)[0]["signal"], "logs");
    assert_eq!(
        shop.call("DELETE", &path, Value::Null).await,
        (204, Value::Null)
    );
    assert_eq!(shop.call("GET", &path, Value::Null).await.0, 404);
    let live = shop
        .people
        .operate("GET", "/tokens?state=live", Value::Null)
        .await;
    assert!(of_sub(&live).is_empty(), "its token is revoked");
    let withdrawn = shop.people.sub_account("board", shop.account, false).await;
    for path in [format!("{SUBS}/{withdrawn}"), format!("{SUBS}/{other}")] {
        assert_eq!(shop.call("GET", &path, Value::Null).await.0, 404);
    }
}

#[tokio::test]
async fn metrics_accounts_have_a_token_for_metrics() {
    let shop = Shop::new("pro").await;
    let body = json!({"email": "a@acme.example", "accountName": "acme-metrics", "planUts": 100,
        "authorizedAccountsIds": [shop.account]});
    let (status, made) = shop.call("POST", METRICS, body).await;
    assert_eq!(status, 201);
    let path = format!("{METRICS}/{}", id(&made));
    assert!(
        made["createdAt"]
            .as_u64()
            .is_some_and(|at| at > 1_700_000_000_000)
    );
    assert_eq!(
        (&made["planUts"], &made["authorizedAccountsIds"]),
        (&json!(100), &json!([shop.account]))
    );
    assert_eq!(shop.ok("GET", &path, Value::Null).await, made);
    assert_eq!(shop.ok("GET", METRICS, Value::Null).await, json!([made]));
    assert_eq!(shop.ok("GET", SUBS, Value::Null).await, json!([]));
    let as_other = format!("{SUBS}/{}", id(&made));
    assert_eq!(shop.call("GET", &as_other, Value::Null).await.0, 404);
    let list = shop.people.operate("GET", "/tokens", Value::Null).await;
    assert_eq!(
        list["items"]
            .as_array()
            .and_then(|it| it.last())
            .expect("one")["signal"],
        "metrics"
    );
    let changed = shop
        .ok("PUT", &path, json!({"accountName": "", "planUts": 200}))
        .await;
    assert_eq!(
        (&changed["accountName"], &changed["planUts"]),
        (&made["accountName"], &json!(200))
    );
    shop.ok("DELETE", &path, Value::Null).await;
    assert_eq!(shop.call("GET", &path, Value::Null).await.0, 404);
}

#[tokio::test]
async fn a_sub_accounts_api_token_gives_no_more_than_the_one_that_asks() {
    let shop = Shop::new("pro").await;
    let sub = shop.people.sub_account("acme-eu", shop.account, true).await;
    let uri = "/v1/api-tokens/sub-account";
    let at = std::time::SystemTime::now() + std::time::Duration::from_secs(3600);
    let at = humantime::format_rfc3339_seconds(at).to_string();
    let body =
        json!({"account": shop.account, "name": "n", "scopes": ["accounts"], "expires_at": at});
    let made = shop.people.operate("POST", "/api-tokens", body).await;
    let narrow = Hand::Token(made["token"].as_str().expect("text").to_owned());
    let body = json!({"name": "theirs", "accountId": sub});
    let (status, made) = shop.people.send(&narrow, "POST", uri, &body).await;
    assert_eq!((status, &made["name"]), (200, &json!("theirs")));
    assert!(made["createdAt"].as_f64().is_some_and(|at| at > 1.7e9));
    let record = format!("/api-tokens/{}", id(&made));
    let record = shop.people.operate("GET", &record, Value::Null).await;
    assert_eq!(
        (&record["account"], &record["scopes"], &record["expires_at"]),
        (&json!(sub), &json!(["accounts"]), &json!(at))
    );
    let theirs = Hand::Token(made["token"].as_str().expect("text").to_owned());
    let known = shop
        .people
        .send(&theirs, "GET", "/v2/whoami", &Value::Null)
        .await;
    assert_eq!(
        known,
        (200, json!({"accountId": sub, "accountName": "acme-eu"}))
    );
    let (status, _) = shop.people.send(&theirs, "GET", SUBS, &Value::Null).await;
    assert_eq!(status, 403, "sub-accounts are a main account's");
    let withdrawn = json!({"accessible": false});
    let path = format!("/accounts/{sub}");
    shop.people.operate("PATCH", &path, withdrawn).await;
    assert_eq!(shop.call("POST", uri, body).await.0, 404);
}

#[tokio::test]
async fn a_sub_account_that_shares_with_one_that_is_gone_can_still_be_changed() {
    let shop = Shop::new("pro").await;
    let made = shop
        .ok("POST", SUBS, json!({"accountName": "acme-eu"}))
        .await;
    let gone = made["accountId"].as_u64().expect("an id");
    let body = json!({"accountName": "acme-us", "sharingObjectsAccounts": [gone]});
    let sub = &shop.ok("POST", SUBS, body).await["accountId"];
    shop.call("DELETE", &format!("{SUBS}/{gone}"), Value::Null)
        .await;
    let path = format!("{SUBS}/{sub}");
    let renamed = json!({"accountName": "acme-na"});
    assert_eq!(shop.call("PUT", &path, renamed).await, (204, Value::Null));
    let named = json!({"sharingObjectsAccounts": [gone]});
    assert_eq!(shop.call("PUT", &path, named).await.0, 400);
}

#[tokio::test]
async fn a_sub_account_goes_with_so_many_tokens_that_no_confirmation_is_asked_for() {
    let shop = Shop::new("unlimited").await;
    let body = json!({"email": "a@acme.example", "accountName": "acme-eu", "retentionDays": 5});
    let made = shop.ok("POST", SUBS, body).await;
    let sub = made["accountId"].as_u64().expect("an id");
    let (_, hand) = shop.people.api_token(None, &["tokens"]).await;
    let Hand::Token(text) = hand else {
        panic!("a token");
    };
    // With the one that it was made with, one too many.
    let lines: String = (0..999)
        .map(|n| format!("imported-token-{n:06}\n"))
        .collect();
    let import = format!("/api/v1/tokens/import?account={sub}&signal=logs");
    let request = Request::post(import).header("x-api-token", text);
    let (status, _, answer) = shop
        .people
        .world
        .raw(request.body(lines.into()).expect("a request"))
        .await;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
    let path = format!("{SUBS}/{sub}");
    let (status, refused) = shop.call("DELETE", &path, Value::Null).await;
    assert_eq!(status, 409);
    let why = refused["message"].as_str().expect("text");
    assert!(
        why.contains("more than 999 tokens that are not revoked"),
        "{why}"
    );

    let list = format!("/tokens?account={sub}&limit=1");
    let first = shop.people.operate("GET", &list, Value::Null).await;
    let revoke = format!("/tokens/{}/revoke", id(&first["items"][0]));
    shop.people.operate("POST", &revoke, Value::Null).await;
    shop.ok("DELETE", &path, Value::Null).await;
}
