//! What changes its form on the way is paid for, and holds up nobody.

use std::{cell::Cell, io::Write};

use super::{
    server::{answer, serve},
    *,
};

const MIB: u64 = 1 << 20;

fn gzipped(content: Content, body: &[u8]) -> Payload {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).unwrap();
    let compressed = encoder.finish().unwrap();
    let mut payload = payload(content, Signal::Logs, &compressed);
    payload.encoding = Encoding::Gzip;
    payload.inflated_bytes = body.len() as u64;
    payload
}

fn inflating(url: &str) -> Arc<Destination> {
    let mut destination = destination(DestinationKind::Http, &[url]);
    destination.compression = crate::model::Compression::Identity;
    Arc::new(destination)
}

#[test]
fn a_body_is_inflated_only_with_a_claim_for_its_inflated_size() {
    run(async {
        let server = serve(|_| answer(200, "", "")).await;
        let upstreams = Upstreams::new(Config::default(), Sockets::new(1024));
        let payload = gzipped(Content::Lines, &vec![b' '; 2 << 20]);
        let to = inflating(&server.url);
        let mut refuse = |_| Err(Rejection::Overloaded);
        let refused = upstreams
            .send(&to, (ACCOUNT, TOKEN), &payload, &mut refuse)
            .await;
        assert!(matches!(refused, Err(Rejection::Overloaded)), "{refused:?}");
        assert!(server.seen.borrow().is_empty(), "it was sent all the same");
        let mut claimed = 0;
        let mut claim = |bytes| {
            claimed += bytes;
            Ok(())
        };
        let sent = upstreams.send(&to, (ACCOUNT, TOKEN), &payload, &mut claim);
        sent.await.unwrap();
        assert!((2 * MIB..3 * MIB).contains(&claimed), "{claimed}");
        assert_eq!(server.seen.borrow()[0].body.len() as u64, 2 * MIB);
    });
}

#[test]
fn a_body_that_needs_no_change_claims_nothing() {
    run(async {
        let server = serve(|_| answer(200, "", "")).await;
        let upstreams = Upstreams::new(Config::default(), Sockets::new(1024));
        let to = Arc::new(destination(DestinationKind::Http, &[&server.url]));
        let mut claim = |_| Err(Rejection::Overloaded);
        upstreams
            .send(&to, (ACCOUNT, TOKEN), &lines(), &mut claim)
            .await
            .unwrap();
    });
}

#[test]
fn others_get_their_turn_while_a_large_body_is_inflated() {
    run(async {
        let payload = gzipped(Content::Lines, &vec![b' '; 16 << 20]);
        let turns = Rc::new(Cell::new(0));
        let counting = turns.clone();
        spawn_local(async move {
            loop {
                counting.set(counting.get() + 1);
                tokio::task::yield_now().await;
            }
        });
        let mut claim = |_| Ok(());
        let to = inflating("http://127.0.0.1:1");
        let shipment = prepare(&payload, &to, &mut claim).await.unwrap();
        assert_eq!(shipment.chunks.len(), 16 * MIB);
        assert!(turns.get() >= 32, "{} turns", turns.get());
    });
}

#[test]
fn json_for_grpc_is_paid_for_converted_elsewhere_and_the_same() {
    run(async {
        let record = r#"{"body":{"stringValue":"some words of a log"}},"#.repeat(20_000);
        let json = format!(
            r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{}]}}]}}]}}"#,
            record.trim_end_matches(',')
        );
        let payload = gzipped(Content::OtlpJson, json.as_bytes());
        let to = destination(DestinationKind::OtlpGrpc, &["http://127.0.0.1:1"]);
        let mut claimed = 0;
        let mut claim = |bytes| {
            claimed += bytes;
            Ok(())
        };
        let is_turned = Rc::new(Cell::new(false));
        let turning = is_turned.clone();
        spawn_local(async move { turning.set(true) });
        let shipment = prepare(&payload, &to, &mut claim).await.unwrap();
        assert!(is_turned.get());
        assert!(claimed >= 4 * json.len() as u64, "{claimed}");
        let expected =
            crate::wire::otlp_convert::json_to_protobuf(Signal::Logs, json.as_bytes()).unwrap();
        assert_eq!(shipment.chunks.to_bytes()[5..], expected);
        assert!(expected.capacity() < 2 * expected.len());
        let mut refuse = |bytes| match bytes {
            bytes if bytes > json.len() as u64 => Err(Rejection::Overloaded),
            _ => Ok(()),
        };
        let refused = prepare(&payload, &to, &mut refuse).await.map(drop);
        assert!(matches!(refused, Err(Rejection::Overloaded)), "{refused:?}");
    });
}
