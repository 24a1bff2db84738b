//! Destinations: where an account's signal goes, as operators state it in the control plane.

use std::{fmt, time::Duration};

use http::Uri;

use super::{Secret, Signal};

/// A destination's number, positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DestinationId(pub u64);

impl fmt::Display for DestinationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DestinationKind {
    /// Files under the gateway's own data folder.
    Archive,
    /// The sender's protocol in its HTTP form, body untouched.
    Http,
    /// An OTLP/HTTP receiver; `/v1/{signal}` is appended to the endpoint.
    OtlpHttp,
    /// An OTLP/gRPC receiver.
    OtlpGrpc,
}

impl DestinationKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Archive, Self::Http, Self::OtlpHttp, Self::OtlpGrpc];

    /// The name in the admin API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Archive => "archive",
            Self::Http => "http",
            Self::OtlpHttp => "otlp_http",
            Self::OtlpGrpc => "otlp_grpc",
        }
    }

    /// The kind of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// How the gateway proves itself to the destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Not at all.
    #[default]
    None,
    /// `Authorization: Bearer`.
    Bearer(Secret),
    /// `Authorization: Basic`.
    Basic {
        /// User name, without a colon.
        user: String,
        /// Password.
        password: Secret,
    },
}

/// What travels upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// As the sender compressed it.
    #[default]
    AsReceived,
    /// Inflated first, for receivers that take no compression.
    Identity,
}

/// What must have happened to a payload before its sender may be told of success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ack {
    /// The destination has answered 2xx.
    Destination,
    /// It lies fsynced in the gateway's spool.
    Spool,
    /// The destination has answered 2xx or, where that is down or slow, it lies fsynced in the spool.
    Spill,
}

impl Ack {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Destination, Self::Spool, Self::Spill];

    /// The name in the admin API and in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Destination => "destination",
            Self::Spool => "spool",
            Self::Spill => "spill",
        }
    }

    /// The one of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ack| ack.name() == name)
    }

    /// Where nothing is set. Prometheus refuses samples that come out of order, so a late drain would lose them.
    const fn default_for(signal: Signal) -> Self {
        match signal {
            Signal::Logs | Signal::Traces => Self::Spill,
            Signal::Metrics => Self::Destination,
        }
    }
}

/// TLS towards `https` endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamTls {
    /// PEM certificates trusted instead of the system's.
    pub ca_pem: Option<String>,
    /// PEM chain presented to the destination, with its key.
    pub client_pem: Option<(String, Secret)>,
    /// Name expected in the destination's certificate instead of the endpoint's host.
    pub server_name: Option<String>,
}

/// A destination as the control plane last stated it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The number that accounts refer to.
    pub id: DestinationId,
    /// Unique among destinations.
    pub name: String,
    /// What stands there.
    pub kind: DestinationKind,
    /// Absolute `http`/`https` URLs, tried in turn; empty for the archive.
    pub endpoints: Vec<String>,
    /// Added to every request; `{account}` and `{token_id}` in values are replaced by the ids.
    pub headers: Vec<(String, String)>,
    /// Added too, as they are: keys that receivers want in headers of their own.
    pub secret_headers: Vec<(String, Secret)>,
    /// How the gateway proves itself.
    pub credentials: Credentials,
    /// TLS towards `https` endpoints.
    pub tls: UpstreamTls,
    /// To a TCP connection and through its TLS handshake.
    pub connect_timeout: Duration,
    /// From the first byte sent to the last byte of the answer, over all endpoints.
    pub request_timeout: Duration,
    /// What travels upstream.
    pub compression: Compression,
    /// Link-local and metadata addresses (169.254.0.0/16, fe80::/10) are refused unless this is set.
    pub allow_link_local: bool,
    /// When success may be answered; `None` is the default of each signal, see [`Destination::ack_for`].
    pub ack: Option<Ack>,
}

