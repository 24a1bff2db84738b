//! A connection to one endpoint: names resolved, forbidden addresses refused, TCP, TLS.

use std::{
    borrow::Cow,
    cell::RefCell,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    rc::Rc,
    sync::{Arc, OnceLock},
    time::Duration,
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{
    net::{TcpStream, lookup_host},
    time::{Instant, timeout_at},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::either::Either;

use crate::model::UpstreamTls;

/// An open connection, ready for its protocol: plain or under TLS.
pub(super) type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Why there is no connection.
#[derive(Clone, Debug)]
pub(super) enum ConnectFault {
    /// The destination may come back.
    Down(Cow<'static, str>),
    /// Our set-up or its certificate is wrong: waiting won't help.
    Setup(Cow<'static, str>),
}

/// How `https` endpoints of a destination are proven.
#[derive(Clone)]
pub(super) struct TlsSide {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// Where one endpoint is, and what was last known of its addresses.
pub(super) struct Place {
    /// Without brackets.
    host: String,
    port: u16,
    tls: Option<TlsSide>,
    wants_h2: bool,
    allows_link_local: bool,
    resolved: RefCell<Option<(Instant, Rc<[SocketAddr]>)>>,
}

/// The client side of TLS as a destination states it, offering one protocol.
pub(super) fn tls_side(
    tls: &UpstreamTls,
    host: &str,
    alpn: &'static [u8],
) -> Result<TlsSide, &'static str> {
    let roots = match &tls.ca_pem {
        Some(pem) => Arc::new(roots_of(pem)?),
        None => system_roots(),
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| "no TLS version in common with the library")?
        .with_root_certificates(roots);
    let mut config = match &tls.client_pem {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = CertificateDer::pem_slice_iter(chain.as_bytes())
                .collect::<Result<Vec<_>, _>>()
                .map_err(|_| "its client certificate is not PEM")?;
            let key = PrivateKeyDer::from_pem_slice(key.reveal().as_bytes())
                .map_err(|_| "its client key is not PEM")?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|_| "its client certificate and key do not fit")?
        }
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    let name = tls.server_name.as_deref().unwrap_or(host);
    Ok(TlsSide {
        config: Arc::new(config),
        name: ServerName::try_from(name.to_owned()).map_err(|_| "its server name is not a name")?,
    })
}

fn roots_of(pem: &str) -> Result<RootCertStore, &'static str> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|_| "its CA certificates are not PEM")?;
        roots
            .add(certificate)
            .map_err(|_| "one of its CA certificates is no certificate")?;
    }
    if roots.is_empty() {
        return Err("its CA certificates are empty");
    }
    Ok(roots)
}

static SYSTEM_ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();

/// Reads the system's certificates, once per process. Takes milliseconds of file reads and parsing: call it before workers
/// start, or the first `https` destination holds up everybody on its worker.
pub fn load_system_roots() {
    system_roots();
}

fn system_roots() -> Arc<RootCertStore> {
    let load = || {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    };
    SYSTEM_ROOTS.get_or_init(load).clone()
}

/// Whether an address is link-local or a cloud's metadata service, also when wrapped into IPv6.
fn is_forbidden(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4 == Ipv4Addr::new(100, 100, 100, 200),
        IpAddr::V6(v6) => {
            let [a, b, c, d, e, f, g, h] = v6.segments();
            let v4 = |high: u16, low: u16| {
                is_forbidden(IpAddr::V4(Ipv4Addr::from(
                    u32::from(high) << 16 | u32::from(low),
                )))
            };
            a & 0xFFC0 == 0xFE80
                || v6 == Ipv6Addr::new(0xFD00, 0xEC2, 0, 0, 0, 0, 0, 0x254)
                // v4-mapped and v4-compatible, NAT64, 6to4.
                || ([a, b, c, d, e] == [0; 5] && (f == 0xFFFF || f == 0) && v4(g, h))
                || ([a, b, c, d, e, f] == [0x64, 0xFF9B, 0, 0, 0, 0] && v4(g, h))
                || (a == 0x2002 && v4(b, c))
        }
    }
}

fn down(error: &io::Error) -> ConnectFault {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable, TimedOut};
    ConnectFault::Down(Cow::Borrowed(match error.kind() {
        ConnectionRefused => "destination refused the connection",
        HostUnreachable | NetworkUnreachable => "destination is unreachable",
        TimedOut => "connecting to the destination timed out",
        _ => "connecting to the destination failed",
    }))
}

// === impl Place ===

impl Place {
    pub(super) const fn new(
        host: String,
        port: u16,
        tls: Option<TlsSide>,
        wants_h2: bool,
        allows_link_local: bool,
    ) -> Self {
        Self {
            host,
            port,
            tls,
            wants_h2,
            allows_link_local,
            resolved: RefCell::new(None),
        }
    }

