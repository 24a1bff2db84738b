//! Delivery over the network: one deliverer per worker thread, with its own connections.

use std::{
    cell::{Cell, RefCell, RefMut},
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
    lines::with_lines,
    pool::{Bounds, Endpoint},
    shipment::{self, Shipment, prepare},
    target::{self, Identity, Target},
};
pub use super::{config::Config, connect::load_system_roots, sockets::Sockets};
use crate::model::{
    AccountId, Delivery, Destination, DestinationKind, Payload, Rejection, TokenId, UpstreamTls,
};

/// Requests of one worker that ask a destination again, at a time.
const RETRYING_MAX: usize = 16;

/// Sends payloads to destinations of the kinds `http`, `otlp_http` and `otlp_grpc`.
///
/// Belongs to one thread: it must be used where [`spawn_local`] works, best on a [`tokio::runtime::LocalRuntime`]
/// (inside a `LocalSet` each answer costs one more look at epoll).
pub struct Upstreams {
    shared: Rc<Shared>,
}

/// How long a destination's answer is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Its endpoints share the time until then, and one that uses up its share is taken for down.
    pub end: Instant,
    /// It is given up before, where there is something better to do.
    pub cut: Option<Instant>,
}

/// A place among those who try again, until it is dropped.
pub struct Retry(Rc<Cell<usize>>);

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
    /// Endpoints are tried one after the other, the one with the fewest requests on their way first; each has its share of the time
    /// that is left. A payload may arrive twice (an endpoint that dies before its answer may have taken it), never half.
    ///
    /// What must be inflated or converted on the way is paid for through `claim`, in bytes, before it is allocated.
    ///
    /// # Errors
    /// The `Destination*` reasons; `Malformed` for OTLP in JSON that has no protobuf form; what `claim` says.
    pub async fn send(
        &self,
        destination: &Arc<Destination>,
        caller: (AccountId, TokenId),
        payload: &Payload,
        claim: &mut dyn FnMut(u64) -> Result<(), Rejection>,
    ) -> Result<Delivery, Rejection> {
        let patience = Patience::until(Instant::now() + destination.request_timeout);
        self.send_within(patience, destination, caller, payload, claim)
            .await
    }

    /// The same in less time.
    ///
    /// # Errors
    /// As [`Upstreams::send`].
    pub async fn send_within(
        &self,
        patience: Patience,
        destination: &Arc<Destination>,
        caller: (AccountId, TokenId),
        payload: &Payload,
        claim: &mut dyn FnMut(u64) -> Result<(), Rejection>,
    ) -> Result<Delivery, Rejection> {
        let (target, start) = self.shared.target(destination)?;
        let shipment = prepare(payload, destination, claim).await?;
        let answer = self
            .try_endpoints(destination, &target, (start, patience), caller, &shipment)
            .await;
        with_lines(answer, payload)
    }

    /// Whether it could ever be sent there, as far as that shows before it is tried.
    ///
    /// # Errors
    /// Why not.
    pub fn check(
        &self,
        destination: &Arc<Destination>,
        payload: &Payload,
    ) -> Result<(), Rejection> {
        self.shared.known(destination).target(destination)?;
        shipment::check(payload, destination)
    }

    /// A place among those who ask a destination again that has just failed, if there is one: so few, that they are no load to it.
    pub fn retry(&self, destination: &Arc<Destination>) -> Option<Retry> {
        let target = self.shared.known(destination).target(destination).ok()?;
        let places = Rc::clone(&target.retrying);
        let is_free = places.get() < RETRYING_MAX;
        is_free.then(|| {
            places.set(places.get() + 1);
            Retry(places)
        })
    }

    /// Whether every endpoint has failed lately, and rests: nothing should be sent there now that can wait.
    pub fn is_resting(&self, destination: &Arc<Destination>) -> bool {
        let now = Instant::now();
        let target = self.shared.known(destination).target(destination);
        target.is_ok_and(|target| {
            target
                .sites
                .iter()
                .all(|site| site.endpoint.is_resting(now))
        })
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
        (start, patience): (usize, Patience),
        caller: (AccountId, TokenId),
        shipment: &Shipment<'_>,
    ) -> Result<Delivery, Rejection> {
        let mut tried = 0u64;
        let mut last = unavailable("destination timed out");
        for left in (1..=target.sites.len()).rev() {
            let now = Instant::now();
            let time_left = patience.end.saturating_duration_since(now);
            let Some(index) = pick(target, start, tried, now).filter(|_| !time_left.is_zero())
            else {
                break;
            };
            tried |= 1 << index;
            let endpoint = &target.sites[index].endpoint;
            endpoint.probe(now);
            let _out = endpoint.begin();
            let by = now + time_left / u32::try_from(left).unwrap_or(1);
            let cut = patience.cut.filter(|cut| *cut < by);
            let attempt = self.attempt(destination, target, index, caller, shipment, by);
            match timeout_at(cut.unwrap_or(by), attempt).await {
                Ok(Attempt::Final(answer)) => {
                    match &answer {
                        Err(Rejection::DestinationUnavailable { .. }) => {
                            endpoint.refused(Instant::now());
                        }
                        _ => endpoint.succeeded(),
                    }
                    return answer;
                }
                Ok(Attempt::Elsewhere(rejection)) => last = after(&last, rejection),
                // It had less time than it is owed: slow, and not known to be down.
                Err(_) if cut.is_some() => return Err(unavailable("destination is slow")),
                Err(_) => last = after(&last, unavailable("destination timed out")),
            }
            endpoint.failed(now, Instant::now());
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

/// The next endpoint that was not tried: of those with the fewest requests on their way, each in its turn. Those at rest come last,
/// and come all the same if there is no other.
fn pick(target: &Target, start: usize, tried: u64, now: Instant) -> Option<usize> {
    let count = target.sites.len();
    let untried = || {
        (0..count)
            .map(|step| (start + step) % count)
            .filter(|index| tried & 1 << index == 0)
    };
    let endpoint = |index: &usize| &target.sites[*index].endpoint;
    untried()
        .filter(|index| !endpoint(index).is_resting(now))
        .min_by_key(|index| (endpoint(index).is_busy(now), endpoint(index).out()))
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

// === impl Patience ===

impl Patience {
    /// As long as there is time.
    pub const fn until(end: Instant) -> Self {
        Self { end, cut: None }
    }
}

// === impl Retry ===

impl Drop for Retry {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

// === impl Known ===

impl Known {
    fn target(&self, destination: &Destination) -> Result<Rc<Target>, Rejection> {
        let target = self.target.as_ref().map(Rc::clone);
        target.map_err(|what| misconfigured(destination, what))
    }
}

// === impl Shared ===

impl Shared {
    /// The destination compiled, and the endpoint to start at.
    fn target(
        self: &Rc<Self>,
        destination: &Arc<Destination>,
    ) -> Result<(Rc<Target>, usize), Rejection> {
        let mut known = self.known(destination);
        let target = known.target(destination)?;
        let start = known.next;
        known.next = (start + 1) % target.sites.len();
        Ok((target, start))
    }

    /// Compiled once for each version of it.
    fn known(self: &Rc<Self>, destination: &Arc<Destination>) -> RefMut<'_, Known> {
        RefMut::map(self.known.borrow_mut(), |known| {
            known.entry(Arc::as_ptr(destination)).or_insert_with(|| {
                self.start_sweeping();
                let target = target::compile(destination, |identity| self.endpoint(identity));
                Known {
                    destination: Arc::downgrade(destination),
                    target: target.map(Rc::new),
                    next: 0,
                }
            })
        })
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
