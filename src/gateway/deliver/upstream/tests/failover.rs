//! Connections kept, lost and replaced; endpoints that fail.

use super::{
    server::{Act, answer, serve},
    *,
};

#[test]
fn one_connection_serves_one_request_after_the_other() {
    run(async {
        let server = serve(|_| answer(200, "", "fine")).await;
        let upstreams = Upstreams::new(Config::default(), Sockets::new(1024));
        let to = Arc::new(destination(DestinationKind::Http, &[&server.url]));
        for _ in 0..20 {
            send(&upstreams, &to, &lines()).await.unwrap();
        }
        assert_eq!(server.connections.get(), 1);
        // A later version of the destination goes on with the same connections.
        let mut later = destination(DestinationKind::Http, &[&server.url]);
        later.headers.push(("x-new".into(), "1".into()));
        let later = Arc::new(later);
        send(&upstreams, &later, &lines()).await.unwrap();
        assert_eq!(server.connections.get(), 1);
        let seen = server.seen.borrow();
        assert_eq!(seen[20].header("x-new"), Some("1"));
    });
}

#[test]
fn sixty_four_at_once_leave_connections_that_the_next_sixty_four_reuse() {
    run(async {
        let server = serve(|_| answer(200, "", "")).await;
        let upstreams = Upstreams::new(Config::default(), Sockets::new(1024));
        let to = Arc::new(destination(DestinationKind::Http, &[&server.url]));
        for _ in 0..3 {
            let bulk = lines();
            let sends = (0..64).map(|_| send(&upstreams, &to, &bulk));
            for result in futures_util::future::join_all(sends).await {
                result.unwrap();
            }
        }
        assert_eq!(server.seen.borrow().len(), 192);
        assert!(
            server.connections.get() <= 64,
            "{}",
            server.connections.get()
        );
    });
}

#[test]
fn a_kept_connection_that_dies_is_replaced_without_a_word() {
    run(async {
        // Every third request finds its connection closed under it.
        let server = serve(|number| match number % 3 {
            1 => Act::Close,
            _ => answer(200, "", ""),
        })
        .await;
        let upstreams = Upstreams::new(Config::default(), Sockets::new(1024));
        let to = Arc::new(destination(DestinationKind::Http, &[&server.url]));
        for _ in 0..10 {
            send(&upstreams, &to, &lines()).await.unwrap();
        }
        // One that was closed after its answer, seen or not yet seen.
        let server = serve(|_| match answer(200, "", "") {
            Act::Answer(text) => Act::AnswerAndClose(text),
            other => other,
        })
        .await;
        let to = Arc::new(destination(DestinationKind::Http, &[&server.url]));
        for pause in [0, 0, 20, 0, 20] {
            send(&upstreams, &to, &lines()).await.unwrap();
            sleep(Duration::from_millis(pause)).await;
        }
    });
}

#[test]
fn a_new_connection_that_dies_is_not_tried_for_ever() {
    run(async {
        let server = serve(|_| Act::Close).await;
        let to = destination(DestinationKind::Http, &[&server.url]);
        let why = why(send_once(to, &lines()).await);
        assert_eq!(why, "destination closed the connection without an answer");
        assert_eq!(server.seen.borrow().len(), 1);
    });
}

#[test]
fn an_idle_connection_is_closed_in_time() {
    run(async {
        let server = serve(|_| answer(200, "", "")).await;
        let config = Config {
            idle_timeout: Duration::from_millis(100),
            ..Config::default()
        };
        let upstreams = Upstreams::new(config, Sockets::new(1024));
        let to = Arc::new(destination(DestinationKind::Http, &[&server.url]));
        send(&upstreams, &to, &lines()).await.unwrap();
        sleep(Duration::from_millis(250)).await;
        assert_eq!(upstreams.shared.idle_connections(), 0);
        send(&upstreams, &to, &lines()).await.unwrap();
        assert_eq!(server.connections.get(), 2);
        drop(to);
        sleep(Duration::from_millis(150)).await;
        assert!(upstreams.shared.known.borrow().is_empty());
        assert!(upstreams.shared.endpoints.borrow().is_empty());
    });
}

#[test]
fn the_next_endpoint_takes_what_one_could_not() {
    run(async {
        let good = serve(|_| answer(200, "", "")).await;
        let closed = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            format!("http://{}", listener.local_addr().unwrap())
        };
        let broken = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx";
        for bad in [
            answer(502, "", ""),
            answer(503, "", ""),
            answer(504, "", ""),
            Act::Close,
            Act::Silence,
            Act::Answer("220 this is SMTP\r\n".into()),
            Act::AnswerAndReset(String::new()),
            Act::AnswerAndReset(broken.into()),
            Act::AnswerAndClose(broken.into()),
        ] {
            let bad = serve(move |_| bad.clone()).await;
            let mut to = destination(DestinationKind::OtlpHttp, &[&bad.url, &closed, &good.url]);
            to.request_timeout = Duration::from_millis(900);
            assert_eq!(send_once(to, &otlp()).await, Ok(Delivery::default()));
            assert_eq!(bad.seen.borrow().len(), 1);
        }
        assert_eq!(good.seen.borrow().len(), 9);
    });
}