    /// A connection within `within`, handshake included. Addresses are tried in turn and share the time.
    pub(super) async fn connect(
        &self,
        within: Duration,
        resolve_every: Duration,
    ) -> Result<Stream, ConnectFault> {
        let deadline = Instant::now() + within;
        let late = ConnectFault::Down("connecting to the destination timed out".into());
        let addresses = timeout_at(deadline, self.addresses(resolve_every))
            .await
            .map_err(|_| late.clone())??;
        let mut fault = late.clone();
        for (index, address) in addresses.iter().enumerate() {
            let now = Instant::now();
            let left = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
            let share = now + deadline.saturating_duration_since(now) / left;
            match timeout_at(share, self.open(*address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(why)) => fault = why,
                Err(_) => fault = late.clone(),
            }
        }
        // Whatever was known of the name is not trusted a second time.
        self.resolved.take();
        Err(fault)
    }

    async fn open(&self, address: SocketAddr) -> Result<Stream, ConnectFault> {
        let tcp = TcpStream::connect(address).await.map_err(|e| down(&e))?;
        tcp.set_nodelay(true).map_err(|e| down(&e))?;
        let Some(side) = &self.tls else {
            return Ok(Stream::Left(tcp));
        };
        let stream = TlsConnector::from(side.config.clone())
            .connect(side.name.clone(), tcp)
            .await
            .map_err(|error| tls_fault(&error))?;
        if self.wants_h2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(ConnectFault::Setup(
                "destination does not offer HTTP/2 in its TLS handshake".into(),
            ));
        }
        Ok(Stream::Right(Box::new(stream)))
    }

    /// The addresses that may be connected to: each one checked, since a name can point anywhere at any time.
    async fn addresses(&self, resolve_every: Duration) -> Result<Rc<[SocketAddr]>, ConnectFault> {
        if let Some((at, known)) = &*self.resolved.borrow()
            && at.elapsed() < resolve_every
        {
            return Ok(known.clone());
        }
        let found: Vec<SocketAddr> = match self.host.parse::<IpAddr>() {
            Ok(ip) => vec![SocketAddr::new(ip, self.port)],
            Err(_) => lookup_host((self.host.as_str(), self.port))
                .await
                .map_err(|_| ConnectFault::Down("destination's name does not resolve".into()))?
                .collect(),
        };
        if found.is_empty() {
            return Err(ConnectFault::Down(
                "destination's name has no address".into(),
            ));
        }
        let allowed: Rc<[SocketAddr]> = found
            .into_iter()
            .filter(|address| self.allows_link_local || !is_forbidden(address.ip()))
            .collect();
        if allowed.is_empty() {
            return Err(ConnectFault::Setup(
                "destination's address is link-local or a metadata service, which is not allowed"
                    .into(),
            ));
        }
        *self.resolved.borrow_mut() = Some((Instant::now(), allowed.clone()));
        Ok(allowed)
    }
}

fn tls_fault(error: &io::Error) -> ConnectFault {
    let inner = error.get_ref();
    match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(why)) => {
            // The names in a stranger's certificate are as long as the stranger likes.
            let why: String = why.to_string().chars().take(200).collect();
            ConnectFault::Setup(format!("destination's certificate is not trusted: {why}").into())
        }
        Some(rustls::Error::NoApplicationProtocol) => {
            ConnectFault::Setup("destination does not speak the protocol offered in TLS".into())
        }
        Some(rustls::Error::AlertReceived(alert)) => {
            ConnectFault::Setup(format!("destination ended the TLS handshake: {alert:?}").into())
        }
        _ => ConnectFault::Down("TLS handshake with the destination failed".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_local_and_metadata_addresses_are_forbidden_however_they_are_written() {
        for bad in [
            "169.254.169.254",
            "169.254.0.1",
            "100.100.100.200",
            "fe80::1",
            "febf::1",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::169.254.169.254",
            "2002:a9fe:a9fe::1",
            "fd00:ec2::254",
        ] {
            assert!(is_forbidden(bad.parse().unwrap()), "{bad} passed");
        }
        for good in [
            "127.0.0.1",
            "10.0.0.1",
            "::1",
            "fec0::1",
            "2001:db8::1",
            "::ffff:10.0.0.1",
            "2002:a00:1::1",
        ] {
            assert!(!is_forbidden(good.parse().unwrap()), "{good} refused");
        }
    }

    #[tokio::test]
    async fn a_forbidden_address_is_found_only_where_it_is_allowed() {
        for allowed in [false, true] {
            let place = Place::new("169.254.169.254".into(), 80, None, false, allowed);
            let found = place.addresses(Duration::ZERO).await;
            assert_eq!(found.is_ok(), allowed);
        }
    }

    #[test]
    fn the_systems_certificates_are_read_once_and_shared() {
        load_system_roots();
        let loaded = SYSTEM_ROOTS.get().cloned().unwrap();
        assert!(Arc::ptr_eq(&loaded, &system_roots()));
    }
}
