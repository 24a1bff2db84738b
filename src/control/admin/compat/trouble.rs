//! What goes wrong, in the words that these routes' callers read: `{"code","message"}`.

use std::borrow::Cow;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::super::problem::Problem;
use crate::control::Error;

/// An error answer.
#[derive(Debug)]
pub(super) struct Trouble {
    status: StatusCode,
    message: Cow<'static, str>,
    /// Whether the message stands alone.
    is_bare: bool,
    retry_after: Option<u64>,
}

// === impl Trouble ===

impl Trouble {
    pub(super) fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            message: message.into(),
            is_bare: false,
            retry_after: None,
        }
    }

    pub(super) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// Whoever may not, is told no more than that, and so is whoever is not known.
    pub(super) fn privileges() -> Self {
        Self::new(StatusCode::FORBIDDEN, "Insufficient privileges")
    }

    /// A shared token or a filter of one that the account doesn't have: 400, as callers expect.
    pub(super) fn not_shared(what: &str, id: u64, account: u64) -> Self {
        Self {
            is_bare: true,
            ..Self::invalid(format!(
                "{what} with id {id} not found for account {account}"
            ))
        }
    }
}

impl From<Problem> for Trouble {
    fn from(problem: Problem) -> Self {
        let (status, detail, retry_after) = problem.parts();
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Self::privileges(),
            status => Self {
                retry_after,
                ..Self::new(status, detail)
            },
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Problem::from(error).into()
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let body = match self.is_bare {
            true => json!({"message": self.message}),
            false => json!({"code": self.status.as_u16(), "message": self.message}),
        };
        let mut response = (self.status, Json(body)).into_response();
        if let Some(seconds) = self.retry_after {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
