//! Calls over HTTP/2 against h2's own server.

use std::cell::Cell;

use ::http::{HeaderMap, Response};
use h2::Reason;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use super::{tls::Authority, *};
use crate::wire::{
    grpc::{Code, percent_encode, prefix},
    status,
};

#[derive(Clone)]
enum Act {
    /// A message and trailers.
    Answer(Vec<u8>, HeaderMap),
    /// Everything in the headers.
    Headers(u16, HeaderMap),
    /// These, then a message and trailers that say yes.
    Head(HeaderMap),
    Reset(Reason),
    Silence,
    /// Says goodbye, then answers.
    GoodBye,
    /// Closes the connection.
    Close,
    Flood,
}

type Seen = (::http::request::Parts, Vec<u8>);

#[derive(Clone, Default)]
struct Server {
    url: String,
    seen: Rc<RefCell<Vec<Seen>>>,
    connections: Rc<Cell<usize>>,
}

fn trailers(code: Code) -> HeaderMap {
    HeaderMap::from_iter([(
        ::http::HeaderName::from_static("grpc-status"),
        code.as_str().parse().unwrap(),
    )])
}

fn ok() -> Act {
    Act::Answer(Vec::new(), trailers(Code::Ok))
}

async fn serve(streams_max: u32, script: impl Fn(usize) -> Act + 'static) -> Server {
    serve_tls(None, streams_max, script).await
}

async fn serve_tls(
    tls: Option<rustls::ServerConfig>,
    streams_max: u32,
    script: impl Fn(usize) -> Act + 'static,
) -> Server {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = Server {
        url: match tls {
            None => format!("http://127.0.0.1:{port}"),
            Some(_) => format!("https://localhost:{port}"),
        },
        ..Server::default()
    };
    let tls = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
    let script: Rc<dyn Fn(usize) -> Act> = Rc::new(script);
    let kept = server.clone();
    spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            kept.connections.set(kept.connections.get() + 1);
            let (server, script, tls) = (kept.clone(), script.clone(), tls.clone());
            spawn_local(async move {
                match tls {
                    None => connection(stream, streams_max, server, script).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            connection(stream, streams_max, server, script).await;
                        }
                    }
                }
            });
        }
    });
    server
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    streams_max: u32,
    server: Server,
    script: Rc<dyn Fn(usize) -> Act>,
) {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(streams_max);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else {
        return;
    };
    let closes = Rc::new(Cell::new(false));
    let departs = Rc::new(Cell::new(false));
    loop {
        let step = tokio::time::timeout(Duration::from_millis(5), connection.accept()).await;
        if closes.get() {
            return;
        }
        if departs.replace(false) {
            connection.graceful_shutdown();
        }
        let (request, mut respond) = match step {
            Err(_) => continue,
            Ok(Some(Ok(accepted))) => accepted,
            Ok(_) => return,
        };
        let (server, script) = (server.clone(), script.clone());
        let (closes, departs) = (closes.clone(), departs.clone());
        spawn_local(async move {
            let (head, mut body) = request.into_parts();
            let mut bytes = Vec::new();
            while let Some(Ok(data)) = body.data().await {
                body.flow_control().release_capacity(data.len()).unwrap();
                bytes.extend_from_slice(&data);
            }
            let number = server.seen.borrow().len();
            server.seen.borrow_mut().push((head, bytes));
            // Long enough for calls made at once to be open at once.
            sleep(Duration::from_millis(2)).await;
            match script(number) {
                Act::Answer(message, trailers) => reply(&mut respond, &message, trailers),
                Act::Head(head) => reply_under(head, &mut respond, b"", trailers(Code::Ok)),
                Act::Headers(status, headers) => {
                    let mut response = Response::builder().status(status).body(()).unwrap();
                    *response.headers_mut() = headers;
                    respond.send_response(response, true).unwrap();
                }
                Act::Reset(reason) => respond.send_reset(reason),
                Act::Silence => std::future::pending().await,
                Act::GoodBye => {
                    departs.set(true);
                    sleep(Duration::from_millis(20)).await;
                    reply(&mut respond, b"", trailers(Code::Ok));
                }
                Act::Close => {
                    closes.set(true);
                    std::future::pending().await
                }
                Act::Flood => {
                    let mut stream = respond.send_response(Response::new(()), false).unwrap();
                    for _ in 0..64 {
                        let _ = stream.send_data(vec![0; 16 << 10].into(), false);
                    }
                    std::future::pending().await
                }
            }
        });
    }
}

