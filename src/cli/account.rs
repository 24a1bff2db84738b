//! `wharfinger account ...`

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

use super::{
    access::{Api, Failure, encoded, reference},
    end::End,
    output::{cell, name_and_id, table},
    usage::Buckets,
    words::{fields, filtered, number, object},
};
use crate::model::Signal;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Lists accounts.
    List {
        /// Only the one of this name.
        #[arg(long)]
        name: Option<String>,
        /// Only sub-accounts of this main account, by name or id.
        #[arg(long)]
        parent: Option<String>,
        /// `active` or `suspended`.
        #[arg(long)]
        state: Option<String>,
        /// `community`, `pro`, `enterprise`, `trial` or `unlimited`.
        #[arg(long)]
        plan: Option<String>,
    },
    /// Shows an account.
    Show {
        /// Name or id.
        account: String,
    },
    /// Makes an account.
    Create {
        /// Unique among accounts.
        #[arg(long)]
        name: String,
        /// Name or id of its main account, for a sub-account.
        #[arg(long)]
        parent: Option<String>,
        #[command(flatten)]
        settings: Settings,
    },
    /// Changes an account; what is not named stays.
    Set {
        /// Name or id.
        account: String,
        /// A new name.
        #[arg(long)]
        name: Option<String>,
        /// A signal, or a limit, that is to be the main account's again, or the default. Repeatable.
        #[arg(long = "inherit", value_name = "SIGNAL|LIMIT")]
        inherit: Vec<String>,
        #[command(flatten)]
        settings: Settings,
    },
    /// Takes a suspended account's payloads again.
    Enable {
        /// Name or id.
        account: String,
    },
    /// Suspends an account: all its payloads are refused, whatever their token.
    #[command(visible_alias = "suspend")]
    Disable {
        /// Name or id.
        account: String,
        /// Why; its people and its API tokens are told.
        #[arg(long)]
        reason: Option<String>,
        /// Also when that ends many live tokens: `dropped-N`, as the refusal says.
        #[arg(long, value_name = "dropped-N")]
        confirm: Option<String>,
    },
    /// Shows what an account shipped, in buckets of time.
    Usage {
        /// Name or id.
        account: String,
        #[command(flatten)]
        buckets: Buckets,
    },
    /// Deletes an account that has no tokens but revoked ones.
    Delete {
        /// Name or id.
        account: String,
    },
}

/// What can be set of an account.
#[derive(Debug, Args)]
pub(super) struct Settings {
    /// Where a signal goes: `logs=archive`, a name or an id; `logs=` for nowhere. Repeatable.
    #[arg(long = "destination", value_name = "SIGNAL=DESTINATION", value_parser = destination)]
    destinations: Vec<(Signal, Value)>,
    /// A ceiling or a rate: `bulk_body_bytes_max=5MiB`, `concurrency_max=64`, `requests_per_second=1000`. Repeatable; `account
    /// list --json` shows all.
    #[arg(long = "limit", value_name = "LIMIT=VALUE", value_parser = limit)]
    limits: Vec<(String, Value)>,
    /// `community`, `pro`, `enterprise`, `trial` or `unlimited`.
    #[arg(long)]
    plan: Option<String>,
    /// When a trial ends: `30d` from now, or a time such as 2027-01-31T00:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = End::parse)]
    trial_until: Option<End>,
    /// Whether the main account's people and API tokens reach a sub-account.
    #[arg(long, value_name = "BOOL")]
    accessible: Option<bool>,
}

