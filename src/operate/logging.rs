//! Logs on stderr: for people on a terminal, JSON lines for machines.

use std::io::{self, IsTerminal, Write};

use serde::Deserialize;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer, filter::filter_fn, fmt::MakeWriter, layer::SubscriberExt, registry,
    util::SubscriberInitExt,
};

/// Overrides `[log] level` for one start.
pub const LEVEL_VARIABLE: &str = "WHARFINGER_LOG";

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Shape of a line.
    pub format: Format,
    /// `error`, `warn`, `info`, `debug`, `trace` or `off`, and by module: `info,wharfinger::control=debug`.
    pub level: String,
}

/// Shape of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The level is none.
    #[error("log level {level:?}: {why}")]
    Level {
        /// As given.
        level: String,
        /// What is wrong with it.
        why: String,
    },
    /// Somebody else has taken the process's log already.
    #[error("logging has been started before")]
    Started,
}

/// Starts the process's log on stderr. `level` (from [`LEVEL_VARIABLE`]) wins over the configuration's.
///
/// # Errors
/// A level that is none; a second start.
pub fn start(config: &Config, level: Option<&str>) -> Result<(), Error> {
    let is_terminal = io::stderr().is_terminal();
    let json = match config.format {
        Format::Auto => !is_terminal,
        Format::Text => false,
        Format::Json => true,
    };
    let colour = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let level = level.unwrap_or(&config.level);
    subscriber(level, json, colour, io::stderr)?
        .try_init()
        .map_err(|_| Error::Started)
}

/// Whether a text is a level.
///
/// # Errors
/// What is wrong with it.
pub fn check_level(level: &str) -> Result<(), String> {
    let directives = level.trim();
    if directives.is_empty() {
        return Err("no level".to_owned());
    }
    // To the filter a misspelt level is a module's name, and everything would fall silent.
    for directive in directives.split(',').map(str::trim) {
        let known = ["off", "error", "warn", "info", "debug", "trace"]
            .iter()
            .any(|known| directive.eq_ignore_ascii_case(known));
        if !known && !directive.contains('=') && !directive.contains("::") {
            return Err(format!("unknown level `{directive}`"));
        }
    }
    EnvFilter::try_new(directives)
        .map(|_| ())
        .map_err(|error| error.to_string())
}

fn subscriber<W>(
    level: &str,
    json: bool,
    colour: bool,
    writer: W,
) -> Result<impl Subscriber + Send + Sync, Error>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
    for<'w> <W as MakeWriter<'w>>::Writer: Write,
{
    let error = |why| Error::Level {
        level: level.to_owned(),
        why,
    };
    check_level(level).map_err(error)?;
    let filter = EnvFilter::try_new(level.trim()).map_err(|why| error(why.to_string()))?;
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = if json {
        lines
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .boxed()
    } else {
        lines.with_ansi(colour).boxed()
    };
    Ok(registry()
        .with(filter)
        .with(lines.with_filter(filter_fn(is_ours_or_important))))
}

/// Other crates' debug events show what they carry, request headers included; ours carry types that print redacted.
/// So no level, however low, opens those.
fn is_ours_or_important(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let is_ours = target
        .strip_prefix("wharfinger")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    is_ours || *metadata.level() <= Level::INFO
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            format: Format::Auto,
            level: "info".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::model::Secret;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0
                .lock()
                .expect("no test panics while writing")
                .write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: &str, json: bool, work: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber =
            subscriber(level, json, false, move || writer.clone()).expect("the level is one");
        tracing::subscriber::with_default(subscriber, work);
        let bytes = lines.0.lock().expect("no test panics while writing");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[test]
    fn a_json_line_has_its_fields_at_the_top_and_no_secret() {
        let token = Secret::new("whf_s_0123456789abcdefghijABCDEFGHIJ01234567".to_owned());
        let text = logged("info", true, || {
            tracing::warn!(account.id = 7, ?token, "refused");
        });
        let line: serde_json::Value = serde_json::from_str(&text).expect("one JSON object");
        assert_eq!(line["message"], "refused");
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["account.id"], 7);
        assert_eq!(line["token"], "[redacted]");
        assert!(!text.contains("whf_s_"), "{text}");
    }

    #[test]
    fn a_text_line_has_no_escape_codes_away_from_a_terminal() {
        let text = logged("info", false, || tracing::info!(port = 9600, "listening"));
        assert!(text.contains("listening port=9600"), "{text}");
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn the_level_is_obeyed_by_module() {
        let text = logged("warn,wharfinger::control=debug", false, || {
            tracing::info!("not this");
            tracing::debug!(target: "wharfinger::control", "but this");
        });
        assert!(
            !text.contains("not this") && text.contains("but this"),
            "{text}"
        );
    }

    #[test]
    fn no_level_opens_the_debug_events_of_other_crates() {
        let text = logged("trace", false, || {
            tracing::debug!(target: "h2::hpack", "authorization: Bearer secret");
            tracing::debug!(target: "wharfingerish", "not ours either");
            tracing::warn!(target: "h2::proto", "flood");
            tracing::trace!(target: "wharfinger::gateway", "ours");
        });
        assert!(
            !text.contains("Bearer") && !text.contains("not ours"),
            "{text}"
        );
        assert!(text.contains("flood") && text.contains("ours"), "{text}");
    }

    #[test]
    fn a_misspelt_level_is_refused() {
        for wrong in ["", "inof", "info,debgu", "info,wharfinger=loud"] {
            assert!(check_level(wrong).is_err(), "{wrong}");
        }
        for right in [
            "off",
            "INFO",
            "info,wharfinger::control=debug",
            "wharfinger=trace",
        ] {
            assert_eq!(check_level(right), Ok(()), "{right}");
        }
    }
}
