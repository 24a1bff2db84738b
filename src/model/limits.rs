//! What an account may hold at once and how fast it may send: the ceilings and rates, and the counters they are held against.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Rates;

/// Ceilings and rates of one account. Quotas will join them here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Log bulk: body on the wire *and* after inflation. 10 MiB, the Logz.io listener's.
    pub bulk_body_bytes_max: u64,
    /// Log bulk: one line without its line end. 500,000 bytes, the Logz.io listener's.
    pub bulk_line_bytes_max: u64,
    /// OTLP, both doors: body after inflation. 64 MiB, recommended by OTLP 1.11.
    pub otlp_body_bytes_max: u64,
    /// Remote write: body after inflation. 32 MiB.
    pub remote_write_body_bytes_max: u64,
    /// Body bytes held in memory at once by all of the account's requests on one gateway. 0 = only the gateway's own ceiling.
    pub in_flight_bytes_max: u64,
    /// Requests admitted and not yet answered on one gateway. 0 = no ceiling.
    pub concurrency_max: u64,
    /// Of all the account's requests together.
    pub rates: Rates,
    /// Remote write over a ceiling or a rate that clears soon: 503 instead of 429, which Prometheus drops on by default.
    pub remote_write_throttle_as_unavailable: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bulk_body_bytes_max: 10 << 20,
            bulk_line_bytes_max: 500_000,
            otlp_body_bytes_max: 64 << 20,
            remote_write_body_bytes_max: 32 << 20,
            in_flight_bytes_max: 0,
            concurrency_max: 0,
            rates: Rates::default(),
            remote_write_throttle_as_unavailable: false,
        }
    }
}

/// What is held right now, by an account or by the whole gateway. Outlives every change of the limits it is held against.
#[derive(Debug, Default)]
pub struct InFlight {
    bytes: AtomicU64,
    requests: AtomicU64,
}

impl InFlight {
    /// Claims `bytes` if that stays within `bytes_max` (0 = no ceiling). What was claimed must be released.
    pub fn try_claim(&self, bytes: u64, bytes_max: u64) -> bool {
        let before = self.bytes.fetch_add(bytes, Ordering::AcqRel);
        if bytes_max != 0 && before + bytes > bytes_max {
            self.release(bytes);
            return false;
        }
        true
    }

    /// Gives claimed bytes back.
    pub fn release(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Counts a request in if that stays within `requests_max` (0 = no ceiling). [`InFlight::leave`] must follow.
    pub fn try_enter(&self, requests_max: u64) -> bool {
        let before = self.requests.fetch_add(1, Ordering::AcqRel);
        if requests_max != 0 && before + 1 > requests_max {
            self.leave();
            return false;
        }
        true
    }

    /// Counts a request out.
    pub fn leave(&self) {
        self.requests.fetch_sub(1, Ordering::AcqRel);
    }

    /// Bytes held now.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    /// Requests held now.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Acquire)
    }
}
