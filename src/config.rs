//! One TOML file, every mistake at once, `WHARFINGER_*` on top.
//!
//! Limits and destinations of accounts live in the control plane; here stands only what a process must know before it
//! can ask anybody. `docs/configuration.md` explains every key, `deploy/wharfinger.toml` lists them with their defaults.

mod check;
mod document;
mod mistake;
mod sections;
pub mod text;

pub use check::missing_for_gateway;
pub use document::{Checks, load, load_checked};
pub use mistake::{Mistake, Place};
pub use sections::{Drain, Feed, Gateway, Listen, Tls};

use std::{
    fmt, fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{
    control, directory,
    gateway::{
        deliver::{archive, spool, upstream},
        listen, receive,
    },
    operate::logging,
};

/// A configuration file may have this many bytes: far above any real one, far below what would hurt.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The whole file. A section that is missing has its defaults.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Folder of everything that must survive a restart; made with mode 0700 when it is missing.
    pub data: PathBuf,
    /// Where to listen.
    pub listen: Listen,
    /// The certificate of the TLS doors.
    pub tls: Tls,
    /// The gateway as a process: name, workers, memory.
    pub gateway: Gateway,
    /// Where a gateway of its own process finds the control plane.
    pub feed: Feed,
    /// Limits on connections and heads.
    pub limits: listen::Config,
    /// How slowly a body may come.
    pub receive: receive::Config,
    /// The embedded destination.
    pub archive: archive::Config,
    /// What waits on disk for destinations.
    pub spool: spool::Config,
    /// Connections to destinations.
    pub upstream: upstream::Config,
    /// How old the token table may be.
    pub directory: directory::Config,
    /// The store and the feed's other end.
    pub control: control::Config,
    /// How a process ends.
    pub drain: Drain,
    /// What is logged, and how.
    pub log: logging::Config,
}

/// Why a process cannot start as it was told to: the operator has to change something. Ends with exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(pub String);

/// What is wrong with a configuration: always at least one mistake.
#[derive(Debug)]
pub struct Mistakes {
    /// As the operator named it; `None` if there is no file.
    file: Option<PathBuf>,
    mistakes: Vec<Mistake>,
}

impl Config {
    /// Reads the file (none: the defaults) and lays the environment's overrides on top.
    ///
    /// Environment variables without `__` are not overrides: a Kubernetes service called `wharfinger` puts
    /// `WHARFINGER_PORT` and the like there.
    pub fn read(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Mistakes> {
        let of = |mistakes| Mistakes {
            file: file.map(Path::to_owned),
            mistakes,
        };
        let text = match file {
            Some(path) => read_text(path).map_err(|error| of(vec![Mistake::whole_file(error)]))?,
            None => String::new(),
        };
        load_checked(&text, environment, check::check).map_err(of)
    }
}

/// The process's `WHARFINGER_*` variables; what is not UTF-8 arrives with replacement characters and is refused where it matters.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok()?;
        name.starts_with(document::PREFIX)
            .then(|| (name, value.to_string_lossy().into_owned()))
    })
}

fn read_text(path: &Path) -> Result<String, String> {
    let sentence = |error: io::Error| format!("cannot be read: {error}");
    let mut bytes = Vec::new();
    // Not by the announced length: a pipe or a device announces none.
    fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(sentence)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!(
            "has more than {FILE_BYTES_MAX} bytes, so it is no configuration"
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        format!("is not UTF-8 from byte {valid} on")
    })
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::from("wharfinger-data"),
            listen: Listen::default(),
            tls: Tls::default(),
            gateway: Gateway::default(),
            feed: Feed::default(),
            limits: listen::Config::default(),
            receive: receive::Config::default(),
            archive: archive::Config::default(),
            spool: spool::Config::default(),
            upstream: upstream::Config::default(),
            directory: directory::Config::default(),
            control: control::Config::default(),
            drain: Drain::default(),
            log: logging::Config::default(),
        }
    }
}

// === impl Mistakes ===

impl Mistakes {
    /// In the order of the file, then the environment.
    pub fn iter(&self) -> impl Iterator<Item = &Mistake> {
        self.mistakes.iter()
    }
}

/// One line for each: `FILE:LINE:COLUMN: key: what`.
impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            match (&self.file, &mistake.place) {
                (Some(file), Place::File { .. }) => write!(f, "{}:{mistake}", file.display())?,
                (Some(file), Place::Whole) => write!(f, "{}: {mistake}", file.display())?,
                _ => write!(f, "{mistake}")?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

#[cfg(test)]
mod tests;
