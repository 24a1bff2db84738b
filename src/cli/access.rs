//! How every command about accounts, destinations and tokens gets to the admin API, and what it makes of the answers.

use std::{
    fmt::Write,
    fs,
    io::{self, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use super::{client::Client, once, output, proof, words::filtered};
use crate::{
    config::{self, Config},
    model::Secret,
};

/// Longer than the API itself waits for enforcement.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(75);

/// The API's largest page.
const PAGE_ITEMS: usize = 1000;

/// Pages followed before a list is taken to have no end: ten million objects.
const PAGES_MAX: usize = 10_000;

/// No token or password comes near; what is longer is some other file.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// Options of every command about accounts, destinations and tokens.
#[derive(Debug, Args)]
pub(super) struct Access {
    /// Prints the API's object, one line.
    #[arg(long, global = true)]
    json: bool,
    /// Where the admin API is; by default at `admin` in [listen] of the configuration, on this machine.
    #[arg(long, global = true, env = "WHARFINGER_URL")]
    url: Option<String>,
    /// File with the admin token; by default `admin-token` in the data folder.
    #[arg(
        long,
        global = true,
        env = "WHARFINGER_ADMIN_TOKEN_FILE",
        value_name = "FILE"
    )]
    admin_token_file: Option<PathBuf>,
    /// PEM certificates trusted for https instead of the system's.
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Returns only when every gateway that is not retired enforces the change; exit code 3 if some don't in time, as one that
    /// is not connected.
    #[arg(long, global = true)]
    wait: bool,
    /// How long to wait for that, 1 minute at most.
    #[arg(long, global = true, value_name = "DURATION", requires = "wait", value_parser = humantime::parse_duration)]
    wait_timeout: Option<Duration>,
    /// For `create`, `rotate` and `import`: the same command under the same key is done once, however often it is run in 24 hours.
    #[arg(long, global = true, value_name = "KEY", value_parser = key)]
    idempotency_key: Option<String>,
}

/// So short that the pieces of an import fit behind it.
const KEY_BYTES_MAX: usize = 230;

fn key(text: &str) -> Result<String, String> {
    let is_good = (1..=KEY_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_good
        .then(|| text.to_owned())
        .ok_or_else(|| format!("a key is 1 to {KEY_BYTES_MAX} visible ASCII characters"))
}

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The command line has to change.
    #[error("{0}")]
    Usage(String),
    /// It was understood and failed.
    #[error("{0}")]
    Failed(String),
    /// It may have been done: the answer did not come.
    #[error("{0}")]
    Unanswered(String),
    /// The key of what is made once stands for another request.
    #[error("{0}")]
    OtherRequest(String),
    /// It was done, but some gateways have not confirmed it.
    #[error("{0}")]
    NotEnforced(String),
}

/// The API, opened.
pub(super) struct Api {
    client: Client,
    token: Secret,
    wait: Option<Option<Duration>>,
    key: Option<String>,
    pub(super) json: bool,
}

impl Access {
    /// Works with the API, with the admin token in hand.
    pub(super) fn run(
        self,
        config: impl FnOnce() -> Result<Config, config::Mistakes>,
        work: impl AsyncFnOnce(&Api) -> Result<(), Failure>,
    ) -> anyhow::Result<()> {
        let (url, file) = match (self.url, self.admin_token_file) {
            (Some(url), Some(file)) => (url, file),
            (url, file) => {
                let config = config()?;
                let url = match url {
                    Some(url) => url,
                    None => config.listen.admin.map(reachable).ok_or_else(off)?,
                };
                (url, file.unwrap_or_else(|| config.data.join("admin-token")))
            }
        };
        let api = Api {
            client: Client::new(&url, self.ca.as_deref(), REQUEST_TIMEOUT)?,
            token: read_secret(&file).map_err(|why| {
                Failure::Failed(format!(
                    "cannot read the admin token: {why} (name its file with --admin-token-file, or the data folder with --data)"
                ))
            })?,
            wait: self.wait.then_some(self.wait_timeout),
            key: self.idempotency_key,
            json: self.json,
        };
        Ok(runtime()?.block_on(work(&api))?)
    }
}

impl Access {
    /// Works without the admin token: for what a person proves, or nobody.
    pub(super) fn ask(
        self,
        config: impl FnOnce() -> Result<Config, config::Mistakes>,
        work: impl AsyncFnOnce(&Client) -> Result<(), Failure>,
    ) -> anyhow::Result<()> {
        let url = match self.url {
            Some(url) => url,
            None => config()?.listen.admin.map(reachable).ok_or_else(off)?,
        };
        let client = Client::new(&url, self.ca.as_deref(), REQUEST_TIMEOUT)?;
        Ok(runtime()?.block_on(work(&client))?)
    }
}

