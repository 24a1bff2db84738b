//! Durations in configuration: `"5s"`, `"24h"`, `"250ms"`.

use std::{borrow::Cow, time::Duration};

use serde::{Deserialize, Deserializer, de::Error as _};

/// For `#[serde(with = "...")]`.
///
/// # Errors
/// Anything that isn't a number with a unit.
pub fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
    let text = Cow::<'_, str>::deserialize(input)?;
    humantime::parse_duration(&text)
        .map_err(|error| D::Error::custom(format!("{error}: write durations as \"5s\" or \"24h\"")))
}
