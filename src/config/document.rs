//! A TOML text with the environment laid on top, deserialized until no mistake is left to find.
//!
//! serde stops at the first error. So the item that it stopped at is noted and taken out, and the rest is tried again:
//! what passes in the end has shown every mistake on the way.

use std::{borrow::Cow, collections::BTreeMap, ops::Range};

use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
};

use super::mistake::{Mistake, Place, explain};

/// Every variable of ours begins so.
pub(super) const PREFIX: &str = "WHARFINGER_";

/// Stands between the section and the key in a variable's name.
const NESTING: &str = "__";

/// Sections within sections that a variable may name; no key lies half as deep.
const SECTIONS_MAX: usize = 8;

/// Mistakes reported at once; beyond it, the file is something else than a configuration.
const MISTAKES_MAX: usize = 200;

/// A variable that overrides a key.
struct Override<'a> {
    variable: &'a str,
    text: &'a str,
    path: Vec<String>,
}

/// The text, its items, and which item stands where.
struct Document<'a> {
    text: &'a str,
    root: DeTable<'a>,
    overrides: Vec<Override<'a>>,
    places: BTreeMap<String, Place>,
    mistakes: Vec<Mistake>,
}

/// Collects what a check finds wrong in values that are each well-formed.
pub struct Checks<'a> {
    places: &'a BTreeMap<String, Place>,
    mistakes: &'a mut Vec<Mistake>,
}