fn reply(respond: &mut h2::server::SendResponse<Bytes>, message: &[u8], trailers: HeaderMap) {
    reply_under(HeaderMap::new(), respond, message, trailers);
}

fn reply_under(
    head: HeaderMap,
    respond: &mut h2::server::SendResponse<Bytes>,
    message: &[u8],
    trailers: HeaderMap,
) {
    let mut response = Response::new(());
    *response.headers_mut() = head;
    let mut stream = respond.send_response(response, false).unwrap();
    let mut frame = prefix(false, u32::try_from(message.len()).unwrap()).to_vec();
    frame.extend_from_slice(message);
    stream.send_data(frame.into(), false).unwrap();
    stream.send_trailers(trailers).unwrap();
}

fn to(server: &Server) -> Destination {
    destination(DestinationKind::OtlpGrpc, &[&server.url])
}

#[test]
fn a_call_is_what_grpc_asks_for() {
    run(async {
        let server = serve(100, |_| ok()).await;
        let mut to = to(&server);
        to.headers = vec![("X-Account".into(), "{account}".into())];
        let mut body = payload(Content::OtlpProtobuf, Signal::Traces, b"not looked into");
        assert_eq!(send_once(to.clone(), &body).await, Ok(Delivery::default()));
        body.encoding = Encoding::Gzip;
        send_once(to, &body).await.unwrap();
        let seen = server.seen.borrow();
        let (head, wire) = &seen[0];
        assert_eq!(
            head.uri.path(),
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
        );
        assert_eq!(
            format!("http://{}", head.uri.authority().unwrap()),
            server.url
        );
        let mut names: Vec<_> = head.headers.keys().map(|name| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-type", "te", "user-agent", "x-account"]);
        assert_eq!(head.headers["content-type"], "application/grpc");
        assert_eq!(head.headers["te"], "trailers");
        assert_eq!(head.headers["x-account"], "41");
        assert_eq!(wire[..5], [0, 0, 0, 0, 15]);
        assert_eq!(&wire[5..], b"not looked into");
        let (head, wire) = &seen[1];
        assert_eq!(head.headers["grpc-encoding"], "gzip");
        assert_eq!(wire[..5], [1, 0, 0, 0, 15]);
    });
}

#[test]
fn json_becomes_protobuf_also_when_it_was_compressed() {
    run(async {
        let server = serve(100, |_| ok()).await;
        let json = br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"hello"}}]}]}]}"#;
        let mut body = payload(Content::OtlpJson, Signal::Logs, json);
        body.chunks = Chunks::from_iter([Bytes::from(zstd::encode_all(&json[..], 1).unwrap())]);
        body.encoding = Encoding::Zstd;
        send_once(to(&server), &body).await.unwrap();
        let seen = server.seen.borrow()[0].clone();
        assert!(!seen.0.headers.contains_key("grpc-encoding"));
        let request = ExportLogsServiceRequest::decode(&seen.1[5..]).unwrap();
        assert_eq!(request, serde_json::from_slice(json).unwrap());
        let body = payload(Content::OtlpJson, Signal::Logs, br#"{"resourceLogs":7}"#);
        let refused = send_once(to(&server), &body).await;
        assert!(
            matches!(refused, Err(Rejection::Malformed(_))),
            "{refused:?}"
        );
    });
}

