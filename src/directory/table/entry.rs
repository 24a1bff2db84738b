//! One token in 32 bytes, half a cache line, never across two.

use std::sync::Arc;

use crate::model::{Digest, Rates, Signal, Sources, Token, TokenId, TokenState};

const SLOT_BITS: u32 = 27;

/// The slot of an account that could not be given one: it is never filled.
pub(crate) const SLOT_NONE: u32 = (1 << SLOT_BITS) - 1;

/// What the table knows of a token. The account is a slot, so that an account's change touches no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(32))]
pub(crate) struct Entry {
    digest: [u8; 16],
    token: u64,
    /// From the low end: 27 bits of slot, 1 that says whether terms stand beside the entries, 2 of signal, 2 of state.
    packed: u32,
    expires_at: u32,
}

/// What few tokens have: where they may be used from, and how fast. The others pay nothing for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) sources: Sources,
    /// `None` is [`Rates::default`].
    pub(crate) rates: Option<Arc<Rates>>,
}

const _: () = assert!(size_of::<Entry>() == 32);

impl Entry {
    /// Packs a token whose account has that slot.
    pub(crate) fn new(token: &Token, slot: u32) -> Self {
        let slot = slot.min(SLOT_NONE);
        Self {
            digest: token.digest.0,
            token: token.id.0,
            packed: slot
                | u32::from(Terms::are_of(token)) << SLOT_BITS
                | (token.signal as u32) << (SLOT_BITS + 1)
                | (token.state as u32) << (SLOT_BITS + 3),
            expires_at: token.expires_at,
        }
    }

    /// The keyed digest of the token.
    pub(crate) fn digest(&self) -> Digest {
        Digest(self.digest)
    }

    /// What entries are sorted by.
    pub(crate) fn order(&self) -> u128 {
        u128::from_be_bytes(self.digest)
    }

    /// Its public number.
    pub(crate) fn token(&self) -> TokenId {
        TokenId(self.token)
    }

    /// Where its account stands.
    pub(crate) fn slot(&self) -> u32 {
        self.packed & SLOT_NONE
    }

    /// Whether it has terms of its own, which stand beside it in its shard.
    #[inline]
    pub(crate) fn has_terms(&self) -> bool {
        self.packed >> SLOT_BITS & 1 != 0
    }

    /// What it ships.
    pub(crate) fn signal(&self) -> Signal {
        Signal::ALL[((self.packed >> (SLOT_BITS + 1)) & 3).min(2) as usize]
    }

    /// Live, disabled or revoked.
    pub(crate) fn state(&self) -> TokenState {
        match self.packed >> (SLOT_BITS + 3) {
            0 => TokenState::Live,
            1 => TokenState::Disabled,
            _ => TokenState::Revoked,
        }
    }

    /// Seconds since 1970 from which it is dead; 0 = never.
    pub(crate) fn expires_at(&self) -> u32 {
        self.expires_at
    }
}

// === impl Terms ===

impl Terms {
    /// Of a token without any.
    pub(crate) const NONE: Self = Self {
        sources: Sources::ANYWHERE,
        rates: None,
    };

    /// Of an entry whose terms are missing: it is good from nowhere.
    pub(crate) fn unknown() -> Self {
        Self {
            sources: Sources::only([]),
            ..Self::NONE
        }
    }

    /// Heap bytes of the rates, with what counts their holders.
    pub(crate) fn rates_bytes(&self) -> usize {
        let rates = self.rates.as_ref();
        rates.map_or(0, |rates| 16 + size_of_val(&**rates))
    }

    /// Whether the token has any.
    pub(crate) fn are_of(token: &Token) -> bool {
        token.sources.is_restricted() || token.rates != Rates::default()
    }
}

impl From<Token> for Terms {
    fn from(token: Token) -> Self {
        Self {
            sources: token.sources,
            rates: (token.rates != Rates::default()).then(|| Arc::new(token.rates)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AccountId;

    #[test]
    fn every_signal_state_and_restriction_survives_packing_beside_the_largest_slot() {
        for signal in Signal::ALL {
            for state in [TokenState::Live, TokenState::Disabled, TokenState::Revoked] {
                for sources in [Sources::ANYWHERE, Sources::only([])] {
                    let token = Token {
                        id: TokenId(u64::MAX),
                        digest: Digest([0xA5; 16]),
                        account: AccountId(1),
                        signal,
                        state,
                        expires_at: u32::MAX,
                        sources,
                        rates: Rates::default(),
                    };
                    let entry = Entry::new(&token, SLOT_NONE - 1);
                    assert_eq!(entry.slot(), SLOT_NONE - 1);
                    assert_eq!((entry.signal(), entry.state()), (signal, state));
                    assert_eq!(entry.has_terms(), Terms::are_of(&token));
                    assert_eq!(entry.token(), token.id);
                    assert_eq!(entry.digest(), token.digest);
                    assert_eq!(entry.expires_at(), u32::MAX);
                    assert_eq!(Entry::new(&token, u32::MAX).slot(), SLOT_NONE);
                }
            }
        }
    }
}
