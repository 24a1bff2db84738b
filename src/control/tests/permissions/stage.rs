//! The accounts and everybody who calls: made once, and repaired where an allowed call has used something up.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    super::people::{Hand, People},
    Outcome,
};
use crate::control::admin::{CompatOf, CompatRule, Concerns, Rule};

/// Whose something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Target {
    Main,
    /// A sub-account of `Main`, which reaches it.
    Sub,
    /// Another one, which it doesn't.
    Hidden,
    Other,
    /// Nobody's but the operators'.
    Operators,
}

/// Somebody who calls, and what is true of them.
#[derive(Clone, Debug)]
pub(super) struct Role {
    pub(super) name: String,
    pub(super) hand: Hand,
    pub(super) is_nobody: bool,
    pub(super) is_stopped: bool,
    pub(super) is_person: bool,
    pub(super) is_operator: bool,
    pub(super) is_reader: bool,
    pub(super) scopes: Vec<&'static str>,
    pub(super) reaches: Vec<Target>,
    /// What becomes of them where a shared token is asked for.
    pub(super) shared: Outcome,
}

/// Ids of one account's things.
#[derive(Clone, Debug, Default)]
struct Things {
    account: u64,
    token: u64,
    text: String,
    api_token: u64,
    shared_token: u64,
    shared_filter: u64,
    user: u64,
    /// An account in its stead, to be deleted: its own is somebody's home.
    spare: Option<u64>,
}

pub(super) struct Stage {
    pub(super) people: People,
    pub(super) roles: Vec<Role>,
    things: BTreeMap<Target, Things>,
    made: std::cell::Cell<u32>,
}

pub(super) const ALL: [&str; 3] = ["read", "tokens", "accounts"];

impl Stage {
    pub(super) async fn new() -> Self {
        let people = People::new().await;
        let main = people.account("acme", "unlimited").await;
        let accounts = [
            (Target::Main, main),
            (Target::Sub, people.sub_account("acme-eu", main, true).await),
            (
                Target::Hidden,
                people.sub_account("acme-board", main, false).await,
            ),
            (Target::Other, people.account("other", "unlimited").await),
        ];
        let mut things = BTreeMap::new();
        for (target, account) in accounts {
            let name = format!("somebody of {target:?}");
            let token = people.shipping_token(account, "one").await;
            let path = format!("/tokens/{token}/reveal");
            let shown = people.operate("POST", &path, Value::Null).await;
            things.insert(
                target,
                Things {
                    account,
                    token,
                    text: shown["token"].as_str().expect("text").to_owned(),
                    api_token: people.api_token(Some(account), &["read"]).await.0,
                    shared_token: people.shared_token(account, &[]).await.0,
                    shared_filter: people.shared_filter(account, "signal", "logs").await,
                    user: people.user(Some(account), &name, "reader").await,
                    spare: None,
                },
            );
        }
        let operators = Things {
            api_token: people.api_token(None, &["read"]).await.0,
            user: people.user(None, "somebody over all", "operator").await,
            ..Things::default()
        };
        things.insert(Target::Operators, operators);
        let mut stage = Self {
            people,
            roles: Vec::new(),
            things,
            made: 0.into(),
        };
        stage.cast().await;
        stage
    }

    pub(super) fn role(&self, name: &str) -> &Role {
        let found = self.roles.iter().find(|role| role.name == name);
        found.expect("a role of that name")
    }

    /// Everybody.
    async fn cast(&mut self) {
        use Target::{Hidden, Main, Operators, Other, Sub};
        let all = [Main, Sub, Hidden, Other, Operators];
        let [main, sub] = [Main, Sub].map(|target| Some(self.things[&target].account));
        self.nobodies().await;
        self.person("operator", None, "operator", &all).await;
        self.person("main admin", main, "admin", &[Main, Sub]).await;
        self.person("main reader", main, "reader", &[Main, Sub])
            .await;
        self.person("sub admin", sub, "admin", &[Sub]).await;
        self.person("sub reader", sub, "reader", &[Sub]).await;
        for scopes in [&ALL[..], &["read"], &["tokens"], &["accounts"]] {
            self.token("operator token", None, scopes, &all).await;
            self.token("main token", main, scopes, &[Main, Sub]).await;
            self.token("sub token", sub, scopes, &[Sub]).await;
        }
        self.stopped().await;
        self.visitors().await;
    }

