//! Floor 3: the life of a request, on one page.
//!
//! `listen -> authenticate -> admit -> receive -> deliver -> acknowledge`. Each stage hands the next its proof: no [`Batch`]
//! without a [`Permit`], no [`Permit`] without a [`Caller`]. The first three look at the head alone, so that a refusal costs
//! headers only; what must happen at the end (memory given back, books settled, receipt filed) lives in `Drop`.
//!
//! [`Batch`]: receive::Batch
//! [`Caller`]: authenticate::Caller

pub mod listen;
pub mod doors;
pub mod authenticate;
pub mod admit;
pub mod receive;
pub mod deliver;
pub mod acknowledge;
pub mod refusals;

mod finish;
mod linger;
mod receipt;
mod whoami;
pub mod worker;

use std::{rc::Rc, sync::Arc};

use http::{Request, Response};
use hyper::body::Incoming;

use crate::{
    directory::{Directory, usage::Meter},
    model::{Delivery, Rejection},
    operate::metrics::RequestMetrics,
};
use acknowledge::{Reply, acknowledge};
use admit::{Memory, Permit, admit};
use authenticate::authenticate;
use deliver::{Destinations, deliver};
use doors::Entrance;
use finish::finish;
use linger::linger;
use listen::{Connection, framing};
use receipt::{Receipt, RequestIds};
use receive::receive;
use refusals::Refusals;

/// One worker's gateway: everything that a request meets. What is in an `Arc` is shared with the other workers.
pub struct Gateway {
    directory: Arc<Directory>,
    memory: Arc<Memory>,
    destinations: Rc<Destinations>,
    metrics: RequestMetrics,
    meter: Meter,
    refusals: Arc<Refusals>,
    ids: RequestIds,
    listen: Arc<listen::Config>,
    receive: receive::Config,
}

// === impl Gateway ===

impl Gateway {
    /// A request's whole life. Its receipt is filed exactly once, also when the client hangs up.
    pub async fn serve(
        &self,
        request: Request<Incoming>,
        connection: &Connection,
    ) -> Response<Reply> {
        let receipt = Receipt::open(&self.ids, &self.metrics, &self.meter);
        if whoami::is_asked(&request) {
            return self.whoami(request, connection, receipt);
        }
        let entered = self.enter(&request, connection, &receipt);
        let mut body = request.into_body();
        let outcome = match entered {
            Ok((permit, entrance)) => self.take(permit, entrance, &mut body).await,
            Err(rejection) => Err(rejection),
        };
        if let Err(rejection) = &outcome {
            self.refusals.remember(&receipt, rejection);
            if connection.is_h2 {
                linger(body, &self.listen);
            }
        }
        acknowledge(receipt, outcome)
    }

    /// What the head alone decides: no I/O, no wait, no byte of the body.
    fn enter(
        &self,
        request: &Request<Incoming>,
        connection: &Connection,
        receipt: &Receipt,
    ) -> Result<(Permit, Entrance), Rejection> {
        let entrance = doors::find(request, connection.bare_slash);
        receipt.entered(entrance.as_ref().ok().copied(), request);
        // Bytes may hide behind a request that peers frame two ways: its connection ends with it.
        framing::check(request, &self.listen).inspect_err(|_| connection.leave())?;
        let entrance = entrance?;
        doors::check(request, entrance)?;
        let peer = connection.peer.ip();
        let caller = authenticate(&self.directory, request, entrance, peer);
        let caller = receipt.presented(caller, request, peer)?;
        let permit = admit(&self.memory, &self.meter, caller, entrance, request)?;
        Ok((permit, entrance))
    }

    /// The body: once it is whole it ends as it must, whether or not the client is still there.
    async fn take(
        &self,
        permit: Permit,
        entrance: Entrance,
        body: &mut Incoming,
    ) -> Result<Delivery, Rejection> {
        let whole = receive(permit, entrance, body, &self.receive).await?;
        let destinations = Rc::clone(&self.destinations);
        finish(async move { deliver(&destinations, whole.sift().await?).await }).await
    }
}
