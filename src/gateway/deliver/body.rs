//! A request body that hands out a chain of chunks as they are.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::model::Chunks;

/// Yields its chunks without a copy; its length is known, so the request carries a `Content-Length`.
#[derive(Debug)]
pub(super) struct Chain {
    rest: Rest,
    left_bytes: u64,
}

/// One chunk is the usual case and needs no allocation.
#[derive(Debug)]
enum Rest {
    One(Option<Bytes>),
    Many(std::vec::IntoIter<Bytes>),
}

impl From<&Chunks> for Chain {
    fn from(chunks: &Chunks) -> Self {
        let mut iter = chunks.iter();
        let rest = match (iter.next(), iter.len()) {
            (first, 0) => Rest::One(first.cloned()),
            _ => Rest::Many(chunks.iter().cloned().collect::<Vec<_>>().into_iter()),
        };
        Self {
            rest,
            left_bytes: chunks.len(),
        }
    }
}

impl Body for Chain {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = match &mut self.rest {
            Rest::One(chunk) => chunk.take(),
            Rest::Many(chunks) => chunks.next(),
        };
        if let Some(chunk) = &chunk {
            self.left_bytes -= chunk.len() as u64;
        }
        Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.left_bytes == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left_bytes)
    }
}
