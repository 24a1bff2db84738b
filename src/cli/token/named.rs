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
    Out, SignalName, account_of, described, rotated, value_name,
};

/// Which tokens a name may mean.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Means {
    /// A revoked token often shares its name with the one made instead: what the verb cannot act on is not meant.
    NotRevoked,
    /// After a rotation two live tokens share a name, and the older one has its successor already.
    NotReplaced,
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
    pub(super) fn path(&self, [name, state]: [(&str, Option<String>); 2]) -> String {
        let (account, signal) = (self.account.clone(), self.signal.map(value_name));
        let filters = [("account", account), ("signal", signal), name, state];
        filtered("/tokens", &filters)
    }
}

// === impl Named ===

impl Named {
    pub(super) async fn path(&self, api: &Api, means: Means) -> Result<String, Failure> {
        if is_number(&self.token) {
            return self.numbered(api).await;
        }
        let fits = |token: &Value| match means {
            Means::AnyState => true,
            Means::NotRevoked => token["state"] != "revoked",
            Means::NotReplaced => token["state"] == "live" && token["replaced_by"].is_null(),
        };
        let id = api
            .id(&self.namesakes(), "token", &self.token, fits, told_apart)
            .await?;
        Ok(format!("/tokens/{id}"))
    }

    /// The list of those with that name.
    fn namesakes(&self) -> String {
        let name = ("name", Some(self.token.clone()));
        self.filter.path([name, ("state", None)])
    }

    /// Makes a new one in its place. Under a key the name of the first time means another token by now: the key stands for
    /// the request about the one before.
    pub(super) async fn rotate(&self, api: &Api, body: Value, out: &Out) -> Result<(), Failure> {
        let mut path = self.path(api, Means::NotReplaced).await?;
        loop {
            let rotate = format!("{path}/rotate");
            let done = out.deliver(api, &rotate, Some(body.clone()), rotated).await;
            let Err(Failure::OtherRequest(why)) = done else {
                return done;
            };
            let before = self.before(api, &path).await?;
            path = before.ok_or(Failure::OtherRequest(why))?;
        }
    }

    /// The path of the one that the token at `path` replaces, where a name was said.
    async fn before(&self, api: &Api, path: &str) -> Result<Option<String>, Failure> {
        if is_number(&self.token) {
            return Ok(None);
        }
        let (_, tokens) = api.list(&self.namesakes()).await?;
        let before = tokens.iter().find(|token| {
            let next = token["replaced_by"].as_u64();
            next.is_some_and(|next| path == format!("/tokens/{next}"))
        });
        Ok(before.map(|token| format!("/tokens/{}", token["id"])))
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

/// What tells a token from its namesakes.
fn told_apart(token: &Value) -> String {
    let mut text = format!(
        "{} of account {}, {}",
        cell(&token["signal"]),
        account_of(token),
        cell(&token["state"])
    );
    if !token["replaced_by"].is_null() {
        let (next, until) = (cell(&token["replaced_by"]), cell(&token["expires_at"]));
        text.push_str(&format!(", replaced by {next} and good until {until}"));
    }
    text
}
