//! What a destination's HTTP answer means for the sender.

use std::time::Duration;

use ::http::{
    HeaderMap, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER},
};
use bytes::Bytes;
use serde::Deserialize;

use super::{
    blame::{misconfigured, only_validates, unavailable},
    secrets,
    shipment::Shipment,
};
use crate::{
    clock,
    gateway::acknowledge::X_VALIDATED_ITEMS,
    model::{Content, Counts, Delivery, Destination, LineCounts, Rejection, Tally, Written},
    wire::status,
};

/// Of a destination's words, as relayed.
const MESSAGE_BYTES_MAX: usize = 1 << 10;
/// A destination that asks for more is held to this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// How one endpoint took it.
pub(super) enum Attempt {
    /// The destination has spoken.
    Final(Result<Delivery, Rejection>),
    /// This endpoint is down or broken; another may not be. What to say if there is none.
    Elsewhere(Rejection),
}

/// An answer over HTTP, its body cut at the ceiling.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// The body was read to its end.
    pub(super) is_whole: bool,
    /// It goes on behind the ceiling.
    pub(super) is_too_long: bool,
}

/// The meaning of an HTTP answer.
pub(super) fn judge(
    answer: &Answer,
    shipment: &Shipment<'_>,
    destination: &Destination,
) -> Attempt {
    let is_v2 = shipment.content == Content::RemoteWrite2;
    let code = answer.status.as_u16();
    let written = written(&answer.headers).filter(|_| is_v2);
    if answer.headers.contains_key(X_VALIDATED_ITEMS) {
        return Attempt::Final(Err(only_validates(destination)));
    }
    match code {
        200..=299 if is_v2 && written.is_none() => {
            Attempt::Final(Err(Rejection::DestinationLacksVersion))
        }
        // Some receivers drop what they can't store and say yes: 2.0 forbids a 2xx for that, so the sender gets none.
        200..=299 if written.is_some_and(|written| falls_short(written, shipment)) => {
            Attempt::Final(Err(Rejection::DestinationRefused {
                status: 400,
                message: "the destination wrote less than was sent".to_owned(),
                written,
                lines: None,
            }))
        }
        200..=299 => delivered(answer, shipment, destination, written),
        415 if is_v2 => Attempt::Final(Err(Rejection::DestinationLacksVersion)),
        408 | 425 | 429 | 500..=599 => {
            let rejection = Rejection::DestinationUnavailable {
                retry_after: retry_after(answer, shipment),
                why: format!("destination answered {code}").into(),
            };
            match code {
                502..=504 => Attempt::Elsewhere(rejection),
                _ => Attempt::Final(Err(rejection)),
            }
        }
        // Not about this body: who we are, where we post, or how we were set up to, such as with its compression.
        401 | 403..=407 | 410 | 411 | 415 | 421 | 426 | 431 => {
            Attempt::Final(Err(misconfigured(destination, &format!("answered {code}"))))
        }
        400..=499 => Attempt::Final(Err(Rejection::DestinationRefused {
            status: code,
            message: clean(&words(answer, shipment), destination),
            written,
            lines: line_counts(answer, shipment),
        })),
        300..=399 => Attempt::Final(Err(misconfigured(
            destination,
            &format!("answered {code}; redirects are not followed"),
        ))),
        _ => Attempt::Final(Err(misconfigured(destination, &format!("answered {code}")))),
    }
}

fn delivered(
    answer: &Answer,
    shipment: &Shipment<'_>,
    destination: &Destination,
    written: Option<Written>,
) -> Attempt {
    let partial = match shipment.content {
        Content::OtlpProtobuf | Content::OtlpJson if answer.is_too_long => {
            // As for a call over gRPC: the endpoint is there, and another would say the same.
            let rejection = unavailable("destination's answer is too long");
            return Attempt::Final(Err(rejection));
        }
        Content::OtlpProtobuf | Content::OtlpJson if !answer.is_whole => {
            // The part that is missing may be the refusal of some of it.
            return Attempt::Elsewhere(unavailable("destination's answer was cut off"));
        }
        Content::OtlpProtobuf | Content::OtlpJson if is_json(answer, shipment) => {
            status::parse_partial_success_json(shipment.signal, &answer.body)
        }
        Content::OtlpProtobuf | Content::OtlpJson => {
            status::parse_partial_success_protobuf(&answer.body)
        }
        _ => None,
    };
    Attempt::Final(Ok(delivery(partial, destination, written)))
}

fn falls_short(written: Written, shipment: &Shipment<'_>) -> bool {
    let Counts::Write(sent) = shipment.counts else {
        return false;
    };
    written.samples < sent.samples
        || written.histograms < sent.histograms
        || written.exemplars < sent.exemplars
}

