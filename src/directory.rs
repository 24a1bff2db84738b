//! Floor 2: every token and account in memory, followed from the feed and kept on disk.
//!
//! The full set, not a cache that misses: a token that is not in a fresh table does not exist. Readers never wait.
//! What is counted by token goes the other way on the same feed: [`usage`].

mod table;
mod accounts;
mod paying;
mod state;
mod taken;
mod keep;
mod follow;
pub mod usage;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use serde::Deserialize;

pub use accounts::Account;
pub use follow::{FollowConfig, Source, TlsFiles, follow};
pub use keep::{Keep, Loaded};
pub use state::{Collected, content_hash};
pub(crate) use taken::Taken;
pub use usage::Usage;

use self::{
    accounts::Registers,
    state::{Frozen, State},
    table::Terms,
};
use crate::{
    clock,
    model::{
        AccountId, Books, Buckets, Change, Destination, DestinationId, Digest, DigestKey, Position,
        Rates, Revision, Signal, Sources, TokenId, TokenState, text,
    },
};

/// When a table is fresh enough to say "unknown", and when it is too old to be called ready.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Without a heartbeat for so long, tokens that the table doesn't know are answered "cannot know". 2 s.
    #[serde(deserialize_with = "text::duration")]
    pub fresh_within: Duration,
    /// A table not fresh for so long is stale. 24 h.
    #[serde(deserialize_with = "text::duration")]
    pub stale_after: Duration,
    /// A store that may take the place of another one, however many tokens that takes away. Empty: none.
    pub accept_store: String,
    /// How often usage is written down and told to the control plane. 10 s.
    #[serde(deserialize_with = "text::positive_duration")]
    pub usage_every: Duration,
}

/// What is known of a token.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its public number.
    pub token: TokenId,
    /// Its account; `None` when that is gone, or was never stated.
    pub account: Option<Arc<Account>>,
    /// The one signal it is good for.
    pub signal: Signal,
    /// Live, disabled or revoked.
    pub state: TokenState,
    /// Seconds since 1970 from which it is dead; 0 = never.
    pub expires_at: u32,
    /// Where it may be used from.
    pub sources: Sources,
    /// Its own, beside its account's; `None` is no rate at all.
    pub rates: Option<Arc<Rates>>,
}

/// All tokens, accounts and destinations. Shared in an [`Arc`]; look-ups take no lock.
pub struct Directory {
    config: Config,
    state: ArcSwapOption<State>,
    registers: Registers,
    /// Held by whoever changes the state; never by a look-up.
    writer: Mutex<()>,
    loaded: AtomicBool,
    /// The kept copy lacks changes that were acknowledged.
    has_lost: AtomicBool,
    /// A control plane is telling what this table lacks.
    is_told: AtomicBool,
    freshness: Freshness,
}

/// Times are milliseconds after `since`, plus one; 0 is never.
struct Freshness {
    since: Instant,
    /// When the table was last known to be at the head.
    at: AtomicU64,
    /// The newest head heard of that was not applied then, and when.
    ahead: Mutex<Option<(Revision, u64)>>,
    /// Seconds since 1970: the same as `at`, of the process that kept the copy.
    kept_at: AtomicU64,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            fresh_within: Duration::from_secs(2),
            stale_after: Duration::from_secs(24 * 3600),
            accept_store: String::new(),
            usage_every: Duration::from_secs(10),
        }
    }
}

// === impl Directory ===

