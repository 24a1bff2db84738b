//! The audit log as people read it, and as nobody can alter it unseen.

use axum::{
    body::Body,
    http::{Request, header},
};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{
    people::{Hand, People},
    stores,
};
use crate::operate::server::Peer;

fn items(list: &Value) -> &Vec<Value> {
    list["items"].as_array().expect("items")
}

#[tokio::test]
async fn a_record_says_who_did_what_from_where_and_what_it_was_before() {
    let people = People::new().await;
    let admin = super::world::text(&people.world.folder.path().join("admin-token"));
    let mut request = Request::patch("/api/v1/accounts/1")
        .header("x-api-token", &admin)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(json!({"name": "renamed"}).to_string()))
        .expect("a request");
    let peer = "192.0.2.7:4711".parse().expect("an address");
    request.extensions_mut().insert(Peer(peer));
    let answer = people.world.control.admin().oneshot(request).await;
    assert!(answer.expect("answers").status().is_success());
    let list = people
        .operate("GET", "/audit?action=account.change", Value::Null)
        .await;
    let record = &items(&list)[0];
    assert_eq!(record["actor"], "api_token/1");
    assert_eq!(record["address"], "192.0.2.7");
    assert_eq!(record["subject"], "account/1");
    assert_eq!(
        (&record["old"]["name"], &record["new"]["name"]),
        (&json!("main"), &json!("renamed"))
    );
    let verified = people.operate("GET", "/audit/verify", Value::Null).await;
    assert_eq!(verified["is_intact"], true);
    assert_eq!(verified["head"].as_str().map(str::len), Some(64));
}

#[tokio::test]
async fn an_admin_reads_what_concerns_their_accounts_and_filters_narrow_it() {
    let people = People::new().await;
    let main = people.account("acme", "pro").await;
    let sub = people.sub_account("acme-eu", main, true).await;
    let other = people.account("other", "pro").await;
    for account in [main, sub, other] {
        let token = people.shipping_token(account, "one").await;
        let path = format!("/tokens/{token}/reveal");
        people.operate("POST", &path, Value::Null).await;
    }
    let admin = people.person(Some(main), "anna", "admin").await;
    let list = people
        .ok(&admin, "GET", "/audit?action=token.reveal", Value::Null)
        .await;
    let accounts: Vec<_> = items(&list)
        .iter()
        .map(|it| it["account"].as_u64())
        .collect();
    assert_eq!(accounts, [Some(main), Some(sub)]);
    let path = format!("/audit?account={other}");
    let list = people.ok(&admin, "GET", &path, Value::Null).await;
    assert!(items(&list).is_empty());
    for (filter, count) in [
        ("action=token.reveal", 3),
        ("action=token.reveal&actor=user/1", 0),
        ("action=token.reveal&from=2100-01-01T00:00:00Z", 0),
        ("action=token.reveal&to=2100-01-01T00:00:00Z", 3),
        ("action=token.reveal&limit=2", 2),
        ("subject=account/1", 1),
    ] {
        let path = format!("/audit?{filter}");
        let list = people.operate("GET", &path, Value::Null).await;
        assert_eq!(items(&list).len(), count, "{filter}");
    }
}

#[tokio::test]
async fn refused_reveals_and_failed_logins_are_recorded_and_say_no_secret() {
    let people = People::new().await;
    let account = people.account("acme", "pro").await;
    let token = people.shipping_token(account, "one").await;
    let reader = people.person(Some(account), "bert", "reader").await;
    let path = format!("/tokens/{token}/reveal");
    let (status, _) = people.call(&reader, "POST", &path, &Value::Null).await;
    assert_eq!(status, 403);
    for name in ["bert", "a password typed as a name"] {
        let wrong = json!({"name": name, "password": "a wrong password"});
        let (status, _) = people
            .call(&Hand::Nothing, "POST", "/session", &wrong)
            .await;
        assert_eq!(status, 401);
    }
    let refused = people
        .operate("GET", "/audit?action=refused", Value::Null)
        .await;
    let subject = format!("post /tokens/{{id}}/reveal of token {token}");
    assert_eq!(items(&refused)[0]["subject"], subject);
    assert_eq!(items(&refused)[0]["account"], account);
    let failed = people
        .operate("GET", "/audit?action=session.refused", Value::Null)
        .await;
    let subjects: Vec<_> = items(&failed).iter().map(|it| &it["subject"]).collect();
    assert_eq!(subjects, ["user/2", "user/?"]);
    let all = people
        .operate("GET", "/audit?limit=1000", Value::Null)
        .await;
    assert!(!all.to_string().contains("password typed"));
}

#[tokio::test]
async fn an_altered_address_or_account_is_found_and_records_of_the_first_schema_are_intact() {
    let people = People::new().await;
    people.account("acme", "pro").await;
    let control = &people.world.control;
    let written = control.verify_audit().await.expect("intact");
    for alter in [
        "UPDATE audit SET account_id = account_id + 1 WHERE subject = 'account/2'",
        "UPDATE audit SET address = '192.0.2.1' WHERE subject = 'account/2'",
        "UPDATE audit SET account_id = NULL WHERE subject = 'account/2'",
    ] {
        stores::alter(people.world.folder.path(), alter).await;
        let verified = people.operate("GET", "/audit/verify", Value::Null).await;
        assert_eq!(
            (&verified["is_intact"], &verified["broken_at"]),
            (&json!(false), &json!(written)),
            "{alter}"
        );
        let restore = "UPDATE audit SET account_id = 2, address = NULL WHERE subject = 'account/2'";
        stores::alter(people.world.folder.path(), restore).await;
        assert_eq!(control.verify_audit().await.expect("intact"), written);
    }
}
