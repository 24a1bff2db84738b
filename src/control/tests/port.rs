//! The feed's port: who may stay, for how long, and with which certificates it opens.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};
use tonic::transport::Endpoint;

use super::world::{Follower, Kept, World};
use crate::control::{Error, FeedTls};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

async fn serve(world: &World, connections: usize, first_byte: u64, stranger: u64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    let (first_byte, stranger) = (
        Duration::from_millis(first_byte),
        Duration::from_millis(stranger),
    );
    let feed = world.control.feed(None).expect("ready");
    let feed = feed.bounded(connections, first_byte, stranger);
    tokio::spawn(async move {
        let served = feed.serve_port(listener, std::future::pending()).await;
        served.expect("served");
    });
    address
}

/// How long the other side keeps the connection open.
async fn kept(address: SocketAddr, said: &[u8]) -> Duration {
    let began = Instant::now();
    let mut stream = TcpStream::connect(address).await.expect("connects");
    stream.write_all(said).await.expect("written");
    let mut heard = Vec::new();
    let end = timeout(Duration::from_secs(20), stream.read_to_end(&mut heard)).await;
    let _ = end.expect("cut in the end");
    began.elapsed()
}

#[tokio::test]
async fn strangers_are_cut_and_a_gateway_stays() {
    let world = World::new().await;
    let address = serve(&world, 16, 300, 1_000).await;
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("a URL");
    let channel = endpoint.connect().await.expect("connects");
    let key = world.control.join_key();
    let follower = Follower::connect(channel, key.reveal(), "a", Kept::default()).await;
    let mut follower = follower.expect("let in");
    let channel = endpoint.connect().await.expect("connects");
    let refused = Follower::connect(channel.clone(), "wrong", "b", Kept::default()).await;
    assert!(refused.is_err());
    let (silent, half, idle) = tokio::join!(
        kept(address, b""),
        kept(address, &PREFACE[..9]),
        kept(address, PREFACE)
    );
    assert!((250..5_000).contains(&silent.as_millis()), "{silent:?}");
    for stranger in [half, idle] {
        assert!(
            (900..10_000).contains(&stranger.as_millis()),
            "{stranger:?}"
        );
    }
    // Its connection was cut with the strangers', and a wrong key doesn't make it known.
    let refused = Follower::connect(channel, "wrong", "b", Kept::default()).await;
    assert!(refused.is_err());
    let made = world.token("late").await;
    follower
        .until(made["revision"].as_u64().expect("a number"))
        .await;
}

#[tokio::test]
async fn the_connection_after_the_last_place_is_closed_and_a_free_place_is_given_again() {
    let world = World::new().await;
    let address = serve(&world, 2, 400, 60_000).await;
    let first = TcpStream::connect(address).await.expect("connects");
    let second = TcpStream::connect(address).await.expect("connects");
    let third = kept(address, b"").await;
    assert!(third < Duration::from_millis(300), "{third:?}");
    drop((first, second));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let again = kept(address, b"").await;
    assert!(again > Duration::from_millis(300), "{again:?}");
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_found_before_anything_is_served() {
    let world = World::new().await;
    let file = |name: &str, text: &str| {
        let path = world.folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let made = || rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("made");
    let (one, other) = (made(), made());
    let good = file("c.pem", &one.cert.pem());
    let key = file("k.pem", &one.signing_key.serialize_pem());
    let strange = file("other.pem", &other.signing_key.serialize_pem());
    let (empty, junk) = (file("empty.pem", ""), file("junk.pem", "junk"));
    let missing = world.folder.path().join("missing.pem");
    for (certificate, key, ca, is_good) in [
        (&good, &key, None, true),
        (&good, &key, Some(&good), true),
        (&good, &strange, None, false),
        (&empty, &key, None, false),
        (&junk, &key, None, false),
        (&good, &junk, None, false),
        (&good, &key, Some(&empty), false),
        (&missing, &key, None, false),
        (&good, &key, Some(&missing), false),
    ] {
        let tls = FeedTls {
            certificate_file: certificate.clone(),
            key_file: key.clone(),
            client_ca_file: ca.cloned(),
        };
        match world.control.feed(Some(&tls)).err() {
            None => assert!(is_good, "{tls:?}"),
            Some(Error::BadCertificate(_) | Error::File { .. }) => assert!(!is_good, "{tls:?}"),
            Some(other) => panic!("{tls:?}: {other}"),
        }
    }
}
