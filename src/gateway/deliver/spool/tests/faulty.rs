//! A disk that loses what it may lose: what was not synced is dropped, torn or reordered, and operations fail.

use std::{
    collections::BTreeMap,
    io::{self, IoSlice},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::gateway::deliver::spool::disk::Disk;

/// What reaches the platter together. Small, so that short records lie in several.
const BLOCK_BYTES: usize = 16;

/// Clones are the same disk.
#[derive(Clone, Default)]
pub(super) struct Faulty(Arc<Mutex<State>>);

/// Draws without a source: the same seed is the same schedule.
#[derive(Clone, Debug, Default)]
pub(super) struct Random(u64);

#[derive(Default)]
pub(super) struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Since the folder was synced.
    named: Vec<Named>,
    pub(super) random: Random,
    /// One of so many operations that change something fails; 0: none.
    pub(super) fails_one_of: u64,
    /// Every write fails.
    pub(super) is_full: bool,
    /// Syncs that still go well; none: all.
    pub(super) good_syncs: Option<u32>,
    /// How long every sync takes.
    pub(super) sync_takes: Duration,
    /// Files that can't be opened, with the error's number.
    pub(super) unreadable: BTreeMap<String, i32>,
    /// Operations until the power is gone; none: it stays.
    pub(super) dies_in: Option<u32>,
    pub(super) syncs: u64,
}

#[derive(Default)]
struct Inode {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Range<usize>>,
    /// A sync of them failed: no later one will write them.
    doomed: Vec<Range<usize>>,
}

enum Named {
    Made(String, usize),
    Removed(String),
    Moved(String, String, usize),
}

// === impl Random ===

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) fn draw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Less than that.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        (self.draw() >> 11) % end.max(1)
    }

    pub(super) fn is_one_of(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

// === impl Faulty ===

impl Faulty {
    pub(super) fn new(seed: u64) -> Self {
        let disk = Self::default();
        disk.state().random = Random::new(seed);
        disk
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process is gone, and a new one finds all that was written.
    pub(super) fn kill(&self) {
        let mut state = self.state();
        state.dies_in = None;
        (state.fails_one_of, state.is_full, state.good_syncs) = (0, false, None);
    }

    /// The power is gone, and of what was not synced any part.
    pub(super) fn lose_power(&self) {
        self.kill();
        let mut state = self.state();
        let State {
            inodes,
            durable_names,
            named,
            random,
            ..
        } = &mut *state;
        let old = random.below(inodes.len() as u64) as usize;
        let stale = inodes
            .get(old)
            .map_or_else(Vec::new, |old| old.bytes.clone());
        for inode in inodes {
            inode.lose_power(random, &stale);
        }
        let how = random.below(4);
        let prefix = random.below(named.len() as u64 + 1) as usize;
        for (number, change) in named.drain(..).enumerate() {
            let is_kept = match how {
                0 => true,
                1 => false,
                2 => number < prefix,
                _ => random.is_one_of(2),
            };
            if is_kept {
                change.apply(durable_names);
            }
        }
        state.names = state.durable_names.clone();
    }

    /// All files that can be seen, with their bytes.
    pub(super) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.state();
        let files = state.names.iter();
        files
            .map(|(name, inode)| (name.clone(), state.inodes[*inode].bytes.clone()))
            .collect()
    }

    /// Puts other bytes in a file's place, durably.
    pub(super) fn put(&self, name: &str, bytes: Vec<u8>) {
        let mut state = self.state();
        let inode = state.inodes.len();
        state.inodes.push(Inode {
            durable: bytes.clone(),
            bytes,
            ..Inode::default()
        });
        state.names.insert(name.to_owned(), inode);
        state.durable_names.insert(name.to_owned(), inode);
    }
}

// === impl Inode ===

impl Inode {
    fn lose_power(&mut self, random: &mut Random, stale: &[u8]) {
        let how = random.below(4);
        let mut lost: Vec<Range<usize>> = self.doomed.drain(..).collect();
        lost.append(&mut self.unsynced);
        let end = self.bytes.len().max(self.durable.len());
        let torn =
            self.durable.len() + random.below((end - self.durable.len()) as u64 + 1) as usize;
        let mut after = self.durable.clone();
        for range in lost {
            for start in range.clone().step_by(BLOCK_BYTES) {
                let block = start..(start + BLOCK_BYTES).min(range.end);
                let is_kept = match how {
                    0 => true,
                    1 => false,
                    2 => block.end <= torn,
                    _ => random.is_one_of(2),
                };
                if how != 1 && (is_kept || how == 3) && after.len() < block.end {
                    after.resize(block.end, 0);
                }
                if is_kept {
                    after[block.clone()].copy_from_slice(&self.bytes[block]);
                } else if how == 3 && random.is_one_of(2) && stale.len() > BLOCK_BYTES {
                    // What an older file left there.
                    let from = random.below((stale.len() - BLOCK_BYTES) as u64) as usize;
                    let length = block.len();
                    after[block].copy_from_slice(&stale[from..from + length]);
                }
            }
        }
        self.durable.clone_from(&after);
        self.bytes = after;
    }
}

// === impl Named ===

impl Named {
    fn apply(self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Made(name, inode) => drop(names.insert(name, inode)),
            Self::Removed(name) => drop(names.remove(&name)),
            Self::Moved(from, to, inode) => {
                names.remove(&from);
                names.insert(to, inode);
            }
        }
    }
}

