//! Floor 3: the control plane; blind to the gateway.
//!
//! `store` keeps accounts, destinations and tokens; `publish` knows the newest changes and who enforces them;
//! `feed` streams them to gateways, whose `usage` comes back the same way; `admin` is how people change them; `upkeep` is
//! done to a store beside serving it.

mod error;
mod plan;
mod scope;
mod sight;
mod record;
mod terms;
mod view;
mod secret_file;
mod sayable;
mod lock;
mod password;
mod people;
mod publish;
mod usage;
mod store;
mod feed;
mod admin;
pub mod upkeep;
#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

pub use error::Error;
pub use feed::Feed;
pub use publish::Gateway;

use crate::{
    clock,
    model::{
        Account, Destination, DestinationId, DestinationKind, Digest, Network, Secret, Signal, text,
    },
};
use admin::{Refusals, Throttle};
use lock::Lock;
use password::Passwords;
use plan::Plan;
use record::{Settings, TokenRow};
use scope::Scopes;
use store::{NewAccount, NewApiToken, NewToken, Store};

const DAY_SECONDS: u64 = 86_400;

/// How long closing waits for records of what was refused.
const REFUSALS_TIMEOUT: Duration = Duration::from_secs(5);

/// How short a join key may be.
const JOIN_KEY_BYTES_MIN: usize = 16;

/// Every route of the admin API's page, such as `POST /tokens`: for whoever says that they cover it.
#[cfg(test)]
pub(crate) fn routes() -> Vec<String> {
    let rules = admin::table().into_iter().map(|route| route.rule);
    let line = |rule: admin::Rule| format!("{} {}", rule.method.to_uppercase(), rule.path);
    rules.map(line).collect()
}

/// The control plane's part of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the store is: `""` for SQLite's file in the data folder, `sqlite:///path`, or
    /// `postgres://user@host:port/database`.
    pub store: String,
    /// Holds the password to PostgreSQL; nobody else may read it.
    #[serde(deserialize_with = "text::optional_path")]
    pub store_password_file: Option<PathBuf>,
    /// Between two heartbeats on a quiet feed. 500 ms.
    #[serde(deserialize_with = "text::positive_duration")]
    pub heartbeat: Duration,
    /// How many deltas the store keeps; a gateway further behind gets a snapshot. 100,000.
    pub keep_changes: u64,
    /// How long usage is kept by the minute. 48 h.
    #[serde(deserialize_with = "text::positive_duration")]
    pub keep_usage_minutes: Duration,
    /// How long usage is kept by the hour. 60 days.
    #[serde(deserialize_with = "text::positive_duration")]
    pub keep_usage_hours: Duration,
    /// How long usage is kept by the day. Three years.
    #[serde(deserialize_with = "text::positive_duration")]
    pub keep_usage_days: Duration,
    /// Networks of proxies of ours before the admin API: whom they name in `X-Forwarded-For` counts as where a request comes
    /// from. None.
    #[serde(deserialize_with = "text::networks")]
    pub trusted_proxies: Vec<Network>,
    /// Holds the key that gateways present; `<data>/join-key`, made at the first start, when unset.
    #[serde(deserialize_with = "text::optional_path")]
    pub join_key_file: Option<PathBuf>,
    /// How long `?wait=enforced` waits when the caller doesn't say; 60 s at most. 10 s.
    #[serde(deserialize_with = "text::positive_duration")]
    pub enforced_wait: Duration,
    /// PEM chain of the feed over TCP; without one, the feed has no TLS.
    #[serde(deserialize_with = "text::optional_path")]
    pub feed_certificate: Option<PathBuf>,
    /// Its key.
    #[serde(deserialize_with = "text::optional_path")]
    pub feed_key: Option<PathBuf>,
    /// When set, gateways must present a certificate of this authority, which then stands for the join key.
    #[serde(deserialize_with = "text::optional_path")]
    pub feed_client_ca: Option<PathBuf>,
}

/// Certificates of the feed's server; PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedTls {
    /// The server's chain.
    pub certificate_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
    /// When set, gateways must present a certificate of this authority, which then stands for the join key.
    pub client_ca_file: Option<PathBuf>,
}

/// The control plane. Cheap to clone.
#[derive(Clone)]
pub struct Control {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    data: PathBuf,
    store: Store,
    join_key: Secret,
    /// Callers whose time of use is being written down.
    touching: Mutex<HashSet<String>>,
    /// Keys of imports under way: as many as there are of those.
    importing: Mutex<HashSet<Digest>>,
    refusals: Refusals,
    throttle: Throttle,
    passwords: Passwords,
    usage: usage::Desk,
    stop: CancellationToken,
    lock: Lock,
}

