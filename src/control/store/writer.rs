//! The one writer of this process: a connection, and the transaction in which works come one after another.
//!
//! A work that is done leaves its transaction open for those who wait for the writer; each of them works behind a
//! savepoint of its own. Whoever finds the transaction open after all of them commits it for everybody.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::oneshot, time::timeout};

use super::{
    Place,
    database::{Connection, query},
    group::{Group, Outcome, Terms, Work},
    held::Lately,
    herald::Herald,
};
use crate::control::Error;

/// For a step on a server: longer than it lets us wait for our turn, shorter than TCP takes to give up a dead network.
const STEP_MAX: Duration = Duration::from_secs(20);

/// See [`super::Store`]'s `writer`: there is one, and who holds it is alone.
pub(super) struct Writer {
    /// `None` once the store is closed, and while the server can't be reached.
    connection: Option<Connection>,
    place: Place,
    lock: i64,
    herald: Arc<Herald>,
    terms: Terms,
    /// Of the transaction that is open.
    group: Option<Group>,
    /// By the transactions before it.
    lately: Lately,
    /// Set from BEGIN until the transaction is known to be over: a panic between the two must not hand it on.
    is_open: bool,
    /// Set while a work is under way; one that was dropped half-way leaves it set.
    is_working: bool,
    is_closed: bool,
}

// === impl Writer ===

impl Writer {
    pub(super) fn new(
        connection: Connection,
        place: Place,
        lock: i64,
        herald: Arc<Herald>,
        terms: Terms,
    ) -> Self {
        Self {
            connection: Some(connection),
            place,
            lock,
            herald,
            terms,
            group: None,
            lately: Lately::default(),
            is_open: false,
            is_working: false,
            is_closed: false,
        }
    }

    pub(super) fn connection(&mut self) -> Result<&mut Connection, Error> {
        self.connection.as_mut().ok_or(Error::Closed)
    }

    /// Begins a work: in a transaction of its own, or behind a savepoint in that of others.
    pub(super) async fn start(&mut self) -> Result<(), Error> {
        self.tidy().await;
        if self.group.is_none() {
            self.begin().await?;
            self.group = Some(Group::new());
        } else if let Err(error) = self.execute("SAVEPOINT work").await {
            return Err(self.fail(error).await);
        }
        self.is_working = true;
        Ok(())
    }

    /// Puts a work that is done among those that commit together.
    pub(super) async fn join(&mut self, work: Work) -> Result<oneshot::Receiver<Outcome>, Error> {
        if self.group.as_ref().is_some_and(|group| !group.is_empty())
            // Fails if the work's transaction is no longer whole, whatever the work has made of that.
            && let Err(error) = self.execute("RELEASE SAVEPOINT work").await
        {
            self.tidy().await;
            return Err(error);
        }
        self.is_working = false;
        let group = self.group.as_mut().ok_or(Error::Closed)?;
        self.lately.end(work.ended);
        Ok(group.join(work))
    }

    /// Whether the transaction has to be committed now.
    pub(super) fn is_full(&self) -> bool {
        let open_max = self.terms.open_max;
        self.group.as_ref().is_some_and(|it| it.is_full(open_max))
    }

    /// Live tokens that were taken away within the last minute, or are by the works of the transaction that is open.
    pub(super) fn dropped_lately(&mut self) -> u64 {
        let open = self.group.as_ref().map_or(0, Group::dropped);
        self.lately.sum(Instant::now()).saturating_add(open)
    }

    /// So many tokens are live at least, in the transaction that is open.
    pub(super) fn live(&self) -> u64 {
        self.lately.live(Instant::now())
    }

    /// So many were counted, with what the work that is under way takes away.
    pub(super) fn count_live(&mut self, tokens: u64) {
        self.lately.count(tokens, Instant::now());
    }

    /// Keeps a transaction open for others so long; not at all, and nobody gets the writer between a work and its commit.
    #[cfg(test)]
    pub(super) fn stay_open(&mut self, open_max: Duration) {
        self.terms.open_max = open_max;
    }

