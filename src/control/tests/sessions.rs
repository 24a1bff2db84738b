//! People log in and out, and what ends a session ends it at once.

use axum::{
    body::Body,
    http::{Request, header},
};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{
    people::{Hand, PASSWORD, People},
    stores,
};
use crate::{control::Config, operate::server::Peer};

async fn status(people: &People, hand: &Hand, method: &str, path: &str, body: Value) -> u16 {
    people.call(hand, method, path, &body).await.0
}

#[tokio::test]
async fn the_first_operator_logs_in_with_the_password_of_the_file() {
    let people = People::new().await;
    let path = people.world.folder.path().join("operator-password");
    let password = super::world::text(&path);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(&path).expect("there").permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    let login = json!({"name": "operator", "password": password});
    let (status, session) = people
        .call(&Hand::Nothing, "POST", "/session", &login)
        .await;
    assert_eq!(status, 201);
    assert_eq!(
        (&session["role"], &session["account"]),
        (&json!("operator"), &Value::Null)
    );
    assert!(!session.to_string().contains(&password));
}

#[tokio::test]
async fn a_change_in_a_session_needs_the_token_that_only_our_answers_tell() {
    let people = People::new().await;
    let Hand::Session { cookie, csrf } = people.person(None, "anna", "operator").await else {
        panic!("a session");
    };
    let with = |csrf: &str| Hand::Session {
        cookie: cookie.clone(),
        csrf: csrf.to_owned(),
    };
    let body = json!({"name": "acme"});
    for wrong in ["", "x", &csrf.to_uppercase()] {
        let hand = with(wrong);
        assert_eq!(
            status(&people, &hand, "POST", "/accounts", body.clone()).await,
            403
        );
        assert_eq!(
            status(&people, &hand, "GET", "/accounts", Value::Null).await,
            200
        );
    }
    let hand = with(&csrf);
    let shown = people.ok(&hand, "GET", "/session", Value::Null).await;
    assert_eq!(shown["csrf_token"], csrf);
    people.ok(&hand, "POST", "/accounts", body).await;
}

#[tokio::test]
async fn a_new_password_a_new_role_and_a_deletion_end_every_session_at_once() {
    let people = People::new().await;
    let account = people.account("acme", "pro").await;
    people.user(Some(account), "bert", "admin").await;
    let user = people.user(Some(account), "anna", "admin").await;
    let path = format!("/users/{user}");
    let other = json!({"password": "another one for anna"});
    let same = json!({"password": PASSWORD});
    for change in [json!({"role": "reader"}), other, same] {
        let sessions = match change["password"] == PASSWORD {
            // Nobody can log in with it yet.
            true => Vec::new(),
            false => vec![people.log_in("anna").await, people.log_in("anna").await],
        };
        for session in &sessions {
            assert_eq!(
                status(&people, session, "GET", "/tokens", Value::Null).await,
                200
            );
        }
        people.operate("PATCH", &path, change).await;
        for session in &sessions {
            assert_eq!(
                status(&people, session, "GET", "/tokens", Value::Null).await,
                401
            );
        }
    }
    let (first, second) = (people.log_in("anna").await, people.log_in("anna").await);
    people.ok(&first, "DELETE", "/session", Value::Null).await;
    assert_eq!(
        status(&people, &first, "GET", "/session", Value::Null).await,
        401
    );
    let own = json!({"password": PASSWORD, "new_password": "chosen by herself"});
    people.ok(&second, "PATCH", "/session", own).await;
    assert_eq!(
        status(&people, &second, "GET", "/session", Value::Null).await,
        401
    );
    let login = json!({"name": "anna", "password": "chosen by herself"});
    people
        .ok(&Hand::Nothing, "POST", "/session", login.clone())
        .await;
    people.operate("DELETE", &path, Value::Null).await;
    assert_eq!(
        status(&people, &Hand::Nothing, "POST", "/session", login).await,
        401
    );
}

