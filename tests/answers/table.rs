//! The table, the doors it is held against, and what each cell has beside its status.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use wharfinger::wire::status;

use crate::world::{self, Answer, GrpcAnswer, World, bodies};

/// A door, in every form that answers differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Bulk,
    OtlpProtobuf,
    OtlpJson,
    Grpc,
    Write1,
    Write2,
}

pub(crate) const EVERYWHERE: [At; 6] = [
    At::Bulk,
    At::OtlpProtobuf,
    At::OtlpJson,
    At::Grpc,
    At::Write1,
    At::Write2,
];

/// What a row says: an HTTP status at three doors, a gRPC code at the fourth.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) bulk: u16,
    pub(crate) otlp: u16,
    pub(crate) grpc: u16,
    pub(crate) write: u16,
    /// Retry-After over HTTP, the same in RetryInfo over gRPC.
    pub(crate) retry: bool,
}

pub(crate) const MISSING: Row = row("missing token", 401, 401, 16, 401, false);
pub(crate) const UNKNOWN: Row = row("unknown or revoked", 401, 401, 16, 401, false);
pub(crate) const FORBIDDEN: Row = row("wrong signal, suspended account", 401, 403, 7, 403, false);
pub(crate) const THROTTLED: Row = row("over rate", 429, 429, 8, 429, true);
pub(crate) const THROTTLED_503: Row = row("over rate, write as 503", 429, 429, 8, 503, true);
pub(crate) const UNAVAILABLE: Row = row(
    "overload, destination down, feed stale",
    503,
    503,
    14,
    503,
    true,
);
pub(crate) const TOO_LARGE: Row = row("too large", 413, 413, 8, 400, false);
pub(crate) const BODY_FAILED: Row = row("body too slow or cut off", 503, 503, 14, 503, true);
pub(crate) const MISCONFIGURED: Row =
    row("destination 401, 403, 404, 405", 503, 503, 14, 503, true);
pub(crate) const MALFORMED: Row = row("malformed", 400, 400, 3, 400, false);
pub(crate) const SUCCESS: Row = row("success", 200, 200, 0, 204, false);

pub(crate) const fn row(
    name: &'static str,
    bulk: u16,
    otlp: u16,
    grpc: u16,
    write: u16,
    retry: bool,
) -> Row {
    Row {
        name,
        bulk,
        otlp,
        grpc,
        write,
        retry,
    }
}

#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) answer: Answer,
    pub(crate) grpc: Option<(u16, String, Option<status::Status>)>,
}

impl From<Answer> for Seen {
    fn from(answer: Answer) -> Self {
        Self { answer, grpc: None }
    }
}

impl From<GrpcAnswer> for Seen {
    fn from(seen: GrpcAnswer) -> Self {
        Self {
            grpc: Some((seen.code, seen.message, seen.details)),
            answer: seen.answer,
        }
    }
}

impl Seen {
    pub(crate) fn code(&self) -> u16 {
        match &self.grpc {
            Some((code, ..)) => *code,
            None => self.answer.status,
        }
    }
}

