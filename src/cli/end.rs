//! When something ends, as a person says it.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

use crate::clock;

/// What the control plane takes: fifty years.
const LONGEST: Duration = Duration::from_secs(50 * 365 * 86_400);

/// Of what is made: the control plane counts from its own now, so that the same words are the same request.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// RFC 3339.
    At(String),
    /// So many seconds from now.
    In(u64),
}

// === impl End ===

impl End {
    /// For a command line.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match humantime::parse_duration(text) {
            Ok(from_now) if from_now < Duration::from_secs(1) => {
                Err("is less than a second".to_owned())
            }
            Ok(from_now) if from_now > LONGEST => Err("is too far away".to_owned()),
            Ok(from_now) => Ok(Self::In(from_now.as_secs())),
            Err(_) => time(text).map(Self::At),
        }
    }

    /// The field of a body that says it: `at` is for times, `within` for seconds.
    pub(super) fn field<'a>(
        end: Option<Self>,
        at: &'a str,
        within: &'a str,
    ) -> (&'a str, Option<Value>) {
        match end {
            None => (at, None),
            Some(Self::At(time)) => (at, Some(time.into())),
            Some(Self::In(seconds)) => (within, Some(seconds.into())),
        }
    }
}

/// Of what is changed: a time, so that doing it again changes nothing more.
pub(super) fn time(text: &str) -> Result<String, String> {
    if let Ok(time) = humantime::parse_rfc3339(text) {
        return Ok(humantime::format_rfc3339_seconds(time).to_string());
    }
    let from_now = humantime::parse_duration(text)
        .map_err(|_| "expected a duration such as 30d or a time such as 2027-01-31T00:00:00Z")?;
    let time = UNIX_EPOCH
        .checked_add(clock::wall())
        .and_then(|now| now.checked_add(from_now))
        .filter(|_| from_now < Duration::from_secs(1000 * 366 * 86_400))
        .ok_or("is too far away")?;
    Ok(humantime::format_rfc3339_seconds(time).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_words_are_the_same_request() {
        let said =
            |text: &str| End::field(End::parse(text).ok(), "expires_at", "expires_in_seconds");
        assert_eq!(said("30d"), ("expires_in_seconds", Some(2_592_000.into())));
        let time = "2027-01-31T00:00:00Z";
        assert_eq!(said(time), ("expires_at", Some(time.into())));
        for wrong in ["soon", "500ms", "0s", "100years"] {
            assert!(End::parse(wrong).is_err(), "{wrong}");
        }
        assert!(time_of("30d").ends_with('Z'));
    }

    fn time_of(text: &str) -> String {
        time(text).expect("a time")
    }
}