    /// Who has a shared token: it opens one route, and is nobody's everywhere else.
    async fn visitors(&mut self) {
        let main = self.things[&Target::Main].account;
        let people = &self.people;
        let (_, open) = people.shared_token(main, &[]).await;
        let (revoked, ended) = people.shared_token(main, &[]).await;
        let path = format!("/shared-tokens/{revoked}/revoke");
        people.operate("POST", &path, Value::Null).await;
        let late = people.account("late sharer", "unlimited").await;
        let (_, stopped) = people.shared_token(late, &[]).await;
        let path = format!("/accounts/{late}");
        people
            .operate("PATCH", &path, json!({"state": "suspended"}))
            .await;
        for (name, hand, shared) in [
            ("shared token", open, Outcome::Reached),
            ("revoked shared token", ended, Outcome::Unknown),
            (
                "suspended account's shared token",
                stopped,
                Outcome::Forbidden,
            ),
        ] {
            let role = self.add(name, hand, &ALL, &[]);
            role.is_nobody = true;
            role.shared = shared;
        }
    }

    /// Who is not known, or not any more.
    async fn nobodies(&mut self) {
        let people = &self.people;
        let (revoked, token) = people.api_token(None, &ALL).await;
        let path = format!("/api-tokens/{revoked}/revoke");
        people.operate("POST", &path, Value::Null).await;
        let leaver = people.user(None, "leaver", "operator").await;
        let session = people.log_in("leaver").await;
        let path = format!("/users/{leaver}");
        people.operate("DELETE", &path, Value::Null).await;
        let body = json!({"account": 1, "signal": "logs", "name": "no admin"});
        let shipping = people.operate("POST", "/tokens", body).await;
        let shipping = shipping["token"].as_str().expect("text").to_owned();
        let hands = [
            ("nobody", Hand::Nothing),
            ("revoked token", token),
            ("deleted operator", session),
            ("shipping token", Hand::Token(shipping)),
        ];
        for (name, hand) in hands {
            self.add(name, hand, &ALL, &[]).is_nobody = true;
        }
    }

    /// Who belongs to an account that is suspended, or whose plan has ended.
    async fn stopped(&mut self) {
        let people = &self.people;
        let main = people.account("late", "unlimited").await;
        let sub = people.sub_account("late-eu", main, true).await;
        let (_, main_token) = people.api_token(Some(main), &ALL).await;
        let (_, sub_token) = people.api_token(Some(sub), &ALL).await;
        let person = people.person(Some(sub), "late admin", "admin").await;
        let body = json!({"state": "suspended", "reason": "unpaid"});
        let path = format!("/accounts/{main}");
        people.operate("PATCH", &path, body).await;
        let trial = people.account("trial", "unlimited").await;
        let (_, trial_token) = people.api_token(Some(trial), &ALL).await;
        let body = json!({"plan": "trial", "trial_until": "2020-01-01T00:00:00Z"});
        let path = format!("/accounts/{trial}");
        people.operate("PATCH", &path, body).await;
        for (name, hand) in [
            ("suspended main's token", main_token),
            ("suspended main's sub-account's token", sub_token),
            ("lapsed trial's token", trial_token),
            ("suspended main's sub-account's admin", person),
        ] {
            let is_person = matches!(hand, Hand::Session { .. });
            let role = self.add(name, hand, &ALL, &[]);
            role.is_stopped = true;
            role.is_person = is_person;
        }
    }

