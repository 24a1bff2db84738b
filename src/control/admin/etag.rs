//! Entity tags: what a caller has read already is not sent again, and what somebody else has changed is not overwritten.
//!
//! `"7.0f1e2d3c4b5a6978"` is what `GET` shows of version 7, hashed: last uses and what is inherited come and go without a
//! change of the thing itself. `"7"` is what a change answers. `If-None-Match` looks at the whole tag, `If-Match` at the
//! version before the dot, inside the transaction that makes the change.

use axum::{
    body::{Body, to_bytes},
    extract::FromRequestParts as _,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};

use super::{
    extract::Id,
    problem::Problem,
    rule::{Concerns, Rule},
};
use crate::control::{
    Control, Error,
    terms::{Kind, Object, Subject},
};

/// What stands in `If-Match` or `If-None-Match`.
#[derive(Debug, PartialEq, Eq)]
enum Tags {
    Any,
    These(Vec<Tag>),
}

#[derive(Debug, PartialEq, Eq)]
struct Tag {
    is_weak: bool,
    opaque: String,
}

/// What has a version and stands in the route's path.
pub(in crate::control) fn kind(rule: &Rule) -> Option<Kind> {
    if !rule.path.contains("{id}") {
        return None;
    }
    match rule.concerns {
        Concerns::Account => Some(Kind::Account),
        Concerns::Token => Some(Kind::Token),
        Concerns::ApiToken => Some(Kind::ApiToken),
        Concerns::User => Some(Kind::User),
        Concerns::SharedToken => Some(Kind::SharedToken),
        Concerns::SharedFilter => Some(Kind::SharedFilter),
        Concerns::Nothing | Concerns::Listed | Concerns::Stated | Concerns::Lines => rule
            .path
            .starts_with("/destinations/")
            .then_some(Kind::Destination),
    }
}

/// Whether the route shows a thing that has a version, and nothing else.
pub(in crate::control) fn shows(rule: &Rule) -> bool {
    rule.method == "get" && rule.path.ends_with("/{id}") && kind(rule).is_some()
}

/// The tag that a change answers with.
pub(super) fn of(version: u64) -> String {
    format!("\"{version}\"")
}

/// What a request is to change, and which versions of it.
pub(super) async fn subject(
    control: &Control,
    rule: &Rule,
    parts: &mut Parts,
) -> Result<Option<Subject>, Problem> {
    if parts.headers.contains_key(header::IF_NONE_MATCH) {
        return Err(Problem::invalid(
            "If-None-Match is for reading; a change takes If-Match",
        ));
    }
    let tags = read(&parts.headers, header::IF_MATCH)?;
    let Some(kind) = kind(rule) else {
        return match tags {
            None | Some(Tags::Any) => Ok(None),
            Some(Tags::These(_)) => Err(Problem::new(
                StatusCode::PRECONDITION_FAILED,
                "what this call changes has no ETag; leave If-Match out",
            )),
        };
    };
    let Id(id) = Id::from_request_parts(parts, control).await?;
    let seen = match tags {
        None | Some(Tags::Any) => None,
        Some(Tags::These(tags)) => Some(tags.iter().filter_map(Tag::version).collect()),
    };
    Ok(Some(Subject::new(Object { kind, id }, seen)))
}

/// The answer to a change with the tag of what it has made of the thing; what is made beside it has a tag of its own.
pub(super) fn changed(rule: &Rule, subject: &Subject, mut answer: Response) -> Response {
    if answer.status().is_success()
        && !rule.makes()
        && let Some(version) = subject.version()
    {
        put(answer.headers_mut(), &of(version));
    }
    answer
}

/// The version of what a route shows; to be asked before it is shown, so that no older state gets a newer version.
pub(super) async fn version(
    control: &Control,
    rule: &Rule,
    parts: &mut Parts,
) -> Result<Option<u64>, Error> {
    let kind = kind(rule).filter(|_| shows(rule));
    let (Some(kind), Ok(Id(id))) = (kind, Id::from_request_parts(parts, control).await) else {
        return Ok(None);
    };
    control.inner.store.version(Object { kind, id }).await
}

