//! The server of the operators' and admin ports: small, and as hard to hold open as the ingest doors.

mod places;
mod stream;

use std::{convert::Infallible, error::Error, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, Response,
    body::{Body, Incoming},
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::warn;

use places::{Place, Places};
use stream::Stream;

/// For a request's head, and between two requests: hyper runs the same clock for both.
const IDLE: Duration = Duration::from_secs(5);

/// A connection that is older ends with its next answer.
const AGE: Duration = Duration::from_secs(60);

/// After that, how long a request in flight may take: `?wait=enforced` waits for 60 s at most.
const AGE_GRACE: Duration = Duration::from_secs(90);

/// Of what a peer has sent ahead, or hasn't taken yet.
const BUFFER_BYTES: usize = 64 << 10;

/// What the kernel keeps of answers that nobody takes, some times that: left alone it grows to megabytes.
const SEND_BYTES: usize = 128 << 10;

/// Where a request came from; stands in its extensions.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// After `shutdown`, how long requests in flight may take.
const FINISH: Duration = Duration::from_secs(5);

/// Answers HTTP/1.1 with a function until `shutdown` resolves; then finishes what is in flight, for 5 s at most. One request
/// to a connection: scrapers and probes come every few seconds, and whoever sends a thousand ahead gets one page.
pub async fn serve<H, F>(listener: TcpListener, handler: H, shutdown: impl Future<Output = ()>)
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let service = service_fn(move |request| {
        let answer = handler(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    accept(listener, service, false, shutdown).await;
}

/// The same for a service, such as an axum router in a `TowerToHyperService`; its connections are kept for the next request.
pub async fn serve_service<S, B>(
    listener: TcpListener,
    service: S,
    shutdown: impl Future<Output = ()>,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Future: Send> + Clone + Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    accept(listener, service, true, shutdown).await;
}

async fn accept<S, B>(
    listener: TcpListener,
    service: S,
    keeps: bool,
    shutdown: impl Future<Output = ()>,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Future: Send> + Clone + Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let places = Arc::new(Places::default());
    let (stop, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut shutdown => break,
        };
        match accepted {
            // No place: closed at once.
            Ok((socket, peer)) => {
                if let Some(place) = places.take(peer.ip()) {
                    let served = service.clone();
                    let stopped = stopped.clone();
                    connections.spawn(converse(socket, Peer(peer), place, served, keeps, stopped));
                }
            }
            Err(error) => {
                warn!(%error, "cannot accept connections, trying again");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    stop.send_replace(true);
    let finished = async { while connections.join_next().await.is_some() {} };
    if timeout(FINISH, finished).await.is_err() {
        connections.shutdown().await;
    }
}

async fn converse<S, B>(
    socket: TcpStream,
    peer: Peer,
    place: Place,
    service: S,
    keeps: bool,
    mut stopped: watch::Receiver<bool>,
) where
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Error: Into<Box<dyn Error + Send + Sync>>> + 'static,
{
    // A socket that refuses either still works.
    let _ = socket.set_nodelay(true);
    let _ = SockRef::from(&socket).set_send_buffer_size(SEND_BYTES);
    let place = Arc::new(place);
    let stream = Stream::new(socket, place.clone());
    let its_place = place.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let busy = its_place.begin();
        request.extensions_mut().insert(peer);
        let answer = service.call(request);
        async move {
            let _busy = busy;
            answer.await
        }
    });
    let mut server = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE)
            .keep_alive(keeps)
            .max_header_size(24 << 10)
            .max_buf_size(BUFFER_BYTES)
            .serve_connection(TokioIo::new(stream), service)
    );
    let leaving = async {
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => {}
            () = sleep(AGE) => {}
        }
    };
    // The peer's errors are the peer's.
    tokio::select! {
        _ = server.as_mut() => return,
        () = place.evicted() => return,
        () = leaving => server.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = server => {}
        () = place.evicted() => {}
        () = sleep(AGE_GRACE) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpSocket,
        sync::oneshot,
    };

    use super::*;

    async fn start() -> (
        std::net::SocketAddr,
        oneshot::Sender<()>,
        tokio::task::JoinHandle<()>,
    ) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel::<()>();
        let handler = |request: Request<Incoming>| async move {
            match request.uri().path() {
                "/slow" => sleep(Duration::from_millis(300)).await,
                "/wait" => sleep(Duration::from_secs(30)).await,
                "/large" => return Response::new(Full::from(vec![b'a'; 256 << 10])),
                _ => {}
            }
            Response::new(Full::new(Bytes::from_static(b"well")))
        };
        let handler = service_fn(move |request| {
            let answer = handler(request);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        let server = serve_service(listener, handler, async {
            let _ = stopped.await;
        });
        (address, stop, tokio::spawn(server))
    }

    #[tokio::test]
    async fn requests_in_flight_finish_and_idle_connections_close() {
        let (address, stop, server) = start().await;
        let mut idle = TcpStream::connect(address).await.expect("connects");
        let mut busy = TcpStream::connect(address).await.expect("connects");
        busy.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .expect("writes");
        sleep(Duration::from_millis(100)).await;
        stop.send(()).expect("the server runs");
        let mut answer = String::new();
        busy.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("well"));
        assert_eq!(idle.read(&mut [0; 1]).await.expect("closed"), 0);
        server.await.expect("the server ends");
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn a_silent_connection_and_one_of_half_a_head_are_closed() {
        let (address, _stop, _server) = start().await;
        let began = Instant::now();
        let mut silent = TcpStream::connect(address).await.expect("connects");
        let mut slow = TcpStream::connect(address).await.expect("connects");
        slow.write_all(b"GET / HTTP/1.1\r\nHo")
            .await
            .expect("writes");
        for stream in [&mut silent, &mut slow] {
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
        }
        let took = began.elapsed();
        assert!(took >= IDLE - Duration::from_millis(100) && took < IDLE + Duration::from_secs(1));
    }

    #[tokio::test]
    async fn an_operators_connection_takes_one_request_however_many_are_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let handler = |_| async { Response::new(Full::new(Bytes::from_static(b"well"))) };
        tokio::spawn(serve(listener, handler, std::future::pending()));
        let mut stream = TcpStream::connect(address).await.expect("connects");
        let requests = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2);
        stream.write_all(&requests).await.expect("writes");
        let mut answers = Vec::new();
        // The second request lies unread, so the end may be a reset.
        let _ = stream.read_to_end(&mut answers).await;
        let answers = String::from_utf8(answers).expect("text");
        assert_eq!(answers.matches("HTTP/1.1 200").count(), 1, "{answers}");
        assert!(answers.contains("connection: close"), "{answers}");
    }

    #[tokio::test]
    async fn a_router_is_served_behind_the_same_limits() {
        let router = axum::Router::new().route("/live", axum::routing::get(|| async { "alive" }));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let service = hyper_util::service::TowerToHyperService::new(router);
        tokio::spawn(serve_service(listener, service, std::future::pending()));
        let mut stream = TcpStream::connect(address).await.expect("connects");
        let request = b"GET /live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.expect("writes");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.ends_with("alive"));
    }

    #[tokio::test]
    async fn the_connection_after_the_last_place_is_closed_while_all_are_at_work() {
        let (address, _stop, _server) = start().await;
        let mut held = Vec::new();
        for _ in 0..places::PER_ADDRESS_MAX {
            let mut stream = TcpStream::connect(address).await.expect("connects");
            let request = b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n";
            stream.write_all(request).await.expect("writes");
            held.push(stream);
        }
        sleep(Duration::from_millis(200)).await;
        let mut extra = TcpStream::connect(address).await.expect("connects");
        let closed = timeout(Duration::from_secs(1), extra.read(&mut [0; 1])).await;
        assert!(matches!(closed, Ok(Ok(0) | Err(_))));
        drop(held);
    }

    /// Asks for a lot, over and over, and takes nothing of it.
    async fn greedy(address: std::net::SocketAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4 << 10).expect("a small one");
        let mut stream = socket.connect(address).await.expect("connects");
        let requests = b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1_500);
        // What doesn't fit any more isn't needed.
        let _ = timeout(Duration::from_millis(1), stream.write_all(&requests)).await;
        stream
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_probe_is_answered_within_a_second_while_strangers_take_every_place_and_read_nothing()
    {
        let (address, _stop, _server) = start().await;
        let mut held = Vec::new();
        for _ in 0..places::CONNECTIONS_MAX {
            held.push(greedy(address).await);
        }
        for _ in 0..20 {
            let began = Instant::now();
            let mut probe = TcpStream::connect(address).await.expect("connects");
            let request = b"GET /live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
            probe.write_all(request).await.expect("writes");
            let mut answer = String::new();
            probe.read_to_string(&mut answer).await.expect("an answer");
            assert!(answer.ends_with("well"), "{answer}");
            assert!(began.elapsed() < Duration::from_secs(1));
            // They come back as they are cut.
            for _ in 0..16 {
                held.push(greedy(address).await);
            }
        }
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_of_its_answer_is_cut() {
        let (address, _stop, _server) = start().await;
        let began = Instant::now();
        let mut stream = greedy(address).await;
        let mut sender = stream.split().1;
        // Writing fails once the server has gone.
        while sender.write_all(b"GET /large").await.is_ok() {
            sleep(Duration::from_millis(50)).await;
            assert!(began.elapsed() < stream::WRITE_STALL + Duration::from_secs(5));
        }
        assert!(began.elapsed() > stream::WRITE_STALL - Duration::from_secs(1));
    }
}