/// What there is after a first start; also after every later one.
#[derive(Clone, Debug)]
pub struct FirstStart {
    /// The first account as it is now; `None` once it is deleted.
    pub account: Option<Account>,
    /// Which of its signals go to an archive.
    pub archived: Vec<Signal>,
    /// Files with its first tokens, or with what rotations made of them; those that open nothing now are left out.
    pub tokens: Vec<(Signal, PathBuf)>,
    /// File with the admin API token.
    pub admin_token: PathBuf,
    /// File with the first operator's password, while it is there.
    pub operator_password: Option<PathBuf>,
    /// File with the key that gateways present.
    pub join_key: PathBuf,
    /// Whether this start made them.
    pub is_new: bool,
}

/// The feed's state in figures.
#[derive(Clone, Debug)]
pub struct FeedState {
    /// The newest revision.
    pub head: u64,
    /// Who is connected, by name.
    pub gateways: Vec<Gateway>,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            store: String::new(),
            store_password_file: None,
            heartbeat: Duration::from_millis(500),
            keep_changes: 100_000,
            keep_usage_minutes: Duration::from_secs(48 * 3600),
            keep_usage_hours: Duration::from_secs(60 * DAY_SECONDS),
            keep_usage_days: Duration::from_secs(3 * 366 * DAY_SECONDS),
            trusted_proxies: Vec::new(),
            join_key_file: None,
            enforced_wait: Duration::from_secs(10),
            feed_certificate: None,
            feed_key: None,
            feed_client_ca: None,
        }
    }
}

impl Config {
    /// What is wrong with `store`, in words that never repeat it.
    ///
    /// # Errors
    /// It is no URL of a store, or there is a password in it.
    pub fn check_store(&self) -> Result<(), String> {
        store::check(&self.store)
    }

    /// The host to which the password and every row would travel for others to read.
    pub fn exposed_store(&self) -> Option<String> {
        store::exposed(&self.store)
    }

    fn place(&self, data: &Path) -> Result<store::Place, Error> {
        store::Place::new(&self.store, self.store_password_file.as_deref(), data)
    }

    /// Of the feed over TCP; `None` unless both certificate and key are named.
    pub fn feed_tls(&self) -> Option<FeedTls> {
        Some(FeedTls {
            certificate_file: self.feed_certificate.clone()?,
            key_file: self.feed_key.clone()?,
            client_ca_file: self.feed_client_ca.clone(),
        })
    }
}

// === impl Control ===

impl Control {
    /// Opens the store, made when there is none, and locks it and the data folder until [`Control::close`].
    ///
    /// # Errors
    /// The folder or the store is locked or unusable, the store can't be reached, a key is missing or wrong, the store is damaged.
    pub async fn open(config: &Config, data: &Path) -> Result<Self, Error> {
        secret_file::make_folder(data)?;
        let place = config.place(data)?;
        let lock = Lock::take(data, &[&place])?;
        let store = Store::open(data, place, config.keep_changes).await?;
        let join_key = join_key(config, data)?;
        store.publisher().gateways.remember(store.gateways().await?);
        Ok(Self {
            inner: Arc::new(Inner {
                config: config.clone(),
                data: data.to_owned(),
                store,
                join_key,
                touching: Mutex::default(),
                importing: Mutex::default(),
                refusals: Refusals::new(),
                throttle: Throttle::new(),
                passwords: Passwords::new(),
                usage: usage::Desk::default(),
                stop: CancellationToken::new(),
                lock,
            }),
        })
    }

    /// Makes destination `archive`, account `main` with a token per signal, the admin API token and the first operator,
    /// once; and on every call the files that hold their secrets, where they are missing.
    ///
    /// # Errors
    /// The store or a file can't be written.
    pub async fn first_start(&self) -> Result<FirstStart, Error> {
        let inner = &*self.inner;
        let is_new = match inner.store.first_things().await? {
            Some(_) => false,
            None => self.make_first_things().await?,
        };
        let Some(first) = inner.store.first_things().await? else {
            return Err(Error::damaged("what the first start made"));
        };
        let folder = inner.data.join("tokens");
        secret_file::make_folder(&folder)?;
        let mut tokens = Vec::new();
        for (signal, id) in first.tokens {
            let Some(row) = self.newest_token(id).await? else {
                continue;
            };
            if let Some(token) = inner.store.open_token(row.token.id.0).await? {
                let path = folder.join(format!("{}-{signal}", first.account));
                secret_file::keep(&path, &token)?;
                if row.state(clock::wall_seconds()) == "live" {
                    tokens.push((signal, path));
                }
            }
        }
        let admin_token = inner.data.join("admin-token");
        if let Some(token) = inner.store.open_api_token(first.api_token).await? {
            secret_file::keep(&admin_token, &token)?;
        }
        let account = found(inner.store.account(first.account_id).await)?;
        let account = account.map(|row| row.account);
        Ok(FirstStart {
            operator_password: self.first_operator().await?,
            archived: self.archived(account.as_ref()).await?,
            account,
            tokens,
            admin_token,
            join_key: join_key_path(&inner.config, &inner.data),
            is_new,
        })
    }

    /// The token, or what the last of its rotations made of it.
    async fn newest_token(&self, id: u64) -> Result<Option<TokenRow>, Error> {
        let store = &self.inner.store;
        let mut newest = found(store.token(id).await)?;
        while let Some(next) = newest.as_ref().and_then(|row| row.replaced_by) {
            newest = found(store.token(next).await)?;
        }
        Ok(newest)
    }