#[test]
fn sixty_four_calls_share_one_connection() {
    run(async {
        let server = serve(100, |_| ok()).await;
        let upstreams = Upstreams::new(Config::default(), Sockets::new(1024));
        let to = Arc::new(to(&server));
        let body = otlp();
        for _ in 0..2 {
            let calls = (0..64).map(|_| send(&upstreams, &to, &body));
            for result in futures_util::future::join_all(calls).await {
                result.unwrap();
            }
        }
        assert_eq!(server.seen.borrow().len(), 128);
        assert_eq!(server.connections.get(), 1);
    });
}

#[test]
fn more_calls_than_streams_open_few_more_connections_and_all_are_answered() {
    run(async {
        let server = serve(5, |_| ok()).await;
        let upstreams = Upstreams::new(Config::default(), Sockets::new(1024));
        let to = Arc::new(to(&server));
        let body = otlp();
        send(&upstreams, &to, &body).await.unwrap();
        let calls = (0..100).map(|_| send(&upstreams, &to, &body));
        for result in futures_util::future::join_all(calls).await {
            result.unwrap();
        }
        let connections = server.connections.get();
        assert!((2..=8).contains(&connections), "{connections}");
    });
}

#[test]
fn a_large_message_passes_a_small_window() {
    run(async {
        let server = serve(100, |_| ok()).await;
        let mut body = otlp();
        body.chunks = (0..40u8)
            .map(|byte| Bytes::from(vec![byte; 100_000]))
            .collect();
        send_once(to(&server), &body).await.unwrap();
        let seen = server.seen.borrow();
        assert_eq!(seen[0].1[..5], prefix(false, 4_000_000));
        assert!(seen[0].1[5..] == body.chunks.to_bytes());
    });
}

#[test]
fn each_code_has_its_meaning() {
    run(async {
        for code in Code::ALL {
            let label = match code {
                Code::Ok => "delivered",
                Code::InvalidArgument
                | Code::OutOfRange
                | Code::FailedPrecondition
                | Code::AlreadyExists
                | Code::ResourceExhausted => "destination_refused",
                Code::Unauthenticated
                | Code::PermissionDenied
                | Code::Unimplemented
                | Code::NotFound => "destination_misconfigured",
                _ => "destination_unavailable",
            };
            let mut ending = trailers(code);
            ending.insert(
                "grpc-message",
                percent_encode("no: \u{e9}\n").parse().unwrap(),
            );
            for act in [
                Act::Answer(Vec::new(), ending.clone()),
                Act::Headers(200, ending),
            ] {
                let server = serve(100, move |_| act.clone()).await;
                let result = send_once(to(&server), &otlp()).await;
                let got = result
                    .as_ref()
                    .map_or_else(Rejection::label, |_| "delivered");
                assert_eq!(got, label, "{code:?}: {result:?}");
                if let Err(Rejection::DestinationRefused {
                    status, message, ..
                }) = result
                {
                    assert_eq!((status, message.as_str()), (400, "no: \u{e9}"));
                }
            }
        }
    });
}

