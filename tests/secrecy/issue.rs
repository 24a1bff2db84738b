//! Every way in which a secret comes into the world, some of each.

use std::fmt::Write as _;

use http::Method;
use serde_json::{Value, json};

use crate::{search::Search, stage::Stage};

/// Where a secret may be by right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// No gateway has been sent it: it is in no gateway's memory.
    Kept,
    /// A sender has shown it to the gateway.
    Presented,
    /// The gateway needs it at a destination, or to join.
    Gateways,
}

/// All that was issued.
pub(crate) struct Issued {
    pub(crate) search: Search,
    /// By number.
    pub(crate) reach: Vec<Reach>,
    pub(crate) texts: Vec<String>,
    /// Ids and numbers of shipping tokens that open something.
    pub(crate) shipping: Vec<(u64, usize)>,
    /// How many of each way.
    pub(crate) ways: Vec<(&'static str, usize)>,
}

// === impl Issued ===

impl Issued {
    pub(crate) fn new() -> Self {
        Self {
            search: Search::new(),
            reach: Vec::new(),
            texts: Vec::new(),
            shipping: Vec::new(),
            ways: Vec::new(),
        }
    }

    /// One more secret of that way; its number.
    pub(crate) fn add(&mut self, way: &'static str, reach: Reach, text: &str) -> usize {
        match self.ways.iter_mut().find(|(known, _)| *known == way) {
            Some((_, count)) => *count += 1,
            None => self.ways.push((way, 1)),
        }
        self.reach.push(reach);
        self.texts.push(text.to_owned());
        let number = self.search.add(format!("{way} {}", self.texts.len()), text);
        assert_eq!(number + 1, self.texts.len());
        number
    }

    fn took(&mut self, way: &'static str, answer: &Value, field: &str) -> usize {
        let text = answer[field].as_str();
        let text = text.unwrap_or_else(|| panic!("{way}: no {field}: {answer}"));
        self.add(way, Reach::Kept, text)
    }

    fn ships(&mut self, way: &'static str, answer: &Value) {
        let number = self.took(way, answer, "token");
        let id = answer["id"].as_u64().expect("a number");
        self.shipping.push((id, number));
    }
}

/// What only a test would say, of a length that can be looked for.
pub(crate) fn made_up(length: usize) -> String {
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes).expect("randomness");
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let text = bytes.iter().map(|byte| letters[usize::from(byte % 64)]);
    text.map(char::from).collect()
}

/// What the first start made: each lies in a file of its own.
pub(crate) const FIRST: [(&str, Reach); 7] = [
    ("admin-token", Reach::Kept),
    ("operator-password", Reach::Kept),
    ("master.key", Reach::Kept),
    ("join-key", Reach::Gateways),
    ("tokens/main-logs", Reach::Kept),
    ("tokens/main-metrics", Reach::Kept),
    ("tokens/main-traces", Reach::Kept),
];

/// Everything, `dose` of what is quickly made; the account's id.
pub(crate) async fn issue(stage: &Stage, issued: &mut Issued, dose: usize) -> u64 {
    for (file, reach) in FIRST {
        issued.add("first start", reach, &stage.secret_file(file));
    }
    let credentials = ["bearer", "secret header"].map(|way| (way, made_up(40)));
    let [(_, bearer), (_, header)] = &credentials;
    let body = json!({"name": "near", "kind": "http", "endpoints": ["http://127.0.0.1:9/"],
        "credentials": {"kind": "bearer", "token": bearer}, "secret_headers": {"x-api-key": header}});
    stage.must(Method::POST, "/destinations", body).await;
    for (way, text) in &credentials {
        issued.add(way, Reach::Gateways, text);
    }
    let archive = json!({"logs": "archive", "metrics": "archive", "traces": "archive"});
    let body = json!({"name": "acme", "plan": "unlimited", "destinations": archive});
    let account = stage.must(Method::POST, "/accounts", body).await;
    tokens(stage, issued, dose).await;
    others(stage, issued, dose / 8).await;
    people(stage, issued).await;
    compatible(stage, issued, dose / 16).await;
    by_command(stage, issued);
    account["id"].as_u64().expect("a number")
}

