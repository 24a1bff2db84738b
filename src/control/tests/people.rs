//! People and accounts to test with: who calls, with what in hand.

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, header},
};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::world::{World, text};
use crate::control::Config;

pub(super) const PASSWORD: &str = "correct horse battery";

/// What somebody presents.
#[derive(Clone, Debug)]
pub(super) enum Hand {
    Nothing,
    Token(String),
    Session { cookie: String, csrf: String },
}

/// A control plane, and its API as its callers have it.
pub(super) struct People {
    pub(super) world: World,
    pub(super) router: Router,
    operator: Hand,
}

impl People {
    pub(super) async fn new() -> Self {
        Self::with(Config::default()).await
    }

    pub(super) async fn with(config: Config) -> Self {
        let world = World::with(config).await;
        let router = world.control.admin();
        let operator = Hand::Token(text(&world.folder.path().join("admin-token")));
        Self {
            world,
            router,
            operator,
        }
    }

    /// One call; its status, and its body where that is JSON.
    pub(super) async fn call(
        &self,
        hand: &Hand,
        method: &str,
        path: &str,
        body: &Value,
    ) -> (u16, Value) {
        let uri = format!("/api/v1{path}");
        self.send(hand, method, &uri, body).await
    }

    /// One call anywhere on the port.
    pub(super) async fn send(
        &self,
        hand: &Hand,
        method: &str,
        uri: &str,
        body: &Value,
    ) -> (u16, Value) {
        let mut request = Request::builder().method(method).uri(uri);
        match hand {
            Hand::Nothing => {}
            Hand::Token(token) => request = request.header("x-api-token", token),
            Hand::Session { cookie, csrf } => {
                request = request
                    .header(header::COOKIE, cookie)
                    .header("x-csrf-token", csrf);
            }
        }
        let text = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let request = request.header(header::CONTENT_TYPE, "application/json");
        let request = request.body(Body::from(text)).expect("a request");
        // What was refused before stands in the audit log by now.
        self.world.control.inner.refusals.written().await;
        let answer = self.router.clone().oneshot(request).await.expect("answers");
        let status = answer.status().as_u16();
        let body = to_bytes(answer.into_body(), 1 << 24).await.expect("a body");
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// What must succeed.
    pub(super) async fn ok(&self, hand: &Hand, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(hand, method, path, &body).await;
        assert!(
            (200..300).contains(&status),
            "{method} {path}: {status} {answer}"
        );
        answer
    }

    /// Who has the first operator's token.
    pub(super) fn operator(&self) -> Hand {
        self.operator.clone()
    }

    /// What the first operator's token does.
    pub(super) async fn operate(&self, method: &str, path: &str, body: Value) -> Value {
        self.ok(&self.operator, method, path, body).await
    }

    pub(super) async fn account(&self, name: &str, plan: &str) -> u64 {
        let body = json!({"name": name, "plan": plan});
        id(&self.operate("POST", "/accounts", body).await)
    }

    pub(super) async fn sub_account(&self, name: &str, parent: u64, accessible: bool) -> u64 {
        let body = json!({"name": name, "parent": parent, "accessible": accessible});
        id(&self.operate("POST", "/accounts", body).await)
    }

    pub(super) async fn shipping_token(&self, account: u64, name: &str) -> u64 {
        let body = json!({"account": account, "signal": "logs", "name": name});
        id(&self.operate("POST", "/tokens", body).await)
    }

    /// An API token's id, and the token.
    pub(super) async fn api_token(&self, account: Option<u64>, scopes: &[&str]) -> (u64, Hand) {
        let body = json!({"account": account, "name": "test", "scopes": scopes});
        let made = self.operate("POST", "/api-tokens", body).await;
        let token = made["token"].as_str().expect("a token").to_owned();
        (id(&made), Hand::Token(token))
    }

    /// A shared token's id, and the token.
    pub(super) async fn shared_token(&self, account: u64, filters: &[u64]) -> (u64, Hand) {
        let body = json!({"account": account, "name": "shared", "filters": filters});
        let made = self.operate("POST", "/shared-tokens", body).await;
        let token = made["token"].as_str().expect("a token").to_owned();
        (id(&made), Hand::Token(token))
    }

    pub(super) async fn shared_filter(&self, account: u64, field: &str, value: &str) -> u64 {
        let body = json!({"account": account, "field": field, "value": value});
        id(&self.operate("POST", "/shared-filters", body).await)
    }

    pub(super) async fn user(&self, account: Option<u64>, name: &str, role: &str) -> u64 {
        let body = json!({"account": account, "name": name, "role": role, "password": PASSWORD});
        id(&self.operate("POST", "/users", body).await)
    }

    pub(super) async fn log_in(&self, name: &str) -> Hand {
        let request = Request::post("/api/v1/session")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(
                json!({"name": name, "password": PASSWORD}).to_string(),
            ))
            .expect("a request");
        let answer = self.router.clone().oneshot(request).await.expect("answers");
        assert_eq!(answer.status().as_u16(), 201, "{name} logs in");
        let cookie = answer.headers()[header::SET_COOKIE]
            .to_str()
            .expect("text")
            .to_owned();
        for attribute in [
            "__Host-wharfinger=",
            "Path=/",
            "Secure",
            "HttpOnly",
            "SameSite=Strict",
        ] {
            assert!(cookie.contains(attribute), "{attribute}");
        }
        let cookie = cookie.split(';').next().expect("a pair").to_owned();
        let body = to_bytes(answer.into_body(), 1 << 20).await.expect("a body");
        let session: Value = serde_json::from_slice(&body).expect("JSON");
        let csrf = session["csrf_token"].as_str().expect("text").to_owned();
        Hand::Session { cookie, csrf }
    }

    /// A person of that account, logged in.
    pub(super) async fn person(&self, account: Option<u64>, name: &str, role: &str) -> Hand {
        self.user(account, name, role).await;
        self.log_in(name).await
    }
}

pub(super) fn id(object: &Value) -> u64 {
    object["id"].as_u64().expect("an id")
}
