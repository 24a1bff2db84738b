//! TLS towards destinations: whom we trust, and who we are.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};

use super::{
    server::{answer, serve_tls},
    *,
};
use crate::model::Secret;

pub(super) struct Authority {
    pub(super) pem: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Self {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    pub(super) fn server(&self, name: &str, clients: Option<&Self>) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let (certificate, key) = self.issue(name);
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                roots.add(clients.der.clone()).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let chain = vec![certificate.der().clone()];
        Arc::new(builder.with_single_cert(chain, key).unwrap())
    }
}

#[test]
fn a_destination_is_trusted_by_its_authority_and_its_name() {
    run(async {
        let (ours, others) = (Authority::new(), Authority::new());
        let server = serve_tls(Some(ours.server("localhost", None)), |_| {
            answer(200, "", "")
        })
        .await;
        let mut to = destination(DestinationKind::Http, &[&server.url]);
        to.tls.ca_pem = Some(ours.pem.clone());
        send_once(to.clone(), &lines()).await.unwrap();

        to.tls.ca_pem = Some(others.pem.clone());
        let why = setup(send_once(to.clone(), &lines()).await);
        assert!(why.contains("not trusted"), "{why}");
        to.tls.ca_pem = None;
        setup(send_once(to.clone(), &lines()).await);
        assert_eq!(server.seen.borrow().len(), 1);

        let elsewhere = ours.server("elsewhere.example", None);
        let server = serve_tls(Some(elsewhere), |_| answer(200, "", "")).await;
        to.endpoints = vec![server.url.clone()];
        to.tls.ca_pem = Some(ours.pem.clone());
        setup(send_once(to.clone(), &lines()).await);
        to.tls.server_name = Some("elsewhere.example".into());
        send_once(to, &lines()).await.unwrap();
    });
}

#[test]
fn a_destination_that_asks_for_a_client_certificate_gets_it() {
    run(async {
        let (ours, clients) = (Authority::new(), Authority::new());
        let config = ours.server("localhost", Some(&clients));
        let server = serve_tls(Some(config), |_| answer(200, "", "")).await;
        let mut to = destination(DestinationKind::Http, &[&server.url]);
        to.tls.ca_pem = Some(ours.pem.clone());
        send_once(to.clone(), &lines()).await.unwrap_err();
        let (certificate, key) = clients.issue("gateway");
        to.tls.client_pem = Some((certificate.pem(), Secret::new(key.serialize_pem())));
        send_once(to.clone(), &lines()).await.unwrap();

        to.tls.client_pem = Some(("no certificate".into(), Secret::new("no key".into())));
        let why = setup(send_once(to, &lines()).await);
        assert!(why.contains("client"), "{why}");
    });
}

#[test]
fn certificates_do_not_share_connections() {
    run(async {
        let ours = Authority::new();
        let server = serve_tls(Some(ours.server("localhost", None)), |_| {
            answer(200, "", "")
        })
        .await;
        let upstreams = Upstreams::new(Config::default(), Sockets::new(1024));
        let mut trusting = destination(DestinationKind::Http, &[&server.url]);
        trusting.tls.ca_pem = Some(ours.pem.clone());
        let trusting = Arc::new(trusting);
        send(&upstreams, &trusting, &lines()).await.unwrap();
        let strict = Arc::new(destination(DestinationKind::Http, &[&server.url]));
        setup(send(&upstreams, &strict, &lines()).await);
        assert_eq!(server.seen.borrow().len(), 1);
    });
}

#[test]
fn a_destination_that_speaks_no_tls_is_down_and_one_without_h2_is_our_set_up() {
    run(async {
        let plain = super::server::serve(|_| answer(200, "", "")).await;
        let url = plain.url.replace("http://", "https://");
        let to = destination(DestinationKind::Http, &[&url]);
        let mut to_silent = to.clone();
        to_silent.request_timeout = Duration::from_millis(300);
        why(send_once(to_silent, &lines()).await);

        let ours = Authority::new();
        let server = serve_tls(Some(ours.server("localhost", None)), |_| {
            answer(200, "", "")
        })
        .await;
        let mut to = destination(DestinationKind::OtlpGrpc, &[&server.url]);
        to.tls.ca_pem = Some(ours.pem.clone());
        let why = setup(send_once(to, &otlp()).await);
        assert!(why.contains("HTTP/2"), "{why}");
    });
}
