//! What the files are called: a segment's number for the order, its random id for whatever belongs to it and nothing else.

use std::fmt;

/// A segment: `00000007-3f9c0d5e11a2b4c6`.
///
/// The id stands here and not only in the file's header, so that a damaged header costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) number: u32,
    pub(super) id: u64,
}

/// One of a segment's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// The records.
    Segment,
    /// What is in the segment, once nothing is added any more; made again where it is missing.
    Index,
    /// What is done with.
    Done,
    /// A segment that is to take others' place, not finished.
    Part,
}

// === impl Name ===

impl Name {
    /// That file's name.
    pub(super) fn file(self, kind: Kind) -> String {
        format!("{self}.{}", kind.ending())
    }

    /// What that file is, if it is one of ours.
    pub(super) fn parse(text: &str) -> Option<(Self, Kind)> {
        let (name, ending) = text.split_once('.')?;
        let kind = Kind::ALL.into_iter().find(|kind| kind.ending() == ending)?;
        let (number, id) = name.split_once('-')?;
        let name = Self {
            number: number.parse().ok()?,
            id: u64::from_str_radix(id, 16).ok()?,
        };
        // Exactly as we write it: `+1` and `1` are numbers, too.
        (name.to_string() == text.split_once('.')?.0).then_some((name, kind))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08}-{:016x}", self.number, self.id)
    }
}

// === impl Kind ===

impl Kind {
    const ALL: [Self; 4] = [Self::Segment, Self::Index, Self::Done, Self::Part];

    const fn ending(self) -> &'static str {
        match self {
            Self::Segment => "seg",
            Self::Index => "index",
            Self::Done => "done",
            Self::Part => "part",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_foreign_ones_are_not_ours() {
        let name = Name {
            number: 7,
            id: 0x3f9c,
        };
        assert_eq!(name.file(Kind::Index), "00000007-0000000000003f9c.index");
        for kind in Kind::ALL {
            assert_eq!(Name::parse(&name.file(kind)), Some((name, kind)));
        }
        for text in [
            "",
            "lock",
            "00000007.seg",
            "00000007-0000000000003f9c",
            "00000007-0000000000003f9c.jsonl",
            "7-3f9c.seg",
            "+0000007-0000000000003f9c.seg",
            "00000007-0000000000003F9C.seg",
        ] {
            assert_eq!(Name::parse(text), None, "{text}");
        }
    }
}
