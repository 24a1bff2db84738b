//! What makes something, asked for until there is an answer: its key sees to it that it is made once.

use std::{fmt::Write as _, time::Duration};

use http::Method;

use super::{
    access::Failure,
    client::{Answer, Client},
};
use crate::model::Secret;

/// How often it is asked for, and how much longer each time is waited before.
const TRIES_MAX: u32 = 3;
const TRY_AFTER: Duration = Duration::from_millis(300);

/// Asks the admin API; `path` begins after its version. `key` is for what makes something, which has one of its own without.
pub(super) async fn ask(
    client: &Client,
    token: &Secret,
    key: Option<&str>,
    method: Method,
    path: &str,
    body: Option<Vec<u8>>,
) -> Result<Answer, Failure> {
    let key = makes(&method, path).then(|| key.map_or_else(random_key, str::to_owned));
    let path = format!("/api/v1{path}");
    let mut tries = 1;
    loop {
        let (method, body) = (method.clone(), body.clone());
        let asked = client.send(method, &path, Some(token), body, key.as_deref());
        match asked.await {
            Err(Failure::Unanswered(_)) if key.is_some() && tries < TRIES_MAX => {
                tokio::time::sleep(TRY_AFTER * tries).await;
                tries += 1;
            }
            answer => return answer,
        }
    }
}

/// Whether doing it twice makes two, or is answered otherwise.
fn makes(method: &Method, path: &str) -> bool {
    let (path, _) = path.split_once('?').unwrap_or((path, ""));
    let collections = [
        "/accounts",
        "/destinations",
        "/tokens",
        "/tokens/import",
        "/api-tokens",
        "/users",
        "/shared-tokens",
        "/shared-filters",
    ];
    method == Method::POST && (collections.contains(&path) || path.ends_with("/rotate"))
}

fn random_key() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness once it has started");
    bytes.iter().fold(String::new(), |mut key, byte| {
        // Writing to a String can't fail.
        let _ = write!(key, "{byte:02x}");
        key
    })
}