async fn tokens(stage: &Stage, issued: &mut Issued, dose: usize) {
    let signals = ["logs", "metrics", "traces"];
    for n in 0..dose {
        let body = json!({"account": "acme", "signal": signals[n % 3], "name": "made"});
        let made = stage.must(Method::POST, "/tokens", body).await;
        issued.ships("create", &made);
        if n % 3 == 0 {
            let path = format!("/tokens/{}/rotate", made["id"]);
            let made = stage.must(Method::POST, &path, json!({})).await;
            issued.ships("rotate", &made);
        }
        if n % 5 == 0 {
            let path = format!("/tokens/{}/reveal", made["id"]);
            let shown = stage.must(Method::POST, &path, Value::Null).await;
            assert_eq!(shown["token"], made["token"], "one and the same");
        }
        if n % 7 == 0 {
            let text = made_up(16 + n % 113);
            let body = json!({"account": "acme", "signal": "logs", "name": "given", "token": text});
            issued.ships(
                "import of one",
                &stage.must(Method::POST, "/tokens", body).await,
            );
        }
    }
    let texts: Vec<_> = (0..dose * 8).map(|n| made_up(16 + n % 113)).collect();
    let mut lines = String::new();
    for (n, text) in texts.iter().enumerate() {
        let _ = writeln!(lines, "{{\"token\":\"{text}\",\"name\":\"line {n}\"}}");
        issued.add("import of a file", Reach::Kept, text);
    }
    let path = "/tokens/import?account=acme&signal=logs";
    let done = stage.must(Method::POST, path, Value::String(lines)).await;
    assert_eq!(done["made"], texts.len(), "{done}");
    // Found in the wild, named and ended: it stands in the body alone.
    for text in &texts[..dose / 8] {
        let body = json!({"token": text, "revoke": true});
        let leak = stage.must(Method::POST, "/leaks", body).await;
        assert_eq!(leak["state"], "revoked");
    }
}

async fn others(stage: &Stage, issued: &mut Issued, dose: usize) {
    let operator = format!("Bearer {}", stage.secret_file("admin-token"));
    for n in 0..dose {
        let account = (n % 2 == 0).then_some("acme");
        let body =
            json!({"account": account, "name": "t", "scopes": ["read", "tokens", "accounts"]});
        let made = stage.must(Method::POST, "/api-tokens", body).await;
        issued.took("API token", &made, "token");
        let body = json!({"account": "acme", "name": "s", "filters": []});
        let made = stage.must(Method::POST, "/shared-tokens", body).await;
        let shared = format!("Bearer {}", made["token"].as_str().expect("text"));
        issued.took("shared token", &made, "token");
        let path = format!("/shared-tokens/{}/reveal", made["id"]);
        stage.must(Method::POST, &path, Value::Null).await;
        let headers = [("authorization", shared.as_str())];
        let uri = "/api/v1/shared/usage";
        let seen = stage.ask(Method::GET, uri, &headers, &Value::Null).await;
        assert_eq!(seen.status, 200);
        // The answer is kept for who asks again, and shows the token then.
        let key = made_up(24);
        let headers = [
            ("authorization", operator.as_str()),
            ("idempotency-key", key.as_str()),
        ];
        let body = json!({"account": "acme", "signal": "logs", "name": "once"});
        let uri = "/api/v1/tokens";
        let first = stage.ask(Method::POST, uri, &headers, &body).await.json();
        let again = stage.ask(Method::POST, uri, &headers, &body).await.json();
        assert_eq!(first["token"], again["token"]);
        issued.ships("under a key", &first);
    }
}

