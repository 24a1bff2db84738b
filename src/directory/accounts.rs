//! Accounts by slot: pages behind one `ArcSwap`, so that a change copies one page and the list of pages.
//!
//! A slot belongs to its account's number for as long as the table lives, also while there is no such account:
//! tokens refer to it, and must never find another account there.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use dashmap::DashMap;

use super::{paying::Paying, table::SLOT_NONE};
use crate::{
    clock,
    model::{self, AccountId, AccountState, Books, Buckets, InFlight, Moment, Rates, TokenId},
};

const PAGE_BITS: u32 = 8;
const PAGE_SLOTS: usize = 1 << PAGE_BITS;

/// An account as gateways work with it.
#[derive(Debug)]
pub struct Account {
    /// As the control plane last stated it.
    pub record: model::Account,
    /// Counted from the start of the process, whatever happens to the record.
    pub books: Arc<Books>,
    /// What the account's requests hold now.
    pub in_flight: Arc<InFlight>,
    /// What its requests are paid from.
    pub buckets: Arc<Buckets>,
    /// The main account's, where it draws on those as well.
    pub main_buckets: Option<Arc<Buckets>>,
}

/// What runs while records change, for the whole life of the process: it outlives changes, removals, returns and snapshots.
#[derive(Debug, Default)]
pub(super) struct Registers {
    accounts: DashMap<AccountId, Register>,
    tokens: Paying,
}

/// Books, claims and buckets of an account.
#[derive(Clone, Debug, Default)]
struct Register {
    books: Arc<Books>,
    in_flight: Arc<InFlight>,
    buckets: Arc<Buckets>,
}

/// Accounts by slot, and slots by number.
#[derive(Default)]
pub(super) struct Accounts {
    pages: ArcSwap<Vec<Arc<Page>>>,
    /// Touched by writers only.
    slots: Mutex<HashMap<AccountId, u32>>,
}

type Page = Vec<Slot>;

#[derive(Clone)]
struct Slot {
    id: AccountId,
    account: Option<Arc<Account>>,
}

/// Accounts with changes that readers don't see yet.
pub(super) struct Draft {
    before: Arc<Vec<Arc<Page>>>,
    /// Copied from `before` at the first change: most drafts only ask for slots.
    pages: Option<Vec<Arc<Page>>>,
    slots: HashMap<AccountId, u32>,
}

// === impl Registers ===

impl Registers {
    /// The account with its own books, claims and buckets, made when there are none. Its rates hold once [`Account::enforce`] is called.
    pub(super) fn attach(&self, record: model::Account) -> Arc<Account> {
        let Register {
            books,
            in_flight,
            buckets,
        } = self.accounts.entry(record.id).or_default().clone();
        let main = record.draws_on.filter(|main| *main != record.id);
        let main = main.map(|main| self.accounts.entry(main).or_default().buckets.clone());
        Arc::new(Account {
            record,
            books,
            in_flight,
            buckets,
            main_buckets: main,
        })
    }

    /// The buckets of a token that has rates of its own.
    pub(super) fn of_token(&self, id: TokenId, rates: &Rates) -> Arc<Buckets> {
        self.tokens.buckets(id, rates)
    }

    /// Forgets what is as good as new.
    pub(super) fn sweep(&self) {
        self.tokens.sweep();
    }

    /// The books of an account that is or once was there.
    pub(super) fn books(&self, id: AccountId) -> Option<Arc<Books>> {
        self.accounts
            .get(&id)
            .map(|register| Arc::clone(&register.books))
    }

    /// The same, made when there are none.
    pub(super) fn books_of(&self, id: AccountId) -> Arc<Books> {
        Arc::clone(&self.accounts.entry(id).or_default().books)
    }

    /// Every account's books, of accounts gone too.
    pub(super) fn all(&self) -> Vec<(AccountId, Arc<Books>)> {
        self.accounts
            .iter()
            .map(|register| (*register.key(), Arc::clone(&register.books)))
            .collect()
    }
}

// === impl Account ===

impl Account {
    /// Its rates hold from now on: buckets are shared by all records of an account, so that one which is looked at and not taken
    /// must not set them.
    pub(super) fn enforce(&self) {
        let rates = &self.record.limits.rates;
        self.buckets.set(rates, Moment(clock::steady_ns()));
    }
}

// === impl Accounts ===

impl Accounts {
    /// The account in that slot. Never waits.
    #[inline]
    pub(super) fn get(&self, slot: u32) -> Option<Arc<Account>> {
        let pages = self.pages.load();
        let page = pages.get((slot >> PAGE_BITS) as usize)?;
        page.get(slot as usize % PAGE_SLOTS)?.account.clone()
    }

