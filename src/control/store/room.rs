//! How many things an account may have beside its shipping tokens. Who has more by now keeps them, and gets no further ones.

use super::{
    Commit,
    database::{Query, query},
    positive, signed,
};
use crate::{
    clock,
    control::{Error, record::AccountRow},
};

/// Of each kind, in one account: a page of a list holds them all.
const PER_ACCOUNT_MAX: u64 = 500;

/// What an account has many of.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    People,
    /// Those that are not revoked.
    ApiTokens,
    /// Those that are not deleted.
    SharedTokens,
    SharedFilters,
}

// === impl Kind ===

impl Kind {
    /// Counted no further than it matters.
    fn select(self) -> Query {
        query(match self {
            Self::People => {
                "SELECT count(*) FROM (SELECT id FROM users WHERE account_id = $1 LIMIT $2) AS counted"
            }
            Self::ApiTokens => {
                "SELECT count(*) FROM (SELECT id FROM api_tokens WHERE account_id = $1 \
                 AND revoked_at IS NULL LIMIT $2) AS counted"
            }
            Self::SharedTokens => {
                "SELECT count(*) FROM (SELECT id FROM shared_tokens WHERE account_id = $1 \
                 AND deleted_at IS NULL LIMIT $2) AS counted"
            }
            Self::SharedFilters => {
                "SELECT count(*) FROM (SELECT id FROM shared_filters WHERE account_id = $1 LIMIT $2) AS counted"
            }
        })
    }

    /// What they are called, and what makes room.
    fn words(self) -> [&'static str; 2] {
        match self {
            Self::People => ["people", "delete"],
            Self::ApiTokens => ["API tokens that are not revoked", "revoke"],
            Self::SharedTokens => ["shared tokens", "delete"],
            Self::SharedFilters => ["shared filters", "delete"],
        }
    }
}

// === impl Commit ===

impl Commit {
    /// Refuses one more than an account may have, whoever asks.
    pub(super) async fn has_room(&mut self, kind: Kind, account: u64) -> Result<(), Error> {
        let count = kind.select().bind(signed(account));
        let count = count.bind(signed(PER_ACCOUNT_MAX));
        if positive(count.fetch_one(self.connection()?).await?)? < PER_ACCOUNT_MAX {
            return Ok(());
        }
        let [things, end] = kind.words();
        Err(Error::Conflict(format!(
            "account {account} has {PER_ACCOUNT_MAX} {things}, and that is the most; {end} some first"
        )))
    }

    /// Refuses one more sub-account than the plan of its main account allows.
    pub(super) async fn has_room_below(&mut self, main: &AccountRow) -> Result<(), Error> {
        let Some(most) = main.plan.sub_accounts_max(clock::wall_seconds()) else {
            return Ok(());
        };
        let id = main.account.id.0;
        let count = query(
            "SELECT count(*) FROM (SELECT id FROM accounts WHERE parent_id = $1 AND deleted_at IS NULL \
             LIMIT $2) AS counted",
        );
        let count = count.bind(signed(id)).bind(signed(most));
        if positive(count.fetch_one(self.connection()?).await?)? < most {
            return Ok(());
        }
        Err(Error::Conflict(format!(
            "plan {} allows {most} sub-accounts, and account {id} has them; delete one first",
            main.plan.name()
        )))
    }
}