#[test]
fn an_answer_that_breaks_off_fails_otlp_and_not_bulk() {
    run(async {
        let broken = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx";
        let server = serve(move |_| Act::AnswerAndReset(broken.into())).await;
        let to = destination(DestinationKind::OtlpHttp, &[&server.url]);
        assert_eq!(
            why(send_once(to, &otlp()).await),
            "destination's answer was cut off"
        );
        let to = destination(DestinationKind::Http, &[&server.url]);
        send_once(to, &lines()).await.unwrap();
    });
}

#[test]
fn endpoints_take_turns_and_a_failing_one_rests_until_it_is_probed() {
    run(async {
        let down = Rc::new(std::cell::Cell::new(true));
        let state = down.clone();
        let first = serve(move |_| answer(if state.get() { 503 } else { 200 }, "", "")).await;
        let second = serve(|_| answer(200, "", "")).await;
        let upstreams = Upstreams::new(Config::default(), Sockets::new(1024));
        let to = Arc::new(destination(
            DestinationKind::Http,
            &[&first.url, &second.url],
        ));
        for _ in 0..10 {
            send(&upstreams, &to, &lines()).await.unwrap();
        }
        assert_eq!(first.seen.borrow().len(), 1);
        assert_eq!(second.seen.borrow().len(), 10);
        down.set(false);
        sleep(Duration::from_millis(1_050)).await;
        for _ in 0..10 {
            send(&upstreams, &to, &lines()).await.unwrap();
        }
        assert_eq!(first.seen.borrow().len(), 1 + 5);
    });
}

#[test]
fn an_only_endpoint_at_rest_is_tried_all_the_same() {
    run(async {
        let server = serve(|number| answer(if number < 3 { 503 } else { 200 }, "", "")).await;
        let upstreams = Upstreams::new(Config::default(), Sockets::new(1024));
        let to = Arc::new(destination(DestinationKind::Http, &[&server.url]));
        for _ in 0..3 {
            assert_eq!(
                why(send(&upstreams, &to, &lines()).await),
                "destination answered 503"
            );
        }
        send(&upstreams, &to, &lines()).await.unwrap();
    });
}

#[test]
fn a_silent_destination_costs_its_time_and_no_more() {
    run(async {
        let server = serve(|_| Act::Silence).await;
        let mut to = destination(DestinationKind::Http, &[&server.url]);
        to.request_timeout = Duration::from_millis(200);
        let started = Instant::now();
        assert_eq!(why(send_once(to, &lines()).await), "destination timed out");
        let took = started.elapsed();
        assert!(
            took >= Duration::from_millis(200) && took < Duration::from_secs(2),
            "{took:?}"
        );
    });
}

#[test]
fn a_wait_that_one_endpoint_asks_for_outlives_the_failure_of_the_next() {
    run(async {
        let busy = serve(|_| answer(503, "retry-after: 9\r\n", "")).await;
        let broken = serve(|_| Act::Close).await;
        let to = destination(DestinationKind::Http, &[&busy.url, &broken.url]);
        match send_once(to, &lines()).await {
            Err(Rejection::DestinationUnavailable { retry_after, .. }) => {
                assert_eq!(retry_after, Some(Duration::from_secs(9)));
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn an_endpoint_that_is_slow_gets_no_more_than_it_can_take() {
    run(async {
        let slow = serve(|_| Act::Silence).await;
        let quick = serve(|_| answer(200, "", "")).await;
        let upstreams = Upstreams::new(Config::default(), Sockets::new(1024));
        let to = Arc::new(destination(DestinationKind::Http, &[&slow.url, &quick.url]));
        let bulk = lines();
        let (mut taken, mut waiting) = (0, Vec::new());
        for _ in 0..40 {
            let mut sending = Box::pin(send(&upstreams, &to, &bulk));
            tokio::select! {
                biased;
                sent = &mut sending => {
                    sent.expect("the quick one takes it");
                    taken += 1;
                }
                () = sleep(Duration::from_millis(20)) => waiting.push(sending),
            }
        }
        // What hangs there counts, so that all that follows goes to the other one.
        assert_eq!((waiting.len(), taken), (1, 39));
        assert_eq!(quick.seen.borrow().len(), 39);
    });
}
