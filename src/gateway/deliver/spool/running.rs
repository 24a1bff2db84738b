//! The spool with its threads: one writes, one looks into what was there and keeps house afterwards.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use prost::Message;
use tokio::time::timeout_at;
use tracing::error;

use super::{
    Config, Lease, Origin, Refusal,
    contents::Key,
    disk::{Disk, Files},
    engine::{Engine, World},
    frame::FRAME_BYTES,
    head::Head,
    writer::{Waiting, Writer},
};
use crate::{
    gateway::{
        admit::Held,
        deliver::{
            group::{Answer, Group},
            stop::Stop,
        },
    },
    model::{DestinationId, Payload, Tally},
};

/// Between two tries of a disk that fails: far below the seconds in which it should be used again.
const PROBE_EVERY: Duration = Duration::from_millis(250);
/// What could not be read is tried again so often.
const LOOK_AGAIN_EVERY: Duration = Duration::from_secs(10);
/// What expires and what can be merged is looked for so often.
const KEEP_HOUSE_EVERY: Duration = Duration::from_secs(1);

/// An engine with its threads.
pub(super) struct Running<D: Disk> {
    pub(super) engine: Arc<Engine<D>>,
    group: Arc<Group<Waiting>>,
    stop: Arc<Stop>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Ends the queue with its writer: nobody may wait for a thread that is gone.
struct Closing<'a>(&'a Group<Waiting>);

// === impl Running ===

impl<D: Disk> Running<D> {
    /// Opens what is on the disk and starts the threads.
    ///
    /// # Errors
    /// The folder can't be listed, or a thread can't be started.
    pub(super) fn start(disk: D, config: Config, world: World) -> io::Result<Arc<Self>> {
        let group = Arc::new(Group::new(config.queue_bytes_max));
        let running = Arc::new(Self {
            engine: Arc::new(Engine::open(disk, config, world)?),
            group,
            stop: Arc::default(),
            threads: Mutex::default(),
        });
        running.spawn().inspect_err(|_| running.close())?;
        Ok(running)
    }

    fn spawn(&self) -> io::Result<()> {
        let (engine, group) = (Arc::clone(&self.engine), Arc::clone(&self.group));
        self.hold(
            thread::Builder::new()
                .name("spool-write".into())
                .spawn(move || write(engine, &group))?,
        );
        let (engine, stop) = (Arc::clone(&self.engine), Arc::clone(&self.stop));
        self.hold(
            thread::Builder::new()
                .name("spool-keep".into())
                .spawn(move || keep_house(&engine, &stop))?,
        );
        Ok(())
    }

    fn hold(&self, thread: JoinHandle<()>) {
        self.threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(thread);
    }

    /// See [`super::Spool::append`].
    pub(super) async fn append(
        &self,
        origin: Origin,
        payload: &Payload,
        held: Held,
    ) -> Result<(), Refusal> {
        let engine = &self.engine;
        if engine.is_failing.load(Ordering::Relaxed) {
            return Err(Refusal::Disk);
        }
        if engine.watch.is_overdue() {
            return Err(Refusal::Stalled);
        }
        let (answer, mut answered) = Answer::new(engine.config.answer_timeout);
        let deadline = answer.deadline();
        let waiting = Waiting {
            key: Key {
                destination: origin.destination,
                account: origin.account,
                signal: payload.signal,
            },
            head: Head::new(&origin, payload).encode_to_vec(),
            body: payload.chunks.clone(),
            tally: Tally::new(payload.counts.items(), payload.inflated_bytes),
            accepted_ms: origin.accepted_ms,
            _held: Some(held),
            answer,
        };
        let bytes = waiting.record_bytes();
        if waiting.head.len() > usize::from(u16::MAX) || bytes > RECORD_BYTES_MAX {
            return Err(Refusal::TooLarge);
        }
        engine.budget.claim(origin.account, bytes)?;
        if self.group.offer(waiting).is_err() {
            engine.budget.unclaim(origin.account, bytes);
            return Err(match self.group.is_closed() {
                true => Refusal::Closed,
                false => Refusal::Busy,
            });
        }
        match timeout_at(deadline.into(), &mut answered).await {
            Ok(Ok(taken)) => taken,
            Ok(Err(_)) => Err(Refusal::Closed),
            Err(_) => {
                // Either the writer has told us by now, or it learns that we are gone and takes the record back.
                answered.close();
                answered.try_recv().unwrap_or(Err(Refusal::Late))
            }
        }
    }

    /// Takes nothing more, commits what waits and ends the threads.
    pub(super) fn close(&self) {
        self.group.close();
        self.stop.stop();
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let threads = std::mem::take(&mut *threads);
        for thread in threads {
            if thread.join().is_err() {
                error!("a thread of the spool panicked");
            }
        }
    }
}

/// Places in a segment are 32 bits.
const RECORD_BYTES_MAX: u64 = (u32::MAX as u64) / 2 - FRAME_BYTES as u64;

impl Running<Files> {
    /// See [`super::Spool::next`].
    pub(super) fn next(&self, destination: DestinationId, out_max: usize) -> Option<Lease> {
        let picked = self.engine.next(destination, out_max)?;
        Some(Lease::new(Arc::clone(&self.engine), picked))
    }
}

impl<D: Disk> Drop for Running<D> {
    fn drop(&mut self) {
        self.close();
    }
}

fn write<D: Disk>(engine: Arc<Engine<D>>, group: &Group<Waiting>) {
    let _closing = Closing(group);
    let mut writer = Writer::new(engine);
    let mut tried = Instant::now();
    while let Some(waiting) = group.take_within(PROBE_EVERY) {
        if !waiting.is_empty() {
            writer.commit(waiting);
        }
        if tried.elapsed() >= PROBE_EVERY {
            writer.probe();
            writer.tick();
            tried = Instant::now();
        }
    }
    writer.seal();
}

fn keep_house<D: Disk>(engine: &Engine<D>, stop: &Stop) {
    let (mut rest, mut looked) = (Duration::ZERO, Instant::now());
    while !stop.wait(rest) {
        if !engine.recover() {
            if looked.elapsed() >= LOOK_AGAIN_EVERY {
                engine.recover_again();
                looked = Instant::now();
            }
            engine.keep_indexes();
            engine.shelf().pay(&engine.disk);
            engine.expire();
            engine.merge();
            rest = KEEP_HOUSE_EVERY;
        }
    }
    engine.shelf().pay(&engine.disk);
}

// === impl Closing ===

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
        // After a panic: whoever still waits is answered by the drop of their records.
        while self.0.take().is_some() {}
    }
}
