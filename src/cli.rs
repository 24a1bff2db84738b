//! The command line: one executable that serves, checks, and talks to the admin API.

mod access;
mod words;
mod account;
mod api_token;
mod shared_token;
mod shared_filter;
mod audit;
mod client;
mod destination;
mod end;
mod gateways;
mod import;
mod leak;
mod once;
mod openapi;
mod output;
mod password;
mod proof;
mod spool;
mod store;
mod token;
mod usage;
mod user;
mod whoami;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, Subcommand};

use crate::{
    app,
    config::{self, Config, Unusable},
    control::{self, Control},
    operate::logging,
};
use access::Failure;

/// What was asked for could not be done.
const FAILED: u8 = 1;
/// The command line or the configuration has to change.
const UNUSABLE: u8 = 2;
/// Changed, but not yet enforced on every gateway.
const NOT_ENFORCED: u8 = 3;

/// How long `wharfinger health` waits for an answer.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(3);

/// An ingestion gateway: every shipped payload reaches its account, safe before answered.
#[derive(Debug, Parser)]
#[command(name = "wharfinger", version, subcommand_required = false)]
struct Arguments {
    /// Configuration file; without one, the defaults.
    #[arg(long, global = true, env = "WHARFINGER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data folder; wins over `data` in the configuration file.
    #[arg(long, global = true, env = "WHARFINGER_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Gateway and control plane in one process (the default).
    Serve,
    /// A gateway that follows control planes of other processes.
    Gateway,
    /// A control plane for gateways of other processes.
    Control,
    /// Reports every mistake of a configuration file.
    Check {
        /// The file.
        file: PathBuf,
    },
    /// Asks the running process whether it is ready.
    Health {
        /// The operators' address; by default that of the configuration.
        #[arg(long)]
        url: Option<String>,
    },
    /// Accounts: who may ship, under which limits, and where it goes.
    Account {
        #[command(flatten)]
        access: access::Access,
        #[command(subcommand)]
        verb: account::Verb,
    },
    /// Destinations: where payloads go.
    Destination {
        #[command(flatten)]
        access: access::Access,
        #[command(subcommand)]
        verb: Box<destination::Verb>,
    },
    /// Gateways: who follows the control plane, and who runs no more.
    Gateways {
        #[command(flatten)]
        access: access::Access,
        #[command(subcommand)]
        verb: gateways::Verb,
    },
    /// The store itself: backed up, put back, moved to another database.
    Store {
        #[command(subcommand)]
        verb: store::Verb,
    },
    /// The spool: what a gateway keeps on its disk until destinations take it.
    Spool {
        #[command(subcommand)]
        verb: spool::Verb,
    },
    /// Shipping tokens: each opens one account and one signal.
    Token {
        #[command(flatten)]
        access: access::Access,
        #[command(subcommand)]
        verb: token::Verb,
    },
    /// Says what a token is that was found where it should not be, and revokes it when asked.
    Leak {
        #[command(flatten)]
        access: access::Access,
        #[command(flatten)]
        leak: leak::Found,
    },
    /// API tokens: each opens the admin API, for one account or for all.
    ApiToken {
        #[command(flatten)]
        access: access::Access,
        #[command(subcommand)]
        verb: api_token::Verb,
    },
    /// Shared tokens: each shows an account's usage, or a part of it, and does nothing else.
    SharedToken {
        #[command(flatten)]
        access: access::Access,
        #[command(subcommand)]
        verb: shared_token::Verb,
    },
    /// Filters by which shared tokens show a part of an account's usage.
    SharedFilter {
        #[command(flatten)]
        access: access::Access,
        #[command(subcommand)]
        verb: shared_filter::Verb,
    },
    /// People: the operators, and each account's admins and readers.
    User {
        #[command(flatten)]
        access: access::Access,
        #[command(subcommand)]
        verb: user::Verb,
    },
    /// Shows whose the admin token is, and what it may do.
    Whoami {
        #[command(flatten)]
        access: access::Access,
    },
    /// Prints the admin API's description; that needs no token.
    Openapi {
        #[command(flatten)]
        access: access::Access,
        #[command(flatten)]
        which: openapi::Which,
    },
    /// The audit log.
    Audit {
        #[command(flatten)]
        access: access::Access,
        #[command(subcommand)]
        verb: audit::Verb,
    },
}

/// Does what the command line says; what went wrong is one sentence on stderr.
pub fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // A reader that went away is no reason to fail differently.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(UNUSABLE));
        }
    };
    match arguments.run() {
        Ok(code) => code,
        Err(error) => {
            // Several lines speak for themselves: they are mistakes, each with its place.
            if error.is::<config::Mistakes>() {
                eprintln!("{error}");
            } else {
                eprintln!("wharfinger: {error:#}");
            }
            ExitCode::from(exit_code(&error))
        }
    }
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<config::Mistakes>()
        || error.is::<logging::Error>()
        || error.downcast_ref::<Unusable>().is_some()
    {
        return UNUSABLE;
    }
    let of_the_store = error.downcast_ref::<control::Error>();
    if of_the_store.is_some_and(control::Error::is_operators) {
        return UNUSABLE;
    }
    match error.downcast_ref::<Failure>() {
        Some(Failure::Usage(_)) => UNUSABLE,
        Some(Failure::NotEnforced(_)) => NOT_ENFORCED,
        _ => FAILED,
    }
}

// === impl Arguments ===

