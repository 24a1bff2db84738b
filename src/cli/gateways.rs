//! `wharfinger gateways ...`

use clap::Subcommand;
use http::Method;
use serde_json::Value;

use super::{
    access::{Api, Failure, encoded},
    output::{cell, table},
    words::filtered,
};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Lists the gateways: who follows this control plane, or another one of its store (`elsewhere`), and how far behind.
    List {
        /// Only those that are connected, or only those that are not.
        #[arg(long, value_name = "BOOL")]
        connected: Option<bool>,
    },
    /// Takes one out that runs no more, so that no change waits for it.
    Retire {
        /// Its name.
        gateway: String,
    },
}

// === impl Verb ===

impl Verb {
    pub(super) async fn run(self, api: &Api) -> Result<(), Failure> {
        match self {
            Self::List { connected } => {
                let connected = connected.map(|it| it.to_string());
                let path = filtered("/gateways", &[("connected", connected)]);
                api.print_list(&path, list).await
            }
            Self::Retire { gateway } => {
                let path = format!("/gateways/{}", encoded(&gateway));
                let sentence = format!("gateway {gateway} is retired");
                api.change(Method::DELETE, &path, None, |_| Ok(sentence))
                    .await
            }
        }
    }
}

fn list(items: &[Value]) -> String {
    let rows = items
        .iter()
        .map(|item| {
            let connected = match (item["connected"].as_bool(), item["connected_to"].as_str()) {
                (Some(true), Some("another")) => "elsewhere",
                (Some(true), _) => "yes",
                _ => "no",
            };
            [
                cell(&item["name"]),
                connected.to_owned(),
                cell(&item["revision"]),
                cell(&item["lag"]),
                cell(&item["last_seen_at"]),
                cell(&item["version"]),
            ]
        })
        .collect();
    table(
        [
            "NAME",
            "CONNECTED",
            "REVISION",
            "LAG",
            "LAST SEEN",
            "VERSION",
        ],
        rows,
    )
}
