//! How many connections are open, in all and from each address; shared by all workers.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use dashmap::{DashMap, mapref::entry::Entry};

use super::limits::Config;
use crate::{model::Network, operate::metrics::CUTS};

/// Why a connection was closed on its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It never said anything.
    FirstByte,
    /// The TLS handshake failed or took too long.
    Handshake,
    /// A request's head, or a control frame, took too long.
    Headers,
    /// Idle between requests.
    Idle,
    /// Asked to go for its age, and didn't.
    Age,
    /// It didn't take its answer.
    WriteStall,
    /// Control frames without a finished request.
    ControlFlood,
    /// Streams reset too fast.
    Resets,
    /// HTTP/2 broken, or a header block past all measure.
    Protocol,
    /// Past the drain's deadline.
    Drain,
}

/// Counts connections and lets no more in than allowed.
#[derive(Debug)]
pub struct Gate {
    connections_max: usize,
    per_address_max: usize,
    trusted: Vec<Network>,
    open: AtomicUsize,
    addresses: DashMap<IpAddr, usize>,
    accepted: AtomicU64,
    refused_in_all: AtomicU64,
    refused_per_address: AtomicU64,
    accept_errors: AtomicU64,
    cuts: [AtomicU64; Cut::LABELS.len()],
}

/// A connection's place; given back when dropped.
#[derive(Debug)]
pub struct Ticket {
    gate: Arc<Gate>,
    address: Option<IpAddr>,
}

// === impl Cut ===

impl Cut {
    /// The labels in metrics, in the order of the variants.
    pub const LABELS: [&'static str; CUTS.len()] = CUTS;
}

// === impl Gate ===

impl Gate {
    /// A gate by the configuration's limits.
    pub fn new(config: &Config) -> Arc<Self> {
        Arc::new(Self {
            connections_max: config.connections_allowed(),
            per_address_max: match config.connections_per_address_max {
                0 => usize::MAX,
                max => max,
            },
            trusted: config.trusted_proxies.clone(),
            open: AtomicUsize::new(0),
            addresses: DashMap::new(),
            accepted: AtomicU64::new(0),
            refused_in_all: AtomicU64::new(0),
            refused_per_address: AtomicU64::new(0),
            accept_errors: AtomicU64::new(0),
            cuts: [const { AtomicU64::new(0) }; Cut::LABELS.len()],
        })
    }

    /// A place for a connection from this address, or none.
    pub fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Ticket> {
        if self.open.fetch_add(1, Relaxed) >= self.connections_max {
            self.open.fetch_sub(1, Relaxed);
            self.refused_in_all.fetch_add(1, Relaxed);
            return None;
        }
        let mut ticket = Ticket {
            gate: self.clone(),
            address: None,
        };
        if !self.trusted.iter().any(|network| network.contains(address)) {
            let key = key(address);
            let mut count = self.addresses.entry(key).or_insert(0);
            if *count >= self.per_address_max {
                drop(count);
                self.refused_per_address.fetch_add(1, Relaxed);
                return None;
            }
            *count += 1;
            drop(count);
            ticket.address = Some(key);
        }
        self.accepted.fetch_add(1, Relaxed);
        Some(ticket)
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// Connections let in since the start.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Relaxed)
    }

    /// Connections turned away since the start: for their number in all, and for their address'.
    pub fn refused(&self) -> (u64, u64) {
        (
            self.refused_in_all.load(Relaxed),
            self.refused_per_address.load(Relaxed),
        )
    }

    /// Failed accepts since the start (descriptors exhausted, connections aborted).
    pub fn accept_errors(&self) -> u64 {
        self.accept_errors.load(Relaxed)
    }

    /// Connections closed on their peers since the start, in the order of [`Cut::LABELS`].
    pub fn cuts(&self) -> [u64; Cut::LABELS.len()] {
        std::array::from_fn(|at| self.cuts[at].load(Relaxed))
    }

    pub(super) fn count_cut(&self, cut: Cut) {
        self.cuts[cut as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn count_accept_error(&self) {
        self.accept_errors.fetch_add(1, Relaxed);
    }
}

// === impl Ticket ===

impl Drop for Ticket {
    fn drop(&mut self) {
        self.gate.open.fetch_sub(1, Relaxed);
        let Some(address) = self.address else { return };
        // Gone at zero: the map never outgrows the connections that are open.
        if let Entry::Occupied(mut entry) = self.gate.addresses.entry(address) {
            if *entry.get() <= 1 {
                entry.remove();
            } else {
                *entry.get_mut() -= 1;
            }
        }
    }
}

/// One IPv6 customer has a whole /64 to himself.
fn key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn gate() -> Arc<Gate> {
        Gate::new(&Config {
            connections_max: 4,
            connections_per_address_max: 2,
            trusted_proxies: vec!["10.0.0.0/8".parse().expect("a network")],
            ..Config::default()
        })
    }

    #[test]
    fn an_address_gets_no_more_than_its_share_and_its_entry_goes_with_its_last_connection() {
        let gate = gate();
        let first = gate.admit(address("192.0.2.1"));
        let second = gate.admit(address("::ffff:192.0.2.1"));
        assert!(first.is_some() && second.is_some());
        assert!(gate.admit(address("192.0.2.1")).is_none());
        assert!(gate.admit(address("192.0.2.2")).is_some());
        assert_eq!((gate.refused(), gate.open()), ((0, 1), 2));
        drop((first, second));
        assert_eq!((gate.addresses.len(), gate.open()), (0, 0));
    }

    #[test]
    fn the_total_holds_for_proxies_too() {
        let gate = gate();
        let held: Vec<_> = (0..6)
            .filter_map(|_| gate.admit(address("10.1.1.1")))
            .collect();
        assert_eq!(held.len(), 4);
        assert_eq!(gate.refused(), (2, 0));
        drop(held);
        assert_eq!(gate.open(), 0);
    }

    #[test]
    fn a_customer_of_ipv6_is_one_address() {
        let gate = gate();
        let held: Vec<_> = (0..4)
            .filter_map(|n| gate.admit(address(&format!("2001:db8::{n}"))))
            .collect();
        assert_eq!(held.len(), 2);
    }
}