    async fn token(
        &mut self,
        name: &str,
        account: Option<u64>,
        scopes: &[&'static str],
        reaches: &[Target],
    ) {
        let (_, hand) = self.people.api_token(account, scopes).await;
        let name = format!("{name}: {}", scopes.join(" "));
        self.add(&name, hand, scopes, reaches).is_operator = account.is_none();
    }

    async fn person(&mut self, name: &str, account: Option<u64>, role: &str, reaches: &[Target]) {
        // The first operator has the plain name.
        let hand = self
            .people
            .person(account, &format!("the {name}"), role)
            .await;
        let is_reader = role == "reader";
        let scopes: &[_] = if is_reader { &["read"] } else { &ALL };
        let role = self.add(name, hand, scopes, reaches);
        role.is_person = true;
        role.is_reader = is_reader;
        role.is_operator = account.is_none();
    }

    fn add(
        &mut self,
        name: &str,
        hand: Hand,
        scopes: &[&'static str],
        reaches: &[Target],
    ) -> &mut Role {
        self.roles.push(Role {
            name: name.to_owned(),
            hand,
            is_nobody: false,
            is_stopped: false,
            is_person: false,
            is_operator: false,
            is_reader: false,
            scopes: scopes.to_vec(),
            reaches: reaches.to_vec(),
            shared: Outcome::Unknown,
        });
        self.roles.last_mut().expect("just pushed")
    }

    pub(super) async fn try_it(
        &self,
        role: &Role,
        rule: &Rule,
        target: Option<Target>,
    ) -> (u16, Value) {
        self.send(&role.hand, rule, target).await
    }

    /// The request of that route about that account; as far as can be one that its handler refuses, so that nothing
    /// changes where it is allowed.
    pub(super) async fn send(
        &self,
        hand: &Hand,
        rule: &Rule,
        target: Option<Target>,
    ) -> (u16, Value) {
        let mut path = rule.path.to_owned();
        if path.contains("{id}") {
            path = path.replace(
                "{id}",
                &self.id(rule, target.unwrap_or(Target::Main)).to_string(),
            );
        }
        if rule.method != "get" && rule.concerns != Concerns::Stated {
            path.push_str("?wait=nonsense");
        }
        if rule.concerns == Concerns::Listed {
            path.push_str("?limit=1000");
        }
        let body = self.body(rule, target);
        let method = rule.method.to_uppercase();
        self.people.call(hand, &method, &path, &body).await
    }

    pub(super) fn id(&self, rule: &Rule, target: Target) -> u64 {
        let things = &self.things[&target];
        match rule.concerns {
            Concerns::Account => things.account,
            Concerns::Token => things.token,
            Concerns::ApiToken => things.api_token,
            Concerns::SharedToken => things.shared_token,
            Concerns::SharedFilter => things.shared_filter,
            Concerns::User => things.user,
            // A destination: the operators', and there is one.
            Concerns::Nothing | Concerns::Listed | Concerns::Stated | Concerns::Lines => 1,
        }
    }

    pub(super) fn account(&self, target: Target) -> u64 {
        self.things[&target].account
    }

    pub(super) fn compat_id(&self, of: CompatOf, target: Target) -> u64 {
        let things = &self.things[&target];
        match of {
            CompatOf::Token => things.token,
            CompatOf::SharedToken => things.shared_token,
            CompatOf::SharedFilter => things.shared_filter,
            CompatOf::TimeBased | CompatOf::Metrics => things.spare.unwrap_or(things.account),
            CompatOf::Own | CompatOf::Main => 0,
        }
    }

    /// Makes anew what a compatible route deletes.
    pub(super) async fn make_again(&mut self, rule: &CompatRule, target: Target) {
        self.made.set(self.made.get() + 1);
        let name = format!("again {}", self.made.get());
        let account = self.account(target);
        let made = match rule.of {
            CompatOf::Token => self.people.shipping_token(account, &name).await,
            CompatOf::SharedToken => self.people.shared_token(account, &[]).await.0,
            CompatOf::SharedFilter => self.people.shared_filter(account, "signal", "logs").await,
            CompatOf::TimeBased => {
                let main = self.account(Target::Main);
                self.people.sub_account(&name, main, true).await
            }
            CompatOf::Own | CompatOf::Main | CompatOf::Metrics => return,
        };
        let things = self.things.get_mut(&target).expect("there");
        match rule.of {
            CompatOf::Token => things.token = made,
            CompatOf::SharedToken => things.shared_token = made,
            CompatOf::SharedFilter => things.shared_filter = made,
            _ => things.spare = Some(made),
        }
    }

    pub(super) fn body(&self, rule: &Rule, target: Option<Target>) -> Value {
        let account = match target {
            None | Some(Target::Operators) => None,
            Some(target) => Some(self.things[&target].account),
        };
        self.made.set(self.made.get() + 1);
        let name = format!("made {}", self.made.get());
        match (rule.method, rule.path) {
            ("post", "/tokens") => json!({"account": account, "signal": "logs", "name": name}),
            ("post", "/shared-tokens") => {
                json!({"account": account, "name": name, "filters": []})
            }
            ("post", "/shared-filters") => {
                json!({"account": account, "field": "signal", "value": "logs"})
            }
            ("post", "/leaks") => {
                json!({"token": target.map(|target| &self.things[&target].text)})
            }
            // Out of everybody's reach, so that lists stay what they were.
            ("post", "/accounts") => {
                json!({"parent": account, "name": name, "accessible": false})
            }
            // No more than the one scope that everybody has who may.
            ("post", "/api-tokens") => {
                json!({"account": account, "name": name, "scopes": ["accounts"]})
            }
            ("post", "/users") => json!({"account": account, "name": name,
                "role": if account.is_some() { "admin" } else { "operator" }, "password": "long enough for all"}),
            ("patch", "/users/{id}") => json!({"password": "short"}),
            ("patch", "/session") => json!({"password": "x", "new_password": "short"}),
            (_, path) if rule.concerns == Concerns::Stated => {
                panic!("say here what a request to {path} states")
            }
            _ => Value::Null,
        }
    }

    pub(super) fn lists_only_what_is_reached(&self, role: &Role, rule: &Rule, body: &Value) {
        let reached: Vec<u64> = role
            .reaches
            .iter()
            .map(|target| self.things[target].account)
            .collect();
        let items = body["items"].as_array().expect("items");
        let key = if rule.path == "/accounts" {
            "id"
        } else {
            "account"
        };
        let is_reached = |item: &Value| {
            role.is_operator || item[key].as_u64().is_some_and(|id| reached.contains(&id))
        };
        assert!(
            items.iter().all(is_reached),
            "{} sees in {}: {body}",
            role.name,
            rule.path
        );
        for target in &role.reaches {
            let account = self.things[target].account;
            let is_there = account == 0 || items.iter().any(|item| item[key] == account);
            assert!(is_there, "{} misses {target:?} in {}", role.name, rule.path);
        }
    }

    /// Makes again what an allowed call has used up.
    pub(super) async fn repair(
        &mut self,
        at: usize,
        rule: &Rule,
        target: Option<Target>,
        status: u16,
    ) {
        if !(200..300).contains(&status) {
            return;
        }
        match (rule.method, rule.path, target) {
            ("delete", "/session", _) if self.roles[at].is_person => {
                let name = match self.roles[at].is_stopped {
                    true => "late admin".to_owned(),
                    false => format!("the {}", self.roles[at].name),
                };
                self.roles[at].hand = self.people.log_in(&name).await;
            }
            ("delete", "/users/{id}", Some(target)) => {
                self.made.set(self.made.get() + 1);
                let name = format!("again {}", self.made.get());
                let account = self.things[&target].account;
                let (account, role) = match account {
                    0 => (None, "operator"),
                    account => (Some(account), "reader"),
                };
                let user = self.people.user(account, &name, role).await;
                self.things.get_mut(&target).expect("there").user = user;
            }
            _ => {}
        }
    }
}
