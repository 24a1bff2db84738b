//! What hyper lets pass and another reader on the way could understand differently, or that costs too much.
//!
//! `Upgrade` is ignored, as a server may: Java's client offers h2c with every first request.

use http::{
    HeaderMap, Method, Request, Version,
    header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING},
    uri::{Authority, Scheme},
};

use super::limits::Config;
use crate::model::Rejection;

/// Left on a request whose head was ambiguous before hyper made it plain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flaw(pub(super) &'static str);

/// Is the request framed so that everybody reads it alike, and within the limits?
///
/// # Errors
/// [`Rejection::BadFraming`], which says what is wrong; the connection then owes a
/// [`leave`](super::Connection::leave).
#[allow(
    clippy::result_large_err,
    reason = "the gateway's one error, made once and never on the good path"
)]
pub fn check<B>(request: &Request<B>, config: &Config) -> Result<(), Rejection> {
    judge(request, config).map_err(Rejection::BadFraming)
}

fn judge<B>(request: &Request<B>, config: &Config) -> Result<(), &'static str> {
    if let Some(Flaw(flaw)) = request.extensions().get::<Flaw>() {
        return Err(flaw);
    }
    check_size(request, config)?;
    check_target(request)?;
    check_length(request)?;
    if request
        .headers()
        .keys()
        .any(|name| name.as_str().contains('_'))
    {
        return Err("a header name with an underscore");
    }
    Ok(())
}

fn check_size<B>(request: &Request<B>, config: &Config) -> Result<(), &'static str> {
    let uri = request.uri();
    let target = uri.path_and_query().map_or(0, |path| path.as_str().len());
    let authority = uri
        .authority()
        .map_or(0, |authority| authority.as_str().len());
    if target.saturating_add(authority) > config.uri_bytes_max {
        return Err("the request target is too long");
    }
    if request.headers().len() > config.header_count_max {
        return Err("too many headers");
    }
    // Four for the colon, the space and the line's end.
    let bytes: usize = request
        .headers()
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if bytes > config.header_bytes_max as usize {
        return Err("the headers are too long");
    }
    Ok(())
}

fn check_target<B>(request: &Request<B>) -> Result<(), &'static str> {
    let uri = request.uri();
    let is_http = |scheme: &Scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS;
    if uri.scheme().is_some_and(|scheme| !is_http(scheme)) {
        return Err("a target of another scheme");
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    let (host, another) = (hosts.next(), hosts.next());
    if another.is_some() {
        return Err("more than one Host");
    }
    if uri
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'))
    {
        return Err("a target with user information");
    }
    let Some(host) = host else {
        return match request.version() {
            Version::HTTP_09 | Version::HTTP_10 => Ok(()),
            Version::HTTP_11 => Err("no Host"),
            _ if uri.authority().is_none() => Err("no authority"),
            _ => Ok(()),
        };
    };
    let Some(host) = host.to_str().ok().filter(|host| is_host(host)) else {
        return Err("a Host that is none");
    };
    match uri.authority() {
        Some(authority) if !authority.as_str().eq_ignore_ascii_case(host) => {
            Err("a Host other than the target's")
        }
        _ => Ok(()),
    }
}

fn is_host(host: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"@,/\\?#\"<>^`{|}".contains(&byte);
    !host.is_empty() && host.bytes().all(is_plain) && host.parse::<Authority>().is_ok()
}

fn check_length<B>(request: &Request<B>) -> Result<(), &'static str> {
    let headers = request.headers();
    let length = content_length(headers)?;
    let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
    let encoding = encodings.next();
    if let Some(encoding) = encoding {
        if request.version() != Version::HTTP_11 {
            return Err("Transfer-Encoding outside HTTP/1.1");
        }
        if encodings.next().is_some() || !encoding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err("a Transfer-Encoding other than chunked");
        }
        if length.is_some() {
            return Err("both Content-Length and Transfer-Encoding");
        }
    }
    let has_body = encoding.is_some() || length.is_some_and(|length| length > 0);
    if has_body
        && matches!(
            *request.method(),
            Method::GET | Method::HEAD | Method::TRACE
        )
    {
        return Err("a body with a method that has none");
    }
    Ok(())
}

fn content_length(headers: &HeaderMap) -> Result<Option<u64>, &'static str> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else {
        return Ok(None);
    };
    if lengths.next().is_some() {
        return Err("more than one Content-Length");
    }
    let digits = length.as_bytes();
    let number = std::str::from_utf8(digits)
        .ok()
        .and_then(|text| text.parse().ok());
    match number {
        Some(number) if digits.iter().all(u8::is_ascii_digit) => Ok(Some(number)),
        _ => Err("a Content-Length that is no number"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(version: Version, uri: &str, headers: &[(&'static str, &str)]) -> bool {
        let mut request = Request::builder().method("POST").uri(uri).version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        super::check(&request, &Config::default()).is_ok()
    }

    #[test]
    fn honest_requests_pass() {
        let v11 = Version::HTTP_11;
        for (version, uri, headers) in [
            (v11, "/?token=a&type=b", &[("host", "localhost:8070")][..]),
            (v11, "/", &[("host", "localhost"), ("content-length", "0")]),
            (
                v11,
                "/",
                &[("host", "[::1]:80"), ("transfer-encoding", "Chunked")],
            ),
            (v11, "http://a.b:80/x", &[("host", "A.b:80")]),
            (
                v11,
                "/",
                &[("host", "a"), ("upgrade", "h2c"), ("connection", "upgrade")],
            ),
            (Version::HTTP_10, "/", &[]),
            (Version::HTTP_2, "https://a/x", &[]),
            (Version::HTTP_2, "https://a/x", &[("host", "a")]),
        ] {
            assert!(check(version, uri, headers), "{uri} {headers:?}");
        }
    }

    #[test]
    fn what_cannot_come_through_hyper_is_refused_all_the_same() {
        let many: Vec<_> = (0..65).map(|_| ("x", "y")).collect();
        for (version, uri, headers) in [
            (Version::HTTP_2, "/x", &[][..]),
            (Version::HTTP_2, "https://a/x", &[("host", "b")]),
            (
                Version::HTTP_2,
                "https://a/x",
                &[("transfer-encoding", "chunked")],
            ),
            (
                Version::HTTP_2,
                "https://a/x",
                &[("content-length", "1"), ("content-length", "1")],
            ),
            (Version::HTTP_2, "https://a@b/x", &[]),
            (
                Version::HTTP_11,
                "/",
                &[("host", "a"), ("content-length", "18446744073709551616")],
            ),
            (Version::HTTP_11, "/", &many),
        ] {
            assert!(!check(version, uri, headers), "{uri} {headers:?}");
        }
    }
}
