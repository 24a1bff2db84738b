//! What is sent over HTTP/1.1, and what its answers mean.
use std::io::Write;

use super::{
    server::{Act, answer, serve},
    *,
};
use crate::{
    model::{Compression, Credentials, Secret, Written},
    wire::{grpc::Code, status},
};

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn compressed(encoding: Encoding, body: &[u8]) -> Payload {
    let wire = match encoding {
        Encoding::Identity => body.to_vec(),
        Encoding::Gzip => gzip(body),
        Encoding::Zstd => zstd::encode_all(body, 1).unwrap(),
        Encoding::Snappy => snap::raw::Encoder::new().compress_vec(body).unwrap(),
    };
    let mut payload = payload(Content::RemoteWrite1, Signal::Metrics, body);
    let half = wire.len() / 2;
    payload.chunks = [&wire[..half], &wire[half..]]
        .map(Bytes::copy_from_slice)
        .into_iter()
        .collect();
    payload.encoding = encoding;
    payload
}

#[test]
fn a_request_carries_what_the_destination_states_and_nothing_else() {
    run(async {
        let server = serve(|_| answer(200, "", "")).await;
        let mut to = destination(DestinationKind::Http, &[&server.url]);
        to.headers = vec![
            ("X-Scope-OrgID".into(), "tenant-{account}/{token_id}".into()),
            ("X-Token".into(), "{token_id}".into()),
            ("X-Plain".into(), "as {is}".into()),
        ];
        to.secret_headers = vec![("X-Api-Key".into(), Secret::new("k-{account}".into()))];
        to.credentials = Credentials::Basic {
            user: "me".into(),
            password: Secret::new("secret".into()),
        };
        let mut bulk = lines();
        bulk.line_type = Some("my&type".into());
        let delivery = send_once(to, &bulk).await.unwrap();
        assert_eq!(delivery.lines.unwrap().good.items, 2);
        let seen = server.seen.borrow()[0].clone();
        assert_eq!(seen.line, "POST /?type=my%26type HTTP/1.1");
        assert_eq!(seen.body, bulk.chunks.to_bytes());
        let mut headers = seen.headers.clone();
        headers.sort();
        let host = server.url.strip_prefix("http://").unwrap();
        let agent = format!("wharfinger/{}", env!("CARGO_PKG_VERSION"));
        let expected = [
            ("authorization", "Basic bWU6c2VjcmV0"),
            ("content-length", "16"),
            ("content-type", "application/x-ndjson"),
            ("host", host),
            ("user-agent", &agent),
            ("x-api-key", "k-{account}"),
            ("x-plain", "as {is}"),
            ("x-scope-orgid", "tenant-41/97"),
            ("x-token", "97"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(headers, expected);
    });
}

#[test]
fn every_protocol_has_its_path_and_content_type() {
    run(async {
        let server = serve(|_| {
            let written = "x-prometheus-remote-write-samples-written: 0\r\n";
            answer(200, written, "")
        })
        .await;
        let protobuf = "application/x-protobuf";
        let v2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
        let otlp = (Content::OtlpProtobuf, Content::OtlpJson);
        for (kind, suffix, content, signal, line, content_type) in [
            (
                DestinationKind::Http,
                "",
                Content::Lines,
                Signal::Logs,
                "/",
                "application/x-ndjson",
            ),
            (
                DestinationKind::Http,
                "/in/",
                Content::Lines,
                Signal::Logs,
                "/in/",
                "application/x-ndjson",
            ),
            (
                DestinationKind::Http,
                "/",
                otlp.0,
                Signal::Traces,
                "/v1/traces",
                protobuf,
            ),
            (
                DestinationKind::Http,
                "/x",
                otlp.1,
                Signal::Metrics,
                "/x",
                "application/json",
            ),
            (
                DestinationKind::Http,
                "",
                Content::RemoteWrite1,
                Signal::Metrics,
                "/api/v1/write",
                protobuf,
            ),
            (
                DestinationKind::Http,
                "/push",
                Content::RemoteWrite2,
                Signal::Metrics,
                "/push",
                v2,
            ),
            (
                DestinationKind::OtlpHttp,
                "",
                otlp.0,
                Signal::Logs,
                "/v1/logs",
                protobuf,
            ),
            (
                DestinationKind::OtlpHttp,
                "/otlp/",
                otlp.1,
                Signal::Metrics,
                "/otlp/v1/metrics",
                "application/json",
            ),
            (
                DestinationKind::OtlpHttp,
                "/otlp",
                otlp.0,
                Signal::Traces,
                "/otlp/v1/traces",
                protobuf,
            ),
        ] {
            let url = format!("{}{suffix}", server.url);
            let to = destination(kind, &[&url]);
            send_once(to, &payload(content, signal, b"x"))
                .await
                .unwrap();
            let seen = server.seen.borrow().last().unwrap().clone();
            assert_eq!(seen.line, format!("POST {line} HTTP/1.1"));
            assert_eq!(seen.header("content-type"), Some(content_type));
            let version = seen.header("x-prometheus-remote-write-version");
            let expected = match content {
                Content::RemoteWrite1 => Some("0.1.0"),
                Content::RemoteWrite2 => Some("2.0.0"),
                _ => None,
            };
            assert_eq!(version, expected);
        }
    });
}

#[test]
fn an_empty_body_announces_its_length() {
    run(async {
        let server = serve(|_| answer(200, "", "")).await;
        send_once(
            destination(DestinationKind::OtlpHttp, &[&server.url]),
            &otlp(),
        )
        .await
        .unwrap();
        assert_eq!(server.seen.borrow()[0].header("content-length"), Some("0"));
    });
}

#[test]
fn compression_travels_as_received_or_is_taken_off() {
    run(async {
        let server = serve(|_| answer(204, "", "")).await;
        let body = b"the same again, ".repeat(5_000);
        for encoding in [
            Encoding::Gzip,
            Encoding::Zstd,
            Encoding::Snappy,
            Encoding::Identity,
        ] {
            let payload = compressed(encoding, &body);
            let mut to = destination(DestinationKind::Http, &[&server.url]);
            send_once(to.clone(), &payload).await.unwrap();
            let seen = server.seen.borrow().last().unwrap().clone();
            let name = Some(encoding.name()).filter(|_| encoding != Encoding::Identity);
            assert_eq!(seen.header("content-encoding"), name);
            assert_eq!(seen.body, payload.chunks.to_bytes());

            to.compression = Compression::Identity;
            send_once(to.clone(), &payload).await.unwrap();
            let seen = server.seen.borrow().last().unwrap().clone();
            assert_eq!(seen.header("content-encoding"), None);
            assert!(seen.body == body, "{encoding:?} was not inflated");

            let mut lying = payload.clone();
            lying.inflated_bytes -= 1;
            if encoding != Encoding::Identity {
                let refused = send_once(to, &lying).await;
                assert!(matches!(refused, Err(Rejection::Internal(_))));
            }
        }
    });
}

#[test]
fn a_body_in_many_chunks_arrives_in_order() {
    run(async {
        let server = serve(|_| answer(200, "", "")).await;
        let mut payload = lines();
        let pieces =
            (0u8..100).map(|byte| Bytes::from(vec![byte; 50_000 / (1 + usize::from(byte))]));
        payload.chunks = pieces.collect();
        send_once(destination(DestinationKind::Http, &[&server.url]), &payload)
            .await
            .unwrap();
        assert!(server.seen.borrow()[0].body == payload.chunks.to_bytes());
    });
}

#[test]
fn each_status_has_its_meaning() {
    run(async {
        for (code, label) in [
            (200, "delivered"),
            (204, "delivered"),
            (301, "destination_misconfigured"),
            (307, "destination_misconfigured"),
            (400, "destination_refused"),
            (401, "destination_misconfigured"),
            (403, "destination_misconfigured"),
            (404, "destination_misconfigured"),
            (405, "destination_misconfigured"),
            (408, "destination_unavailable"),
            (409, "destination_refused"),
            (413, "destination_refused"),
            (415, "destination_misconfigured"),
            (422, "destination_refused"),
            (429, "destination_unavailable"),
            (500, "destination_unavailable"),
            (501, "destination_unavailable"),
            (502, "destination_unavailable"),
            (503, "destination_unavailable"),
            (504, "destination_unavailable"),
        ] {
            let server = serve(move |_| {
                let body = if code == 204 { "" } else { "what I say" };
                answer(code, "location: http://127.0.0.1:1/\r\n", body)
            })
            .await;
            let to = destination(DestinationKind::Http, &[&server.url]);
            let result = send_once(to, &lines()).await;
            let got = result
                .as_ref()
                .map_or_else(Rejection::label, |_| "delivered");
            assert_eq!(got, label, "{code}: {result:?}");
            if let Err(Rejection::DestinationRefused {
                status,
                message,
                lines,
                ..
            }) = result
            {
                assert_eq!((status, message.as_str()), (code, "what I say"));
                let lines = lines.unwrap();
                assert_eq!((lines.good.items, lines.malformed.items), (0, 2));
            }
            assert_eq!(server.seen.borrow().len(), 1);
        }
    });
}

#[test]
fn a_refusal_is_relayed_as_clean_short_text_without_our_secret() {
    run(async {
        let long = format!(
            "  key s3cr3t-key and token-of-header\r\n\u{1b}[31m{}",
            "\u{e9}".repeat(2_000)
        );
        let server = serve(move |_| answer(422, "", &long)).await;
        let mut to = destination(DestinationKind::Http, &[&server.url]);
        to.credentials = Credentials::Bearer(Secret::new("s3cr3t-key".into()));
        to.headers = vec![("x-key".into(), "token-of-header".into())];
        let Err(Rejection::DestinationRefused { message, .. }) = send_once(to, &lines()).await
        else {
            panic!("not refused");
        };
        assert!(
            message.starts_with("key [redacted] and [redacted]   [31m\u{e9}"),
            "{message}"
        );
        assert!((1_000..=1_024).contains(&message.len()));
    });
}

#[test]
fn waiting_times_are_read_in_each_of_their_forms() {
    run(async {
        let soon = httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(90));
        let detail = status::status_json(Code::Unavailable, "", Some(Duration::from_secs(7)));
        let detail = String::from_utf8(detail).unwrap();
        let json = "content-type: application/json\r\n";
        for (headers, body, seconds) in [
            ("retry-after: 12\r\n".to_owned(), "", Some(12..=12)),
            (format!("retry-after: {soon}\r\n"), "", Some(80..=91)),
            (
                "retry-after: 99999999999999\r\n".to_owned(),
                "",
                Some(86_400..=86_400),
            ),
            ("retry-after: soon\r\n".to_owned(), "", None),
            (json.to_owned(), detail.as_str(), Some(7..=7)),
        ] {
            let (sent, text) = (headers.clone(), body.to_owned());
            let server = serve(move |_| answer(429, &sent, &text)).await;
            let to = destination(DestinationKind::OtlpHttp, &[&server.url]);
            let Err(Rejection::DestinationUnavailable { retry_after, .. }) =
                send_once(to, &otlp()).await
            else {
                panic!("not unavailable");
            };
            let got = retry_after.map(|wait| wait.as_secs());
            let fits = match (got, &seconds) {
                (Some(got), Some(range)) => range.contains(&got),
                (got, range) => got.is_none() && range.is_none(),
            };
            assert!(fits, "{headers}: {got:?}");
        }
    });
}

#[test]
fn partial_success_is_read_in_the_answers_own_form() {
    run(async {
        let json = r#"{"partialSuccess":{"rejectedLogRecords":"3","errorMessage":"late\n"}}"#;
        let protobuf = status::partial_success_protobuf(3, "late\n");
        let protobuf = String::from_utf8(protobuf).unwrap();
        for (kind, body) in [
            ("application/json", json.to_owned()),
            ("application/x-protobuf", protobuf),
        ] {
            let server =
                serve(move |_| answer(200, &format!("content-type: {kind}\r\n"), &body)).await;
            let to = destination(DestinationKind::OtlpHttp, &[&server.url]);
            let delivery = send_once(to, &otlp()).await.unwrap();
            assert_eq!(delivery.refused_items, 3);
            assert_eq!(delivery.message.as_deref(), Some("late"));
        }
    });
}

#[test]
fn remote_write_two_is_believed_only_with_its_written_headers() {
    run(async {
        let v2 = payload(Content::RemoteWrite2, Signal::Metrics, b"x");
        for (code, headers, expected) in [
            (204, "", Err(())),
            (415, "", Err(())),
            (
                204,
                "x-prometheus-remote-write-samples-written: 5\r\n",
                Ok((5, 0)),
            ),
            (
                400,
                "x-prometheus-remote-write-samples-written: 2\r\nx-prometheus-remote-write-histograms-written: 1\r\n",
                Ok((2, 1)),
            ),
        ] {
            let server = serve(move |_| answer(code, headers, "")).await;
            let to = destination(DestinationKind::Http, &[&server.url]);
            let result = send_once(to, &v2).await;
            let written: Option<Written> = match (&result, code) {
                (Ok(delivery), 204) => delivery.written,
                (Err(Rejection::DestinationRefused { written, .. }), 400) => *written,
                (Err(Rejection::DestinationLacksVersion), _) => None,
                other => panic!("{other:?}"),
            };
            let got = written.map(|written| (written.samples, written.histograms));
            assert_eq!(got.ok_or(()), expected, "{code} {headers}");
        }
        let server = serve(|_| answer(204, "", "")).await;
        let v1 = payload(Content::RemoteWrite1, Signal::Metrics, b"x");
        let to = destination(DestinationKind::Http, &[&server.url]);
        assert_eq!(send_once(to, &v1).await, Ok(Delivery::default()));
    });
}

#[test]
fn a_destination_of_another_protocol_is_our_set_up() {
    run(async {
        for kind in [DestinationKind::OtlpHttp, DestinationKind::OtlpGrpc] {
            let to = destination(kind, &["http://127.0.0.1:1"]);
            let why = setup(send_once(to, &lines()).await);
            assert_eq!(why, "destination sink takes OTLP only");
        }
        for (endpoint, header) in [
            ("127.0.0.1:1", "x-a"),
            ("ftp://127.0.0.1", "x-a"),
            ("/only/path", "x-a"),
            ("http://me:secret@127.0.0.1", "x-a"),
            ("http://127.0.0.1:1", "Transfer-Encoding"),
            ("http://127.0.0.1:1", "content-length"),
            ("http://127.0.0.1:1", "bad name"),
        ] {
            let mut to = destination(DestinationKind::Http, &[endpoint]);
            to.headers = vec![(header.into(), "1".into())];
            let why = setup(send_once(to, &lines()).await);
            assert!(!why.contains("secret"), "{why}");
        }
        setup(send_once(destination(DestinationKind::Http, &[]), &lines()).await);
    });
}

#[test]
fn link_local_addresses_are_refused_before_a_connection() {
    run(async {
        for endpoint in [
            "http://169.254.169.254/",
            "http://[fe80::1]/",
            "http://[::ffff:169.254.169.254]:80/",
        ] {
            let to = destination(DestinationKind::Http, &[endpoint]);
            let why = setup(send_once(to, &lines()).await);
            assert!(why.contains("link-local"), "{why}");
        }
    });
}

#[test]
fn an_answer_before_the_end_of_the_body_is_heard() {
    run(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        spawn_local(async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).await;
            let text = "HTTP/1.1 413 X\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig";
            stream.write_all(text.as_bytes()).await.unwrap();
            sleep(Duration::from_secs(3)).await;
        });
        let mut payload = lines();
        payload.chunks = (0..32).map(|_| Bytes::from(vec![b'x'; 1 << 20])).collect();
        let result = send_once(destination(DestinationKind::Http, &[&url]), &payload).await;
        let Err(Rejection::DestinationRefused {
            status: 413,
            message,
            ..
        }) = result
        else {
            panic!("{result:?}");
        };
        assert_eq!(message, "big");
    });
}

#[test]
fn an_endless_answer_is_cut_and_its_connection_dropped() {
    run(async {
        let server = serve(|_| Act::Flood).await;
        let to = destination(DestinationKind::Http, &[&server.url]);
        send_once(to, &lines()).await.unwrap();
        sleep(Duration::from_millis(50)).await;
        let sent = server.flooded_bytes.get();
        sleep(Duration::from_millis(50)).await;
        assert_eq!(
            server.flooded_bytes.get(),
            sent,
            "the connection is still open"
        );
        assert!(sent < 32 << 20, "{sent} bytes were taken");
    });
}
