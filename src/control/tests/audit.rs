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
        "UPDATE audit SET previous = hash WHERE subject = 'account/2'",
    ] {
        stores::alter(people.world.folder.path(), alter).await;
        let verified = people.operate("GET", "/audit/verify", Value::Null).await;
        assert_eq!(
            (&verified["is_intact"], &verified["broken_at"]),
            (&json!(false), &json!(written)),
            "{alter}"
        );
        let restore = "UPDATE audit SET account_id = 2, address = NULL, previous = \
            (SELECT hash FROM audit AS a WHERE a.seq = audit.seq - 1) WHERE subject = 'account/2'";
        stores::alter(people.world.folder.path(), restore).await;
        assert_eq!(control.verify_audit().await.expect("intact"), written);
    }
}

#[tokio::test]
async fn a_record_that_cannot_be_read_any_more_is_named_by_the_list_and_by_verify() {
    let people = People::new().await;
    people.account("acme", "pro").await;
    let seq = people.world.control.verify_audit().await.expect("intact");
    let mut damages = vec!["at = -1", "at = 9223372036854775807"];
    if !stores::is_shared() {
        damages.extend(["actor = X'ff'", "account_id = 'x'"]);
    }
    for damage in damages {
        let damage = format!("UPDATE audit SET {damage} WHERE subject = 'account/2'");
        stores::alter(people.world.folder.path(), &damage).await;
        let verified = people.operate("GET", "/audit/verify", Value::Null).await;
        assert_eq!(verified["broken_at"], seq, "{damage}");
        let hand = people.operator();
        let (status, said) = people.call(&hand, "GET", "/audit", &Value::Null).await;
        assert_eq!(status, 500, "{damage}");
        let named = format!("record {seq} is altered or missing");
        assert!(
            said["detail"].as_str().expect("text").contains(&named),
            "{said}"
        );
        let restore =
            "UPDATE audit SET at = 1, actor = 'x', account_id = 2 WHERE subject = 'account/2'";
        stores::alter(people.world.folder.path(), restore).await;
    }
}

#[tokio::test]
async fn a_tail_that_was_cut_together_with_its_count_shows_by_a_head_kept_elsewhere() {
    let people = People::new().await;
    let acme = people.account("acme", "pro").await;
    let first = people.operate("GET", "/audit/verify", Value::Null).await;
    let head = |said: &Value| {
        format!(
            "{}:{}",
            said["records"],
            said["head"].as_str().expect("text")
        )
    };
    let early = head(&first);
    people.account("beta", "pro").await;
    let late = head(&people.operate("GET", "/audit/verify", Value::Null).await);
    let verify = async |head: &str| {
        let path = format!("/audit/verify?head={head}");
        people.operate("GET", &path, Value::Null).await
    };
    for kept in [&early, &late] {
        assert_eq!(verify(kept).await["is_intact"], true);
    }
    // The list says the same of every record, to operators alone.
    let list = people
        .operate("GET", "/audit?limit=1000", Value::Null)
        .await;
    let last = items(&list).last().expect("a record");
    assert_eq!(
        format!("{}:{}", last["seq"], last["hash"].as_str().expect("text")),
        late
    );
    let anna = people.person(Some(acme), "anna", "admin").await;
    let list = people.ok(&anna, "GET", "/audit", Value::Null).await;
    assert!(items(&list).iter().all(|record| record["hash"].is_null()));

    let seq = last["seq"].as_u64().expect("a number");
    let folder = people.world.folder.path();
    stores::alter(folder, &format!("DELETE FROM audit WHERE seq >= {seq}")).await;
    let count = format!(
        "UPDATE counters SET value = {} WHERE name = 'audit'",
        seq - 1
    );
    stores::alter(folder, &count).await;
    let unaware = people.operate("GET", "/audit/verify", Value::Null).await;
    assert_eq!(unaware["is_intact"], true);
    assert_eq!(verify(&early).await["is_intact"], true);
    assert_eq!(verify(&late).await["broken_at"], seq);
    // Also once other records stand in its place.
    people.account("gamma", "pro").await;
    assert_eq!(verify(&late).await["broken_at"], seq);
    let hand = people.operator();
    for wrong in [
        "",
        "7",
        "0:00",
        "7:zz",
        &early[..early.len() - 1],
        &format!("{early}0"),
    ] {
        let path = format!("/audit/verify?head={wrong}");
        let (status, _) = people.call(&hand, "GET", &path, &Value::Null).await;
        assert_eq!(status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn records_are_narrowed_to_an_account_by_its_name_too() {
    let people = People::new().await;
    let acme = people.account("acme", "pro").await;
    people.account("beta", "pro").await;
    let list = people
        .operate("GET", "/audit?account=acme", Value::Null)
        .await;
    assert_eq!(items(&list).len(), 1);
    assert_eq!(items(&list)[0]["account"], acme);
    let anna = people.person(Some(acme), "anna", "admin").await;
    for unseen in ["beta", "nobodys"] {
        let path = format!("/audit?account={unseen}");
        let (status, _) = people.call(&anna, "GET", &path, &Value::Null).await;
        assert_eq!(status, 404, "{unseen}");
    }
}

#[tokio::test]
async fn what_stands_behind_the_count_or_before_the_first_record_is_looked_at_too() {
    let people = People::new().await;
    for name in ["alpha", "beta", "gamma", "delta"] {
        people.account(name, "pro").await;
    }
    let folder = people.world.folder.path();
    let written = people.world.control.verify_audit().await.expect("intact");
    let broken_at = async || {
        let verified = people.operate("GET", "/audit/verify", Value::Null).await;
        assert_eq!(verified["is_intact"], false);
        verified["broken_at"].clone()
    };
    let count = async |count: i64| {
        let count = format!("UPDATE counters SET value = {count} WHERE name = 'audit'");
        stores::alter(folder, &count).await;
    };
    // Set back alone.
    for (set_back, first_uncounted) in [(written as i64 - 3, written - 2), (0, 1), (-7, 1)] {
        count(set_back).await;
        assert_eq!(broken_at().await, first_uncounted, "{set_back}");
    }
    count(written as i64 - 3).await;
    let set = |value: &str| format!("UPDATE audit SET {value} WHERE seq = {}", written - 1);
    stores::alter(folder, &set("actor = actor || 'x'")).await;
    assert_eq!(broken_at().await, written - 1, "altered behind the count");
    let back = "actor = substr(actor, 1, length(actor) - 1)";
    stores::alter(folder, &set(back)).await;
    count(written as i64).await;
    people
        .world
        .control
        .verify_audit()
        .await
        .expect("as it was");

    for before in [0, -1, i64::MIN] {
        let put = format!(
            "INSERT INTO audit (seq, revision, at, actor, action, subject, previous, hash) \
             SELECT {before}, revision, at, actor, action, subject, previous, hash FROM audit WHERE seq = 1"
        );
        stores::alter(folder, &put).await;
        assert_eq!(broken_at().await, 0, "{before}");
        stores::alter(folder, &format!("DELETE FROM audit WHERE seq = {before}")).await;
    }
    people
        .world
        .control
        .verify_audit()
        .await
        .expect("as it was");
    stores::alter(
        folder,
        &format!("DELETE FROM audit WHERE seq = {}", written - 1),
    )
    .await;
    count(written as i64 - 3).await;
    assert_eq!(broken_at().await, written - 1, "removed behind the count");
}
