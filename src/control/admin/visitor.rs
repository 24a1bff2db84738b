//! Who comes with a shared token: read from the store for each request, and let in to what is shared alone.

use axum::http::{StatusCode, request::Parts};

use super::{
    caller::{digest, failed, token, touch},
    origin,
    problem::Problem,
    rule::forbidden,
};
use crate::{
    clock,
    control::{Control, sight::Sight, store::VisitorRow},
    model::{Secret, TokenKind},
};

/// Somebody who sees what an account shares.
#[derive(Clone)]
pub(super) struct Visitor {
    pub(super) account: u64,
    pub(super) sight: Sight,
}

/// Finds out what is shared with whoever asks. The token is in the headers; a session is nobody's here.
pub(super) async fn identify(control: &Control, parts: &Parts) -> Result<Visitor, Problem> {
    let Some(token) = token(&parts.headers)? else {
        return Err(nobody());
    };
    let Some(row) = by_token(control, &token).await? else {
        failed(
            control,
            origin::address(control, &parts.headers, &parts.extensions),
        )?;
        return Err(nobody());
    };
    let id = row.id;
    touch(
        control,
        format!("shared_token/{id}"),
        row.used_at,
        |control| async move { control.inner.store.touch_shared_token(id).await },
    );
    if row.home.suspended.is_some() {
        // Why is its people's to know.
        return Err(forbidden("the account that shares this is suspended"));
    }
    Ok(Visitor {
        account: row.home.id,
        sight: row.sight,
    })
}

async fn by_token(control: &Control, token: &Secret) -> Result<Option<VisitorRow>, Problem> {
    let Some(digest) = digest(control, TokenKind::Shared, token) else {
        return Ok(None);
    };
    let row = control.inner.store.visitor(&digest).await?;
    let now = clock::wall_seconds();
    Ok(row.filter(|row| row.expires_at == 0 || row.expires_at > now))
}

fn nobody() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "give a shared token as `Authorization: Bearer` or `X-API-TOKEN`; no other token opens this",
    )
}
