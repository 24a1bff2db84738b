//! What a token's digest belongs to.

use super::{Store, api_tokens, database::query, is_hidden, tokens};
use crate::{
    control::{
        Error,
        record::{ApiTokenRow, SharedTokenRow, TokenRow},
    },
    model::Digest,
};

/// A token that was found by its digest.
pub(crate) struct Leaked {
    pub(crate) token: LeakedToken,
    /// Hidden since somebody deleted it; such a one is revoked.
    pub(crate) is_deleted: bool,
}

/// Of whatever kind it is.
pub(crate) enum LeakedToken {
    Shipping(TokenRow),
    Api(ApiTokenRow),
    Shared(SharedTokenRow),
}

// === impl Leaked ===

impl Leaked {
    /// Whose it is; `None` is the operators'.
    pub(crate) fn account(&self) -> Option<u64> {
        match &self.token {
            LeakedToken::Shipping(row) => Some(row.token.account.0),
            LeakedToken::Api(row) => row.account,
            LeakedToken::Shared(row) => Some(row.account),
        }
    }
}

// === impl Store ===

impl Store {
    /// The token with that digest, of whatever kind, deleted or not.
    pub(crate) async fn leaked(&self, digest: &Digest) -> Result<Option<Leaked>, Error> {
        let found = |token, is_deleted| Some(Leaked { token, is_deleted });
        let shipping = query(tokens::ALL)
            .and(" WHERE t.digest = $", [digest.0.to_vec().into()])
            .read_optional(&self.reader, |row| {
                Ok((tokens::read(row)?, is_hidden(row)?))
            })
            .await?;
        if let Some((row, is_deleted)) = shipping {
            return Ok(found(LeakedToken::Shipping(row), is_deleted));
        }
        let api = query(api_tokens::SELECT)
            .and("0 AND digest = $", [digest.0.to_vec().into()])
            .read_optional(&self.reader, api_tokens::read)
            .await?;
        if let Some(row) = api {
            return Ok(found(LeakedToken::Api(row), false));
        }
        let shared = self.shared_token_of(digest).await?;
        Ok(shared.and_then(|(row, is_deleted)| found(LeakedToken::Shared(row), is_deleted)))
    }
}
