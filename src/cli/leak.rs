//! `wharfinger leak`

use std::path::PathBuf;

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use super::{
    access::{Api, Failure, read_secret},
    output::cell,
};

/// A token that was found where it should not be.
#[derive(Debug, Args)]
pub(super) struct Found {
    /// File with the token; `-` is stdin.
    #[arg(
        value_name = "FILE",
        required_unless_present = "digest",
        conflicts_with = "digest"
    )]
    token: Option<PathBuf>,
    /// The token's digest instead: 32 hexadecimal digits, as the store and gateways keep it.
    #[arg(long, value_name = "HEX")]
    digest: Option<String>,
    /// Refuses it for ever, whoever still uses it.
    #[arg(long)]
    revoke: bool,
}

impl Found {
    pub(super) async fn run(self, api: &Api) -> Result<(), Failure> {
        let mut body = json!({"revoke": self.revoke});
        if let Some(file) = &self.token {
            let token = read_secret(file)
                .map_err(|why| Failure::Failed(format!("cannot read the token: {why}")))?;
            body["token"] = json!(token.reveal());
        }
        if let Some(digest) = self.digest {
            body["digest"] = json!(digest);
        }
        api.change(Method::POST, "/leaks", Some(body), said).await
    }
}

fn said(leak: &Value) -> Result<String, Failure> {
    let ships = match &leak["signal"] {
        Value::Null => String::new(),
        signal => format!(", {}", cell(signal)),
    };
    let whose = match (&leak["account_name"], &leak["account"]) {
        (Value::Null, Value::Null) => "the operators".to_owned(),
        (Value::Null, account) => format!("account {}", cell(account)),
        (name, _) => format!("account {}", cell(name)),
    };
    let deleted = match leak["deleted"] == true {
        true => " and deleted",
        false => "",
    };
    Ok(format!(
        "{} token {} (id {}{ships}) of {whose} is {}{deleted}; last used: {}",
        cell(&leak["kind"]),
        cell(&leak["name"]),
        cell(&leak["id"]),
        cell(&leak["state"]),
        match &leak["last_used_at"] {
            Value::Null => "never".to_owned(),
            at => cell(at),
        }
    ))
}