async fn people(stage: &Stage, issued: &mut Issued) {
    for n in 0..4 {
        let (name, password) = (format!("person-{n}"), made_up(24));
        let body = json!({"account": "acme", "name": name, "role": "admin", "password": password});
        stage.must(Method::POST, "/users", body).await;
        issued.add("password", Reach::Kept, &password);
        let login = |password: &str| json!({"name": name, "password": password});
        let uri = "/api/v1/session";
        // A password in the name's place, and one that is none.
        let wrong = made_up(24);
        issued.add("wrong password", Reach::Kept, &wrong);
        for body in [json!({"name": wrong, "password": wrong}), login(&wrong)] {
            assert_eq!(stage.ask(Method::POST, uri, &[], &body).await.status, 401);
        }
        let answer = stage.ask(Method::POST, uri, &[], &login(&password)).await;
        assert_eq!(answer.status, 201);
        let cookie = answer.header("set-cookie").expect("a cookie").to_owned();
        let cookie = cookie.split(';').next().expect("a pair").to_owned();
        let (_, secret) = cookie.split_once('=').expect("a pair");
        issued.add("session", Reach::Kept, secret);
        let session = answer.json();
        issued.took("session's CSRF token", &session, "csrf_token");
        let csrf = session["csrf_token"].as_str().expect("text");
        let new = made_up(24);
        issued.add("changed password", Reach::Kept, &new);
        let headers = [("cookie", cookie.as_str()), ("x-csrf-token", csrf)];
        let body = json!({"password": password, "new_password": new});
        let changed = stage.ask(Method::PATCH, uri, &headers, &body).await;
        assert!(changed.status < 300, "{}", changed.text());
    }
}

async fn compatible(stage: &Stage, issued: &mut Issued, dose: usize) {
    let body =
        json!({"account": "acme", "name": "automation", "scopes": ["read", "tokens", "accounts"]});
    let hand = stage.must(Method::POST, "/api-tokens", body).await;
    issued.took("API token", &hand, "token");
    let hand = hand["token"].as_str().expect("text").to_owned();
    let headers = [("x-api-token", hand.as_str())];
    for n in 0..dose {
        for (way, uri, body, field) in [
            (
                "compatible: shipping token",
                "/v1/log-shipping/tokens",
                json!({"name": "theirs"}),
                "token",
            ),
            (
                "compatible: sub-account",
                "/v1/account-management/time-based-accounts",
                json!({"accountName": format!("sub-{n}"), "email": "a@acme.example"}),
                "accountToken",
            ),
            (
                "compatible: metrics account",
                "/v1/account-management/metrics-accounts",
                json!({"accountName": format!("metrics-{n}"), "email": "a@acme.example"}),
                "token",
            ),
            (
                "compatible: shared token",
                "/v1/shared-tokens",
                json!({"tokenName": "theirs", "filters": []}),
                "token",
            ),
        ] {
            let answer = stage.ask(Method::POST, uri, &headers, &body).await;
            assert!(answer.status < 300, "{uri}: {}", answer.text());
            let made = answer.json();
            issued.took(way, &made, field);
            if let Some(sub) = made["accountId"].as_u64() {
                let uri = "/v1/api-tokens/sub-account";
                let body = json!({"name": "theirs", "accountId": sub});
                let answer = stage.ask(Method::POST, uri, &headers, &body).await;
                issued.took("compatible: API token", &answer.json(), "token");
            }
        }
    }
    let trail = json!({"from": 0, "size": 500});
    let uri = "/v1/audit-trail";
    let trail = stage.ask(Method::POST, uri, &headers, &trail).await;
    assert!(trail.status < 300, "{}", trail.text());
    assert!(issued.search.found_in(&trail.body).is_empty());
}

fn by_command(stage: &Stage, issued: &mut Issued) {
    let says = |words: &str| -> Value {
        let words: Vec<_> = words.split(' ').collect();
        serde_json::from_str(&stage.run(&words)).expect("JSON")
    };
    let made = says("token create --account acme --signal logs --name typed --json");
    issued.ships("command line", &made);
    let id = made["id"].as_u64().expect("a number");
    issued.ships("command line", &says(&format!("token rotate {id} --json")));
    let made = says("api-token create --account acme --name typed --scope read --json");
    issued.took("command line", &made, "token");
    let made = says("shared-token create --account acme --name typed --everything --json");
    issued.took("command line", &made, "token");
    let file = stage.aside.path().join("theirs");
    let texts: Vec<_> = (0..50).map(|_| made_up(48)).collect();
    std::fs::write(&file, texts.join("\n")).expect("written");
    let file = file.display().to_string();
    let words = [
        "token",
        "import",
        &file,
        "--account",
        "acme",
        "--signal",
        "traces",
    ];
    stage.run(&words);
    for text in &texts {
        issued.add("command line", Reach::Kept, text);
    }
}
