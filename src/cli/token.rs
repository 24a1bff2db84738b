//! `wharfinger token ...`

mod named;

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use serde_json::{Value, json};

use super::{
    access::{Api, Failure, read_secret, reference},
    end::{self, End},
    import::Import,
    output::{SecretFile, cell, table},
    usage,
    words::{fields, number, object},
};
use named::{Filter, Means, Named};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Lists tokens, never what they are.
    List {
        #[command(flatten)]
        filter: Filter,
        /// Only those of this name.
        #[arg(long)]
        name: Option<String>,
        /// Only those in this state.
        #[arg(long)]
        state: Option<State>,
    },
    /// Shows a token's record, never what it is.
    Show(Named),
    /// Makes a token and prints it.
    Create {
        /// Name or id of the account it opens.
        #[arg(long)]
        account: String,
        /// What it ships.
        #[arg(long)]
        signal: SignalName,
        /// For people; need not be unique.
        #[arg(long)]
        name: String,
        /// For people.
        #[arg(long)]
        description: Option<String>,
        /// A network that it is good from, such as 192.0.2.0/24; anywhere without one. Repeatable.
        #[arg(long = "source", value_name = "NETWORK")]
        sources: Vec<String>,
        /// How fast it may ship: `requests_per_second=100`, `bytes_per_second=5MiB`, `items_burst=10000`. Repeatable.
        #[arg(long = "rate", value_name = "RATE=NUMBER", value_parser = rate)]
        rates: Vec<(String, Value)>,
        /// When it ends: `30d` from now, or a time such as 2027-01-31T00:00:00Z.
        #[arg(long, value_parser = End::parse)]
        expires: Option<End>,
        /// File with a token that somebody else has made, to be taken in as it is; `-` is stdin.
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
        #[command(flatten)]
        out: Out,
    },
    /// Takes in tokens that somebody else has made, a line each; what is there already is left as it is.
    Import(Import),
    /// Changes a token; what is not named stays.
    Set {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        change: Change,
        /// Ends it, or shuts out who ships with it, also when it is the last enabled one of its signal, or was rotated and somebody
        /// still ships with it.
        #[arg(long)]
        force: bool,
    },
    /// Accepts a disabled token again.
    Enable(Named),
    /// Refuses a token until it is enabled again.
    Disable {
        #[command(flatten)]
        named: Named,
        /// Also when it is the last enabled one of its signal, or was rotated and somebody still ships with it.
        #[arg(long)]
        force: bool,
    },
    /// Makes a new token and lets the old one end after an overlap; a name means the newest token, which none replaces yet.
    Rotate {
        #[command(flatten)]
        named: Named,
        /// How long both are good.
        #[arg(long, default_value = "24h", value_parser = humantime::parse_duration)]
        overlap: Duration,
        #[command(flatten)]
        out: Out,
    },
    /// Refuses a token for ever.
    Revoke {
        #[command(flatten)]
        named: Named,
        /// Also when it was rotated and somebody still ships with it.
        #[arg(long)]
        force: bool,
    },
    /// Shows a token again; that is audited.
    Reveal {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        out: Out,
    },
    /// Shows who shipped with a token last: agent, address and time.
    Senders(Named),
    /// Refuses a token for ever, as revoking does, and hides it from lists.
    Delete {
        #[command(flatten)]
        named: Named,
        /// Also when it is the last enabled one of its signal, or was rotated and somebody still ships with it.
        #[arg(long)]
        force: bool,
    },
}

/// What can be changed of a token.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(super) struct Change {
    /// A new name.
    #[arg(long)]
    name: Option<String>,
    /// For people.
    #[arg(long)]
    description: Option<String>,
    /// A network that it is good from, in place of those it had. Repeatable.
    #[arg(long = "source", value_name = "NETWORK", conflicts_with = "anywhere")]
    sources: Vec<String>,
    /// Good from anywhere again.
    #[arg(long)]
    anywhere: bool,
    /// How fast it may ship: `requests_per_second=100`, `bytes_per_second=5MiB`; 0 for no such rate. Repeatable.
    #[arg(long = "rate", value_name = "RATE=NUMBER", value_parser = rate)]
    rates: Vec<(String, Value)>,
    /// When it ends: `30d` from now, or a time such as 2027-01-31T00:00:00Z.
    #[arg(long, value_parser = end::time, conflicts_with = "never_expires")]
    expires: Option<String>,
    /// It doesn't end by itself.
    #[arg(long)]
    never_expires: bool,
}

