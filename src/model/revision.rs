//! The control plane's gapless change number.

use std::fmt;

/// Counts the commits that changed what gateways enforce, from 1, in commit order, with no gap. 0 is "nothing yet".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(pub u64);

impl Revision {
    /// The one that must follow this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A revision of one history. A restored store counts some revisions a second time; what each commit drew tells them apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The last commit's number.
    pub revision: Revision,
    /// What that commit drew; 0 = not known, which is like no other.
    pub history: u64,
}

impl From<Revision> for Position {
    fn from(revision: Revision) -> Self {
        Self {
            revision,
            history: 0,
        }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
