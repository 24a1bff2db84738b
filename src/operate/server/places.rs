//! Who has a connection, and who gives it up for a newcomer: not whoever came first holds the port, but whoever uses it.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::sync::Notify;

/// Connections at once; people, scrapers and probes need a handful.
pub(super) const CONNECTIONS_MAX: usize = 256;

/// Of one address (IPv6: of one /64). A page in a browser opens six, a script one for each call under way; half is left
/// to everybody else.
pub(super) const PER_ADDRESS_MAX: usize = 128;

/// The connections that are open.
#[derive(Default)]
pub(super) struct Places {
    held: Mutex<Vec<Arc<Holder>>>,
}

/// A connection's place; given back when dropped.
pub(super) struct Place {
    places: Arc<Places>,
    holder: Arc<Holder>,
}

struct Holder {
    address: IpAddr,
    use_: Mutex<Use>,
    evicted: Notify,
}

#[derive(Clone, Copy)]
struct Use {
    /// Requests whose answer isn't there yet.
    in_flight: usize,
    /// An answer is there, and the peer doesn't take it.
    is_blocked: bool,
    /// When the last request began; before the first, when the connection did.
    last_request: Instant,
}

/// A request under way; dropped with its answer.
pub(super) struct Busy(Arc<Holder>);

// === impl Places ===

impl Places {
    /// A place for a connection from there. Where all are taken, the one whose last request is longest ago goes, unless
    /// its answer is still being made; none where all are at work.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = customer(address);
        let mut held = self.held();
        let of_address = held.iter().filter(|it| it.address == address).count();
        if of_address >= PER_ADDRESS_MAX {
            evict(&mut held, |it| it.address == address)?;
        } else if held.len() >= CONNECTIONS_MAX {
            evict(&mut held, |_| true)?;
        }
        let holder = Arc::new(Holder {
            address,
            use_: Mutex::new(Use {
                in_flight: 0,
                is_blocked: false,
                last_request: Instant::now(),
            }),
            evicted: Notify::new(),
        });
        held.push(holder.clone());
        drop(held);
        Some(Place {
            places: self.clone(),
            holder,
        })
    }

    fn held(&self) -> MutexGuard<'_, Vec<Arc<Holder>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the place away at once; its connection ends a moment later.
fn evict(held: &mut Vec<Arc<Holder>>, among: impl Fn(&Holder) -> bool) -> Option<()> {
    let (at, _) = held
        .iter()
        .enumerate()
        .filter(|(_, it)| among(it))
        .map(|(at, it)| (at, *it.use_()))
        .filter(|(_, it)| it.is_blocked || it.in_flight == 0)
        .min_by_key(|(_, it)| it.last_request)?;
    held.swap_remove(at).evicted.notify_one();
    Some(())
}

/// One IPv6 customer has a whole /64 to himself.
fn customer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
        v4 => v4,
    }
}

// === impl Place ===

impl Place {
    /// Until somebody else has got this place.
    pub(super) async fn evicted(&self) {
        self.holder.evicted.notified().await;
    }

    /// A request has begun.
    pub(super) fn begin(&self) -> Busy {
        let mut use_ = self.holder.use_();
        use_.in_flight += 1;
        use_.last_request = Instant::now();
        drop(use_);
        Busy(self.holder.clone())
    }

    /// Whether the peer takes what it is sent.
    pub(super) fn set_blocked(&self, is_blocked: bool) {
        self.holder.use_().is_blocked = is_blocked;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.places.held();
        held.retain(|it| !Arc::ptr_eq(it, &self.holder));
    }
}

// === impl Holder ===

impl Holder {
    fn use_(&self) -> MutexGuard<'_, Use> {
        self.use_.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Busy ===

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.use_().in_flight -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    async fn is_evicted(place: &Place) -> bool {
        timeout(Duration::ZERO, place.evicted()).await.is_ok()
    }

    fn take(places: &Arc<Places>, address: IpAddr, count: usize) -> Vec<Place> {
        (0..count)
            .map(|_| places.take(address).expect("a place"))
            .collect()
    }

    #[tokio::test]
    async fn an_address_past_its_share_gives_up_its_own_longest_quiet_place() {
        let places = Arc::new(Places::default());
        let other = places.take(address("192.0.2.2")).expect("a place");
        let held = take(&places, address("192.0.2.1"), PER_ADDRESS_MAX);
        let busy = held[0].begin();
        let newcomer = places.take(address("::ffff:192.0.2.1")).expect("a place");
        assert!(is_evicted(&held[1]).await);
        assert!(!is_evicted(&other).await && !is_evicted(&held[0]).await);
        assert_eq!(places.held().len(), PER_ADDRESS_MAX + 1);
        drop((busy, newcomer, held));
        assert_eq!(places.held().len(), 1);
    }

    #[tokio::test]
    async fn a_newcomer_is_let_in_over_many_addresses_too() {
        let places = Arc::new(Places::default());
        let ours = take(&places, address("2001:db8::1"), PER_ADDRESS_MAX);
        let theirs = take(&places, address("192.0.2.1"), PER_ADDRESS_MAX);
        let newcomer = places.take(address("192.0.2.9")).expect("a place");
        assert!(is_evicted(&ours[0]).await && !is_evicted(&theirs[0]).await);
        assert_eq!(places.held().len(), CONNECTIONS_MAX);
        drop((newcomer, ours, theirs));
    }

    #[tokio::test]
    async fn a_request_under_way_keeps_its_place_and_one_whose_answer_is_not_taken_does_not() {
        let places = Arc::new(Places::default());
        let held = take(&places, address("192.0.2.1"), PER_ADDRESS_MAX);
        let busy: Vec<Busy> = held.iter().map(Place::begin).collect();
        assert!(places.take(address("192.0.2.1")).is_none());
        held[7].set_blocked(true);
        assert!(places.take(address("192.0.2.1")).is_some());
        assert!(is_evicted(&held[7]).await);
        drop(busy);
    }
}
