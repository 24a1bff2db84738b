//! Body bytes held at once: charged as they arrive, over all and per account.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{
    directory::Account,
    model::{InFlight, Limits, Over, Rejection},
};

/// An account may hold this many times what is still free. Whoever causes the pressure is so refused first, and a newcomer
/// always finds room; one account alone comes to 80 % of the ceiling.
const ACCOUNT_SHARE_OF_FREE: u64 = 4;

/// How long a sender waits whose account is at a ceiling of what it holds at once: others of its requests end any moment.
const THROTTLE_RETRY_AFTER: Duration = Duration::from_secs(1);

/// What all requests of the gateway hold together. Shared by its workers.
#[derive(Debug)]
pub struct Memory {
    in_flight: InFlight,
    bytes_max: u64,
    is_closed: AtomicBool,
}

/// What an account's requests hold, and what they could claim more at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headroom {
    /// Body bytes held now.
    pub bytes_held: u64,
    /// The most that one more claim would get: of the account's ceiling, its share of the gateway's, and the gateway's.
    pub bytes_free: u64,
    /// Requests admitted and not yet answered.
    pub requests_held: u64,
}

/// One request's place and its share; dropping it gives both back.
#[derive(Debug)]
pub(super) struct Claim(Held);

/// Bytes claimed for an account, held by whoever holds what they pay for, on any thread; dropping it gives them back.
#[derive(Debug)]
pub struct Held {
    memory: Arc<Memory>,
    account: Arc<Account>,
    bytes: u64,
}

// === impl Memory ===

impl Memory {
    /// With nothing held. Both in bytes, 0 = not set: the process' memory (else the cgroup's limit, else the machine's), and the
    /// ceiling itself (else a quarter of that memory).
    pub fn new(memory_bytes: u64, in_flight_bytes_max: u64) -> Self {
        let memory_bytes = match memory_bytes {
            0 => memory_limit_bytes(),
            set => set,
        };
        Self {
            in_flight: InFlight::default(),
            is_closed: AtomicBool::new(false),
            bytes_max: match in_flight_bytes_max {
                0 => memory_bytes / 4,
                set => set,
            },
        }
    }

    /// Held now, against [`Memory::bytes_max`].
    pub fn bytes(&self) -> u64 {
        self.in_flight.bytes()
    }

    /// Requests admitted and not yet answered.
    pub fn requests(&self) -> u64 {
        self.in_flight.requests()
    }

    /// The ceiling.
    pub const fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// From here on what is new is refused; what was admitted goes on to its end.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
    }

    /// # Errors
    /// [`Memory::close`] was called.
    pub fn check_open(&self) -> Result<(), Rejection> {
        match self.is_closed.load(Ordering::Acquire) {
            true => Err(Rejection::Draining),
            false => Ok(()),
        }
    }

    /// What an account has left. True for the moment it is read in.
    pub fn headroom(&self, account: &Account) -> Headroom {
        let bytes_held = account.in_flight.bytes();
        let free = self.bytes_max.saturating_sub(self.bytes());
        let of_share = self.account_bytes_max().saturating_sub(bytes_held);
        let of_account = match account.record.limits.in_flight_bytes_max {
            0 => u64::MAX,
            limit => limit.saturating_sub(bytes_held),
        };
        Headroom {
            bytes_held,
            bytes_free: free.min(of_share).min(of_account),
            requests_held: account.in_flight.requests(),
        }
    }

    /// Counts a request in, with nothing held yet.
    pub(super) fn enter(self: &Arc<Self>, account: &Arc<Account>) -> Result<Claim, Rejection> {
        self.check_open()?;
        let limits = &account.record.limits;
        if !account.in_flight.try_enter(limits.concurrency_max) {
            return Err(throttled(limits, Over::Concurrency));
        }
        // Connections bound how many there can be.
        self.in_flight.try_enter(0);
        let claim = Claim(Held {
            memory: Arc::clone(self),
            account: Arc::clone(account),
            bytes: 0,
        });
        // Full already: refused here for its headers, not after its first chunk.
        if claim.0.account.in_flight.bytes() > self.account_bytes_max() {
            return Err(Rejection::Overloaded);
        }
        Ok(claim)
    }

    /// Bytes to be claimed for an account beside any request: what waits on disk is read again.
    pub fn hold(self: &Arc<Self>, account: &Arc<Account>) -> Held {
        Held {
            memory: Arc::clone(self),
            account: Arc::clone(account),
            bytes: 0,
        }
    }

    fn account_bytes_max(&self) -> u64 {
        let free = self.bytes_max.saturating_sub(self.bytes());
        free.saturating_mul(ACCOUNT_SHARE_OF_FREE)
    }
}

