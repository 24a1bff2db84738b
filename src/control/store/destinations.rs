//! Destinations in the store: settings in clear, secrets sealed.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Commit, Sealer, Store,
    commit::Table,
    database::{On, Query, Row, query},
    get_u64, signed,
};
use crate::{
    control::{
        Error,
        record::DestinationRow,
        view::{self, compression_name},
    },
    model::{
        Ack, Change, Compression, Credentials, Destination, DestinationId, DestinationKind, Secret,
        UpstreamTls,
    },
};

/// Which destinations to list.
#[derive(Default)]
pub(crate) struct DestinationFilter {
    pub(crate) name: Option<String>,
    pub(crate) kind: Option<DestinationKind>,
}

/// Everything but names, kinds, secrets and what has a column of its own.
#[derive(Serialize, Deserialize)]
struct Settings {
    endpoints: Vec<String>,
    headers: Vec<(String, String)>,
    user: Option<String>,
    ca_pem: Option<String>,
    client_certificate_pem: Option<String>,
    server_name: Option<String>,
    connect_timeout_ms: u64,
    request_timeout_ms: u64,
    compression: String,
    allow_link_local: bool,
}

/// What is sealed.
#[derive(Default, Serialize, Deserialize)]
struct Secrets {
    bearer: Option<String>,
    password: Option<String>,
    client_key_pem: Option<String>,
    #[serde(default)]
    headers: Vec<(String, String)>,
}

const SELECT: &str = "SELECT id, name, kind, settings, sealed, ack, created_at, revision FROM destinations WHERE id > ";

/// Those after `after`, by id.
fn select(after: u64, limit: u32, filter: &DestinationFilter) -> Query {
    let mut select = query(SELECT).and("$", [signed(after).into()]);
    if let Some(name) = &filter.name {
        select = select.and(" AND name = $", [name.into()]);
    }
    if let Some(kind) = filter.kind {
        select = select.and(" AND kind = $", [kind.name().into()]);
    }
    select.and(" ORDER BY id LIMIT $", [limit.into()])
}

// === impl Store ===

impl Store {
    /// Those after `after`, by id, `limit` at most.
    pub(crate) async fn destinations(
        &self,
        after: u64,
        limit: u32,
    ) -> Result<Vec<DestinationRow>, Error> {
        select(after, limit, &DestinationFilter::default())
            .read_all(&self.reader, |row| read(row, &self.sealer))
            .await
    }

    /// Of them, those that the filter leaves: a list's.
    pub(crate) async fn destinations_of(
        &self,
        filter: &DestinationFilter,
        after: u64,
        limit: u32,
    ) -> Result<Vec<DestinationRow>, Error> {
        select(after, limit, filter)
            .read_all(&self.lister, |row| read(row, &self.sealer))
            .await
    }

    /// That one.
    pub(crate) async fn destination(&self, id: u64) -> Result<DestinationRow, Error> {
        one(&self.reader, &self.sealer, id).await
    }
}

async fn one(on: impl Into<On<'_>>, sealer: &Sealer, id: u64) -> Result<DestinationRow, Error> {
    let row = select(id.saturating_sub(1), 1, &DestinationFilter::default())
        .read_optional(on, |row| read(row, sealer))
        .await?;
    row.filter(|row| row.destination.id.0 == id)
        .ok_or_else(|| Error::NotFound(format!("there is no destination {id}")))
}

// === impl Commit ===

impl Commit {
    /// That one, as of this transaction.
    pub(crate) async fn destination(&mut self, id: u64) -> Result<DestinationRow, Error> {
        let sealer = self.sealer.clone();
        one(self.connection()?, &sealer, id).await
    }

    /// The id behind a name.
    pub(crate) async fn destination_named(&mut self, name: &str) -> Result<Option<u64>, Error> {
        let id: Option<i64> = query("SELECT id FROM destinations WHERE name = $1")
            .bind(name)
            .fetch_value(self.connection()?)
            .await?;
        id.map(super::positive).transpose()
    }

