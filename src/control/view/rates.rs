//! A token's rates as they are shown, and as they stand in the store: those that there are.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{self, Measure, Rate};

/// More than anything sends, and far from where sums would overflow.
pub(in crate::control) const RATE_MAX: u64 = 1_000_000_000_000;

/// How fast a token's payloads may come, beside its account's rates; what is not there has no rate. A burst is what comes at once
/// after a rest; without one, it is what comes in a second.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::control) struct Rates {
    #[serde(skip_serializing_if = "Option::is_none")]
    requests_per_second: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requests_burst: Option<u64>,
    /// Of bodies, after inflation.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_per_second: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_burst: Option<u64>,
    /// Lines, log records, spans, data points, samples, histograms, exemplars.
    #[serde(skip_serializing_if = "Option::is_none")]
    items_per_second: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    items_burst: Option<u64>,
}

// === impl Rates ===

impl From<&model::Rates> for Rates {
    fn from(rates: &model::Rates) -> Self {
        let some = |number: u64| (number != 0).then_some(number);
        let [requests, bytes, items] = Measure::ALL.map(|measure| rates.of(measure));
        Self {
            requests_per_second: some(requests.per_second),
            requests_burst: some(requests.burst),
            bytes_per_second: some(bytes.per_second),
            bytes_burst: some(bytes.burst),
            items_per_second: some(items.per_second),
            items_burst: some(items.burst),
        }
    }
}

impl From<Rates> for model::Rates {
    fn from(rates: Rates) -> Self {
        let rate = |per_second: Option<u64>, burst: Option<u64>| Rate {
            per_second: per_second.unwrap_or(0),
            burst: burst.unwrap_or(0),
        };
        Self([
            rate(rates.requests_per_second, rates.requests_burst),
            rate(rates.bytes_per_second, rates.bytes_burst),
            rate(rates.items_per_second, rates.items_burst),
        ])
    }
}
