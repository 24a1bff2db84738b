//! What is said besides a status line: `google.rpc.Status` with `RetryInfo`, and OTLP's partial success,
//! written and read in protobuf and in JSON.
//!
//! The few fields are read off the wire directly. Readers take any bytes, skip what they don't know, and allocate no
//! more than they return, except that JSON is bounded by the caller's cut of an answer.

use std::time::Duration;

use base64::{
    Engine, alphabet,
    engine::{
        DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD_NO_PAD,
    },
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{grpc::Code, protobuf::put_varint};
use crate::model::Signal;

const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// Peers write `-bin` metadata with and without padding.
const BASE64_LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a peer's `google.rpc.Status` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The number as it came; 0 if unset.
    pub code: u32,
    /// The peer's words, as they came: not yet cut or cleaned.
    pub message: String,
    /// When to come back, from a `RetryInfo` detail.
    pub retry: Option<Duration>,
}

/// `google.rpc.Status` in protobuf, with a `RetryInfo` detail when `retry` is given.
pub fn status_protobuf(code: Code, message: &str, retry: Option<Duration>) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 80);
    put_varint_field(&mut out, 1, u64::from(code.number()));
    put_bytes_field(&mut out, 2, message.as_bytes());
    if let Some(retry) = retry {
        let mut delay = Vec::with_capacity(16);
        put_varint_field(&mut delay, 1, retry.as_secs().min(i64::MAX as u64));
        put_varint_field(&mut delay, 2, u64::from(retry.subsec_nanos()));
        let mut info = Vec::with_capacity(18);
        put_message_field(&mut info, 1, &delay);
        let mut any = Vec::with_capacity(64);
        put_bytes_field(&mut any, 1, RETRY_INFO.as_bytes());
        put_message_field(&mut any, 2, &info);
        put_message_field(&mut out, 3, &any);
    }
    out
}

/// The same for the metadata `grpc-status-details-bin`: base64 without padding.
pub fn status_details(code: Code, message: &str, retry: Option<Duration>) -> String {
    STANDARD_NO_PAD.encode(status_protobuf(code, message, retry))
}

/// `google.rpc.Status` in JSON, with a `RetryInfo` detail when `retry` is given.
pub fn status_json(code: Code, message: &str, retry: Option<Duration>) -> Vec<u8> {
    let mut status = json!({ "code": code.number(), "message": message });
    if let Some(retry) = retry {
        let delay = match retry.subsec_millis() {
            0 => format!("{}s", retry.as_secs()),
            millis => format!("{}.{millis:03}s", retry.as_secs()),
        };
        status["details"] = json!([{ "@type": RETRY_INFO, "retryDelay": delay }]);
    }
    status.to_string().into_bytes()
}

/// Reads a `google.rpc.Status` in protobuf. `None` when the bytes are not a message.
pub fn parse_status_protobuf(bytes: &[u8]) -> Option<Status> {
    let mut status = Status::default();
    for field in Fields(bytes) {
        match field? {
            (1, Field::Number(code)) => status.code = u32::try_from(code).unwrap_or(u32::MAX),
            (2, Field::Bytes(message)) => {
                status.message = String::from_utf8_lossy(message).into_owned();
            }
            (3, Field::Bytes(any)) => status.retry = status.retry.or_else(|| retry_info(any)),
            _ => {}
        }
    }
    Some(status)
}

/// Reads the value of `grpc-status-details-bin`. `None` when it is not one.
pub fn parse_status_details(base64: &[u8]) -> Option<Status> {
    parse_status_protobuf(&BASE64_LENIENT.decode(base64).ok()?)
}

/// Reads a `google.rpc.Status` in JSON. `None` when the text is not a JSON object; members of a wrong type are skipped.
pub fn parse_status_json(text: &[u8]) -> Option<Status> {
    #[derive(Deserialize)]
    struct Read {
        #[serde(default)]
        code: Value,
        #[serde(default)]
        message: Value,
        #[serde(default)]
        details: Value,
    }
    let read: Read = serde_json::from_slice(text).ok()?;
    let retry = |detail: &Value| {
        if detail.get("@type")?.as_str()? != RETRY_INFO {
            return None;
        }
        json_duration(detail.get("retryDelay")?.as_str()?)
    };
    let details = read.details.as_array();
    Some(Status {
        code: number(&read.code).map_or(0, |code| u32::try_from(code).unwrap_or(u32::MAX)),
        retry: details.and_then(|details| details.iter().find_map(retry)),
        message: match read.message {
            Value::String(message) => message,
            _ => String::new(),
        },
    })
}

/// An `Export*ServiceResponse` in protobuf: the numbers are the same for all signals. Empty when nothing is to be said.
pub fn partial_success_protobuf(rejected: u64, message: &str) -> Vec<u8> {
    if rejected == 0 && message.is_empty() {
        return Vec::new();
    }
    let mut partial = Vec::with_capacity(message.len() + 16);
    put_varint_field(&mut partial, 1, rejected.min(i64::MAX as u64));
    put_bytes_field(&mut partial, 2, message.as_bytes());
    let mut out = Vec::with_capacity(partial.len() + 4);
    put_message_field(&mut out, 1, &partial);
    out
}