impl Verb {
    pub(super) async fn run(self, api: &Api) -> Result<(), Failure> {
        match self {
            Self::List {
                name,
                parent,
                state,
                plan,
            } => {
                let filters = [
                    ("name", name),
                    ("parent", parent),
                    ("state", state),
                    ("plan", plan),
                ];
                let path = filtered("/accounts", &filters);
                let destinations = destinations(api).await?;
                api.print_list(&path, |items| list(items, &destinations))
                    .await
            }
            Self::Show { account } => {
                let path = path(api, &account).await?;
                let destinations = destinations(api).await?;
                api.print_one(&path, |items| list(items, &destinations))
                    .await
            }
            Self::Create {
                name,
                parent,
                settings,
            } => {
                let mut body = settings.body();
                body.insert("name".to_owned(), json!(name));
                if let Some(parent) = parent {
                    body.insert("parent".to_owned(), reference(&parent));
                }
                api.change(
                    Method::POST,
                    "/accounts",
                    Some(body.into()),
                    said("created"),
                )
                .await
            }
            Self::Set {
                account,
                name,
                inherit,
                settings,
            } => {
                let mut body = settings.body();
                if let Some(name) = name {
                    body.insert("name".to_owned(), json!(name));
                }
                if !inherit.is_empty() {
                    body.insert("inherit".to_owned(), json!(inherit));
                }
                if body.is_empty() {
                    return Err(Failure::Usage(
                        "nothing to set: give --name, --destination, --limit, --inherit, --plan or --accessible"
                            .to_owned(),
                    ));
                }
                patch(api, &account, body.into(), "changed").await
            }
            Self::Enable { account } => {
                patch(api, &account, json!({"state": "active"}), "enabled").await
            }
            Self::Disable {
                account,
                reason,
                confirm,
            } => {
                let mut body = json!({"state": "suspended"});
                if let Some(reason) = reason {
                    body["reason"] = json!(reason);
                }
                let mut path = path(api, &account).await?;
                if let Some(confirm) = confirm {
                    path.push_str("?confirm=");
                    path.push_str(&encoded(&confirm));
                }
                api.change(Method::PATCH, &path, Some(body), said("suspended"))
                    .await
            }
            Self::Usage { account, buckets } => {
                let path = path(api, &account).await?;
                buckets.run(api, &path).await
            }
            Self::Delete { account } => {
                let path = path(api, &account).await?;
                let sentence = format!("account {account} is deleted");
                api.change(Method::DELETE, &path, None, |_| Ok(sentence))
                    .await
            }
        }
    }
}

async fn path(api: &Api, account: &str) -> Result<String, Failure> {
    api.path("/accounts", "account", account).await
}

/// What the table names; nothing where no table is asked for, and for an account's people, who may not see them.
async fn destinations(api: &Api) -> Result<Vec<Value>, Failure> {
    if api.json {
        return Ok(Vec::new());
    }
    let (_, caller) = api.get("/session").await?;
    match &caller["account"] {
        Value::Null => Ok(api.list("/destinations").await?.1),
        _ => Ok(Vec::new()),
    }
}

async fn patch(api: &Api, account: &str, body: Value, done: &'static str) -> Result<(), Failure> {
    let path = path(api, account).await?;
    api.change(Method::PATCH, &path, Some(body), said(done))
        .await
}

fn said(done: &'static str) -> impl FnOnce(&Value) -> Result<String, Failure> {
    move |account| Ok(format!("account {} is {done}", name_and_id(account)))
}

fn list(items: &[Value], destinations: &[Value]) -> String {
    // By name, as they are created and set; one made a moment ago, or that the caller doesn't see, is known by its id alone.
    let name = |id: &Value| {
        let found = destinations.iter().find(|it| it["id"] == *id);
        cell(found.map_or(id, |it| &it["name"]))
    };
    let rows = items
        .iter()
        .map(|item| {
            let goes = &item["destinations"];
            [
                cell(&item["id"]),
                cell(&item["name"]),
                cell(&item["parent"]),
                cell(&item["plan"]),
                cell(&item["state"]),
                name(&goes["logs"]),
                name(&goes["metrics"]),
                name(&goes["traces"]),
                cell(&item["created_at"]),
            ]
        })
        .collect();
    table(
        [
            "ID",
            "NAME",
            "PARENT",
            "PLAN",
            "STATE",
            "LOGS TO",
            "METRICS TO",
            "TRACES TO",
            "CREATED",
        ],
        rows,
    )
}

fn destination(text: &str) -> Result<(Signal, Value), String> {
    let (signal, destination) = text
        .split_once('=')
        .ok_or("expected SIGNAL=DESTINATION, such as logs=archive")?;
    let signal = Signal::parse(signal)
        .ok_or_else(|| format!("{signal:?} is not a signal: logs, metrics or traces"))?;
    let destination = if destination.is_empty() {
        Value::Null
    } else {
        reference(destination)
    };
    Ok((signal, destination))
}

fn limit(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("expected LIMIT=VALUE, such as concurrency_max=64")?;
    let value = match value {
        "true" => json!(true),
        "false" => json!(false),
        text => number(text)
            .ok_or_else(|| format!("{text:?} is not a number, a size or true or false"))?,
    };
    Ok((name.to_owned(), value))
}

// === impl Settings ===

impl Settings {
    fn body(self) -> Map<String, Value> {
        let named = self.destinations.into_iter();
        let destinations = named.map(|(signal, value)| (signal.name().to_owned(), value));
        fields([
            ("destinations", object(destinations.collect())),
            ("limits", object(self.limits)),
            ("plan", self.plan.map(Value::from)),
            End::field(self.trial_until, "trial_until", "trial_seconds"),
            ("accessible", self.accessible.map(Value::from)),
        ])
    }
}
