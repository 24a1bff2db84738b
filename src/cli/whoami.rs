//! `wharfinger whoami`

use serde_json::Value;

use super::{
    access::{Api, Failure},
    output::{cell, table},
};

/// Prints whose the admin token is, and what it may do.
pub(super) async fn run(api: &Api) -> Result<(), Failure> {
    api.print_one("/session", shown).await
}

fn shown(callers: &[Value]) -> String {
    let rows = callers.iter().map(|caller| {
        let account = match &caller["account"] {
            Value::Null => "all".to_owned(),
            id => cell(id),
        };
        let scopes = caller["scopes"].as_array().into_iter().flatten();
        let scopes: Vec<_> = scopes.map(cell).collect();
        [cell(&caller["caller"]), account, scopes.join(",")]
    });
    table(["CALLER", "ACCOUNT", "SCOPES"], rows.collect())
}
