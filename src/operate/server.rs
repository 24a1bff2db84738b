//! The server of the operators' and admin ports: small, and as hard to hold open as the ingest doors.

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
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::warn;

/// Connections at once; people, scrapers and probes need a handful.
pub const CONNECTIONS_MAX: usize = 256;

/// For a request's head, and between two requests: hyper runs the same clock for both.
pub const IDLE: Duration = Duration::from_secs(5);

/// Where a request came from; stands in its extensions.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// After `shutdown`, how long requests in flight may take.
const FINISH: Duration = Duration::from_secs(5);

/// Answers HTTP/1.1 with a function until `shutdown` resolves; then finishes what is in flight, for 5 s at most.
pub async fn serve<H, F>(listener: TcpListener, handler: H, shutdown: impl Future<Output = ()>)
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let service = service_fn(move |request| {
        let answer = handler(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    serve_service(listener, service, shutdown).await;
}

/// The same for a service, such as an axum router in a `TowerToHyperService`.
pub async fn serve_service<S, B>(
    listener: TcpListener,
    service: S,
    shutdown: impl Future<Output = ()>,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Future: Send> + Clone + Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
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
            Ok((stream, peer)) => {
                if let Ok(place) = places.clone().try_acquire_owned() {
                    let connection = converse(stream, Peer(peer), service.clone(), stopped.clone());
                    connections.spawn(async move {
                        connection.await;
                        drop(place);
                    });
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
    stream: TcpStream,
    peer: Peer,
    service: S,
    mut stopped: watch::Receiver<bool>,
) where
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Error: Into<Box<dyn Error + Send + Sync>>> + 'static,
{
    // A socket that refuses it still works.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        service.call(request)
    });
    let mut server = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE)
            .max_header_size(24 << 10)
            .serve_connection(TokioIo::new(stream), service)
    );
    // The peer's errors are the peer's.
    tokio::select! {
        _ = server.as_mut() => return,
        _ = stopped.wait_for(|stopped| *stopped) => server.as_mut().graceful_shutdown(),
    }
    let _ = server.await;
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
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
            if request.uri().path() == "/slow" {
                sleep(Duration::from_millis(300)).await;
            }
            Response::new(Full::new(Bytes::from_static(b"well")))
        };
        let server = serve(listener, handler, async {
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
    async fn the_connection_after_the_last_place_is_closed() {
        let (address, _stop, _server) = start().await;
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            held.push(TcpStream::connect(address).await.expect("connects"));
        }
        sleep(Duration::from_millis(200)).await;
        let mut extra = TcpStream::connect(address).await.expect("connects");
        let closed = timeout(Duration::from_secs(1), extra.read(&mut [0; 1])).await;
        assert!(matches!(closed, Ok(Ok(0) | Err(_))));
        drop(held);
    }
}
