//! What a destination may be: operators' input, and still no way to break a request's framing or to smuggle a secret.

use axum::http::{HeaderName, HeaderValue, header};
use rustls::{
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    sign::CertifiedKey,
};

use super::problem::Problem;
use crate::{
    control::sayable::is_name,
    model::{Ack, Credentials, Destination, DestinationKind, destination},
};

// Together these keep a destination well under the feed's 1 MiB for one change.
const ENDPOINTS_MAX: usize = 16;
const ENDPOINT_BYTES_MAX: usize = 2048;
const HEADERS_MAX: usize = 32;
const HEADER_BYTES_MAX: usize = 4096;
const SECRET_BYTES_MAX: usize = 4096;
const PEM_BYTES_MAX: usize = 64 << 10;

const PLACEHOLDERS: [&str; 2] = ["{account}", "{token_id}"];

/// The first thing that is wrong, in words.
pub(super) fn check(destination: &Destination) -> Result<(), Problem> {
    check_endpoints(destination)?;
    check_ack(destination)?;
    let mut names = Vec::new();
    check_headers(destination, &mut names)?;
    check_secret_headers(destination, &mut names)?;
    check_credentials(destination)?;
    check_tls(destination)
}

fn check_endpoints(destination: &Destination) -> Result<(), Problem> {
    let endpoints = &destination.endpoints;
    match (destination.kind, endpoints.len()) {
        (DestinationKind::Archive, 0) => Ok(()),
        (DestinationKind::Archive, _) => Err(Problem::invalid("an archive has no endpoints")),
        (kind, 0) => Err(Problem::invalid(format!(
            "a destination of kind {} needs at least one endpoint",
            kind.name()
        ))),
        (kind, 1..=ENDPOINTS_MAX) => endpoints
            .iter()
            .try_for_each(|text| check_endpoint(kind, text)),
        _ => Err(Problem::invalid(format!(
            "a destination has {ENDPOINTS_MAX} endpoints at most"
        ))),
    }
}

fn check_endpoint(kind: DestinationKind, text: &str) -> Result<(), Problem> {
    if text.len() > ENDPOINT_BYTES_MAX {
        return Err(Problem::invalid(format!(
            "an endpoint has {ENDPOINT_BYTES_MAX} bytes at most"
        )));
    }
    match destination::endpoint(kind, text) {
        Ok(_) => Ok(()),
        Err(why) => Err(Problem::invalid(format!("the destination {why}"))),
    }
}

/// A word that changes nothing would promise what nobody keeps.
fn check_ack(destination: &Destination) -> Result<(), Problem> {
    match (destination.kind, destination.ack) {
        (DestinationKind::Archive, Some(ack @ (Ack::Spool | Ack::Spill))) => {
            Err(Problem::invalid(format!(
                "an archive can't have ack {}: it answers once its own file is fsynced, with no spool before it; \
                 leave ack out, or say destination",
                ack.name()
            )))
        }
        _ => Ok(()),
    }
}

fn check_headers(destination: &Destination, seen: &mut Vec<HeaderName>) -> Result<(), Problem> {
    if destination.headers.len() + destination.secret_headers.len() > HEADERS_MAX {
        return Err(Problem::invalid(format!(
            "a destination has {HEADERS_MAX} headers at most"
        )));
    }
    for (name, value) in &destination.headers {
        let name = check_header_name(name, seen)?;
        let rest = PLACEHOLDERS
            .into_iter()
            .fold(value.clone(), |rest, known| rest.replace(known, ""));
        // An id of ours is no secret, whatever a receiver calls it.
        let is_ids_alone = !rest.contains(char::is_alphanumeric);
        if destination::is_credential_header(name.as_str()) && !is_ids_alone {
            return Err(Problem::invalid(format!(
                "{} is a secret by its name: state it in secret_headers, which are sealed and never shown",
                shown(&name)
            )));
        }
        if HeaderValue::from_str(value).is_err() || value.len() > HEADER_BYTES_MAX {
            return Err(Problem::invalid(format!(
                "the value of {} must be one line of at most {HEADER_BYTES_MAX} bytes",
                shown(&name)
            )));
        }
        if rest.contains(['{', '}']) {
            return Err(Problem::invalid(format!(
                "{} may hold {{account}} and {{token_id}}, and no other braces",
                shown(&name)
            )));
        }
        seen.push(name);
    }
    Ok(())
}

/// Says nothing of their values.
fn check_secret_headers(
    destination: &Destination,
    seen: &mut Vec<HeaderName>,
) -> Result<(), Problem> {
    for (name, value) in &destination.secret_headers {
        let name = check_header_name(name, seen)?;
        let value = value.reveal();
        let is_one = !value.trim().is_empty() && HeaderValue::from_str(value).is_ok();
        if !is_one || value.len() > SECRET_BYTES_MAX {
            return Err(Problem::invalid(format!(
                "the value of secret {} must be one line of 1 to {SECRET_BYTES_MAX} bytes",
                shown(&name)
            )));
        }
        seen.push(name);
    }
    Ok(())
}

