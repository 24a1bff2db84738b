//! One unary call over HTTP/2, and what its status means.

use ::http::{HeaderMap, HeaderName, Request};
use bytes::{Bytes, BytesMut};
use h2::{Reason, RecvStream};

use super::{
    answer::{Attempt, bounded, clean, delivery},
    blame::{misconfigured, no_connection, only_validates, unavailable},
    pool::{self, Bounds, Endpoint},
};
use crate::{
    gateway::acknowledge::X_VALIDATED_ITEMS,
    model::{Chunks, Destination, Rejection},
    wire::{
        grpc::{Code, Unframe, percent_decode},
        status,
    },
};

/// A stream that was refused was not looked at: trying again is free of doubt, but not for ever.
const REFUSED_RETRIES_MAX: u32 = 3;
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Makes the call. A kept connection that dies without an answer, or that takes no more streams, is tried again on
/// another, once.
pub(super) async fn call(
    endpoint: &Endpoint,
    destination: &Destination,
    bounds: &Bounds<'_>,
    request: impl Fn() -> Request<()>,
    chunks: &Chunks,
) -> Attempt {
    let mut retries = 0;
    loop {
        let stream = match endpoint.stream(bounds).await {
            Ok(stream) => stream,
            Err(fault) => return Attempt::Elsewhere(no_connection(destination, fault)),
        };
        let guard = Retire(&stream);
        match exchange(&stream, request(), chunks, bounds.config.answer_bytes_max).await {
            Ok(answer) => {
                guard.disarm();
                return judge(&answer, destination);
            }
            Err(error) => {
                let is_refused = error.reason() == Some(Reason::REFUSED_STREAM);
                let is_gone = error.is_io() || error.is_go_away() || !error.is_reset();
                if error.is_reset() {
                    guard.disarm();
                }
                if (is_refused && retries < REFUSED_RETRIES_MAX)
                    || (is_gone && stream.is_reused && retries == 0)
                {
                    retries += 1;
                    continue;
                }
                return Attempt::Elsewhere(unavailable(if error.is_reset() {
                    "destination reset the call"
                } else {
                    "destination closed the connection without an answer"
                }));
            }
        }
    }
}

/// Retires the connection of a call that is dropped in the middle: it is timed out, and the next one must not queue
/// behind a peer that has gone silent.
struct Retire<'a>(&'a pool::Stream);

impl Retire<'_> {
    fn disarm(self) {
        std::mem::forget(self);
    }
}

impl Drop for Retire<'_> {
    fn drop(&mut self) {
        self.0.retire();
    }
}

struct Answer {
    http_status: u16,
    /// It says so in its headers.
    only_validates: bool,
    /// Trailers, or the headers of an answer that has no more.
    ending: HeaderMap,
    message: Bytes,
}

async fn exchange(
    stream: &pool::Stream,
    request: Request<()>,
    chunks: &Chunks,
    bytes_max: usize,
) -> Result<Answer, h2::Error> {
    let mut sender = stream.sender().ready().await?;
    let (response, mut sending) = sender.send_request(request, false)?;
    let mut left = chunks.iter().len();
    for chunk in chunks.iter() {
        left -= 1;
        // Held by reference until the window opens: flow control is h2's, the bytes are in memory anyway.
        sending.send_data(chunk.clone(), left == 0)?;
    }
    let (head, body) = response.await?.into_parts();
    let only_validates = head.headers.contains_key(X_VALIDATED_ITEMS);
    if head.headers.contains_key(&GRPC_STATUS) {
        return Ok(Answer {
            http_status: head.status.as_u16(),
            only_validates,
            ending: head.headers,
            message: Bytes::new(),
        });
    }
    let (message, ending) = read(body, bytes_max).await?;
    Ok(Answer {
        http_status: head.status.as_u16(),
        only_validates,
        ending,
        message,
    })
}

/// Reads the message up to `bytes_max`, drops what lies behind, and waits for the trailers.
async fn read(mut body: RecvStream, bytes_max: usize) -> Result<(Bytes, HeaderMap), h2::Error> {
    let mut unframe = Unframe::default();
    let mut message = BytesMut::new();
    let mut read_bytes = 0usize;
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        read_bytes = read_bytes.saturating_add(data.len());
        if read_bytes > bytes_max {
            // No honest answer is so long, and its trailers may never come: it counts as one without a status.
            return Ok((Bytes::new(), HeaderMap::new()));
        }
        match unframe.push(data) {
            Ok(piece) => message.extend_from_slice(&piece),
            Err(_) => message.clear(),
        }
    }
    let trailers = body.trailers().await?.unwrap_or_default();
    let is_plain = unframe.finish().is_ok_and(|frame| !frame.compressed);
    if !is_plain {
        message.clear();
    }
    Ok((message.freeze(), trailers))
}

fn judge(answer: &Answer, destination: &Destination) -> Attempt {
    if answer.only_validates {
        return Attempt::Final(Err(only_validates(destination)));
    }
    if answer.http_status == 413 && !answer.ending.contains_key(&GRPC_STATUS) {
        // A proxy before the receiver. As a call that failed without a status it would be sent for ever.
        return Attempt::Final(Err(Rejection::DestinationRefused {
            status: 413,
            message: "the destination takes no body of this size".to_owned(),
            written: None,
            lines: None,
        }));
    }
    let code = match answer.ending.get(&GRPC_STATUS) {
        Some(value) => Code::parse(value.as_bytes()),
        None => Code::from_http_status(answer.http_status),
    };
    let details = answer
        .ending
        .get("grpc-status-details-bin")
        .and_then(|value| status::parse_status_details(value.as_bytes()));
    let retry = details.as_ref().and_then(|details| details.retry);
    let words = match answer.ending.get("grpc-message") {
        Some(value) => percent_decode(value.as_bytes()),
        None => details.map(|details| details.message).unwrap_or_default(),
    };
    let down = || Rejection::DestinationUnavailable {
        retry_after: retry.map(bounded),
        why: format!("destination answered gRPC code {}", code.as_str()).into(),
    };
    match code {
        Code::Ok => {
            let partial = status::parse_partial_success_protobuf(&answer.message);
            Attempt::Final(Ok(delivery(partial, destination, None)))
        }
        Code::ResourceExhausted if retry.is_some() => Attempt::Final(Err(down())),
        Code::InvalidArgument
        | Code::OutOfRange
        | Code::FailedPrecondition
        | Code::AlreadyExists
        | Code::ResourceExhausted => Attempt::Final(Err(Rejection::DestinationRefused {
            status: 400,
            message: clean(&words, destination),
            written: None,
            lines: None,
        })),
        Code::Unauthenticated | Code::PermissionDenied | Code::Unimplemented | Code::NotFound => {
            let what = format!("answered gRPC code {}", code.as_str());
            Attempt::Final(Err(misconfigured(destination, &what)))
        }
        Code::Unavailable => Attempt::Elsewhere(down()),
        Code::Aborted
        | Code::Cancelled
        | Code::DeadlineExceeded
        | Code::DataLoss
        | Code::Unknown
        | Code::Internal => Attempt::Final(Err(down())),
    }
}
