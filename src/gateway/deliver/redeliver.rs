//! What is spooled, to its destination, once that takes it: beside live traffic, paced, and as things stand by then.
//!
//! ```text
//!  tick      what the spool has found and lost goes into the books; each destination with something spooled is looked at
//!    |
//!  Course    one destination: rests after it failed, goes on with one record, then with more; no faster than its pace   course
//!    |
//!  Errand    one record: read, held against the directory, sent, and over, set aside, or handed out again              errand
//! ```
//!
//! One thread for all of it, with connections of its own: a disk that hangs holds up no worker. What it holds in memory is claimed
//! of the account as its requests' bodies are.

mod course;
mod errand;

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    io,
    rc::Rc,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    runtime::{self, LocalOptions},
    sync::Notify,
    task::spawn_local,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::{
    archive::Archive,
    spool::Spool,
    upstream::{self, Sockets, Upstreams},
};
use crate::{
    directory::Directory,
    gateway::admit::Memory,
    model::{Ack, DestinationId},
};
use course::Course;
use errand::Errand;

/// How soon something spooled is seen, and what has rested goes on.
const TICK: Duration = Duration::from_millis(50);
/// Records that are begun for one destination before others have their turn.
const BEGUN_MAX: usize = 64;
/// A record whose destination is another one by now, and busy, comes again after this.
const BUSY_REST: Duration = Duration::from_millis(250);

/// What it takes to deliver.
pub struct Parts {
    /// What is to be delivered.
    pub spool: Spool,
    /// Whose it is by now.
    pub directory: Arc<Directory>,
    /// What pays for it while it is on its way.
    pub memory: Arc<Memory>,
    /// Where an account's signal may go by now.
    pub archive: Archive,
    /// Limits on upstream connections.
    pub upstream: upstream::Config,
    /// Upstream connections counted.
    pub sockets: Sockets,
    /// Cancelled when the thread has ended without being asked to.
    pub fallen: CancellationToken,
}

/// The thread that delivers what is spooled.
pub struct Redelivery {
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

/// What the thread works with.
struct Round {
    spool: Spool,
    directory: Arc<Directory>,
    memory: Arc<Memory>,
    archive: Archive,
    upstreams: Upstreams,
    courses: RefCell<HashMap<DestinationId, Rc<Course>>>,
    /// Bytes of records on their way.
    bytes_out: Cell<u64>,
    /// Some destination waits for others to give room back.
    is_short: Cell<bool>,
    has_room: Notify,
    stop: CancellationToken,
}

/// Tells when the thread ends, however it ends.
struct Alarm {
    stop: CancellationToken,
    fallen: CancellationToken,
}

// === impl Redelivery ===

impl Redelivery {
    /// Starts the thread.
    ///
    /// # Errors
    /// No thread to be had.
    pub fn start(parts: Parts) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let work = move || {
            let alarm = Alarm {
                stop: stopped.clone(),
                fallen: parts.fallen.clone(),
            };
            let runtime = runtime::Builder::new_current_thread()
                .enable_all()
                .build_local(LocalOptions::default());
            match runtime {
                Ok(runtime) => runtime.block_on(Rc::new(Round::new(parts, stopped)).run()),
                Err(error) => error!(%error, "no runtime to deliver what is spooled"),
            }
            drop(alarm);
        };
        let thread = thread::Builder::new().name("spool-send".into());
        Ok(Self {
            stop,
            thread: thread.spawn(work)?,
        })
    }

    /// Sends nothing more, and waits for what is on its way, up to a second. Blocks until then.
    pub fn close(self) {
        self.stop.cancel();
        // A panic was told by the alarm.
        let _ = self.thread.join();
    }
}

// === impl Alarm ===

impl Drop for Alarm {
    fn drop(&mut self) {
        if !self.stop.is_cancelled() || thread::panicking() {
            error!("the thread that delivers what is spooled has ended without being asked to");
            self.fallen.cancel();
        }
    }
}

// === impl Round ===

impl Round {
    fn new(parts: Parts, stop: CancellationToken) -> Self {
        Self {
            spool: parts.spool,
            directory: parts.directory,
            memory: parts.memory,
            archive: parts.archive,
            upstreams: Upstreams::new(parts.upstream, parts.sockets),
            courses: RefCell::default(),
            bytes_out: Cell::new(0),
            is_short: Cell::new(false),
            has_room: Notify::new(),
            stop,
        }
    }

    async fn run(self: Rc<Self>) {
        const LAST: Duration = Duration::from_secs(1);
        while !self.stop.is_cancelled() {
            self.enter_books();
            self.is_short.set(false);
            // A table that may lack a revocation says nothing for certain of whose anything is.
            let destinations = match self.directory.is_doubtful() {
                true => Vec::new(),
                false => self.spool.destinations(),
            };
            self.courses
                .borrow_mut()
                .retain(|id, course| course.is_wanted() || destinations.contains(id));
            for id in destinations {
                self.go_on(id);
            }
            let woken = async {
                tokio::select! {
                    () = self.stop.cancelled() => {}
                    () = self.has_room.notified() => {}
                }
            };
            let _ = timeout(TICK, woken).await;
        }
        let end = Instant::now() + LAST;
        while self.bytes_out.get() > 0 && Instant::now() < end {
            sleep(Duration::from_millis(5)).await;
        }
        self.enter_books();
    }

    /// What was found of an earlier process, and what was lost, stands in its account's books from now on.
    fn enter_books(&self) {
        for (account, signal, tally) in self.spool.take_findings() {
            self.directory.books_of(account).carried(signal, tally);
        }
        for (account, signal, loss, tally) in self.spool.take_losses() {
            let books = self.directory.books_of(account);
            books.unspooled(signal, tally);
            books.lost(signal, loss, tally);
        }
    }

    fn course(&self, id: DestinationId) -> Rc<Course> {
        let mut courses = self.courses.borrow_mut();
        let course = courses.entry(id);
        Rc::clone(course.or_insert_with(|| Rc::new(Course::new(self.spool.config()))))
    }

    /// Sends as much to that destination as may be on its way now.
    fn go_on(self: &Rc<Self>, id: DestinationId) {
        let config = self.spool.config();
        let course = self.course(id);
        for _ in 0..BEGUN_MAX {
            if self.stop.is_cancelled() || !course.is_open(config, Instant::now()) {
                return;
            }
            if !self.has_room(&course) {
                self.is_short.set(true);
                return;
            }
            let Some(lease) = self.spool.next(id, config.drain_records_max) else {
                return;
            };
            let Some(errand) = Errand::begin(self, lease) else {
                continue;
            };
            // What is not spilled is live traffic, however it goes.
            if errand.ack() != Ack::Spool {
                course.pay(errand.bytes());
            }
            spawn_local(errand.run());
        }
    }

    /// One record of each destination may be on its way, whatever its size; of more it leaves as much free as it has.
    fn has_room(&self, course: &Course) -> bool {
        let max = self.spool.config().drain_bytes_max;
        let free = max.saturating_sub(self.bytes_out.get());
        !course.is_out() || (free > 0 && course.bytes_out() <= free)
    }
}
