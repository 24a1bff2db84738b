//! Shared tokens in the store, their filters, and those who come with one.

mod filters;
mod tokens;
mod visitors;

pub(crate) use filters::NewSharedFilter;
pub(crate) use tokens::NewSharedToken;
pub(crate) use visitors::VisitorRow;

use super::{
    database::{Query, Value},
    signed,
};
use crate::control::Error;

/// Tokens of one account that are not deleted, and its filters: a list of either is one answer.
const PER_ACCOUNT_MAX: u64 = 500;

/// Whose to list.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Whose {
    /// Only those of this account and of the sub-accounts that it reaches.
    pub(crate) home: Option<u64>,
    /// Only those of this account.
    pub(crate) account: Option<u64>,
}

// === impl Whose ===

impl Whose {
    fn narrow(self, mut select: Query) -> Query {
        if let Some(account) = self.account {
            select = select.and(" AND account_id = $", [signed(account).into()]);
        }
        if let Some(home) = self.home {
            let home = || Value::from(signed(home));
            select = select.and(
                " AND account_id IN (SELECT id FROM accounts WHERE id = $ OR (parent_id = $ AND accessible))",
                [home(), home()],
            );
        }
        select
    }
}

/// Refuses one more than an account may have.
fn is_room(count: u64, what: &str, account: u64) -> Result<(), Error> {
    if count < PER_ACCOUNT_MAX {
        return Ok(());
    }
    Err(Error::Conflict(format!(
        "account {account} has {count} {what}, and that is the most; delete some first"
    )))
}
