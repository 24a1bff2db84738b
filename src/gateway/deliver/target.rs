//! A destination compiled for sending: its URLs taken apart, its headers parsed, its endpoints found.

use std::{cell::Cell, rc::Rc};

use ::http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri,
    header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT},
    uri::PathAndQuery,
};
use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    connect::{Place, tls_side},
    pool::Endpoint,
    shipment::Shipment,
};
use crate::model::{
    AccountId, Content, Credentials, Destination, DestinationKind, Encoding, Signal, TokenId,
    destination,
};

/// What this gateway calls itself.
const AGENT: &str = concat!("wharfinger/", env!("CARGO_PKG_VERSION"));
/// More would be a mistake, and the tried ones are kept as bits.
pub(super) const ENDPOINTS_MAX: usize = 64;

/// A destination ready for requests.
pub(super) struct Target {
    pub(super) sites: Vec<Site>,
    /// What every request carries; places that a request fills in are held, so that no request grows the map.
    base: HeaderMap,
    templates: Vec<(HeaderName, Vec<Piece>, bool)>,
    kind: DestinationKind,
    /// Requests that ask it again after it has failed.
    pub(super) retrying: Rc<Cell<usize>>,
}

/// One endpoint of a destination and the paths it has.
pub(super) struct Site {
    pub(super) endpoint: Rc<Endpoint>,
    host: HeaderValue,
    /// What a request line names: by signal for OTLP, else in the first place.
    paths: Paths,
}

enum Paths {
    /// The endpoint's own, whatever is sent.
    Fixed(PathAndQuery),
    /// The standard path of what is sent.
    Standard,
    /// By signal; absolute for gRPC, whose requests name scheme and authority too.
    Signals(Box<[Uri; 3]>),
}

/// A part of a header's value.
pub(super) enum Piece {
    Text(String),
    Account,
    Token,
}

/// What tells connections of one endpoint from another's.
pub(super) struct Identity<'a> {
    pub(super) uri: &'a Uri,
    pub(super) destination: &'a Destination,
}

/// Compiles a destination; `endpoint_of` finds or makes the endpoint of an identity.
///
/// # Errors
/// What is wrong with it, as the rest of a sentence about it.
pub(super) fn compile(
    destination: &Destination,
    mut endpoint_of: impl FnMut(&Identity<'_>) -> Result<Rc<Endpoint>, &'static str>,
) -> Result<Target, &'static str> {
    if !(1..=ENDPOINTS_MAX).contains(&destination.endpoints.len()) {
        return Err("has no endpoint, or more than 64");
    }
    let mut sites = Vec::with_capacity(destination.endpoints.len());
    for endpoint in &destination.endpoints {
        let uri = destination::endpoint(destination.kind, endpoint)?;
        let endpoint = endpoint_of(&Identity {
            uri: &uri,
            destination,
        })?;
        let authority = uri.authority().ok_or(BAD_URL)?;
        sites.push(Site {
            endpoint,
            host: HeaderValue::from_str(authority.as_str()).map_err(|_| BAD_URL)?,
            paths: paths(&uri, destination.kind)?,
        });
    }
    let mut target = Target {
        sites,
        base: HeaderMap::with_capacity(16),
        templates: Vec::new(),
        kind: destination.kind,
        retrying: Rc::default(),
    };
    target.compile_headers(destination)?;
    Ok(target)
}

const BAD_URL: &str = "has an endpoint that is no http or https URL";

/// A new endpoint of that identity, for so many HTTP/1.1 connections.
pub(super) fn endpoint(
    identity: &Identity<'_>,
    connections_max: usize,
) -> Result<Endpoint, &'static str> {
    let Identity { uri, destination } = identity;
    let authority = uri.authority().ok_or(BAD_URL)?;
    let host = authority.host();
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let wants_h2 = destination.kind == DestinationKind::OtlpGrpc;
    let alpn: &[u8] = if wants_h2 { b"h2" } else { b"http/1.1" };
    let (tls, port) = match uri.scheme_str() {
        Some("http") => (None, 80),
        Some("https") => (Some(tls_side(&destination.tls, host, alpn)?), 443),
        _ => return Err(BAD_URL),
    };
    let place = Place::new(
        host.to_owned(),
        authority.port_u16().unwrap_or(port),
        tls,
        wants_h2,
        destination.allow_link_local,
    );
    Ok(Endpoint::new(place, connections_max))
}

