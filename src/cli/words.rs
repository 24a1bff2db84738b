//! What the words of a command become.

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