    /// Every account.
    pub(super) fn all(&self) -> Vec<Arc<Account>> {
        let pages = self.pages.load();
        let slots = pages.iter().flat_map(|page| page.iter());
        slots.filter_map(|slot| slot.account.clone()).collect()
    }

    /// Of every slot, in slot order, whether its account is in that state.
    pub(super) fn which_are(&self, state: AccountState) -> Vec<bool> {
        let pages = self.pages.load();
        let slots = pages.iter().flat_map(|page| page.iter());
        let accounts = slots.map(|slot| slot.account.as_ref());
        accounts
            .map(|account| account.is_some_and(|account| account.record.state == state))
            .collect()
    }

    /// The number of every slot, in slot order.
    pub(super) fn ids(&self) -> Vec<AccountId> {
        let pages = self.pages.load();
        let slots = pages.iter().flat_map(|page| page.iter());
        slots.map(|slot| slot.id).collect()
    }

    /// A draft to change, then [`Accounts::publish`]. There must be one writer at a time.
    pub(super) fn draft(&self) -> Draft {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Draft {
            before: self.pages.load_full(),
            pages: None,
            slots: std::mem::take(&mut slots),
        }
    }

    /// Shows the draft to readers.
    pub(super) fn publish(&self, draft: Draft) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        *slots = draft.slots;
        if let Some(pages) = draft.pages {
            self.pages.store(Arc::new(pages));
        }
    }
}

// === impl Draft ===

impl Draft {
    /// The slot of that number, made when there is none.
    pub(super) fn slot(&mut self, id: AccountId) -> u32 {
        if let Some(slot) = self.slots.get(&id) {
            return *slot;
        }
        let slot = u32::try_from(self.slots.len()).unwrap_or(SLOT_NONE);
        if slot >= SLOT_NONE {
            return SLOT_NONE;
        }
        let pages = self.pages();
        if (slot as usize).is_multiple_of(PAGE_SLOTS) {
            pages.push(Arc::default());
        }
        if let Some(page) = pages.last_mut() {
            Arc::make_mut(page).push(Slot { id, account: None });
        }
        self.slots.insert(id, slot);
        slot
    }

    /// Puts an account into its slot, or takes it out.
    pub(super) fn set(&mut self, id: AccountId, account: Option<Arc<Account>>) {
        let slot = self.slot(id) as usize;
        let page = self.pages().get_mut(slot / PAGE_SLOTS);
        if let Some(place) = page.and_then(|page| Arc::make_mut(page).get_mut(slot % PAGE_SLOTS)) {
            place.account = account;
        }
    }

    fn pages(&mut self) -> &mut Vec<Arc<Page>> {
        self.pages.get_or_insert_with(|| self.before.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Limits;

    fn record(id: u64, name: &str) -> model::Account {
        model::Account {
            id: AccountId(id),
            name: name.into(),
            state: AccountState::Active,
            limits: Limits::default(),
            draws_on: None,
            destinations: [None; 3],
        }
    }

    #[test]
    fn books_and_claims_outlive_change_removal_and_return() {
        let registers = Registers::default();
        let first = registers.attach(record(7, "a"));
        assert!(first.in_flight.try_claim(5, 0));
        let again = registers.attach(record(7, "b"));
        assert!(Arc::ptr_eq(&first.books, &again.books));
        assert_eq!(again.in_flight.bytes(), 5);
        assert!(!Arc::ptr_eq(
            &registers.attach(record(8, "c")).books,
            &first.books
        ));
    }

    #[test]
    fn a_slot_is_one_account_for_ever() {
        let registers = Registers::default();
        let accounts = Accounts::default();
        let mut draft = accounts.draft();
        for id in 1..=1000 {
            assert_eq!(draft.slot(AccountId(id)), id as u32 - 1);
            if id % 2 == 0 {
                draft.set(AccountId(id), Some(registers.attach(record(id, "even"))));
            }
        }
        accounts.publish(draft);
        assert_eq!(accounts.all().len(), 500);
        let mut draft = accounts.draft();
        draft.set(AccountId(4), None);
        assert!(accounts.get(3).is_some(), "a draft is not seen");
        accounts.publish(draft);
        assert!(accounts.get(3).is_none());
        assert_eq!(accounts.ids()[3], AccountId(4));
        for id in 1..=1000u64 {
            let found = accounts
                .get(id as u32 - 1)
                .map(|account| account.record.id.0);
            assert_eq!(found, (id % 2 == 0 && id != 4).then_some(id));
        }
        assert!(accounts.get(1000).is_none());
        assert!(accounts.get(SLOT_NONE).is_none());
    }
}
