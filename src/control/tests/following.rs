//! The feed, seen by gateways.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tonic::{Code, transport::Endpoint};

use super::world::{Follower, Kept, World};
use crate::control::{Config, FeedTls, store::random};

/// A change at random, whatever comes of it.
async fn stir(world: &World) {
    let [dice, which, ..] = random::<8>();
    let tokens = world.live_tokens().await;
    let token = tokens
        .get(usize::from(which) % tokens.len().max(1))
        .copied()
        .unwrap_or(1);
    let name = format!("n{}", u64::from_le_bytes(random()));
    match dice % 10 {
        0..4 => drop(world.token(&name).await),
        4 => drop(
            world
                .call("POST", &format!("/tokens/{token}/revoke"), Value::Null)
                .await,
        ),
        5 => drop(
            world
                .call("POST", &format!("/tokens/{token}/disable"), Value::Null)
                .await,
        ),
        6 => drop(
            world
                .call("POST", &format!("/tokens/{token}/rotate"), json!({}))
                .await,
        ),
        7 => drop(world.call("POST", "/accounts", json!({"name": name})).await),
        8 => {
            let id = u64::from(which % 8) + 2;
            drop(
                world
                    .call("DELETE", &format!("/accounts/{id}"), Value::Null)
                    .await,
            );
        }
        _ => {
            let body = json!({"name": name, "kind": "http", "endpoints": ["http://a"],
                "credentials": {"kind": "bearer", "token": "t"}});
            drop(world.call("POST", "/destinations", body).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_equals_the_store_after_random_changes_and_reconnects() {
    let world = World::new().await;
    let mut kept = Kept::default();
    for round in 0..8 {
        let mut follower = world.follow("a", kept).await;
        for _ in 0..10 {
            stir(&world).await;
        }
        let head = world.control.feed_state().head;
        follower.until(head).await;
        assert_eq!(follower.kept.state, world.state().await, "round {round}");
        assert_eq!(follower.snapshots, usize::from(round == 0));
        kept = follower.kept.clone();
        drop(follower);
        // Unseen until the next stream.
        for _ in 0..3 {
            stir(&world).await;
        }
    }
    world.control.verify_audit().await.expect("intact");
}

#[tokio::test]
async fn a_reconnect_brings_just_the_missing_deltas() {
    let world = World::new().await;
    let mut follower = world.follow("a", Kept::default()).await;
    follower.until(1).await;
    assert_eq!((follower.snapshots, follower.deltas), (1, 0));
    let kept = follower.kept.clone();
    drop(follower);
    for name in ["x", "y", "z"] {
        world.token(name).await;
    }
    let mut follower = world.follow("a", kept.clone()).await;
    follower.until(4).await;
    assert_eq!((follower.snapshots, follower.deltas), (0, 3));

    for stranger in [
        Kept {
            revision: 99,
            ..kept.clone()
        },
        Kept {
            store: "other".into(),
            ..kept.clone()
        },
        Kept {
            key: 7,
            ..kept.clone()
        },
        // As many commits, and not the same.
        Kept {
            history: kept.history ^ 1,
            ..kept.clone()
        },
        Kept { history: 0, ..kept },
    ] {
        let mut follower = world.follow("b", stranger).await;
        follower.kept.revision = 0;
        follower.until(4).await;
        assert_eq!(follower.snapshots, 1, "only a snapshot helps a stranger");
        assert_eq!(follower.kept.state, world.state().await);
    }
}

#[tokio::test]
async fn deltas_come_from_the_store_after_a_restart_and_a_snapshot_when_they_are_gone() {
    let config = Config {
        keep_changes: 100,
        ..Config::default()
    };
    let world = World::with(config.clone()).await;
    let mut follower = world.follow("a", Kept::default()).await;
    follower.until(1).await;
    let kept = follower.kept.clone();
    drop(follower);
    for _ in 0..150 {
        world.token("x").await;
    }
    let World {
        control, folder, ..
    } = world;
    control.close().await;
    let world = World::within(config, folder).await;
    let mut follower = world.follow("a", kept.clone()).await;
    follower.until(151).await;
    assert_eq!((follower.snapshots, follower.deltas), (0, 150));
    drop(follower);
    for _ in 151..256 {
        world.token("x").await;
    }
    let World {
        control, folder, ..
    } = world;
    control.close().await;
    let world = World::within(Config::default(), folder).await;
    let mut follower = world.follow("a", kept).await;
    follower.until(256).await;
    assert_eq!((follower.snapshots, follower.deltas), (1, 0));
    assert_eq!(follower.kept.state, world.state().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_beside_writers_converges() {
    let world = World::new().await;
    for _ in 0..300 {
        world.token("before").await;
    }
    let writers = futures_util::future::join_all((0..4).map(|_| async {
        for _ in 0..40 {
            stir(&world).await;
        }
    }));
    let readers = futures_util::future::join_all((0..6).map(|at| {
        let world = &world;
        async move {
            tokio::time::sleep(Duration::from_millis(at * 20)).await;
            let mut follower = world.follow(&format!("g{at}"), Kept::default()).await;
            follower.until(300).await;
            follower
        }
    }));
    let (_, followers) = tokio::join!(writers, readers);
    let head = world.control.feed_state().head;
    for mut follower in followers {
        follower.until(head).await;
        assert_eq!(follower.kept.state, world.state().await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_writers_get_gapless_revisions() {
    let world = World::new().await;
    let mut follower = world.follow("a", Kept::default()).await;
    follower.until(1).await;
    let writers = futures_util::future::join_all((0..8).map(|_| async {
        let mut revisions = Vec::new();
        for _ in 0..10 {
            revisions.push(
                world.token("x").await["revision"]
                    .as_u64()
                    .expect("a number"),
            );
        }
        revisions
    }));
    let mut revisions = writers.await.concat();
    revisions.sort_unstable();
    // What comes together shares one.
    revisions.dedup();
    let head = world.control.feed_state().head;
    assert_eq!(revisions, (2..=head).collect::<Vec<_>>());
    follower.until(head).await;
    assert_eq!(follower.deltas, revisions.len());
}

#[tokio::test]
async fn a_wrong_join_key_is_refused_over_tcp_and_the_right_one_is_not() {
    let world = World::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    let control = world.control.clone();
    let server = tokio::spawn(async move {
        let feed = control.feed(None).expect("ready");
        feed.serve_port(listener, std::future::pending()).await
    });
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("a URL");
    let channel = endpoint.connect().await.expect("connects");
    for wrong in ["", "x", "Bearer"] {
        let refused = Follower::connect(channel.clone(), wrong, "a", Kept::default()).await;
        assert_eq!(
            refused.err().expect("refused").code(),
            Code::Unauthenticated
        );
    }
    let key = world.control.join_key();
    let follower = Follower::connect(channel, key.reveal(), "a", Kept::default()).await;
    let mut follower = follower.expect("let in");
    follower.until(1).await;
    world.control.clone().close().await;
    while follower.step().await.is_ok() {}
    server.await.expect("no panic").expect("a clean end");
}

#[tokio::test]
async fn a_client_certificate_stands_for_the_join_key_and_none_is_refused() {
    let world = World::new().await;
    let folder = world.folder.path();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("made");
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    std::fs::write(folder.join("c.pem"), &certificate).expect("written");
    std::fs::write(folder.join("k.pem"), &key).expect("written");
    let tls = FeedTls {
        certificate_file: folder.join("c.pem"),
        key_file: folder.join("k.pem"),
        client_ca_file: Some(folder.join("c.pem")),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    let control = world.control.clone();
    tokio::spawn(async move {
        let feed = control.feed(Some(&tls)).expect("ready");
        feed.serve_port(listener, std::future::pending()).await
    });
    let url = format!("https://localhost:{}", address.port());
    let ca = tonic::transport::Certificate::from_pem(&certificate);
    let trusting = tonic::transport::ClientTlsConfig::new().ca_certificate(ca);
    for (tls, is_let_in) in [
        (
            trusting
                .clone()
                .identity(tonic::transport::Identity::from_pem(&certificate, &key)),
            true,
        ),
        (trusting, false),
    ] {
        let endpoint = Endpoint::from_shared(url.clone()).expect("a URL");
        let channel = endpoint.tls_config(tls).expect("TLS").connect_lazy();
        let follower = Follower::connect(channel, "no key", "a", Kept::default()).await;
        assert_eq!(follower.is_ok(), is_let_in);
    }
}

#[tokio::test]
async fn a_quiet_feed_beats_and_a_newer_stream_replaces_the_older() {
    let config = Config {
        heartbeat: Duration::from_millis(20),
        ..Config::default()
    };
    let world = World::with(config).await;
    let mut older = world.follow("a", Kept::default()).await;
    let mut beats = 0;
    while beats < 3 {
        beats += usize::from(older.step().await.expect("goes on").is_some());
    }
    let mut newer = world.follow("a", Kept::default()).await;
    newer.until(1).await;
    let end = loop {
        if let Err(end) = older.step().await {
            break end;
        }
    };
    assert_eq!(end.code(), Code::Aborted);
    assert_eq!(world.control.feed_state().gateways.len(), 1);
}

#[tokio::test]
async fn a_gateway_that_acknowledges_the_future_is_cut() {
    let world = World::new().await;
    let mut follower = world.follow("a", Kept::default()).await;
    follower.until(1).await;
    follower.acknowledge(2).await;
    let end = loop {
        if let Err(end) = follower.step().await {
            break end;
        }
    };
    assert_eq!(end.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_stalled_reader_is_cut_and_holds_up_nobody() {
    let world = World::new().await;
    let stalled = world.follow("stalled", Kept::default()).await;
    let mut reading = world.follow("reading", Kept::default()).await;
    let pem = "x".repeat(3000);
    // Far more than the pipe, the windows and the outbox hold.
    for at in 0..90 {
        let headers: Vec<_> = (0..16)
            .map(|n| json!({"name": format!("x-{n}"), "value": pem}))
            .collect();
        let body = json!({"name": format!("d{at}"), "kind": "http", "endpoints": ["http://a"], "headers": headers});
        world.ok("POST", "/destinations", body).await;
    }
    reading.until(91).await;
    let gone = async {
        let connected = || {
            let gateways = world.control.feed_state().gateways;
            let connected = gateways.iter().filter(|one| one.connected_since.is_some());
            connected.count()
        };
        while connected() > 1 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            while reading.kept.revision < world.control.feed_state().head {
                reading.step().await.expect("goes on");
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(15), gone)
        .await
        .expect("the stalled one is cut");
    drop(stalled);
}
