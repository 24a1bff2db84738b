//! `wharfinger shared-token ...`

use clap::{Subcommand, ValueEnum};
use http::Method;
use serde_json::Value;

use super::{
    access::{Api, Failure, reference},
    end::{self, End},
    output::{cell, joined, name_and_id, table},
    token::{Out, value_name},
    usage,
    words::{fields, filtered},
};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Lists shared tokens, never what they are.
    List {
        /// Only those of this account, by name or id.
        #[arg(long)]
        account: Option<String>,
    },
    /// Makes a shared token and prints it: it shows the account's usage, as far as its filters match, and does nothing else.
    Create {
        /// Name or id of the account whose usage it shows.
        #[arg(long)]
        account: String,
        /// For people; need not be unique.
        #[arg(long)]
        name: String,
        /// A shared filter's id. Repeatable.
        #[arg(long = "filter", required_unless_present = "everything")]
        filters: Vec<u64>,
        /// Without filters: all of the account's usage.
        #[arg(long, conflicts_with = "filters")]
        everything: bool,
        /// Whether every filter must match, or any.
        #[arg(long, default_value = "and")]
        join: Join,
        /// When it ends: `30d` from now, or a time such as 2027-01-31T00:00:00Z; in 7 days unless said otherwise.
        #[arg(long, value_parser = End::parse, conflicts_with = "endless")]
        expires: Option<End>,
        /// It never ends.
        #[arg(long)]
        endless: bool,
        #[command(flatten)]
        out: Out,
    },
    /// Shows a shared token's record.
    Show {
        /// Its id.
        id: u64,
    },
    /// Changes a shared token; what it shows follows at once.
    Change {
        /// Its id.
        id: u64,
        /// What it is to be called.
        #[arg(long)]
        name: Option<String>,
        /// A shared filter's id, instead of those it has. Repeatable.
        #[arg(long = "filter")]
        filters: Vec<u64>,
        /// Takes all filters away: it shows all of the account's usage.
        #[arg(long, conflicts_with = "filters")]
        everything: bool,
        /// Whether every filter must match, or any.
        #[arg(long)]
        join: Option<Join>,
        /// When it ends.
        #[arg(long, value_parser = end::time, conflicts_with = "endless")]
        expires: Option<String>,
        /// It never ends.
        #[arg(long)]
        endless: bool,
    },
    /// Refuses a shared token for ever, from its next request on.
    Revoke {
        /// Its id.
        id: u64,
    },
    /// Shows a shared token again; that is audited.
    Reveal {
        /// Its id.
        id: u64,
        #[command(flatten)]
        out: Out,
    },
    /// Hides a revoked shared token from lists.
    Delete {
        /// Its id.
        id: u64,
    },
    /// Shows what a shared token shows; name the token's file with --admin-token-file.
    Usage(usage::Buckets),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Join {
    And,
    Or,
}

impl Verb {
    pub(super) async fn run(self, api: &Api) -> Result<(), Failure> {
        match self {
            Self::List { account } => {
                let path = filtered("/shared-tokens", &[("account", account)]);
                api.print_list(&path, list).await
            }
            Self::Create {
                account,
                name,
                filters,
                everything: _,
                join,
                expires,
                endless,
                out,
            } => {
                let body = fields([
                    ("account", Some(reference(&account))),
                    ("name", Some(name.into())),
                    ("filters", Some(filters.into())),
                    ("join", Some(value_name(join).into())),
                    match endless {
                        true => ("expires_at", Some(Value::Null)),
                        false => End::field(expires, "expires_at", "expires_in_seconds"),
                    },
                ]);
                out.deliver(api, "/shared-tokens", Some(body.into()), |token| {
                    said(token, "created")
                })
                .await
            }
            Self::Show { id } => api.print_one(&format!("/shared-tokens/{id}"), list).await,
            Self::Change {
                id,
                name,
                filters,
                everything,
                join,
                expires,
                endless,
            } => {
                let has_filters = everything || !filters.is_empty();
                let body = fields([
                    ("name", name.map(Value::from)),
                    ("filters", has_filters.then(|| filters.into())),
                    ("join", join.map(|join| value_name(join).into())),
                    (
                        "expires_at",
                        (expires.is_some() || endless).then(|| expires.into()),
                    ),
                ]);
                let path = format!("/shared-tokens/{id}");
                api.change(Method::PATCH, &path, Some(body.into()), |token| {
                    Ok(said(token, "changed"))
                })
                .await
            }
            Self::Revoke { id } => {
                let path = format!("/shared-tokens/{id}/revoke");
                api.change(Method::POST, &path, None, |token| {
                    Ok(said(token, "revoked"))
                })
                .await
            }
            Self::Reveal { id, out } => {
                let path = format!("/shared-tokens/{id}/reveal");
                out.deliver(api, &path, None, |_| {
                    format!("shared token {id} is revealed")
                })
                .await
            }
            Self::Delete { id } => {
                let path = format!("/shared-tokens/{id}");
                api.change(Method::DELETE, &path, None, |token| {
                    Ok(format!("shared token {} is deleted", cell(&token["id"])))
                })
                .await
            }
            Self::Usage(buckets) => buckets.run(api, "/shared").await,
        }
    }
}

fn said(token: &Value, what: &str) -> String {
    format!("shared token {} is {what}", name_and_id(token))
}

fn list(items: &[Value]) -> String {
    let rows = items
        .iter()
        .map(|item| {
            let join = format!(" {} ", cell(&item["join"]));
            [
                cell(&item["id"]),
                cell(&item["name"]),
                cell(&item["account"]),
                joined(&item["filters"], &join),
                cell(&item["state"]),
                cell(&item["expires_at"]),
                cell(&item["last_used_at"]),
                cell(&item["created_by"]),
            ]
        })
        .collect();
    table(
        [
            "ID",
            "NAME",
            "ACCOUNT",
            "FILTERS",
            "STATE",
            "EXPIRES",
            "LAST USED",
            "BY",
        ],
        rows,
    )
}
