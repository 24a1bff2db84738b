//! Against scripted servers over real sockets.

mod server;
mod http;
mod failover;
mod grpc;
mod tls;
mod claims;
mod answers;
mod sockets;

use bytes::Bytes;

use super::*;
use crate::model::{
    Chunks, Content, Counts, DestinationId, Door, Encoding, LineCounts, Signal, Tally, WriteCounts,
};

const ACCOUNT: AccountId = AccountId(41);
const TOKEN: TokenId = TokenId(97);

/// On a worker thread's runtime, where tasks are the scheduler's own.
fn run<T: 'static>(future: impl Future<Output = T> + 'static) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default())
        .unwrap();
    runtime.block_on(async {
        let test = spawn_local(tokio::time::timeout(Duration::from_secs(30), future));
        test.await.unwrap().expect("the test hangs")
    })
}

fn destination(kind: DestinationKind, endpoints: &[&str]) -> Destination {
    let mut destination = Destination::new(DestinationId(7), "sink", kind);
    destination.endpoints = endpoints.iter().map(|&url| url.to_owned()).collect();
    destination.request_timeout = Duration::from_secs(5);
    destination
}

fn payload(content: Content, signal: Signal, body: &[u8]) -> Payload {
    let (door, counts) = match content {
        Content::Lines => {
            let counted = LineCounts {
                good: Tally {
                    items: 2,
                    bytes: body.len() as u64,
                },
                ..LineCounts::default()
            };
            (Door::Bulk, Counts::Lines(counted))
        }
        Content::OtlpProtobuf | Content::OtlpJson => (Door::OtlpHttp, Counts::Records(1)),
        Content::RemoteWrite1 | Content::RemoteWrite2 => {
            (Door::RemoteWrite, Counts::Write(WriteCounts::default()))
        }
    };
    Payload {
        door,
        signal,
        content,
        encoding: Encoding::Identity,
        chunks: Chunks::from_iter([Bytes::copy_from_slice(body)]),
        inflated_bytes: body.len() as u64,
        counts,
        line_type: None,
    }
}

fn lines() -> Payload {
    payload(Content::Lines, Signal::Logs, b"{\"a\":1}\n{\"b\":2}\n")
}

fn otlp() -> Payload {
    payload(Content::OtlpProtobuf, Signal::Logs, b"")
}

async fn send(
    upstreams: &Upstreams,
    destination: &Arc<Destination>,
    payload: &Payload,
) -> Result<Delivery, Rejection> {
    let mut claim = |_| Ok(());
    upstreams
        .send(destination, (ACCOUNT, TOKEN), payload, &mut claim)
        .await
}

/// One payload through a deliverer of its own.
async fn send_once(destination: Destination, payload: &Payload) -> Result<Delivery, Rejection> {
    let upstreams = Upstreams::new(Config::default(), Sockets::new(1024));
    send(&upstreams, &Arc::new(destination), payload).await
}

fn why(result: Result<Delivery, Rejection>) -> String {
    match result {
        Err(Rejection::DestinationUnavailable { why, .. }) => why.into_owned(),
        other => panic!("not unavailable: {other:?}"),
    }
}

fn setup(result: Result<Delivery, Rejection>) -> String {
    match result {
        Err(Rejection::DestinationMisconfigured(why)) => why.into_owned(),
        other => panic!("not misconfigured: {other:?}"),
    }
}