fn off() -> Failure {
    Failure::Usage(
        "`admin` in [listen] is off here; say with --url where the admin API is".to_owned(),
    )
}

/// A runtime for one command.
pub(super) fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

/// The URL at which this machine reaches a listener of its own.
pub(super) fn reachable(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    format!("http://{address}")
}

/// The file's text without the line end that editors leave; `-` is stdin.
pub(super) fn read_secret(path: &Path) -> Result<Secret, String> {
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        io::stdin().take(SECRET_BYTES_MAX).read_to_string(&mut text)
    } else {
        fs::File::open(path).and_then(|file| file.take(SECRET_BYTES_MAX).read_to_string(&mut text))
    };
    read.map_err(|error| format!("{}: {error}", path.display()))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(format!("{}: is empty", path.display()));
    }
    Ok(Secret::new(text.to_owned()))
}

// === impl Api ===

impl Api {
    /// Asks without changing anything; the body as it came, and as JSON.
    pub(super) async fn get(&self, path: &str) -> Result<(String, Value), Failure> {
        self.call(Method::GET, path, None).await
    }

    /// Changes something, waits for enforcement if asked to, and prints the object: as it came, or by `say`.
    pub(super) async fn change(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        say: impl FnOnce(&Value) -> Result<String, Failure>,
    ) -> Result<(), Failure> {
        let (text, object) = self.call(method, &self.waiting(path), body).await?;
        if self.json {
            output::line(&one_line(text, &object))?;
        } else {
            let mut sentence = say(&object)?;
            if let Some(proof) = proof::words(&object) {
                let _ = write!(sentence, "\n{proof}");
            }
            output::line(&sentence)?;
        }
        proof::holds(&object)
    }

    /// Like [`Api::change`] for what brings a secret: `take` says what is told about it and, unless it has put the secret
    /// elsewhere, the secret. The secret alone goes to stdout; what is told, to stderr.
    pub(super) async fn bring(
        &self,
        path: &str,
        body: Option<Value>,
        take: impl FnOnce(&Value) -> Result<(String, Option<String>), Failure>,
    ) -> Result<(), Failure> {
        let (text, mut object) = self.call(Method::POST, &self.waiting(path), body).await?;
        let (sentence, secret) = take(&object)?;
        if self.json {
            if secret.is_some() {
                output::line(&one_line(text, &object))?;
            } else {
                if let Some(fields) = object.as_object_mut() {
                    fields.remove("token");
                }
                output::line(&object.to_string())?;
            }
        } else {
            let told = [Some(sentence), proof::words(&object)];
            for sentence in told.iter().flatten().filter(|told| !told.is_empty()) {
                eprintln!("{sentence}");
            }
            if let Some(secret) = secret {
                output::line(&secret)?;
            }
        }
        proof::holds(&object)
    }

