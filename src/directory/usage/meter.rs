//! One worker's counters. A page at a time: the worker fills it, the collector takes it away each second.

use std::{
    collections::HashMap,
    fmt, mem,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::accepted::Acceptance;
use crate::{
    clock,
    directory::Account,
    model::{
        Tally, TokenId, TokenUsage,
        usage::{AGENT_BYTES_MAX, SENDERS_MAX, Sender},
    },
};

/// A page that has grown for a moment's rush gives its memory back.
const PAGE_TOKENS_KEPT: usize = 1 << 16;

/// A worker's counters; cheap to clone, and meant for one thread.
#[derive(Clone, Default)]
pub struct Meter {
    page: Arc<Mutex<Page>>,
}

/// What a worker has counted since the collector came by.
#[derive(Default)]
pub(super) struct Page {
    tokens: HashMap<TokenId, Entry>,
    refused: HashMap<(TokenId, u8), u64>,
    seen: Vec<Seen>,
}

#[derive(Clone, Copy, Default)]
struct Entry {
    requests: u64,
    received: Tally,
    delivered: Tally,
    accepted: Acceptance,
    /// Place in `seen` of its latest sender, plus one; 0 = none.
    seen: u32,
}

/// A sender, in place: noting one allocates nothing.
#[derive(Clone, Copy)]
struct Seen {
    address: IpAddr,
    agent: [u8; AGENT_BYTES_MAX],
    agent_bytes: u8,
    /// As [`Entry::seen`]: the token's sender before.
    next: u32,
}

// === impl Meter ===

impl Meter {
    /// A request presented a token that the table knows, whatever will come of it.
    pub fn presented(&self, token: TokenId, agent: &[u8], address: IpAddr) {
        let mut page = self.page();
        let Page { tokens, seen, .. } = &mut *page;
        let entry = tokens.entry(token).or_default();
        entry.requests += 1;
        note(
            seen,
            entry,
            &agent[..agent.len().min(AGENT_BYTES_MAX)],
            address,
        );
    }

    /// Has the token looked at for the last time, and notes when it was found good: in the same moment for whoever looks for it
    /// with [`Meter::accepted_at`], see [`super::accepted`].
    ///
    /// # Errors
    /// Those of the look.
    pub fn accepted<E>(
        &self,
        token: TokenId,
        look: impl FnOnce() -> Result<Arc<Account>, E>,
    ) -> Result<Arc<Account>, E> {
        let mut page = self.page();
        let account = look()?;
        page.tokens.entry(token).or_default().accepted = Acceptance {
            at_ms: clock::steady_ms(),
            account: account.record.id.0,
        };
        Ok(account)
    }

    /// When that was last, since the page was taken away.
    pub(super) fn accepted_at(&self, token: TokenId) -> Option<u64> {
        let at = self.page().tokens.get(&token)?.accepted.at_ms;
        (at != 0).then_some(at)
    }

    /// The same of every token.
    pub(super) fn each_accepted(&self, give: impl FnMut(TokenId, Acceptance)) {
        self.page().each_accepted(give);
    }

    /// What was read of its body, and what of that was taken.
    pub fn settled(&self, token: TokenId, received: Tally, delivered: Tally) {
        let mut page = self.page();
        let entry = page.tokens.entry(token).or_default();
        entry.received += received;
        entry.delivered += delivered;
    }

    /// It was refused, by [`Rejection::index`](crate::model::Rejection::index).
    pub fn refused(&self, token: TokenId, reason: usize) {
        let reason = u8::try_from(reason).unwrap_or(u8::MAX);
        *self.page().refused.entry((token, reason)).or_default() += 1;
    }

    /// Takes the page away and leaves an empty one.
    pub(super) fn swap(&self, empty: &mut Page) {
        mem::swap(&mut *self.page(), empty);
    }

    /// Nobody else wants it for long: the collector for a swap, the follower for a look at tokens that have ended.
    fn page(&self) -> MutexGuard<'_, Page> {
        self.page.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meter")
    }
}

/// Mostly the token's sender is the one seen last, and this is one comparison. A sixth within a second is passed over.
fn note(seen: &mut Vec<Seen>, entry: &mut Entry, agent: &[u8], address: IpAddr) {
    let mut at = entry.seen;
    let mut count = 0;
    while let Some(known) = at.checked_sub(1).and_then(|at| seen.get(at as usize)) {
        if known.address == address && known.agent() == agent {
            return;
        }
        count += 1;
        if count == SENDERS_MAX {
            return;
        }
        at = known.next;
    }
    let mut new = Seen {
        address,
        agent: [0; AGENT_BYTES_MAX],
        agent_bytes: agent.len() as u8,
        next: entry.seen,
    };
    new.agent[..agent.len()].copy_from_slice(agent);
    seen.push(new);
    entry.seen = u32::try_from(seen.len()).unwrap_or(0);
}

// === impl Page ===

impl Page {
    /// Whether nothing was counted.
    pub(super) fn is_empty(&self) -> bool {
        self.tokens.is_empty() && self.refused.is_empty()
    }

    /// Every token that was accepted, and when last.
    pub(super) fn each_accepted(&self, mut give: impl FnMut(TokenId, Acceptance)) {
        for (token, entry) in &self.tokens {
            if entry.accepted.at_ms != 0 {
                give(*token, entry.accepted);
            }
        }
    }

    /// Gives every token with what it came to, used last at `now` (seconds since 1970), and is empty afterwards.
    pub(super) fn drain(&mut self, now: u64, mut give: impl FnMut(TokenId, TokenUsage)) {
        for (token, entry) in self.tokens.drain() {
            let mut usage = TokenUsage {
                requests: entry.requests,
                received: entry.received,
                delivered: entry.delivered,
                last_accepted_ms: entry.accepted.at_ms,
                ..TokenUsage::default()
            };
            // A body may end long after its request began.
            if entry.requests > 0 {
                usage.last_used_at = now;
            }
            let mut at = entry.seen;
            while let Some(seen) = at.checked_sub(1).and_then(|at| self.seen.get(at as usize)) {
                usage.senders.push(seen.sender(now));
                at = seen.next;
            }
            give(token, usage);
        }
        for ((token, reason), requests) in self.refused.drain() {
            let mut usage = TokenUsage::default();
            usage.refuse(reason, requests);
            give(token, usage);
        }
        self.seen.clear();
        self.tokens.shrink_to(PAGE_TOKENS_KEPT);
        self.refused.shrink_to(PAGE_TOKENS_KEPT);
        self.seen.shrink_to(PAGE_TOKENS_KEPT);
    }
}

// === impl Seen ===

impl Seen {
    fn agent(&self) -> &[u8] {
        &self.agent[..usize::from(self.agent_bytes)]
    }

    fn sender(&self, now: u64) -> Sender {
        let text = String::from_utf8_lossy(self.agent());
        // A token of ours in the wrong header must not be shown to anybody.
        let agent = if text.contains("whf_") {
            "[redacted]".to_owned()
        } else {
            text.chars()
                .filter(|char| !char.is_control() && *char != char::REPLACEMENT_CHARACTER)
                .collect()
        };
        Sender {
            agent,
            address: self.address,
            last_used_at: now,
        }
    }
}
