//! `wharfinger account usage` and `wharfinger token senders`: what was shipped, and by whom.

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::{
    access::{Api, Failure},
    output::{cell, line, table},
    token::{SignalName, value_name},
    words::filtered,
};

/// Which usage of an account.
#[derive(Debug, Args)]
pub(super) struct Buckets {
    /// From this time on, such as 2027-01-31T00:00:00Z; else the last hour, day or thirty days, by step.
    #[arg(long)]
    from: Option<String>,
    /// Until this time; now unless said otherwise.
    #[arg(long)]
    to: Option<String>,
    /// How long a bucket is.
    #[arg(long, default_value = "hour")]
    step: Step,
    /// Only this signal.
    #[arg(long)]
    signal: Option<SignalName>,
    /// Only this token, by id.
    #[arg(long)]
    token: Option<u64>,
    /// What buckets are told apart by, beside their time.
    #[arg(long, default_value = "none")]
    group: Group,
    /// Prints CSV instead of a table.
    #[arg(long)]
    csv: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Step {
    Minute,
    Hour,
    Day,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Group {
    None,
    Signal,
    Token,
}

const COLUMNS: [&str; 8] = [
    "start",
    "signal",
    "token",
    "requests",
    "items",
    "bytes",
    "delivered_items",
    "delivered_bytes",
];

// === impl Buckets ===

impl Buckets {
    /// Prints the usage of the account at `path`.
    pub(super) async fn run(self, api: &Api, path: &str) -> Result<(), Failure> {
        let path = self.path(&format!("{path}/usage"));
        if self.csv {
            let (_, items) = api.list(&path).await?;
            return line(csv(&items).trim_end());
        }
        api.print_list(&path, shown).await
    }

    fn path(&self, usage: &str) -> String {
        let filters = [
            ("from", self.from.clone()),
            ("to", self.to.clone()),
            ("step", Some(value_name(self.step))),
            ("group", Some(value_name(self.group))),
            ("signal", self.signal.map(value_name)),
            ("token", self.token.map(|token| token.to_string())),
        ];
        filtered(usage, &filters)
    }
}

/// Prints who shipped last with the token at `path`.
pub(super) async fn senders(api: &Api, path: &str) -> Result<(), Failure> {
    let (text, answer) = api.get(&format!("{path}/senders")).await?;
    if api.json {
        return line(text.trim());
    }
    let items = answer["items"].as_array();
    let rows = items
        .into_iter()
        .flatten()
        .map(|item| {
            [
                cell(&item["last_used_at"]),
                cell(&item["address"]),
                cell(&item["agent"]),
            ]
        })
        .collect();
    line(table(["LAST USED", "ADDRESS", "AGENT"], rows).trim_end())
}

fn refused(item: &Value) -> String {
    let reasons = item["refused"].as_object().into_iter().flatten();
    let reasons: Vec<_> = reasons
        .map(|(reason, requests)| {
            format!("{}={}", cell(&Value::from(reason.as_str())), cell(requests))
        })
        .collect();
    reasons.join(" ")
}

fn shown(items: &[Value]) -> String {
    let rows = items
        .iter()
        .map(|item| {
            let [
                start,
                signal,
                token,
                requests,
                received,
                bytes,
                delivered,
                _,
            ] = COLUMNS.map(|column| cell(&item[column]));
            [
                start,
                signal,
                token,
                requests,
                received,
                bytes,
                delivered,
                refused(item),
            ]
        })
        .collect();
    table(
        [
            "START",
            "SIGNAL",
            "TOKEN",
            "REQUESTS",
            "ITEMS",
            "BYTES",
            "DELIVERED",
            "REFUSED",
        ],
        rows,
    )
}

/// No cell needs quotes: each is a number, a time or a word.
fn csv(items: &[Value]) -> String {
    let mut text = format!("{},refused\n", COLUMNS.join(","));
    for item in items {
        for column in COLUMNS {
            if !item[column].is_null() {
                text.push_str(&cell(&item[column]).replace([',', '"'], " "));
            }
            text.push(',');
        }
        text.push_str(&refused(item).replace([',', '"'], " "));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_bucket_is_a_row_of_a_table_and_a_line_of_csv() {
        let items = [
            json!({"start": "2026-01-01T00:00:00.000Z", "signal": "logs", "requests": 3, "items": 20,
            "bytes": 100, "delivered_items": 10, "delivered_bytes": 50, "refused": {"too_large": 1, "a,b": 2}}),
        ];
        assert_eq!(
            csv(&items),
            "start,signal,token,requests,items,bytes,delivered_items,delivered_bytes,refused\n\
             2026-01-01T00:00:00.000Z,logs,,3,20,100,10,50,a b=2 too_large=1\n"
        );
        let text = shown(&items);
        assert!(text.contains("too_large=1"), "{text}");
        assert!(text.lines().count() == 2, "{text}");
    }
}
