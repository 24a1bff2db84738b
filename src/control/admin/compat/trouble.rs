//! What goes wrong, in the words that these routes' callers read: `{"code","message"}`.

use std::borrow::Cow;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

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

/// As callers read it.
#[derive(Serialize, ToSchema)]
#[schema(as = Trouble)]
pub(in super::super) struct Said {
    /// The status; a shared token or filter that is not there has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    message: Cow<'static, str>,
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
        // These routes have no `confirm`, and their callers need not know how many tokens others have.
        if let Error::Held {
            dropped, lately, ..
        } = error
        {
            let why = match lately {
                0 => "at once, and is held; revoke the tokens one by one first",
                _ => {
                    "just after many others have ended, and is held; ask again in a minute, or revoke the tokens one by one first"
                }
            };
            let message = format!("this would end {dropped} live shipping tokens {why}");
            return Self::new(StatusCode::CONFLICT, message);
        }
        Problem::from(error).into()
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let said = Said {
            code: (!self.is_bare).then(|| self.status.as_u16()),
            message: self.message,
        };
        let mut response = (self.status, Json(said)).into_response();
        if let Some(seconds) = self.retry_after {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_others_have_ended_is_worth_waiting_for() {
        for (lately, waits) in [(0, false), (1, true)] {
            let held = Trouble::from(Error::Held {
                dropped: 1_000,
                lately,
                live: 1_234,
            });
            assert_eq!(held.status, StatusCode::CONFLICT);
            let said = held.message;
            assert!(
                said.contains("1000 live") && said.contains("one by one"),
                "{said}"
            );
            assert_eq!(said.contains("in a minute"), waits, "{said}");
            assert_eq!(said.contains("others"), waits, "{said}");
            assert!(!said.contains("1234"), "{said}");
        }
    }
}
