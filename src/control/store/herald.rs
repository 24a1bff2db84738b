//! What was committed goes out in the order of its revisions and without a gap, whichever control plane committed it.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex as Lock, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use sqlx::{PgPool, postgres::PgListener};
use tokio::sync::{Mutex, Notify};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Sealer,
    changes::{Kept, kept_since},
    counter,
    database::Pool,
};
use crate::control::{
    Error,
    publish::{Published, Publisher},
};

/// The database is asked so often even when nobody is heard: a notification may be lost with its connection.
const POLL: Duration = Duration::from_millis(500);
/// A database that was not heard for so long may hold commits that this control plane knows nothing of.
const HEARD_WITHIN: Duration = Duration::from_secs(2);
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Brings commits from the database to the publisher.
pub(super) struct Herald {
    reader: Pool,
    sealer: Arc<Sealer>,
    publisher: Arc<Publisher>,
    /// Held by whoever moves the publisher's head.
    order: Mutex<()>,
    /// When the database was last found to have nothing newer; `None` where nobody else writes to it.
    heard: Option<Lock<Instant>>,
}

// === impl Herald ===

impl Herald {
    pub(super) fn new(
        reader: Pool,
        sealer: Arc<Sealer>,
        publisher: Arc<Publisher>,
        is_shared: bool,
    ) -> Self {
        Self {
            reader,
            sealer,
            publisher,
            order: Mutex::new(()),
            heard: is_shared.then(|| Lock::new(Instant::now())),
        }
    }

    /// Publishes a commit of ours, after what others committed before it. The caller holds the writer.
    pub(super) async fn announce(&self, revision: u64, delta: Bytes) -> Published {
        let _order = self.order.lock().await;
        if self.publisher.head() + 1 == revision {
            return self.publisher.publish(revision, delta);
        }
        // Nobody is told that it failed, because it is committed: it goes out as soon as the database can be read.
        if let Err(error) = self.bring_to(revision).await {
            tracing::warn!(%error, revision, "a commit is published later: what lies before it cannot be read");
        }
        self.publisher.published(revision)
    }

    /// Publishes what others have committed until this call.
    pub(super) async fn catch_up(&self) -> Result<(), Error> {
        let Some(heard) = &self.heard else {
            return Ok(());
        };
        // A network that swallows everything would keep the order from everybody.
        tokio::time::timeout(HEARD_WITHIN, self.look(heard))
            .await
            .map_err(|_| Error::Store(sqlx::Error::PoolTimedOut))?
    }

    async fn look(&self, heard: &Lock<Instant>) -> Result<(), Error> {
        let _order = self.order.lock().await;
        let asked = Instant::now();
        let newest = counter(&self.reader, "revision").await?;
        let head = self.publisher.head();
        if newest < head {
            return Err(Error::WentBack {
                ours: head,
                theirs: newest,
            });
        }
        self.bring_to(newest).await?;
        *heard.lock().unwrap_or_else(PoisonError::into_inner) = asked;
        Ok(())
    }

    /// Whether the publisher's head is as good as the database's. If not, nobody may be told that he is up to date.
    pub(super) fn is_current(&self) -> bool {
        self.heard.as_ref().is_none_or(|heard| {
            let heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            heard.elapsed() < HEARD_WITHIN
        })
    }

    async fn bring_to(&self, newest: u64) -> Result<(), Error> {
        loop {
            let head = self.publisher.head();
            if head >= newest {
                return Ok(());
            }
            match kept_since(&self.reader, &self.sealer, head, newest).await? {
                Kept::Deltas(deltas) => {
                    for (revision, delta) in (head + 1..).zip(deltas) {
                        self.publisher.publish(revision, delta);
                    }
                }
                Kept::Gone => self.publisher.skip_to(newest),
            }
        }
    }
}

/// Follows the other control planes on the database for as long as the handles are held.
pub(super) fn follow_others(
    herald: Arc<Herald>,
    pool: PgPool,
    channel: String,
) -> [AbortOnDropHandle<()>; 2] {
    let wake = Arc::new(Notify::new());
    let woken = wake.clone();
    let ears = tokio::spawn(async move {
        let mut backoff = BACKOFF_MIN;
        loop {
            let Err(error) = listen(&pool, &channel, &wake, &mut backoff).await;
            tracing::debug!(%error, "the store's notifications are not heard");
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    });
    let feet = tokio::spawn(async move {
        let mut is_lost = false;
        loop {
            // In time or not: either way the database is asked.
            let _ = tokio::time::timeout(POLL, woken.notified()).await;
            let heard = herald.catch_up().await;
            match &heard {
                Ok(()) if is_lost => tracing::info!("the store is heard again"),
                Err(error) if !is_lost => {
                    tracing::error!(%error, "the store is not heard; gateways are told nothing until it is");
                }
                _ => {}
            }
            is_lost = heard.is_err();
        }
    });
    [AbortOnDropHandle::new(ears), AbortOnDropHandle::new(feet)]
}

async fn listen(
    pool: &PgPool,
    channel: &str,
    wake: &Notify,
    backoff: &mut Duration,
) -> Result<Infallible, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(channel).await?;
    *backoff = BACKOFF_MIN;
    loop {
        // Once before the first one, too: something may have been committed before anybody listened.
        wake.notify_one();
        listener.try_recv().await?;
    }
}