fn throttled(limits: &Limits, over: Over) -> Rejection {
    Rejection::Throttled {
        over,
        retry_after: THROTTLE_RETRY_AFTER,
        as_unavailable: limits.remote_write_throttle_as_unavailable,
    }
}

/// The smallest of the cgroup's limits and the machine's memory; half a gibibyte where nothing can be read.
fn memory_limit_bytes() -> u64 {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let own_group = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let groups = own_group.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (controllers, path) = (parts.nth(1).unwrap_or(""), parts.next().unwrap_or(""));
        match controllers {
            "" => vec![
                format!("/sys/fs/cgroup{path}/memory.max"),
                "/sys/fs/cgroup/memory.max".to_owned(),
            ],
            "memory" => vec![
                format!("/sys/fs/cgroup/memory{path}/memory.limit_in_bytes"),
                "/sys/fs/cgroup/memory/memory.limit_in_bytes".to_owned(),
            ],
            _ => Vec::new(),
        }
    });
    let machine = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        })
        .map(|kibibytes| kibibytes * 1024);
    groups
        .filter_map(|path| number(&path))
        .chain(machine)
        .min()
        .unwrap_or(512 << 20)
}

// === impl Claim ===

impl Claim {
    /// Claims more, all or nothing.
    pub(super) fn grow(&mut self, bytes: u64) -> Result<(), Rejection> {
        self.0.grow(bytes)
    }

    /// Gives a part back.
    pub(super) fn shrink(&mut self, bytes: u64) {
        self.0.shrink(bytes);
    }

    /// Hands all bytes over; the place stays.
    pub(super) fn lend(&mut self) -> Held {
        Held {
            memory: Arc::clone(&self.0.memory),
            account: Arc::clone(&self.0.account),
            bytes: std::mem::take(&mut self.0.bytes),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.account.in_flight.leave();
        self.0.memory.in_flight.leave();
    }
}

// === impl Held ===

impl Held {
    /// Claims more, all or nothing.
    ///
    /// # Errors
    /// The account's ceiling, or the gateway's.
    pub fn grow(&mut self, bytes: u64) -> Result<(), Rejection> {
        let limits = &self.account.record.limits;
        if !self
            .account
            .in_flight
            .try_claim(bytes, limits.in_flight_bytes_max)
        {
            return Err(throttled(limits, Over::InFlightBytes));
        }
        if self.account.in_flight.bytes() > self.memory.account_bytes_max()
            || !self
                .memory
                .in_flight
                .try_claim(bytes, self.memory.bytes_max)
        {
            self.account.in_flight.release(bytes);
            return Err(Rejection::Overloaded);
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Gives a part back.
    pub fn shrink(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.account.in_flight.release(bytes);
        self.memory.in_flight.release(bytes);
        self.bytes -= bytes;
    }

    /// Of an account and a gateway of its own, for tests beyond these modules.
    #[cfg(test)]
    pub(in crate::gateway) fn alone(bytes_max: u64) -> Self {
        let record = crate::model::Account {
            id: crate::model::AccountId(1),
            name: "alone".into(),
            state: crate::model::AccountState::Active,
            limits: Limits::default(),
            draws_on: None,
            destinations: [None; 3],
        };
        Self {
            memory: Arc::new(Memory::new(bytes_max, bytes_max)),
            account: Arc::new(Account {
                record,
                books: Arc::default(),
                in_flight: Arc::default(),
                buckets: Arc::default(),
                main_buckets: None,
            }),
            bytes: 0,
        }
    }

    /// What all of the gateway hold.
    #[cfg(test)]
    pub(in crate::gateway) fn memory(&self) -> Arc<Memory> {
        Arc::clone(&self.memory)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.account.in_flight.release(self.bytes);
        self.memory.in_flight.release(self.bytes);
    }
}
