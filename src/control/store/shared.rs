//! Shared tokens in the store, their filters, and those who come with one.

mod filters;
mod tokens;
mod visitors;

pub(crate) use filters::NewSharedFilter;
pub(crate) use tokens::NewSharedToken;
pub(super) use tokens::place;
pub(crate) use visitors::VisitorRow;

use crate::control::Error;

/// Tokens of one account that are not deleted, and its filters: a list of either is one answer.
const PER_ACCOUNT_MAX: u64 = 500;

/// Refuses one more than an account may have.
fn is_room(count: u64, what: &str, account: u64) -> Result<(), Error> {
    if count < PER_ACCOUNT_MAX {
        return Ok(());
    }
    Err(Error::Conflict(format!(
        "account {account} has {count} {what}, and that is the most; delete some first"
    )))
}
