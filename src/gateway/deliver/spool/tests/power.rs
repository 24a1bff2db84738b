//! Random schedules of appends, deliveries, failures, kills and power losses: what was acknowledged comes back until it is done
//! with, whole, once and in order; nothing else comes back damaged; it always starts.
//!
//! `WHARFINGER_DOSE=10000000 cargo test --release --lib spool::tests::power -- --nocapture` is the deep dose; `WHARFINGER_SEED`
//! runs one schedule alone.

use std::collections::{HashMap, HashSet};

use super::{
    faulty::{Faulty, Random},
    stage::{Stage, key, serial, small},
};
use crate::{
    gateway::deliver::spool::{Amount, Config, contents::Key, engine::Read, shelf::Picked},
    model::{DestinationId, Signal},
};

/// Schedules with `cargo test`: some 20 s without optimisation.
const QUICK: u64 = 20_000;

/// What a record is to its sender and to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Its sender was told that it is safe.
    Acknowledged,
    /// Its sender was told that it is not, or nothing.
    Refused { life: u32 },
    /// Delivered.
    Done,
}

#[derive(Default)]
struct Counted {
    schedules: u64,
    acknowledged: u64,
    refused: u64,
    power_losses: u64,
    kills: u64,
    faults: u64,
    merges: u64,
    came_back: u64,
    again: u64,
}

struct Schedule {
    seed: u64,
    random: Random,
    disk: Faulty,
    config: Config,
    known: HashMap<u64, Known>,
    /// Done, and nothing that came since can have undone it.
    surely_done: HashSet<u64>,
    next_serial: u64,
    life: u32,
    counted: Counted,
}

impl Schedule {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        Self {
            seed,
            disk: Faulty::new(seed),
            config: small(300 + random.below(1_200)),
            random,
            known: HashMap::new(),
            surely_done: HashSet::new(),
            next_serial: 1,
            life: 0,
            counted: Counted::default(),
        }
    }

    fn run(mut self) -> Counted {
        let lives = 1 + self.random.below(3);
        for _ in 0..lives {
            self.live();
        }
        self.settle();
        self.counted.schedules = 1;
        self.counted
    }

    /// From a start to the end, by a close, a kill or a power loss.
    fn live(&mut self) {
        self.life += 1;
        let mut stage = Stage::open(&self.disk, self.config.clone());
        let is_faulty = self.random.is_one_of(3);
        let dies = self.random.is_one_of(2);
        {
            let mut state = self.disk.state();
            if is_faulty {
                state.fails_one_of = 4 + self.random.below(12);
            }
            if dies {
                state.dies_in = Some(self.random.below(60) as u32);
            }
        }
        if is_faulty {
            self.counted.faults += 1;
            self.surely_done.clear();
        }
        let mut hands: Vec<Picked> = Vec::new();
        for _ in 0..4 + self.random.below(16) {
            match self.random.below(12) {
                0..5 => self.append(&mut stage),
                5..7 => hands.extend(self.take(&stage)),
                7..9 => self.put(&stage, &mut hands, !is_faulty && !dies),
                9 => {
                    stage.engine.recover();
                }
                10 => self.counted.merges += u64::from(stage.engine.merge()),
                _ => {
                    stage.writer.probe();
                    if self.random.is_one_of(4) {
                        stage.writer.seal();
                    }
                }
            }
        }
        match self.random.below(3) {
            0 => {
                stage.writer.seal();
                self.disk.kill();
            }
            1 => {
                self.counted.kills += 1;
                self.disk.kill();
            }
            _ => {
                self.counted.power_losses += 1;
                self.disk.lose_power();
                // Nothing of the journals was synced.
                self.surely_done.clear();
            }
        }
        if dies {
            self.disk.lose_power();
            self.surely_done.clear();
        }
    }

    fn append(&mut self, stage: &mut Stage) {
        let mut batch = Vec::new();
        let mut answers = Vec::new();
        for _ in 0..1 + self.random.below(4) {
            let serial = self.next_serial;
            self.next_serial += 1;
            let (waiting, answered) = stage.waiting(self.key(serial), serial);
            batch.push(waiting);
            // Now and then the sender has gone by then.
            let answered = (!self.random.is_one_of(10)).then_some(answered);
            answers.push((serial, answered));
        }
        stage.writer.commit(batch);
        for (serial, answered) in answers {
            let answer = answered.map(|mut answered| answered.try_recv().expect("answered"));
            let known = if answer == Some(Ok(())) {
                self.counted.acknowledged += 1;
                Known::Acknowledged
            } else {
                self.counted.refused += 1;
                Known::Refused { life: self.life }
            };
            self.known.insert(serial, known);
        }
    }

    fn key(&self, serial: u64) -> Key {
        let mut random = Random::new(serial ^ self.seed);
        let mut key = key(1 + random.below(3), 1 + random.below(2));
        key.signal = Signal::ALL[random.below(2) as usize];
        key
    }

    fn take(&mut self, stage: &Stage) -> Option<Picked> {
        let destination = DestinationId(1 + self.random.below(2));
        stage.engine.next(destination, 8)
    }

    /// Settles what was taken in one way or another.
    fn put(&mut self, stage: &Stage, hands: &mut Vec<Picked>, is_sure: bool) {
        if hands.is_empty() {
            return;
        }
        let picked = hands.swap_remove(self.random.below(hands.len() as u64) as usize);
        match stage.engine.read(&picked) {
            Read::Whole(record) => {
                let serial = serial(&picked, &record);
                self.check_back(serial, picked.key);
                if self.random.is_one_of(4) {
                    stage.engine.give_back(&picked, std::time::Duration::ZERO);
                    return;
                }
                stage.engine.end(&picked);
                self.known.insert(serial, Known::Done);
                if is_sure {
                    self.surely_done.insert(serial);
                }
            }
            Read::Damaged => {}
            Read::Unreadable => stage.engine.give_back(&picked, std::time::Duration::ZERO),
        }
    }

    fn check_back(&mut self, serial: u64, key: Key) {
        let seed = self.seed;
        assert_eq!(key, self.key(serial), "seed {seed}: in another's line");
        match self.known[&serial] {
            Known::Acknowledged => {}
            Known::Refused { life } => {
                assert!(life < self.life, "seed {seed}: {serial} was refused");
                self.counted.came_back += 1;
            }
            Known::Done => {
                let is_sure = self.surely_done.contains(&serial);
                assert!(!is_sure, "seed {seed}: {serial} was done with");
                self.counted.again += 1;
            }
        }
    }

    /// A last start on a disk that is well: all that is owed must be there.
    fn settle(&mut self) {
        self.life += 1;
        let mut stage = Stage::open(&self.disk, self.config.clone());
        if self.random.is_one_of(2) {
            self.append(&mut stage);
        }
        stage.recover_all();
        while stage.engine.merge() {
            self.counted.merges += 1;
        }
        let mut seen = HashSet::new();
        let mut last: HashMap<Key, u64> = HashMap::new();
        let seed = self.seed;
        for (key, serial) in stage.drain() {
            self.check_back(serial, key);
            assert!(seen.insert(serial), "seed {seed}: {serial} twice");
            let before = last.insert(key, serial).unwrap_or(0);
            assert!(before < serial, "seed {seed}: {serial} after {before}");
        }
        for (serial, known) in &self.known {
            let is_owed = *known == Known::Acknowledged;
            assert!(
                !is_owed || seen.contains(serial),
                "seed {seed}: {serial} is lost"
            );
        }
        stage.writer.seal();
        let usage = stage.engine.usage();
        assert_eq!(usage.left, Amount::default(), "seed {seed}");
        assert_eq!((usage.segments, usage.disk_bytes), (0, 0), "seed {seed}");
    }
}

