//! A spool without threads on a disk that can do anything, and bodies that say which they are.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use prost::Message;
use tokio::sync::oneshot;

use super::faulty::{Faulty, Random};
use crate::{
    gateway::{
        admit::Held,
        deliver::{
            group::Answer,
            spool::{
                Config, Origin, Record, Refusal,
                contents::Key,
                engine::{Engine, Read, World},
                head::Head,
                shelf::Picked,
                writer::{Waiting, Writer},
            },
        },
    },
    model::{
        AccountId, Chunks, Content, Counts, DestinationId, Digest, Door, Encoding, LineCounts,
        Payload, Signal, Tally, TokenId,
    },
};

pub(super) type Answered = oneshot::Receiver<Result<(), Refusal>>;

/// One process' life on that disk.
pub(super) struct Stage {
    pub(super) engine: Arc<Engine<Faulty>>,
    pub(super) writer: Writer<Faulty>,
    pub(super) clock: Arc<AtomicU64>,
}

impl Stage {
    pub(super) fn open(disk: &Faulty, config: Config) -> Self {
        let clock = Arc::new(AtomicU64::new(1_000_000));
        let engine = Engine::open(disk.clone(), config, world(disk, &clock)).expect("it starts");
        let engine = Arc::new(engine);
        Self {
            writer: Writer::new(Arc::clone(&engine)),
            engine,
            clock,
        }
    }

    /// As [`super::super::Running::append`], up to the queue.
    pub(super) fn waiting(&self, key: Key, serial: u64) -> (Waiting, Answered) {
        let now_ms = self.clock.load(Ordering::SeqCst);
        let waiting = waiting(key, serial, now_ms, Duration::from_secs(60));
        let bytes = waiting.0.record_bytes();
        self.engine.budget.claim(key.account, bytes).expect("room");
        waiting
    }

    /// Commits one record and says whether it was taken.
    pub(super) fn append(&mut self, key: Key, serial: u64) -> Result<(), Refusal> {
        let (waiting, mut answered) = self.waiting(key, serial);
        self.writer.commit(vec![waiting]);
        answered.try_recv().expect("answered")
    }

    pub(super) fn recover_all(&self) {
        while self.engine.recover() {}
    }

    /// Everything that is there for those destinations, in the order of its lines; all of it is done with afterwards.
    pub(super) fn drain(&self) -> Vec<(Key, u64)> {
        let mut drained = Vec::new();
        for destination in [1, 2].map(DestinationId) {
            while let Some(picked) = self.engine.next(destination, 8) {
                match self.engine.read(&picked) {
                    Read::Whole(record) => {
                        drained.push((picked.key, serial(&picked, &record)));
                        self.engine.end(&picked);
                    }
                    Read::Damaged => {}
                    Read::Unreadable => panic!("this disk reads"),
                }
            }
        }
        drained
    }
}

pub(super) fn world(disk: &Faulty, clock: &Arc<AtomicU64>) -> World {
    let (disk, clock) = (disk.clone(), Arc::clone(clock));
    World {
        now_ms: Arc::new(move || clock.load(Ordering::SeqCst)),
        id: Arc::new(move || Ok::<u64, io::Error>(disk.state().random.draw())),
    }
}

pub(super) fn small(segment_bytes_max: u64) -> Config {
    Config {
        segment_bytes_max,
        disk_bytes_max: 0,
        account_bytes_max: 0,
        age_max: None,
        ..Config::default()
    }
}

pub(super) fn key(account: u64, destination: u64) -> Key {
    Key {
        destination: DestinationId(destination),
        account: AccountId(account),
        signal: Signal::Logs,
    }
}

/// A body that says which it is, of a length that follows from that.
pub(super) fn body(serial: u64) -> Vec<u8> {
    let mut random = Random::new(serial);
    let length = match serial % 7 {
        0 => 0,
        6 => 300,
        _ => random.below(60),
    };
    let mut body = serial.to_le_bytes().to_vec();
    body.extend((0..length).map(|_| random.draw() as u8));
    body
}

pub(super) fn payload(serial: u64, signal: Signal) -> Payload {
    let bytes = Bytes::from(body(serial));
    let cut = bytes.len() / 3;
    let items = serial % 5;
    Payload {
        door: Door::Bulk,
        signal,
        content: Content::Lines,
        encoding: Encoding::Zstd,
        inflated_bytes: 2 * bytes.len() as u64,
        chunks: [bytes.slice(..cut), bytes.slice(cut..)]
            .into_iter()
            .collect(),
        counts: Counts::Lines(LineCounts {
            good: Tally::new(items, bytes.len() as u64),
            ..LineCounts::default()
        }),
        line_type: serial.is_multiple_of(2).then(|| format!("type-{serial}")),
    }
}

pub(super) fn origin(key: Key, serial: u64, accepted_ms: u64) -> Origin {
    Origin {
        account: key.account,
        token: TokenId(serial + 1),
        digest: Digest([7; 16]),
        destination: key.destination,
        accepted_ms,
    }
}

pub(super) fn waiting(
    key: Key,
    serial: u64,
    accepted_ms: u64,
    timeout: Duration,
) -> (Waiting, Answered) {
    let payload = payload(serial, key.signal);
    let origin = origin(key, serial, accepted_ms);
    let (answer, answered) = Answer::new(timeout);
    let waiting = Waiting {
        key,
        head: Head::new(&origin, &payload).encode_to_vec(),
        body: payload.chunks.clone(),
        tally: Tally::new(payload.counts.items(), payload.inflated_bytes),
        accepted_ms,
        _held: Some(Held::alone(1 << 30)),
        answer,
    };
    (waiting, answered)
}

/// Which record that is; everything in it must be as it was accepted.
pub(super) fn serial(picked: &Picked, record: &Record) -> u64 {
    let bytes = record.payload.chunks.to_bytes();
    let serial = u64::from_le_bytes(*bytes.first_chunk().expect("a serial"));
    let expected = payload(serial, picked.key.signal);
    assert_eq!(bytes, expected.chunks.to_bytes(), "another body");
    let told = Payload {
        chunks: Chunks::default(),
        ..record.payload.clone()
    };
    let expected = Payload {
        chunks: Chunks::default(),
        ..expected
    };
    assert_eq!(format!("{told:?}"), format!("{expected:?}"));
    let origin = record.origin;
    assert_eq!(origin.account, picked.key.account, "another's");
    assert_eq!(origin.destination, picked.key.destination);
    assert_eq!(origin.token, TokenId(serial + 1));
    serial
}
