//! Requests taken apart, with problems where something doesn't fit.

use std::fmt;

use axum::{
    body::to_bytes,
    extract::{FromRequest, FromRequestParts, Path, Request},
    http::{StatusCode, request::Parts},
};
use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, OneOfBuilder, RefOr, Schema, Type},
};

use super::{problem::Problem, unsaid::unsaid};
use crate::{
    clock,
    control::sayable::is_field,
    model::{Network, Sources, text::is_hidden},
};

/// Bytes of a body.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Characters of a name.
const NAME_CHARS_MAX: usize = 128;
/// Characters of a description.
const DESCRIPTION_CHARS_MAX: usize = 500;
/// Networks that a token may be bound to.
const SOURCES_MAX: usize = 64;
/// What says the end of a token.
pub(super) const EXPIRES: [&str; 2] = ["expires_at", "expires_in_seconds"];
/// How far away an end may be that is said in seconds from now. 50 years.
pub(super) const IN_SECONDS_MAX: u32 = 50 * 365 * 86_400;
/// Rows of a page, when the caller doesn't say, and at most.
const PAGE_ROWS: u32 = 100;
const PAGE_ROWS_MAX: u32 = 1000;

/// A JSON body; an empty one counts as `{}`.
pub(super) struct Body<T>(pub(super) T);

/// The same with a secret in it: what doesn't fit is not repeated.
pub(super) struct SecretBody<T>(pub(super) T);

/// No body, or `{}`.
pub(super) struct NoBody;

/// The query string.
pub(super) struct Query<T>(pub(super) T);

/// The id in the path, positive.
pub(super) struct Id(pub(super) u64);

/// The name in the path.
pub(super) struct Name(pub(super) String);

/// Something by id, or by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reference {
    Id(u64),
    Name(String),
}

/// Which rows of a list.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Page {
    after: Option<u64>,
    limit: Option<u32>,
}

// === impl Body ===

impl<S: Send + Sync, T: de::DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let bytes = buffered(request.into_body()).await?;
        object(&bytes, |error| unsaid(&error.to_string())).map(Self)
    }
}

/// What the body's object holds; `say` has the words for what doesn't fit.
fn object<T: de::DeserializeOwned>(
    bytes: &[u8],
    say: impl FnOnce(serde_json::Error) -> String,
) -> Result<T, Problem> {
    let text: &[u8] = if bytes.is_empty() { b"{}" } else { bytes };
    // Fields in a row, without their names, would fit too.
    if text.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::invalid("the body must be a JSON object"));
    }
    let read = serde_json::from_slice(text).or_else(|error| pointless(text).ok_or(error));
    read.map_err(|error| Problem::invalid(format!("the body does not fit: {}", say(error))))
}

/// The same with whole numbers that are written with a point, as some languages do: 3.0 is 3, in JSON Schema, too.
fn pointless<T: de::DeserializeOwned>(text: &[u8]) -> Option<T> {
    fn whole(value: &mut Value, count: &mut usize) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| whole(item, count)),
            Value::Object(fields) => fields.values_mut().for_each(|field| whole(field, count)),
            Value::Number(number) if number.is_f64() => {
                let float = number.as_f64().unwrap_or(f64::NAN);
                // Above that, floats are no whole numbers any more but ranges of them.
                if float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0 {
                    *number = (float as i64).into();
                    *count += 1;
                }
            }
            _ => {}
        }
    }
    let mut value = serde_json::from_slice(text).ok()?;
    let mut count = 0;
    whole(&mut value, &mut count);
    (count > 0).then(|| T::deserialize(value).ok())?
}

// === impl SecretBody ===

impl<S: Send + Sync, T: de::DeserializeOwned> FromRequest<S> for SecretBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let bytes = buffered(request.into_body()).await?;
        object(&bytes, |error| {
            let said = error.to_string();
            // The field's name is our own; any other word may be the caller's.
            if said.starts_with("missing field") {
                return said;
            }
            let (line, column) = (error.line(), error.column());
            format!("look at line {line}, column {column}")
        })
        .map(Self)
    }
}

// === impl NoBody ===

impl<S: Send + Sync> FromRequest<S> for NoBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let Body(fields) = Body::<Map<String, Value>>::from_request(request, state).await?;
        match fields.keys().next() {
            None => Ok(Self),
            Some(field) if is_field(field) => Err(Problem::invalid(format!(
                "this call takes no body, or {{}}; it knows no field {field:?}"
            ))),
            Some(_) => Err(Problem::invalid("this call takes no body, or {}")),
        }
    }
}

