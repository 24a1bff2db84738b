//! Answers at the log bulk door. Official clients retry a 204 and a 403 for ever, so neither occurs here.

use http::{Response, StatusCode};

use super::{JSON, Reply, Row, TEXT, written};
use crate::model::{Delivery, LineCounts, Rejection};

pub(super) fn delivered(delivery: &Delivery) -> Response<Reply> {
    match &delivery.lines {
        // The good lines are safe; the counters tell the client not to resend them.
        Some(lines) if lines.bad().items > 0 => {
            written(StatusCode::BAD_REQUEST, JSON, counters(lines))
        }
        Some(lines) if delivery.validated.is_some() => {
            written(StatusCode::OK, JSON, counters(lines))
        }
        _ => Response::new(Reply::default()),
    }
}

pub(super) fn refused(row: Row, rejection: &Rejection, text: &str) -> Response<Reply> {
    let status = match row {
        Row::NotFound => StatusCode::NOT_FOUND,
        Row::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Row::MissingToken | Row::UnknownToken | Row::Forbidden => StatusCode::UNAUTHORIZED,
        Row::QuotaGone { is_final: true } => StatusCode::UNAUTHORIZED,
        Row::UnsupportedType | Row::UnsupportedEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Row::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Row::Throttled { .. } | Row::QuotaGone { is_final: false } => StatusCode::TOO_MANY_REQUESTS,
        Row::Unavailable | Row::BodyFailed => StatusCode::SERVICE_UNAVAILABLE,
        Row::BadRequest => StatusCode::BAD_REQUEST,
        Row::Malformed | Row::DestinationRefuses { .. } => {
            return written(
                StatusCode::BAD_REQUEST,
                JSON,
                counters(&lines_of(rejection)),
            );
        }
    };
    let text = match row {
        Row::MissingToken => "Logging token is missing",
        Row::UnknownToken | Row::Forbidden => "Logging token is not valid",
        Row::TooLarge => {
            return written(status, TEXT, format!("Request body size{}", exceeds(text)));
        }
        _ => text,
    };
    written(status, TEXT, text.to_owned())
}

/// `" exceeds 10 MB"`, as the listener's clients know it.
fn exceeds(text: &str) -> &str {
    text.find(" exceeds ")
        .map_or(" is too large", |at| &text[at..])
}

/// A body that can't be read as lines at all counts as one malformed line.
fn lines_of(rejection: &Rejection) -> LineCounts {
    match rejection {
        Rejection::NoGoodLine(lines)
        | Rejection::DestinationRefused {
            lines: Some(lines), ..
        } => *lines,
        _ => {
            let mut lines = LineCounts::default();
            lines.malformed.items = 1;
            lines
        }
    }
}

fn counters(lines: &LineCounts) -> String {
    format!(
        r#"{{"malformedLines":{},"successfulLines":{},"oversizedLines":{},"emptyLogLines":{}}}"#,
        lines.malformed.items, lines.good.items, lines.oversized.items, lines.empty.items
    )
}
