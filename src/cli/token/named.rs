//! Which token is meant: by its id, or by a name that is only its own.

use clap::Args;
use http::Method;
use serde_json::Value;

use super::{
    super::{
        access::{Api, Failure, is_number, reference},
        output::cell,
        words::filtered,
    },
    SignalName, account_of, described, value_name,
};

/// Which tokens a name may mean.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Means {
    /// A revoked token often shares its name with the one made instead: what the verb cannot act on is not meant.
    NotRevoked,
    /// Where the verb can act on both, nobody guesses which one.
    AnyState,
}

/// One token.
#[derive(Debug, Args)]
pub(in crate::cli) struct Named {
    /// Id, or a name that only one token has.
    pub(super) token: String,
    #[command(flatten)]
    filter: Filter,
}

/// Which tokens are looked at.
#[derive(Debug, Args)]
pub(in crate::cli) struct Filter {
    /// Only those of this account, by name or id.
    #[arg(long)]
    account: Option<String>,
    /// Only those for this signal.
    #[arg(long)]
    signal: Option<SignalName>,
}

// === impl Filter ===

impl Filter {
    pub(super) fn path(&self, more: (&str, Option<String>)) -> String {
        let (account, signal) = (self.account.clone(), self.signal.map(value_name));
        filtered("/tokens", &[("account", account), ("signal", signal), more])
    }
}

// === impl Named ===

impl Named {
    pub(super) async fn path(&self, api: &Api, means: Means) -> Result<String, Failure> {
        let describe = |token: &Value| {
            format!(
                "{} of account {}, {}",
                cell(&token["signal"]),
                account_of(token),
                cell(&token["state"])
            )
        };
        if is_number(&self.token) {
            return self.numbered(api).await;
        }
        let fits = |token: &Value| means == Means::AnyState || token["state"] != "revoked";
        let id = api
            .id(
                &self.filter.path(("name", Some(self.token.clone()))),
                "token",
                &self.token,
                fits,
                describe,
            )
            .await?;
        Ok(format!("/tokens/{id}"))
    }

    /// A filter beside an id is a promise about that token, and one that doesn't hold stops the command.
    async fn numbered(&self, api: &Api) -> Result<String, Failure> {
        let path = format!("/tokens/{}", self.token);
        let Filter { account, signal } = &self.filter;
        if account.is_none() && signal.is_none() {
            return Ok(path);
        }
        let (_, token) = api.get(&path).await?;
        let is_of = |named: &String| {
            let key = if is_number(named) {
                "account"
            } else {
                "account_name"
            };
            token[key] == reference(named)
        };
        let is_for = |signal: &SignalName| token["signal"] == value_name(*signal);
        if account.as_ref().is_none_or(is_of) && signal.as_ref().is_none_or(is_for) {
            return Ok(path);
        }
        Err(Failure::Failed(format!(
            "token {} is {} of account {}, which is not what was asked for",
            self.token,
            cell(&token["signal"]),
            account_of(&token)
        )))
    }

    pub(super) async fn switch(&self, api: &Api, verb: &str, done: &str) -> Result<(), Failure> {
        let path = format!("{}/{verb}", self.path(api, Means::NotRevoked).await?);
        api.change(Method::POST, &path, None, |token| {
            Ok(format!("{} is {done}", described(token)))
        })
        .await
    }
}
