//! What a body is, by its headers: content type and encoding, held against what the door takes.

use http::{HeaderMap, HeaderName, HeaderValue, Request, header};

use crate::{
    gateway::doors::{self, Entrance},
    model::{Content, Door, Encoding, Rejection},
};

/// The content and how it is compressed.
///
/// # Errors
/// [`Rejection::UnsupportedContentType`], [`Rejection::UnsupportedEncoding`].
pub(super) fn read(
    head: &Request<impl Sized>,
    entrance: Entrance,
) -> Result<(Content, Encoding), Rejection> {
    let headers = head.headers();
    match entrance.door {
        // Shippers send text/plain, application/json, form types or nothing for the same lines.
        Door::Bulk => Ok((
            Content::Lines,
            encoding(headers, &header::CONTENT_ENCODING)?,
        )),
        Door::OtlpHttp => Ok((
            otlp_content(headers)?,
            encoding(headers, &header::CONTENT_ENCODING)?,
        )),
        Door::OtlpGrpc => {
            if !doors::is_grpc(head) {
                return Err(Rejection::UnsupportedContentType);
            }
            let name = HeaderName::from_static("grpc-encoding");
            Ok((Content::OtlpProtobuf, encoding(headers, &name)?))
        }
        Door::RemoteWrite => Ok((write_content(headers)?, write_encoding(headers)?)),
    }
}

/// The essence of the content type in lower case, and its parameters as they came.
fn content_type(headers: &HeaderMap) -> Option<(String, &str)> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let (essence, parameters) = value.split_once(';').unwrap_or((value, ""));
    Some((essence.trim().to_ascii_lowercase(), parameters))
}

/// Whether an OTLP/HTTP request is in JSON; its answer then is too.
pub(in crate::gateway) fn is_json(headers: &HeaderMap) -> bool {
    content_type(headers).is_some_and(|(essence, _)| essence == "application/json")
}

/// Whether a remote-write request speaks 2.0; its answers then carry `Written` headers.
pub(in crate::gateway) fn is_write_2(headers: &HeaderMap) -> bool {
    write_content(headers) == Ok(Content::RemoteWrite2)
}

fn otlp_content(headers: &HeaderMap) -> Result<Content, Rejection> {
    match content_type(headers) {
        Some((essence, _)) if essence == "application/x-protobuf" => Ok(Content::OtlpProtobuf),
        Some((essence, _)) if essence == "application/json" => Ok(Content::OtlpJson),
        _ => Err(Rejection::UnsupportedContentType),
    }
}

/// Without a content type it is 1.0, as Prometheus' own receiver takes it.
fn write_content(headers: &HeaderMap) -> Result<Content, Rejection> {
    if !headers.contains_key(header::CONTENT_TYPE) {
        return Ok(Content::RemoteWrite1);
    }
    let (essence, parameters) = content_type(headers).ok_or(Rejection::UnsupportedContentType)?;
    if essence != "application/x-protobuf" {
        return Err(Rejection::UnsupportedContentType);
    }
    let schema = parameters
        .split(';')
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("proto"))
        .map(|(_, value)| value.trim().trim_matches('"'));
    match schema {
        None | Some("prometheus.WriteRequest") => Ok(Content::RemoteWrite1),
        Some("io.prometheus.write.v2.Request") => Ok(Content::RemoteWrite2),
        Some(_) => Err(Rejection::UnsupportedContentType),
    }
}

fn encoding(headers: &HeaderMap, name: &HeaderName) -> Result<Encoding, Rejection> {
    match single(headers, name)? {
        None => Ok(Encoding::Identity),
        Some(value) if value.is_empty() || value.eq_ignore_ascii_case(b"identity") => {
            Ok(Encoding::Identity)
        }
        Some(value) if value.eq_ignore_ascii_case(b"gzip") => Ok(Encoding::Gzip),
        Some(value) if value.eq_ignore_ascii_case(b"zstd") => Ok(Encoding::Zstd),
        Some(_) => Err(Rejection::UnsupportedEncoding),
    }
}

/// Layered encodings are nobody's habit and a bomb's shape.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a [u8]>, Rejection> {
    let mut values = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(Rejection::UnsupportedEncoding),
    }
}

/// Snappy unless said otherwise, as Prometheus' own receiver takes it; vmagent sends zstd.
fn write_encoding(headers: &HeaderMap) -> Result<Encoding, Rejection> {
    match single(headers, &header::CONTENT_ENCODING)? {
        None => Ok(Encoding::Snappy),
        Some(value) if value.is_empty() || value.eq_ignore_ascii_case(b"snappy") => {
            Ok(Encoding::Snappy)
        }
        Some(value) if value.eq_ignore_ascii_case(b"zstd") => Ok(Encoding::Zstd),
        Some(_) => Err(Rejection::UnsupportedEncoding),
    }
}
