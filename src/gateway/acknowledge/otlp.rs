//! Answers at the two OTLP doors. An HTTP error's body is a `google.rpc.Status` in the request's own content type; over gRPC
//! the same status travels in trailers. Exporters drop on what isn't listed as retryable, so nothing here is ever a 500.

use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use super::{JSON, Reply, Row, written};
use crate::{
    gateway::receipt::OtlpForm,
    model::{Delivery, Rejection},
    wire::{grpc, grpc::Code, status},
};

const PROTOBUF: &str = "application/x-protobuf";
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

pub(super) fn delivered(form: OtlpForm, delivery: &Delivery) -> Response<Reply> {
    let (rejected, message) = partial(delivery);
    match form {
        OtlpForm::Protobuf => written(
            StatusCode::OK,
            PROTOBUF,
            status::partial_success_protobuf(rejected, message),
        ),
        OtlpForm::Json(signal) => written(
            StatusCode::OK,
            JSON,
            status::partial_success_json(signal, rejected, message),
        ),
    }
}

fn partial(delivery: &Delivery) -> (u64, &str) {
    (
        delivery.refused_items,
        delivery.message.as_deref().unwrap_or(""),
    )
}

pub(super) fn refused(
    form: OtlpForm,
    row: Row,
    rejection: &Rejection,
    text: &str,
    retry_after: Option<Duration>,
) -> Response<Reply> {
    let status = match row {
        Row::NotFound => StatusCode::NOT_FOUND,
        Row::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Row::MissingToken | Row::UnknownToken => StatusCode::UNAUTHORIZED,
        Row::Forbidden | Row::QuotaGone { is_final: true } => StatusCode::FORBIDDEN,
        Row::UnsupportedType | Row::UnsupportedEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Row::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Row::Throttled { .. } | Row::QuotaGone { is_final: false } => StatusCode::TOO_MANY_REQUESTS,
        Row::Unavailable | Row::BodyFailed => StatusCode::SERVICE_UNAVAILABLE,
        Row::BadRequest | Row::Malformed => StatusCode::BAD_REQUEST,
        Row::DestinationRefuses { status } => {
            StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST)
        }
    };
    let code = code(row, rejection);
    match form {
        OtlpForm::Protobuf => written(
            status,
            PROTOBUF,
            status::status_protobuf(code, text, retry_after),
        ),
        OtlpForm::Json(_) => written(status, JSON, status::status_json(code, text, retry_after)),
    }
}

pub(super) fn grpc_delivered(delivery: &Delivery) -> Response<Reply> {
    let (rejected, message) = partial(delivery);
    let message = status::partial_success_protobuf(rejected, message);
    let mut data = BytesMut::with_capacity(5 + message.len());
    // A partial success repeats at most 1 KiB of the destination's words.
    data.put_slice(&grpc::prefix(
        false,
        u32::try_from(message.len()).unwrap_or(0),
    ));
    data.put_slice(&message);
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
    let mut response = Response::new(Reply::with_trailers(data.freeze(), trailers));
    response.headers_mut().insert(header::CONTENT_TYPE, GRPC);
    response
}

/// Trailers only: the status stands in the headers of an answer without a body.
pub(super) fn grpc_refused(
    row: Row,
    rejection: &Rejection,
    text: &str,
    retry_after: Option<Duration>,
) -> Response<Reply> {
    let mut response = Response::new(Reply::default());
    let code = code(row, rejection);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, GRPC);
    headers.insert(GRPC_STATUS, HeaderValue::from_static(code.as_str()));
    if let Ok(message) = HeaderValue::try_from(grpc::percent_encode(text)) {
        headers.insert(GRPC_MESSAGE, message);
    }
    if retry_after.is_some() {
        let details = status::status_details(code, text, retry_after);
        if let Ok(details) = HeaderValue::try_from(details) {
            headers.insert(GRPC_STATUS_DETAILS, details);
        }
    }
    if row == Row::UnsupportedEncoding {
        headers.insert(
            HeaderName::from_static("grpc-accept-encoding"),
            HeaderValue::from_static("identity,gzip,zstd"),
        );
    }
    response
}

/// `RESOURCE_EXHAUSTED` is retried by exporters only with RetryInfo, which [`super::retry_after`] decides.
fn code(row: Row, rejection: &Rejection) -> Code {
    match row {
        Row::NotFound | Row::MethodNotAllowed | Row::UnsupportedEncoding => Code::Unimplemented,
        Row::MissingToken | Row::UnknownToken => Code::Unauthenticated,
        Row::Forbidden | Row::QuotaGone { is_final: true } => Code::PermissionDenied,
        Row::TooLarge | Row::Throttled { .. } | Row::QuotaGone { is_final: false } => {
            Code::ResourceExhausted
        }
        Row::Unavailable | Row::BodyFailed => Code::Unavailable,
        Row::UnsupportedType if *rejection == Rejection::DestinationLacksVersion => {
            Code::Unimplemented
        }
        Row::UnsupportedType
        | Row::BadRequest
        | Row::Malformed
        | Row::DestinationRefuses { .. } => Code::InvalidArgument,
    }
}
