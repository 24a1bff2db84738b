//! One exchange over HTTP/1.1.

use std::{future::poll_fn, pin::Pin};

use ::http::{Request, header::CONNECTION};
use bytes::{Bytes, BytesMut};
use http_body::Body;
use hyper::body::Incoming;

use super::{
    answer::{Answer, Attempt},
    blame::{no_connection, unavailable},
    body::Chain,
    pool::{Bounds, Endpoint},
};
use crate::model::Destination;

/// Sends the request and reads its answer. A kept connection that dies without an answer is tried again on a new one,
/// once: the destination may have closed it just then.
pub(super) async fn exchange(
    endpoint: &Endpoint,
    destination: &Destination,
    bounds: &Bounds<'_>,
    request: impl Fn() -> Request<Chain>,
) -> Result<Answer, Attempt> {
    let mut fresh = false;
    loop {
        let mut connection = endpoint
            .exclusive(fresh, bounds)
            .await
            .map_err(|fault| Attempt::Elsewhere(no_connection(destination, fault)))?;
        let response = match connection.sender.send_request(request()).await {
            Ok(response) => response,
            Err(error) if connection.is_reused && !error.is_parse() => {
                fresh = true;
                continue;
            }
            Err(error) if error.is_parse() => {
                let rejection = unavailable("destination's answer is not HTTP");
                return Err(Attempt::Elsewhere(rejection));
            }
            Err(_) => {
                let rejection = unavailable("destination closed the connection without an answer");
                return Err(Attempt::Elsewhere(rejection));
            }
        };
        let (head, body) = response.into_parts();
        let (body, end) = read(body, bounds.config.answer_bytes_max).await;
        let closes = head.headers.get(CONNECTION);
        if end == End::Reached && closes.is_none_or(|value| value != "close") {
            endpoint.release(connection, bounds).await;
        }
        return Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
            is_whole: end == End::Reached,
            is_too_long: end == End::Ceiling,
        });
    }
}

#[derive(PartialEq, Eq)]
enum End {
    Reached,
    Ceiling,
    Broken,
}

/// Reads up to `bytes_max`; what lies behind is cut, and the connection with it.
async fn read(mut body: Incoming, bytes_max: usize) -> (Bytes, End) {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    loop {
        if body.is_end_stream() {
            break;
        }
        let frame = match poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            None => break,
            Some(Err(_)) => return (joined(first, all), End::Broken),
            Some(Ok(frame)) => frame,
        };
        let Ok(mut data) = frame.into_data() else {
            continue;
        };
        let room = bytes_max - (first.len() + all.len());
        let is_over = data.len() > room;
        data.truncate(room);
        if first.is_empty() {
            first = data;
        } else {
            all.extend_from_slice(&data);
        }
        if is_over {
            return (joined(first, all), End::Ceiling);
        }
    }
    (joined(first, all), End::Reached)
}

fn joined(first: Bytes, rest: BytesMut) -> Bytes {
    if rest.is_empty() {
        first
    } else {
        [first.as_ref(), rest.as_ref()].concat().into()
    }
}
