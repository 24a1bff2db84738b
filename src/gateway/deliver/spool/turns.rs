//! Whose turn it is: the lines of a destination one after the other, each from where it stands.

use std::{collections::VecDeque, io};

use tracing::warn;

use super::{
    contents::{Key, Row},
    disk::Disk,
    line::Place,
    segment::State,
    shelf::{Picked, Shelf},
};
use crate::model::{DestinationId, Signal};

/// A line rests that long after its segment could not be read.
const UNREADABLE_REST_MS: u64 = 1_000;

// === impl Shelf ===

impl<D: Disk> Shelf<D> {
    /// The next record for that destination, of each line in its turn. Reads an index, at most.
    pub(super) fn next(
        &mut self,
        disk: &D,
        destination: DestinationId,
        out_max: usize,
        now_ms: u64,
    ) -> Option<Picked> {
        while let Some((until, key)) = self.resting.first().copied()
            && until <= now_ms
        {
            self.resting.pop_first();
            self.list(key);
        }
        let turns = self.turns.get(&destination).map_or(0, VecDeque::len);
        // Shared by those who have something: none of them may take all places.
        let out_max = out_max / turns.max(1);
        for _ in 0..turns {
            let key = self.turns.get_mut(&destination)?.pop_front()?;
            let Some(line) = self.lines.get_mut(&key) else {
                continue;
            };
            line.is_listed = false;
            match self.pick(disk, key, out_max, now_ms) {
                Ok(Some(picked)) => {
                    self.list(key);
                    return Some(picked);
                }
                Ok(None) => {
                    // Looked through, and not only counted down.
                    let line = self.lines.get(&key);
                    if line.is_some_and(|line| line.is_over(now_ms)) {
                        self.lines.remove(&key);
                    }
                }
                Err(error) => {
                    warn!(account.id = %key.account, destination.id = %key.destination, %error, "a spooled segment cannot be read, trying again");
                    self.rest(key, now_ms + UNREADABLE_REST_MS);
                }
            }
        }
        if self.turns.get(&destination).is_some_and(VecDeque::is_empty) {
            self.turns.remove(&destination);
        }
        None
    }

    fn rest(&mut self, key: Key, until_ms: u64) {
        if let Some(line) = self.lines.get_mut(&key)
            && until_ms > line.rests_until_ms
        {
            line.rests_until_ms = until_ms;
            self.resting.insert((until_ms, key));
        }
    }

    fn pick(
        &mut self,
        disk: &D,
        key: Key,
        out_max: usize,
        now_ms: u64,
    ) -> io::Result<Option<Picked>> {
        // Receivers of samples refuse what comes behind a newer one.
        let out_max = match key.signal {
            Signal::Metrics => 1,
            Signal::Logs | Signal::Traces => out_max,
        };
        let line = self.lines.get(&key);
        let Some(line) = line.filter(|line| line.is_open(out_max, now_ms)) else {
            return Ok(None);
        };
        if let Some((place, row)) = line.returned.first_key_value() {
            let (place, row) = (*place, *row);
            return Ok(self.lease(key, place, row));
        }
        let mut from = line.cursor;
        while let Some((number, segment)) = self.segments.range(from.segment..).next() {
            let number = *number;
            if self.frontier.is_some_and(|frontier| number >= frontier) {
                break;
            }
            if number > from.segment {
                from = Place::start_of(number);
            }
            let is_live = segment.state == State::Live;
            if segment.may_hold(&key) {
                if segment.state == State::Busy {
                    break;
                }
                self.open(disk, number)?;
                if let Some(row) = self.first_left(&key, from) {
                    let place = Place {
                        segment: number,
                        at: row.at,
                    };
                    return Ok(self.lease(key, place, row));
                }
            }
            if is_live {
                break;
            }
            let Some(next) = number.checked_add(1) else {
                break;
            };
            from = Place::start_of(next);
        }
        if let Some(line) = self.lines.get_mut(&key) {
            line.cursor = from;
        }
        Ok(None)
    }

    fn first_left(&self, key: &Key, from: Place) -> Option<Row> {
        let (line, opened) = (self.lines.get(key)?, self.opened.get(&from.segment)?);
        let is_in = |row: &Row| {
            !line.is_out(Place {
                segment: from.segment,
                at: row.at,
            })
        };
        opened.contents.left_of(key, from.at).find(is_in)
    }

    fn lease(&mut self, key: Key, place: Place, row: Row) -> Option<Picked> {
        let line = self.lines.get_mut(&key)?;
        let segment = self.segments.get_mut(&place.segment)?;
        if segment.state == State::Busy {
            return None;
        }
        if line.returned.remove(&place).is_none() {
            line.cursor = Place {
                at: place.at + 1,
                ..place
            };
        }
        line.leased.insert(place);
        segment.leased += 1;
        Some(Picked {
            key,
            place,
            row,
            name: segment.name,
        })
    }

    pub(super) fn unlease(&mut self, picked: &Picked) {
        let line = self.lines.get_mut(&picked.key);
        if line.is_none_or(|line| line.leased.remove(&picked.place))
            && let Some(segment) = self.segments.get_mut(&picked.place.segment)
        {
            segment.leased = segment.leased.saturating_sub(1);
        }
    }

    /// A record is handed out again, before the others of its line and not before the line has rested.
    pub(super) fn give_back(&mut self, picked: &Picked, until_ms: u64) {
        self.unlease(picked);
        if let Some(line) = self.lines.get_mut(&picked.key) {
            line.returned.insert(picked.place, picked.row);
        }
        self.rest(picked.key, until_ms);
        self.list(picked.key);
    }

    pub(super) fn list_all(&mut self) {
        let keys: Vec<Key> = self.lines.keys().copied().collect();
        for key in keys {
            self.list(key);
        }
    }

    pub(super) fn list(&mut self, key: Key) {
        if let Some(line) = self.lines.get_mut(&key)
            && !std::mem::replace(&mut line.is_listed, true)
        {
            self.turns
                .entry(key.destination)
                .or_default()
                .push_back(key);
        }
    }
}
