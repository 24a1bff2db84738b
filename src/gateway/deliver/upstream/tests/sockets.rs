//! Connections have a ceiling, per endpoint and over all of them.

use super::{
    server::{Act, answer, serve},
    *,
};

fn slow(servers: &server::Server) -> Arc<Destination> {
    Arc::new(destination(DestinationKind::Http, &[&servers.url]))
}

#[test]
fn an_endpoint_has_no_more_connections_than_it_may_and_all_get_their_turn() {
    run(async {
        let server = serve(|_| answer(200, "", "")).await;
        let config = Config {
            connections_per_endpoint_max: 4,
            ..Config::default()
        };
        let upstreams = Rc::new(Upstreams::new(config, Sockets::new(1024)));
        let to = slow(&server);
        let mut sent = tokio::task::JoinSet::new();
        for _ in 0..64 {
            let (upstreams, to) = (upstreams.clone(), to.clone());
            sent.spawn_local(async move { send(&upstreams, &to, &lines()).await });
        }
        while let Some(sent) = sent.join_next().await {
            sent.unwrap().unwrap();
        }
        assert_eq!(server.seen.borrow().len(), 64);
        assert!(
            server.connections.get() <= 4,
            "{}",
            server.connections.get()
        );
    });
}

#[test]
fn who_gets_no_turn_in_time_is_told_that_the_destination_is_unavailable() {
    run(async {
        let server = serve(|_| Act::Silence).await;
        let config = Config {
            connections_per_endpoint_max: 1,
            ..Config::default()
        };
        let upstreams = Rc::new(Upstreams::new(config, Sockets::new(1024)));
        let to = slow(&server);
        let first = {
            let (upstreams, to) = (upstreams.clone(), to.clone());
            spawn_local(async move { send(&upstreams, &to, &lines()).await })
        };
        tokio::task::yield_now().await;
        let mut hasty = destination(DestinationKind::Http, &[&server.url]);
        hasty.request_timeout = Duration::from_millis(100);
        let late = send(&upstreams, &Arc::new(hasty), &lines()).await;
        assert_eq!(
            why(late),
            "too many connections to the destination are in use"
        );
        assert_eq!(server.connections.get(), 1);
        first.abort();
    });
}

#[test]
fn a_process_without_places_waits_and_an_idle_connection_gives_its_own_up() {
    run(async {
        let servers = [
            serve(|_| answer(200, "", "")).await,
            serve(|_| answer(200, "", "")).await,
            serve(|_| Act::Silence).await,
        ];
        let sockets = Sockets::new(1);
        let upstreams = Rc::new(Upstreams::new(Config::default(), sockets.clone()));
        let [first, second, silent] = servers.each_ref().map(slow);
        // The first one's connection stays, idle, until the second needs its place.
        for to in [&first, &second, &first] {
            send(&upstreams, to, &lines()).await.unwrap();
            assert!(sockets.is_short());
        }
        let stuck = {
            let (upstreams, silent) = (upstreams.clone(), silent.clone());
            spawn_local(async move { send(&upstreams, &silent, &lines()).await })
        };
        while servers[2].seen.borrow().is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
        let mut hasty = destination(DestinationKind::Http, &[&servers[0].url]);
        hasty.request_timeout = Duration::from_millis(100);
        let late = send(&upstreams, &Arc::new(hasty), &lines()).await;
        assert_eq!(why(late), "too many connections to destinations are open");
        // What is given up gives its place back at once.
        stuck.abort();
        send(&upstreams, &first, &lines()).await.unwrap();
    });
}
