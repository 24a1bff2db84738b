//! The route table: which door a request knocks at, before anything is asked of it.

use http::{HeaderValue, Method, Request, Version, header};

use super::listen::BareSlash;
use crate::model::{Door, Rejection, Signal};

/// Where a request wants to go in, and how it wants to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entrance {
    /// Its protocol.
    pub door: Door,
    /// The signal that the route itself names; bulk takes what the token ships.
    pub signal: Option<Signal>,
}

/// The path decides the door. A wrong method is refused later, in the door's protocol.
///
/// # Errors
/// [`Rejection::UnknownPath`].
pub fn find(head: &Request<impl Sized>, bare_slash: BareSlash) -> Result<Entrance, Rejection> {
    let entrance = |door, signal| Ok(Entrance { door, signal });
    match head.uri().path() {
        "/v1/logs" => entrance(Door::OtlpHttp, Some(Signal::Logs)),
        "/v1/metrics" => entrance(Door::OtlpHttp, Some(Signal::Metrics)),
        "/v1/traces" => entrance(Door::OtlpHttp, Some(Signal::Traces)),
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => {
            entrance(Door::OtlpGrpc, Some(Signal::Logs))
        }
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => {
            entrance(Door::OtlpGrpc, Some(Signal::Metrics))
        }
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => {
            entrance(Door::OtlpGrpc, Some(Signal::Traces))
        }
        "/api/v1/write" | "/api/v1/push" => entrance(Door::RemoteWrite, Some(Signal::Metrics)),
        "/" | "" => match bare_slash {
            BareSlash::Bulk => entrance(Door::Bulk, None),
            BareSlash::RemoteWrite => entrance(Door::RemoteWrite, Some(Signal::Metrics)),
            BareSlash::Nothing => Err(Rejection::UnknownPath),
        },
        _ => Err(Rejection::UnknownPath),
    }
}

/// Every door takes POST and nothing else; gRPC needs what only HTTP/2 has.
///
/// # Errors
/// [`Rejection::MethodNotAllowed`]; gRPC over HTTP/1.1.
pub fn check(head: &Request<impl Sized>, entrance: Entrance) -> Result<(), Rejection> {
    if head.method() != Method::POST {
        return Err(Rejection::MethodNotAllowed { allow: "POST" });
    }
    if entrance.door == Door::OtlpGrpc && head.version() != Version::HTTP_2 {
        return Err(Rejection::BadFraming("gRPC needs HTTP/2"));
    }
    Ok(())
}

/// Whether a request is a gRPC call, whatever its path: its client then reads `grpc-status`, not HTTP's.
pub fn is_grpc_call(head: &Request<impl Sized>) -> bool {
    head.method() == Method::POST && head.version() == Version::HTTP_2 && is_grpc(head)
}

/// Whether the content type is gRPC's.
pub fn is_grpc(head: &Request<impl Sized>) -> bool {
    head.headers()
        .get(header::CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .and_then(|value| value.strip_prefix(b"application/grpc"))
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}