/// An `Export*ServiceResponse` in JSON: `{}` when nothing is to be said.
pub fn partial_success_json(signal: Signal, rejected: u64, message: &str) -> Vec<u8> {
    if rejected == 0 && message.is_empty() {
        return b"{}".to_vec();
    }
    let rejected = rejected.min(i64::MAX as u64).to_string();
    let mut partial = json!({ (rejected_name(signal)): rejected });
    if !message.is_empty() {
        partial["errorMessage"] = message.into();
    }
    let response = json!({ "partialSuccess": partial });
    response.to_string().into_bytes()
}

/// Items rejected and the words with them. `None` when neither is set or the bytes are not a message.
pub fn parse_partial_success_protobuf(bytes: &[u8]) -> Option<(u64, String)> {
    let (mut rejected, mut message) = (0, String::new());
    for field in Fields(bytes) {
        let (1, Field::Bytes(partial)) = field? else {
            continue;
        };
        for field in Fields(partial) {
            match field? {
                // An int64: what came in as negative rejects nothing.
                (1, Field::Number(count)) => {
                    rejected = u64::try_from(count.cast_signed()).unwrap_or(0);
                }
                (2, Field::Bytes(text)) => message = String::from_utf8_lossy(text).into_owned(),
                _ => {}
            }
        }
    }
    (rejected != 0 || !message.is_empty()).then_some((rejected, message))
}

/// The same in JSON, in either spelling of its names. `None` when neither is set or the text is not one.
pub fn parse_partial_success_json(signal: Signal, text: &[u8]) -> Option<(u64, String)> {
    #[derive(Deserialize)]
    struct Read {
        #[serde(rename = "partialSuccess", alias = "partial_success", default)]
        partial: Value,
    }
    let read: Read = serde_json::from_slice(text).ok()?;
    let snake = match signal {
        Signal::Logs => "rejected_log_records",
        Signal::Metrics => "rejected_data_points",
        Signal::Traces => "rejected_spans",
    };
    let get = |camel: &str, snake: &str| {
        let found = read.partial.get(camel);
        found.or_else(|| read.partial.get(snake))
    };
    let rejected = get(rejected_name(signal), snake).and_then(number);
    let rejected = rejected.unwrap_or(0);
    let message = get("errorMessage", "error_message").and_then(Value::as_str);
    let message = message.unwrap_or_default().to_owned();
    (rejected != 0 || !message.is_empty()).then_some((rejected, message))
}

const fn rejected_name(signal: Signal) -> &'static str {
    match signal {
        Signal::Logs => "rejectedLogRecords",
        Signal::Metrics => "rejectedDataPoints",
        Signal::Traces => "rejectedSpans",
    }
}

/// A number, or a number in a string, as proto3's JSON writes 64-bit integers.
fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// `"1.5s"`.
fn json_duration(text: &str) -> Option<Duration> {
    let seconds: f64 = text.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

fn retry_info(any: &[u8]) -> Option<Duration> {
    let (mut is_retry_info, mut info) = (false, &[][..]);
    for field in Fields(any) {
        match field? {
            (1, Field::Bytes(url)) => is_retry_info = url.ends_with(b"/google.rpc.RetryInfo"),
            (2, Field::Bytes(value)) => info = value,
            _ => {}
        }
    }
    if !is_retry_info {
        return None;
    }
    // A Duration of zero is an empty message, and a RetryInfo without one asks for no wait.
    let mut delay = Duration::ZERO;
    for field in Fields(info) {
        let (1, Field::Bytes(parts)) = field? else {
            continue;
        };
        let (mut seconds, mut nanos) = (0i64, 0i64);
        for field in Fields(parts) {
            match field? {
                (1, Field::Number(value)) => seconds = value.cast_signed(),
                (2, Field::Number(value)) => nanos = value.cast_signed(),
                _ => {}
            }
        }
        let nanos = u32::try_from(nanos).unwrap_or(0).min(999_999_999);
        delay = Duration::new(u64::try_from(seconds).unwrap_or(0), nanos);
    }
    Some(delay)
}

// === protobuf, as far as it is needed ===

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed,
}

/// The fields of a message in order; ends with one `None` where the bytes are none.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Field<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn read(&mut self) -> Option<(u64, Field<'a>)> {
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => Field::Number(self.varint()?),
            1 => self.take(8).map(|_| Field::Fixed)?,
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Field::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Field::Fixed)?,
            _ => return None,
        };
        Some((tag >> 3, field))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7F) << shift;
            if *byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

/// Zero is not written, as proto3 has it.
fn put_varint_field(out: &mut Vec<u8>, number: u8, value: u64) {
    if value != 0 {
        out.push(number << 3);
        put_varint(out, value);
    }
}

/// An empty string is not written, as proto3 has it.
fn put_bytes_field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_message_field(out, number, bytes);
    }
}

/// An empty message is written: it is set.
fn put_message_field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests;
