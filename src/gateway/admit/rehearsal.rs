//! `?validate=true`: a request that is checked and counted as any other, and then answered instead of delivered.
//!
//! Also as a header, `x-validate: true`: gRPC clients can't add to a path, and exporters are set up by headers.

use http::{HeaderName, HeaderValue, Request};

use crate::{gateway::authenticate::percent_decoded, model::Rejection};

const PARAMETER: &str = "validate";
const HEADER: HeaderName = HeaderName::from_static("x-validate");

/// Whether a request asks for it. What might mean it is never taken for the opposite: a payload that was only to be looked
/// at would be ingested.
///
/// # Errors
/// Anything but one `true` or one `false`, or a name that is only nearly ours.
pub(super) fn is_asked(head: &Request<impl Sized>) -> Result<bool, Rejection> {
    let mut asked = None;
    for pair in head.uri().query().unwrap_or_default().split('&') {
        // Some clients join with semicolons.
        for (at, piece) in pair.split(';').enumerate() {
            let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
            if name == PARAMETER && at == 0 {
                take(&mut asked, value.as_bytes())?;
            } else if may_be_meant(piece) {
                return Err(Rejection::BadParameter(
                    "validate is written in lower case, without escapes, behind ? or &, and followed by =",
                ));
            }
        }
    }
    for value in head.headers().get_all(HEADER) {
        take(&mut asked, HeaderValue::as_bytes(value))?;
    }
    Ok(asked.unwrap_or(false))
}

/// Whether there is a name in it that is only nearly ours, or the header's, once what was escaped is not: a client may have
/// escaped the whole query, and another one that again.
fn may_be_meant(piece: &str) -> bool {
    // No escape makes a name shorter.
    if piece.len() < PARAMETER.len() {
        return false;
    }
    let once = percent_decoded(piece);
    names_it(&once) || once.contains('%') && names_it(&percent_decoded(&once))
}

fn names_it(text: &str) -> bool {
    text.split(['?', '&', ';', ','])
        .filter_map(|pair| pair.split(['=', ':', '[']).next())
        .map(str::trim)
        .any(|name| {
            name.eq_ignore_ascii_case(PARAMETER) || name.eq_ignore_ascii_case(HEADER.as_str())
        })
}

fn take(asked: &mut Option<bool>, value: &[u8]) -> Result<(), Rejection> {
    let value = match value {
        b"true" => true,
        b"false" => false,
        _ => return Err(Rejection::BadParameter("validate is true or false")),
    };
    if asked.replace(value).is_some() {
        return Err(Rejection::BadParameter("validate is asked for twice"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(uri: &str, headers: &[&str]) -> Option<bool> {
        let mut request = Request::post(uri);
        for value in headers {
            request = request.header(HEADER, *value);
        }
        is_asked(&request.body(()).expect("valid")).ok()
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
            ("/?validate=true;type=x", Some(true)),
            ("/?type=x;validate=true", None),
            ("/?Validate=true", None),
            ("/?%76alidate=true", None),
            ("/?validate%20=true", None),
            ("/?+validate=true", None),
            ("/?validate%3Dtrue", None),
            ("/?token=t%26validate%3Dtrue", None),
            ("/??validate=true", None),
            ("/?validate:true", None),
            ("/?x-validate=true", None),
            ("/?X-Validate", None),
            ("/?validate[]=true", None),
            ("/?validate%5B0%5D=true", None),
            ("/?type=x,validate=true", None),
            ("/?validate%253Dtrue", None),
            ("/?type=100%25,x", Some(false)),
            ("/?type=prevalidate", Some(false)),
            ("/?type=validate", Some(false)),
            ("/?type=a%3Dvalidate", Some(false)),
        ] {
            assert_eq!(asked(uri, &[]), expected, "{uri}");
        }
        assert_eq!(asked("/", &["true"]), Some(true));
        assert_eq!(asked("/", &["yes"]), None);
        assert_eq!(asked("/", &["true", "false"]), None);
        assert_eq!(asked("/?validate=true", &["true"]), None);
    }
}
