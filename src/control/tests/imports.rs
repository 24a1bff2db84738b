//! Tokens that somebody else has made: one, and a file of them.

use axum::{body::Body, http::Request};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    people::{Hand, People, id},
    stores,
    world::{Kept, World},
};
use crate::model::{Change, TokenKind};

fn given(n: u32) -> String {
    format!("imported-token-{n:06}")
}

async fn import(people: &People, hand: &Hand, query: &str, lines: String) -> (u16, Value) {
    // As a stream of uneven pieces, none of them whole lines.
    let pieces: Vec<_> = lines
        .into_bytes()
        .chunks(777)
        .map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece)))
        .collect();
    let body = Body::from_stream(futures_util::stream::iter(pieces));
    let Hand::Token(token) = hand else {
        panic!("a token");
    };
    let request = Request::post(format!("/api/v1/tokens/import{query}"));
    let request = request.header("x-api-token", token).body(body);
    let request = request.expect("a request");
    let (status, _, answer) = people.world.raw(request).await;
    let answer = serde_json::from_slice(&answer).expect("JSON");
    (status.as_u16(), answer)
}

async fn operator(people: &People) -> Hand {
    people
        .api_token(None, &["read", "tokens", "accounts"])
        .await
        .1
}

#[tokio::test]
async fn one_token_of_another_shape_is_taken_in_and_only_once() {
    let people = People::new().await;
    let account = people.account("acme", "unlimited").await;
    let hand = operator(&people).await;
    let body =
        |token: &str| json!({"account": account, "signal": "logs", "name": "old", "token": token});
    let made = people.ok(&hand, "POST", "/tokens", body(&given(1))).await;
    assert_eq!(made["token"], given(1));
    let path = format!("/tokens/{}/reveal", id(&made));
    let shown = people.ok(&hand, "POST", &path, Value::Null).await;
    assert_eq!(shown["token"], given(1));
    let own = TokenKind::Shipping.mint(|bytes| bytes.fill(9));
    people
        .ok(&hand, "POST", "/tokens", body(own.reveal()))
        .await;
    let api = TokenKind::Api.mint(|bytes| bytes.fill(9));
    let typo = own.reveal().replace("whf_s_", "whf_s_0");
    for (token, expected) in [
        (&*given(1), 409),
        (own.reveal(), 409),
        (api.reveal(), 400),
        (&typo, 400),
        ("short", 400),
        ("0123456789abcdef!", 400),
        (&"x".repeat(129), 400),
    ] {
        let (status, problem) = people.call(&hand, "POST", "/tokens", &body(token)).await;
        assert_eq!(status, expected, "{problem}");
        assert!(!problem.to_string().contains(token), "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_tokens_makes_each_once_says_what_is_wrong_and_reaches_the_gateways() {
    let people = People::new().await;
    let mut follower = people.world.follow("a", Kept::default()).await;
    people.account("acme", "unlimited").await;
    let other = people.account("other", "unlimited").await;
    let hand = operator(&people).await;
    let mut lines: Vec<String> = (0..6_000).map(given).collect();
    lines[10] = json!({"token": given(10), "account": other, "signal": "traces", "name": "n", "description": "d",
        "sources": ["192.0.2.0/24"], "rates": {"items_per_second": 9}, "expires_at": "2030-01-01T00:00:00Z"})
    .to_string();
    lines[11] = json!({"token": given(11), "account": "other", "enabled": false}).to_string();
    lines[20] = given(0);
    lines[21] = json!({"token": given(0), "account": "other"}).to_string();
    lines[22] = json!({"token": given(22), "account": "nobody"}).to_string();
    lines[23] = json!({"token": given(23), "account": 999}).to_string();
    lines[24] = "no token".to_owned();
    lines[25] = String::new();
    let file = lines.join("\n");
    let head = people.world.control.feed_state().head;
    let query = "?account=acme&signal=logs";
    let (status, done) = import(&people, &hand, query, file.clone()).await;
    assert_eq!(status, 200, "{done}");
    let counts = |done: &Value| {
        ["lines", "made", "known", "refused"].map(|key| done[key].as_u64().expect("a number"))
    };
    assert_eq!(counts(&done), [5_999, 5_994, 1, 4]);
    let refused: Vec<_> = done["refusals"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|refusal| refusal["line"].as_u64().expect("a number"))
        .collect();
    assert_eq!(refused, [22, 23, 24, 25]);
    // Two batches.
    assert_eq!(done["revision"], head + 2);
    follower.until(head + 2).await;
    assert_eq!(follower.kept.state, people.world.state().await);
    let of_other =
        |change: &&Change| matches!(change, Change::Token(token) if token.account.0 == other);
    let of_other: Vec<_> = follower.kept.state.values().filter(of_other).collect();
    let [Change::Token(bound), Change::Token(disabled)] = of_other[..] else {
        panic!("{of_other:?}");
    };
    assert!(bound.sources.is_restricted() && !disabled.sources.is_restricted());
    assert!(bound.rates != Default::default() && disabled.rates == Default::default());
    let shown = people
        .ok(&hand, "GET", &format!("/tokens/{}", bound.id), Value::Null)
        .await;
    assert_eq!(shown["description"], "d");
    assert_eq!(shown["sources"], json!(["192.0.2.0/24"]));
    assert_eq!(shown["rates"], json!({"items_per_second": 9}));
    assert_eq!(shown["revision"], head + 1);

    let (status, again) = import(&people, &hand, query, file).await;
    assert_eq!((status, counts(&again)), (200, [5_999, 0, 5_995, 4]));
    assert_eq!(people.world.control.feed_state().head, head + 2);
    people.world.control.verify_audit().await.expect("intact");
    for bytes in stores::bytes(people.world.folder.path()).await {
        let token = given(4_321);
        let is_there = bytes.windows(token.len()).any(|it| it == token.as_bytes());
        assert!(!is_there, "a token stands in the store");
    }
}

#[tokio::test]
async fn a_revoked_token_does_not_come_back_by_an_import() {
    let people = People::new().await;
    let hand = operator(&people).await;
    let query = "?account=1&signal=logs";
    import(&people, &hand, query, given(1)).await;
    let listed = people.ok(&hand, "GET", "/tokens?name=imported", Value::Null);
    let token = id(&listed.await["items"][0]);
    let path = format!("/tokens/{token}/revoke");
    people.ok(&hand, "POST", &path, Value::Null).await;
    let (_, done) = import(&people, &hand, query, given(1)).await;
    assert_eq!(done["refused"], 1, "{done}");
    assert!(done["revision"].is_null(), "nothing was changed");
}

#[tokio::test]
async fn plans_hold_for_imports() {
    let people = People::new().await;
    people.account("small", "pro").await;
    let hand = operator(&people).await;
    people
        .ok(
            &hand,
            "POST",
            "/tokens",
            json!({"account": "small", "signal": "logs", "name": "one"}),
        )
        .await;
    let mut lines: Vec<_> = (0..20).map(given).collect();
    lines[3] = json!({"token": given(3), "enabled": false}).to_string();
    let query = "?account=small&signal=logs";
    let (_, done) = import(&people, &hand, query, lines.join("\n")).await;
    assert_eq!((&done["made"], &done["refused"]), (&json!(15), &json!(5)));
    let (_, again) = import(&people, &hand, query, lines.join("\n")).await;
    assert_eq!((&again["made"], &again["known"]), (&json!(0), &json!(15)));
    let metrics = "?account=small&signal=metrics";
    let (_, done) = import(&people, &hand, metrics, given(100)).await;
    assert_eq!(done["made"], 1);
}

#[tokio::test]
async fn an_import_reaches_no_account_that_its_caller_does_not_reach() {
    let people = People::new().await;
    let main = people.account("acme", "unlimited").await;
    let sub = people.sub_account("acme-eu", main, true).await;
    let hidden = people.sub_account("acme-board", main, false).await;
    let other = people.account("other", "unlimited").await;
    let (_, hand) = people.api_token(Some(main), &["tokens"]).await;
    let accounts = [
        json!(main),
        json!(sub),
        json!("acme-eu"),
        json!(hidden),
        json!("acme-board"),
        json!(other),
        json!("other"),
        json!("nobody"),
        json!(99),
    ];
    let lines = (1..).zip(&accounts).map(|(n, account)| {
        json!({"token": given(n), "account": account, "signal": "logs"}).to_string()
    });
    let lines: Vec<_> = lines.collect();
    let (status, done) = import(&people, &hand, "", lines.join("\n")).await;
    assert_eq!((status, &done["made"]), (200, &json!(3)));
    let reasons: Vec<_> = done["refusals"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|refusal| refusal["reason"].as_str().expect("text").to_owned())
        .collect();
    assert_eq!(
        reasons,
        [
            format!("there is no account {hidden}"),
            "there is no account of that name".to_owned(),
            format!("there is no account {other}"),
            "there is no account of that name".to_owned(),
            "there is no account of that name".to_owned(),
            "there is no account 99".to_owned(),
        ]
    );
    let (_, reader) = people.api_token(Some(main), &["read"]).await;
    assert_eq!(import(&people, &reader, "", lines.join("\n")).await.0, 403);
}

#[tokio::test]
async fn a_refusal_repeats_nothing_of_its_line_so_a_thousand_are_a_short_answer() {
    let people = People::new().await;
    let hand = operator(&people).await;
    let long = "\u{7f}".repeat(16_000);
    let longest_name = "\u{7f}\u{e001}".repeat(64);
    for (at, wrong) in [
        json!({"account": long}),
        json!({"account": longest_name}),
        json!({"account": "\u{e001}".repeat(128)}),
        json!({"account": 1, "expires_at": long}),
        json!({"account": 1, "sources": [long]}),
        json!({"account": 1, "signal": long}),
        json!({"account": 1, "name": long}),
    ]
    .into_iter()
    .enumerate()
    {
        let line = |n: u32| {
            let mut line = json!({"token": given(n), "signal": "logs"});
            let fields = wrong.as_object().expect("fields").clone();
            line.as_object_mut().expect("an object").extend(fields);
            line.to_string()
        };
        let lines: Vec<_> = (0..1_000).map(line).collect();
        let (status, done) = import(&people, &hand, "", lines.join("\n")).await;
        assert_eq!((status, &done["refused"]), (200, &json!(1_000)), "{at}");
        let bytes = done.to_string().len();
        assert!(bytes < 256 << 10, "{at}: {bytes} bytes");
    }
}

#[tokio::test]
async fn a_nul_in_an_accounts_name_is_one_wrong_line() {
    let people = People::new().await;
    let hand = operator(&people).await;
    let lines = [
        json!({"token": given(1), "account": 1}),
        json!({"token": given(2), "account": "ma\0in"}),
        json!({"token": given(3), "account": "main"}),
    ];
    let lines = lines.map(|line| line.to_string()).join("\n");
    let (status, done) = import(&people, &hand, "?signal=logs", lines).await;
    assert_eq!((status, &done["made"]), (200, &json!(2)), "{done}");
    let refused = &done["refusals"][0];
    assert_eq!(refused["line"], 2);
    let reason = refused["reason"].as_str().expect("text");
    assert!(
        reason.contains("look at column"),
        "not looked for: {reason}"
    );
    // In a query and in a body the same.
    let query = "?signal=logs&account=a%00b";
    assert_eq!(import(&people, &hand, query, given(4)).await.0, 400);
    let body = json!({"account": "a\0b", "signal": "logs", "name": "n"});
    assert_eq!(people.call(&hand, "POST", "/tokens", &body).await.0, 400);
}

#[tokio::test]
async fn who_is_revoked_while_the_file_is_on_its_way_makes_no_more_tokens() {
    let people = People::new().await;
    let (token, hand) = people.api_token(None, &["tokens"]).await;
    let Hand::Token(text) = &hand else {
        panic!("a token");
    };
    let (pieces, body) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let body = Body::from_stream(tokio_stream::wrappers::ReceiverStream::new(body));
    let request = Request::post("/api/v1/tokens/import?account=1&signal=logs")
        .header("x-api-token", text)
        .body(body)
        .expect("a request");
    let sending = async {
        let batch: Vec<_> = (0..5_000).map(given).collect();
        let batch = batch.join("\n") + "\n";
        pieces.send(Ok(batch.into())).await.expect("taken");
        while people.world.live_tokens().await.len() < 5_000 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let path = format!("/api-tokens/{token}/revoke");
        people.operate("POST", &path, Value::Null).await;
        pieces.send(Ok(given(9_999).into())).await.expect("taken");
        drop(pieces);
    };
    let ((status, ..), ()) = tokio::join!(people.world.raw(request), sending);
    assert_eq!(status.as_u16(), 401);
    assert_eq!(people.world.live_tokens().await.len(), 5_003);
}

#[tokio::test]
async fn a_leaked_token_is_told_to_those_who_reach_it_and_ends_when_they_say_so() {
    let people = People::new().await;
    let main = people.account("acme", "unlimited").await;
    people.account("other", "unlimited").await;
    let (_, ours) = people.api_token(Some(main), &["tokens"]).await;
    let (leaked, api) = people.api_token(Some(main), &["read"]).await;
    let body = json!({"account": main, "signal": "logs", "name": "web"});
    let made = people.operate("POST", "/tokens", body).await;
    let text = made["token"].as_str().expect("text");
    let body = json!({"account": "other", "signal": "logs", "name": "theirs"});
    let theirs = people.operate("POST", "/tokens", body).await;

    let leak = people
        .ok(&ours, "POST", "/leaks", json!({"token": text}))
        .await;
    assert_eq!(leak["kind"], "shipping");
    assert_eq!(
        [&leak["id"], &leak["account"], &leak["name"], &leak["state"]],
        [&made["id"], &json!(main), &json!("web"), &json!("live")]
    );
    let key = people.world.control.inner.store.digest_key().clone();
    let digest: String = key
        .digest(text.as_bytes())
        .0
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let by_digest = people.ok(&ours, "POST", "/leaks", json!({"digest": digest}));
    assert_eq!(by_digest.await, leak);

    // What is not there and what is not theirs look alike.
    let forged = TokenKind::Shipping.mint(|bytes| bytes.fill(7));
    let mut answers = Vec::new();
    for token in [
        theirs["token"].as_str().expect("text"),
        forged.reveal(),
        "typo",
    ] {
        for revoke in [false, true] {
            let body = json!({"token": token, "revoke": revoke});
            answers.push(people.call(&ours, "POST", "/leaks", &body).await);
        }
    }
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );
    assert_eq!(answers[0].0, 404);
    for body in [
        json!({}),
        json!({"token": text, "digest": digest}),
        json!({"digest": "12"}),
        json!({"token": text, "revoke": text}),
        json!([text]),
    ] {
        let (status, problem) = people.call(&ours, "POST", "/leaks", &body).await;
        assert_eq!(status, 400, "{body}");
        assert!(!problem.to_string().contains(text), "{problem}");
    }

    let body = json!({"token": text, "revoke": true});
    let gone = people.ok(&ours, "POST", "/leaks", body).await;
    assert_eq!(gone["state"], "revoked");
    assert!(gone["revision"].is_u64());
    // An API token is not the business of those who handle shipping tokens.
    let Hand::Token(api_text) = &api else {
        panic!("a token");
    };
    let body = json!({"token": api_text, "revoke": true});
    assert_eq!(people.call(&ours, "POST", "/leaks", &body).await.0, 403);
    let leak = people.operate("POST", "/leaks", body).await;
    assert_eq!(
        [&leak["kind"], &leak["id"], &leak["state"]],
        [&json!("api"), &json!(leaked), &json!("revoked")]
    );
    assert_eq!(
        people.call(&api, "GET", "/accounts", &Value::Null).await.0,
        401
    );
    let audit = people
        .operate("GET", "/audit?action=leak.report", Value::Null)
        .await;
    let subjects = audit["items"].as_array().expect("a list").iter();
    let subjects: Vec<_> = subjects.map(|record| record["subject"].clone()).collect();
    let token = format!("token/{}", id(&made));
    let api = format!("api_token/{leaked}");
    assert_eq!(subjects, [&*token, &*token, &*token, &*api]);
    assert!(!audit.to_string().contains(text));
}

#[tokio::test]
async fn a_token_of_an_account_that_is_gone_is_nothing_known_to_anybody() {
    let people = People::new().await;
    let gone = people.account("gone", "unlimited").await;
    let other = people.account("other", "unlimited").await;
    let (_, stranger) = people.api_token(Some(other), &["tokens", "accounts"]).await;
    let tokens = [
        people.api_token(Some(gone), &["read"]).await.1,
        people.shared_token(gone, &[]).await.1,
    ];
    let path = format!("/accounts/{gone}");
    people.operate("DELETE", &path, Value::Null).await;
    let never = TokenKind::Api.mint(|bytes| bytes.fill(7));
    let never = json!({"token": never.reveal()});
    for hand in [people.operator(), stranger] {
        let nothing = people.call(&hand, "POST", "/leaks", &never).await;
        assert_eq!(nothing.0, 404);
        for token in &tokens {
            let Hand::Token(text) = token else {
                panic!("a token");
            };
            for revoke in [false, true] {
                let body = json!({"token": text, "revoke": revoke});
                let answer = people.call(&hand, "POST", "/leaks", &body).await;
                assert_eq!(answer, nothing);
            }
        }
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_whole_batches_alone() {
    let world = World::new().await;
    let batch: Vec<_> = (0..5_000).map(given).collect();
    let pieces = vec![
        Ok(Bytes::from(batch.join("\n") + "\n" + &given(6_000) + "\n")),
        Err(std::io::Error::other("gone")),
    ];
    let body = Body::from_stream(futures_util::stream::iter(pieces));
    let path = "/tokens/import?account=1&signal=logs";
    let (status, ..) = world.raw(world.request("POST", path, body)).await;
    assert_eq!(status.as_u16(), 400);
    assert_eq!(world.live_tokens().await.len(), 5_003);
}

#[tokio::test]
async fn a_leaked_shared_token_is_told_and_ended_like_any_other() {
    let people = People::new().await;
    let main = people.account("acme", "pro").await;
    let (_, ours) = people.api_token(Some(main), &["tokens"]).await;
    let (shared, hand) = people.shared_token(main, &[]).await;
    let Hand::Token(text) = &hand else {
        panic!("a token");
    };
    let leak = people
        .ok(&ours, "POST", "/leaks", json!({"token": text}))
        .await;
    assert_eq!(
        [&leak["kind"], &leak["id"], &leak["account"], &leak["state"]],
        [
            &json!("shared"),
            &json!(shared),
            &json!(main),
            &json!("live")
        ]
    );
    let usage = "/shared/usage";
    assert_eq!(people.call(&hand, "GET", usage, &Value::Null).await.0, 200);
    let body = json!({"token": text, "revoke": true});
    assert_eq!(
        people.ok(&ours, "POST", "/leaks", body).await["state"],
        "revoked"
    );
    assert_eq!(people.call(&hand, "GET", usage, &Value::Null).await.0, 401);
}