impl Directory {
    /// Empty, and not fresh.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            state: ArcSwapOption::empty(),
            registers: Registers::default(),
            writer: Mutex::new(()),
            loaded: AtomicBool::new(false),
            has_lost: AtomicBool::new(false),
            is_told: AtomicBool::new(false),
            freshness: Freshness::new(),
        }
    }

    /// The keyed digest of a whole token; `None` while no key is known.
    #[inline]
    pub fn digest(&self, token: &[u8]) -> Option<Digest> {
        Some(self.state.load().as_ref()?.key.digest(token))
    }

    /// What is known of the token with that digest.
    ///
    /// `None` for a digest found before means that another table, perhaps under another key, has taken this one's place.
    #[inline]
    pub fn find(&self, digest: &Digest) -> Option<Entry> {
        self.state.load().as_ref()?.find(digest)
    }

    /// [`Directory::digest`] and [`Directory::find`] in one table, however it is replaced meanwhile. `None` while no key is known.
    #[inline]
    pub fn look_up(&self, token: &[u8]) -> Option<(Digest, Option<Entry>)> {
        let state = self.state.load();
        let state = state.as_ref()?;
        let digest = state.key.digest(token);
        Some((digest, state.find(&digest)))
    }

    /// What a token pays from that has rates of its own. A short lock, for those tokens alone.
    pub fn buckets(&self, token: TokenId, rates: &Rates) -> Arc<Buckets> {
        self.registers.of_token(token, rates)
    }

    /// The destination of that number. A destination stated again unchanged keeps its `Arc`.
    pub fn destination(&self, id: DestinationId) -> Option<Arc<Destination>> {
        self.state.load().as_ref()?.destination(id)
    }

    /// Whether the table was at the control plane's head within `fresh_within`: only then does "not found" mean "doesn't exist".
    pub fn is_fresh(&self) -> bool {
        self.freshness
            .age()
            .is_some_and(|age| age < self.config.fresh_within)
    }

    /// How long ago the table was last known to be at the head, over restarts too; `None` when it never was.
    pub fn age(&self) -> Option<Duration> {
        self.freshness.age().or_else(|| self.freshness.kept_age())
    }

    /// Whether the table was at the control plane's head once in the life of this process.
    #[inline]
    pub fn has_caught_up(&self) -> bool {
        self.freshness.at.load(Ordering::Acquire) != 0
    }

    /// Whether the kept copy is known to lack changes that were acknowledged, and the feed hasn't been caught up with since:
    /// a token that looks live may have been revoked.
    #[inline]
    pub fn is_doubtful(&self) -> bool {
        self.has_lost.load(Ordering::Acquire) && !self.has_caught_up()
    }

    /// Whether a control plane is connected: what the table lacks, it is being told.
    pub fn is_told(&self) -> bool {
        self.is_told.load(Ordering::Acquire)
    }

    /// Whether a table was loaded, from disk or from the feed: readiness.
    pub fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire)
    }

    /// Whether the table is older than `stale_after`, or was never fresh.
    pub fn is_stale(&self) -> bool {
        self.age().is_none_or(|age| age > self.config.stale_after)
    }

    /// The last revision enforced.
    pub fn revision(&self) -> Revision {
        let state = self.state.load();
        state.as_ref().map_or(Revision(0), |state| state.revision())
    }

    /// How many tokens are known, dead ones too.
    pub fn tokens(&self) -> usize {
        self.state
            .load()
            .as_ref()
            .map_or(0, |state| state.table.len())
    }

    /// Heap bytes of the token table, by account.
    pub fn table_bytes(&self) -> usize {
        let state = self.state.load();
        state.as_ref().map_or(0, |state| state.table.heap_bytes())
    }

    /// Every account there is.
    pub fn accounts(&self) -> Vec<Arc<Account>> {
        let state = self.state.load();
        state
            .as_ref()
            .map_or_else(Vec::new, |state| state.accounts.all())
    }

    /// The books of an account that is there, or was in this process.
    pub fn books(&self, id: AccountId) -> Option<Arc<Books>> {
        self.registers.books(id)
    }

    /// The same, of an account that has only been heard of: its payloads may outlive it.
    pub fn books_of(&self, id: AccountId) -> Arc<Books> {
        self.registers.books_of(id)
    }

    /// The books of every account that is there, or was in this process.
    pub fn all_books(&self) -> Vec<(AccountId, Arc<Books>)> {
        self.registers.all()
    }

    /// [`content_hash`] of everything here. Reads the whole table.
    pub fn hash(&self) -> u128 {
        self.freeze().map_or(0, |frozen| {
            content_hash(frozen.destinations().chain(frozen.accounts_and_tokens()))
        })
    }

    /// Applies the changes of every revision after [`Directory::revision`] up to `reached`, in order.
    pub fn apply(&self, reached: impl Into<Position>, changes: Vec<Change>) {
        let reached = reached.into();
        let _writer = self.writer();
        if let Some(state) = self.state.load().as_ref() {
            for account in state.apply(changes, &self.registers) {
                account.enforce();
            }
            self.registers.sweep();
            state.reached(reached);
        }
        if self.freshness.applied(reached.revision) {
            self.loaded.store(true, Ordering::Release);
        }
    }

    /// Puts a collected snapshot, with the changes that came `beside` it on top, in the place of the table that serves.
    /// CPU work, and a short wait for readers of the old table: not for an async thread when the snapshot is large.
    pub fn install(&self, collected: Collected, beside: Vec<Change>, reached: impl Into<Position>) {
        // Without a guard there is nothing to hold it for.
        let _ = self.replace(collected, beside, reached.into(), false);
    }

    /// The same, unless it is of another store than the table and takes too many of its live tokens away: an empty or a wrong
    /// store must not make a gateway refuse everybody. How many of how many, if so.
    pub(crate) fn install_guarded(
        &self,
        collected: Collected,
        beside: Vec<Change>,
        reached: Position,
    ) -> Result<(), Taken> {
        self.replace(collected, beside, reached, true)
    }

    fn replace(
        &self,
        collected: Collected,
        beside: Vec<Change>,
        reached: Position,
        is_guarded: bool,
    ) -> Result<(), Taken> {
        let _writer = self.writer();
        let before = self.state.load_full();
        let state = collected.build(beside, reached, before.as_deref(), &self.registers);
        if let Some(before) = &before {
            let taken = Taken::of(before, &state);
            let is_accepted =
                before.store == state.store || self.config.accept_store == state.store;
            if is_guarded && taken.is_large() && !is_accepted {
                return Err(taken);
            }
            taken.alarm(before, &state);
        }
        let state = Arc::new(state);
        self.state.store(Some(Arc::clone(&state)));
        for account in state.accounts.all() {
            account.enforce();
        }
        self.registers.sweep();
        self.loaded.store(true, Ordering::Release);
        self.freshness.applied(reached.revision);
        if let Some(before) = before {
            retire(before);
        }
        Ok(())
    }

    /// A control plane is connected, or is no more.
    pub(crate) fn told(&self, is_told: bool) {
        self.is_told.store(is_told, Ordering::Release);
    }

    /// A heartbeat that came then: the newest revision there was.
    pub(crate) fn heard(&self, head: Revision, at: Instant) {
        let applied = self.state.load().as_ref().map(|state| state.revision());
        if self.freshness.heard(head, at, applied) {
            self.loaded.store(true, Ordering::Release);
        }
    }

    /// Heads heard of belong to another store, or another history.
    pub(crate) fn forget_head(&self) {
        self.freshness.forget_head();
    }

    /// The kept copy lacks changes that were acknowledged.
    pub(crate) fn doubt(&self) {
        self.has_lost.store(true, Ordering::Release);
    }

    /// The kept copy was last known fresh then, in seconds since 1970.
    pub(crate) fn was_fresh_at(&self, wall_seconds: u64) {
        self.freshness
            .kept_at
            .fetch_max(wall_seconds, Ordering::AcqRel);
    }

    /// When the table was last known to be fresh, in seconds since 1970; 0 = never.
    pub(crate) fn fresh_at(&self) -> u64 {
        self.age()
            .map_or(0, |age| clock::wall().saturating_sub(age).as_secs())
    }

    /// The store, lineage, key number and revision of the table that serves.
    pub(crate) fn identity(&self) -> Option<(String, u64, u32, Revision)> {
        let state = self.state.load();
        let state = state.as_ref()?;
        Some((
            state.store.clone(),
            state.lineage,
            state.key.id,
            state.revision(),
        ))
    }

    /// How far the table that serves has come, and in which history. For the one who changes it.
    pub(crate) fn position(&self) -> Position {
        let state = self.state.load();
        state
            .as_ref()
            .map_or_else(Position::default, |state| state.position())
    }

    /// Whether the table that serves is of that store and key.
    pub(crate) fn is_of(&self, store: &str, key: &DigestKey) -> bool {
        let state = self.state.load();
        state
            .as_ref()
            .is_some_and(|state| state.store == store && state.key == *key)
    }

    /// Everything at one revision.
    fn freeze(&self) -> Option<Frozen> {
        let _writer = self.writer();
        Some(self.state.load().as_ref()?.freeze())
    }

    fn writer(&self) -> MutexGuard<'_, ()> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until no reader holds the old state, so that no reader pays for freeing it.
