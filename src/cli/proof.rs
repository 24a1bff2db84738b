//! The proof that a change is enforced, as an answer has it.

use std::fmt::Write;

use serde_json::Value;

use super::{access::Failure, output};

/// In words, where the answer has one.
pub(super) fn words(object: &Value) -> Option<String> {
    let enforcement = object.get("enforcement")?;
    let count = |key: &str| enforcement[key].as_u64().unwrap_or(0);
    let mut sentence = format!(
        "revision {}: enforced on {} of {} gateways",
        count("revision"),
        count("enforced"),
        count("gateways")
    );
    if let Some(slowest) = enforcement["slowest_ms"].as_u64() {
        let _ = write!(sentence, ", the slowest after {slowest} ms");
    }
    match enforcement.get("last_accepted_at") {
        None => {}
        Some(Value::String(at)) => {
            let _ = write!(sentence, ", last accepted at {}", output::plain(at));
        }
        Some(_) => sentence.push_str(", no acceptance known"),
    }
    Some(sentence)
}

/// An error if the answer names gateways that have not confirmed the change.
pub(super) fn holds(object: &Value) -> Result<(), Failure> {
    let laggards = object["enforcement"]["laggards"].as_array();
    let names: Vec<String> = laggards
        .into_iter()
        .flatten()
        .map(|name| output::plain(name.as_str().unwrap_or("?")))
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(Failure::NotEnforced(format!(
        "changed, but not yet enforced on {}",
        names.join(", ")
    )))
}
