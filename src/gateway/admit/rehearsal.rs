//! `?validate=true`: a request that is checked and counted as any other, and then answered instead of delivered.
//!
//! Over gRPC, whose clients can't add to a path, it is metadata: `x-validate: true`.

use http::{HeaderName, HeaderValue, Request};

use crate::model::{Door, Rejection};

const PARAMETER: &str = "validate";
const METADATA: HeaderName = HeaderName::from_static("x-validate");

/// Whether a request asks for it. What might mean it is never taken for the opposite: a payload that was only to be looked
/// at would be ingested.
///
/// # Errors
/// Anything but one `true` or one `false`.
pub(super) fn is_asked(head: &Request<impl Sized>, door: Door) -> Result<bool, Rejection> {
    let mut asked = None;
    for pair in head.uri().query().unwrap_or_default().split('&') {
        let value = match pair.strip_prefix(PARAMETER) {
            Some("") => b"",
            Some(rest) if rest.starts_with('=') => &rest.as_bytes()[1..],
            // Another parameter.
            _ => continue,
        };
        take(&mut asked, value)?;
    }
    if door == Door::OtlpGrpc {
        for value in head.headers().get_all(METADATA) {
            take(&mut asked, HeaderValue::as_bytes(value))?;
        }
    }
    Ok(asked.unwrap_or(false))
}

fn take(asked: &mut Option<bool>, value: &[u8]) -> Result<(), Rejection> {
    let value = match value {
        b"true" => true,
        b"false" => false,
        _ => return Err(Rejection::BadFraming("validate is true or false")),
    };
    if asked.replace(value).is_some() {
        return Err(Rejection::BadFraming("validate is asked for twice"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(uri: &str, metadata: &[&str], door: Door) -> Option<bool> {
        let mut request = Request::post(uri);
        for value in metadata {
            request = request.header(METADATA, *value);
        }
        is_asked(&request.body(()).expect("valid"), door).ok()
    }

    #[test]
    fn true_and_false_are_understood_and_whatever_else_might_mean_them_is_refused() {
        for (uri, expected) in [
            ("/", Some(false)),
            ("/?type=x&&validated=no&validates", Some(false)),
            ("/?validate=false", Some(false)),
            ("/?token=t&validate=true&type=x", Some(true)),
            ("/?validate", None),
            ("/?validate=", None),
            ("/?validate=yes", None),
            ("/?validate=True", None),
            ("/?validate=1", None),
            ("/?validate=%74rue", None),
            ("/?validate=true&validate=true", None),
        ] {
            assert_eq!(asked(uri, &[], Door::Bulk), expected, "{uri}");
        }
        let grpc = Door::OtlpGrpc;
        assert_eq!(asked("/", &["true"], grpc), Some(true));
        assert_eq!(asked("/", &["yes"], grpc), None);
        assert_eq!(asked("/", &["true", "false"], grpc), None);
        assert_eq!(asked("/?validate=true", &["true"], grpc), None);
        assert_eq!(
            asked("/", &["yes"], Door::Bulk),
            Some(false),
            "gRPC's alone"
        );
    }
}