    /// Undoes a work that was dropped half-way, and nothing else.
    pub(super) async fn tidy(&mut self) {
        if !std::mem::take(&mut self.is_working) {
            return;
        }
        match &self.group {
            None => {}
            Some(group) if group.is_empty() => {
                self.group = None;
                self.roll_back().await;
            }
            Some(_) => {
                if let Err(error) = self.execute("ROLLBACK TO SAVEPOINT work").await {
                    self.fail(error).await;
                }
            }
        }
    }

    /// Commits what is open, publishes it, and tells everybody.
    pub(super) async fn commit(&mut self) {
        let Some(mut group) = self.group.take() else {
            return;
        };
        let written = within(self.place.is_shared(), self.write(&mut group)).await;
        // Also if it failed: a COMMIT whose answer is lost may have been one.
        self.lately.add(group.dropped(), Instant::now());
        match written {
            Ok(None) => group.tell(Ok(None)),
            Ok(Some((revision, delta))) => {
                let published = self.herald.announce(revision, delta).await;
                group.tell(Ok(Some(published)));
            }
            Err(error) => {
                self.lately.uncount();
                // After a COMMIT that failed there may be nothing left to roll back.
                self.roll_back().await;
                group.tell(Err(Arc::new(error)));
            }
        }
    }

    /// Commits what is open, and begins nothing more.
    pub(super) async fn end(&mut self) {
        self.is_closed = true;
        self.tidy().await;
        self.commit().await;
    }

    /// Lets go of the database, after [`Writer::end`].
    pub(super) async fn close(&mut self) -> Result<(), Error> {
        match self.connection.take() {
            Some(connection) => connection.close().await,
            None => Ok(()),
        }
    }

    async fn write(&mut self, group: &mut Group) -> Result<Option<(u64, bytes::Bytes)>, Error> {
        let connection = self.connection.as_mut().ok_or(Error::Closed)?;
        let written = group.write(connection, &self.terms).await?;
        query("COMMIT").execute(connection).await?;
        self.is_open = false;
        Ok(written)
    }

    async fn begin(&mut self) -> Result<(), Error> {
        if self.is_closed {
            return Err(Error::Closed);
        }
        if self.is_open {
            self.roll_back().await;
        }
        self.is_open = true;
        let is_shared = self.place.is_shared();
        if let Some(connection) = &mut self.connection {
            match within(is_shared, connection.begin(self.lock)).await {
                Err(error) if is_shared && is_lost(&error) => {}
                begun => return begun,
            }
        }
        // The server was restarted, or has ended the session: nothing was open, so nothing is lost.
        self.connection = None;
        let mut connection = within(is_shared, self.place.connect()).await?;
        within(is_shared, connection.begin(self.lock)).await?;
        self.connection = Some(connection);
        Ok(())
    }

    async fn execute(&mut self, statement: &'static str) -> Result<(), Error> {
        let is_shared = self.place.is_shared();
        let executed = query(statement).execute(self.connection()?);
        within(is_shared, executed).await.map(drop)
    }

    /// The transaction is lost, and with it every work in it.
    async fn fail(&mut self, error: Error) -> Error {
        self.lately.uncount();
        self.roll_back().await;
        let error = Arc::new(error);
        if let Some(group) = self.group.take() {
            group.tell(Err(error.clone()));
        }
        Error::Together(error)
    }

    async fn roll_back(&mut self) {
        let rolled_back = self.execute("ROLLBACK").await;
        self.is_open = false;
        // A session whose state nobody knows is ended, so that the server gives up what it holds.
        if rolled_back.is_err() && self.place.is_shared() {
            self.connection = None;
        }
    }
}

/// A file is waited for: nothing can be known of it by going away.
async fn within<T>(
    is_shared: bool,
    step: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    if !is_shared {
        return step.await;
    }
    timeout(STEP_MAX, step).await.unwrap_or_else(|_| {
        let late = io::Error::from(io::ErrorKind::TimedOut);
        Err(Error::Store(sqlx::Error::Io(late)))
    })
}

/// Whether the session is over, as far as an error tells.
fn is_lost(error: &Error) -> bool {
    match error {
        Error::Store(sqlx::Error::Database(error)) => {
            // Connection failures, ended by an operator, idle for too long.
            let code = error.code().unwrap_or_default();
            code.starts_with("08") || code.starts_with("57P") || code == "25P03"
        }
        Error::Store(sqlx::Error::Io(_) | sqlx::Error::Protocol(_)) => true,
        _ => false,
    }
}
