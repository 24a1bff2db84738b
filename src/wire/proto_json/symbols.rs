//! The symbols of remote write 2.0, found by number in the body itself.

use super::{Fields, Unwritable};

/// Where each symbol lies. Four bytes a symbol: the text stays in the body.
#[derive(Default)]
pub(in crate::wire) struct Symbols<'a> {
    body: &'a [u8],
    number: u32,
    starts: Vec<u32>,
}

impl<'a> Symbols<'a> {
    /// Finds the symbols, which may stand anywhere in the body under that field number.
    ///
    /// # Errors
    /// More than 65,536 + bytes / 8 of them (the budget of every kind of piece), which bounds what is allocated.
    pub(in crate::wire) fn find(body: &'a [u8], number: u32) -> Result<Self, Unwritable> {
        let symbols_max = 65_536 + body.len() / 8;
        let mut starts = Vec::new();
        for found in Fields::new(body) {
            let found = found?;
            if found.number == number {
                if starts.len() == symbols_max {
                    return Err(Unwritable::Malformed("too many symbols"));
                }
                let start = u32::try_from(found.start)
                    .map_err(|_| Unwritable::Malformed("a body past 4 GiB"))?;
                starts.push(start);
            }
        }
        Ok(Self {
            body,
            number,
            starts,
        })
    }

    /// The text of one symbol.
    pub(super) fn get(&self, at: u64) -> Result<&'a [u8], Unwritable> {
        let start = usize::try_from(at).ok().and_then(|at| self.starts.get(at));
        let found = start.and_then(|start| Fields::starting_at(self.body, *start as usize).next());
        match found {
            Some(found) => {
                let found = found?;
                debug_assert_eq!(found.number, self.number);
                found.raw.bytes()
            }
            None => Err(Unwritable::Malformed(
                "a reference to a symbol that is not there",
            )),
        }
    }
}