    async fn archived(&self, account: Option<&Account>) -> Result<Vec<Signal>, Error> {
        let mut archived = Vec::new();
        for signal in Signal::ALL {
            let to = account.and_then(|account| account.destination(signal));
            if let Some(DestinationId(to)) = to
                && let Some(row) = found(self.inner.store.destination(to).await)?
                && row.destination.kind == DestinationKind::Archive
            {
                archived.push(signal);
            }
        }
        Ok(archived)
    }

    /// No, if another control plane came first.
    async fn make_first_things(&self) -> Result<bool, Error> {
        let store = &self.inner.store;
        let mut commit = store.begin("first start").await?;
        if commit.has_first_things().await? {
            return Ok(false);
        }
        let archive = Destination::new(DestinationId(0), "archive", DestinationKind::Archive);
        let archive = commit.insert_destination(archive).await?.destination.id;
        let account = NewAccount {
            name: "main".to_owned(),
            parent: None,
            plan: Plan::Unlimited,
            accessible: true,
            set: Settings {
                destinations: [Some(Some(archive)); 3],
                ..Settings::default()
            },
        };
        let account = commit.insert_account(account).await?.account;
        let mut tokens = Vec::new();
        for signal in Signal::ALL {
            let new = NewToken {
                account: account.id.0,
                signal,
                name: "first".to_owned(),
                expires_at: 0,
            };
            let (row, _) = commit.insert_token(new).await?;
            tokens.push((signal, row.token.id.0));
        }
        let api_token = NewApiToken {
            account: None,
            name: "first".to_owned(),
            scopes: Scopes::ALL,
            expires_at: 0,
        };
        let (api_token, _) = commit.insert_api_token(api_token, true).await?;
        let first = store::FirstThings {
            account: account.name,
            account_id: account.id.0,
            tokens,
            api_token: api_token.id,
        };
        commit.keep_first_things(&first).await?;
        commit.finish().await?;
        Ok(true)
    }

    /// What gateways present on the feed.
    pub fn join_key(&self) -> Secret {
        self.inner.join_key.clone()
    }

    /// The admin API, under `/api/v1`. Every error it answers is `application/problem+json`.
    pub fn admin(&self) -> axum::Router {
        admin::router(self.clone())
    }

    /// Makes the feed's server ready. `tls` is for TCP; a pipe needs none.
    ///
    /// # Errors
    /// A certificate file can't be read or used.
    pub fn feed(&self, tls: Option<&FeedTls>) -> Result<Feed, Error> {
        feed::prepare(self.clone(), tls)
    }

    /// The head and who is connected.
    pub fn feed_state(&self) -> FeedState {
        let publisher = self.inner.store.publisher();
        FeedState {
            head: publisher.head(),
            gateways: publisher.gateways.list(),
        }
    }

    /// Recomputes the audit log's chain of hashes; how many records it has.
    ///
    /// # Errors
    /// A record is altered or missing, or the store can't be read.
    pub async fn verify_audit(&self) -> Result<u64, Error> {
        Ok(self.inner.store.verify_audit(None).await?.0)
    }

    /// Ends every stream of the feed, lets the commit under way end, closes the store and unlocks the folder.
    pub async fn close(self) {
        self.inner.stop.cancel();
        let written = self.inner.refusals.written();
        if tokio::time::timeout(REFUSALS_TIMEOUT, written)
            .await
            .is_err()
        {
            tracing::warn!(
                "refusals are not in the audit log: the store did not take them in time"
            );
        }
        if let Err(error) = self.inner.store.close().await {
            tracing::warn!(%error, "the store did not close cleanly");
        }
        self.inner.lock.release();
    }
}

/// `None` for what was deleted.
fn found<T>(row: Result<T, Error>) -> Result<Option<T>, Error> {
    match row {
        Ok(row) => Ok(Some(row)),
        Err(Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn join_key_path(config: &Config, data: &Path) -> PathBuf {
    config
        .join_key_file
        .clone()
        .unwrap_or_else(|| data.join("join-key"))
}

fn join_key(config: &Config, data: &Path) -> Result<Secret, Error> {
    let path = join_key_path(config, data);
    let key = match secret_file::read(&path)? {
        Some(key) => key,
        None if config.join_key_file.is_some() => {
            let missing = io::Error::from(io::ErrorKind::NotFound);
            return Err(secret_file::failed("read the join key", &path, missing));
        }
        None => {
            let key = Secret::new(URL_SAFE_NO_PAD.encode(store::random::<32>()));
            secret_file::write(&path, &key)?;
            key
        }
    };
    let text = key.reveal();
    if text.len() < JOIN_KEY_BYTES_MIN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::BadKey(format!(
            "the join key in {} must be at least {JOIN_KEY_BYTES_MIN} printable characters without blanks",
            path.display()
        )));
    }
    Ok(key)
}
