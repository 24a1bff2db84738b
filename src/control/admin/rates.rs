//! Rates of a token as requests say them.

use serde::Deserialize;
use utoipa::ToSchema;

use super::{extract::nullable, problem::Problem};
use crate::{
    control::view::{RATE_MAX, in_bounds},
    model::{Measure, Rates},
};

/// Rates to be set; what is not named stays, and null, like 0, takes one back.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RatesBody {
    #[serde(deserialize_with = "nullable")]
    #[schema(value_type = Option<u64>)]
    requests_per_second: Option<Option<u64>>,
    /// What comes at once after a rest; without one, what comes in a second.
    #[serde(deserialize_with = "nullable")]
    #[schema(value_type = Option<u64>)]
    requests_burst: Option<Option<u64>>,
    /// Of bodies, after inflation.
    #[serde(deserialize_with = "nullable")]
    #[schema(value_type = Option<u64>)]
    bytes_per_second: Option<Option<u64>>,
    #[serde(deserialize_with = "nullable")]
    #[schema(value_type = Option<u64>)]
    bytes_burst: Option<Option<u64>>,
    /// Lines, log records, spans, data points, samples, histograms, exemplars.
    #[serde(deserialize_with = "nullable")]
    #[schema(value_type = Option<u64>)]
    items_per_second: Option<Option<u64>>,
    #[serde(deserialize_with = "nullable")]
    #[schema(value_type = Option<u64>)]
    items_burst: Option<Option<u64>>,
}

/// The same within their bounds, by measure: a rate and its burst.
pub(super) struct RatesChange([[Option<u64>; 2]; 3]);

/// A new token's.
pub(super) fn rates(body: Option<RatesBody>) -> Result<Rates, Problem> {
    let mut rates = Rates::default();
    body.unwrap_or_default().checked()?.apply(&mut rates);
    Ok(rates)
}

// === impl RatesBody ===

impl RatesBody {
    /// What it changes; refused where a number is too large.
    pub(super) fn checked(self) -> Result<RatesChange, Problem> {
        let number = |name: &str, said: Option<Option<u64>>| {
            let number = said.map(Option::unwrap_or_default);
            in_bounds(name, number.unwrap_or_default(), (0, RATE_MAX)).map_err(Problem::invalid)?;
            Ok::<_, Problem>(number)
        };
        Ok(RatesChange([
            [
                number("requests_per_second", self.requests_per_second)?,
                number("requests_burst", self.requests_burst)?,
            ],
            [
                number("bytes_per_second", self.bytes_per_second)?,
                number("bytes_burst", self.bytes_burst)?,
            ],
            [
                number("items_per_second", self.items_per_second)?,
                number("items_burst", self.items_burst)?,
            ],
        ]))
    }
}

// === impl RatesChange ===

impl RatesChange {
    pub(super) fn apply(&self, rates: &mut Rates) {
        for measure in Measure::ALL {
            let [per_second, burst] = self.0[measure.index()];
            let rate = &mut rates.0[measure.index()];
            rate.per_second = per_second.unwrap_or(rate.per_second);
            rate.burst = burst.unwrap_or(rate.burst);
        }
    }
}