#[expect(
    clippy::disallowed_methods,
    reason = "a blocking thread's, see `install`; readers hold the state for one look-up and have nothing to signal with"
)]
fn retire(state: Arc<State>) {
    let patience = Instant::now() + Duration::from_secs(1);
    while Arc::strong_count(&state) > 1 && Instant::now() < patience {
        thread::sleep(Duration::from_millis(1));
    }
}

// === impl State ===

impl State {
    #[inline]
    fn find(&self, digest: &Digest) -> Option<Entry> {
        let (found, Terms { sources, rates }) = self.table.look_up(digest)?;
        Some(Entry {
            token: found.token(),
            account: self.accounts.get(found.slot()),
            signal: found.signal(),
            state: found.state(),
            expires_at: found.expires_at(),
            sources,
            rates,
        })
    }
}

// === impl Freshness ===

impl Freshness {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            at: AtomicU64::new(0),
            ahead: Mutex::new(None),
            kept_at: AtomicU64::new(0),
        }
    }

    fn stamp(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.since);
        u64::try_from(since.as_millis()).map_or(u64::MAX, |ms| ms.saturating_add(1))
    }

    fn age(&self) -> Option<Duration> {
        match self.at.load(Ordering::Acquire) {
            0 => None,
            at => Some(Duration::from_millis(
                self.stamp(Instant::now()).saturating_sub(at),
            )),
        }
    }

    fn kept_age(&self) -> Option<Duration> {
        match self.kept_at.load(Ordering::Acquire) {
            0 => None,
            at => Some(clock::wall().saturating_sub(Duration::from_secs(at))),
        }
    }

    /// Whether the table is at that head; if not yet, it will have been fresh then once it gets there.
    fn heard(&self, head: Revision, at: Instant, applied: Option<Revision>) -> bool {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let at_head = applied.is_some_and(|applied| head <= applied);
        if at_head {
            self.at.fetch_max(self.stamp(at), Ordering::AcqRel);
            *ahead = None;
        } else {
            *ahead = Some((head, self.stamp(at)));
        }
        at_head
    }

    /// Whether that brought the table to a head heard of before.
    fn applied(&self, revision: Revision) -> bool {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        match *ahead {
            Some((head, heard_at)) if head <= revision => {
                self.at.fetch_max(heard_at, Ordering::AcqRel);
                *ahead = None;
                true
            }
            _ => false,
        }
    }

    fn forget_head(&self) {
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests;