fn check_header_name(name: &str, seen: &[HeaderName]) -> Result<HeaderName, Problem> {
    let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
        return Err(Problem::invalid(match is_name(name) {
            true => format!("{name:?} is no header name"),
            false => "a header has a name that is none".to_owned(),
        }));
    };
    if name == header::AUTHORIZATION {
        return Err(Problem::invalid(
            "an authorization header is a secret: state it as credentials, which are sealed and never shown",
        ));
    }
    if destination::is_refused_header(name.as_str()) {
        return Err(Problem::invalid(format!(
            "{} is the gateway's own to set",
            shown(&name)
        )));
    }
    if seen.contains(&name) {
        return Err(Problem::invalid(format!(
            "{} stands there twice",
            shown(&name)
        )));
    }
    Ok(name)
}

/// By its name, unless a token may have been put there.
fn shown(name: &HeaderName) -> String {
    match is_name(name.as_str()) {
        true => format!("header {name}"),
        false => "header with a name that is not repeated".to_owned(),
    }
}

fn check_credentials(destination: &Destination) -> Result<(), Problem> {
    let is_text =
        |text: &str| text.len() <= SECRET_BYTES_MAX && !text.chars().any(char::is_control);
    match &destination.credentials {
        Credentials::None => Ok(()),
        Credentials::Bearer(token) => {
            let token = token.reveal();
            if token.is_empty()
                || token.len() > SECRET_BYTES_MAX
                || !token.bytes().all(|byte| byte.is_ascii_graphic())
            {
                return Err(Problem::invalid(
                    "a bearer token is printable ASCII without blanks",
                ));
            }
            Ok(())
        }
        Credentials::Basic { user, password } => {
            if user.is_empty()
                || user.contains(':')
                || !is_text(user)
                || !is_text(password.reveal())
            {
                return Err(Problem::invalid(
                    "a user is not empty and has no colon; neither it nor the password has control characters",
                ));
            }
            Ok(())
        }
    }
}

fn check_tls(destination: &Destination) -> Result<(), Problem> {
    let tls = &destination.tls;
    if let Some(pem) = &tls.ca_pem {
        check_certificates("ca_pem", pem)?;
    }
    if let Some((certificate, key)) = &tls.client_pem {
        check_certificates("client_certificate_pem", certificate)?;
        let key = key.reveal();
        let Some(key) = (key.len() <= PEM_BYTES_MAX)
            .then(|| PrivateKeyDer::from_pem_slice(key.as_bytes()).ok())
            .flatten()
        else {
            return Err(Problem::invalid(
                "client_key_pem holds no private key in PEM",
            ));
        };
        let chain = CertificateDer::pem_slice_iter(certificate.as_bytes())
            .filter_map(Result::ok)
            .collect();
        if CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).is_err() {
            return Err(Problem::invalid(
                "client_key_pem is not the key of client_certificate_pem",
            ));
        }
    }
    if let Some(name) = &tls.server_name
        && ServerName::try_from(name.as_str()).is_err()
    {
        return Err(Problem::invalid(
            "server_name is neither a host name nor an address",
        ));
    }
    Ok(())
}

