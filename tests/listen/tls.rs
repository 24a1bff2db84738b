//! TLS: reload under load, bad files, client certificates.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsConnector, client::TlsStream};
use wharfinger::gateway::listen::{Config, tls::Certificates};

use super::world::{World, client_runtime};

struct Papers {
    folder: TempDir,
}

impl Papers {
    fn new() -> Self {
        let papers = Self {
            folder: tempfile::tempdir().expect("a folder"),
        };
        papers.write("server");
        papers
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str) {
        let made =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        std::fs::write(self.path(&format!("{name}.pem")), made.cert.pem()).expect("writes");
        let key = made.signing_key.serialize_pem();
        std::fs::write(self.path(&format!("{name}.key")), key).expect("writes");
    }

    fn load(&self, authority: Option<PathBuf>) -> Arc<Certificates> {
        Certificates::load(self.path("server.pem"), self.path("server.key"), authority)
            .expect("good papers")
    }
}

fn client(
    trusted: &[CertificateDer<'static>],
    alpn: &[u8],
    own: Option<(&Path, &Path)>,
) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots.add(certificate.clone()).expect("a root");
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(chain).expect("a certificate")],
                PrivateKeyDer::from_pem_file(key).expect("a key"),
            )
            .expect("client papers"),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    TlsConnector::from(Arc::new(config))
}

async fn connect(
    world: &World,
    client: &TlsConnector,
) -> std::io::Result<TlsStream<tokio::net::TcpStream>> {
    let stream = tokio::net::TcpStream::connect(world.address).await?;
    client
        .connect(ServerName::try_from("localhost").expect("a name"), stream)
        .await
}

async fn ask(world: &World, client: &TlsConnector) -> std::io::Result<String> {
    let mut stream = connect(world, client).await?;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

fn pem(path: PathBuf) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).expect("a certificate")
}

#[test]
fn certificates_are_reloaded_under_load_without_a_failed_request() {
    let papers = Papers::new();
    let old = pem(papers.path("server.pem"));
    let certificates = papers.load(None);
    let world = Arc::new(World::start_with(
        Config::default(),
        Some(certificates.clone()),
    ));
    papers.write("server");
    let new = pem(papers.path("server.pem"));
    let over = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicU64::new(0));
    client_runtime().block_on(async {
        let only_new = client(std::slice::from_ref(&new), b"http/1.1", None);
        assert!(ask(&world, &only_new).await.is_err());
        let both = client(&[old, new], b"http/1.1", None);
        let load = {
            let (world, over, asked) = (world.clone(), over.clone(), asked.clone());
            tokio::spawn(async move {
                while !over.load(Relaxed) {
                    let answer = ask(&world, &both).await.expect("never fails");
                    assert!(answer.starts_with("HTTP/1.1 200"));
                    asked.fetch_add(1, Relaxed);
                }
            })
        };
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            certificates.reload().expect("good papers");
        }
        over.store(true, Relaxed);
        load.await.expect("no request fails");
        assert!(ask(&world, &only_new).await.is_ok());
    });
    println!("{} requests over 20 reloads", asked.load(Relaxed));
    assert!(asked.load(Relaxed) > 5);
}

#[test]
fn a_bad_file_keeps_the_old_certificate_and_a_watch_takes_up_a_good_one() {
    let papers = Papers::new();
    let certificates = papers.load(None);
    let world = World::start_with(Config::default(), Some(certificates.clone()));
    let old = client(&[pem(papers.path("server.pem"))], b"http/1.1", None);
    std::fs::write(papers.path("server.pem"), "no certificate").expect("writes");
    assert!(certificates.reload().is_err());
    client_runtime().block_on(async {
        assert!(ask(&world, &old).await.is_ok());
        tokio::spawn(certificates.clone().watch(Duration::from_millis(20)));
        tokio::time::sleep(Duration::from_millis(60)).await;
        papers.write("server");
        let new = client(&[pem(papers.path("server.pem"))], b"http/1.1", None);
        let mut is_new = false;
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            is_new = is_new || ask(&world, &new).await.is_ok();
        }
        assert!(is_new);
    });
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let papers = Papers::new();
    papers.write("other");
    let mixed = Certificates::load(papers.path("server.pem"), papers.path("other.key"), None);
    assert!(mixed.is_err());
}

#[test]
fn clients_without_the_asked_for_certificate_are_turned_away() {
    let papers = Papers::new();
    papers.write("client");
    papers.write("stranger");
    let certificates = papers.load(Some(papers.path("client.pem")));
    let world = World::start_with(Config::default(), Some(certificates));
    let trusted = [pem(papers.path("server.pem"))];
    let own = |name: &str| {
        (
            papers.path(&format!("{name}.pem")),
            papers.path(&format!("{name}.key")),
        )
    };
    client_runtime().block_on(async {
        let (chain, key) = own("client");
        let known = client(&trusted, b"http/1.1", Some((&chain, &key)));
        assert!(
            ask(&world, &known)
                .await
                .is_ok_and(|answer| answer.contains(" 200 "))
        );
        let (chain, key) = own("stranger");
        let stranger = client(&trusted, b"http/1.1", Some((&chain, &key)));
        assert!(ask(&world, &stranger).await.is_err());
        let nobody = client(&trusted, b"http/1.1", None);
        assert!(ask(&world, &nobody).await.is_err());
    });
    world.cut_soon("handshake", 2);
}

#[test]
fn http2_is_chosen_by_alpn_and_a_stalled_handshake_is_cut() {
    let papers = Papers::new();
    let config = Config {
        tls_handshake_timeout: Duration::from_millis(500),
        ..Config::default()
    };
    let world = World::start_with(config, Some(papers.load(None)));
    let h2 = client(&[pem(papers.path("server.pem"))], b"h2", None);
    client_runtime().block_on(async {
        let stream = connect(&world, &h2).await.expect("connects");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (client, connection) = h2::client::handshake(stream).await.expect("a handshake");
        tokio::spawn(connection);
        let request = http::Request::get("https://localhost/")
            .body(())
            .expect("a request");
        let mut client = client.ready().await.expect("ready");
        let (answer, _) = client.send_request(request, true).expect("sends");
        assert_eq!(answer.await.expect("an answer").status(), 200);
    });
    let took = super::closes_after(world.connect());
    assert!(
        took >= Duration::from_millis(450) && took < Duration::from_millis(1_500),
        "{took:?}"
    );
    world.cut_soon("handshake", 1);
}
