//! Answers at the remote-write door. Past the ceiling is 400 here: vmagent sends a 413 again for ever.

use http::{HeaderValue, Response, StatusCode};

use super::{Reply, Row, TEXT, written};
use crate::model::{Delivery, Rejection, Written};

pub(super) fn delivered(is_2: bool, delivery: &Delivery) -> Response<Reply> {
    let mut response = Response::new(Reply::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    if is_2 && let Some(counts) = &delivery.written {
        state_written(&mut response, counts);
    }
    response
}

pub(super) fn refused(is_2: bool, row: Row, rejection: &Rejection, text: &str) -> Response<Reply> {
    let status = match row {
        Row::NotFound => StatusCode::NOT_FOUND,
        Row::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Row::MissingToken | Row::UnknownToken => StatusCode::UNAUTHORIZED,
        Row::Forbidden => StatusCode::FORBIDDEN,
        Row::UnsupportedType | Row::UnsupportedEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Row::Throttled {
            as_unavailable: false,
        }
        | Row::QuotaGone { is_final: false } => StatusCode::TOO_MANY_REQUESTS,
        Row::Throttled {
            as_unavailable: true,
        }
        | Row::Unavailable
        | Row::BodyFailed => StatusCode::SERVICE_UNAVAILABLE,
        Row::BadRequest
        | Row::TooLarge
        | Row::Malformed
        | Row::DestinationRefuses { .. }
        | Row::QuotaGone { is_final: true } => StatusCode::BAD_REQUEST,
    };
    let text = match row {
        Row::MissingToken => "Shipping token is missing",
        Row::UnknownToken => "Shipping token is not valid",
        _ => text,
    };
    let mut response = written(status, TEXT, text.to_owned());
    if is_2 && status.is_client_error() {
        // Refused by us means nothing was written; refused by the destination means what it says, if it says.
        let counts = match rejection {
            Rejection::DestinationRefused { written, .. } => *written,
            Rejection::DestinationLacksVersion => None,
            _ => Some(Written::default()),
        };
        if let Some(counts) = counts {
            state_written(&mut response, &counts);
        }
    }
    response
}

fn state_written(response: &mut Response<Reply>, counts: &Written) {
    for (name, count) in [
        ("x-prometheus-remote-write-samples-written", counts.samples),
        (
            "x-prometheus-remote-write-histograms-written",
            counts.histograms,
        ),
        (
            "x-prometheus-remote-write-exemplars-written",
            counts.exemplars,
        ),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from(count));
    }
}
