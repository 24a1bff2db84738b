//! What few tokens have, as texts in their rows: where they may be used from, and how fast.

use serde_json::json;

use crate::{
    control::{Error, view},
    model::{Network, Rates, Sources},
};

/// With a blank between two; empty for anywhere.
pub(in crate::control::store) fn sources_text(sources: &Sources) -> String {
    let networks: Vec<_> = sources.networks().iter().map(Network::to_string).collect();
    networks.join(" ")
}

pub(super) fn sources(text: &str) -> Result<Sources, Error> {
    if text.is_empty() {
        return Ok(Sources::ANYWHERE);
    }
    let networks = text.split(' ').map(str::parse);
    let networks = networks.collect::<Result<Vec<Network>, _>>();
    networks.map(Sources::only).map_err(Error::damaged)
}

/// As a JSON object of those that there are.
pub(in crate::control::store) fn rates_text(rates: &Rates) -> String {
    json!(view::Rates::from(rates)).to_string()
}

pub(super) fn rates(text: &str) -> Result<Rates, Error> {
    // Nearly every token's; a snapshot reads millions.
    if text == "{}" {
        return Ok(Rates::default());
    }
    let rates: Result<view::Rates, _> = serde_json::from_str(text);
    rates
        .map(Rates::from)
        .map_err(|_| Error::damaged("rates of a token"))
}
