//! `wharfinger audit ...`

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{
    access::{Api, Failure},
    output::{cell, line, table},
    words::filtered,
};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Lists records: who did what, when and from where.
    List(Filter),
    /// Recomputes the log's chain of hashes; fails when a record is altered or missing, also one that only a gateway has kept.
    Verify {
        /// The head that an earlier verify said: the log must still have that record. Keep it outside of the store.
        #[arg(long, value_name = "SEQ:HASH")]
        head: Option<String>,
        /// What records up to this one tell of others that are gone is known and explained.
        #[arg(long, value_name = "SEQ:HASH")]
        accept: Option<String>,
    },
}

/// Which records.
#[derive(Debug, Args)]
pub(super) struct Filter {
    /// Only what concerns this account, by id or name.
    #[arg(long)]
    account: Option<String>,
    /// Only this action, such as token.reveal.
    #[arg(long)]
    action: Option<String>,
    /// Only by this one, such as user/3 or api_token/1.
    #[arg(long)]
    actor: Option<String>,
    /// Only about this, such as token/7.
    #[arg(long)]
    subject: Option<String>,
    /// Not before this time, such as 2027-01-31T00:00:00Z.
    #[arg(long)]
    from: Option<String>,
    /// Before this time.
    #[arg(long)]
    to: Option<String>,
}

impl Verb {
    pub(super) async fn run(self, api: &Api) -> Result<(), Failure> {
        match self {
            Self::List(filter) => api.print_list(&filter.path(), list).await,
            Self::Verify { head, accept } => {
                let path = filtered("/audit/verify", &[("head", head), ("accept", accept)]);
                let (text, verified) = api.get(&path).await?;
                if let Some(failure) = failure(&verified) {
                    return Err(Failure::Failed(failure));
                }
                let sentence = format!(
                    "the audit log is intact: {0} records, head {0}:{1}",
                    cell(&verified["records"]),
                    cell(&verified["head"])
                );
                line(if api.json { text.trim() } else { &sentence })
            }
        }
    }
}

/// What is wrong with the log, if anything is.
fn failure(verified: &Value) -> Option<String> {
    if verified["is_intact"] == true {
        return None;
    }
    let Some(last) = verified["disputed"].as_array().and_then(|it| it.last()) else {
        return Some(format!(
            "the audit log is broken: record {} is altered or missing, or is not the head that was kept",
            cell(&verified["broken_at"])
        ));
    };
    Some(format!(
        "the audit log lacks records that gateways have kept: it was cut or written anew, or its server was put back to an earlier moment. \
         `wharfinger audit list --action audit.disputed` shows which; once that is explained, say --accept {}",
        cell(last)
    ))
}

fn list(items: &[Value]) -> String {
    let rows = items
        .iter()
        .map(|item| {
            [
                "seq", "at", "actor", "address", "action", "subject", "account",
            ]
            .map(|key| cell(&item[key]))
        })
        .collect();
    table(
        ["SEQ", "AT", "BY", "FROM", "ACTION", "SUBJECT", "ACCOUNT"],
        rows,
    )
}

// === impl Filter ===

impl Filter {
    fn path(self) -> String {
        let filters = [
            ("account", self.account),
            ("action", self.action),
            ("actor", self.actor),
            ("subject", self.subject),
            ("from", self.from),
            ("to", self.to),
        ];
        filtered("/audit", &filters)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_wrong_with_a_log_is_said_with_what_to_do_about_it() {
        assert_eq!(failure(&json!({"is_intact": true, "disputed": []})), None);
        let broken = failure(&json!({"is_intact": false, "broken_at": 7, "disputed": []}));
        assert!(
            broken
                .expect("a failure")
                .contains("record 7 is altered or missing")
        );
        let disputed = failure(
            &json!({"is_intact": false, "broken_at": null, "disputed": ["12:ab", "15:cd"]}),
        );
        assert!(disputed.expect("a failure").ends_with("say --accept 15:cd"));
    }
}