#[test]
fn retry_info_turns_exhaustion_into_a_wait() {
    run(async {
        let wait = Some(Duration::from_millis(2_500));
        for code in [Code::ResourceExhausted, Code::Unavailable] {
            let mut ending = trailers(code);
            let details = status::status_details(code, "later", wait);
            ending.insert("grpc-status-details-bin", details.parse().unwrap());
            let server = serve(100, move |_| Act::Headers(200, ending.clone())).await;
            match send_once(to(&server), &otlp()).await {
                Err(Rejection::DestinationUnavailable { retry_after, .. }) => {
                    assert_eq!(retry_after, wait);
                }
                other => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn partial_success_is_relayed() {
    run(async {
        let message = status::partial_success_protobuf(4, "too old");
        let server = serve(100, move |_| {
            Act::Answer(message.clone(), trailers(Code::Ok))
        })
        .await;
        let delivery = send_once(to(&server), &otlp()).await.unwrap();
        assert_eq!(delivery.refused_items, 4);
        assert_eq!(delivery.message.as_deref(), Some("too old"));
    });
}

#[test]
fn a_destination_that_only_validates_has_taken_nothing() {
    run(async {
        let items = HeaderMap::from_iter([("x-validated-items".parse().unwrap(), 1.into())]);
        let mut only_head = trailers(Code::Ok);
        only_head.extend(items.clone());
        for act in [Act::Headers(200, only_head), Act::Head(items)] {
            let server = serve(100, move |_| act.clone()).await;
            let why = setup(send_once(to(&server), &otlp()).await);
            assert_eq!(
                why,
                "destination sink validates what it is sent, and keeps none of it"
            );
        }
    });
}

#[test]
fn an_answer_without_a_grpc_status_is_no_success() {
    run(async {
        for (act, label) in [
            (
                Act::Headers(200, HeaderMap::new()),
                "destination_unavailable",
            ),
            (
                Act::Answer(Vec::new(), HeaderMap::new()),
                "destination_unavailable",
            ),
            (
                Act::Headers(503, HeaderMap::new()),
                "destination_unavailable",
            ),
            (
                Act::Headers(401, HeaderMap::new()),
                "destination_misconfigured",
            ),
            (
                Act::Headers(404, HeaderMap::new()),
                "destination_misconfigured",
            ),
            (Act::Flood, "destination_unavailable"),
        ] {
            let server = serve(100, move |_| act.clone()).await;
            let result = send_once(to(&server), &otlp()).await;
            assert_eq!(result.unwrap_err().label(), label);
        }
    });
}

#[test]
fn a_connection_that_dies_or_says_goodbye_is_replaced() {
    run(async {
        for end in [Act::Close, Act::GoodBye, Act::Reset(Reason::REFUSED_STREAM)] {
            let server = serve(100, move |number| match number {
                1 | 4 => end.clone(),
                _ => ok(),
            })
            .await;
            let upstreams = Upstreams::new(Config::default(), Sockets::new(1024));
            let to = Arc::new(to(&server));
            for _ in 0..6 {
                send(&upstreams, &to, &otlp()).await.unwrap();
            }
        }
    });
}

#[test]
fn a_reset_call_goes_to_the_next_endpoint() {
    run(async {
        let bad = serve(100, |_| Act::Reset(Reason::INTERNAL_ERROR)).await;
        let good = serve(100, |_| ok()).await;
        let mut to = to(&bad);
        assert_eq!(
            why(send_once(to.clone(), &otlp()).await),
            "destination reset the call"
        );
        to.endpoints.push(good.url.clone());
        send_once(to, &otlp()).await.unwrap();
        assert_eq!(bad.seen.borrow().len(), 2);
    });
}

#[test]
fn a_silent_connection_is_not_used_again() {
    run(async {
        let server = serve(100, |number| if number == 0 { Act::Silence } else { ok() }).await;
        let upstreams = Upstreams::new(Config::default(), Sockets::new(1024));
        let mut to = to(&server);
        to.request_timeout = Duration::from_millis(300);
        let to = Arc::new(to);
        assert_eq!(
            why(send(&upstreams, &to, &otlp()).await),
            "destination timed out"
        );
        send(&upstreams, &to, &otlp()).await.unwrap();
        assert_eq!(server.connections.get(), 2);
    });
}

#[test]
fn calls_over_tls_agree_on_http_2() {
    run(async {
        let authority = Authority::new();
        let mut config = Arc::unwrap_or_clone(authority.server("localhost", None));
        config.alpn_protocols = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
        let server = serve_tls(Some(config), 100, |_| ok()).await;
        let mut to = to(&server);
        to.tls.ca_pem = Some(authority.pem.clone());
        send_once(to, &otlp()).await.unwrap();
        assert_eq!(server.seen.borrow()[0].0.uri.scheme_str(), Some("https"));
    });
}

#[test]
fn a_destination_that_answers_in_another_protocol_is_down() {
    run(async {
        let server = super::server::serve(|_| super::server::answer(200, "", "")).await;
        let mut to = destination(DestinationKind::OtlpGrpc, &[&server.url]);
        to.connect_timeout = Duration::from_millis(200);
        assert_eq!(
            why(send_once(to, &otlp()).await),
            "destination does not answer in HTTP/2"
        );
    });
}
