//! Gateways in the store: who has ever followed, so that a restart of the control plane forgets nobody.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Commit, Store,
    database::{Pool, Query, Row, query},
    get_u64, signed,
};
use crate::control::{
    Error,
    publish::Publisher,
    record::{GatewayRow, Millis},
    sayable::none_named,
};

/// Between two looks at what other control planes claim; as often as they renew it.
const WATCH_EVERY: Duration = Duration::from_secs(15);

/// What came of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    Made,
    /// In the place of a gateway with another data folder, for which no stream speaks.
    Replaced,
    /// A gateway with another data folder is connected under that name, here or elsewhere: nothing is written.
    Taken,
}

// === impl Store ===

impl Store {
    /// Every gateway that was not retired.
    pub(crate) async fn gateways(&self) -> Result<Vec<GatewayRow>, Error> {
        all(&self.reader, &self.publisher).await
    }

    /// Writes down that a stream speaks for a gateway from now on, and no other one. It takes no name from another gateway
    /// for which a stream speaks: both would count as one.
    pub(crate) async fn claim_gateway(&self, row: &GatewayRow) -> Result<Claim, Error> {
        let mut commit = self.begin("feed").await?;
        // With the writer held: of two that come to two control planes at once, the later one finds the other.
        let before = commit.gateway(&row.name).await?;
        let other = before.filter(|before| before.instance != row.instance);
        if let Some(other) = &other
            && self.publisher.gateways.is_held(other)
        {
            return Ok(Claim::Taken);
        }
        put(row, row.holder).execute(commit.connection()?).await?;
        commit.finish_unpublished().await?;
        Ok(match other {
            Some(_) => Claim::Replaced,
            None => Claim::Made,
        })
    }

    /// Writes one down as it is now, with what it has said of tokens' ends, unless another stream has come to speak for it.
    /// With `is_over` nobody does from then on.
    pub(crate) async fn remember_gateway(
        &self,
        row: &GatewayRow,
        accepted: &[(u64, Millis)],
        is_over: bool,
    ) -> Result<(), Error> {
        let mut commit = self.begin("feed").await?;
        put(row, if is_over { 0 } else { row.holder })
            .and(" WHERE gateways.holder = $", [signed(row.holder).into()])
            .execute(commit.connection()?)
            .await?;
        for (token, at) in accepted {
            commit.add_accepted(*token, *at).await?;
        }
        commit.finish_unpublished().await
    }
}

async fn all(reader: &Pool, publisher: &Publisher) -> Result<Vec<GatewayRow>, Error> {
    let rows = query("SELECT name, instance, version, revision, last_seen_at, holder FROM gateways ORDER BY name")
        .read_all(reader, read)
        .await?;
    publisher.gateways.see(&rows);
    Ok(rows)
}

/// Watches what other control planes claim, for as long as the handle is held.
pub(super) fn watch(reader: Pool, publisher: Arc<Publisher>) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut every = interval(WATCH_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            if let Err(error) = all(&reader, &publisher).await {
                tracing::debug!(%error, "what other control planes claim cannot be read");
            }
        }
    }))
}

fn put(row: &GatewayRow, holder: u64) -> Query {
    query(
        "INSERT INTO gateways (name, instance, version, revision, last_seen_at, holder) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (name) DO UPDATE SET instance = $2, version = $3, revision = $4, last_seen_at = $5, holder = $6",
    )
    .bind(&row.name)
    .bind(&row.instance)
    .bind(&row.version)
    .bind(signed(row.revision))
    .bind(signed(row.last_seen_at))
    .bind(signed(holder))
}

// === impl Commit ===

impl Commit {
    /// One of them.
    pub(crate) async fn gateway(&mut self, name: &str) -> Result<Option<GatewayRow>, Error> {
        query("SELECT name, instance, version, revision, last_seen_at, holder FROM gateways WHERE name = $1")
            .bind(name)
            .read_optional(self.connection()?, read)
            .await
    }

    /// Takes one out; audited.
    pub(crate) async fn forget_gateway(&mut self, name: &str) -> Result<(), Error> {
        let count = query("DELETE FROM gateways WHERE name = $1")
            .bind(name)
            .execute(self.connection()?)
            .await?;
        if count == 0 {
            return Err(none_named("gateway", name));
        }
        self.note("gateway.retire", format!("gateway/{name}"), None, None);
        Ok(())
    }
}

fn read(row: &Row) -> Result<GatewayRow, Error> {
    Ok(GatewayRow {
        name: row.get("name")?,
        instance: row.get("instance")?,
        version: row.get("version")?,
        revision: get_u64(row, "revision")?,
        last_seen_at: get_u64(row, "last_seen_at")?,
        holder: get_u64(row, "holder")?,
    })
}
