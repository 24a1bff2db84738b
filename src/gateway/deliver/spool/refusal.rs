//! Why a payload was not taken.

/// Closed: a new reason has no words until it is given some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The account has as much spooled as it may have.
    AccountFull,
    /// All accounts together have.
    Full,
    /// The disk fails.
    Disk,
    /// The disk does not answer.
    Stalled,
    /// More waits for the disk than may wait.
    Busy,
    /// It was not on disk in time.
    Late,
    /// It is larger than a record can be.
    TooLarge,
    /// The spool is closed.
    Closed,
}

// === impl Refusal ===

impl Refusal {
    /// For the sender, and for our log.
    pub const fn why(self) -> &'static str {
        match self {
            Self::AccountFull => "the account's spool is full",
            Self::Full => "the spool is full",
            Self::Disk => "the spool's disk fails",
            Self::Stalled => "the spool's disk has stalled",
            Self::Busy => "the spool's queue is full",
            Self::Late => "the spool did not take it in time",
            Self::TooLarge => "larger than a record of the spool can be",
            Self::Closed => "the spool is closed",
        }
    }
}
