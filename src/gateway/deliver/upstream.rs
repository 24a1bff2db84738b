//! Delivery over the network: one deliverer per worker thread, with its own connections.

use std::{
    cell::RefCell,
    collections::HashMap,
    rc::{Rc, Weak},
    sync::{Arc, Weak as ArcWeak},
    time::Duration,
};

use tokio::{
    task::spawn_local,
    time::{Instant, sleep, timeout_at},
};

use super::{
    answer::{Attempt, judge},
    blame::{misconfigured, unavailable},
    body::Chain,
    grpc, http,
    pool::{Bounds, Endpoint},
    shipment::{Shipment, prepare},
    target::{self, Identity, Target},
};
pub use super::{config::Config, connect::load_system_roots, sockets::Sockets};
use crate::model::{
    AccountId, Counts, Delivery, Destination, DestinationKind, LineCounts, Payload, Rejection,
    Tally, TokenId, UpstreamTls,
};

/// Sends payloads to destinations of the kinds `http`, `otlp_http` and `otlp_grpc`.
///
/// Belongs to one thread: it must be used where [`spawn_local`] works, best on a [`tokio::runtime::LocalRuntime`]
/// (inside a `LocalSet` each answer costs one more look at epoll).
pub struct Upstreams {
    shared: Rc<Shared>,
}

struct Shared {
    config: Config,
    sockets: Sockets,
    /// By the address of the destination, which a [`Known`] keeps from being given to another.
    known: RefCell<HashMap<*const Destination, Known>>,
    endpoints: RefCell<HashMap<String, Vec<Pooled>>>,
    sweeps: RefCell<bool>,
}

struct Known {
    destination: ArcWeak<Destination>,
    target: Result<Rc<Target>, &'static str>,
    /// The endpoint that the next request starts at.
    next: usize,
}

/// An endpoint with what must be equal for connections to be shared between destinations and their later versions.
struct Pooled {
    tls: UpstreamTls,
    is_grpc: bool,
    allows_link_local: bool,
    endpoint: Weak<Endpoint>,
}

// === impl Upstreams ===

impl Upstreams {
    /// A deliverer without connections; the places for them are the process'.
    pub fn new(config: Config, sockets: Sockets) -> Self {
        Self {
            shared: Rc::new(Shared {
                config,
                sockets,
                known: RefCell::default(),
                endpoints: RefCell::default(),
                sweeps: RefCell::new(false),
            }),
        }
    }

    /// Sends a payload to the destination and waits for its answer, within the destination's `request_timeout`.
    ///
    /// Endpoints are tried in turn, starting at another each time; each has its share of the time that is left. A payload
    /// may arrive twice (an endpoint that dies before its answer may have taken it), never half.
    ///
    /// What must be inflated or converted on the way is paid for through `claim`, in bytes, before it is allocated.
    ///
    /// # Errors
    /// The `Destination*` reasons; `Malformed` for OTLP in JSON that has no protobuf form; what `claim` says.
    pub async fn send(
        &self,
        destination: &Arc<Destination>,
        account: AccountId,
        token: TokenId,
        payload: &Payload,
        claim: &mut dyn FnMut(u64) -> Result<(), Rejection>,
    ) -> Result<Delivery, Rejection> {
        let (target, start) = self.shared.target(destination)?;
        let shipment = prepare(payload, destination, claim).await?;
        let caller = (account, token);
        let answer = self
            .try_endpoints(destination, &target, start, caller, &shipment)
            .await;
        with_lines(answer, payload)
    }

    /// All that [`Upstreams::send`] does before it connects.
    ///
    /// # Errors
    /// Those that it has without the destination's word.
    pub async fn rehearse(
        &self,
        destination: &Arc<Destination>,
        payload: &Payload,
        claim: &mut dyn FnMut(u64) -> Result<(), Rejection>,
    ) -> Result<(), Rejection> {
        self.shared.target(destination)?;
        prepare(payload, destination, claim).await?;
        Ok(())
    }