impl Destination {
    /// A destination of that kind with nothing set: 5 s to connect, 30 s for a request.
    pub fn new(id: DestinationId, name: &str, kind: DestinationKind) -> Self {
        Self {
            id,
            name: name.to_owned(),
            kind,
            endpoints: Vec::new(),
            headers: Vec::new(),
            secret_headers: Vec::new(),
            credentials: Credentials::None,
            tls: UpstreamTls::default(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            compression: Compression::AsReceived,
            allow_link_local: false,
            ack: None,
        }
    }

    /// When success may be answered for a payload of that signal.
    pub fn ack_for(&self, signal: Signal) -> Ack {
        match self.kind {
            // Its own fsync is the answer, and as good as the spool's.
            DestinationKind::Archive => Ack::Destination,
            DestinationKind::Http | DestinationKind::OtlpHttp | DestinationKind::OtlpGrpc => {
                self.ack.unwrap_or(Ack::default_for(signal))
            }
        }
    }
}

/// Headers that frame a request, bind it to one connection, state what the body is, prove who sends it, or ask a gateway of
/// our kind to throw away what it takes: never an operator's to set. Nor is any that begins with `grpc-`.
const REFUSED_HEADERS: [&str; 16] = [
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "authorization",
    "x-validate",
];

/// Whether a destination may not state that header; `name` is in lower case.
pub fn is_refused_header(name: &str) -> bool {
    REFUSED_HEADERS.contains(&name) || name.starts_with("grpc-")
}

/// How names end whose value is a key to something, whatever the receiver calls it.
const CREDENTIAL_ENDINGS: [&str; 7] = [
    "api-key",
    "apikey",
    "access-key",
    "auth-key",
    "token",
    "secret",
    "cookie",
];

/// Whether that header's value is a secret, by its name in lower case: nobody may read it later.
pub fn is_credential_header(name: &str) -> bool {
    let name = name.replace('_', "-");
    name.contains("password") || CREDENTIAL_ENDINGS.iter().any(|end| name.ends_with(end))
}

/// An endpoint of a destination of that kind, taken apart.
///
/// # Errors
/// What is wrong with it, as the rest of a sentence about the destination.
pub fn endpoint(kind: DestinationKind, text: &str) -> Result<Uri, &'static str> {
    let uri: Uri = text
        .parse()
        .map_err(|_| "has an endpoint that is no absolute URL, like http://host:8080/path")?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("has an endpoint that does not begin with http:// or https://");
    }
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        return Err("has a user or password in an endpoint: credentials have their own field");
    }
    let port = uri.host().and_then(|host| authority.strip_prefix(host));
    let is_port = |port: &str| {
        let number = port.strip_prefix(':').and_then(|port| port.parse().ok());
        port.is_empty() || number.is_some_and(|number: u16| number != 0)
    };
    if uri.host().is_none_or(str::is_empty) || !port.is_some_and(is_port) {
        return Err("has an endpoint without a host, or with a port that is not 1 to 65535");
    }
    if uri.query().is_some() || text.contains('#') {
        return Err("has an endpoint with a query or a fragment");
    }
    if kind == DestinationKind::OtlpGrpc && !uri.path().trim_end_matches('/').is_empty() {
        return Err("has an endpoint with a path, which gRPC does not take");
    }
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_is_answered_as_set_or_by_signal_and_by_an_archive_once_it_has_it() {
        use Ack::{Destination as Has, Spill, Spool};
        // By signal: logs, metrics, traces.
        let elsewhere = [
            (None, [Spill, Has, Spill]),
            (Some(Has), [Has; 3]),
            (Some(Spool), [Spool; 3]),
            (Some(Spill), [Spill; 3]),
        ];
        for kind in DestinationKind::ALL {
            for (ack, expected) in elsewhere {
                let mut destination = Destination::new(DestinationId(1), "d", kind);
                destination.ack = ack;
                let expected = match kind {
                    DestinationKind::Archive => [Has; 3],
                    _ => expected,
                };
                let said = Signal::ALL.map(|signal| destination.ack_for(signal));
                assert_eq!(said, expected, "{kind:?}, {ack:?}");
            }
        }
    }

    #[test]
    fn each_ack_is_found_by_its_name_and_nothing_else_is_one() {
        let names = Ack::ALL.map(Ack::name);
        assert_eq!(names, ["destination", "spool", "spill"]);
        assert_eq!(names.map(Ack::parse), Ack::ALL.map(Some));
        for none in ["", "Spool", "default", "spool "] {
            assert_eq!(Ack::parse(none), None, "{none:?}");
        }
    }
}
