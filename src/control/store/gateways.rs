//! Gateways in the store: who has ever followed, so that a restart of the control plane forgets nobody.

use super::{
    Commit, Store,
    database::{Row, query},
    get_u64, signed,
};
use crate::control::{Error, record::GatewayRow};

// === impl Store ===

impl Store {
    /// Every gateway that was not retired.
    pub(crate) async fn gateways(&self) -> Result<Vec<GatewayRow>, Error> {
        query("SELECT name, instance, version, revision, last_seen_at FROM gateways ORDER BY name")
            .fetch_all(&self.reader)
            .await?
            .iter()
            .map(read)
            .collect()
    }

    /// Writes one down as it is now.
    pub(crate) async fn remember_gateway(&self, row: &GatewayRow) -> Result<(), Error> {
        let mut commit = self.begin("feed").await?;
        query(
            "INSERT INTO gateways (name, instance, version, revision, last_seen_at) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (name) DO UPDATE SET instance = $2, version = $3, revision = $4, last_seen_at = $5",
        )
        .bind(&row.name)
        .bind(&row.instance)
        .bind(&row.version)
        .bind(signed(row.revision))
        .bind(signed(row.last_seen_at))
        .execute(commit.connection()?)
        .await?;
        commit.finish_unpublished().await
    }
}

// === impl Commit ===

impl Commit {
    /// Takes one out; audited.
    pub(crate) async fn forget_gateway(&mut self, name: &str) -> Result<(), Error> {
        let count = query("DELETE FROM gateways WHERE name = $1")
            .bind(name)
            .execute(self.connection()?)
            .await?;
        if count == 0 {
            return Err(Error::NotFound(format!(
                "there is no gateway named {name:?}"
            )));
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
    })
}
