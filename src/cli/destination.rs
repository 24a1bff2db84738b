//! `wharfinger destination ...`

use std::{fs, path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use serde_json::{Map, Value, json};

use super::{
    access::{Api, Failure, read_secret},
    output::{cell, joined, name_and_id, table},
    token::value_name,
    words::{fields, filtered},
};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Lists destinations, never their secrets.
    List {
        /// Only the one of this name.
        #[arg(long)]
        name: Option<String>,
        /// Only those of this kind.
        #[arg(long)]
        kind: Option<Kind>,
    },
    /// Shows a destination without its secrets.
    Show {
        /// Name or id.
        destination: String,
    },
    /// Makes a destination.
    Create {
        /// Unique among destinations.
        #[arg(long)]
        name: String,
        /// What stands there.
        #[arg(long)]
        kind: Kind,
        #[command(flatten)]
        settings: Settings,
    },
    /// Changes a destination; what is not named stays.
    Set {
        /// Name or id.
        destination: String,
        /// A new name.
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        settings: Settings,
    },
    /// Deletes a destination that no account uses.
    Delete {
        /// Name or id.
        destination: String,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum Kind {
    /// Files under the gateway's data folder.
    Archive,
    /// The sender's protocol over HTTP, body untouched.
    Http,
    /// An OTLP/HTTP receiver.
    OtlpHttp,
    /// An OTLP/gRPC receiver.
    OtlpGrpc,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum Compression {
    /// As the sender compressed it.
    AsReceived,
    /// Inflated first.
    Identity,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum Ack {
    /// After the destination's 2xx.
    Destination,
    /// After fsync in the gateway's spool.
    Spool,
    /// After the destination's 2xx, or after fsync in the spool where that is down or slow.
    Spill,
    /// By signal: spill for logs and traces, destination for metrics.
    Default,
}

/// What can be set of a destination. Secrets come from files, so that no shell history keeps them; `-` is stdin.
#[derive(Debug, Args)]
pub(super) struct Settings {
    /// An http or https URL, tried in the order given. Repeatable; replaces all endpoints.
    #[arg(long = "endpoint", value_name = "URL")]
    endpoints: Vec<String>,
    /// A header of every request, with {account} and {token_id}. Repeatable; replaces all headers.
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<Value>,
    /// Removes all headers.
    #[arg(long, conflicts_with = "headers")]
    no_headers: bool,
    /// A header whose value is a secret, read from a file; sealed, and never shown. Repeatable; others stay.
    #[arg(long = "secret-header", value_name = "NAME=@FILE", value_parser = secret_header)]
    secret_headers: Vec<(String, PathBuf)>,
    /// Removes all secret headers.
    #[arg(long, conflicts_with = "secret_headers")]
    no_secret_headers: bool,
    /// File with a bearer token to show there.
    #[arg(long, value_name = "FILE", conflicts_with = "user")]
    bearer_file: Option<PathBuf>,
    /// User name to show there, with --password-file.
    #[arg(long, requires = "password_file")]
    user: Option<String>,
    /// File with the user's password.
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// Shows nothing there any more.
    #[arg(long, conflicts_with_all = ["bearer_file", "user"])]
    no_credentials: bool,
    /// PEM certificates that the gateway trusts there instead of the system's.
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// PEM chain that the gateway shows there, with --tls-client-key.
    #[arg(long, value_name = "FILE", requires = "tls_client_key")]
    tls_client_certificate: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE", requires = "tls_client_certificate")]
    tls_client_key: Option<PathBuf>,
    /// Name expected in the destination's certificate.
    #[arg(long, value_name = "NAME")]
    tls_server_name: Option<String>,
    /// To a connection and through its TLS handshake.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    connect_timeout: Option<Duration>,
    /// From the first byte sent to the last byte of the answer.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    request_timeout: Option<Duration>,
    /// What travels there.
    #[arg(long)]
    compression: Option<Compression>,
    /// Whether link-local and metadata addresses are allowed.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    allow_link_local: Option<bool>,
    /// When gateways may answer success.
    #[arg(long)]
    ack: Option<Ack>,
}

impl Verb {
    pub(super) async fn run(self, api: &Api) -> Result<(), Failure> {
        match self {
            Self::List { name, kind } => {
                let filters = [("name", name), ("kind", kind.map(value_name))];
                let path = filtered("/destinations", &filters);
                api.print_list(&path, list).await
            }
            Self::Show { destination } => {
                api.print_one(&path(api, &destination).await?, list).await
            }
            Self::Create {
                name,
                kind,
                settings,
            } => {
                let mut body = settings.body()?;
                body.insert("name".to_owned(), json!(name));
                body.insert("kind".to_owned(), json!(value_name(kind)));
                let body = Some(body.into());
                api.change(Method::POST, "/destinations", body, said("created"))
                    .await
            }
            Self::Set {
                destination,
                name,
                settings,
            } => {
                let mut body = settings.body()?;
                if let Some(name) = name {
                    body.insert("name".to_owned(), json!(name));
                }
                if body.is_empty() {
                    return Err(Failure::Usage(
                        "nothing to set: see `wharfinger destination set --help`".to_owned(),
                    ));
                }
                let path = path(api, &destination).await?;
                api.change(Method::PATCH, &path, Some(body.into()), said("changed"))
                    .await
            }
            Self::Delete { destination } => {
                let path = path(api, &destination).await?;
                let sentence = format!("destination {destination} is deleted");
                api.change(Method::DELETE, &path, None, |_| Ok(sentence))
                    .await
            }
        }
    }
}

async fn path(api: &Api, destination: &str) -> Result<String, Failure> {
    api.path("/destinations", "destination", destination).await
}

fn said(done: &'static str) -> impl FnOnce(&Value) -> Result<String, Failure> {
    move |it| Ok(format!("destination {} is {done}", name_and_id(it)))
}

fn list(items: &[Value]) -> String {
    let rows = items
        .iter()
        .map(|item| {
            let endpoints = joined(&item["endpoints"], " ");
            [
                cell(&item["id"]),
                cell(&item["name"]),
                cell(&item["kind"]),
                cell(&item["credentials"]["kind"]),
                if endpoints.is_empty() {
                    "-".to_owned()
                } else {
                    endpoints
                },
            ]
        })
        .collect();
    table(["ID", "NAME", "KIND", "CREDENTIALS", "ENDPOINTS"], rows)
}

fn header(text: &str) -> Result<Value, String> {
    let (name, value) = text
        .split_once(':')
        .filter(|(name, _)| !name.is_empty())
        .ok_or("expected \"NAME: VALUE\"")?;
    Ok(json!({"name": name, "value": value.trim()}))
}

/// Never the value itself, which would stay in the shell's history.
fn secret_header(text: &str) -> Result<(String, PathBuf), String> {
    let (name, file) = text
        .split_once("=@")
        .filter(|(name, file)| !name.is_empty() && !file.is_empty())
        .ok_or("expected NAME=@FILE, with the value in that file")?;
    Ok((name.to_owned(), PathBuf::from(file)))
}

// === impl Ack ===

impl Ack {
    fn value(self) -> Value {
        match self {
            Self::Default => Value::Null,
            set => json!(value_name(set)),
        }
    }
}

// === impl Settings ===

impl Settings {
    fn body(self) -> Result<Map<String, Value>, Failure> {
        let secret_headers = self.secret_headers()?;
        let credentials = self.credentials()?;
        let tls = self.tls()?;
        let headers =
            (self.no_headers || !self.headers.is_empty()).then(|| Value::from(self.headers));
        let endpoints = (!self.endpoints.is_empty()).then(|| json!(self.endpoints));
        let compression = self.compression.map(|value| json!(value_name(value)));
        let milliseconds =
            |duration: Duration| json!(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        Ok(fields([
            ("endpoints", endpoints),
            ("headers", headers),
            ("secret_headers", secret_headers),
            ("credentials", credentials),
            ("tls", tls),
            ("connect_timeout_ms", self.connect_timeout.map(milliseconds)),
            ("request_timeout_ms", self.request_timeout.map(milliseconds)),
            ("compression", compression),
            ("allow_link_local", self.allow_link_local.map(Value::from)),
            ("ack", self.ack.map(Ack::value)),
        ]))
    }

    fn secret_headers(&self) -> Result<Option<Value>, Failure> {
        if self.no_secret_headers {
            return Ok(Some(Value::Null));
        }
        let mut headers = Map::new();
        for (name, file) in &self.secret_headers {
            let value = read_secret(file).map_err(Failure::Usage)?;
            headers.insert(name.clone(), json!(value.reveal()));
        }
        Ok((!headers.is_empty()).then_some(Value::Object(headers)))
    }

    fn credentials(&self) -> Result<Option<Value>, Failure> {
        if self.no_credentials {
            return Ok(Some(Value::Null));
        }
        if let Some(file) = &self.bearer_file {
            let token = read_secret(file).map_err(Failure::Usage)?;
            return Ok(Some(json!({"kind": "bearer", "token": token.reveal()})));
        }
        if let (Some(user), Some(file)) = (&self.user, &self.password_file) {
            let password = read_secret(file).map_err(Failure::Usage)?;
            return Ok(Some(
                json!({"kind": "basic", "user": user, "password": password.reveal()}),
            ));
        }
        Ok(None)
    }

    fn tls(&self) -> Result<Option<Value>, Failure> {
        let text = |path: &Option<PathBuf>| match path {
            Some(path) => fs::read_to_string(path)
                .map(|text| Some(json!(text)))
                .map_err(|error| Failure::Usage(format!("{}: {error}", path.display()))),
            None => Ok(None),
        };
        let tls = fields([
            ("ca_pem", text(&self.tls_ca)?),
            (
                "client_certificate_pem",
                text(&self.tls_client_certificate)?,
            ),
            ("client_key_pem", text(&self.tls_client_key)?),
            (
                "server_name",
                self.tls_server_name.as_ref().map(|name| json!(name)),
            ),
        ]);
        Ok((!tls.is_empty()).then_some(Value::Object(tls)))
    }
}