    async fn try_endpoints(
        &self,
        destination: &Destination,
        target: &Target,
        start: usize,
        caller: (AccountId, TokenId),
        shipment: &Shipment<'_>,
    ) -> Result<Delivery, Rejection> {
        let deadline = Instant::now() + destination.request_timeout;
        let mut tried = 0u64;
        let mut last = unavailable("destination timed out");
        for left in (1..=target.sites.len()).rev() {
            let now = Instant::now();
            let Some(index) = pick(target, start, tried, now) else {
                break;
            };
            tried |= 1 << index;
            let endpoint = &target.sites[index].endpoint;
            endpoint.probe(now);
            let share = deadline.saturating_duration_since(now) / u32::try_from(left).unwrap_or(1);
            let by = now + share;
            let attempt = self.attempt(destination, target, index, caller, shipment, by);
            let attempt = timeout_at(by, attempt).await;
            match attempt {
                Ok(Attempt::Final(answer)) => {
                    endpoint.succeeded();
                    return answer;
                }
                Ok(Attempt::Elsewhere(rejection)) => last = after(&last, rejection),
                Err(_) => last = after(&last, unavailable("destination timed out")),
            }
            endpoint.failed(Instant::now());
        }
        Err(last)
    }

    async fn attempt(
        &self,
        destination: &Destination,
        target: &Target,
        index: usize,
        caller: (AccountId, TokenId),
        shipment: &Shipment<'_>,
        by: Instant,
    ) -> Attempt {
        let site = &target.sites[index];
        let chunks = &*shipment.chunks;
        let Shared {
            config, sockets, ..
        } = &*self.shared;
        let bounds = Bounds {
            config,
            sockets,
            connect_timeout: destination.connect_timeout,
            by,
        };
        if sockets.is_short() && !site.endpoint.has_connection() {
            self.shared.give_up_one();
        }
        if destination.kind == DestinationKind::OtlpGrpc {
            let request = || target.request(site, shipment, caller, ());
            return grpc::call(&site.endpoint, destination, &bounds, request, chunks).await;
        }
        let request = || target.request(site, shipment, caller, Chain::from(chunks));
        match http::exchange(&site.endpoint, destination, &bounds, request).await {
            Ok(answer) => judge(&answer, shipment, destination),
            Err(attempt) => attempt,
        }
    }
}

/// The next endpoint that was not tried: those at rest come last, and come all the same if there is no other.
fn pick(target: &Target, start: usize, tried: u64, now: Instant) -> Option<usize> {
    let count = target.sites.len();
    let untried = || {
        (0..count)
            .map(|step| (start + step) % count)
            .filter(|index| tried & 1 << index == 0)
    };
    untried()
        .find(|index| !target.sites[*index].endpoint.is_resting(now))
        .or_else(|| untried().next())
}

/// What to say after another endpoint has failed too: its reason, and the wait that an earlier one has asked for.
fn after(earlier: &Rejection, mut later: Rejection) -> Rejection {
    if let Rejection::DestinationUnavailable { retry_after, .. } = &mut later
        && let Rejection::DestinationUnavailable {
            retry_after: asked, ..
        } = earlier
    {
        *retry_after = (*retry_after).max(*asked);
    }
    later
}

/// Bulk: how its lines ended. A destination that tells how many it took has taken those, if its counters add up to what it
/// was sent; else all of a refused body's lines count as malformed.
fn with_lines(
    mut answer: Result<Delivery, Rejection>,
    payload: &Payload,
) -> Result<Delivery, Rejection> {
    let Counts::Lines(counted) = payload.counts else {
        return answer;
    };
    match &mut answer {
        Ok(delivery) => delivery.lines = Some(counted),
        Err(Rejection::DestinationRefused { lines, message, .. }) => {
            if let Some((refused_items, lines)) = lines.and_then(|told| taken(counted, told)) {
                return Ok(Delivery {
                    refused_items,
                    message: Some(std::mem::take(message)).filter(|message| !message.is_empty()),
                    lines: Some(lines),
                    ..Delivery::default()
                });
            }
            *lines = Some(LineCounts {
                good: Default::default(),
                malformed: counted.malformed + counted.good,
                ..counted
            });
        }
        Err(_) => {}
    }
    answer
}

/// Of lines that were sent: how many the destination refused, and the counters of all, if it tells of each and took some.
/// It counts no bytes: they are shared out by lines.
fn taken(counted: LineCounts, told: LineCounts) -> Option<(u64, LineCounts)> {
    let (sent, took) = (counted.good, told.good.items);
    let parts = [told.malformed, told.oversized, told.empty].map(|part| part.items);
    let refused = parts.into_iter().try_fold(0u64, u64::checked_add)?;
    if took == 0 || took.checked_add(refused) != Some(sent.items) {
        return None;
    }
    let bytes_of = |items: u64| {
        let share = u128::from(sent.bytes) * u128::from(items) / u128::from(sent.items);
        u64::try_from(share).unwrap_or(sent.bytes)
    };
    let [malformed, oversized, empty] = parts.map(|items| Tally::new(items, bytes_of(items)));
    let bad = malformed + oversized + empty;
    let lines = LineCounts {
        good: Tally::new(took, sent.bytes - bad.bytes),
        malformed: counted.malformed + malformed,
        oversized: counted.oversized + oversized,
        empty: counted.empty + empty,
    };
    Some((refused, lines))
}

