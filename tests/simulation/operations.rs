//! What an operator does to the directory, at random, and what must be known of each token afterwards.

use serde_json::{Value, json};
use wharfinger::{directory::Directory, model::TokenState};

use super::{Dice, plane::Plane};

const SIGNALS: [&str; 3] = ["logs", "metrics", "traces"];
/// Lines of one import.
const LINES: u64 = 5;

/// A token that one of the workers has made.
struct Known {
    /// Of one out of a file nobody says it.
    id: Option<u64>,
    text: String,
    account: u64,
    state: TokenState,
}

/// Makes changes one after the other, beside others who have tokens and accounts of their own.
pub(crate) struct Worker {
    number: u64,
    dice: Dice,
    accounts: Vec<u64>,
    tokens: Vec<Known>,
    serial: u64,
    /// Changes that were made, and not refused.
    pub(crate) done: usize,
}

// === impl Worker ===

impl Worker {
    pub(crate) fn new(number: u64, seed: u64) -> Self {
        Self {
            number,
            dice: Dice(seed ^ (number << 40)),
            accounts: Vec::new(),
            tokens: Vec::new(),
            serial: 0,
            done: 0,
        }
    }

    /// So many changes.
    pub(crate) async fn work(&mut self, plane: &Plane, changes: usize) {
        let target = self.done + changes;
        while self.done < target {
            let is_done = match self.dice.below(20) {
                0..6 => self.make(plane).await,
                6 => self.import(plane).await,
                7..9 => self.put(plane, "disable", TokenState::Disabled).await,
                9..11 => self.put(plane, "enable", TokenState::Live).await,
                11..13 => self.put(plane, "revoke", TokenState::Revoked).await,
                13 => self.rotate(plane).await,
                14 => self.hide(plane).await,
                15 => self.leak(plane).await,
                16 => self.change(plane).await,
                17 => self.destination(plane).await,
                _ => self.account(plane).await,
            };
            self.done += usize::from(is_done);
        }
    }

    /// Every token must be known to a gateway as it is; how many were looked up.
    pub(crate) fn check(&self, directory: &Directory, place: &str) -> usize {
        for known in &self.tokens {
            let found = directory.look_up(known.text.as_bytes());
            let entry = found.and_then(|(_, entry)| entry);
            let entry = entry.unwrap_or_else(|| panic!("{place} doesn't know {:?}", known.id));
            assert_eq!(entry.state, known.state, "{place}: {:?}", known.id);
            let account = entry.account.map(|account| account.record.id.0);
            assert_eq!(account, Some(known.account), "{place}: {:?}", known.id);
        }
        self.tokens.len()
    }

    fn name(&mut self) -> String {
        self.serial += 1;
        format!("w{}-{}", self.number, self.serial)
    }

    /// One of its accounts, else `main`.
    fn some_account(&mut self) -> u64 {
        let count = self.accounts.len() as u64;
        match count {
            0 => 1,
            _ => self.accounts[self.dice.below(count) as usize],
        }
    }

    /// The place of one of its tokens that has an id.
    fn some_token(&mut self) -> Option<usize> {
        let count = self.tokens.len() as u64;
        let at = (count > 0).then(|| self.dice.below(count) as usize)?;
        self.tokens[at].id.map(|_| at)
    }

    fn path(&self, at: usize, rest: &str) -> String {
        let id = self.tokens[at].id.expect("one with an id");
        format!("/tokens/{id}{rest}")
    }

    fn took(&mut self, made: &Value, account: u64) {
        self.tokens.push(Known {
            id: made["id"].as_u64(),
            text: made["token"].as_str().expect("a token").to_owned(),
            account,
            state: TokenState::Live,
        });
    }

    async fn make(&mut self, plane: &Plane) -> bool {
        let account = self.some_account();
        let signal = SIGNALS[self.dice.below(3) as usize];
        let mut body = json!({"account": account, "signal": signal, "name": self.name()});
        if self.dice.below(4) == 0 {
            body["sources"] = json!(["192.0.2.0/24", "2001:db8::/32"]);
        }
        if self.dice.below(4) == 0 {
            body["rates"] = json!({"bytes_per_second": self.dice.below(1_000_000)});
        }
        if self.dice.below(4) == 0 {
            body["expires_at"] = json!("2099-01-01T00:00:00Z");
        }
        let (status, made) = plane.ask("POST", "/tokens", body).await;
        if status == 201 {
            self.took(&made, account);
        }
        status == 201
    }

