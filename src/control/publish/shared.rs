//! Who enforces a revision, where gateways may follow another control plane of the same store.
//!
//! The store says who there is and which stream speaks for whom. For a gateway whose stream is ours our own memory is fresher;
//! of any other one the row counts, which its control plane writes when the gateway has acknowledged.
//! A gateway that comes while we wait is in the store before it is told anything, and is then told all that was committed
//! until that moment: one that our look misses has this revision before it serves.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::{Enforcement, Published};
use crate::control::store::Store;

/// Between two looks at what other control planes have heard, while somebody waits.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Named when nobody can be: the store could not be read.
const NOBODY_KNOWN: &str = "(the store cannot be read)";

/// Waits until everybody there is has acknowledged, or until the time is up.
pub(in crate::control) async fn enforcement(
    store: &Store,
    published: Published,
    wait: Duration,
) -> Enforcement {
    let publisher = store.publisher();
    if !store.is_shared() {
        return publisher.enforcement(published, wait).await;
    }
    let until = Instant::now() + wait;
    let mut changed = publisher.gateways.subscribe();
    let mut newest = unread(&published);
    let mut enforced = 0;
    let mut slowest_ms = 0;
    loop {
        changed.mark_unchanged();
        // However long the database takes, the caller has said how long they wait. The first look has a moment at least.
        let patience = until.max(Instant::now() + LOOK_EVERY);
        match timeout_at(patience, look(store, published.revision)).await {
            Ok(Ok(read)) => newest = read,
            Ok(Err(error)) => tracing::warn!(%error, "who enforces a revision cannot be read"),
            Err(_) => {}
        }
        if newest.enforced > enforced {
            slowest_ms = published.at.elapsed().as_millis();
        }
        enforced = newest.enforced;
        if newest.laggards.is_empty() || Instant::now() >= until {
            newest.slowest_ms = slowest_ms.try_into().unwrap_or(u64::MAX);
            return newest;
        }
        let next = until.min(Instant::now() + LOOK_EVERY);
        tokio::select! {
            _ = changed.changed() => {}
            () = sleep_until(next) => {}
        }
    }
}

/// What can be said before the store was read: of nobody that they enforce it.
fn unread(published: &Published) -> Enforcement {
    let mut laggards = published.gateways.clone();
    if laggards.is_empty() {
        laggards.push(NOBODY_KNOWN.to_owned());
    }
    laggards.sort_unstable();
    Enforcement {
        revision: published.revision,
        enforced: 0,
        gateways: laggards.len(),
        slowest_ms: 0,
        laggards,
    }
}

async fn look(store: &Store, revision: u64) -> Result<Enforcement, crate::control::Error> {
    // Before the rows: a stream that ends in between has left its last word there.
    let mut held = store.publisher().gateways.held();
    let rows = store.gateways().await?;
    let mut enforced = 0;
    let mut laggards = Vec::new();
    let mut count = |name: String, reached: u64| {
        if reached >= revision {
            enforced += 1;
        } else {
            laggards.push(name);
        }
    };
    for row in rows {
        let reached = match held.remove(&row.name) {
            Some((holder, ours)) if holder == row.holder => ours.max(row.revision),
            _ => row.revision,
        };
        count(row.name, reached);
    }
    // Connected, and not or no longer in the store: it serves all the same.
    for (name, (_, reached)) in held {
        count(name, reached);
    }
    laggards.sort_unstable();
    Ok(Enforcement {
        revision,
        enforced,
        gateways: enforced + laggards.len(),
        slowest_ms: 0,
        laggards,
    })
}