/// A body whole.
pub(super) async fn buffered(body: axum::body::Body) -> Result<bytes::Bytes, Problem> {
    to_bytes(body, BODY_BYTES_MAX).await.map_err(|error| {
        let is_long = std::error::Error::source(&error)
            .is_some_and(|source| source.is::<http_body_util::LengthLimitError>());
        if is_long {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "a body may have 1 MiB")
        } else {
            Problem::invalid("the body ended before its announced end")
        }
    })
}

// === impl Query ===

impl<S: Send + Sync, T: de::DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        axum::extract::Query::<T>::try_from_uri(&parts.uri)
            .map(|query| Self(query.0))
            .map_err(|error| {
                let said = unsaid(&error.to_string());
                Problem::invalid(format!("the query does not fit: {said}"))
            })
    }
}

// === impl Id ===

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Path::<String>::from_request_parts(parts, state)
            .await
            .ok()
            .and_then(|Path(text)| number(&text))
            .filter(|id| *id != 0)
            .map(Self)
            .ok_or_else(|| Problem::invalid("the id in the path must be a positive whole number"))
    }
}

// === impl Name ===

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(name)| Self(name))
            .map_err(|_| Problem::invalid("the name in the path is not UTF-8"))
    }
}

// === impl Reference ===

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Reference;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an id or a name")
            }

            fn visit_u64<E: de::Error>(self, id: u64) -> Result<Reference, E> {
                Ok(Reference::Id(id))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Reference, E> {
                // No name is such a one, and whoever says that there is none repeats it.
                if text.chars().count() > NAME_CHARS_MAX || text.chars().any(is_hidden) {
                    return Err(E::custom(format_args!(
                        "an id or a name has at most {NAME_CHARS_MAX} characters, none of them a control character or a mark of direction"
                    )));
                }
                // No name is all digits, so a number in quotes is an id.
                Ok(number(text).map_or_else(|| Reference::Name(text.to_owned()), Reference::Id))
            }
        }
        from.deserialize_any(Visitor)
    }
}

impl PartialSchema for Reference {
    fn schema() -> RefOr<Schema> {
        OneOfBuilder::new()
            .item(ObjectBuilder::new().schema_type(Type::Integer))
            .item(ObjectBuilder::new().schema_type(Type::String))
            .description(Some("A positive id, or a name"))
            .into()
    }
}

impl ToSchema for Reference {}

// === impl Page ===

impl Page {
    pub(super) fn new(after: Option<u64>, limit: Option<u32>) -> Self {
        Self { after, limit }
    }

    /// After which id, and how many rows.
    pub(super) fn bounds(&self) -> Result<(u64, u32), Problem> {
        let limit = self.limit.unwrap_or(PAGE_ROWS);
        if !(1..=PAGE_ROWS_MAX).contains(&limit) {
            return Err(Problem::invalid(format!(
                "limit must lie between 1 and {PAGE_ROWS_MAX}"
            )));
        }
        Ok((self.after.unwrap_or(0), limit))
    }
}

/// A word that is one of those.
pub(super) fn one_of(
    field: &str,
    words: &[&'static str],
    text: Option<String>,
) -> Result<Option<&'static str>, Problem> {
    let Some(text) = text else {
        return Ok(None);
    };
    let found = words.iter().find(|word| **word == text);
    found.copied().map(Some).ok_or_else(|| {
        let (last, rest) = words.split_last().unwrap_or((&"nothing", &[]));
        Problem::invalid(format!("{field} is {} or {last}", rest.join(", ")))
    })
}

/// Digits alone: "+5" reads as a number elsewhere, and may well be a name.
fn number(text: &str) -> Option<u64> {
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_digits)
}

/// For fields where null and nothing differ: `Some(None)` is null.
pub(super) fn nullable<'de, T, D>(from: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(from).map(Some)
}

/// A name that can be told from an id and be shown on one line.
pub(super) fn name(text: String) -> Result<String, Problem> {
    let is_shown = !text.chars().any(is_hidden) && text.trim() == text;
    if text.is_empty() || text.chars().count() > NAME_CHARS_MAX || !is_shown {
        return Err(Problem::invalid(format!(
            "a name has 1 to {NAME_CHARS_MAX} characters, none of them a control character or a mark of direction, \
             and no white space around it"
        )));
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Problem::invalid(
            "a name must not be all digits: it would read as an id",
        ));
    }
    Ok(text)
}

