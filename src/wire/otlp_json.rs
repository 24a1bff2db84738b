//! OTLP in JSON: counts log records, spans or data points on their way by, and checks the shape that leads to them.

use super::{
    Fault,
    budget::Budget,
    json::{Begins, Checker, Visit},
    malformed,
};
use crate::model::Signal;

/// One more than the checker's own limit: places of values that are about to be refused.
const DEPTH_MAX: usize = 129;
/// Longer than every name that leads anywhere.
const NAME_BYTES_MAX: usize = 32;

/// A value's place, as far as it leads to items.
#[derive(Debug)]
enum Place {
    /// Leads nowhere: anything goes.
    Elsewhere,
    /// An object, with the members that lead on.
    Object(&'static [(&'static str, Place)]),
    /// An array of these.
    Array(&'static Place),
    /// An object that is an item.
    Item,
}

use Place::{Array, Elsewhere, Item, Object};

static LOGS: Place = Object(&[(
    "resourceLogs",
    Array(&Object(&[(
        "scopeLogs",
        Array(&Object(&[("logRecords", Array(&Item))])),
    )])),
)]);
static TRACES: Place = Object(&[(
    "resourceSpans",
    Array(&Object(&[(
        "scopeSpans",
        Array(&Object(&[("spans", Array(&Item))])),
    )])),
)]);
static METRICS: Place = Object(&[(
    "resourceMetrics",
    Array(&Object(&[(
        "scopeMetrics",
        Array(&Object(&[(
            "metrics",
            Array(&Object(&[
                ("gauge", DATA),
                ("sum", DATA),
                ("histogram", DATA),
                ("exponentialHistogram", DATA),
                ("summary", DATA),
            ])),
        )])),
    )])),
)]);
const DATA: Place = Object(&[("dataPoints", Array(&Item))]);
static ELSEWHERE: Place = Elsewhere;

/// A scan of one export request.
#[derive(Debug)]
pub struct Scan {
    checker: Checker,
    path: Path,
}

impl Scan {
    /// A scan of that signal's request.
    pub fn new(signal: Signal) -> Self {
        let root = match signal {
            Signal::Logs => &LOGS,
            Signal::Metrics => &METRICS,
            Signal::Traces => &TRACES,
        };
        Self {
            checker: Checker::default(),
            path: Path {
                root,
                places: [&ELSEWHERE; DEPTH_MAX],
                depth: 0,
                name: [0; NAME_BYTES_MAX],
                name_bytes: 0,
                seen: 0,
                items: 0,
                budget: Budget::default(),
            },
        }
    }

    /// Takes the next piece.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.checker.push(bytes, &mut self.path)?;
        self.path.seen += bytes.len() as u64;
        Ok(())
    }

    /// The body has ended: its log records, data points or spans.
    pub fn finish(self) -> Result<u64, Fault> {
        if !self.checker.is_whole() {
            return malformed("the JSON is cut off");
        }
        Ok(self.path.items)
    }
}

/// Where in the document the checker stands.
#[derive(Debug)]
struct Path {
    root: &'static Place,
    places: [&'static Place; DEPTH_MAX],
    depth: usize,
    /// The last name met, cut; its length is not.
    name: [u8; NAME_BYTES_MAX],
    name_bytes: usize,
    /// Bytes of the body before the piece at hand.
    seen: u64,
    items: u64,
    budget: Budget,
}

impl Path {
    fn parent(&self) -> Option<&'static Place> {
        self.depth.checked_sub(1).map(|depth| self.places[depth])
    }

    /// The place of the value that begins.
    fn place(&self) -> &'static Place {
        match self.parent() {
            None => self.root,
            Some(Array(element)) => element,
            Some(Object(members)) => {
                let name = self.name.get(..self.name_bytes).unwrap_or_default();
                members
                    .iter()
                    .find(|(member, _)| member.as_bytes() == name)
                    .map_or(&ELSEWHERE, |(_, place)| place)
            }
            Some(Item | Elsewhere) => &ELSEWHERE,
        }
    }
}

impl Visit for Path {
    fn name(&mut self, piece: &[u8]) {
        if !matches!(self.parent(), Some(Object(_))) {
            return;
        }
        let end = self.name_bytes + piece.len();
        if let Some(room) = self.name.get_mut(self.name_bytes..end) {
            room.copy_from_slice(piece);
        }
        // Past the room, it is a name that leads nowhere.
        self.name_bytes = end;
    }

    fn value(&mut self, begins: Begins, is_element: bool, at: usize) -> Result<(), Fault> {
        let place = self.place();
        self.name_bytes = 0;
        if is_element || begins == Begins::Object {
            self.budget.spend(self.seen + at as u64)?;
        }
        match (place, begins) {
            (Elsewhere, _) | (Object(_), Begins::Object) | (Array(_), Begins::Array) => {}
            (Item, Begins::Object) => self.items += 1,
            // Protobuf's JSON: a member that is null is absent.
            (_, Begins::Null) if !is_element && self.depth > 0 => {}
            _ => return malformed("an OTLP field has another type than it should"),
        }
        if matches!(begins, Begins::Object | Begins::Array) {
            self.places[self.depth] = place;
            self.depth += 1;
        }
        Ok(())
    }

    fn end(&mut self) {
        self.depth -= 1;
    }
}

#[cfg(test)]
mod tests;
