//! Where lines lie: one folder per account and signal, names that say what and when.

use std::{fmt, time::Duration};

use crate::model::{AccountId, Content, Payload, Signal};

/// What one file holds: lines of one kind, of one account and signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) account: AccountId,
    pub(super) signal: Signal,
    pub(super) kind: Kind,
}

/// The format of a file's lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Bulk,
    Otlp,
    RemoteWrite,
}

/// Hours since 1970, UTC; printed as `2026-11-23T22Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hour(u64);

/// A file's name: kind, hour, number within both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) kind: Kind,
    pub(super) hour: Hour,
    pub(super) number: u32,
}

// === impl Key ===

impl Key {
    pub(super) fn of(account: AccountId, payload: &Payload) -> Self {
        Self {
            account,
            signal: payload.signal,
            kind: match payload.content {
                Content::Lines => Kind::Bulk,
                Content::OtlpProtobuf | Content::OtlpJson => Kind::Otlp,
                Content::RemoteWrite1 | Content::RemoteWrite2 => Kind::RemoteWrite,
            },
        }
    }
}

// === impl Kind ===

impl Kind {
    const ALL: [Self; 3] = [Self::Bulk, Self::Otlp, Self::RemoteWrite];

    const fn name(self) -> &'static str {
        match self {
            Self::Bulk => "bulk",
            Self::Otlp => "otlp",
            Self::RemoteWrite => "remote_write",
        }
    }
}

// === impl Hour ===

impl Hour {
    pub(super) const fn of(wall: Duration) -> Self {
        Self(wall.as_secs() / 3600)
    }

    /// When it is over, since 1970.
    pub(super) const fn end(self) -> Duration {
        Duration::from_secs((self.0 + 1).saturating_mul(3600))
    }
}

impl fmt::Display for Hour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = std::time::UNIX_EPOCH + Duration::from_secs(self.0.saturating_mul(3600));
        let text = humantime::format_rfc3339_seconds(time).to_string();
        write!(f, "{}Z", text.get(..13).unwrap_or_default())
    }
}

// === impl Name ===

impl Name {
    /// The name in that text, if it is one of ours.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = Kind::ALL
            .into_iter()
            .find_map(|kind| Some((kind, text.strip_prefix(kind.name())?.strip_prefix('-')?)))?;
        let (hour, number) = rest.strip_suffix(".jsonl")?.split_once("Z-")?;
        if hour.len() != 13 || !number.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let time = humantime::parse_rfc3339(&format!("{hour}:00:00Z")).ok()?;
        let wall = time.duration_since(std::time::UNIX_EPOCH).ok()?;
        Some(Self {
            kind,
            hour: Hour::of(wall),
            number: number.parse().ok()?,
        })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, hour, number } = self;
        write!(f, "{}-{hour}-{number:04}.jsonl", kind.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_and_when_and_is_read_back() {
        let name = Name {
            kind: Kind::RemoteWrite,
            hour: Hour::of(Duration::from_secs(1_795_473_844)),
            number: 7,
        };
        assert_eq!(name.to_string(), "remote_write-2026-11-23T22Z-0007.jsonl");
        assert_eq!(Name::parse(&name.to_string()), Some(name));
        let many = Name {
            number: 123_456,
            ..name
        };
        assert_eq!(Name::parse(&many.to_string()), Some(many));
    }

    #[test]
    fn foreign_names_are_not_ours() {
        for text in [
            "",
            "bulk",
            "bulk-2026-11-23T22Z-0001.json",
            "bulk-2026-11-23Z-0001.jsonl",
            "bulk-2026-13-23T22Z-0001.jsonl",
            "bulk-2026-11-23T22Z-99999999999.jsonl",
            "bulk-2026-11-23T22Z-+1.jsonl",
            "notes-2026-11-23T22Z-0001.jsonl",
        ] {
            assert_eq!(Name::parse(text), None, "{text}");
        }
    }
}