    /// Adds one; its id is given here.
    pub(crate) async fn insert_destination(
        &mut self,
        mut destination: Destination,
    ) -> Result<DestinationRow, Error> {
        self.destination_name_is_free(&destination).await?;
        destination.id = DestinationId(self.next_id("destination").await?);
        let row = DestinationRow {
            destination,
            created_at: self.now,
            revision: 0,
        };
        let (settings, sealed) = split(&row.destination, &self.sealer)?;
        query(
            "INSERT INTO destinations (id, name, kind, settings, sealed, ack, created_at, revision) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, 0)",
        )
        .bind(signed(row.destination.id.0))
        .bind(&row.destination.name)
        .bind(row.destination.kind.name())
        .bind(settings)
        .bind(sealed)
        .bind(&ack_text(&row.destination))
        .bind(signed(row.created_at))
        .execute(self.connection()?)
        .await?;
        self.tell_destination("destination.create", None, &row);
        Ok(row)
    }

    /// Replaces what `old` was.
    pub(crate) async fn update_destination(
        &mut self,
        old: &DestinationRow,
        destination: Destination,
    ) -> Result<DestinationRow, Error> {
        self.destination_name_is_free(&destination).await?;
        let row = DestinationRow {
            destination,
            ..old.clone()
        };
        let (settings, sealed) = split(&row.destination, &self.sealer)?;
        query(
            "UPDATE destinations SET name = $1, kind = $2, settings = $3, sealed = $4, ack = $5, \
             version = version + 1 WHERE id = $6",
        )
        .bind(&row.destination.name)
        .bind(row.destination.kind.name())
        .bind(settings)
        .bind(sealed)
        .bind(&ack_text(&row.destination))
        .bind(signed(row.destination.id.0))
        .execute(self.connection()?)
        .await?;
        self.tell_destination("destination.change", Some(old), &row);
        Ok(row)
    }

    /// Removes it, unless an account uses it.
    pub(crate) async fn delete_destination(&mut self, id: u64) -> Result<(), Error> {
        let row = self.destination(id).await?;
        let user: Option<String> = query(
            "SELECT name FROM accounts WHERE deleted_at IS NULL \
             AND (logs_destination = $1 OR metrics_destination = $1 OR traces_destination = $1) LIMIT 1",
        )
        .bind(signed(id))
        .fetch_value(self.connection()?)
        .await?;
        if let Some(user) = user {
            return Err(Error::Conflict(format!(
                "destination {:?} is used by account {user:?}; give that account another one first",
                row.destination.name
            )));
        }
        query("DELETE FROM destinations WHERE id = $1")
            .bind(signed(id))
            .execute(self.connection()?)
            .await?;
        self.change(Change::DestinationRemoved(DestinationId(id)));
        let old = json!(view::Destination::from(&row));
        self.note(
            "destination.delete",
            format!("destination/{id}"),
            Some(old),
            None,
        );
        Ok(())
    }

    fn tell_destination(
        &mut self,
        action: &'static str,
        old: Option<&DestinationRow>,
        new: &DestinationRow,
    ) {
        let id = new.destination.id.0;
        self.change(Change::Destination(new.destination.clone()));
        self.stamp(Table::Destinations, id);
        let old = old.map(|old| json!(view::Destination::from(old)));
        let new = json!(view::Destination::from(new));
        self.note(action, format!("destination/{id}"), old, Some(new));
    }

    async fn destination_name_is_free(&mut self, destination: &Destination) -> Result<(), Error> {
        match self.destination_named(&destination.name).await? {
            Some(id) if id != destination.id.0 => Err(Error::Conflict(format!(
                "there is a destination named {:?} already (id {id})",
                destination.name
            ))),
            _ => Ok(()),
        }
    }
}

fn place(id: u64) -> String {
    format!("destination/{id}")
}

fn ack_text(destination: &Destination) -> Option<String> {
    destination.ack.map(|ack| ack.name().to_owned())
}

