//! The rest of a refused body over HTTP/2: read and thrown away for a moment, so that its sender sees the answer.
//!
//! Dropping it at once resets the stream while the sender is still writing, and some clients then never look at the answer
//! that came before (curl 7.88 lost most of its 401s). HTTP/1.1 lingers on its socket instead: see [`super::listen`].

use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::time::timeout;

use super::listen;

/// Discards within the same bounds as a lingering socket. Never waited for by the answer.
pub(super) fn linger(mut body: Incoming, config: &listen::Config) {
    if body.is_end_stream() {
        return;
    }
    let (time, bytes_max) = (config.linger_timeout, config.linger_bytes_max);
    tokio::task::spawn_local(timeout(time, async move {
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            if bytes > bytes_max {
                return;
            }
        }
    }));
}