/// A delivery with what the destination said besides yes.
pub(super) fn delivery(
    partial: Option<(u64, String)>,
    destination: &Destination,
    written: Option<Written>,
) -> Delivery {
    let (refused_items, message) = partial.unwrap_or_default();
    Delivery {
        refused_items,
        message: Some(clean(&message, destination)).filter(|message| !message.is_empty()),
        written,
        ..Delivery::default()
    }
}

/// The destination's words: printable, one line, cut, and without any secret of ours it may echo.
pub(super) fn clean(words: &str, destination: &Destination) -> String {
    let words = secrets::hide(words, destination);
    let mut out = String::with_capacity(words.len().min(MESSAGE_BYTES_MAX));
    for character in words.trim().chars() {
        let character = if character.is_control() {
            ' '
        } else {
            character
        };
        if out.len() + character.len_utf8() > MESSAGE_BYTES_MAX {
            break;
        }
        out.push(character);
    }
    out
}

fn words(answer: &Answer, shipment: &Shipment<'_>) -> String {
    if answer.headers.contains_key(CONTENT_ENCODING) {
        return String::new();
    }
    let is_otlp = matches!(shipment.content, Content::OtlpProtobuf | Content::OtlpJson);
    match own_status(answer, shipment) {
        Some(status) if is_otlp && !status.message.is_empty() => status.message,
        _ => String::from_utf8_lossy(&answer.body).into_owned(),
    }
}

fn own_status(answer: &Answer, shipment: &Shipment<'_>) -> Option<status::Status> {
    match shipment.content {
        Content::OtlpProtobuf | Content::OtlpJson if is_json(answer, shipment) => {
            status::parse_status_json(&answer.body)
        }
        Content::OtlpProtobuf | Content::OtlpJson => status::parse_status_protobuf(&answer.body),
        _ => None,
    }
}

/// Bulk: how a receiver of our own kind says that it took some of the lines. Whoever sent them holds it against what was sent.
fn line_counts(answer: &Answer, shipment: &Shipment<'_>) -> Option<LineCounts> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Read {
        malformed_lines: u64,
        successful_lines: u64,
        #[serde(default)]
        oversized_lines: u64,
        #[serde(default)]
        empty_log_lines: u64,
    }
    let is_told = shipment.content == Content::Lines
        && answer.status == StatusCode::BAD_REQUEST
        && answer.is_whole;
    if !is_told {
        return None;
    }
    let read: Read = serde_json::from_slice(&answer.body).ok()?;
    Some(LineCounts {
        good: Tally::new(read.successful_lines, 0),
        malformed: Tally::new(read.malformed_lines, 0),
        oversized: Tally::new(read.oversized_lines, 0),
        empty: Tally::new(read.empty_log_lines, 0),
    })
}

fn is_json(answer: &Answer, shipment: &Shipment<'_>) -> bool {
    let stated = answer.headers.get(CONTENT_TYPE);
    stated.map_or(shipment.content == Content::OtlpJson, |stated| {
        stated.as_bytes().starts_with(b"application/json")
    })
}

fn retry_after(answer: &Answer, shipment: &Shipment<'_>) -> Option<Duration> {
    let stated = answer.headers.get(RETRY_AFTER).and_then(|value| {
        let text = value.to_str().ok()?.trim();
        match text.parse() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => {
                let until = httpdate::parse_http_date(text).ok()?;
                let until = until.duration_since(std::time::UNIX_EPOCH).ok()?;
                Some(until.saturating_sub(clock::wall()))
            }
        }
    });
    stated
        .or_else(|| own_status(answer, shipment)?.retry)
        .map(bounded)
}

/// A wait that a destination asks for, held to a day.
pub(super) fn bounded(retry: Duration) -> Duration {
    retry.min(RETRY_AFTER_MAX)
}

/// Remote write 2.0: what the destination says it wrote; `None` when it says nothing at all.
fn written(headers: &HeaderMap) -> Option<Written> {
    let read =
        |name: &str| -> Option<u64> { headers.get(name)?.to_str().ok()?.trim().parse().ok() };
    let samples = read("x-prometheus-remote-write-samples-written");
    let histograms = read("x-prometheus-remote-write-histograms-written");
    let exemplars = read("x-prometheus-remote-write-exemplars-written");
    samples.or(histograms).or(exemplars)?;
    Some(Written {
        samples: samples.unwrap_or(0),
        histograms: histograms.unwrap_or(0),
        exemplars: exemplars.unwrap_or(0),
    })
}