impl Counted {
    fn add(&mut self, other: &Self) {
        self.schedules += other.schedules;
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.power_losses += other.power_losses;
        self.kills += other.kills;
        self.faults += other.faults;
        self.merges += other.merges;
        self.came_back += other.came_back;
        self.again += other.again;
    }
}

fn run_all(seeds: impl Iterator<Item = u64>) -> Counted {
    let mut counted = Counted::default();
    for seed in seeds {
        let one = std::panic::catch_unwind(|| Schedule::new(seed).run());
        match one {
            Ok(one) => counted.add(&one),
            Err(panic) => {
                eprintln!("WHARFINGER_SEED={seed} runs it again");
                std::panic::resume_unwind(panic);
            }
        }
    }
    counted
}

#[test]
fn what_was_acknowledged_survives_every_power_loss() {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().expect("a number"))
    };
    let counted = if let Some(seed) = number("WHARFINGER_SEED") {
        run_all(seed..=seed)
    } else {
        let dose = number("WHARFINGER_DOSE").unwrap_or(QUICK);
        let half = dose / 2;
        let other = std::thread::spawn(move || run_all(half..dose));
        let mut counted = run_all(0..half);
        counted.add(&other.join().expect("every schedule went well"));
        counted
    };
    println!(
        "{} schedules, {} power losses, {} kills, {} lives with faults, {} merges: {} acknowledged, 0 lost; {} refused, {} of them came back; {} delivered again",
        counted.schedules,
        counted.power_losses,
        counted.kills,
        counted.faults,
        counted.merges,
        counted.acknowledged,
        counted.refused,
        counted.came_back,
        counted.again
    );
    assert!(counted.schedules > 0 && counted.acknowledged > 0);
}