// === impl Shared ===

impl Shared {
    /// The destination compiled, and the endpoint to start at. Compiled once for each version of it.
    fn target(
        self: &Rc<Self>,
        destination: &Arc<Destination>,
    ) -> Result<(Rc<Target>, usize), Rejection> {
        let mut known = self.known.borrow_mut();
        let known = known.entry(Arc::as_ptr(destination)).or_insert_with(|| {
            self.start_sweeping();
            let target = target::compile(destination, |identity| self.endpoint(identity));
            Known {
                destination: Arc::downgrade(destination),
                target: target.map(Rc::new),
                next: 0,
            }
        });
        match &known.target {
            Ok(target) => {
                let start = known.next;
                known.next = (start + 1) % target.sites.len();
                Ok((target.clone(), start))
            }
            Err(what) => Err(misconfigured(destination, what)),
        }
    }

    fn endpoint(&self, identity: &Identity<'_>) -> Result<Rc<Endpoint>, &'static str> {
        let Identity { uri, destination } = identity;
        let scheme = uri.scheme_str().unwrap_or_default();
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let mut endpoints = self.endpoints.borrow_mut();
        let pooled = endpoints
            .entry(format!("{scheme}://{authority}"))
            .or_default();
        let is_grpc = destination.kind == DestinationKind::OtlpGrpc;
        let found = pooled.iter().find(|pooled| {
            pooled.is_grpc == is_grpc
                && pooled.allows_link_local == destination.allow_link_local
                && pooled.tls == destination.tls
        });
        if let Some(endpoint) = found.and_then(|pooled| pooled.endpoint.upgrade()) {
            return Ok(endpoint);
        }
        let endpoint = Rc::new(target::endpoint(
            identity,
            self.config.connections_per_endpoint_max,
        )?);
        pooled.retain(|pooled| pooled.endpoint.strong_count() > 0);
        pooled.push(Pooled {
            tls: destination.tls.clone(),
            is_grpc,
            allows_link_local: destination.allow_link_local,
            endpoint: Rc::downgrade(&endpoint),
        });
        Ok(endpoint)
    }

    /// Idle connections are closed, and destinations that are gone forgotten, also when nothing is sent.
    fn start_sweeping(self: &Rc<Self>) {
        if self.sweeps.replace(true) {
            return;
        }
        let every = self.config.idle_timeout.max(Duration::from_millis(100)) / 2;
        let shared = Rc::downgrade(self);
        spawn_local(async move {
            loop {
                sleep(every).await;
                let Some(shared) = shared.upgrade() else {
                    return;
                };
                shared.sweep();
            }
        });
    }

    /// Closes an idle connection of this worker's, whichever it finds, for one that is needed more.
    fn give_up_one(&self) {
        let endpoints = self.endpoints.borrow();
        let pooled = endpoints.values().flatten();
        let _ = pooled
            .filter_map(|pooled| pooled.endpoint.upgrade())
            .any(|endpoint| endpoint.give_up_one());
    }

    fn sweep(&self) {
        let idle_timeout = match self.sockets.is_wanted() {
            true => Duration::ZERO,
            false => self.config.idle_timeout,
        };
        self.known
            .borrow_mut()
            .retain(|_, known| known.destination.strong_count() > 0);
        self.endpoints.borrow_mut().retain(|_, pooled| {
            pooled.retain(|pooled| match pooled.endpoint.upgrade() {
                Some(endpoint) => {
                    endpoint.sweep(idle_timeout);
                    true
                }
                None => false,
            });
            !pooled.is_empty()
        });
    }
}

#[cfg(test)]
impl Shared {
    fn idle_connections(&self) -> usize {
        let endpoints = self.endpoints.borrow();
        let pooled = endpoints.values().flatten();
        pooled
            .filter_map(|pooled| pooled.endpoint.upgrade())
            .map(|endpoint| endpoint.idle_connections())
            .sum()
    }
}

#[cfg(test)]
mod tests;
