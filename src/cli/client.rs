//! One request, one connection, one answer: a small HTTP/1.1 client for the admin API.

use std::{io, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{access::Failure, output};
use crate::model::Secret;

/// An answer may have this many bytes; a page of a thousand tokens has a tenth.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// To a TCP connection and through its TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the API is and how to get there.
#[derive(Debug)]
pub(super) struct Client {
    /// As given, for messages.
    url: String,
    host: String,
    port: u16,
    /// `Host` header.
    authority: HeaderValue,
    /// Stands before every path, without its last slash.
    base: String,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    timeout: Duration,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Client {
    /// `url` is `http://` or `https://` with a host and, behind a proxy, a path. `ca` replaces the system's certificates.
    pub(super) fn new(url: &str, ca: Option<&Path>, timeout: Duration) -> Result<Self, Failure> {
        let wrong = |why: &str| Failure::Usage(format!("--url {url:?} {why}"));
        let uri: Uri = url.parse().map_err(|_| wrong("is not a URL"))?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong("does not begin with http:// or https://")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("has no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong(
                "has a user name; the token comes from --admin-token-file",
            ));
        }
        if uri.query().is_some() {
            return Err(wrong("has a query"));
        }
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let tls = if is_tls {
            let name =
                ServerName::try_from(host.clone()).map_err(|_| wrong("has no valid host"))?;
            Some((tls_config(ca)?, name))
        } else {
            None
        };
        Ok(Self {
            url: url.to_owned(),
            port: authority
                .port_u16()
                .unwrap_or(if is_tls { 443 } else { 80 }),
            authority: HeaderValue::from_str(authority.as_str())
                .map_err(|_| wrong("has no valid host"))?,
            base: uri.path().trim_end_matches('/').to_owned(),
            host,
            tls,
            timeout,
        })
    }

    /// Sends one request; `path` begins with a slash and is encoded already, `body` is JSON. Under a `key`, what was done
    /// already is not done again.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        token: Option<&Secret>,
        body: Option<Vec<u8>>,
        key: Option<&str>,
    ) -> Result<Answer, Failure> {
        let mut more = Vec::new();
        if let Some(token) = token {
            let mut value =
                HeaderValue::from_str(&format!("Bearer {}", token.reveal())).map_err(|_| {
                    Failure::Failed("the admin token has characters that no token has".to_owned())
                })?;
            value.set_sensitive(true);
            more.push((header::AUTHORIZATION, value));
        }
        if let Some(key) = key {
            let value = HeaderValue::from_str(key).map_err(|_| {
                Failure::Usage("--idempotency-key has characters that no header has".to_owned())
            })?;
            more.push((HeaderName::from_static("idempotency-key"), value));
        }
        self.send_with(method, path, more, body).await
    }

    /// The same with headers of the caller's own.
    pub(super) async fn send_with(
        &self,
        method: Method,
        path: &str,
        more: Vec<(HeaderName, HeaderValue)>,
        body: Option<Vec<u8>>,
    ) -> Result<Answer, Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::HOST, self.authority.clone())
            .header(header::ACCEPT, "application/json, application/problem+json")
            .header(
                header::USER_AGENT,
                concat!("wharfinger/", env!("CARGO_PKG_VERSION")),
            );
        for (name, value) in more {
            request = request.header(name, value);
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|error| Failure::Failed(format!("cannot ask {}: {error}", self.url)))?;
        tokio::time::timeout(self.timeout, self.exchange(request))
            .await
            .unwrap_or_else(|_| {
                Err(Failure::Unanswered(format!(
                    "no answer from {} within {}",
                    self.url,
                    humantime::format_duration(self.timeout)
                )))
            })
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
        let connect = async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
            stream.set_nodelay(true)?;
            match &self.tls {
                None => Ok(Stream::Plain(stream)),
                Some((config, name)) => TlsConnector::from(config.clone())
                    .connect(name.clone(), stream)
                    .await
                    .map(|stream| Stream::Tls(Box::new(stream))),
            }
        };
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, connect)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|error| self.unreachable(&error))?;
        match stream {
            Stream::Plain(stream) => self.over(stream, request).await,
            Stream::Tls(stream) => self.over(stream, request).await,
        }
    }

    async fn over(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, Failure> {
        let broken = |error: &dyn std::fmt::Display| {
            Failure::Unanswered(format!("no usable answer from {}: {error}", self.url))
        };
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(&error))?;
        let exchange = async {
            let answer = sender
                .send_request(request)
                .await
                .map_err(|error| broken(&error))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX)
                .collect()
                .await
                .map_err(|error| broken(&error))?
                .to_bytes();
            Ok(Answer {
                status: head.status,
                headers: head.headers,
                body,
            })
        };
        tokio::pin!(exchange);
        tokio::select! {
            answer = &mut exchange => answer,
            // The connection may end first and leave the answer's last bytes to be picked up.
            _ = connection => exchange.await,
        }
    }

    fn unreachable(&self, error: &io::Error) -> Failure {
        let url = &self.url;
        Failure::Failed(match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                format!("cannot reach the admin API at {url}: is wharfinger running?")
            }
            _ => format!("cannot reach the admin API at {url}: {error}"),
        })
    }
}

// === impl Answer ===

impl Answer {
    /// One sentence from a problem document, from a stranger's answer its status.
    pub(super) fn succeeded(&self) -> Result<(), Failure> {
        if self.status.is_success() {
            return Ok(());
        }
        let problem: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let text = |key: &str| {
            let text = problem[key].as_str().filter(|text| !text.is_empty());
            text.map(output::plain)
        };
        let sentence = text("detail").or_else(|| text("title"));
        let sentence =
            sentence.unwrap_or_else(|| format!("the admin API answered {}", self.status));
        Err(match self.status {
            StatusCode::UNPROCESSABLE_ENTITY => Failure::OtherRequest(sentence),
            _ => Failure::Failed(sentence),
        })
    }

    /// The body, bad UTF-8 replaced.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

fn tls_config(ca: Option<&Path>) -> Result<Arc<ClientConfig>, Failure> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            let unusable = |error: &dyn std::fmt::Display| {
                Failure::Usage(format!("--ca {}: {error}", path.display()))
            };
            let certificates =
                CertificateDer::pem_file_iter(path).map_err(|error| unusable(&error))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| unusable(&error))?;
                roots.add(certificate).map_err(|error| unusable(&error))?;
            }
            if roots.is_empty() {
                return Err(unusable(&"has no certificate"));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::Failed(format!("TLS: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