fn paths(uri: &Uri, kind: DestinationKind) -> Result<Paths, &'static str> {
    let path = uri.path().trim_end_matches('/');
    let signals = |path: &dyn Fn(Signal) -> String| {
        let [logs, metrics, traces] = Signal::ALL.map(|signal| path(signal).parse());
        let uris = [logs, metrics, traces].map(|uri: Result<Uri, _>| uri.ok());
        match uris {
            [Some(logs), Some(metrics), Some(traces)] => {
                Ok(Paths::Signals(Box::new([logs, metrics, traces])))
            }
            _ => Err(BAD_URL),
        }
    };
    match kind {
        DestinationKind::OtlpGrpc => {
            let scheme = uri.scheme_str().ok_or(BAD_URL)?;
            let authority = uri.authority().ok_or(BAD_URL)?;
            signals(&|signal| format!("{scheme}://{authority}{}", grpc_path(signal)))
        }
        DestinationKind::OtlpHttp => signals(&|signal| format!("{path}/v1/{signal}")),
        DestinationKind::Http | DestinationKind::Archive => match uri.path_and_query() {
            Some(own) if !path.is_empty() => Ok(Paths::Fixed(own.clone())),
            _ => Ok(Paths::Standard),
        },
    }
}

const fn grpc_path(signal: Signal) -> &'static str {
    match signal {
        Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    }
}

/// The path of a protocol where the endpoint has none of its own.
const fn standard_path(content: Content, signal: Signal) -> &'static str {
    match (content, signal) {
        (Content::Lines, _) => "/",
        (Content::OtlpProtobuf | Content::OtlpJson, Signal::Logs) => "/v1/logs",
        (Content::OtlpProtobuf | Content::OtlpJson, Signal::Metrics) => "/v1/metrics",
        (Content::OtlpProtobuf | Content::OtlpJson, Signal::Traces) => "/v1/traces",
        (Content::RemoteWrite1 | Content::RemoteWrite2, _) => "/api/v1/write",
    }
}

const fn content_type(content: Content) -> &'static str {
    match content {
        Content::Lines => "application/x-ndjson",
        Content::OtlpJson => "application/json",
        Content::OtlpProtobuf | Content::RemoteWrite1 => "application/x-protobuf",
        Content::RemoteWrite2 => "application/x-protobuf;proto=io.prometheus.write.v2.Request",
    }
}

/// A header's value taken apart at the places that a request fills in.
pub(super) fn pieces(value: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = value;
    while !rest.is_empty() {
        let places = [("{account}", Piece::Account), ("{token_id}", Piece::Token)];
        let next = places
            .into_iter()
            .filter_map(|(name, piece)| Some((rest.find(name)?, name.len(), piece)))
            .min_by_key(|(at, ..)| *at);
        let (text, after) = match &next {
            Some((at, length, _)) => (&rest[..*at], &rest[at + length..]),
            None => (rest, ""),
        };
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
        pieces.extend(next.map(|(.., piece)| piece));
        rest = after;
    }
    pieces
}

// === impl Target ===

