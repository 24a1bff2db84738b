//! A snapshot on its way: rows read each at its own moment, and the deltas that came beside them.

use super::Lost;
use crate::{
    directory::Collected,
    model::{Change, Position, Revision},
    rpc::feed,
};

/// Rows, deltas beside them, and how far those reach. Right only once every delta up to its end is on top of all rows,
/// whichever came first: a row may be older or newer than a delta beside it, but never newer than the end.
pub(super) struct Collecting {
    pub(super) collected: Collected,
    pub(super) beside: Vec<Change>,
    pub(super) reached: Position,
    /// No earlier than this, since the table that serves is already there.
    floor: Revision,
    end: Option<Revision>,
}

impl Collecting {
    pub(super) fn new(collected: Collected, begin: Position, floor: Revision) -> Self {
        Self {
            collected,
            beside: Vec::new(),
            reached: begin,
            floor,
            end: None,
        }
    }

    /// Takes rows.
    pub(super) fn chunk(&mut self, chunk: feed::SnapshotChunk) -> Result<(), Lost> {
        if self.end.is_some() {
            return Err(Lost::Protocol("rows after the snapshot's end"));
        }
        for change in chunk.changes {
            if let Some(change) = change.into_model()? {
                self.collected.push(change);
            }
        }
        Ok(())
    }

    /// Takes a delta.
    pub(super) fn delta(&mut self, delta: feed::Delta) -> Result<(), Lost> {
        let reached = self.reached.revision;
        if delta.revision <= reached.0 {
            return Ok(());
        }
        if delta.revision - 1 != reached.0 {
            return Err(Lost::Gap {
                had: reached.0,
                got: delta.revision,
            });
        }
        let reached_by = position(&delta);
        for change in delta.changes {
            self.beside.extend(change.into_model()?);
        }
        self.reached = reached_by;
        Ok(())
    }

    /// The last row has come.
    pub(super) fn end(&mut self, end: feed::SnapshotEnd) -> Result<(), Lost> {
        if end.tokens != self.collected.tokens() {
            return Err(Lost::Protocol("a snapshot's count is not what came"));
        }
        self.ends_at(Revision(end.revision));
        Ok(())
    }

    /// Complete once the deltas reach that revision.
    pub(super) fn ends_at(&mut self, revision: Revision) {
        self.end = Some(revision);
    }

    /// Whether it may be enforced.
    pub(super) fn is_complete(&self) -> bool {
        self.end
            .is_some_and(|end| self.reached.revision >= end.max(self.floor))
    }
}

/// Where a delta brings its table.
pub(super) fn position(delta: &feed::Delta) -> Position {
    Position {
        revision: Revision(delta.revision),
        history: delta.history,
    }
}

/// Where a snapshot begins.
pub(super) fn begins(begin: &feed::SnapshotBegin) -> Position {
    Position {
        revision: Revision(begin.revision),
        history: begin.history,
    }
}
