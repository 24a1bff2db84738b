//! `wharfinger store ...`: what is done to the store itself, on the machine that has the data folder.

use std::path::PathBuf;

use clap::Subcommand;

use super::{
    access,
    output::{self, table},
};
use crate::{
    config::Config,
    control::upkeep::{self, Named},
};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Writes a store on SQLite into a new file, while it is served or not. Keep the master key elsewhere.
    Backup {
        /// Must not exist.
        file: PathBuf,
    },
    /// Puts a backup in the store's place; nothing may be running. Every gateway takes a snapshot afterwards.
    Restore {
        /// As `backup` wrote it.
        file: PathBuf,
    },
    /// Copies a store into an empty place; nothing may be running. Gateways go on from there, the old one is a copy.
    Copy {
        /// `sqlite:///path` or `postgres://user@host:port/database`; "" is the file in the data folder.
        from: String,
        /// The same; a database must exist.
        to: String,
        /// File with the password to the first.
        #[arg(long, value_name = "FILE")]
        from_password_file: Option<PathBuf>,
        /// File with the password to the second.
        #[arg(long, value_name = "FILE")]
        to_password_file: Option<PathBuf>,
    },
}

// === impl Verb ===

impl Verb {
    pub(super) fn run(self, config: &Config) -> anyhow::Result<()> {
        access::runtime()?.block_on(self.done(config))
    }

    async fn done(self, config: &Config) -> anyhow::Result<()> {
        let data = &config.data;
        match self {
            Self::Backup { file } => {
                upkeep::backup(&config.control, data, &file).await?;
                eprintln!(
                    "the store is in {}; without the master key nobody can use it, so keep a copy of that, too",
                    file.display()
                );
            }
            Self::Restore { file } => {
                upkeep::restore(&config.control, data, &file).await?;
                eprintln!("{} is in the store's place", file.display());
            }
            Self::Copy {
                from,
                to,
                from_password_file,
                to_password_file,
            } => {
                let from = Named {
                    url: &from,
                    password_file: from_password_file.as_deref(),
                };
                let to = Named {
                    url: &to,
                    password_file: to_password_file.as_deref(),
                };
                let counts = upkeep::copy(data, from, to).await?;
                let rows = counts
                    .into_iter()
                    .map(|(name, count)| [name, count.to_string()])
                    .collect();
                output::line(table(["TABLE", "ROWS"], rows).trim_end())?;
                eprintln!("copied; set control.store to the new place before the next start");
            }
        }
        Ok(())
    }
}
