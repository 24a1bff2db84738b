//! A gateway without doors, stopped and killed: its directory, its counters and its follower, as in the real one.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wharfinger::{
    directory::{self, Directory, FollowConfig, Keep, Source, Usage, follow, usage::Meter},
    model::{Secret, Tally, TokenId},
};

use super::{Counts, Dice, TOKENS};

const EVERY: Duration = Duration::from_millis(10);

/// A gateway without doors: its workers' counters and its follower.
pub(crate) struct Gateway {
    pub(crate) name: String,
    folder: PathBuf,
    pub(crate) directory: Arc<Directory>,
    pub(crate) usage: Arc<Usage>,
    meters: [Meter; 2],
    stop: CancellationToken,
    following: JoinHandle<std::io::Result<()>>,
}

// === impl Gateway ===

impl Gateway {
    pub(crate) fn start(name: &str, folder: PathBuf, source: Source, join_key: Secret) -> Self {
        let directory = Arc::new(Directory::new(directory::Config::default()));
        let mut keep = Keep::open(&folder.join("directory")).expect("opens");
        keep.load(&directory).expect("loads");
        let usage = Usage::start(&folder.join("usage"), EVERY).expect("starts");
        let config = FollowConfig {
            gateway: name.to_owned(),
            instance: "one folder".into(),
            join_key: Some(join_key),
            usage: Some(usage.reports()),
        };
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        Self {
            name: name.to_owned(),
            folder,
            meters: [usage.meter(), usage.meter()],
            directory: Arc::clone(&directory),
            usage: Arc::new(usage),
            stop,
            following: tokio::spawn(follow(directory, keep, config, source, stopped)),
        }
    }

    /// A request's counters, as a worker counts them.
    pub(crate) fn count(&self, dice: &mut Dice, sent: &mut BTreeMap<u64, Counts>) {
        let meter = &self.meters[dice.below(2) as usize];
        let id = 1 + dice.below(TOKENS);
        let token = TokenId(id);
        let (items, bytes) = (dice.below(1_000), dice.below(1_000_000));
        let (is_refused, taken) = (dice.below(4) == 0, dice.below(items + 1));
        let agent = format!("{}/{}", self.name, dice.below(9));
        meter.presented(token, agent.as_bytes(), IpAddr::from([10, 0, 0, 1]));
        meter.settled(token, Tally::new(items, bytes), Tally::new(taken, taken));
        if is_refused {
            meter.refused(token, dice.below(28) as usize);
        }
        let counts = [1, items, bytes, taken, taken, u64::from(is_refused)];
        for (sum, count) in sent.entry(id).or_default().iter_mut().zip(counts) {
            *sum += count;
        }
    }

    async fn stop_following(&mut self) {
        self.stop.cancel();
        let ended = (&mut self.following).await;
        ended.expect("no panic").expect("no error");
    }

    /// In good order, whatever is told by then.
    pub(crate) async fn stop(mut self) -> PathBuf {
        self.stop_following().await;
        self.usage.close().await;
        self.folder
    }

    /// What a kill leaves: the disk as it was when the last of its messages had gone out.
    pub(crate) async fn kill(mut self, into: PathBuf) -> PathBuf {
        self.stop_following().await;
        self.usage.flush().await;
        for part in ["directory", "usage"] {
            copy(&self.folder.join(part), &into.join(part));
        }
        into
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for file in std::fs::read_dir(from).expect("a folder") {
        let file = file.expect("a file");
        std::fs::copy(file.path(), to.join(file.file_name())).expect("copied");
    }
}
