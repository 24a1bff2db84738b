//! `wharfinger shared-filter ...`

use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};

use super::{
    access::{Api, Failure, reference},
    output::{cell, table},
    words::filtered,
};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Lists shared filters.
    List {
        /// Only those of this account, by name or id.
        #[arg(long)]
        account: Option<String>,
    },
    /// Makes a filter that shared tokens can go by: usage whose field is exactly that.
    Create {
        /// Name or id of its account.
        #[arg(long)]
        account: String,
        /// `signal`, `token_id` or `token_name`; any other field matches nothing.
        #[arg(long)]
        field: String,
        /// What the field must be.
        #[arg(long)]
        value: String,
        /// For people.
        #[arg(long, default_value = "")]
        description: String,
    },
    /// Shows a shared filter.
    Show {
        /// Its id.
        id: u64,
    },
    /// Changes a filter's description; what it matches stays.
    Describe {
        /// Its id.
        id: u64,
        /// For people.
        description: String,
    },
    /// Removes a filter by which no shared token goes that is not revoked.
    Delete {
        /// Its id.
        id: u64,
    },
}

impl Verb {
    pub(super) async fn run(self, api: &Api) -> Result<(), Failure> {
        match self {
            Self::List { account } => {
                let path = filtered("/shared-filters", &[("account", account)]);
                api.print_list(&path, list).await
            }
            Self::Create {
                account,
                field,
                value,
                description,
            } => {
                let body = json!({
                    "account": reference(&account),
                    "field": field,
                    "value": value,
                    "description": description,
                });
                api.change(Method::POST, "/shared-filters", Some(body), |filter| {
                    Ok(said(filter, "created"))
                })
                .await
            }
            Self::Show { id } => api.print_one(&format!("/shared-filters/{id}"), list).await,
            Self::Describe { id, description } => {
                let path = format!("/shared-filters/{id}");
                let body = json!({"description": description});
                api.change(Method::PATCH, &path, Some(body), |filter| {
                    Ok(said(filter, "described"))
                })
                .await
            }
            Self::Delete { id } => {
                let path = format!("/shared-filters/{id}");
                api.change(Method::DELETE, &path, None, |filter| {
                    Ok(said(filter, "deleted"))
                })
                .await
            }
        }
    }
}

fn said(filter: &Value, what: &str) -> String {
    format!("shared filter {} is {what}", cell(&filter["id"]))
}

fn list(items: &[Value]) -> String {
    let rows = items
        .iter()
        .map(|item| {
            [
                cell(&item["id"]),
                cell(&item["account"]),
                cell(&item["field"]),
                cell(&item["value"]),
                cell(&item["description"]),
                cell(&item["created_by"]),
            ]
        })
        .collect();
    table(
        ["ID", "ACCOUNT", "FIELD", "VALUE", "DESCRIPTION", "BY"],
        rows,
    )
}