    /// Every page of a list: the one page as it came, or all of them as one.
    pub(super) async fn list(&self, path: &str) -> Result<(String, Vec<Value>), Failure> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{separator}limit={PAGE_ITEMS}");
        let (mut text, mut page) = self.get(&path).await?;
        let mut items = take_items(&mut page)?;
        let mut pages = 1;
        while let Some(after) = next(&page) {
            pages += 1;
            if pages > PAGES_MAX {
                return Err(Failure::Failed(format!("{path} has no end")));
            }
            (_, page) = self.get(&format!("{path}&after={after}")).await?;
            let more = take_items(&mut page)?;
            if more.is_empty() {
                break;
            }
            items.extend(more);
        }
        if pages > 1 {
            text = json!({"items": items, "next": null}).to_string();
        }
        Ok((text, items))
    }

    /// Lists and prints: as it came, or as a table.
    pub(super) async fn print_list(
        &self,
        path: &str,
        table: impl FnOnce(&[Value]) -> String,
    ) -> Result<(), Failure> {
        let (text, items) = self.list(path).await?;
        if self.json {
            let text = text.trim();
            if text.contains('\n') {
                return output::line(&json!({"items": items, "next": null}).to_string());
            }
            return output::line(text);
        }
        output::line(table(&items).trim_end())
    }

    /// Prints one object: as it came, or as a table.
    pub(super) async fn print_one(
        &self,
        path: &str,
        table: impl FnOnce(&[Value]) -> String,
    ) -> Result<(), Failure> {
        let (text, object) = self.get(path).await?;
        if self.json {
            return output::line(&one_line(text, &object));
        }
        output::line(table(std::slice::from_ref(&object)).trim_end())
    }

    /// The id of what a person named: a number is an id, everything else a name. Where several have the name,
    /// those that `fits` says no to are left aside.
    pub(super) async fn id(
        &self,
        collection: &str,
        noun: &str,
        named: &str,
        fits: impl Fn(&Value) -> bool,
        describe: impl Fn(&Value) -> String,
    ) -> Result<u64, Failure> {
        if is_number(named) {
            return named
                .parse()
                .map_err(|_| Failure::Usage(format!("{named} is too large for an id")));
        }
        let (_, items) = self.list(collection).await?;
        let mut found: Vec<&Value> = items.iter().filter(|item| item["name"] == named).collect();
        if found.iter().any(|item| fits(item)) {
            found.retain(|item| fits(item));
        }
        let id = |item: &Value| {
            item["id"]
                .as_u64()
                .ok_or_else(|| Failure::Failed(format!("the answer has a {noun} without an id")))
        };
        match found.as_slice() {
            [] => Err(Failure::Failed(format!("there is no {noun} {named:?}"))),
            [one] => id(one),
            several => {
                let mut message =
                    format!("{} {noun}s are called {named:?}; use an id:", several.len());
                for item in several {
                    let _ = write!(message, "\n  {} {}", id(item)?, describe(item));
                }
                Err(Failure::Failed(message))
            }
        }
    }

    /// The path of what a person named, by its id or by a name that nothing else has.
    pub(super) async fn path(
        &self,
        collection: &str,
        noun: &str,
        named: &str,
    ) -> Result<String, Failure> {
        let path = filtered(collection, &[("name", Some(named.to_owned()))]);
        let describe = |_: &Value| String::new();
        let id = self.id(&path, noun, named, |_| true, describe).await?;
        Ok(format!("{collection}/{id}"))
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<(String, Value), Failure> {
        let body = body.map(|body| body.to_string().into_bytes());
        self.call_with(method, path, body, self.key.as_deref())
            .await
    }

    async fn call_with(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        key: Option<&str>,
    ) -> Result<(String, Value), Failure> {
        let answer = once::ask(&self.client, &self.token, key, method, path, body).await?;
        let text = answer.text();
        let object: Option<Value> = serde_json::from_slice(&answer.body).ok();
        answer.succeeded()?;
        match object {
            Some(object) => Ok((text, object)),
            None => Err(Failure::Failed(format!(
                "the answer to /api/v1{path} is not JSON: is that an admin API?"
            ))),
        }
    }

    /// Sends a piece of a file as it is, and waits for enforcement if asked to; the answer. Under the command's key each
    /// piece has its own.
    pub(super) async fn upload(
        &self,
        path: &str,
        piece: u64,
        lines: Vec<u8>,
    ) -> Result<Value, Failure> {
        let key = self.key.as_ref().map(|key| format!("{key}.{piece}"));
        let path = self.waiting(path);
        let (_, object) = self
            .call_with(Method::POST, &path, Some(lines), key.as_deref())
            .await?;
        Ok(object)
    }

    /// The proof, where there is one.
    pub(super) fn tell_enforcement(&self, object: &Value) -> Result<(), Failure> {
        proof::words(object).map_or(Ok(()), |proof| output::line(&proof))
    }

    fn waiting(&self, path: &str) -> String {
        // What gateways need not know of is done when it is answered.
        let concerns_gateways = ["/accounts", "/destinations", "/tokens", "/leaks"];
        let Some(timeout) = self
            .wait
            .filter(|_| concerns_gateways.iter().any(|it| path.starts_with(it)))
        else {
            return path.to_owned();
        };
        let separator = if path.contains('?') { '&' } else { '?' };
        let timeout = timeout.map_or_else(String::new, |timeout| {
            format!("&timeout_ms={}", timeout.as_millis())
        });
        format!("{path}{separator}wait=enforced{timeout}")
    }
}

/// Whether a person's word is an id.
pub(super) fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

/// A number where it is an id, else a text: as the API takes accounts and destinations in bodies.
pub(super) fn reference(word: &str) -> Value {
    match word.parse::<u64>() {
        Ok(id) if is_number(word) => json!(id),
        _ => json!(word),
    }
}

/// A query's value, everything but unreserved characters encoded.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn one_line(text: String, object: &Value) -> String {
    let trimmed = text.trim();
    if trimmed.contains('\n') {
        return object.to_string();
    }
    trimmed.to_owned()
}

fn take_items(page: &mut Value) -> Result<Vec<Value>, Failure> {
    match page.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => Ok(items),
        _ => Err(Failure::Failed(
            "the answer has no items: is that an admin API?".to_owned(),
        )),
    }
}

fn next(page: &Value) -> Option<String> {
    match &page["next"] {
        Value::Number(next) => Some(next.to_string()),
        Value::String(next) => Some(encoded(next)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_leaves_room_for_the_numbers_of_pieces() {
        let longest = "k".repeat(KEY_BYTES_MAX);
        assert!(format!("{}.{}", key(&longest).expect("good"), u64::MAX).len() <= 255);
        for wrong in ["", "a key", "k\u{e9}y", &format!("{longest}k")] {
            assert!(key(wrong).is_err(), "{wrong:?}");
        }
    }
}