fn split(destination: &Destination, sealer: &Sealer) -> Result<(String, Vec<u8>), Error> {
    let millis = |wait: Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    let text = |secret: &Secret| Some(secret.reveal().to_owned());
    let mut secrets = Secrets::default();
    let mut basic_user = None;
    match &destination.credentials {
        Credentials::None => {}
        Credentials::Bearer(token) => secrets.bearer = text(token),
        Credentials::Basic { user, password } => {
            basic_user = Some(user.clone());
            secrets.password = text(password);
        }
    }
    let tls = &destination.tls;
    secrets.client_key_pem = tls.client_pem.as_ref().and_then(|(_, key)| text(key));
    secrets.headers = destination
        .secret_headers
        .iter()
        .map(|(name, value)| (name.clone(), value.reveal().to_owned()))
        .collect();
    let settings = Settings {
        endpoints: destination.endpoints.clone(),
        headers: destination.headers.clone(),
        user: basic_user,
        ca_pem: tls.ca_pem.clone(),
        client_certificate_pem: tls
            .client_pem
            .as_ref()
            .map(|(certificate, _)| certificate.clone()),
        server_name: tls.server_name.clone(),
        connect_timeout_ms: millis(destination.connect_timeout),
        request_timeout_ms: millis(destination.request_timeout),
        compression: compression_name(destination.compression).to_owned(),
        allow_link_local: destination.allow_link_local,
    };
    let unfit = |error| Error::Invalid(format!("the destination can't be written: {error}"));
    let plain = zeroize::Zeroizing::new(serde_json::to_vec(&secrets).map_err(unfit)?);
    let sealed = sealer.seal(&place(destination.id.0), &plain);
    Ok((serde_json::to_string(&settings).map_err(unfit)?, sealed))
}

fn read(row: &Row, sealer: &Sealer) -> Result<DestinationRow, Error> {
    let id = get_u64(row, "id")?;
    let damaged = |what| Error::damaged(format!("{what} of destination {id}"));
    let kind = DestinationKind::parse(row.get("kind")?).ok_or_else(|| damaged("kind"))?;
    let settings: Settings =
        serde_json::from_str(row.get("settings")?).map_err(|_| damaged("settings"))?;
    let secrets: Secrets = sealer
        .open(&place(id), row.get("sealed")?)
        .and_then(|plain| serde_json::from_slice(&plain).ok())
        .ok_or_else(|| damaged("secrets"))?;
    let ack: Option<&str> = row.get("ack")?;
    let mut destination = Destination::new(DestinationId(id), row.get("name")?, kind);
    destination.ack = ack
        .map(|name| Ack::parse(name).ok_or_else(|| damaged("ack")))
        .transpose()?;
    destination.endpoints = settings.endpoints;
    destination.headers = settings.headers;
    destination.secret_headers = secrets
        .headers
        .into_iter()
        .map(|(name, value)| (name, Secret::new(value)))
        .collect();
    destination.credentials = match (secrets.bearer, settings.user) {
        (Some(token), _) => Credentials::Bearer(Secret::new(token)),
        (None, Some(user)) => Credentials::Basic {
            user,
            password: Secret::new(secrets.password.unwrap_or_default()),
        },
        (None, None) => Credentials::None,
    };
    destination.tls = UpstreamTls {
        ca_pem: settings.ca_pem,
        client_pem: settings
            .client_certificate_pem
            .zip(secrets.client_key_pem.map(Secret::new)),
        server_name: settings.server_name,
    };
    destination.connect_timeout = Duration::from_millis(settings.connect_timeout_ms);
    destination.request_timeout = Duration::from_millis(settings.request_timeout_ms);
    destination.compression = if settings.compression == compression_name(Compression::Identity) {
        Compression::Identity
    } else {
        Compression::AsReceived
    };
    destination.allow_link_local = settings.allow_link_local;
    Ok(DestinationRow {
        destination,
        created_at: get_u64(row, "created_at")?,
        revision: get_u64(row, "revision")?,
    })
}
