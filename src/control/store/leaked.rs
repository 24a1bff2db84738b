//! What a token's digest belongs to.

use super::{Store, api_tokens, database::query, tokens};
use crate::{
    control::{
        Error,
        record::{ApiTokenRow, SharedTokenRow, TokenRow},
    },
    model::Digest,
};

/// A token that is there; a deleted one is not.
pub(crate) enum Leaked {
    Shipping(TokenRow),
    Api(ApiTokenRow),
    Shared(SharedTokenRow),
}

// === impl Leaked ===

impl Leaked {
    /// Whose it is; `None` is the operators'.
    pub(crate) fn account(&self) -> Option<u64> {
        match self {
            Self::Shipping(row) => Some(row.token.account.0),
            Self::Api(row) => row.account,
            Self::Shared(row) => Some(row.account),
        }
    }
}

// === impl Store ===

impl Store {
    /// The token with that digest, of whatever kind.
    pub(crate) async fn leaked(&self, digest: &Digest) -> Result<Option<Leaked>, Error> {
        let shipping = query(tokens::SELECT)
            .and("0 AND t.digest = $", [digest.0.to_vec().into()])
            .read_optional(&self.reader, tokens::read)
            .await?;
        if let Some(row) = shipping {
            return Ok(Some(Leaked::Shipping(row)));
        }
        let api = query(api_tokens::SELECT)
            .and("0 AND digest = $", [digest.0.to_vec().into()])
            .read_optional(&self.reader, api_tokens::read)
            .await?;
        if let Some(row) = api {
            return Ok(Some(Leaked::Api(row)));
        }
        let shared = self.shared_token_of(digest).await?;
        Ok(shared.map(Leaked::Shared))
    }
}
