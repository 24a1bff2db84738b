//! How it ended, in the sender's own protocol: one closed table from outcome to answer.
//!
//! `Row` is the answers table's first column; each protocol answers every row in one `match` of its own, so that a new
//! reason doesn't compile until every sender is told.

mod bulk;
mod otlp;
mod remote_write;
mod reply;

pub use reply::Reply;

use std::time::Duration;

use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use hyper::body::Body as _;
use serde_json::Value;

use super::receipt::{Dialect, Receipt};
use crate::model::{Delivery, Over, Payer, Rejection};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// It says that nothing was delivered.
pub(super) const X_VALIDATED_ITEMS: HeaderName = HeaderName::from_static("x-validated-items");
const X_VALIDATED_BYTES: HeaderName = HeaderName::from_static("x-validated-bytes");
const X_TOKEN_ID: HeaderName = HeaderName::from_static("x-token-id");

/// When to come back to a gateway that is full, going down, or waiting for its destination or its directory.
const UNAVAILABLE_RETRY_AFTER: Duration = Duration::from_secs(1);

/// A row of the answers table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Row {
    NotFound,
    MethodNotAllowed,
    BadRequest,
    MissingToken,
    UnknownToken,
    Forbidden,
    UnsupportedType,
    UnsupportedEncoding,
    TooLarge,
    Throttled { as_unavailable: bool },
    QuotaGone { is_final: bool },
    Unavailable,
    BodyFailed,
    DestinationRefuses { status: u16 },
    Malformed,
}

/// Turns an outcome into the answer, and files the receipt.
pub fn acknowledge(receipt: Receipt, outcome: Result<Delivery, Rejection>) -> Response<Reply> {
    let mut response = match &outcome {
        Ok(delivery) => match receipt.dialect() {
            Dialect::Bulk => bulk::delivered(delivery),
            Dialect::Otlp(form) => otlp::delivered(form, delivery),
            Dialect::Grpc => otlp::grpc_delivered(delivery),
            Dialect::RemoteWrite { is_2 } => remote_write::delivered(is_2, delivery),
            // Nothing is delivered outside of a door.
            Dialect::Plain => Response::new(Reply::default()),
        },
        Err(rejection) => refused(&receipt, rejection),
    };
    if receipt.is_head() {
        response = without_body(response);
    }
    let headers = response.headers_mut();
    headers.insert(X_REQUEST_ID, receipt.id().header());
    if let Ok(Delivery {
        validated: Some(validated),
        ..
    }) = &outcome
    {
        headers.insert(X_VALIDATED_ITEMS, HeaderValue::from(validated.items));
        headers.insert(X_VALIDATED_BYTES, HeaderValue::from(validated.bytes));
    }
    if outcome.is_err()
        && let Some(token) = receipt.token()
    {
        headers.insert(X_TOKEN_ID, HeaderValue::from(token.0));
    }
    receipt.file(&outcome);
    response
}

/// Tells what was asked for, and files the receipt.
pub fn answer(receipt: Receipt, told: &Value) -> Response<Reply> {
    let mut response = written(StatusCode::OK, JSON, told.to_string());
    if receipt.is_head() {
        response = without_body(response);
    }
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_REQUEST_ID, receipt.id().header());
    receipt.answered();
    response
}

/// What `HEAD` is answered: how long the body would be. Over HTTP/2 hyper would send it, and clients end the stream for it.
fn without_body(response: Response<Reply>) -> Response<Reply> {
    let (mut head, body) = response.into_parts();
    if let Some(bytes) = body.size_hint().exact() {
        head.headers
            .insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
    }
    Response::from_parts(head, Reply::default())
}

fn refused(receipt: &Receipt, rejection: &Rejection) -> Response<Reply> {
    let row = row(rejection);
    let text = sentence(rejection);
    let retry_after = retry_after(rejection).map(|wait| receipt.id().spread(wait));
    let mut response = match receipt.dialect() {
        Dialect::Bulk => bulk::refused(row, rejection, &text),
        Dialect::Otlp(form) => otlp::refused(form, row, rejection, &text, retry_after),
        Dialect::Grpc => otlp::grpc_refused(row, rejection, &text, retry_after),
        Dialect::RemoteWrite { is_2 } => remote_write::refused(is_2, row, rejection, &text),
        Dialect::Plain => plain(row, &text),
    };
    let headers = response.headers_mut();
    if let Some(wait) = retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs()));
    }
    if let Rejection::MethodNotAllowed { allow } = rejection {
        headers.insert(header::ALLOW, HeaderValue::from_static(allow));
    }
    response
}

