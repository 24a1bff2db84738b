//! The one row whose condition nothing raises yet: a spent quota, answered over real sockets all the same.

use std::{convert::Infallible, time::Duration};

use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};

use super::{Reply, acknowledge};
use crate::{
    directory::usage::Meter,
    gateway::{
        doors,
        listen::BareSlash,
        receipt::{Receipt, RequestIds},
    },
    model::Rejection,
    operate::metrics::Metrics,
};

/// Answers whatever comes as if its account's quota were spent.
async fn answer(request: Request<Incoming>, is_final: bool) -> Response<Reply> {
    let metrics = Metrics::new().expect("metrics").requests();
    let receipt = Receipt::open(&RequestIds::new(), &metrics, &Meter::default());
    receipt.entered(doors::find(&request, BareSlash::Bulk).ok(), &request);
    let rejection = Rejection::QuotaGone {
        retry_after: Duration::from_secs(3600),
        is_final,
    };
    acknowledge(receipt, Err(rejection))
}

async fn ask(path: &str, content_type: &str, is_final: bool) -> Response<bytes::Bytes> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let is_grpc = content_type == "application/grpc";
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("accepts");
        let service = service_fn(move |request| async move {
            Ok::<_, Infallible>(answer(request, is_final).await)
        });
        let io = TokioIo::new(stream);
        let _ = if is_grpc {
            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(io, service)
                .await
        } else {
            hyper::server::conn::http1::Builder::new()
                .serve_connection(io, service)
                .await
        };
    });
    let io = TokioIo::new(TcpStream::connect(address).await.expect("connects"));
    let request =
        Request::post(format!("http://{address}{path}")).header("content-type", content_type);
    let response = if is_grpc {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
                .await
                .expect("shakes hands");
        tokio::spawn(connection);
        let request = request
            .body(Empty::<bytes::Bytes>::new())
            .expect("a request");
        sender.send_request(request).await.expect("an answer")
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
            .await
            .expect("shakes hands");
        tokio::spawn(connection);
        let request = request
            .body(Full::<bytes::Bytes>::default())
            .expect("a request");
        sender.send_request(request).await.expect("an answer")
    };
    let (head, body) = response.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    Response::from_parts(head, body)
}

#[tokio::test]
async fn a_spent_quota_is_throttled_or_final_as_the_account_asks() {
    let grpc = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
    let protobuf = "application/x-protobuf";
    let mut cells = 0;
    for (path, content_type, throttled, last) in [
        ("/", "text/plain", 429, 401),
        ("/v1/logs", protobuf, 429, 403),
        ("/v1/logs", "application/json", 429, 403),
        ("/api/v1/write", protobuf, 429, 400),
    ] {
        let answer = ask(path, content_type, false).await;
        assert_eq!(answer.status(), throttled, "{path}");
        assert!(answer.headers().contains_key("retry-after"), "{path}");
        let answer = ask(path, content_type, true).await;
        assert_eq!(answer.status(), last, "{path}");
        assert!(!answer.headers().contains_key("retry-after"), "{path}");
        cells += 2;
    }
    // RESOURCE_EXHAUSTED with RetryInfo, PERMISSION_DENIED without.
    let answer = ask(grpc, "application/grpc", false).await;
    assert_eq!(answer.headers()["grpc-status"], "8");
    assert!(answer.headers().contains_key("grpc-status-details-bin"));
    let answer = ask(grpc, "application/grpc", true).await;
    assert_eq!(answer.headers()["grpc-status"], "7");
    assert!(!answer.headers().contains_key("grpc-status-details-bin"));
    println!("{} cells of the quota row asserted", cells + 2);
}