#[tokio::test]
async fn wrong_passwords_are_answered_alike_and_stopped_after_ten() {
    let people = People::new().await;
    people.user(None, "anna", "operator").await;
    let login = |name: &str, password: &str| json!({"name": name, "password": password});
    let mut answers = Vec::new();
    for name in ["anna", "nobody of that name"] {
        for _ in 0..10 {
            let wrong = login(name, "a wrong password");
            answers.push(
                people
                    .call(&Hand::Nothing, "POST", "/session", &wrong)
                    .await,
            );
        }
        // The right one is not tried either.
        let right = login(name, PASSWORD);
        let stopped = status(&people, &Hand::Nothing, "POST", "/session", right).await;
        assert_eq!(stopped, 429, "{name}");
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(answers[0].0, 401);
    people.user(None, "bert", "operator").await;
    people.log_in("bert").await;
}

#[tokio::test]
async fn the_last_operator_stays_and_a_lost_password_is_made_anew() {
    let people = People::new().await;
    assert_eq!(
        status(
            &people,
            &people.person(None, "anna", "operator").await,
            "DELETE",
            "/users/1",
            Value::Null
        )
        .await,
        200
    );
    let anna = people.log_in("anna").await;
    assert_eq!(
        status(&people, &anna, "DELETE", "/users/2", Value::Null).await,
        409
    );
    for role in ["admin", "reader"] {
        let role = json!({"role": role});
        let got = status(&people, &anna, "PATCH", "/users/2", role).await;
        assert_eq!(got, 409);
    }
    let control = &people.world.control;
    let path = control.reset_password("anna").await.expect("reset");
    assert_eq!(
        status(&people, &anna, "GET", "/session", Value::Null).await,
        401
    );
    let login = json!({"name": "anna", "password": super::world::text(&path)});
    people.ok(&Hand::Nothing, "POST", "/session", login).await;
    assert!(control.reset_password("nobody").await.is_err());
    let path = control
        .reset_password("operator")
        .await
        .expect("made again");
    let login = json!({"name": "operator", "password": super::world::text(&path)});
    people.ok(&Hand::Nothing, "POST", "/session", login).await;
}

#[tokio::test]
async fn neither_passwords_nor_sessions_stand_in_the_store() {
    let people = People::new().await;
    let hand = people.person(None, "anna", "operator").await;
    let Hand::Session { cookie, csrf } = hand else {
        panic!("a session");
    };
    let secret = cookie.split_once('=').expect("a pair").1.to_owned();
    let (_, token) = people.api_token(None, &["read"]).await;
    let Hand::Token(token) = token else {
        panic!("a token");
    };
    let first = super::world::text(&people.world.folder.path().join("operator-password"));
    let secrets = [PASSWORD.to_owned(), secret, csrf, token, first];
    let mut files = 0;
    for bytes in stores::bytes(people.world.folder.path()).await {
        files += 1;
        for secret in &secrets {
            let found = bytes
                .windows(secret.len())
                .any(|window| window == secret.as_bytes());
            assert!(!found);
        }
    }
    assert!(files >= 2, "store and log, or rows");
}

#[tokio::test]
async fn a_login_is_json_by_its_word_before_anybody_reads_it() {
    let people = People::new().await;
    people.user(None, "anna", "operator").await;
    let good = json!({"name": "anna", "password": PASSWORD}).to_string();
    let form = format!("name=anna&password={}", PASSWORD.replace(' ', "+"));
    for (kind, body, status) in [
        (Some("application/x-www-form-urlencoded"), &form, 415),
        (Some("application/jsonp"), &good, 415),
        (Some("text/plain"), &good, 415),
        (None, &good, 415),
        (Some("application/json"), &form, 400),
        (Some("Application/JSON; charset=utf-8"), &good, 201),
    ] {
        let mut request = Request::post("/api/v1/session");
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        let request = request.body(Body::from(body.clone())).expect("a request");
        let answer = people.router.clone().oneshot(request).await;
        assert_eq!(
            answer.expect("answers").status().as_u16(),
            status,
            "{kind:?}"
        );
    }
}

/// What a login from that peer with that header is answered.
async fn forwarded(people: &People, peer: &str, header: &str, login: &Value) -> u16 {
    let mut request = Request::post("/api/v1/session")
        .header(header::CONTENT_TYPE, "application/json")
        .header("x-forwarded-for", header)
        .body(Body::from(login.to_string()))
        .expect("a request");
    let peer = peer.parse().expect("an address");
    request.extensions_mut().insert(Peer(peer));
    let answer = people.router.clone().oneshot(request).await;
    answer.expect("answers").status().as_u16()
}

#[tokio::test]
async fn behind_a_proxy_of_ours_whoever_guesses_stops_themselves_alone() {
    let config = Config {
        trusted_proxies: vec!["10.0.0.0/8".parse().expect("a network")],
        ..Config::default()
    };
    let people = People::with(config).await;
    people.user(None, "anna", "operator").await;
    let (proxy, stranger) = ("10.0.0.1:4711", "192.0.2.1:4711");
    for guess in 0..50 {
        let wrong = json!({"name": format!("nobody {guess}"), "password": "a wrong password"});
        // Whatever they write before it: the proxy adds where they are.
        let header = format!("203.0.113.{guess}, 198.51.100.9");
        assert_eq!(forwarded(&people, proxy, &header, &wrong).await, 401);
    }
    let login = json!({"name": "anna", "password": PASSWORD});
    assert_eq!(forwarded(&people, proxy, "198.51.100.9", &login).await, 429);
    assert_eq!(forwarded(&people, proxy, "198.51.100.8", &login).await, 201);
    assert_eq!(
        forwarded(&people, stranger, "198.51.100.9", &login).await,
        201
    );
    let log = people
        .operate("GET", "/audit?action=session.begin", Value::Null)
        .await;
    let from: Vec<_> = log["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|it| it["address"].clone())
        .collect();
    assert_eq!(from, ["198.51.100.8", "192.0.2.1"]);
}