fn plain(row: Row, text: &str) -> Response<Reply> {
    let status = match row {
        Row::NotFound => StatusCode::NOT_FOUND,
        Row::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Row::MissingToken | Row::UnknownToken => StatusCode::UNAUTHORIZED,
        Row::Forbidden => StatusCode::FORBIDDEN,
        Row::UnsupportedType | Row::UnsupportedEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Row::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Row::Throttled { .. } | Row::QuotaGone { .. } => StatusCode::TOO_MANY_REQUESTS,
        Row::Unavailable | Row::BodyFailed => StatusCode::SERVICE_UNAVAILABLE,
        Row::BadRequest | Row::Malformed | Row::DestinationRefuses { .. } => {
            StatusCode::BAD_REQUEST
        }
    };
    written(status, TEXT, text.to_owned())
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// A response of one piece with its content type.
fn written(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<bytes::Bytes>,
) -> Response<Reply> {
    let mut response = Response::new(Reply::full(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn row(rejection: &Rejection) -> Row {
    match rejection {
        Rejection::UnknownPath => Row::NotFound,
        Rejection::MethodNotAllowed { .. } => Row::MethodNotAllowed,
        Rejection::BadFraming(_) | Rejection::BadParameter(_) | Rejection::ConflictingTokens => {
            Row::BadRequest
        }
        Rejection::MissingToken => Row::MissingToken,
        Rejection::UnknownToken
        | Rejection::DisabledToken
        | Rejection::ExpiredToken
        | Rejection::RevokedToken => Row::UnknownToken,
        Rejection::WrongSignal | Rejection::SuspendedAccount | Rejection::SourceNotAllowed => {
            Row::Forbidden
        }
        Rejection::UnsupportedContentType | Rejection::DestinationLacksVersion => {
            Row::UnsupportedType
        }
        Rejection::UnsupportedEncoding => Row::UnsupportedEncoding,
        Rejection::TooLarge { .. } => Row::TooLarge,
        Rejection::Throttled { as_unavailable, .. } => Row::Throttled {
            as_unavailable: *as_unavailable,
        },
        Rejection::QuotaGone { is_final, .. } => Row::QuotaGone {
            is_final: *is_final,
        },
        Rejection::DirectoryStale
        | Rejection::Overloaded
        | Rejection::Draining
        | Rejection::DestinationMisconfigured(_)
        | Rejection::DestinationUnavailable { .. }
        | Rejection::Internal(_) => Row::Unavailable,
        Rejection::BodyTooSlow | Rejection::BodyCutOff => Row::BodyFailed,
        Rejection::DestinationRefused { status, .. } => Row::DestinationRefuses { status: *status },
        Rejection::Malformed(_) | Rejection::NoGoodLine(_) => Row::Malformed,
    }
}

/// When to come back; `None` where coming back is no use.
fn retry_after(rejection: &Rejection) -> Option<Duration> {
    match rejection {
        Rejection::Throttled { retry_after, .. } => Some(*retry_after),
        Rejection::QuotaGone {
            retry_after,
            is_final: false,
        } => Some(*retry_after),
        Rejection::DestinationUnavailable { retry_after, .. } => {
            Some(retry_after.unwrap_or(UNAVAILABLE_RETRY_AFTER))
        }
        Rejection::DirectoryStale
        | Rejection::Overloaded
        | Rejection::Draining
        | Rejection::DestinationMisconfigured(_)
        | Rejection::Internal(_)
        | Rejection::BodyTooSlow
        | Rejection::BodyCutOff => Some(UNAVAILABLE_RETRY_AFTER),
        _ => None,
    }
}

/// What a person reads, whatever the protocol. Names nothing that only we should know, never the token.
fn sentence(rejection: &Rejection) -> String {
    match rejection {
        Rejection::BadFraming(why) => format!("The request is not well framed: {why}"),
        Rejection::BadParameter(why) => format!("The request can't be understood: {why}"),
        Rejection::UnknownPath => "There is no such route".into(),
        Rejection::MethodNotAllowed { allow } => format!("This route takes {allow}"),
        Rejection::MissingToken => "The shipping token is missing".into(),
        Rejection::ConflictingTokens => "The request carries two different tokens".into(),
        Rejection::UnknownToken
        | Rejection::DisabledToken
        | Rejection::ExpiredToken
        | Rejection::RevokedToken => "The shipping token is not valid".into(),
        Rejection::WrongSignal => "The shipping token is for another signal".into(),
        Rejection::SuspendedAccount => "The account is suspended".into(),
        Rejection::SourceNotAllowed => "The shipping token is not valid from this address".into(),
        Rejection::DirectoryStale => {
            "The gateway cannot know this token right now; try again".into()
        }
        Rejection::UnsupportedContentType => "This route doesn't take this content type".into(),
        Rejection::UnsupportedEncoding => "This route doesn't take this content encoding".into(),
        Rejection::TooLarge { bytes_max } => {
            format!("The request body exceeds {}", size(*bytes_max))
        }
        Rejection::Throttled { over, .. } => throttled(*over),
        Rejection::QuotaGone { .. } => "The account's volume is used up".into(),
        Rejection::Overloaded => "The gateway is overloaded; try again".into(),
        Rejection::Draining => "The gateway is going down; try again".into(),
        Rejection::BodyTooSlow => "The request body came too slowly".into(),
        Rejection::BodyCutOff => "The request body was cut off".into(),
        Rejection::Malformed(why) => format!("The request body is malformed: {why}"),
        Rejection::NoGoodLine(_) => "Not one line of the body is a JSON object".into(),
        Rejection::DestinationRefused { message, .. } => {
            if message.is_empty() {
                "The destination refuses this request".into()
            } else {
                message.clone()
            }
        }
        Rejection::DestinationLacksVersion => {
            "The destination doesn't take this version of the protocol".into()
        }
        Rejection::DestinationMisconfigured(_) => {
            "The account's destination is not set up for this; its operator must act".into()
        }
        Rejection::DestinationUnavailable { .. } => {
            "The account's destination is not available; try again".into()
        }
        Rejection::Internal(_) => "The gateway failed; try again".into(),
    }
}

fn throttled(over: Over) -> String {
    let (whose, what) = match over {
        Over::Concurrency => ("account", "requests at once".to_owned()),
        Over::InFlightBytes => ("account", "bytes at once".to_owned()),
        Over::Rate(payer, measure) => {
            let whose = match payer {
                Payer::Token => "shipping token",
                Payer::Account => "account",
                Payer::MainAccount => "main account",
            };
            (whose, format!("{measure} per second"))
        }
    };
    format!("The {whose} is over its limit of {what}; try again")
}

fn size(bytes: u64) -> String {
    if bytes.is_multiple_of(1 << 20) {
        format!("{} MB", bytes >> 20)
    } else {
        format!("{bytes} bytes")
    }
}

#[cfg(test)]
mod tests;
