//! What ends without being delivered: by age, or by an operator's word.

use tracing::warn;

use super::{contents::Key, disk::Disk, engine::Engine, shelf::Cleared};
use crate::model::Loss;

// === impl Engine ===

impl<D: Disk> Engine<D> {
    /// Drops what has waited too long, a segment at a time; only what nobody is delivering right now.
    pub(super) fn expire(&self) {
        let Some(age_max) = self.config.age_max else {
            return;
        };
        let age_ms = u64::try_from(age_max.as_millis()).unwrap_or(u64::MAX);
        let before_ms = self.now_ms().saturating_sub(age_ms);
        let old = self.shelf().sealed_before(before_ms);
        for number in old {
            self.clear(number, Loss::Expired, &|_| true);
        }
    }

    /// Drops records of a segment; gives how many there were.
    pub(super) fn clear(&self, number: u32, loss: Loss, is_chosen: &dyn Fn(&Key) -> bool) -> u64 {
        let cleared = self.shelf().clear(&self.disk, number, is_chosen);
        let Cleared { rows, gone } = match cleared {
            Ok(cleared) => cleared,
            Err(error) => {
                warn!(segment = number, %error, "a spooled segment cannot be read");
                return 0;
            }
        };
        for (key, row) in &rows {
            self.budget.end(key.account, u64::from(row.bytes));
            self.lose(loss, key, row);
        }
        self.remove(gone);
        rows.len() as u64
    }
}