/// Where the token goes.
#[derive(Debug, Args)]
pub(super) struct Out {
    /// Writes the token to a new file of mode 0600 instead of printing it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum SignalName {
    Logs,
    Metrics,
    Traces,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum State {
    Live,
    Disabled,
    Revoked,
    Expired,
}

impl Verb {
    pub(super) async fn run(self, api: &Api) -> Result<(), Failure> {
        match self {
            Self::List {
                filter,
                name,
                state,
            } => {
                let path = filter.path([("name", name), ("state", state.map(value_name))]);
                api.print_list(&path, list).await
            }
            Self::Show(named) => {
                let path = named.path(api, Means::AnyState).await?;
                api.print_one(&path, list).await
            }
            Self::Create {
                account,
                signal,
                name,
                description,
                sources,
                rates,
                expires,
                token_file,
                out,
            } => {
                let token =
                    match token_file {
                        Some(file) => Some(read_secret(&file).map_err(|why| {
                            Failure::Failed(format!("cannot read the token: {why}"))
                        })?),
                        None => None,
                    };
                let has_sources = !sources.is_empty();
                let body = fields([
                    ("account", Some(reference(&account))),
                    ("signal", Some(value_name(signal).into())),
                    ("name", Some(name.into())),
                    ("description", description.map(Value::from)),
                    ("sources", has_sources.then(|| sources.into())),
                    ("rates", object(rates)),
                    End::field(expires, "expires_at", "expires_in_seconds"),
                    ("token", token.map(|token| token.reveal().into())),
                ]);
                out.deliver(api, "/tokens", Some(body.into()), created)
                    .await
            }
            Self::Import(import) => import.run(api).await,
            Self::Set {
                named,
                change,
                force,
            } => {
                let mut path = named.path(api, Means::NotRevoked).await?;
                if force {
                    path.push_str("?force=true");
                }
                let said = |token: &Value| Ok(format!("{} is changed", described(token)));
                api.change(Method::PATCH, &path, Some(change.body()), said)
                    .await
            }
            Self::Rotate {
                named,
                overlap,
                out,
            } => {
                let body = json!({"overlap_seconds": overlap.as_secs()});
                named.rotate(api, body, &out).await
            }
            Self::Reveal { named, out } => {
                let path = format!("{}/reveal", named.path(api, Means::NotRevoked).await?);
                out.deliver(api, &path, None, |_| String::new()).await
            }
            Self::Enable(named) => named.switch(api, "enable", "enabled").await,
            Self::Disable { named, force } => {
                let verb = if force {
                    "disable?force=true"
                } else {
                    "disable"
                };
                named.switch(api, verb, "disabled").await
            }
            Self::Revoke { named, force } => {
                let verb = if force { "revoke?force=true" } else { "revoke" };
                named.switch(api, verb, "revoked").await
            }
            Self::Senders(named) => {
                usage::senders(api, &named.path(api, Means::NotRevoked).await?).await
            }
            Self::Delete { named, force } => {
                let mut path = named.path(api, Means::AnyState).await?;
                if force {
                    path.push_str("?force=true");
                }
                let sentence = format!("token {} is deleted", named.token);
                api.change(Method::DELETE, &path, None, |_| Ok(sentence))
                    .await
            }
        }
    }
}

fn rate(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("expected RATE=NUMBER, such as requests_per_second=100")?;
    let value = number(value).ok_or_else(|| format!("{value:?} is not a number or a size"))?;
    Ok((name.to_owned(), value))
}

fn created(token: &Value) -> String {
    format!("{} is created", described(token))
}

fn rotated(token: &Value) -> String {
    let old = &token["replaces"];
    format!(
        "{} replaces token {}, which is good until {}",
        described(token),
        cell(&old["id"]),
        cell(&old["expires_at"])
    )
}

fn described(token: &Value) -> String {
    format!(
        "token {} (id {}, {} of account {})",
        cell(&token["name"]),
        cell(&token["id"]),
        cell(&token["signal"]),
        account_of(token)
    )
}

fn account_of(token: &Value) -> String {
    match &token["account_name"] {
        Value::Null => cell(&token["account"]),
        name => cell(name),
    }
}

fn list(items: &[Value]) -> String {
    let rows = items
        .iter()
        .map(|item| {
            [
                cell(&item["id"]),
                cell(&item["name"]),
                account_of(item),
                cell(&item["signal"]),
                cell(&item["state"]),
                cell(&item["expires_at"]),
                cell(&item["last_used_at"]),
                cell(&item["created_at"]),
            ]
        })
        .collect();
    table(
        [
            "ID",
            "NAME",
            "ACCOUNT",
            "SIGNAL",
            "STATE",
            "EXPIRES",
            "LAST USED",
            "CREATED",
        ],
        rows,
    )
}

pub(super) fn value_name(value: impl ValueEnum) -> String {
    value
        .to_possible_value()
        .map(|value| value.get_name().to_owned())
        .unwrap_or_default()
}

// === impl Change ===

impl Change {
    fn body(self) -> Value {
        let has_sources = self.anywhere || !self.sources.is_empty();
        let has_end = self.never_expires || self.expires.is_some();
        let body = fields([
            ("name", self.name.map(Value::from)),
            ("description", self.description.map(Value::from)),
            ("sources", has_sources.then(|| self.sources.into())),
            ("rates", object(self.rates)),
            ("expires_at", has_end.then(|| self.expires.into())),
        ]);
        body.into()
    }
}

// === impl Out ===

impl Out {
    /// The token itself goes to stdout, where it was asked for, and the sentence about it to stderr: `$(...)` gets the token alone.
    pub(super) async fn deliver(
        &self,
        api: &Api,
        path: &str,
        body: Option<Value>,
        say: impl FnOnce(&Value) -> String,
    ) -> Result<(), Failure> {
        let file = match &self.out {
            Some(path) => Some(SecretFile::create(path)?),
            None => None,
        };
        api.bring(path, body, |object| {
            let token = object["token"]
                .as_str()
                .ok_or_else(|| Failure::Failed("the answer has no token".to_owned()))?
                .to_owned();
            let mut sentence = say(object);
            let Some(file) = file else {
                return Ok((sentence, Some(token)));
            };
            if !sentence.is_empty() {
                sentence.push_str("; ");
            }
            sentence.push_str(&file.write(&token)?);
            Ok((sentence, None))
        })
        .await
    }
}
