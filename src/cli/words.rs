//! What the words of a command become: a list's path, and a body. What is not said stands in neither.

use serde_json::{Map, Value};

use super::access::encoded;

/// A list's path, narrowed by what is named.
pub(super) fn filtered(path: &str, filters: &[(&str, Option<String>)]) -> String {
    let named = filters
        .iter()
        .filter_map(|(key, value)| Some(format!("{key}={}", encoded(value.as_ref()?))));
    let query: Vec<String> = named.collect();
    match query.as_slice() {
        [] => path.to_owned(),
        query => format!("{path}?{}", query.join("&")),
    }
}

/// A body's fields, those that are named.
pub(super) fn fields<const N: usize>(all: [(&str, Option<Value>); N]) -> Map<String, Value> {
    all.into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect()
}

/// An object of what is named, if anything is.
pub(super) fn object(named: Vec<(String, Value)>) -> Option<Value> {
    let named: Map<_, _> = named.into_iter().collect();
    (!named.is_empty()).then_some(named.into())
}

/// A number, or a size such as 5MiB.
pub(super) fn number(text: &str) -> Option<Value> {
    let number = text.parse::<u64>().ok();
    let size = || text.parse::<bytesize::ByteSize>().ok();
    let number = number.or_else(|| size().map(|size| size.as_u64()))?;
    Some(number.into())
}