    async fn import(&mut self, plane: &Plane) -> bool {
        let account = self.some_account();
        let lines: Vec<_> = (0..LINES)
            .map(|_| {
                format!(
                    "imported_{}_{:016x}",
                    self.name(),
                    self.dice.below(u64::MAX)
                )
            })
            .collect();
        let path = format!("/tokens/import?account={account}&signal=logs");
        let (status, done) = plane
            .ask("POST", &path, Value::String(lines.join("\n")))
            .await;
        if status != 200 || done["made"] != LINES {
            return false;
        }
        self.tokens.extend(lines.into_iter().map(|text| Known {
            id: None,
            text,
            account,
            state: TokenState::Live,
        }));
        true
    }

    async fn put(&mut self, plane: &Plane, verb: &str, state: TokenState) -> bool {
        let Some(at) = self.some_token() else {
            return false;
        };
        let force = if verb == "enable" { "" } else { "?force=true" };
        let path = self.path(at, &format!("/{verb}{force}"));
        let (status, _) = plane.ask("POST", &path, Value::Null).await;
        if status == 200 {
            self.tokens[at].state = state;
        }
        status == 200
    }

    async fn rotate(&mut self, plane: &Plane) -> bool {
        let Some(at) = self.some_token() else {
            return false;
        };
        let (status, made) = plane
            .ask("POST", &self.path(at, "/rotate"), json!({}))
            .await;
        if status == 201 {
            self.took(&made, self.tokens[at].account);
        }
        status == 201
    }

    /// Ends it, if it lives; gateways keep its tombstone.
    async fn hide(&mut self, plane: &Plane) -> bool {
        let Some(at) = self.some_token() else {
            return false;
        };
        let (status, _) = plane.ask("DELETE", &self.path(at, ""), Value::Null).await;
        if status == 200 {
            self.tokens[at].state = TokenState::Revoked;
        }
        status == 200
    }

    async fn leak(&mut self, plane: &Plane) -> bool {
        let count = self.tokens.len() as u64;
        if count == 0 {
            return false;
        }
        let known = &mut self.tokens[self.dice.below(count) as usize];
        let body = json!({"token": known.text, "revoke": true});
        let (status, _) = plane.ask("POST", "/leaks", body).await;
        if status == 200 {
            known.state = TokenState::Revoked;
        }
        status == 200
    }

    async fn change(&mut self, plane: &Plane) -> bool {
        let Some(at) = self.some_token() else {
            return false;
        };
        let body = match self.dice.below(6) {
            0 => json!({"sources": []}),
            4 => {
                json!({"rates": {"requests_per_second": self.dice.below(100), "requests_burst": 7}})
            }
            5 => json!({"rates": {"bytes_per_second": null}}),
            1 => json!({"sources": [format!("10.{}.0.0/16", self.dice.below(256))]}),
            2 => json!({"expires_at": null}),
            _ => json!({"expires_at": "2098-01-01T00:00:00Z", "name": "changed"}),
        };
        let (status, _) = plane.ask("PATCH", &self.path(at, ""), body).await;
        status == 200
    }

    async fn destination(&mut self, plane: &Plane) -> bool {
        let name = self.name();
        let body = json!({"name": name, "kind": "http", "endpoints": ["http://a.example"],
            "credentials": {"kind": "bearer", "token": "a-credential"}});
        let (status, made) = plane.ask("POST", "/destinations", body).await;
        let path = format!("/destinations/{}", made["id"]);
        match self.dice.below(3) {
            0 => drop(plane.ask("DELETE", &path, Value::Null).await),
            1 => drop(
                plane
                    .ask("PATCH", &path, json!({"endpoints": ["http://b.example"]}))
                    .await,
            ),
            _ => {}
        }
        status == 201
    }

    async fn account(&mut self, plane: &Plane) -> bool {
        let at = self.dice.below(2 + self.accounts.len() as u64) as usize;
        let Some(id) = self.accounts.get(at).copied() else {
            let body = json!({"name": self.name(), "plan": "unlimited"});
            let (status, made) = plane.ask("POST", "/accounts", body).await;
            self.accounts.extend(made["id"].as_u64());
            return status == 201;
        };
        let path = format!("/accounts/{id}");
        if self.tokens.iter().all(|known| known.account != id) && self.dice.below(2) == 0 {
            let (status, _) = plane.ask("DELETE", &path, Value::Null).await;
            if (200..300).contains(&status) {
                self.accounts.swap_remove(at);
            }
            return (200..300).contains(&status);
        }
        let body = match self.dice.below(4) {
            0 => json!({"state": "suspended", "reason": "at random"}),
            1 => json!({"state": "active"}),
            2 => json!({"name": self.name()}),
            _ => json!({"destinations": {"logs": "archive"}}),
        };
        let (status, _) = plane.ask("PATCH", &path, body).await;
        status == 200
    }
}
