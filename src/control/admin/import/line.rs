//! One line of an import: an object, or a bare token. What is wrong with it is said without repeating it: the answer is as
//! bounded as the number of refusals, and no place is sure to have no token in it.

use serde::Deserialize;

use super::super::{
    extract::{self, Reference, description, name, sources},
    given,
    problem::Problem,
    rates::{RatesBody, rates},
    tokens::signal,
};
use crate::{
    control::store::{Details, GivenToken},
    model::Signal,
};

/// The name of a token that has none.
const NAME: &str = "imported";

/// What holds for lines that don't say it.
pub(super) struct Defaults {
    account: Option<Reference>,
    signal: Option<Signal>,
}

/// A good line.
pub(super) struct Given {
    pub(super) account: Reference,
    pub(super) token: GivenToken,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    token: String,
    account: Option<Reference>,
    signal: Option<String>,
    name: Option<String>,
    description: Option<String>,
    sources: Option<Vec<String>>,
    rates: Option<RatesBody>,
    expires_at: Option<String>,
    enabled: Option<bool>,
}

// === impl Defaults ===

impl Defaults {
    pub(super) fn new(account: Option<Reference>, signal: Option<&str>) -> Result<Self, Problem> {
        Ok(Self {
            account,
            signal: signal.map(self::signal).transpose()?,
        })
    }

    /// The line, or what is wrong with it.
    pub(super) fn read(&self, bytes: &[u8]) -> Result<Given, String> {
        let line = self.parse(bytes.trim_ascii())?;
        self.check(line)
            .map_err(|problem| problem.detail().to_owned())
    }

    fn parse(&self, bytes: &[u8]) -> Result<Line, String> {
        if bytes.starts_with(b"{") {
            // In its own words the error would repeat what stands in the wrong place, and that may be the token.
            return serde_json::from_slice(bytes).map_err(|error| {
                let column = error.column();
                format!("it is no object with the fields of a token: look at column {column}")
            });
        }
        match std::str::from_utf8(bytes) {
            Ok(token) => Ok(Line {
                token: token.to_owned(),
                ..Line::default()
            }),
            Err(_) => Err("it is neither an object nor a token".to_owned()),
        }
    }

    fn check(&self, line: Line) -> Result<Given, Problem> {
        let account = line.account.or_else(|| self.account.clone());
        let account = account.ok_or_else(|| {
            Problem::invalid("it names no account, and neither does the query (?account=)")
        })?;
        let signal = match line.signal {
            Some(text) => Some(self::signal(&text)?),
            None => self.signal,
        };
        let signal = signal.ok_or_else(|| {
            Problem::invalid("it names no signal, and neither does the query (?signal=)")
        })?;
        let expires_at = line.expires_at.as_deref().map(extract::seconds);
        let expires_at = expires_at.transpose().map_err(|_| {
            Problem::invalid(
                "expires_at is a time like 2030-01-31T12:00:00Z (RFC 3339, UTC, before 2106)",
            )
        })?;
        let sources = sources(&line.sources.unwrap_or_default()).map_err(|_| {
            Problem::invalid(
                "sources are at most 64 networks such as 10.0.0.0/8, none with bits set past its prefix",
            )
        })?;
        let token = GivenToken {
            token: given::token(line.token)?,
            signal,
            name: line.name.map_or_else(|| Ok(NAME.to_owned()), name)?,
            is_enabled: line.enabled.unwrap_or(true),
            expires_at: expires_at.unwrap_or(0),
            details: Details {
                description: description(line.description.unwrap_or_default())?,
                sources,
                rates: rates(line.rates)?,
                token: None,
            },
        };
        Ok(Given { account, token })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Measure;

    const TOKEN: &str = "0123456789abcdef";

    fn defaults() -> Defaults {
        Defaults::new(Some(Reference::Id(1)), Some("logs")).expect("good")
    }

    #[test]
    fn a_line_is_an_object_or_a_bare_token_and_what_it_says_wins() {
        let bare = defaults().read(TOKEN.as_bytes()).expect("good");
        assert_eq!(bare.account, Reference::Id(1));
        assert_eq!((bare.token.signal, &*bare.token.name), (Signal::Logs, NAME));
        let text = format!(
            r#" {{"token":"{TOKEN}","account":"acme","signal":"traces","name":"n","enabled":false,
            "sources":["192.0.2.0/24"],"expires_at":"2030-01-01T00:00:00Z","description":"d",
            "rates":{{"items_burst":7,"bytes_burst":null}}}} "#
        );
        let said = defaults().read(text.as_bytes()).expect("good");
        assert_eq!(said.account, Reference::Name("acme".to_owned()));
        assert_eq!(said.token.signal, Signal::Traces);
        assert!(!said.token.is_enabled && said.token.expires_at > 0);
        assert!(said.token.details.sources.is_restricted());
        assert_eq!(said.token.details.rates.of(Measure::Items).burst, 7);
    }

    #[test]
    fn what_is_wrong_is_said_and_the_token_is_not_repeated() {
        let without = Defaults::new(None, None).expect("good");
        assert!(without.read(TOKEN.as_bytes()).is_err());
        let secret = "whf_s_00000000000000000000000000000000000000";
        for line in [
            secret.to_owned(),
            format!("{secret}!"),
            format!("{{\"token\":\"{secret}\"}}"),
            format!("{{\"{secret}\":1}}"),
            format!("{{\"token\":\"{TOKEN}\",\"enabled\":\"{secret}\"}}"),
            format!("{{\"token\":\"{secret}"),
            "{}".to_owned(),
            "short".to_owned(),
            format!("{{\"token\":\"{TOKEN}\",\"signal\":\"smells\"}}"),
            format!("{{\"token\":\"{TOKEN}\",\"sources\":[\"10.0.0.1/8\"]}}"),
            format!("{{\"token\":\"{TOKEN}\",\"sources\":[\"{secret}\"]}}"),
            format!("{{\"token\":\"{TOKEN}\",\"rates\":{{\"bytes_burst\":1000000000001}}}}"),
            format!("{{\"token\":\"{TOKEN}\",\"rates\":{{\"{secret}\":1}}}}"),
            format!("{{\"token\":\"{TOKEN}\",\"expires_at\":\"{secret}\"}}"),
            format!("{{\"token\":\"{TOKEN}\",\"account\":\"{secret}\\u0000\"}}"),
            format!("{{\"token\":\"{TOKEN}\",\"name\":\"\"}}"),
            "whf_a_00000000000000000000000000000000000000".to_owned(),
        ] {
            let why = defaults().read(line.as_bytes()).err().expect(&line);
            assert!(!why.contains(secret), "{why}");
        }
    }
}