/// The answer to a `GET` with its tag; nothing but the tag when the caller has it already.
pub(super) async fn shown(
    version: Option<u64>,
    asked: &HeaderMap,
    answer: Response,
) -> Result<Response, Problem> {
    if answer.status() != StatusCode::OK {
        return Ok(answer);
    }
    let (mut parts, body) = answer.into_parts();
    // It is in memory already: handlers make their answers whole.
    let body = to_bytes(body, usize::MAX)
        .await
        .map_err(|_| Problem::invalid("the answer can't be read"))?;
    let hash = blake3::hash(&body).to_hex();
    let tag = match version {
        Some(version) => format!("{version}.{}", &hash[..16]),
        None => hash[..16].to_owned(),
    };
    put(&mut parts.headers, &format!("\"{tag}\""));
    let is_known = match read(asked, header::IF_NONE_MATCH)? {
        None => false,
        Some(Tags::Any) => true,
        // Weakly compared, as RFC 9110 wants it here.
        Some(Tags::These(tags)) => tags.iter().any(|known| known.opaque == tag),
    };
    if is_known {
        parts.headers.remove(header::CONTENT_TYPE);
        parts.headers.remove(header::CONTENT_LENGTH);
        return Ok((StatusCode::NOT_MODIFIED, parts.headers).into_response());
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn put(headers: &mut HeaderMap, tag: &str) {
    if let Ok(tag) = HeaderValue::from_str(tag) {
        headers.insert(header::ETAG, tag);
    }
}

/// `None` when there is no such header.
fn read(headers: &HeaderMap, name: HeaderName) -> Result<Option<Tags>, Problem> {
    let mut found: Option<Tags> = None;
    for value in headers.get_all(&name) {
        let tags = value.to_str().ok().and_then(parse).ok_or_else(|| {
            Problem::invalid(format!(
                "{name} is * or a list of ETags like \"7\", in quotes"
            ))
        })?;
        found = Some(match (found, tags) {
            (None, tags) => tags,
            (Some(Tags::These(mut all)), Tags::These(more)) => {
                all.extend(more);
                Tags::These(all)
            }
            _ => return Err(Problem::invalid(format!("{name} is * or a list, not both"))),
        });
    }
    Ok(found)
}

fn parse(text: &str) -> Option<Tags> {
    let mut rest = text.trim();
    if rest == "*" {
        return Some(Tags::Any);
    }
    let mut tags = Vec::new();
    loop {
        // Elements of a list may be empty, and the list may be (RFC 9110, 5.6.1): it names nothing.
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return Some(Tags::These(tags));
        }
        let is_weak = rest.starts_with("W/");
        let quoted = rest.strip_prefix("W/").unwrap_or(rest).strip_prefix('"')?;
        let (opaque, after) = quoted.split_once('"')?;
        rest = after.trim_start();
        if opaque.contains(char::is_whitespace) || !(rest.is_empty() || rest.starts_with(',')) {
            return None;
        }
        tags.push(Tag {
            is_weak,
            opaque: opaque.to_owned(),
        });
    }
}

// === impl Tag ===

impl Tag {
    /// Of which version it is; a weak tag proves nothing, and a strange one is of none.
    fn version(&self) -> Option<u64> {
        let (version, _) = self.opaque.split_once('.').unwrap_or((&self.opaque, ""));
        let is_number = version.bytes().all(|byte| byte.is_ascii_digit());
        version.parse().ok().filter(|_| is_number && !self.is_weak)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_tags_is_read_as_rfc_9110_writes_it_and_nothing_else_is() {
        let versions = |text| match parse(text) {
            Some(Tags::These(tags)) => Some(tags.iter().map(Tag::version).collect::<Vec<_>>()),
            _ => None,
        };
        assert_eq!(parse(" * "), Some(Tags::Any));
        for (text, expected) in [
            ("\"7\"", vec![Some(7)]),
            ("\"7.0f\" ,\t\"8\"", vec![Some(7), Some(8)]),
            ("W/\"7\"", vec![None]),
            ("\"\"", vec![None]),
            ("\"a,b\",\"+7\",\"9\"", vec![None, None, Some(9)]),
            ("\"18446744073709551616\"", vec![None]),
            ("", vec![]),
            (" , \"7\",, ", vec![Some(7)]),
        ] {
            assert_eq!(versions(text), Some(expected), "{text}");
        }
        for text in [
            "7",
            "\"7",
            "7\"",
            "w/\"7\"",
            "\"7\" \"8\"",
            "*,\"7\"",
            "\"7 8\"",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
