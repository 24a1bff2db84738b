//! The spool of a gateway that does not run, or that should only be looked at.

use std::{collections::BTreeMap, io, path::Path, sync::Arc};

use prost::Message;

use super::{
    Amount, Config, Listed,
    aside::{self, DAMAGED, REFUSED},
    contents::{self, Key, Trouble},
    disk::{Disk, Files},
    engine::{Engine, World},
    name::{Kind, Name},
    writer::{Waiting, Writer},
};
use crate::{
    gateway::deliver::group::Answer,
    model::{AccountId, DestinationId, Loss, Signal},
};

/// One segment's state, as [`check`] found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Its file.
    pub file: String,
    /// Whole records, done with or not.
    pub records: u64,
    /// Damaged pieces before a whole record.
    pub damaged: u64,
    /// Their bytes.
    pub damaged_bytes: u64,
    /// Bytes at the end that are no record: a commit that a crash cut off, as a rule.
    pub torn_bytes: u64,
}

/// Which records [`drop`] drops and [`replay`] takes up; what is not said is any.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chosen {
    /// Of that account.
    pub account: Option<AccountId>,
    /// Of that signal.
    pub signal: Option<Signal>,
    /// For that destination.
    pub destination: Option<DestinationId>,
}

/// What is not done with. A gateway may be running; then it is true for a moment.
///
/// # Errors
/// There is no spool, or it can't be read.
pub fn list(folder: &Path) -> io::Result<Vec<Listed>> {
    let disk = Files::borrow(folder)?;
    let mut found: BTreeMap<_, Amount> = BTreeMap::new();
    each_segment(&disk, |name, file, bytes| {
        let (contents, _) = contents::load(&disk, file, name, bytes)?;
        for (key, row) in contents.left() {
            let place = (key.account, key.signal, key.destination);
            found.entry(place).or_default().add(&row);
        }
        Ok(())
    })?;
    Ok(found.into_iter().collect())
}

/// Reads every record of every segment. What a running gateway is just writing looks torn.
///
/// # Errors
/// There is no spool, or it can't be read.
pub fn check(folder: &Path) -> io::Result<Vec<Checked>> {
    let disk = Files::borrow(folder)?;
    let mut found = Vec::new();
    each_segment(&disk, |name, file, bytes| {
        let mut trouble = Trouble::default();
        let contents = contents::scanned(&disk, file, name, bytes, &mut trouble)?;
        found.push(Checked {
            file: name.file(Kind::Segment),
            records: contents.len() as u64,
            damaged: trouble.damage.len() as u64,
            damaged_bytes: trouble.damage.iter().map(|(_, bytes)| bytes).sum(),
            torn_bytes: trouble.torn_bytes,
        });
        Ok(())
    })?;
    Ok(found)
}

/// Drops what is chosen, for good; gives how many records that were. No gateway may be running.
///
/// # Errors
/// There is no spool, it can't be read, or a gateway uses it.
pub fn drop(folder: &Path, chosen: Chosen) -> io::Result<u64> {
    Files::borrow(folder)?;
    let disk = Files::own(folder, &[DAMAGED, REFUSED])?;
    let world = World {
        now_ms: Arc::new(|| 0),
        id: Arc::new(|| Err(io::Error::other("nothing is written"))),
    };
    let engine = Engine::open(disk, Config::default(), world)?;
    while engine.recover() {}
    let numbers: Vec<u32> = engine.shelf().segments.keys().copied().collect();
    let dropped = numbers
        .into_iter()
        .map(|number| engine.clear(number, Loss::Dropped, &|key| chosen.is(key)))
        .sum();
    let mut shelf = engine.shelf();
    shelf.pay(&engine.disk);
    let mut segments = shelf.segments.values();
    if !shelf.holes.is_empty() || !segments.all(|segment| segment.journal.is_written()) {
        return Err(io::Error::other(
            "not all of it could be dropped: some could not be read, or the disk is full",
        ));
    }
    Ok(dropped)
}

/// Puts what was set aside because its destination refused it back into the spool, to be delivered as if it had just come; gives
/// how many payloads that were. No gateway may be running.
///
/// # Errors
/// There is no spool, it can't be read or written, or a gateway uses it.
pub fn replay(folder: &Path, chosen: Chosen) -> io::Result<u64> {
    Files::borrow(folder)?;
    let disk = Files::own(folder, &[DAMAGED, REFUSED])?;
    // An operator's word is above what senders may fill.
    let config = Config {
        disk_bytes_max: 0,
        account_bytes_max: 0,
        ..Config::default()
    };
    let engine = Arc::new(Engine::open(disk, config, super::world())?);
    let mut writer = Writer::new(Arc::clone(&engine));
    let mut replayed = 0;
    for name in aside::list_refused(&engine.disk)? {
        let Some((mut head, body)) = aside::read_refused(&engine.disk, &name)? else {
            continue;
        };
        let origin = head.origin();
        let (Some(signal), Some(tally)) = (head.signal(), head.tally()) else {
            continue;
        };
        let key = Key {
            destination: origin.destination,
            account: origin.account,
            signal,
        };
        if !chosen.is(&key) {
            continue;
        }
        head.accepted_ms = engine.now_ms();
        let (answer, mut answered) = Answer::new(engine.config.answer_timeout);
        writer.commit(vec![Waiting {
            key,
            accepted_ms: head.accepted_ms,
            head: head.encode_to_vec(),
            body,
            tally,
            _held: None,
            answer,
        }]);
        match answered.try_recv() {
            Ok(Ok(())) => aside::remove_refused(&engine.disk, &name)?,
            Ok(Err(refusal)) => return Err(io::Error::other(refusal.why())),
            Err(_) => return Err(io::Error::other("it was not taken")),
        }
        replayed += 1;
    }
    writer.seal();
    Ok(replayed)
}

// === impl Chosen ===

impl Chosen {
    fn is(&self, key: &Key) -> bool {
        self.account.is_none_or(|account| account == key.account)
            && self.signal.is_none_or(|signal| signal == key.signal)
            && self
                .destination
                .is_none_or(|destination| destination == key.destination)
    }
}

fn each_segment(
    disk: &Files,
    mut visit: impl FnMut(Name, &<Files as Disk>::File, u64) -> io::Result<()>,
) -> io::Result<()> {
    let files = disk.list("")?.into_iter();
    let segments = files.filter_map(|(file, bytes)| match Name::parse(&file) {
        Some((name, Kind::Segment)) => Some((name, bytes)),
        _ => None,
    });
    let segments: BTreeMap<Name, u64> = segments.collect();
    for (name, bytes) in segments {
        match disk.open(&name.file(Kind::Segment)) {
            Ok(file) => visit(name, &file, bytes)?,
            // Delivered since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
