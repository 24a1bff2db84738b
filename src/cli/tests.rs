//! The command line's words: options, their defaults, and what is made of them.

mod covering;

use std::sync::Arc;

use clap::CommandFactory;
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[test]
fn the_command_line_is_sound() {
    Arguments::command().debug_assert();
}

#[test]
fn words_become_ids_or_names() {
    assert_eq!(access::reference("12"), serde_json::json!(12));
    assert_eq!(access::reference("main"), serde_json::json!("main"));
    assert_eq!(access::reference("+1"), serde_json::json!("+1"));
    let large = "99999999999999999999999";
    assert_eq!(access::reference(large), serde_json::json!(large));
    assert_eq!(access::encoded("a b&c=ü/"), "a%20b%26c%3D%C3%BC%2F");
}

#[test]
fn an_address_that_means_every_interface_is_reached_over_loopback() {
    let url = |address: &str| access::reachable(address.parse().expect("an address"));
    assert_eq!(url("0.0.0.0:9602"), "http://127.0.0.1:9602");
    assert_eq!(url("[::]:9602"), "http://[::1]:9602");
    assert_eq!(url("10.1.2.3:1"), "http://10.1.2.3:1");
}

#[test]
fn urls_that_would_mislead_are_refused() {
    for wrong in [
        "127.0.0.1:9600",
        "ftp://h",
        "http://user:secret@h",
        "http://h/?a=b",
        "http://",
    ] {
        let client = client::Client::new(wrong, None, HEALTH_TIMEOUT);
        assert!(matches!(client, Err(Failure::Usage(_))), "{wrong}");
    }
}

/// Reads a request's head, writes `answer`, and then again and again if it is endless.
async fn script<S>(mut stream: S, answer: &[u8], is_endless: bool)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    while stream.write_all(answer).await.is_ok() && is_endless {}
    let _ = stream.flush().await;
    // Held until the other side has had enough.
    let _ = stream.read_u8().await;
}

fn sentence(answer: Result<client::Answer, Failure>) -> String {
    answer.expect_err("no answer to be had").to_string()
}

#[tokio::test]
async fn an_api_that_never_answers_or_never_ends_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    tokio::spawn(async move {
        let endless = [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &[b'x'; 65_536]].concat();
        for (answer, is_endless) in [
            (b"".as_slice(), false),
            (&endless, true),
            (b"SSH-2.0", false),
        ] {
            let (stream, _) = listener.accept().await.expect("the client connects");
            let answer = answer.to_vec();
            tokio::spawn(async move { script(stream, &answer, is_endless).await });
        }
    });
    let client = |timeout| client::Client::new(&url, None, timeout).expect("a URL");
    let short = client(Duration::from_millis(100));
    let silent = sentence(short.send(Method::GET, "/", None, None, None).await);
    assert_eq!(silent, format!("no answer from {url} within 100ms"));
    let long = client(Duration::from_secs(20));
    let endless = sentence(long.send(Method::GET, "/", None, None, None).await);
    assert!(endless.contains("length limit exceeded"), "{endless}");
    let stranger = sentence(
        client(Duration::from_secs(2))
            .send(Method::GET, "/", None, None, None)
            .await,
    );
    assert!(stranger.starts_with("no "), "{stranger}");
}

#[tokio::test]
async fn https_is_spoken_with_the_given_authority_and_refused_with_another() {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let other =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let folder = tempfile::tempdir().expect("a folder for the test");
    let ca = |name: &str, pem: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, pem).expect("the folder is writable");
        path
    };
    let right = ca("own.pem", own.cert.pem());
    let wrong = ca("other.pem", other.cert.pem());
    let empty = ca("empty.pem", String::new());

    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key.into())
        .expect("the key fits");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
                    script(stream, answer, false).await;
                }
            });
        }
    });
    let url = format!("https://localhost:{port}");
    let client = |ca: &Path| client::Client::new(&url, Some(ca), Duration::from_secs(20));
    let answer = client(&right)
        .expect("a certificate")
        .send(Method::GET, "/", None, None, None)
        .await
        .expect("it is trusted");
    assert_eq!(answer.text(), "{}");
    let refused = client(&wrong).expect("a certificate");
    let refused = sentence(refused.send(Method::GET, "/", None, None, None).await);
    assert!(refused.contains("certificate"), "{refused}");
    assert!(matches!(client(&empty), Err(Failure::Usage(_))));
}
