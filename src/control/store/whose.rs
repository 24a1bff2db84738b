//! Whose rows a list shows.

use super::{
    database::{Query, Value},
    signed,
};

/// An account, whose id stands in both places, and the sub-accounts that are reached from it, as
/// [`reached_from`](crate::control::record::reached_from) has it.
pub(super) const REACHED: &str =
    "(SELECT id FROM accounts WHERE id = $ OR (parent_id = $ AND accessible))";

/// Without either, everybody's.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Whose {
    /// Only those of this account and of the sub-accounts that it reaches.
    pub(crate) home: Option<u64>,
    /// Only those of this account.
    pub(crate) account: Option<u64>,
}

// === impl Whose ===

impl Whose {
    /// That account's.
    pub(crate) fn account(id: u64) -> Self {
        Self {
            home: None,
            account: Some(id),
        }
    }

    pub(super) fn narrow(self, mut select: Query) -> Query {
        if let Some(account) = self.account {
            select = select.and(" AND account_id = $", [signed(account).into()]);
        }
        if let Some(home) = self.home {
            let home = || Value::from(signed(home));
            select = select.and(&format!(" AND account_id IN {REACHED}"), [home(), home()]);
        }
        select
    }
}
