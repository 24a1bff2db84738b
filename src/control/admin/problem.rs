//! Errors as people and programs read them: RFC 9457 problem documents.

use std::{borrow::Cow, time::Duration};

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::etag;
use crate::control::Error;

/// An error answer, `application/problem+json`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// `about:blank`: the status says it all.
    r#type: &'static str,
    /// The status in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What to do about it.
    detail: Cow<'static, str>,
    /// On a change that is held: what it would take away.
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<Held>,
    /// Seconds until it is worth asking again.
    #[serde(skip)]
    retry_after: Option<u64>,
    /// What the thing is now, where it is not what the request expected.
    #[serde(skip)]
    etag: Option<String>,
}

/// What a change that is held would take away.
#[derive(Debug, Serialize, ToSchema)]
struct Held {
    /// Live shipping tokens that it would end.
    dropped: u64,
    /// Live shipping tokens that other changes have ended within the last minute, and that it was weighed with.
    lately: u64,
    /// Live shipping tokens that there are.
    live: u64,
    /// What to pass as `confirm` to do it all the same; a change that has grown since is held again.
    confirm: String,
}

// === impl Problem ===

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            held: None,
            retry_after: None,
            etag: None,
        }
    }

    /// Too many failures; they are forgotten after `wait`.
    pub(super) fn too_many(wait: Duration) -> Self {
        let seconds = wait.as_secs() + 1;
        Self {
            retry_after: Some(seconds),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                format!("too many failures; come again in {seconds} s"),
            )
        }
    }

    /// The thing is of that version now.
    pub(super) fn changed(version: u64, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            etag: Some(etag::of(version)),
            ..Self::new(StatusCode::PRECONDITION_FAILED, detail)
        }
    }

    /// Status, what to do about it, and seconds until it is worth asking again.
    pub(super) fn parts(self) -> (StatusCode, Cow<'static, str>, Option<u64>) {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, self.detail, self.retry_after)
    }

    /// In words.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    pub(super) fn invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }
}

/// PostgreSQL's word for a NUL in a text, which no text of ours has.
const NUL_IN_TEXT: &str = "22021";

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        if let Error::Store(sqlx::Error::Database(error)) = &error
            && error.code().as_deref() == Some(NUL_IN_TEXT)
        {
            return Self::invalid("a text has a NUL in it");
        }
        if let Error::Held {
            dropped,
            lately,
            live,
        } = error
        {
            return Self {
                held: Some(Held {
                    dropped,
                    lately,
                    live,
                    confirm: format!("dropped-{dropped}"),
                }),
                ..Self::new(StatusCode::CONFLICT, error.to_string())
            };
        }
        if let Error::AuditBroken { .. } = error {
            tracing::error!(%error, "the admin API cannot answer");
            return Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
        }
        let status = match &error {
            Error::Changed { version } => return Self::changed(*version, error.to_string()),
            Error::CallerEnded => StatusCode::UNAUTHORIZED,
            Error::CallerStopped(_) => StatusCode::FORBIDDEN,
            Error::NotFound(_) => StatusCode::NOT_FOUND,
            Error::Conflict(_) | Error::Held { .. } => StatusCode::CONFLICT,
            Error::Invalid(_) => StatusCode::BAD_REQUEST,
            Error::Closed | Error::Store(sqlx::Error::PoolClosed) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Error::Together(error) if matches!(**error, Error::Closed) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Error::File { .. }
            | Error::BadStore(_)
            | Error::HalfCopied(_)
            | Error::WentBack { .. }
            | Error::Together(_)
            | Error::Locked(_)
            | Error::StoreLocked(_)
            | Error::WrongMasterKey
            | Error::MissingMasterKey(_)
            | Error::BadKey(_)
            | Error::BadCertificate(_)
            | Error::Store(_)
            | Error::Migrate(_)
            | Error::Damaged(_)
            | Error::AuditBroken { .. }
            | Error::Feed(_) => {
                tracing::error!(%error, "the admin API cannot answer");
                return Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the control plane failed; its log says why",
                );
            }
        };
        Self::new(status, error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.retry_after.map(HeaderValue::from);
        let etag = self.etag.as_deref().map(HeaderValue::from_str);
        let mut response = (status, axum::Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, seconds);
        }
        if let Some(Ok(etag)) = etag {
            headers.insert(header::ETAG, etag);
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