/// What people write about a thing, on one line; it may be empty.
pub(super) fn description(text: String) -> Result<String, Problem> {
    if text.chars().count() > DESCRIPTION_CHARS_MAX || text.chars().any(is_hidden) {
        return Err(Problem::invalid(format!(
            "a description has at most {DESCRIPTION_CHARS_MAX} characters, none of them a control character or a mark of direction"
        )));
    }
    Ok(text)
}

/// Networks that a token may be used from; none for anywhere.
pub(super) fn sources(texts: &[String]) -> Result<Sources, Problem> {
    if texts.is_empty() {
        return Ok(Sources::ANYWHERE);
    }
    if texts.len() > SOURCES_MAX {
        return Err(Problem::invalid(format!(
            "a token has {SOURCES_MAX} sources at most"
        )));
    }
    let mut networks: Vec<Network> = Vec::with_capacity(texts.len());
    for (at, text) in texts.iter().enumerate() {
        let network: Network = text.parse().map_err(|_| {
            Problem::invalid(format!("sources[{at}] is not a network such as 10.0.0.0/8"))
        })?;
        let canonical = network.canonical();
        if network.has_host_bits() {
            return Err(Problem::invalid(format!(
                "{network} has bits set past its prefix; the network is {canonical}"
            )));
        }
        if !networks.contains(&canonical) {
            networks.push(canonical);
        }
    }
    Ok(Sources::only(networks))
}

/// When something ends that may say it as a time, or as so many seconds from now, by these names; `None` if it says neither.
pub(super) fn end(
    [at_field, in_field]: [&str; 2],
    at: Option<&str>,
    in_seconds: Option<u32>,
) -> Result<Option<u32>, Problem> {
    match (at, in_seconds) {
        (Some(_), Some(_)) => Err(Problem::invalid(format!(
            "say {at_field} or {in_field}, not both"
        ))),
        (at, None) => at.map(seconds).transpose(),
        (None, Some(from_now)) if (1..=IN_SECONDS_MAX).contains(&from_now) => {
            Ok(Some(clock::wall_seconds().saturating_add(from_now)))
        }
        (None, Some(_)) => Err(Problem::invalid(format!(
            "{in_field} must lie between 1 and {IN_SECONDS_MAX}"
        ))),
    }
}

/// RFC 3339 in UTC as seconds since 1970.
pub(super) fn seconds(text: &str) -> Result<u32, Problem> {
    humantime::parse_rfc3339(text)
        .ok()
        .and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok())
        .and_then(|at| u32::try_from(at.as_secs()).ok())
        .filter(|seconds| *seconds != 0)
        .ok_or_else(|| {
            Problem::invalid(
                "what was given is not a time like 2030-01-31T12:00:00Z (RFC 3339, UTC, before 2106)",
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_an_id_only_when_all_of_it_is_digits() {
        for (json, id) in [("5", 5), ("\"5\"", 5), ("\"007\"", 7)] {
            let read: Reference = serde_json::from_str(json).expect(json);
            assert_eq!(read, Reference::Id(id), "{json}");
        }
        for name in [
            "+5",
            "-5",
            " 5",
            "5 ",
            "5.0",
            "0x5",
            "\u{665}",
            "18446744073709551616",
        ] {
            let read: Reference = serde_json::from_value(name.into()).expect(name);
            assert_eq!(read, Reference::Name(name.to_owned()));
        }
    }

    #[test]
    fn a_reference_is_no_longer_than_a_name_and_has_no_character_that_hides() {
        let longest = "ä".repeat(NAME_CHARS_MAX);
        let read: Reference = serde_json::from_value(longest.clone().into()).expect("fits");
        assert_eq!(read, Reference::Name(longest.clone()));
        for wrong in [
            longest + "b",
            "a\0b".to_owned(),
            "a\u{202e}b".to_owned(),
            "0".repeat(129),
        ] {
            let read = serde_json::from_value::<Reference>(wrong.clone().into());
            let why = read.expect_err(&wrong).to_string();
            assert!(!why.contains(&wrong), "{why}");
        }
    }
}
