//! Who may keep how much on the disk.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::Refusal;
use crate::model::AccountId;

/// Claims of records, from before they are queued until they are done with; and what all files take.
pub(super) struct Budget {
    bytes_max: u64,
    account_bytes_max: u64,
    used: Mutex<Used>,
}

#[derive(Default)]
struct Used {
    /// Files, and records that wait to be written into one.
    bytes: u64,
    accounts: HashMap<AccountId, u64>,
}

// === impl Budget ===

impl Budget {
    /// With nothing used. 0 = no ceiling.
    pub(super) fn new(bytes_max: u64, account_bytes_max: u64) -> Self {
        let ceiling = |bytes| if bytes == 0 { u64::MAX } else { bytes };
        Self {
            bytes_max: ceiling(bytes_max),
            account_bytes_max: ceiling(account_bytes_max),
            used: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims room for a record that is to come.
    pub(super) fn claim(&self, account: AccountId, bytes: u64) -> Result<(), Refusal> {
        let mut used = self.lock();
        let has = used.accounts.get(&account).copied().unwrap_or(0);
        if has.saturating_add(bytes) > self.account_bytes_max {
            return Err(Refusal::AccountFull);
        }
        if used.bytes.saturating_add(bytes) > self.bytes_max {
            return Err(Refusal::Full);
        }
        used.bytes += bytes;
        *used.accounts.entry(account).or_default() += bytes;
        Ok(())
    }

    /// A record did not come.
    pub(super) fn unclaim(&self, account: AccountId, bytes: u64) {
        self.end(account, bytes);
        self.free(bytes);
    }

    /// A record of an earlier process.
    pub(super) fn found(&self, account: AccountId, bytes: u64) {
        *self.lock().accounts.entry(account).or_default() += bytes;
    }

    /// A record is done with; its bytes are on the disk until its segment goes.
    pub(super) fn end(&self, account: AccountId, bytes: u64) {
        let mut used = self.lock();
        if let Some(has) = used.accounts.get_mut(&account) {
            *has = has.saturating_sub(bytes);
            if *has == 0 {
                used.accounts.remove(&account);
            }
        }
    }

    /// Bytes of files came beside those of records.
    pub(super) fn fill(&self, bytes: u64) {
        self.lock().bytes += bytes;
    }

    /// Bytes of files are gone.
    pub(super) fn free(&self, bytes: u64) {
        let mut used = self.lock();
        used.bytes = used.bytes.saturating_sub(bytes);
    }

    /// Bytes in all.
    pub(super) fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// Bytes of an account.
    pub(super) fn bytes_of(&self, account: AccountId) -> u64 {
        self.lock().accounts.get(&account).copied().unwrap_or(0)
    }
}