/// Deserializes a text under `WHARFINGER_SECTION__KEY` overrides.
///
/// # Errors
/// Every mistake of the text and of the overrides, in the order in which they stand.
pub fn load<T: DeserializeOwned>(
    text: &str,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<T, Vec<Mistake>> {
    load_checked(text, environment, |_, _| {})
}

/// [`load`], then a check of what only the values together can show; its mistakes join the others.
///
/// # Errors
/// Every mistake, in the order in which they stand.
pub fn load_checked<T: DeserializeOwned>(
    text: &str,
    environment: impl Iterator<Item = (String, String)>,
    check: impl FnOnce(&T, &mut Checks<'_>),
) -> Result<T, Vec<Mistake>> {
    let mut environment: Vec<_> = environment.collect();
    environment.sort();
    let mut document = Document::parse(text, &environment);
    let value = document.deserialize::<T>();
    let Document {
        places,
        mut mistakes,
        ..
    } = document;
    if let Some(value) = &value {
        check(
            value,
            &mut Checks {
                places: &places,
                mistakes: &mut mistakes,
            },
        );
    }
    match value {
        Some(value) if mistakes.is_empty() => Ok(value),
        _ => {
            mistakes.sort();
            mistakes.dedup();
            mistakes.truncate(MISTAKES_MAX);
            Err(mistakes)
        }
    }
}

// === impl Document ===

impl<'a> Document<'a> {
    fn parse(text: &'a str, environment: &'a [(String, String)]) -> Self {
        let (root, errors) = DeTable::parse_recoverable(text);
        let mut document = Self {
            text,
            root: root.into_inner(),
            overrides: Vec::new(),
            places: BTreeMap::new(),
            mistakes: Vec::new(),
        };
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            document.note(&span, String::new(), error.message());
        }
        for (variable, value) in environment {
            document.lay_on_top(variable, value);
        }
        let mut places = BTreeMap::new();
        each_item(&document.root, &mut Vec::new(), &mut |path, span| {
            places.insert(path.join("."), document.place(span));
        });
        document.places = places;
        document
    }

    /// Overrides stand behind the end of the text, each at an offset of its own, so that a span leads back to its variable.
    fn override_span(&self, index: usize) -> Range<usize> {
        let at = self.text.len() + 1 + index;
        at..at + 1
    }

    fn overridden_at(&self, span: &Range<usize>) -> Option<usize> {
        let index = span.start.checked_sub(self.text.len() + 1)?;
        (index < self.overrides.len()).then_some(index)
    }

    fn place(&self, span: &Range<usize>) -> Place {
        if let Some(index) = self.overridden_at(span) {
            return Place::Environment(self.overrides[index].variable.to_owned());
        }
        let mut at = span.start.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        let before = &self.text[..at];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place::File {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    fn note(&mut self, span: &Range<usize>, key: String, message: &str) {
        let place = self.place(span);
        // What the parser made of a broken line says nothing more about that line.
        let repeats = |other: &Mistake| match (&other.place, &place) {
            (Place::File { line: a, .. }, Place::File { line: b, .. }) => {
                a == b && other.key.is_empty()
            }
            _ => false,
        };
        if !self.mistakes.iter().any(repeats) {
            self.mistakes.push(Mistake {
                place,
                key,
                what: explain(message),
            });
        }
    }

    fn lay_on_top(&mut self, variable: &'a str, text: &'a str) {
        let Some(name) = variable.strip_prefix(PREFIX) else {
            return;
        };
        if !name.contains(NESTING) {
            return;
        }
        let path: Vec<String> = name.split(NESTING).map(str::to_ascii_lowercase).collect();
        let span = self.override_span(self.overrides.len());
        let value = match DeValue::parse(text) {
            Ok(value) => moved_to(value.into_inner(), &span),
            Err(_) => DeValue::String(Cow::Borrowed(text)),
        };
        let placed = if path.len() > SECTIONS_MAX {
            Err(name.chars().take(40).collect())
        } else {
            insert(&mut self.root, &path, Spanned::new(span.clone(), value))
        };
        self.overrides.push(Override {
            variable,
            text,
            path: path.clone(),
        });
        if let Err(obstacle) = placed {
            self.note(
                &span,
                path.join("."),
                &format!("`{obstacle}` is not a section"),
            );
        }
    }

    fn deserialize<T: DeserializeOwned>(&mut self) -> Option<T> {
        // Each round takes an item out or turns an override into text, so the rounds end.
        loop {
            let root = Spanned::new(0..self.text.len(), self.root.clone());
            let error = match T::deserialize(toml::Deserializer::from(root)) {
                Ok(value) => return Some(value),
                Err(error) => error,
            };
            let Some(span) = error.span() else {
                self.note(&(0..0), String::new(), error.message());
                return None;
            };
            if self.retry_as_text(&span, error.message()) {
                continue;
            }
            let Some(path) = remove(&mut self.root, &span) else {
                self.note(&span, String::new(), error.message());
                return None;
            };
            self.note(&span, path.join("."), error.message());
            if self.mistakes.len() >= MISTAKES_MAX {
                return None;
            }
        }
    }

    /// `WHARFINGER_GATEWAY__NAME=7` is a number to TOML and a name to the gateway: the second reading gets its chance.
    fn retry_as_text(&mut self, span: &Range<usize>, message: &str) -> bool {
        let Some(index) = self.overridden_at(span) else {
            return false;
        };
        let Override { text, path, .. } = &self.overrides[index];
        let value = DeValue::String(Cow::Borrowed(*text));
        match item_mut(&mut self.root, path) {
            Some(item) if !message.starts_with("unknown field") && !item.get_ref().is_str() => {
                *item.get_mut() = value;
                true
            }
            _ => false,
        }
    }
}

// === impl Checks ===

impl Checks<'_> {
    /// Notes that these keys don't go together; it is placed at the first of them that is stated.
    ///
    /// Nothing is noted if one of them is a mistake already: then its default was looked at, not what was meant.
    pub fn refuse(&mut self, keys: &[&str], what: impl Into<String>) {
        if self
            .mistakes
            .iter()
            .any(|mistake| keys.contains(&mistake.key.as_str()))
        {
            return;
        }
        let stated = keys
            .iter()
            .find_map(|key| Some((*key, self.places.get(*key)?)));
        let (key, place) = match stated {
            Some((key, place)) => (key, place.clone()),
            None => (keys.first().copied().unwrap_or_default(), Place::Whole),
        };
        self.mistakes.push(Mistake {
            place,
            key: key.to_owned(),
            what: what.into(),
        });
    }
}

/// The value with every span in it, keys included, at one place.
fn moved_to<'a>(value: DeValue<'a>, span: &Range<usize>) -> DeValue<'a> {
    match value {
        DeValue::Array(items) => {
            let mut moved = DeArray::new();
            for item in items {
                moved.push(Spanned::new(
                    span.clone(),
                    moved_to(item.into_inner(), span),
                ));
            }
            DeValue::Array(moved)
        }
        DeValue::Table(items) => DeValue::Table(
            items
                .into_iter()
                .map(|(key, item)| {
                    let item = moved_to(item.into_inner(), span);
                    (
                        Spanned::new(span.clone(), key.into_inner()),
                        Spanned::new(span.clone(), item),
                    )
                })
                .collect(),
        ),
        plain => plain,
    }
}

