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

/// Rooms named after `crate::` in a file's code, grouped imports included.
fn imports(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let code: String = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let (mut depth, mut name, mut at_start) = (1, String::new(), true);
            for char in group.chars() {
                match char {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 1 => at_start = true,
                    char if depth == 1 && at_start && (char.is_alphanumeric() || char == '_') => {
                        name.push(char);
                        continue;
                    }
                    _ => {}
                }
                if !name.is_empty() {
                    found.push(std::mem::take(&mut name));
                    at_start = false;
                }
                if depth == 0 {
                    break;
                }
            }
        } else {
            found.push(
                rest.chars()
                    .take_while(|char| char.is_alphanumeric() || *char == '_')
                    .collect(),
            );
        }
    }
    found
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
        for import in imports(&source) {
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