impl Arguments {
    fn run(self) -> anyhow::Result<ExitCode> {
        let file = self.config.as_deref();
        let data = self.data.as_deref();
        match self.command.unwrap_or(Command::Serve) {
            Command::Serve => app::serve(started(file, data)?)?,
            Command::Gateway => {
                let config = started(file, data)?;
                config::missing_for_gateway(&config)?;
                app::gateway(config)?;
            }
            Command::Control => app::control(started(file, data)?)?,
            Command::Check { file } => return Ok(check(&file)?),
            Command::Health { url } => health(url, || configured(file, data))?,
            Command::Account { access, verb } => {
                access.run(|| configured(file, data), async |api| verb.run(api).await)?;
            }
            Command::Destination { access, verb } => {
                access.run(|| configured(file, data), async |api| verb.run(api).await)?;
            }
            Command::Gateways { access, verb } => {
                access.run(|| configured(file, data), async |api| verb.run(api).await)?;
            }
            Command::Store { verb } => verb.run(&configured(file, data)?)?,
            Command::Spool { verb } => verb.run(&configured(file, data)?)?,
            Command::Token { access, verb } => {
                access.run(|| configured(file, data), async |api| verb.run(api).await)?;
            }
            Command::Leak { access, leak } => {
                access.run(|| configured(file, data), async |api| leak.run(api).await)?;
            }
            Command::ApiToken { access, verb } => {
                access.run(|| configured(file, data), async |api| verb.run(api).await)?;
            }
            Command::SharedToken { access, verb } => {
                access.run(|| configured(file, data), async |api| verb.run(api).await)?;
            }
            Command::SharedFilter { access, verb } => {
                access.run(|| configured(file, data), async |api| verb.run(api).await)?;
            }
            Command::User {
                verb: user::Verb::ResetPassword { name },
                ..
            } => reset_password(&configured(file, data)?, &name)?,
            Command::User {
                access,
                verb: user::Verb::ChangePassword(own),
            } => {
                access.ask(|| configured(file, data), async |api| own.run(api).await)?;
            }
            Command::User { access, verb } => {
                access.run(|| configured(file, data), async |api| verb.run(api).await)?;
            }
            Command::Whoami { access } => {
                access.run(
                    || configured(file, data),
                    async |api| whoami::run(api).await,
                )?;
            }
            Command::Openapi { access, which } => {
                access.ask(|| configured(file, data), async |api| which.run(api).await)?;
            }
            Command::Audit { access, verb } => {
                access.run(|| configured(file, data), async |api| verb.run(api).await)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The configuration as it holds for this process.
fn configured(file: Option<&Path>, data: Option<&Path>) -> Result<Config, config::Mistakes> {
    let mut config = Config::read(file, config::environment())?;
    if let Some(data) = data {
        config.data = data.to_owned();
    }
    Ok(config)
}

/// The configuration, and the log started as it says.
fn started(file: Option<&Path>, data: Option<&Path>) -> anyhow::Result<Config> {
    let config = configured(file, data)?;
    let level = std::env::var(logging::LEVEL_VARIABLE).ok();
    logging::start(
        &config.log,
        level.as_deref().filter(|level| !level.is_empty()),
    )?;
    Ok(config)
}

/// What is found is what was asked for, so it goes to stdout.
fn check(file: &Path) -> Result<ExitCode, Failure> {
    match Config::read(Some(file), std::iter::empty()) {
        Ok(_) => {
            output::line(&format!("{}: ok", file.display()))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(mistakes) => {
            output::line(&mistakes.to_string())?;
            Ok(ExitCode::from(UNUSABLE))
        }
    }
}

/// Takes the data folder's lock: a control plane that runs there is stopped first.
fn reset_password(config: &Config, name: &str) -> anyhow::Result<()> {
    if !config.data.join("lock").exists() {
        anyhow::bail!(Unusable(format!(
            "no control plane has run in {}; name its folder with --data",
            config.data.display()
        )));
    }
    let path = access::runtime()?.block_on(async {
        let control = Control::open(&config.control, &config.data).await?;
        let reset = control.reset_password(name).await;
        control.close().await;
        reset
    });
    let path = path.map_err(|error| match error {
        control::Error::Locked(_) | control::Error::StoreLocked(_) => {
            anyhow::Error::from(Unusable(format!(
                "{error}; stop it first: passwords are reset offline"
            )))
        }
        error => error.into(),
    })?;
    output::line(&format!(
        "the new password of {} is in {}",
        output::plain(name),
        path.display()
    ))?;
    Ok(())
}

fn health(
    url: Option<String>,
    config: impl FnOnce() -> Result<Config, config::Mistakes>,
) -> anyhow::Result<()> {
    let url = match url {
        Some(url) => url,
        None => match config()?.listen.operate {
            Some(address) => access::reachable(address),
            None => anyhow::bail!(Unusable(
                "`operate` in [listen] is off, so nobody can be asked".to_owned()
            )),
        },
    };
    let client = client::Client::new(&url, None, HEALTH_TIMEOUT)?;
    let answer =
        access::runtime()?.block_on(client.send(http::Method::GET, "/ready", None, None, None))?;
    let text = answer.text();
    let text = text.trim();
    if answer.status.is_success() {
        output::line(if text.is_empty() { "ready" } else { text })?;
        return Ok(());
    }
    anyhow::bail!("not ready ({}): {text}", answer.status.as_u16())
}

#[cfg(test)]
mod tests;