impl Target {
    fn compile_headers(&mut self, destination: &Destination) -> Result<(), &'static str> {
        const HELD: HeaderValue = HeaderValue::from_static("");
        if self.kind == DestinationKind::OtlpGrpc {
            self.base
                .insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            self.base.insert("te", HeaderValue::from_static("trailers"));
            self.base.insert("grpc-encoding", HELD);
        } else {
            self.base.insert(HOST, HELD);
            self.base.insert(CONTENT_TYPE, HELD);
            self.base.insert(CONTENT_ENCODING, HELD);
        }
        self.base
            .insert(USER_AGENT, HeaderValue::from_static(AGENT));
        for (name, value) in &destination.headers {
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| "has a header with a name that is none")?;
            if destination::is_refused_header(name.as_str()) {
                return Err(
                    "has a header that is not its own to set, such as Host, Content-Length or X-Validate",
                );
            }
            let parsed = HeaderValue::from_str(value)
                .map_err(|_| "has a header with a value that is none")?;
            let pieces = pieces(value);
            if pieces.iter().all(|piece| matches!(piece, Piece::Text(_))) {
                self.base.append(name, parsed);
            } else {
                let is_first = !self.templates.iter().any(|(seen, ..)| *seen == name)
                    && !self.base.contains_key(&name);
                if is_first {
                    self.base.insert(name.clone(), HELD);
                }
                self.templates.push((name, pieces, is_first));
            }
        }
        for (name, value) in &destination.secret_headers {
            let name = HeaderName::from_bytes(name.as_bytes())
                .ok()
                .filter(|name| !destination::is_refused_header(name.as_str()))
                .ok_or("has a secret header that is not its own to set")?;
            let mut value = HeaderValue::from_str(value.reveal())
                .map_err(|_| "has a secret header with a value that is none")?;
            value.set_sensitive(true);
            self.base.append(name, value);
        }
        let authorization = match &destination.credentials {
            Credentials::None => return Ok(()),
            Credentials::Bearer(secret) => format!("Bearer {}", secret.reveal()),
            Credentials::Basic { user, password } => {
                let pair = format!("{user}:{}", password.reveal());
                format!("Basic {}", STANDARD.encode(pair))
            }
        };
        let mut value = HeaderValue::from_str(&authorization)
            .map_err(|_| "has credentials that no header can carry")?;
        value.set_sensitive(true);
        self.base.insert(AUTHORIZATION, value);
        Ok(())
    }

    /// A request from scratch; only its length is left to the connection.
    pub(super) fn request<B>(
        &self,
        site: &Site,
        shipment: &Shipment<'_>,
        (account, token): (AccountId, TokenId),
        body: B,
    ) -> Request<B> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = site.uri(shipment);
        *request.headers_mut() = self.headers(site, shipment, account, token);
        request
    }

    fn headers(
        &self,
        site: &Site,
        shipment: &Shipment<'_>,
        account: AccountId,
        token: TokenId,
    ) -> HeaderMap {
        let mut headers = self.base.clone();
        let encoding = match self.kind {
            DestinationKind::OtlpGrpc => HeaderName::from_static("grpc-encoding"),
            _ => {
                headers.insert(HOST, site.host.clone());
                let content_type = content_type(shipment.content);
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
                if shipment.chunks.is_empty() {
                    // The connection states every other length, but takes an empty body for none.
                    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
                }
                CONTENT_ENCODING
            }
        };
        if shipment.encoding == Encoding::Identity {
            headers.remove(encoding);
        } else {
            headers.insert(encoding, HeaderValue::from_static(shipment.encoding.name()));
        }
        let version = match shipment.content {
            Content::RemoteWrite1 => Some("0.1.0"),
            Content::RemoteWrite2 => Some("2.0.0"),
            _ => None,
        };
        if let Some(version) = version {
            let name = HeaderName::from_static("x-prometheus-remote-write-version");
            headers.insert(name, HeaderValue::from_static(version));
        }
        for (name, pieces, is_first) in &self.templates {
            let value = fill(pieces, account, token);
            if *is_first {
                headers.insert(name, value);
            } else {
                headers.append(name, value);
            }
        }
        headers
    }
}

/// Ids are digits and the rest was parsed with the destination, so the value is one.
fn fill(pieces: &[Piece], account: AccountId, token: TokenId) -> HeaderValue {
    if let [Piece::Account] = pieces {
        return account.0.into();
    }
    if let [Piece::Token] = pieces {
        return token.0.into();
    }
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(part) => text.push_str(part),
            Piece::Account => text.push_str(&account.to_string()),
            Piece::Token => text.push_str(&token.to_string()),
        }
    }
    HeaderValue::from_maybe_shared(bytes::Bytes::from(text))
        .expect("a value that parsed with braces parses with digits")
}

// === impl Site ===

impl Site {
    /// What the request line names.
    fn uri(&self, shipment: &Shipment<'_>) -> Uri {
        let path = match &self.paths {
            Paths::Signals(uris) => return uris[shipment.signal.index()].clone(),
            Paths::Fixed(own) => own.clone(),
            Paths::Standard => {
                PathAndQuery::from_static(standard_path(shipment.content, shipment.signal))
            }
        };
        let Some(line_type) = shipment.line_type else {
            return path.into();
        };
        let mut text = format!("{path}?type=");
        for byte in line_type.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                text.push(char::from(byte));
            } else {
                text.push_str(&format!("%{byte:02X}"));
            }
        }
        // Longer than any URL may be: the lines keep their own types, the default one goes.
        PathAndQuery::try_from(text).unwrap_or(path).into()
    }
}
