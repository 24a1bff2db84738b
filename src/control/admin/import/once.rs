//! An import under an `Idempotency-Key`: its body is hashed as it passes by, and its answer kept once all of it is written.
//! One that broke off has no answer, and is done again: what it has made is known then.

use std::sync::PoisonError;

use axum::{
    Json,
    http::{StatusCode, request::Parts},
    response::{IntoResponse as _, Response},
};
use serde_json::Value;

use super::super::{
    caller::Permit,
    enforced::{Wait, answer},
    idempotency::{self, replayed},
    problem::Problem,
};
use crate::{
    control::{
        Control,
        store::Answer,
        terms::{Errand, Once, Terms},
    },
    model::Digest,
};

/// A key, taken by an import under way.
pub(super) struct Keyed {
    control: Control,
    key: Digest,
    body: blake3::Hasher,
}

// === impl Keyed ===

impl Keyed {
    /// Takes the request's key, if it has one. `beside` is what else the lines go by.
    pub(super) fn take(
        control: &Control,
        permit: &Permit,
        parts: &Parts,
        beside: &[Option<String>],
    ) -> Result<Option<Self>, Problem> {
        let Some(key) = idempotency::digest(control, permit, &parts.headers)? else {
            return Ok(None);
        };
        let mut body = idempotency::hasher(parts);
        for text in beside {
            let text = text.as_deref();
            body.update(
                &text
                    .map_or(u64::MAX, |text| text.len() as u64)
                    .to_le_bytes(),
            );
            body.update(text.unwrap_or_default().as_bytes());
        }
        let importing = &control.inner.importing;
        let mut importing = importing.lock().unwrap_or_else(PoisonError::into_inner);
        if !importing.insert(key) {
            return Err(Problem::new(
                StatusCode::CONFLICT,
                "another import with this Idempotency-Key is being done: ask again in a moment",
            ));
        }
        Ok(Some(Self {
            control: control.clone(),
            key,
            body,
        }))
    }

    /// What this key was answered with before.
    pub(super) async fn first(&self) -> Result<Option<Answer>, Problem> {
        Ok(self.control.inner.store.answer(&self.key).await?)
    }

    /// A piece of the body.
    pub(super) fn passes(&mut self, piece: &[u8]) {
        self.body.update(piece);
    }

    /// That answer again, if all of the body was the same.
    pub(super) async fn again(&self, first: Answer, wait: &Wait) -> Result<Response, Problem> {
        if first.request != *self.body.finalize().as_bytes() {
            return Err(idempotency::of_another());
        }
        let wait = wait.duration(&self.control)?;
        let said = match first.object["revision"].as_u64() {
            Some(revision) => {
                let published = self.control.inner.store.publisher().published(revision);
                answer(&self.control, published, wait, StatusCode::OK, first.object).await?
            }
            None => Json(first.object).into_response(),
        };
        Ok(replayed(said))
    }

    /// Keeps the answer, before anybody gets it.
    pub(super) async fn keep(self, permit: &Permit, answer: &Value) -> Result<(), Problem> {
        let errand = Errand {
            who: permit.caller.who(),
            terms: Terms {
                // All of it is made by now, whoever may ask for more.
                standing: None,
                subject: None,
                once: Some(Once {
                    key: self.key,
                    request: *self.body.finalize().as_bytes(),
                }),
            },
        };
        let mut commit = self.control.inner.store.begin(errand).await?;
        commit.remember(None, answer)?;
        Ok(commit.finish_unpublished().await?)
    }
}

impl Drop for Keyed {
    fn drop(&mut self) {
        let importing = &self.control.inner.importing;
        let mut importing = importing.lock().unwrap_or_else(PoisonError::into_inner);
        importing.remove(&self.key);
    }
}