// === impl State ===

impl State {
    /// An operation begins: whether there is power, and it goes well.
    fn step(&mut self) -> io::Result<()> {
        match &mut self.dies_in {
            Some(0) => return Err(io::Error::other("no power")),
            Some(left) => *left -= 1,
            None => {}
        }
        if self.fails_one_of > 0 && self.random.is_one_of(self.fails_one_of) {
            return Err(io::Error::other("injected"));
        }
        Ok(())
    }

    fn is_dead(&self) -> bool {
        self.dies_in == Some(0)
    }

    fn inode(&self, name: &str) -> io::Result<usize> {
        let inode = self.names.get(name).copied();
        inode.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn name(&mut self, change: Named) {
        self.named.push(change);
    }
}

impl Disk for Faulty {
    type File = usize;

    fn list(&self, folder: &str) -> io::Result<Vec<(String, u64)>> {
        let state = self.state();
        let found = state.names.iter().filter_map(|(name, inode)| {
            let (place, file) = name.rsplit_once('/').unwrap_or(("", name));
            let bytes = state.inodes[*inode].bytes.len() as u64;
            (place == folder).then(|| (file.to_owned(), bytes))
        });
        Ok(found.collect())
    }

    fn create(&self, name: &str) -> io::Result<usize> {
        let mut state = self.state();
        state.step()?;
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.names.insert(name.to_owned(), inode);
        state.name(Named::Made(name.to_owned(), inode));
        Ok(inode)
    }

    fn open(&self, name: &str) -> io::Result<usize> {
        let state = self.state();
        if state.is_dead() {
            return Err(io::Error::other("no power"));
        }
        if let Some(error) = state.unreadable.get(name) {
            return Err(io::Error::from_raw_os_error(*error));
        }
        state.inode(name)
    }

    fn bytes(&self, file: &usize) -> io::Result<u64> {
        Ok(self.state().inodes[*file].bytes.len() as u64)
    }

    fn append(&self, file: &usize, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut state = self.state();
        let was_dead = state.is_dead();
        let begun = state.step();
        let mut written = Vec::new();
        for part in parts.iter() {
            written.extend_from_slice(part);
        }
        let failed = begun.is_err() || state.is_full;
        if failed && !was_dead {
            let end = state.random.below(written.len() as u64 + 1) as usize;
            written.truncate(end);
        }
        if !was_dead {
            let inode = &mut state.inodes[*file];
            let start = inode.bytes.len();
            inode.bytes.extend_from_slice(&written);
            inode.unsynced.push(start..start + written.len());
        }
        begun?;
        match failed {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }

    fn read(&self, file: &usize, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let state = self.state();
        if state.is_dead() {
            return Err(io::Error::other("no power"));
        }
        let bytes = &state.inodes[*file].bytes;
        let from = (at as usize).min(bytes.len());
        let to = (from + into.len()).min(bytes.len());
        into[..to - from].copy_from_slice(&bytes[from..to]);
        Ok(to - from)
    }

    fn sync(&self, file: &usize) -> io::Result<()> {
        let sync_takes = self.state().sync_takes;
        if !sync_takes.is_zero() {
            std::thread::sleep(sync_takes);
        }
        let mut state = self.state();
        if state.is_dead() {
            return Err(io::Error::other("no power"));
        }
        state.syncs += 1;
        let mut begun = state.step();
        if let Some(left) = &mut state.good_syncs {
            match left.checked_sub(1) {
                Some(less) => *left = less,
                None => begun = Err(io::Error::other("injected")),
            }
        }
        let inode = &mut state.inodes[*file];
        let ranges: Vec<Range<usize>> = inode.unsynced.drain(..).collect();
        if let Err(error) = begun {
            inode.doomed.extend(ranges);
            return Err(error);
        }
        for range in ranges {
            if inode.durable.len() < range.end {
                inode.durable.resize(range.end, 0);
            }
            inode.durable[range.clone()].copy_from_slice(&inode.bytes[range]);
        }
        Ok(())
    }

    fn sync_folder(&self) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        let State {
            named,
            durable_names,
            ..
        } = &mut *state;
        for change in named.drain(..) {
            change.apply(durable_names);
        }
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        let inode = state.inode(from)?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), inode);
        state.name(Named::Moved(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        state.inode(name)?;
        state.names.remove(name);
        state.name(Named::Removed(name.to_owned()));
        Ok(())
    }
}
