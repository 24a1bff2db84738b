//! How a request ended. The reasons are closed: a new one doesn't compile until every protocol answers it.

use std::{borrow::Cow, time::Duration};

use super::{LineCounts, Measure, Tally, WriteCounts};

/// Remote write 2.0: what the destination said it wrote. Never made up.
pub type Written = WriteCounts;

/// The destination (or the archive's fsync, or the spool's) has said yes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Items the destination took none the less to refuse (OTLP partial success); 0 when it took all.
    pub refused_items: u64,
    /// The destination's words on a partial success, or its warning.
    pub message: Option<String>,
    /// Remote write 2.0: the destination's `Written` headers.
    pub written: Option<Written>,
    /// Bulk: how its lines were counted.
    pub lines: Option<LineCounts>,
    /// Nothing was delivered, as the sender asked: what would have been.
    pub validated: Option<Tally>,
    /// It is safe in the spool, and its destination has yet to take it.
    pub is_spooled: bool,
}

// === impl Delivery ===

impl Delivery {
    /// Whether something of the request was refused.
    pub fn is_partial(&self) -> bool {
        self.refused_items > 0 || self.lines.is_some_and(|lines| lines.bad().items > 0)
    }
}

/// Why a request was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// Framing or headers that peers could read two ways, or past the header limits.
    BadFraming(&'static str),
    /// A parameter that means something to us, and not what it says.
    BadParameter(&'static str),
    /// No such route.
    UnknownPath,
    /// A known route with another method.
    MethodNotAllowed {
        /// The methods it takes, for `Allow`.
        allow: &'static str,
    },
    /// No token anywhere.
    MissingToken,
    /// Two different tokens in one request.
    ConflictingTokens,
    /// Well formed, and not in a fresh table; or not even well formed.
    UnknownToken,
    /// Known, and switched off.
    DisabledToken,
    /// Known, and past its time.
    ExpiredToken,
    /// Known, and dead for ever.
    RevokedToken,
    /// A good token for another signal.
    WrongSignal,
    /// A good token of a suspended account.
    SuspendedAccount,
    /// A good token, used from outside of its networks.
    SourceNotAllowed,
    /// Not in the table, and the table may be old: we cannot know.
    DirectoryStale,
    /// A content type the door doesn't take.
    UnsupportedContentType,
    /// A content encoding the door doesn't take.
    UnsupportedEncoding,
    /// Announced, read or inflated past the ceiling.
    TooLarge {
        /// The ceiling that was passed.
        bytes_max: u64,
    },
    /// The account is over a ceiling of its own that clears soon.
    Throttled {
        /// Which one.
        over: Over,
        /// When to come back.
        retry_after: Duration,
        /// Remote write only: the account asks for 503, since Prometheus drops on 429.
        as_unavailable: bool,
    },
    /// The account's volume is used up until the period ends.
    QuotaGone {
        /// When the period ends.
        retry_after: Duration,
        /// The account asks for an answer that makes senders drop instead of wait.
        is_final: bool,
    },
    /// The gateway is at a ceiling of its own.
    Overloaded,
    /// The gateway is going down.
    Draining,
    /// The body came slower than the limits allow.
    BodyTooSlow,
    /// The body ended before its announced end.
    BodyCutOff,
    /// Not what the door takes; says where.
    Malformed(Cow<'static, str>),
    /// Bulk: not one good line.
    NoGoodLine(LineCounts),
    /// The destination refuses this body for good (400, 409, 422 and their like).
    DestinationRefused {
        /// Its status, 400 to 499.
        status: u16,
        /// Its words, cut to 1 KiB.
        message: String,
        /// Remote write 2.0: its `Written` headers.
        written: Option<Written>,
        /// Bulk: the body's lines, all counted as malformed.
        lines: Option<LineCounts>,
    },
    /// Remote write 2.0 to a receiver that only speaks 1.0: the sender must fall back.
    DestinationLacksVersion,
    /// The destination refuses *us*, or can't take this protocol: our set-up.
    DestinationMisconfigured(Cow<'static, str>),
    /// The destination is down, slow or overloaded.
    DestinationUnavailable {
        /// The destination's own Retry-After.
        retry_after: Option<Duration>,
        /// What happened.
        why: Cow<'static, str>,
    },
    /// A bug of ours, contained.
    Internal(&'static str),
}

/// A ceiling that an account, or its token, is over for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Requests admitted and not yet answered.
    Concurrency,
    /// Body bytes held at once.
    InFlightBytes,
    /// A rate.
    Rate(Payer, Measure),
}

/// Whose buckets a request pays from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payer {
    /// The token's own.
    Token,
    /// The account's.
    Account,
    /// The main account's, where the account draws on those as well.
    MainAccount,
}

impl Rejection {
    /// Every label, in the order of [`Rejection::index`].
    pub const LABELS: [&'static str; 30] = [
        "bad_framing",
        "unknown_path",
        "method_not_allowed",
        "missing_token",
        "conflicting_tokens",
        "unknown_token",
        "disabled_token",
        "expired_token",
        "revoked_token",
        "wrong_signal",
        "suspended_account",
        "directory_stale",
        "unsupported_content_type",
        "unsupported_encoding",
        "too_large",
        "throttled",
        "quota_gone",
        "overloaded",
        "draining",
        "body_too_slow",
        "body_cut_off",
        "malformed",
        "no_good_line",
        "destination_refused",
        "destination_lacks_version",
        "destination_misconfigured",
        "destination_unavailable",
        "internal",
        "source_not_allowed",
        "bad_parameter",
    ];

    /// The index of [`Rejection::DestinationRefused`]: also what a partial success is booked under.
    pub const DESTINATION_REFUSED: usize = 23;

    /// A place in an array of [`Rejection::LABELS`]' length.
    pub const fn index(&self) -> usize {
        match self {
            Self::BadFraming(_) => 0,
            Self::UnknownPath => 1,
            Self::MethodNotAllowed { .. } => 2,
            Self::MissingToken => 3,
            Self::ConflictingTokens => 4,
            Self::UnknownToken => 5,
            Self::DisabledToken => 6,
            Self::ExpiredToken => 7,
            Self::RevokedToken => 8,
            Self::WrongSignal => 9,
            Self::SuspendedAccount => 10,
            Self::DirectoryStale => 11,
            Self::UnsupportedContentType => 12,
            Self::UnsupportedEncoding => 13,
            Self::TooLarge { .. } => 14,
            Self::Throttled { .. } => 15,
            Self::QuotaGone { .. } => 16,
            Self::Overloaded => 17,
            Self::Draining => 18,
            Self::BodyTooSlow => 19,
            Self::BodyCutOff => 20,
            Self::Malformed(_) => 21,
            Self::NoGoodLine(_) => 22,
            Self::DestinationRefused { .. } => Self::DESTINATION_REFUSED,
            Self::DestinationLacksVersion => 24,
            Self::DestinationMisconfigured(_) => 25,
            Self::DestinationUnavailable { .. } => 26,
            Self::Internal(_) => 27,
            Self::SourceNotAllowed => 28,
            Self::BadParameter(_) => 29,
        }
    }

    /// Whether it is the gateway's side that fails, or what stands behind it: the sender has done nothing wrong.
    pub const fn is_ours(&self) -> bool {
        matches!(
            self,
            Self::DirectoryStale
                | Self::Overloaded
                | Self::Draining
                | Self::DestinationMisconfigured(_)
                | Self::DestinationUnavailable { .. }
                | Self::Internal(_)
        )
    }

    /// The label in metrics, books and logs.
    pub const fn label(&self) -> &'static str {
        Self::LABELS[self.index()]
    }
}
