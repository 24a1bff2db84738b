//! `GET /whoami` with a shipping token: whose it is, what it may send now, and why its last requests were refused.
//!
//! It stands on every ingest port. Only the token's own account is in the answer; a token that opens nothing is refused as
//! it is at any door, in plain HTTP.

use std::time::{Duration, UNIX_EPOCH};

use http::{Method, Request, Response};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::{
    Gateway,
    acknowledge::{Reply, acknowledge, answer},
    admit::Headroom,
    authenticate::{Caller, identify},
    linger::linger,
    listen::{Connection, framing},
    receipt::Receipt,
    refusals::Refusal,
};
use crate::{
    clock,
    model::{Bucket, Measure, Moment, Rate, Rejection},
};

const ALLOW: &str = "GET, HEAD";

/// Whether the request asks who it is. A look at seven bytes: it stands before the doors.
#[inline]
pub(super) fn is_asked(head: &Request<impl Sized>) -> bool {
    head.uri().path() == "/whoami"
}

// === impl Gateway ===

impl Gateway {
    /// The whole life of that request.
    pub(super) fn whoami(
        &self,
        request: Request<Incoming>,
        connection: &Connection,
        receipt: Receipt,
    ) -> Response<Reply> {
        let caller = self.introduce(&request, connection, &receipt);
        match caller {
            Ok(caller) => answer(receipt, &self.describe(&caller)),
            Err(rejection) => {
                self.refusals.remember(&receipt, &rejection);
                if connection.is_h2 {
                    linger(request.into_body(), &self.listen);
                }
                acknowledge(receipt, Err(rejection))
            }
        }
    }

    /// The decisions of a door, in their order, up to the token. A use of the token like any other: whoever tries a found
    /// one here is among its senders.
    fn introduce(
        &self,
        request: &Request<Incoming>,
        connection: &Connection,
        receipt: &Receipt,
    ) -> Result<Caller, Rejection> {
        receipt.entered(None, request);
        framing::check(request, &self.listen).inspect_err(|_| connection.leave())?;
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(Rejection::MethodNotAllowed { allow: ALLOW });
        }
        let peer = connection.peer.ip();
        let caller = identify(&self.directory, request, peer);
        let caller = receipt.presented(caller, request, peer)?;
        self.memory.check_open()?;
        Ok(caller)
    }

    fn describe(&self, caller: &Caller) -> Value {
        let account = &caller.account.record;
        let limits = &account.limits;
        let now = Moment(clock::steady_ns());
        let Headroom {
            bytes_held,
            bytes_free,
            requests_held,
        } = self.memory.headroom(&caller.account);
        let requests_free =
            limited(limits.concurrency_max).map(|limit| limit.saturating_sub(requests_held));
        let refusals: Vec<_> = self.refusals.of(caller.token).iter().map(view).collect();
        json!({
            "account": {"id": account.id.0, "name": account.name},
            "signal": caller.signal.name(),
            "token": {"id": caller.token.0, "expires_at": expiry(caller.expires_at)},
            "limits": {
                "bulk_body_bytes_max": limits.bulk_body_bytes_max,
                "bulk_line_bytes_max": limits.bulk_line_bytes_max,
                "otlp_body_bytes_max": limits.otlp_body_bytes_max,
                "remote_write_body_bytes_max": limits.remote_write_body_bytes_max,
                "in_flight_bytes_max": limited(limits.in_flight_bytes_max),
                "concurrency_max": limited(limits.concurrency_max),
                "rates": each_payer(caller, |bucket| {
                    let Rate { per_second, burst } = bucket.rate();
                    json!({"per_second": per_second, "burst": burst})
                }),
            },
            "headroom": {
                "in_flight_bytes": {"held": bytes_held, "free": bytes_free},
                "concurrency": {"held": requests_held, "free": requests_free},
                // Below nothing in debt.
                "rates": each_payer(caller, |bucket| json!(bucket.level(now))),
            },
            "refusals": refusals,
        })
    }
}

/// Of whoever has rates, each rate that there is.
fn each_payer(caller: &Caller, view: impl Fn(&Bucket) -> Value) -> Value {
    let account = &caller.account;
    let payers = [
        ("token", caller.buckets.as_ref()),
        ("account", Some(&account.buckets)),
        ("main_account", account.main_buckets.as_ref()),
    ];
    let views = payers.map(|(name, buckets)| {
        let buckets = buckets.filter(|buckets| buckets.is_limited());
        let rates = buckets.map(|buckets| {
            let limited = Measure::ALL.map(|measure| (measure, buckets.of(measure)));
            let limited = limited
                .into_iter()
                .filter(|(_, bucket)| bucket.is_limited());
            let views = limited.map(|(measure, bucket)| (measure.to_string(), view(bucket)));
            views.collect::<serde_json::Map<_, _>>()
        });
        (name.to_owned(), json!(rates))
    });
    Value::Object(views.into_iter().collect())
}

/// No ceiling is null, not 0.
fn limited(limit: u64) -> Option<u64> {
    (limit != 0).then_some(limit)
}

fn expiry(expires_at: u32) -> Option<String> {
    let at = limited(u64::from(expires_at))?;
    Some(rfc3339(Duration::from_secs(at)))
}

fn view(refusal: &Refusal) -> Value {
    json!({
        "at": rfc3339(refusal.at),
        "reason": Rejection::LABELS[refusal.reason],
        "request_id": refusal.request.to_string(),
    })
}

fn rfc3339(since_1970: Duration) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + since_1970).to_string()
}
