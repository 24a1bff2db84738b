//! `wharfinger spool ...`: what a gateway keeps on its disk for destinations, looked at on the machine that has the data folder.

use std::{io, path::Path};

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    access::Failure,
    output::{self, table},
};
use crate::{
    config::Config,
    gateway::deliver::spool::{
        Listed,
        offline::{self, Checked, Chosen},
    },
    model::{AccountId, DestinationId, Signal},
};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// What is spooled, by account, signal and destination; a gateway may be running.
    List {
        /// As JSON, one object a line.
        #[arg(long)]
        json: bool,
    },
    /// Reads every record and checks it; fails when one is damaged. Of a running gateway, what it just writes looks torn.
    Check {
        /// As JSON, one object a line.
        #[arg(long)]
        json: bool,
    },
    /// Puts what was set aside, since its destination refused it, back into the spool, to be delivered once more; no gateway may
    /// be running.
    Replay {
        #[command(flatten)]
        which: Which,
    },
    /// Drops what is spooled, for good; no gateway may be running.
    Drop {
        #[command(flatten)]
        which: Which,
    },
}

/// What is to be dropped, or delivered once more.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(super) struct Which {
    /// Of that account, by its id.
    #[arg(long, value_name = "ID")]
    account: Option<u64>,
    /// Of that signal: logs, metrics or traces.
    #[arg(long, value_parser = signal)]
    signal: Option<Signal>,
    /// For that destination, by its id.
    #[arg(long, value_name = "ID")]
    destination: Option<u64>,
    /// Everything.
    #[arg(long, conflicts_with_all = ["account", "signal", "destination"])]
    all: bool,
}

fn signal(text: &str) -> Result<Signal, &'static str> {
    Signal::parse(text).ok_or("a signal is logs, metrics or traces")
}

// === impl Verb ===

impl Verb {
    pub(super) fn run(self, config: &Config) -> anyhow::Result<()> {
        let folder = config.data.join("gateway").join("spool");
        match self {
            Self::List { json } => list(&offline::list(&folder).map_err(of(&folder))?, json)?,
            Self::Check { json } => check(&offline::check(&folder).map_err(of(&folder))?, json)?,
            Self::Replay { which } => {
                let replayed = offline::replay(&folder, which.chosen()).map_err(of(&folder))?;
                output::line(&format!("{replayed} records to be delivered once more"))?;
            }
            Self::Drop { which } => {
                let dropped = offline::drop(&folder, which.chosen()).map_err(of(&folder))?;
                output::line(&format!("{dropped} records dropped"))?;
            }
        }
        Ok(())
    }
}

// === impl Which ===

impl Which {
    fn chosen(self) -> Chosen {
        Chosen {
            account: self.account.map(AccountId),
            signal: self.signal,
            destination: self.destination.map(DestinationId),
        }
    }
}

/// Says of which folder it is true.
fn of(folder: &Path) -> impl Fn(io::Error) -> Failure {
    move |error| match error.kind() {
        io::ErrorKind::NotFound => {
            Failure::Failed(format!("there is no spool in {}", folder.display()))
        }
        _ => Failure::Failed(format!("the spool in {}: {error}", folder.display())),
    }
}

fn list(listed: &[Listed], is_json: bool) -> Result<(), Failure> {
    if is_json {
        for ((account, signal, destination), left) in listed {
            let line = json!({
                "account": account.0,
                "signal": signal.name(),
                "destination": destination.0,
                "records": left.records,
                "items": left.tally.items,
                "bytes": left.bytes,
            });
            output::line(&line.to_string())?;
        }
        return Ok(());
    }
    let rows = listed.iter().map(|((account, signal, destination), left)| {
        [
            account.to_string(),
            signal.to_string(),
            destination.to_string(),
            left.records.to_string(),
            left.tally.items.to_string(),
            left.bytes.to_string(),
        ]
    });
    let head = [
        "ACCOUNT",
        "SIGNAL",
        "DESTINATION",
        "RECORDS",
        "ITEMS",
        "BYTES",
    ];
    output::line(table(head, rows.collect()).trim_end())
}

fn check(checked: &[Checked], is_json: bool) -> Result<(), Failure> {
    let sums = checked.iter().fold((0, 0), |(records, damaged), one| {
        (records + one.records, damaged + one.damaged)
    });
    if is_json {
        for one in checked {
            let line = json!({
                "file": one.file,
                "records": one.records,
                "damaged": one.damaged,
                "damaged_bytes": one.damaged_bytes,
                "torn_bytes": one.torn_bytes,
            });
            output::line(&line.to_string())?;
        }
    } else {
        let rows = checked.iter().map(|one| {
            [
                one.file.clone(),
                one.records.to_string(),
                one.damaged.to_string(),
                one.torn_bytes.to_string(),
            ]
        });
        let head = ["SEGMENT", "RECORDS", "DAMAGED", "TORN BYTES"];
        output::line(table(head, rows.collect()).trim_end())?;
    }
    match sums {
        (_, 0) => Ok(()),
        (records, damaged) => Err(Failure::Failed(format!(
            "{damaged} damaged pieces beside {records} whole records; a gateway sets them aside and goes on"
        ))),
    }
}
