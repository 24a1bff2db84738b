//! How a listener goes: announced first, then stopping, then cut.

use super::*;

#[test]
fn an_announced_drain_closes_nothing_that_is_idle_and_loses_no_request() {
    let world = World::start(Config::default());
    let mut kept = world.connect();
    kept.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("writes");
    read_answer(&mut kept);
    world.drain.announce();
    std::thread::sleep(Duration::from_millis(100));
    kept.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("writes");
    let answer = read_all(&mut kept);
    assert!(
        status(&answer) == 200 && answer.contains("connection: close"),
        "{answer}"
    );
    let mut fresh = world.connect();
    fresh
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("writes");
    let answer = read_all(&mut fresh);
    assert!(
        status(&answer) == 200 && answer.contains("connection: close"),
        "{answer}"
    );
}

#[test]
fn an_announced_drain_sends_http2_away_after_what_is_in_flight() {
    let world = World::start(Config::default());
    client_runtime().block_on(async {
        let stream = tokio::net::TcpStream::connect(world.address)
            .await
            .expect("connects");
        let (client, connection) = h2::client::handshake(stream).await.expect("a handshake");
        let connection = tokio::spawn(connection);
        let request = http::Request::get("http://a/slow")
            .body(())
            .expect("a request");
        let mut client = client.ready().await.expect("ready");
        let (answer, _) = client.send_request(request, true).expect("sends");
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.drain.announce();
        assert_eq!(answer.await.expect("an answer").status(), 200);
        assert!(client.ready().await.is_err());
        connection.await.expect("no panic").expect("a clean end");
    });
    world.is_empty_soon();
}

#[test]
fn a_drain_finishes_what_is_in_flight_closes_what_is_idle_and_accepts_nothing() {
    let world = World::start(Config::default());
    let mut idle = world.connect();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("writes");
    read_answer(&mut idle);
    let mut busy = world.connect();
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("writes");
    let mut busy2 = world.connect();
    busy2
        .write_all(&[floods::hello(), floods::get(1, "/slow")].concat())
        .expect("writes");
    std::thread::sleep(Duration::from_millis(200));
    let began = Instant::now();
    world.drain.stop(Instant::now() + Duration::from_secs(10));
    assert!(closes_after(idle) < Duration::from_millis(200));
    while TcpStream::connect(world.address).is_ok() {
        assert!(
            began.elapsed() < Duration::from_millis(300),
            "still accepts"
        );
        // Not faster than a busy machine lets the listener look at its clock.
        std::thread::sleep(Duration::from_millis(5));
    }
    let answer = read_all(&mut busy);
    assert!(
        status(&answer) == 200 && answer.contains("connection: close"),
        "{answer}"
    );
    // The second one is answered too, though it ignores the ping that asks whether it has heard.
    assert!(floods::has_headers(&mut busy2, 1));
    drop((busy, busy2));
    assert_eq!(world.join(), 0);
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn what_is_stuck_is_cut_at_the_deadline_and_counted() {
    let world = World::start(Config::default());
    let mut stuck = world.connect();
    stuck
        .write_all(b"GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("writes");
    std::thread::sleep(Duration::from_millis(100));
    world
        .drain
        .stop(Instant::now() + Duration::from_millis(300));
    is_near(closes_after(stuck), Duration::from_millis(300));
    assert_eq!(world.join(), 1);
}

#[test]
fn a_request_that_comes_on_a_new_connection_during_a_drain_is_answered() {
    let world = World::start(Config::default());
    let mut late = world.connect();
    std::thread::sleep(Duration::from_millis(100));
    world.drain.stop(Instant::now() + Duration::from_secs(10));
    std::thread::sleep(Duration::from_millis(100));
    late.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("writes");
    let answer = read_all(&mut late);
    assert!(
        status(&answer) == 200 && answer.contains("connection: close"),
        "{answer}"
    );
    drop(late);
    assert_eq!(world.join(), 0);
}

#[test]
fn a_drain_waits_for_a_refused_sender_that_is_still_sending() {
    let world = World::start(Config::default());
    let mut sender = world.connect();
    sender
        .write_all(b"POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbody")
        .expect("writes");
    assert_eq!(status(&read_answer(&mut sender)), 401);
    world.drain.stop(Instant::now() + Duration::from_secs(10));
    std::thread::sleep(Duration::from_millis(300));
    for _ in 0..3 {
        sender.write_all(b"more").expect("the peer was not reset");
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(sender);
    assert_eq!(world.join(), 0);
}

#[test]
fn what_is_stuck_is_cut_before_the_deadline_so_that_its_delivery_can_end() {
    let world = World::start(Config::default());
    let mut stuck = world.connect();
    stuck
        .write_all(b"GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("writes");
    std::thread::sleep(Duration::from_millis(100));
    let deadline = Instant::now() + Duration::from_secs(3);
    world.drain.stop(deadline);
    closes_after(stuck);
    let left = deadline.saturating_duration_since(Instant::now());
    assert!(
        left > Duration::from_millis(100) && left <= Duration::from_millis(350),
        "{left:?} left"
    );
    assert_eq!(world.join(), 1);
}
