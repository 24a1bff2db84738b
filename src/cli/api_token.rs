//! `wharfinger api-token ...`

use clap::{Subcommand, ValueEnum};
use http::Method;
use serde_json::Value;

use super::{
    access::{Api, Failure, reference},
    end::End,
    output::{cell, joined, name_and_id, table},
    token::{Out, value_name},
    words::{fields, filtered},
};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Lists API tokens, never what they are.
    List {
        /// Only those of this account, by name or id.
        #[arg(long)]
        account: Option<String>,
        /// Only those of this name.
        #[arg(long)]
        name: Option<String>,
        /// Only those in this state.
        #[arg(long)]
        state: Option<State>,
    },
    /// Makes an API token and prints it, once.
    Create {
        /// For people; need not be unique.
        #[arg(long)]
        name: String,
        /// Name or id of its account; without one it is an operator's, over all accounts.
        #[arg(long)]
        account: Option<String>,
        /// What it may do. Repeatable.
        #[arg(long = "scope", required = true)]
        scopes: Vec<Scope>,
        /// When it ends: `30d` from now, or a time such as 2027-01-31T00:00:00Z.
        #[arg(long, value_parser = End::parse)]
        expires: Option<End>,
        #[command(flatten)]
        out: Out,
    },
    /// Shows an API token's record.
    Show {
        /// Its id.
        id: u64,
    },
    /// Refuses an API token for ever, from its next request on.
    Revoke {
        /// Its id.
        id: u64,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum State {
    Live,
    Revoked,
    Expired,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Scope {
    Read,
    Tokens,
    Accounts,
}

impl Verb {
    pub(super) async fn run(self, api: &Api) -> Result<(), Failure> {
        match self {
            Self::List {
                account,
                name,
                state,
            } => {
                let state = state.map(value_name);
                let filters = [("account", account), ("name", name), ("state", state)];
                api.print_list(&filtered("/api-tokens", &filters), list)
                    .await
            }
            Self::Create {
                name,
                account,
                scopes,
                expires,
                out,
            } => {
                let body = fields([
                    ("name", Some(name.into())),
                    ("scopes", Some(scopes.into_iter().map(value_name).collect())),
                    ("account", account.as_deref().map(reference)),
                    End::field(expires, "expires_at", "expires_in_seconds"),
                ]);
                let said = |token: &Value| format!("API token {} is created", name_and_id(token));
                out.deliver(api, "/api-tokens", Some(body.into()), said)
                    .await
            }
            Self::Show { id } => api.print_one(&format!("/api-tokens/{id}"), list).await,
            Self::Revoke { id } => {
                let path = format!("/api-tokens/{id}/revoke");
                api.change(Method::POST, &path, None, |token| {
                    Ok(format!("API token {} is revoked", cell(&token["id"])))
                })
                .await
            }
        }
    }
}

fn list(items: &[Value]) -> String {
    let rows = items
        .iter()
        .map(|item| {
            [
                cell(&item["id"]),
                cell(&item["name"]),
                cell(&item["account"]),
                joined(&item["scopes"], ","),
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
            "SCOPES",
            "STATE",
            "EXPIRES",
            "LAST USED",
            "BY",
        ],
        rows,
    )
}