impl At {
    pub(crate) fn signal(self) -> &'static str {
        match self {
            Self::Write1 | Self::Write2 => "metrics",
            _ => "logs",
        }
    }

    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Bulk => "/",
            Self::OtlpProtobuf | Self::OtlpJson => "/v1/logs",
            Self::Grpc => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            Self::Write1 | Self::Write2 => "/api/v1/write",
        }
    }

    pub(crate) fn sender(self, world: &World) -> world::Sender {
        match self {
            Self::Bulk => world.bulk(),
            Self::OtlpProtobuf | Self::OtlpJson => world.otlp_http(),
            Self::Grpc => world.otlp_grpc(),
            Self::Write1 | Self::Write2 => world.remote_write(),
        }
    }

    pub(crate) fn headers(self) -> Vec<(&'static str, &'static str)> {
        match self {
            Self::Bulk | Self::Grpc => vec![],
            Self::OtlpProtobuf => vec![("content-type", "application/x-protobuf")],
            Self::OtlpJson => vec![("content-type", "application/json")],
            Self::Write1 => vec![
                ("content-type", "application/x-protobuf"),
                ("content-encoding", "snappy"),
                ("x-prometheus-remote-write-version", "0.1.0"),
            ],
            Self::Write2 => vec![
                (
                    "content-type",
                    "application/x-protobuf;proto=io.prometheus.write.v2.Request",
                ),
                ("content-encoding", "snappy"),
                ("x-prometheus-remote-write-version", "2.0.0"),
            ],
        }
    }

    pub(crate) fn body(self) -> Vec<u8> {
        match self {
            Self::Bulk => bodies::lines(3),
            Self::OtlpProtobuf | Self::Grpc => bodies::otlp("logs", 3),
            Self::OtlpJson => bodies::otlp_json("logs", 3).into_bytes(),
            Self::Write1 => bodies::snappy(&bodies::write_1(3)),
            Self::Write2 => bodies::snappy(&bodies::write_2(3)),
        }
    }

    pub(crate) fn malformed_body(self) -> Vec<u8> {
        match self {
            Self::Bulk => b"not json\n".to_vec(),
            Self::OtlpProtobuf | Self::Grpc => vec![0x0a, 0xff],
            Self::OtlpJson => b"{\"resourceLogs\":[".to_vec(),
            Self::Write1 | Self::Write2 => bodies::snappy(&[0x0a, 0xff]),
        }
    }

    pub(crate) async fn ship(self, world: &World, token: Option<&str>, body: Vec<u8>) -> Seen {
        let authorization = format!("Bearer {}", token.unwrap_or_default());
        let mut headers = self.headers();
        if token.is_some() {
            headers.push(("authorization", &authorization));
        }
        let sender = self.sender(world);
        if self == Self::Grpc {
            return sender
                .call(self.path(), &headers, &body, false)
                .await
                .into();
        }
        sender.post(self.path(), &headers, body).await.into()
    }
}

pub(crate) static CELLS: AtomicUsize = AtomicUsize::new(0);

/// Holds an answer against its cell of the table, with everything that stands beside the status.
pub(crate) fn assert_cell(row: &Row, at: At, why: &str, seen: &Seen) {
    let wanted = match at {
        At::Bulk => row.bulk,
        At::OtlpProtobuf | At::OtlpJson => row.otlp,
        At::Grpc => row.grpc,
        At::Write1 | At::Write2 => row.write,
    };
    let cell = format!("{} ({why}) at {at:?}: {seen:?}", row.name);
    assert_eq!(seen.code(), wanted, "{cell}");
    let id = seen.answer.header("x-request-id").unwrap_or_default();
    assert_eq!(id.len(), 16, "no request id: {cell}");
    let retry_after = seen.answer.header("retry-after");
    assert_eq!(retry_after.is_some(), row.retry, "Retry-After: {cell}");
    if let Some((_, _, details)) = &seen.grpc {
        assert_eq!(seen.answer.status, 200, "{cell}");
        let info = details.as_ref().and_then(|details| details.retry);
        let header = retry_after.map(|text| Duration::from_secs(text.parse().expect("seconds")));
        assert_eq!(info, header, "RetryInfo is Retry-After: {cell}");
    }
    let is_otlp_error = wanted >= 400 && matches!(at, At::OtlpProtobuf | At::OtlpJson);
    if is_otlp_error {
        let content_type = seen.answer.header("content-type");
        let parsed = if at == At::OtlpJson {
            assert_eq!(content_type, Some("application/json"), "{cell}");
            status::parse_status_json(&seen.answer.body)
        } else {
            assert_eq!(content_type, Some("application/x-protobuf"), "{cell}");
            status::parse_status_protobuf(&seen.answer.body)
        };
        let parsed = parsed.unwrap_or_else(|| panic!("no google.rpc.Status: {cell}"));
        assert!(!parsed.message.is_empty() && parsed.code != 0, "{cell}");
    }
    // What a destination that lacks 2.0 has written nobody knows; everything else is said.
    let is_known = ((400..500).contains(&wanted) && wanted != 415) || wanted == 204;
    if at == At::Write2 && is_known {
        for piece in ["samples", "histograms", "exemplars"] {
            let name = format!("x-prometheus-remote-write-{piece}-written");
            assert!(seen.answer.headers.contains_key(&name), "{name}: {cell}");
        }
    }
    CELLS.fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn report(test: &str) {
    println!(
        "{test}: {} cells asserted so far in this process",
        CELLS.load(Ordering::Relaxed)
    );
}
