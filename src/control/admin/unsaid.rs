//! What a parser says of a mistake, without the caller's own words: a token may have been pasted into the wrong place, and an
//! answer is kept by more than its caller.

use crate::control::sayable::is_field;

/// What comes before a word of the caller's.
const UNKNOWN: [&str; 2] = ["unknown field `", "unknown variant `"];
const INVALID: [&str; 2] = ["invalid type: ", "invalid value: "];
/// What comes after it, and before our own.
const EXPECTED: &str = ", expected ";
/// In front of what is wrong with a query.
const QUERY: &str = "Failed to deserialize query string: ";

/// What a parser has said, without what the caller has written, but for names of fields.
pub(super) fn unsaid(said: &str) -> String {
    let query = said.strip_prefix(QUERY);
    let said = query.unwrap_or(said);
    let markers = UNKNOWN.iter().chain(&INVALID);
    let found = markers.filter_map(|marker| Some((said.find(marker)?, *marker)));
    let Some((at, marker)) = found.min() else {
        // It is about what comes after a parameter's name, or about the text as a whole.
        return match said.split_once(": ") {
            Some((name, why)) if query.is_some() && !is_field(name) => why.to_owned(),
            _ => said.to_owned(),
        };
    };
    let before = said[..at].strip_suffix(": ").filter(|name| is_field(name));
    let theirs = &said[at + marker.len()..];
    let (theirs, expected) = theirs.rsplit_once(EXPECTED).unwrap_or((theirs, ""));
    let mut text = before.map_or_else(String::new, |name| format!("{name}: "));
    match marker.strip_suffix(" `") {
        Some(what) => {
            text.push_str(what);
            let name = theirs.trim_end_matches('`');
            if what == "unknown field" && is_field(name) {
                text.push_str(&format!(" `{name}`"));
            }
        }
        None => {
            text.push_str(marker);
            text.push_str(kind(theirs));
        }
    }
    if !expected.is_empty() {
        text.push_str(EXPECTED);
        text.push_str(expected);
    }
    text
}

/// What something is that a parser shows as it stands there.
fn kind(shown: &str) -> &'static str {
    [
        "string",
        "integer",
        "floating point",
        "boolean",
        "null",
        "sequence",
        "map",
        "number",
    ]
    .into_iter()
    .find(|kind| shown.starts_with(kind))
    .unwrap_or("something else")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "whf_s_0123456789abcdefghijABCDEFGHIJ0123456789";

    #[test]
    fn a_mistake_is_told_without_the_word_that_is_wrong() {
        for (said, told) in [
            (
                format!("invalid type: string \"{TOKEN}\", expected u64 at line 1 column 5"),
                "invalid type: string, expected u64 at line 1 column 5",
            ),
            (
                format!("invalid type: string \"{TOKEN}, expected {TOKEN}\", expected u64"),
                "invalid type: string, expected u64",
            ),
            (
                "invalid value: integer `-1`, expected u64".to_owned(),
                "invalid value: integer, expected u64",
            ),
            (
                format!("unknown variant `{TOKEN}`, expected `a` or `b`"),
                "unknown variant, expected `a` or `b`",
            ),
            (
                "unknown field `expires`, expected `a` or `b`".to_owned(),
                "unknown field `expires`, expected `a` or `b`",
            ),
            (
                format!("unknown field `{TOKEN}`, expected one of `a`, `b`"),
                "unknown field, expected one of `a`, `b`",
            ),
            (
                format!("{QUERY}{TOKEN}: unknown field `{TOKEN}`, expected `a`"),
                "unknown field, expected `a`",
            ),
            (
                format!("{QUERY}wait: unknown variant `{TOKEN}`, expected `enforced`"),
                "wait: unknown variant, expected `enforced`",
            ),
            (
                format!("{QUERY}limit: invalid digit found in string"),
                "limit: invalid digit found in string",
            ),
            (
                "EOF while parsing an object at line 1 column 3".to_owned(),
                "EOF while parsing an object at line 1 column 3",
            ),
        ] {
            assert_eq!(unsaid(&said), told, "{said}");
        }
    }
}
