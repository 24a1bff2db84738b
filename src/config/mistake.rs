//! A mistake: where it stands, at which key, and what would be right.

use std::fmt;

/// Where a mistake stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In the file, both counted from 1, the column in characters.
    File {
        /// Line.
        line: usize,
        /// Column.
        column: usize,
    },
    /// In this environment variable.
    Environment(String),
    /// Nowhere in particular.
    Whole,
}

/// One thing that must be changed before a process can start.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Where it stands.
    pub place: Place,
    /// The key with its sections, `listen.otlp_http`; empty if it concerns none.
    pub key: String,
    /// What is wrong and what was expected.
    pub what: String,
}

impl Mistake {
    /// One that concerns the file as such.
    pub fn whole_file(what: String) -> Self {
        Self {
            place: Place::Whole,
            key: String::new(),
            what,
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::File { line, column } => write!(f, "{line}:{column}: ")?,
            Place::Environment(name) => write!(f, "{name}: ")?,
            Place::Whole => {}
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.what)
    }
}

/// What serde says, in the words of a configuration file, with the nearest known name if one is near.
pub(super) fn explain(message: &str) -> String {
    let message = message.trim_end().replace('\n', " ");
    let Some((kind, rest)) = ["unknown field `", "unknown variant `"]
        .iter()
        .zip(["unknown key", "unknown value"])
        .find_map(|(start, kind)| Some((kind, message.strip_prefix(start)?)))
    else {
        return message;
    };
    let Some((given, expected)) = rest.split_once('`') else {
        return message;
    };
    let expected = expected.trim_start_matches(", ");
    let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    let given_text = if kind == "unknown value" {
        format!(" `{given}`")
    } else {
        String::new()
    };
    match nearest(given, &known) {
        Some(name) => format!("{kind}{given_text}, {expected} (did you mean `{name}`?)"),
        None => format!("{kind}{given_text}, {expected}"),
    }
}

/// The known name that a typo most likely meant: at most a third of its characters differ.
fn nearest<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|name| (distance(given, name), *name))
        .filter(|(distance, name)| *distance <= (name.len() / 3).max(1))
        .min()
        .map(|(_, name)| name)
}

/// Insertions, deletions, substitutions and swaps of neighbours that make one text the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = usize::from(a[i - 1] != b[j - 1]);
            let mut least = (rows[i - 1][j - 1] + changed)
                .min(rows[i - 1][j] + 1)
                .min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_is_answered_with_the_nearest_known_name() {
        let known = ["otlp_grpc", "otlp_http", "bulk"];
        assert_eq!(nearest("otlp_htpp", &known), Some("otlp_http"));
        assert_eq!(nearest("blk", &known), Some("bulk"));
        assert_eq!(nearest("elastic", &known), None);
        assert_eq!(nearest("", &known), None);
    }

    #[test]
    fn neighbours_swapped_are_one_step() {
        assert_eq!(distance("htpt", "http"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
    }
}
