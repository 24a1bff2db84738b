//! What is asked of the store: by whom, and on which terms it may be done.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{record::Who, store::CallerRow};
use crate::model::Digest;

/// Something that somebody asks for.
#[derive(Clone, Debug)]
pub(super) struct Errand {
    pub(super) who: Who,
    pub(super) terms: Terms,
}

/// On which terms. The transaction that does it holds to them, so that nothing comes in between.
#[derive(Clone, Debug, Default)]
pub(super) struct Terms {
    /// That its caller may still do it; nobody asks that of ourselves.
    pub(super) standing: Option<Standing>,
    /// What is to be changed.
    pub(super) subject: Option<Subject>,
    /// That it is done once, however often it is asked for.
    pub(super) once: Option<Once>,
}

/// As whom somebody was let in, and to what.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) caller: CallerRow,
    /// Whether it is for them also while nothing else is.
    pub(super) is_for_stopped: bool,
    /// What the request is about, as an answer names it that must not tell whether it exists, and whose account's that is.
    pub(super) place: Option<(String, u64)>,
}

/// An object, as its caller has seen it.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) object: Object,
    /// The versions that may be changed; any, when there is none of them to hold to.
    pub(super) seen: Option<Vec<u64>>,
    /// Its version once the change is made; 0 until then.
    now: Arc<AtomicU64>,
}

/// What is done once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Once {
    /// Of the caller and of the key that they have given it.
    pub(super) key: Digest,
    /// A hash of the request: under one key there is one.
    pub(super) request: [u8; 32],
}

/// What has a version: a row that counts its changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) kind: Kind,
    pub(super) id: u64,
}

/// Of what kind it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Account,
    Destination,
    Token,
    ApiToken,
    User,
    SharedToken,
    SharedFilter,
}

// === impl Errand ===

impl From<Who> for Errand {
    fn from(who: Who) -> Self {
        Self {
            who,
            terms: Terms::default(),
        }
    }
}

impl From<&Who> for Errand {
    fn from(who: &Who) -> Self {
        who.clone().into()
    }
}

impl From<&str> for Errand {
    fn from(name: &str) -> Self {
        Who::from(name).into()
    }
}

impl From<&Self> for Errand {
    fn from(errand: &Self) -> Self {
        errand.clone()
    }
}

// === impl Subject ===

impl Subject {
    pub(super) fn new(object: Object, seen: Option<Vec<u64>>) -> Self {
        Self {
            object,
            seen,
            now: Arc::default(),
        }
    }

    /// Whether that version may be changed.
    pub(super) fn admits(&self, version: u64) -> bool {
        self.seen
            .as_ref()
            .is_none_or(|seen| seen.contains(&version))
    }

    /// Tells everybody who holds these terms what the change has made of it.
    pub(super) fn became(&self, version: u64) {
        self.now.store(version, Ordering::Release);
    }

    /// What [`Subject::became`] was told.
    pub(super) fn version(&self) -> Option<u64> {
        Some(self.now.load(Ordering::Acquire)).filter(|version| *version != 0)
    }
}