/// Puts an item at its path and makes the sections on the way; a value that stands where a section should is the error.
fn insert<'a>(
    table: &mut DeTable<'a>,
    path: &[String],
    item: Spanned<DeValue<'a>>,
) -> Result<(), String> {
    let Some((first, rest)) = path.split_first() else {
        return Ok(());
    };
    let span = item.span();
    if rest.is_empty() {
        // Taken out first: the key's span must be the variable's too.
        table.remove(first.as_str());
        table.insert(Spanned::new(span, Cow::Owned(first.clone())), item);
        return Ok(());
    }
    let section = table
        .entry(Spanned::new(span.clone(), Cow::Owned(first.clone())))
        .or_insert_with(|| Spanned::new(span, DeValue::Table(DeTable::new())));
    match section.get_mut() {
        DeValue::Table(section) => insert(section, rest, item),
        _ => Err(first.clone()),
    }
}

fn item_mut<'t, 'a>(
    table: &'t mut DeTable<'a>,
    path: &[String],
) -> Option<&'t mut Spanned<DeValue<'a>>> {
    let (first, rest) = path.split_first()?;
    let item = table.get_mut(first.as_str())?;
    if rest.is_empty() {
        return Some(item);
    }
    match item.get_mut() {
        DeValue::Table(section) => item_mut(section, rest),
        _ => None,
    }
}

/// Calls back with the path and the span of every key.
fn each_item(
    table: &DeTable<'_>,
    path: &mut Vec<String>,
    call: &mut impl FnMut(&[String], &Range<usize>),
) {
    for (key, item) in table {
        path.push(key.get_ref().to_string());
        call(path, &key.span());
        if let DeValue::Table(section) = item.get_ref() {
            each_item(section, path, call);
        }
        path.pop();
    }
}

/// Takes out the item at which an error stands, the innermost one whose key or value has that span or else contains it.
fn remove(table: &mut DeTable<'_>, span: &Range<usize>) -> Option<Vec<String>> {
    remove_where(table, &|place| place == span)
        .or_else(|| remove_where(table, &|place| place.contains(&span.start)))
}

fn remove_where(
    table: &mut DeTable<'_>,
    wanted: &impl Fn(&Range<usize>) -> bool,
) -> Option<Vec<String>> {
    let mut found = None;
    for (key, item) in table.iter_mut() {
        let name = key.get_ref().to_string();
        match item.get_mut() {
            DeValue::Table(section) => {
                if let Some(mut path) = remove_where(section, wanted) {
                    path.insert(0, name);
                    return Some(path);
                }
            }
            DeValue::Array(items) => {
                if let Some(index) = remove_element(items, wanted) {
                    return Some(vec![format!("{name}[{index}]")]);
                }
            }
            _ => {}
        }
        if wanted(&key.span()) || wanted(&item.span()) {
            found = Some(name);
            break;
        }
    }
    let name = found?;
    table.remove(name.as_str());
    Some(vec![name])
}

/// The element's number before the removal; what stands inside an element counts as the element.
fn remove_element(
    items: &mut DeArray<'_>,
    wanted: &impl Fn(&Range<usize>) -> bool,
) -> Option<usize> {
    let index = items.iter().position(|item| wanted(&item.span()))?;
    let kept = std::mem::replace(items, DeArray::new());
    for (_, item) in kept
        .into_iter()
        .enumerate()
        .filter(|(place, _)| *place != index)
    {
        items.push(item);
    }
    Some(index)
}