fn check_certificates(field: &str, pem: &str) -> Result<(), Problem> {
    let mut certificates = CertificateDer::pem_slice_iter(pem.as_bytes()).peekable();
    let is_good = pem.len() <= PEM_BYTES_MAX
        && certificates.peek().is_some()
        && certificates.all(|certificate| certificate.is_ok());
    if is_good {
        return Ok(());
    }
    Err(Problem::invalid(format!(
        "{field} must hold certificates in PEM, 64 KiB at most"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DestinationId, Secret};

    fn http(endpoint: &str) -> Destination {
        let mut destination = Destination::new(DestinationId(1), "d", DestinationKind::Http);
        destination.endpoints = vec![endpoint.to_owned()];
        destination
    }

    #[test]
    fn endpoints_are_absolute_urls_and_nothing_more() {
        for good in [
            "http://a",
            "https://a:443/x/y",
            "http://[::1]:80",
            "http://10.0.0.1:1/",
        ] {
            assert!(check(&http(good)).is_ok(), "{good}");
        }
        for bad in [
            "",
            "a",
            "/x",
            "ftp://a",
            "http://",
            "http://u:p@a",
            "http://u@a/",
            "http://a?q=1",
            "http://a/?",
            "http://a#f",
            "http://a b",
            "http://a:",
            "http://a:0",
            "http://a:99999",
            "http://a\r\nhost: b",
            "unix:///x",
        ] {
            assert!(check(&http(bad)).is_err(), "{bad:?}");
        }
        let mut grpc = http("http://a:4317/");
        grpc.kind = DestinationKind::OtlpGrpc;
        assert!(check(&grpc).is_ok());
        grpc.endpoints = vec!["http://a:4317/v1".to_owned()];
        assert!(check(&grpc).is_err());
    }

    #[test]
    fn headers_cannot_touch_the_framing() {
        for (name, value) in [
            ("Host", "x"),
            ("content-LENGTH", "5"),
            ("Transfer-Encoding", "chunked"),
            ("Connection", "close"),
            (":path", "/"),
            ("a b", "x"),
            ("", "x"),
            ("x", "a\r\nb: c"),
            ("x", "{tenant}"),
            ("x", "{"),
            ("keep-alive", "1"),
            ("te", "trailers"),
            ("x", "{account"),
            ("content-encoding", "gzip"),
            ("grpc-timeout", "1S"),
            ("Grpc-Anything", "x"),
            ("Authorization", "Bearer x"),
            ("proxy-authorization", "x"),
        ] {
            let mut destination = http("http://a");
            destination.headers = vec![(name.into(), value.into())];
            assert!(check(&destination).is_err(), "{name:?}: {value:?}");
        }
        let mut destination = http("http://a");
        destination.headers = vec![("X-Scope-OrgID".into(), "t-{account}-{token_id}".into())];
        assert!(check(&destination).is_ok());
        destination
            .headers
            .push(("x-scope-orgid".into(), "2".into()));
        assert!(check(&destination).is_err());
    }

    #[test]
    fn a_header_that_is_a_secret_by_its_name_is_told_where_to_go() {
        for name in [
            "X-Api-Key",
            "api-key",
            "DD-API-KEY",
            "apikey",
            "api_key",
            "X-Auth-Token",
            "Private-Token",
            "Cookie",
            "x-client-secret",
            "X-Password-Hash",
        ] {
            let mut destination = http("http://a");
            destination.headers = vec![(name.into(), "s3cr3t".into())];
            let said = format!("{:?}", check(&destination).expect_err(name));
            assert!(
                said.contains("secret_headers") && !said.contains("s3cr3t"),
                "{said}"
            );
            destination.headers.clear();
            destination.secret_headers = vec![(name.into(), Secret::new("s3cr{e}t".into()))];
            assert!(check(&destination).is_ok(), "{name}");
        }
        for (name, value) in [
            ("x-scope-orgid", "1"),
            ("x-tokens-seen", "1"),
            ("x-keyspace", "1"),
            ("x-token", "{account}/{token_id}"),
        ] {
            let mut destination = http("http://a");
            destination.headers = vec![(name.into(), value.into())];
            assert!(check(&destination).is_ok(), "{name}");
        }
    }

    #[test]
    fn secret_headers_are_held_to_the_rules_of_headers_and_their_values_are_not_repeated() {
        for (name, value) in [
            ("Host", "s3cr3t"),
            ("grpc-timeout", "s3cr3t"),
            ("Authorization", "s3cr3t"),
            ("a b", "s3cr3t"),
            ("x-env", "s3cr3t"),
            ("x-key", ""),
            ("x-key", "s3cr3t\r\nb: c"),
        ] {
            let mut destination = http("http://a");
            destination.headers = vec![("X-Env".into(), "1".into())];
            destination.secret_headers = vec![(name.into(), Secret::new(value.into()))];
            let said = format!("{:?}", check(&destination).expect_err(name));
            assert!(!said.contains("s3cr3t"), "{said}");
        }
    }

    #[test]
    fn credentials_cannot_break_a_header() {
        let mut destination = http("http://a");
        for token in ["", "a b", "a\nb", "ü"] {
            destination.credentials = Credentials::Bearer(Secret::new(token.into()));
            assert!(check(&destination).is_err(), "{token:?}");
        }
        destination.credentials = Credentials::Basic {
            user: "a:b".into(),
            password: Secret::new("p".into()),
        };
        assert!(check(&destination).is_err());
    }

    #[test]
    fn certificates_must_be_certificates() {
        let mut destination = http("https://a");
        for pem in [
            "",
            "nonsense",
            "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n",
        ] {
            destination.tls.ca_pem = Some(pem.into());
            assert!(check(&destination).is_err(), "{pem:?}");
        }
        let made = rcgen::generate_simple_self_signed(vec!["a".into()]).expect("made");
        destination.tls.ca_pem = Some(made.cert.pem());
        destination.tls.client_pem = Some((
            made.cert.pem(),
            Secret::new(made.signing_key.serialize_pem()),
        ));
        assert!(check(&destination).is_ok());
        let other = rcgen::generate_simple_self_signed(vec!["a".into()]).expect("made");
        destination.tls.client_pem = Some((
            made.cert.pem(),
            Secret::new(other.signing_key.serialize_pem()),
        ));
        assert!(check(&destination).is_err());
    }
}
