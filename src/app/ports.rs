//! Every port bound before anything starts: a taken one is a sentence, not a half-started process.

use std::{
    fmt,
    net::{SocketAddr, TcpListener},
};

use crate::{
    config::{Config, Unusable},
    gateway::listen::{self, BareSlash},
};

/// Where a process listens.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "each is named after its key in [listen]")]
pub struct Ports {
    pub otlp_grpc: Option<SocketAddr>,
    pub otlp_http: Option<SocketAddr>,
    pub bulk: Option<SocketAddr>,
    pub bulk_tls: Option<SocketAddr>,
    pub remote_write: Option<SocketAddr>,
    pub remote_write_tls: Option<SocketAddr>,
    pub admin: Option<SocketAddr>,
    pub feed: Option<SocketAddr>,
    pub operate: Option<SocketAddr>,
}

/// One ingest port.
pub(super) struct Ingest {
    pub(super) listener: TcpListener,
    pub(super) bare_slash: BareSlash,
    pub(super) is_tls: bool,
}

/// Bound, and not yet served.
#[derive(Default)]
pub(super) struct Bound {
    pub(super) ports: Ports,
    pub(super) ingest: Vec<Ingest>,
    pub(super) admin: Option<TcpListener>,
    pub(super) feed: Option<TcpListener>,
    pub(super) operate: Option<TcpListener>,
}

/// For `serve`.
pub(super) fn bind_all(config: &Config) -> Result<Bound, Unusable> {
    let mut bound = Bound::default();
    bound.bind_ingest(config)?;
    bound.bind_control(config)?;
    bound.bind_operate(config)?;
    Ok(bound)
}

/// For `gateway`.
pub(super) fn bind_gateway(config: &Config) -> Result<Bound, Unusable> {
    let mut bound = Bound::default();
    bound.bind_ingest(config)?;
    bound.bind_operate(config)?;
    Ok(bound)
}

/// For `control`.
pub(super) fn bind_control(config: &Config) -> Result<Bound, Unusable> {
    let mut bound = Bound::default();
    bound.bind_control(config)?;
    bound.bind_operate(config)?;
    Ok(bound)
}

fn bind(
    key: &str,
    address: Option<SocketAddr>,
) -> Result<Option<(TcpListener, SocketAddr)>, Unusable> {
    let Some(address) = address else {
        return Ok(None);
    };
    let unusable = |error| {
        Unusable(format!(
            "cannot listen on {address} (listen.{key}): {error}"
        ))
    };
    let listener = listen::bind(address).map_err(unusable)?;
    let address = listener.local_addr().map_err(unusable)?;
    Ok(Some((listener, address)))
}

// === impl Bound ===

impl Bound {
    fn bind_ingest(&mut self, config: &Config) -> Result<(), Unusable> {
        let (listen, ports) = (&config.listen, &mut self.ports);
        // Without a certificate the TLS doors stay closed.
        let with_tls = |address| config.tls.certificate.as_ref().and(address);
        for (key, address, port, bare_slash, is_tls) in [
            (
                "otlp_grpc",
                listen.otlp_grpc,
                &mut ports.otlp_grpc,
                BareSlash::Nothing,
                false,
            ),
            (
                "otlp_http",
                listen.otlp_http,
                &mut ports.otlp_http,
                BareSlash::Nothing,
                false,
            ),
            ("bulk", listen.bulk, &mut ports.bulk, BareSlash::Bulk, false),
            (
                "bulk_tls",
                with_tls(listen.bulk_tls),
                &mut ports.bulk_tls,
                BareSlash::Bulk,
                true,
            ),
            (
                "remote_write",
                listen.remote_write,
                &mut ports.remote_write,
                BareSlash::RemoteWrite,
                false,
            ),
            (
                "remote_write_tls",
                with_tls(listen.remote_write_tls),
                &mut ports.remote_write_tls,
                BareSlash::RemoteWrite,
                true,
            ),
        ] {
            if let Some((listener, address)) = bind(key, address)? {
                *port = Some(address);
                self.ingest.push(Ingest {
                    listener,
                    bare_slash,
                    is_tls,
                });
            }
        }
        Ok(())
    }

    fn bind_control(&mut self, config: &Config) -> Result<(), Unusable> {
        if let Some((listener, address)) = bind("admin", config.listen.admin)? {
            self.ports.admin = Some(address);
            self.admin = Some(listener);
        }
        if let Some((listener, address)) = bind("feed", config.listen.feed)? {
            self.ports.feed = Some(address);
            self.feed = Some(listener);
        }
        Ok(())
    }

    fn bind_operate(&mut self, config: &Config) -> Result<(), Unusable> {
        if let Some((listener, address)) = bind("operate", config.listen.operate)? {
            self.ports.operate = Some(address);
            self.operate = Some(listener);
        }
        Ok(())
    }
}

// === impl Ports ===

impl Ports {
    /// The open ones with their keys.
    pub fn open(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        [
            ("otlp_grpc", self.otlp_grpc),
            ("otlp_http", self.otlp_http),
            ("bulk", self.bulk),
            ("bulk_tls", self.bulk_tls),
            ("remote_write", self.remote_write),
            ("remote_write_tls", self.remote_write_tls),
            ("admin", self.admin),
            ("feed", self.feed),
            ("operate", self.operate),
        ]
        .into_iter()
        .filter_map(|(key, address)| Some((key, address?)))
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, address)) in self.open().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            write!(f, "{key}={address}")?;
        }
        Ok(())
    }
}
