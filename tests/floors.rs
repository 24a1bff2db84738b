//! The house holds: who may import whom, how long a file may be, and in which order modules stand.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Floor by floor, what each room may import from the crate. `app`, `cli` and `main` may import everything.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("clock", &[]),
    ("operate", &["model"]),
    ("wire", &["model"]),
    ("rpc", &["model"]),
    ("directory", &["model", "clock", "operate", "rpc"]),
    (
        "gateway",
        &["model", "clock", "operate", "wire", "directory"],
    ),
    ("control", &["model", "clock", "operate", "rpc"]),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The room a file belongs to: the first part of its path below `src`.
fn room(path: &Path) -> String {
    let inside = path
        .strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))
        .expect("below src");
    let first = inside.iter().next().expect("has a name").to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// A file's path as modules, itself included: `src/gateway/listen/gate.rs` is `gateway::listen::gate`.
fn modules(path: &Path) -> Vec<String> {
    let inside = path
        .strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))
        .expect("below src")
        .with_extension("");
    let names = inside
        .iter()
        .map(|name| name.to_string_lossy().into_owned());
    names
        .filter(|name| name != "lib" && name != "main")
        .collect()
}

/// A file's code as words and single signs; `::` is one sign, and literals and comments are none.
fn words(source: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let is_word = |char: char| char.is_alphanumeric() || char == '_';
        let quoted = |text: &str| {
            let mut is_escaped = false;
            let end = text.char_indices().skip(1).find(|(_, char)| {
                let is_end = *char == '"' && !is_escaped;
                is_escaped = *char == '\\' && !is_escaped;
                is_end
            });
            end.map_or(text.len(), |(at, _)| at + 1)
        };
        let raw = rest
            .strip_prefix('r')
            .map(|raw| raw.trim_start_matches('#'));
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(raw) = raw.filter(|raw| raw.starts_with('"')) {
            let end = format!("\"{}", "#".repeat(rest.len() - raw.len() - 1));
            let before = rest.len() - raw.len() + 1;
            rest[before..].find(&end).expect("it ends") + before + end.len()
        } else if first == '"' {
            quoted(rest)
        } else if ["'\"'", "'{'", "'}'", "'\\''"]
            .iter()
            .any(|char| rest.starts_with(char))
        {
            rest[1..]
                .find("',")
                .or(rest[1..].find('\''))
                .map_or(1, |at| at + 2)
        } else if rest.starts_with("::") {
            2
        } else if is_word(first) {
            rest.find(|char| !is_word(char)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let is_code = !first.is_whitespace() && first != '"' && !rest.starts_with("//");
        if is_code {
            found.push(&rest[..length]);
        }
        rest = &rest[length..];
    }
    found
}

/// Rooms that a file's code names by a path from the root, whether it goes there by `crate::` or by `super::`, grouped
/// imports and modules within the file included.
fn imports(modules: &[String], source: &str) -> Vec<String> {
    let words = words(source);
    let mut found = Vec::new();
    // The modules around this place, and how deep in braces each of those within the file began.
    let mut place = modules.to_vec();
    let mut inner = Vec::new();
    let mut depth = 0;
    let mut at = 0;
    while at < words.len() {
        match words[at] {
            "{" => {
                depth += 1;
                if at >= 2 && words[at - 2] == "mod" {
                    place.push(words[at - 1].to_owned());
                    inner.push(depth);
                }
            }
            "}" => {
                if inner.last() == Some(&depth) {
                    inner.pop();
                    place.pop();
                }
                depth -= 1;
            }
            "crate" | "super" if words.get(at + 1) == Some(&"::") => {
                let before = at.checked_sub(1).map_or("", |before| words[before]);
                if before != "::" {
                    let length = follow(&words[at..], place.clone(), &mut found);
                    if before == "use" {
                        // What stands in the tree has been followed.
                        at += length;
                        continue;
                    }
                }
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Follows a path or a tree of them; gives how many words it took.
fn follow(words: &[&str], mut place: Vec<String>, found: &mut Vec<String>) -> usize {
    let mut at = 0;
    loop {
        match words[at] {
            "crate" => place.clear(),
            "super" => drop(place.pop()),
            "self" => {}
            "{" => {
                at += 1;
                while words[at] != "}" {
                    at += match words[at] {
                        "," => 1,
                        _ => follow(&words[at..], place.clone(), found),
                    };
                }
                return at + 1;
            }
            name => {
                // The rest of the path stays in its room.
                found.push(place.first().map_or(name, String::as_str).to_owned());
                return at + path_length(&words[at..]);
            }
        }
        if words.get(at + 1) != Some(&"::") {
            found.extend(place.first().cloned());
            return at + path_length(&words[at..]);
        }
        at += 2;
    }
}

/// The words until a path ends, within a tree or without one.
fn path_length(words: &[&str]) -> usize {
    let mut depth = 0;
    for (at, word) in words.iter().enumerate() {
        match *word {
            "{" => depth += 1,
            "}" if depth > 0 => depth -= 1,
            "}" | "," | ";" if depth == 0 => return at,
            _ => {}
        }
    }
    words.len()
}

#[test]
fn a_path_is_followed_however_it_is_written() {
    let file = ["gateway", "listen", "gate"].map(str::to_owned);
    for (source, rooms) in [
        ("use crate::operate::metrics::CUTS;", &["operate"][..]),
        ("use super::super::super::control::Control;", &["control"]),
        ("use super::limits::Config;", &["gateway"]),
        (
            "use crate::{model::{A, B}, control, wire::x};",
            &["model", "control", "wire"],
        ),
        (
            "use super::{limits, super::{super::control::Control, doors}};",
            &["gateway", "control", "gateway"],
        ),
        (
            "use super::super::{listen, super::rpc::convert};",
            &["gateway", "rpc"],
        ),
        (
            "fn x() -> super::super::super::control::X { }",
            &["control"],
        ),
        (
            "mod tests { use super::super::super::control::X; }",
            &["gateway"],
        ),
        (
            "mod tests { use super::super::super::super::control::X; }",
            &["control"],
        ),
        (
            "mod a { } use super::super::super::control::X;",
            &["control"],
        ),
        (
            "// use crate::control::X;\nlet it = \"crate::control\";",
            &[],
        ),
        (
            "let it = r#\"\" crate::control\"#; let c = '\"'; crate::rpc::x();",
            &["rpc"],
        ),
        ("pub(crate) fn x() {} pub(super) struct Y;", &[]),
    ] {
        assert_eq!(imports(&file, source), rooms, "{source}");
    }
}

fn all() -> Vec<(PathBuf, String)> {
    let mut paths = Vec::new();
    sources(
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")),
        &mut paths,
    );
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("readable");
            (path, text)
        })
        .collect()
}

#[test]
fn every_room_imports_only_from_the_floors_below_it() {
    let allowed: BTreeMap<_, _> = MAY_IMPORT.iter().copied().collect();
    let mut crossings = Vec::new();
    let mut checked = 0;
    for (path, source) in all() {
        let room = room(&path);
        let Some(allowed) = allowed.get(room.as_str()) else {
            continue;
        };
        for import in imports(&modules(&path), &source) {
            checked += 1;
            if import != room && !allowed.contains(&import.as_str()) {
                crossings.push(format!("{}: {room} imports {import}", path.display()));
            }
        }
    }
    assert!(checked > 50, "only {checked} imports were seen");
    assert!(crossings.is_empty(), "{crossings:#?}");
}

#[test]
fn no_file_is_longer_than_500_lines() {
    let long: Vec<_> = all()
        .into_iter()
        .map(|(path, source)| (source.lines().count(), path))
        .filter(|(lines, _)| *lines > 500)
        .collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn every_file_begins_with_a_sentence_about_itself() {
    for (path, source) in all() {
        assert!(source.starts_with("//! "), "{}", path.display());
    }
}
